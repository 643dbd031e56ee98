//! Starts that are refused: each with one sentence that says what is wrong and what to do, and each leaving behind
//! exactly what it found.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use grantd::app::clock::Clock;
use grantd::app::open::StartError;
use grantd::startup::{ServeError, Server};
use grantd::storage::db::OpenError;
use grantd::storage::migrate::{SchemaError, migrate, status};
use grantd::storage::{Db, installation, revisions, signing_keys};

use crate::first_start::{key_file, plain_settings, run, start, tables};
use crate::storage::open;
use crate::support::database::{DatabaseKind, TestDatabase};
use crate::support::runner::trials;
use crate::support::server::settings;

trials! {
    both: [a_schema_newer_than_the_binary_is_refused_before_anything_is_written],
    empty: [
        the_wrong_encryption_key_is_refused_and_nothing_changes,
        without_leave_to_migrate_an_empty_database_stays_empty,
        a_failed_migration_leaves_the_old_schema,
        a_port_in_use_is_named_with_its_setting,
    ],
    postgres: [a_postgres_without_this_database_says_which],
    alone: [
        a_missing_key_file_is_not_made_anew,
        a_key_file_open_to_others_is_refused,
        a_database_open_to_others_is_refused,
        an_unreachable_postgres_is_named_without_its_password,
        a_directory_that_cannot_be_made_is_named,
        a_file_that_is_no_database_stays_as_it_is,
    ],
}

/// Everything that a start writes.
async fn facts(db: &Db) -> impl PartialEq + std::fmt::Debug {
    let keys = signing_keys::list(db).await.expect("readable");
    let keys: Vec<_> = keys.into_iter().map(|key| (key.info, key.sealed)).collect();
    let fingerprint = installation::read(db, "encryption_key_fingerprint").await.expect("readable");
    (keys, fingerprint, revisions::read(db).await.expect("readable"), tables(db).await)
}

async fn the_wrong_encryption_key_is_refused_and_nothing_changes(database: TestDatabase) {
    start(&settings(&database, &[])).await.expect("a first start").close().await;
    let db = open(&database).await;
    let before = facts(&db).await;

    let other = [("GRANTD_KEYS__ENCRYPTION_KEY", "K0bGq0eXo9nH5Yx1mZ3kQv7RtUu2WcLdE8sFa4iPpTg=")];
    let refused = start(&settings(&database, &other)).await.err().expect("refused");

    assert!(matches!(refused, StartError::WrongKey), "{refused}");
    let sentence = refused.to_string();
    assert!(sentence.contains("not the one this database was made with"), "{sentence}");
    assert!(sentence.contains("keys.encryption_key"), "{sentence}");
    assert_eq!(facts(&db).await, before);
    db.close().await;
    start(&settings(&database, &[])).await.expect("the right one still opens").close().await;
}

async fn a_missing_key_file_is_not_made_anew() {
    let database = TestDatabase::empty_sqlite();
    start(&plain_settings(&database)).await.expect("a first start").close().await;
    let kept = std::fs::read(key_file(&database)).expect("a key file");
    std::fs::remove_file(key_file(&database)).expect("there was one");

    let refused = start(&plain_settings(&database)).await.err().expect("refused");

    assert!(matches!(refused, StartError::KeyFileMissing(_)), "{refused}");
    assert!(refused.to_string().contains("restore it from a backup"), "{refused}");
    assert!(!key_file(&database).exists(), "a new key could read nothing in the database");
    std::fs::write(key_file(&database), kept).expect("restored");
    std::fs::set_permissions(key_file(&database), Permissions::from_mode(0o600)).expect("chmod");
    start(&plain_settings(&database)).await.expect("the restored one opens").close().await;
}

async fn a_key_file_open_to_others_is_refused() {
    let database = TestDatabase::empty_sqlite();
    start(&plain_settings(&database)).await.expect("a first start").close().await;
    std::fs::set_permissions(key_file(&database), Permissions::from_mode(0o644)).expect("chmod");

    let refused = start(&plain_settings(&database)).await.err().expect("refused");

    let (sentence, file) = (refused.to_string(), key_file(&database));
    assert!(sentence.contains(&format!("run `chmod 600 {}`", file.display())), "{sentence}");
    std::fs::set_permissions(file, Permissions::from_mode(0o600)).expect("chmod");
    start(&plain_settings(&database)).await.expect("done as it said").close().await;
}

async fn a_database_open_to_others_is_refused() {
    let database = TestDatabase::empty_sqlite();
    start(&plain_settings(&database)).await.expect("a first start").close().await;
    let file = database.sqlite_file();
    let directory = file.parent().expect("one").to_owned();

    for (path, open, mended) in [(file, 0o644, 0o600), (directory, 0o755, 0o700)] {
        std::fs::set_permissions(&path, Permissions::from_mode(open)).expect("chmod");
        let refused = start(&plain_settings(&database)).await.err().expect("refused");
        let sentence = refused.to_string();
        assert!(sentence.contains(&format!("run `chmod {mended:o} {}`", path.display())), "{sentence}");
        std::fs::set_permissions(&path, Permissions::from_mode(mended)).expect("chmod");
        start(&plain_settings(&database)).await.expect("done as it said").close().await;
    }
}

async fn a_schema_newer_than_the_binary_is_refused_before_anything_is_written(database: TestDatabase) {
    let db = open(&database).await;
    let future = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                  select 9999, 'of the future', success, checksum, execution_time from _sqlx_migrations
                  where version = 1";
    run(&db, future).await;
    let before = facts(&db).await;

    for migrate in ["true", "false"] {
        let settings = settings(&database, &[("GRANTD_DATABASE__MIGRATE", migrate)]);
        let refused = start(&settings).await.err().expect("refused");

        assert!(matches!(refused, StartError::Schema(SchemaError::Newer { applied: 9999, .. })), "{refused}");
        let sentence = refused.to_string();
        assert!(
            sentence.contains("schema version 9999") && sentence.contains("at least as new"),
            "{sentence}"
        );
        assert_eq!(facts(&db).await, before);
    }
    db.close().await;
}

async fn without_leave_to_migrate_an_empty_database_stays_empty(database: TestDatabase) {
    let mut settings = plain_settings(&database);
    settings.database.migrate = false;

    let refused = start(&settings).await.err().expect("refused");

    assert!(matches!(refused, StartError::Schema(SchemaError::Behind { applied: 0, .. })), "{refused}");
    let sentence = refused.to_string();
    assert!(sentence.contains("database.migrate is false"), "{sentence}");
    assert!(sentence.contains("run 'grantd migrate'"), "{sentence}");
    let db = open(&database).await;
    assert_eq!(tables(&db).await, Vec::<String>::new());
    if database.kind == DatabaseKind::Sqlite {
        assert!(!key_file(&database).exists());
    }
    migrate(&db).await.expect("done as it said");
    db.close().await;
    start(&settings).await.expect("up to date is all it asks for").close().await;
}

async fn a_failed_migration_leaves_the_old_schema(database: TestDatabase) {
    let db = open(&database).await;
    // In the way of the first migration, after it has made several tables.
    run(&db, "create table roles (somebody_elses text)").await;

    let refused = start(&plain_settings(&database)).await.err().expect("refused");

    assert!(matches!(refused, StartError::Schema(SchemaError::Failed(_))), "{refused}");
    let sentence = refused.to_string();
    assert!(sentence.contains("the schema is as it was"), "{sentence}");
    assert!(sentence.contains("roles") && sentence.contains("already exists"), "{sentence}");
    let mut left = tables(&db).await;
    left.retain(|table| table != "_sqlx_migrations");
    assert_eq!(left, ["roles"]);
    assert_eq!(status(&db).await.expect("readable").applied, 0);
    if database.kind == DatabaseKind::Sqlite {
        assert!(!key_file(&database).exists());
    }
    run(&db, "drop table roles").await;
    db.close().await;
    start(&plain_settings(&database)).await.expect("nothing is in the way any more").close().await;
}

async fn a_port_in_use_is_named_with_its_setting(database: TestDatabase) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    for (variable, key) in
        [("GRANTD_SERVER__LISTEN", "server.listen"), ("GRANTD_MANAGEMENT__LISTEN", "management.listen")]
    {
        let settings = settings(&database, &[(variable, &address)]);

        let refused = Server::build(&settings, Clock::System).await.err().expect("refused");

        assert!(matches!(refused, ServeError::Bind { .. }), "{refused}");
        let sentence = refused.to_string();
        assert!(sentence.starts_with(&format!("cannot listen on {address} ({key}): ")), "{sentence}");
        assert!(sentence.contains("in use") && sentence.contains("set another address"), "{sentence}");
    }
}

async fn an_unreachable_postgres_is_named_without_its_password() {
    let database = TestDatabase::empty_sqlite();
    // A port that was free a moment ago: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let url = format!("postgres://somebody:canary-word@127.0.0.1:{port}/grantd");
    let settings = settings(&database, &[("GRANTD_DATABASE__URL", &url)]);

    let ended = tokio::time::timeout(Duration::from_secs(30), start(&settings)).await;

    let refused = ended.expect("an operator is not left waiting").err().expect("refused");
    let sentence = format!("{refused}");
    assert!(sentence.contains(&format!("postgres://127.0.0.1:{port}")), "{sentence}");
    assert!(sentence.contains("refused"), "the cause itself, not that a pool timed out: {sentence}");
    assert!(!format!("{refused} {refused:?}").contains("canary"), "{refused:?}");
}

async fn a_postgres_without_this_database_says_which(database: TestDatabase) {
    let mut url = url::Url::parse(&database.url).expect("a URL");
    url.set_path("/no_such_database");
    let settings = settings(&database, &[("GRANTD_DATABASE__URL", url.as_str())]);

    let refused = start(&settings).await.err().expect("refused");

    assert!(matches!(refused, StartError::Open(OpenError::Connect { .. })), "{refused}");
    assert!(refused.to_string().contains("no_such_database"), "{refused}");
}

async fn a_directory_that_cannot_be_made_is_named() {
    let database = TestDatabase::empty_sqlite();
    let in_the_way = database.sqlite_file().with_file_name("a file");
    std::fs::write(&in_the_way, "no directory").expect("written");
    let wanted = in_the_way.join("grantd.db");
    let url = format!("sqlite://{}", wanted.display());

    let refused =
        start(&settings(&database, &[("GRANTD_DATABASE__URL", &url)])).await.err().expect("refused");

    assert!(matches!(refused, StartError::Open(OpenError::File(_))), "{refused}");
    let sentence = refused.to_string();
    assert!(sentence.contains(&format!("cannot make the database file {}", wanted.display())), "{sentence}");
    assert!(sentence.contains("check database.url"), "{sentence}");
}

async fn a_file_that_is_no_database_stays_as_it_is() {
    let database = TestDatabase::empty_sqlite();
    let content = "a shopping list, not a database: ".repeat(500);
    std::fs::write(database.sqlite_file(), &content).expect("written");
    std::fs::set_permissions(database.sqlite_file(), Permissions::from_mode(0o600)).expect("chmod");

    let refused = start(&plain_settings(&database)).await.err().expect("refused");

    let sentence = refused.to_string();
    assert!(sentence.contains(&database.sqlite_file().display().to_string()), "{sentence}");
    assert!(sentence.contains("not a database"), "{sentence}");
    assert_eq!(std::fs::read_to_string(database.sqlite_file()).expect("readable"), content);
    assert!(!key_file(&database).exists());
}
