//! A server whose database can be read and not written: locked, read-only, full, or a file that is not there any more.
//! The same holds as when it is away (`outage.rs`), readiness included, and nothing is answered 200 that would be lost.

use std::path::PathBuf;
use std::time::Duration;

use grantd::app::clock::Clock;
use grantd::storage::Db;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::sync::Mutex;

use crate::outage::{CLIENT_CREDENTIALS, assert_put_off, operator, outage, say, until};
use crate::storage::open;
use crate::support::database::TestDatabase;
use crate::support::program::Home;
use crate::support::relay::Relay;
use crate::support::runner::trials;
use crate::support::server::{Answer, PASSWORD, TestServer, client};

trials! {
    sqlite: [
        while_another_process_holds_the_lock_writes_are_put_off,
        many_who_wait_for_a_lock_are_all_answered,
        while_the_file_is_moved_away_writes_are_put_off,
        while_another_file_has_its_name_writes_are_put_off,
        nothing_is_given_out_by_a_file_that_was_deleted,
    ],
    postgres: [
        while_postgres_is_read_only_writes_are_put_off,
        while_postgres_is_full_writes_are_put_off,
    ],
    both: [a_revocation_that_cannot_be_written_is_not_said_to_be_done],
    plain: [a_disk_that_takes_no_more_puts_writes_off],
}

async fn while_another_process_holds_the_lock_writes_are_put_off(database: TestDatabase) {
    let other_process = open(&database).await;
    let Db::Sqlite { write, .. } = &other_process else { panic!("this is about SQLite") };
    let lock = Mutex::new(None);

    let begin =
        async || *lock.lock().await = Some(write.begin_with("begin immediate").await.expect("the lock"));
    let end = async || {
        let lock = lock.lock().await.take();
        lock.expect("it was taken").rollback().await.expect("released");
    };
    outage(&database, &[], begin, end).await;

    other_process.close().await;
}

async fn many_who_wait_for_a_lock_are_all_answered(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    let app = ("app", secret.as_str());
    server.user("alice", &[]).await;
    let kept = server.login(app, "alice").await.text("refresh_token");
    let other_process = open(&database).await;
    let Db::Sqlite { write, .. } = &other_process else { panic!("this is about SQLite") };

    let lock = write.begin_with("begin immediate").await.expect("the lock");
    let all = futures_util::future::join_all((0..100).map(|_| server.refresh(app, &kept)));
    for answer in tokio::time::timeout(Duration::from_secs(30), all).await.expect("nobody waits for ever") {
        assert_put_off(&answer);
    }
    lock.rollback().await.expect("released");

    let refreshed = server.refresh(app, &kept).await;
    assert_eq!(refreshed.status, 200, "a refused request consumes nothing: {refreshed:?}");
    other_process.close().await;
    server.stop().await;
}

fn beside(database: &TestDatabase) -> (PathBuf, PathBuf) {
    let file = database.sqlite_file();
    let away = file.with_extension("away");
    (file, away)
}

async fn while_the_file_is_moved_away_writes_are_put_off(database: TestDatabase) {
    let (file, away) = beside(&database);

    let begin = async || std::fs::rename(&file, &away).expect("moved");
    let end = async || std::fs::rename(&away, &file).expect("moved back");
    outage(&database, &[], begin, end).await;
}

async fn while_another_file_has_its_name_writes_are_put_off(database: TestDatabase) {
    let (file, away) = beside(&database);

    let begin = async || {
        std::fs::rename(&file, &away).expect("moved");
        std::fs::copy(&away, &file).expect("a backup in its place");
    };
    let end = async || std::fs::rename(&away, &file).expect("moved back");
    outage(&database, &[], begin, end).await;
}

async fn nothing_is_given_out_by_a_file_that_was_deleted(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    let app = ("app", secret.as_str());
    server.user("alice", &[]).await;
    let kept = server.login(app, "alice").await.text("refresh_token");

    std::fs::remove_file(database.sqlite_file()).expect("deleted");

    // Open connections would still write, and nobody would ever read it.
    assert_put_off(&server.login(app, "alice").await);
    assert_put_off(&server.refresh(app, &kept).await);
    assert!(server.app.revoke_sessions(&grantd::app::sessions::Sessions::All).await.is_err());
    until("unreadiness", async || server.get("/health/ready").await.status == 503).await;
    assert_eq!(server.token_as(app, CLIENT_CREDENTIALS).await.status, 200);
    server.stop().await;
}

async fn while_postgres_is_read_only_writes_are_put_off(database: TestDatabase) {
    let operator = Mutex::new(operator(&database).await);
    let name = database.url.rsplit('/').next().expect("a name").split('?').next().expect("a name");

    let begin = async || {
        let mut operator = operator.lock().await;
        say(&mut operator, format!("alter database {name} set default_transaction_read_only = on")).await;
        let others = "select pg_terminate_backend(pid) from pg_stat_activity
                      where datname = current_database() and pid <> pg_backend_pid()";
        say(&mut operator, others.to_owned()).await;
    };
    // Sessions that were begun meanwhile are still read-only.
    let end = async || {
        let sql = format!("alter database {name} reset default_transaction_read_only");
        say(&mut *operator.lock().await, sql).await;
    };
    outage(&database, &[], begin, end).await;
}

/// A trigger that says what Postgres says, for a tablespace of its own would need another machine.
async fn while_postgres_is_full_writes_are_put_off(database: TestDatabase) {
    const TABLES: [&str; 4] = ["families", "users", "installation", "revisions"];
    let operator = Mutex::new(operator(&database).await);
    let function = "create function full_disk() returns trigger language plpgsql as
        $$ begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$";
    say(&mut *operator.lock().await, function.to_owned()).await;

    let begin = async || {
        for table in TABLES {
            let sql = format!(
                "create trigger full_disk before insert or update on {table}
                 for each statement execute function full_disk()"
            );
            say(&mut *operator.lock().await, sql).await;
        }
    };
    let end = async || {
        for table in TABLES {
            say(&mut *operator.lock().await, format!("drop trigger full_disk on {table}")).await;
        }
    };
    outage(&database, &[], begin, end).await;
}

async fn a_revocation_that_cannot_be_written_is_not_said_to_be_done(database: TestDatabase) {
    // By the clock of the command, lest it find keys to look after.
    let server = TestServer::start_at(&database, &[], Clock::default()).await;
    let secret = server.full_client("app").await;
    let app = ("app", secret.as_str());
    server.user("alice", &[]).await;
    let kept = server.login(app, "alice").await.text("refresh_token");
    let key = ("GRANTD_KEYS__ENCRYPTION_KEY", "J0bGq0eXo9nH5Yx1mZ3kQv7RtUu2WcLdE8sFa4iPpTg=");
    let other_process = open(&database).await;

    let refused = match &other_process {
        Db::Sqlite { write, .. } => {
            let lock = write.begin_with("begin immediate").await.expect("the lock");
            let home = Home::new(&[("GRANTD_DATABASE__URL", &database.url), key]);
            let refused = home.run(&["session", "revoke", "--all", "--json"]);
            lock.rollback().await.expect("released");
            refused
        }
        Db::Postgres(_) => {
            let relay = Relay::before(&database).await;
            relay.cut().await;
            Home::new(&[("GRANTD_DATABASE__URL", &relay.url), key])
                .run(&["session", "revoke", "--all", "--json"])
        }
    };

    assert_eq!((refused.status, refused.stdout.as_str()), (1, ""), "{refused:?}");
    assert!(refused.stderr.contains("database"), "{refused:?}");
    let refreshed = server.refresh(app, &kept).await;
    assert_eq!(refreshed.status, 200, "nothing was revoked");
    let home = Home::new(&[("GRANTD_DATABASE__URL", &database.url), key]);
    assert_eq!(home.json(&["session", "revoke", "--all"])["revoked"], 1);
    let worthless = server.refresh(app, &refreshed.text("refresh_token")).await;
    assert_eq!(worthless.refusal(), (400, "invalid_grant".into()));
    other_process.close().await;
    server.stop().await;
}

/// The real binary under a limit on the size of files, which fails writes as a full disk does; the signal that comes
/// with it would end a process that does not expect it. The error in the midst of a transaction is SQLite's own, which
/// ends the transaction behind sqlx's back.
fn a_disk_that_takes_no_more_puts_writes_off() {
    let home = Home::new(&[]);
    let grants = ["--grant", "password", "--grant", "refresh_token", "--grant", "client_credentials"];
    let create = ["client", "create", "app", "--scope", "read"];
    let made = home.json(&[create.as_slice(), grants.as_slice()].concat());
    let secret = made["client_secret"].as_str().expect("a secret").to_owned();
    home.json_with(&["user", "create", "alice", "--password-stdin"], PASSWORD);
    let server = home.serve(&["serve"]);
    let url = server.url.clone();
    let pid = Pid::from_raw(i32::try_from(server.pid()).expect("a pid")).expect("a pid");
    let limit = |to: Option<u64>| {
        let limit = Rlimit { current: to, maximum: None };
        prlimit(Some(pid), Resource::Fsize, limit).expect("it is our own process");
    };

    actix_web::rt::System::new().block_on(async {
        let http = client();
        let token = async |form: &[(&str, &str)]| {
            let request = http.post(format!("{url}/token")).basic_auth("app", Some(&secret)).form(form);
            Answer::of(request.send().await.expect("an answer")).await
        };
        let login = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
        let ready = async || {
            http.get(format!("{url}/health/ready")).send().await.expect("an answer").status().as_u16()
        };
        let kept = token(&login).await.text("refresh_token");
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", kept.as_str())];

        for _ in 0..2 {
            limit(Some(1024));

            assert_put_off(&token(&login).await);
            assert_put_off(&token(&refresh).await);
            until("unreadiness", async || ready().await == 503).await;
            assert_put_off(&token(&login).await);
            assert_eq!(token(CLIENT_CREDENTIALS).await.status, 200);
            assert_eq!(http.get(format!("{url}/health/live")).send().await.expect("alive").status(), 200);

            limit(None);

            until("readiness", async || ready().await == 200).await;
            assert_eq!(token(&login).await.status, 200, "{}", server.log());
        }
        let refreshed = token(&refresh).await;
        assert_eq!(refreshed.status, 200, "a refused request consumes nothing: {refreshed:?}");
        assert_eq!(
            server.log().matches("the database is away").count(),
            2,
            "once an outage: {}",
            server.log()
        );
        assert_eq!(
            server.log().matches("the database is back").count(),
            2,
            "once an outage: {}",
            server.log()
        );
    });
}
