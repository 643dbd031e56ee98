//! The support's own proof: databases are real and private, absence is told from failure.

use libtest_mimic::Completion;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::support::database::{DatabaseKind, TestDatabase};
use crate::support::runner::{Absence, missing, not_here, outcome_of, trials};

trials! {
    both: [what_is_written_is_read_back, two_tests_never_share_a_database],
    empty: [an_empty_database_has_no_table],
    plain: [a_panic_fails_its_trial_with_message_and_place, what_is_missing_is_counted_here_and_fails_in_ci],
}

async fn what_is_written_is_read_back(database: TestDatabase) {
    let read = on(&database, "create table note (id bigint primary key, text text not null)").await;
    assert_eq!(read, None);
    on(&database, "insert into note (id, text) values (1, 'kept')").await;

    let read = on(&database, "select text from note where id = 1").await;

    assert_eq!(read.as_deref(), Some("kept"));
}

async fn two_tests_never_share_a_database(database: TestDatabase) {
    let other = match database.kind {
        DatabaseKind::Sqlite => TestDatabase::sqlite(),
        DatabaseKind::Postgres => TestDatabase::postgres(),
    };

    on(&database, "create table only_here (text text)").await;
    on(&other, "create table only_here (text text)").await;

    assert_ne!(database.url, other.url);
}

async fn an_empty_database_has_no_table(database: TestDatabase) {
    let tables = match database.kind {
        DatabaseKind::Sqlite => "select name from sqlite_master",
        DatabaseKind::Postgres => "select tablename::text from pg_tables where schemaname = 'public'",
    };

    assert_eq!(on(&database, tables).await, None);
}

/// Runs one statement and gives the first column of its first row.
async fn on(database: &TestDatabase, sql: &'static str) -> Option<String> {
    let sql = AssertSqlSafe(sql);
    match database.kind {
        DatabaseKind::Sqlite => {
            let options: SqliteConnectOptions = database.url.parse().expect("a SQLite URL");
            let mut connection = options.create_if_missing(true).connect().await.expect("SQLite opens");
            let row = sqlx::query_scalar(sql).fetch_optional(&mut connection).await.expect("SQLite answers");
            connection.close().await.expect("SQLite closes");
            row
        }
        DatabaseKind::Postgres => {
            let options: PgConnectOptions = database.url.parse().expect("a Postgres URL");
            let mut connection = options.connect().await.expect("Postgres is there");
            let row =
                sqlx::query_scalar(sql).fetch_optional(&mut connection).await.expect("Postgres answers");
            connection.close().await.expect("Postgres says goodbye");
            row
        }
    }
}

fn a_panic_fails_its_trial_with_message_and_place() {
    let outcome = on_its_own_thread(|| outcome_of(|| panic!("no {}", "way"), Absence::IsCounted));

    let failed = outcome.err().expect("a panic fails");
    let message = failed.message().unwrap_or_default();
    assert!(message.contains("no way") && message.contains(file!()), "{message}");
}

fn what_is_missing_is_counted_here_and_fails_in_ci() {
    let outcome_with = |absence| on_its_own_thread(move || outcome_of(|| missing("no moon".into()), absence));

    let here = outcome_with(Absence::IsCounted);
    let in_ci = outcome_with(Absence::IsFailure);

    assert!(matches!(here, Ok(Completion::Ignored { reason: Some(why) }) if why == "no moon"));
    let failed = in_ci.err().expect("CI has everything");
    assert!(failed.message().is_some_and(|message| message.starts_with("no moon")));

    let rare = on_its_own_thread(|| outcome_of(|| not_here("no comet".into()), Absence::IsFailure));
    assert!(matches!(rare, Ok(Completion::Ignored { reason: Some(why) }) if why == "no comet"));
}

/// A trial inside a trial needs a thread, as every trial has one.
fn on_its_own_thread<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(run).join().expect("a trial's panic stays inside it")
}
