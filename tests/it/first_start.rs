//! First starts, alone and eight at once, and starts on what is there already: one schema, one key file, one active
//! and one pending key, whoever makes them, and never again.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use grantd::app::App;
use grantd::app::clock::Clock;
use grantd::app::open::StartError;
use grantd::model::key::{KeyState, SigningAlgorithm, SigningKeyInfo};
use grantd::settings::Settings;
use grantd::startup::{Purpose, open_app};
use grantd::storage::{Db, installation, migrate, revisions};

use crate::storage::open;
use crate::support::database::{DatabaseKind, TestDatabase};
use crate::support::runner::trials;
use crate::support::server::{START, settings};

trials! {
    empty: [
        an_empty_database_is_brought_up_to_date_once,
        eight_first_starts_at_once_make_one_of_everything,
        a_restart_keeps_the_keys,
    ],
    alone: [
        what_a_first_start_makes_is_for_its_user_alone,
        eight_starts_with_one_key_file_that_is_gone_make_none,
    ],
}

/// The settings of somebody who only says where the database is. On Postgres they must also give a key.
pub(crate) fn plain_settings(database: &TestDatabase) -> Settings {
    let mut settings = settings(database, &[]);
    if database.kind == DatabaseKind::Sqlite {
        settings.keys.encryption_key = None;
    }
    settings
}

pub(crate) async fn start(settings: &Settings) -> Result<std::sync::Arc<App>, StartError> {
    open_app(settings, Purpose::Administer, Clock::manual(START)).await
}

/// The tables there are.
pub(crate) async fn tables(db: &Db) -> Vec<String> {
    let found: Result<Vec<(String,)>, _> = match db {
        Db::Sqlite { readers, .. } => {
            let reader = &mut readers.connect().await.expect("a connection");
            let sql = "select name from sqlite_master where type = 'table' order by name";
            sqlx::query_as(sql).fetch_all(reader).await
        }
        Db::Postgres(lender) => {
            let pool = &mut lender.connect().await.expect("a connection");
            let sql = "select cast(tablename as text) from pg_tables where schemaname = 'public' order by 1";
            sqlx::query_as(sql).fetch_all(pool).await
        }
    };
    found.expect("a catalogue").into_iter().map(|(name,)| name).collect()
}

/// Runs SQL that grantd would not.
pub(crate) async fn run(db: &Db, sql: &'static str) {
    let ran = match db {
        Db::Sqlite { write, .. } => sqlx::raw_sql(sql).execute(write).await.map(drop),
        Db::Postgres(lender) => {
            sqlx::raw_sql(sql).execute(&mut lender.connect().await.expect("a connection")).await.map(drop)
        }
    };
    ran.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

pub(crate) fn key_file(database: &TestDatabase) -> PathBuf {
    database.sqlite_file().with_file_name("grantd.key")
}

pub(crate) fn mode(path: &Path) -> u32 {
    let metadata = std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    metadata.permissions().mode() & 0o7777
}

fn kid_in_use(app: &App) -> String {
    app.signer(SigningAlgorithm::Es256).expect("a key that signs").kid().to_string()
}

fn states(keys: &[SigningKeyInfo]) -> Vec<&'static str> {
    let mut states: Vec<_> = keys.iter().map(|key| key.state.name()).collect();
    states.sort_unstable();
    states
}

async fn an_empty_database_is_brought_up_to_date_once(database: TestDatabase) {
    let db = open(&database).await;

    let before = migrate::status(&db).await.expect("readable");
    assert_eq!((before.applied, before.migrations.iter().any(|(.., applied)| *applied)), (0, false));
    assert_eq!(migrate::current(&db).await.expect("not newer"), before);
    assert_eq!(tables(&db).await, Vec::<String>::new(), "asking makes nothing");

    assert_eq!(migrate::migrate(&db).await.expect("migrated"), before.migrations.len());
    let (after, made) = (migrate::status(&db).await.expect("readable"), tables(&db).await);
    assert_eq!((after.applied, after.known), (before.known, before.known));
    assert!(after.migrations.iter().all(|(.., applied)| *applied));
    assert!(made.iter().any(|table| table == "families"), "{made:?}");

    assert_eq!(migrate::migrate(&db).await.expect("nothing to do"), 0);
    assert_eq!(migrate::status(&db).await.expect("readable"), after);
    assert_eq!(tables(&db).await, made);
    db.close().await;
}

/// What one of several instances ended up with.
struct Instance {
    kid: String,
    keys: Vec<SigningKeyInfo>,
}

/// Starts eight instances, each a thread with a runtime of its own, at one moment.
fn start_eight(settings: impl Fn() -> Settings + Sync) -> Vec<Result<Instance, String>> {
    let together = Barrier::new(8);
    let one = || {
        let settings = settings();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        together.wait();
        runtime.block_on(async {
            let app = start(&settings).await.map_err(|error| error.to_string())?;
            let keys = app.list_keys().await.expect("readable");
            let kid = kid_in_use(&app);
            app.close().await;
            Ok(Instance { kid, keys })
        })
    };
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
        starts.into_iter().map(|start| start.join().expect("no panic")).collect()
    })
}

async fn eight_first_starts_at_once_make_one_of_everything(database: TestDatabase) {
    let instances = start_eight(|| plain_settings(&database));

    let instances: Vec<_> =
        instances.into_iter().map(|instance| instance.expect("an instance that starts")).collect();
    let kids: HashSet<_> = instances.iter().map(|instance| &instance.kid).collect();
    assert_eq!(kids.len(), 1, "all sign with one key: {kids:?}");
    let db = open(&database).await;
    assert_eq!(migrate::migrate(&db).await.expect("nothing to do"), 0);
    db.close().await;
    let app = start(&plain_settings(&database)).await.expect("the key file is the right one");
    assert_eq!(states(&app.list_keys().await.expect("readable")), ["active", "pending"]);
    assert_eq!(&kid_in_use(&app), *kids.iter().next().expect("one"));
    for instance in &instances {
        assert!(states(&instance.keys).starts_with(&["active"]), "{:?}", instance.keys);
    }
    app.close().await;
    if database.kind == DatabaseKind::Sqlite {
        assert_eq!(mode(&key_file(&database)), 0o600);
    }
}

async fn a_restart_keeps_the_keys(database: TestDatabase) {
    let settings = plain_settings(&database);
    let first = start(&settings).await.expect("a first start");
    let (kid, keys) = (kid_in_use(&first), first.list_keys().await.expect("readable"));
    assert_eq!(states(&keys), ["active", "pending"]);
    assert!(keys.iter().any(|key| matches!(key.state, KeyState::Active { since } if since == START)));
    first.close().await;
    let db = open(&database).await;
    let facts = async || {
        let fingerprint = installation::read(&db, "encryption_key_fingerprint").await.expect("readable");
        (revisions::read(&db).await.expect("readable"), fingerprint.expect("there since the first start"))
    };
    let before = facts().await;
    let file = (database.kind == DatabaseKind::Sqlite).then(|| std::fs::read(key_file(&database)));

    let second = start(&settings).await.expect("a restart");

    assert_eq!(kid_in_use(&second), kid);
    assert_eq!(second.list_keys().await.expect("readable"), keys);
    assert_eq!(facts().await, before, "nothing was written");
    if let Some(file) = file {
        assert_eq!(std::fs::read(key_file(&database)).expect("a key file"), file.expect("a key file"));
    }
    second.close().await;
    db.close().await;
}

async fn what_a_first_start_makes_is_for_its_user_alone() {
    let database = TestDatabase::empty_sqlite();
    let directory = database.sqlite_file().with_file_name("not").join("there yet");
    let url = format!("sqlite://{}", directory.join("grantd.db").display());
    let mut settings = settings(&database, &[("GRANTD_DATABASE__URL", &url)]);
    settings.keys.encryption_key = None;

    let app = start(&settings).await.expect("a first start");

    for made in [&directory, directory.parent().expect("a parent")] {
        assert_eq!(mode(made), 0o700, "{}", made.display());
    }
    let mut names = Vec::new();
    for file in std::fs::read_dir(&directory).expect("a directory") {
        let path = file.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().expect("a name").to_string_lossy().into_owned());
    }
    for name in ["grantd.db", "grantd.db-wal", "grantd.key"] {
        assert!(names.iter().any(|made| made == name), "{name} in {names:?}");
    }
    app.close().await;
}

async fn eight_starts_with_one_key_file_that_is_gone_make_none() {
    let database = TestDatabase::empty_sqlite();
    start(&plain_settings(&database)).await.expect("a first start").close().await;
    std::fs::remove_file(key_file(&database)).expect("there was one");

    let refused = start_eight(|| plain_settings(&database));

    for refused in refused {
        let sentence = refused.err().expect("no start without the key");
        assert!(sentence.contains("grantd.key is missing"), "{sentence}");
        assert!(sentence.contains("restore it from a backup"), "{sentence}");
    }
    assert!(!key_file(&database).exists());
}
