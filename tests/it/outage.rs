//! A server whose Postgres goes away under it: what needs no database goes on, what needs it says 503 and when to ask
//! again, nothing that is still good is called invalid, and all heals by itself.
//!
//! Databases that can be read and not written are in `outage_writes.rs`.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use url::Url;

use crate::support::database::TestDatabase;
use crate::support::relay::{Relay, Weather};
use crate::support::runner::trials;
use crate::support::server::{Answer, TestServer};

trials! {
    postgres: [
        while_postgres_is_stopped_what_needs_no_database_goes_on,
        while_postgres_is_deaf_what_needs_no_database_goes_on,
        connections_that_lead_nowhere_are_replaced,
        while_postgres_takes_no_more_connections_what_needs_no_database_goes_on,
        a_slow_postgres_slows_only_what_needs_it,
        a_refresh_whose_commit_never_arrived_is_done_by_the_retry,
        a_refresh_whose_commit_went_unanswered_is_answered_by_the_retry,
        a_login_whose_commit_was_lost_costs_nothing,
    ],
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("this never came: {what}");
}

const URL: &str = "GRANTD_DATABASE__URL";
pub(crate) const CLIENT_CREDENTIALS: &[(&str, &str)] = &[("grant_type", "client_credentials")];

pub(crate) fn assert_put_off(answer: &Answer) {
    assert_eq!(answer.refusal(), (503, "temporarily_unavailable".into()), "{answer:?}");
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    for cause in ["pool", "locked", "Postgres", "SQLite", "127.0.0.1", "disk", ".db"] {
        assert!(!answer.body.contains(cause), "the cause is the log's, not the client's: {}", answer.body);
    }
}

async fn while_postgres_is_stopped_what_needs_no_database_goes_on(database: TestDatabase) {
    let relay = Relay::before(&database).await;
    outage(&database, &[(URL, &relay.url)], async || relay.cut().await, async || relay.mend().await).await;
}

async fn while_postgres_is_deaf_what_needs_no_database_goes_on(database: TestDatabase) {
    let relay = Relay::before(&database).await;
    let (freeze, thaw) = (async || relay.turns(Weather::Frozen), async || relay.turns(Weather::Fair));
    outage(&database, &[(URL, &relay.url)], freeze, thaw).await;
}

async fn connections_that_lead_nowhere_are_replaced(database: TestDatabase) {
    let relay = Relay::before(&database).await;
    // So few that each counts.
    let settings = [(URL, relay.url.as_str()), ("GRANTD_DATABASE__MAX_CONNECTIONS", "2")];
    let server = TestServer::start_with(&database, &settings).await;
    let secret = server.full_client("app").await;
    let app = ("app", secret.as_str());
    server.user("alice", &[]).await;
    let (one, two) = (server.login(app, "alice").await, server.login(app, "alice").await);
    let (one, two) = (one.text("refresh_token"), two.text("refresh_token"));

    relay.turns(Weather::DeafFromCommit);
    let (first, second) = tokio::join!(server.refresh(app, &one), server.refresh(app, &two));
    assert_put_off(&first);
    assert_put_off(&second);
    relay.turns(Weather::Fair);

    until("readiness", async || server.get("/health/ready").await.status == 200).await;
    // Postgres itself ends what was begun there and holds the row.
    for kept in [one, two] {
        until("the refresh", async || server.refresh(app, &kept).await.status == 200).await;
    }
    server.stop().await;
}

async fn while_postgres_takes_no_more_connections_what_needs_no_database_goes_on(database: TestDatabase) {
    let mut operator = operator(&database).await;
    // A superuser has no limit.
    let mut url = Url::parse(&database.url).expect("a URL");
    let role = format!("{}_limited", url.path().trim_start_matches('/'));
    say(&mut operator, format!("create role {role} login password 'limited'")).await;
    say(&mut operator, format!("grant all on schema public to {role}")).await;
    say(&mut operator, format!("grant all on all tables in schema public to {role}")).await;
    url.set_username(&role).expect("a URL with a user");
    url.set_password(Some("limited")).expect("a URL with a password");
    let limit = |to: i32| format!("alter role {role} connection limit {to}");
    let end_all = format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'");

    {
        let operator = tokio::sync::Mutex::new(&mut operator);
        let begin = async || {
            say(*operator.lock().await, limit(0)).await;
            say(*operator.lock().await, end_all.clone()).await;
        };
        let end = async || say(*operator.lock().await, limit(-1)).await;
        outage(&database, &[(URL, url.as_str())], begin, end).await;
    }

    say(&mut operator, end_all).await;
    say(&mut operator, format!("drop owned by {role}")).await;
    say(&mut operator, format!("drop role {role}")).await;
}

/// What holds of every outage, from its beginning to its end and after it.
pub(crate) async fn outage(
    database: &TestDatabase,
    settings: &[(&str, &str)],
    begin: impl AsyncFn(),
    end: impl AsyncFn(),
) {
    let server = TestServer::start_with(database, settings).await;
    let secret = server.full_client("app").await;
    let app = ("app", secret.as_str());
    server.user("alice", &[]).await;
    let login = server.login(app, "alice").await;
    assert_eq!(login.status, 200, "{login:?}");
    let kept = login.text("refresh_token");
    let keys = server.get("/.well-known/jwks.json").await.body;
    until("readiness", async || server.get("/health/ready").await.status == 200).await;

    begin().await;

    assert_put_off(&server.refresh(app, &kept).await);
    assert_put_off(&server.login(app, "alice").await);
    until("unreadiness", async || server.get("/health/ready").await.status == 503).await;
    let ready = server.get("/health/ready").await;
    assert_eq!(ready.json()["checks"]["database"], "failed");
    assert_eq!(ready.json()["checks"]["keys"], "ok");
    assert_eq!(server.get("/health/live").await.status, 200);
    assert_eq!(server.token_as(app, CLIENT_CREDENTIALS).await.status, 200);
    assert_eq!(server.get("/.well-known/jwks.json").await.body, keys);
    // Who a client is, is known from memory: a wrong secret is still wrong, and a malformed request malformed.
    assert_eq!(server.token_as(("app", "wrong"), CLIENT_CREDENTIALS).await.refusal().0, 401);
    assert_eq!(server.token_as(app, &[]).await.refusal(), (400, "invalid_request".into()));
    // Neither is anything written in haste once it is known that the database is away.
    assert_put_off(&server.refresh(app, &kept).await);

    end().await;

    until("readiness", async || server.get("/health/ready").await.status == 200).await;
    let refreshed = server.refresh(app, &kept).await;
    assert_eq!(refreshed.status, 200, "a refused request consumes nothing: {refreshed:?}");
    assert_eq!(server.refresh(app, &refreshed.text("refresh_token")).await.status, 200);
    assert_eq!(server.login(app, "alice").await.status, 200, "no outage counts as a failed login");
    server.stop().await;
}

async fn a_slow_postgres_slows_only_what_needs_it(database: TestDatabase) {
    let relay = Relay::before(&database).await;
    let server = TestServer::start_with(&database, &[(URL, &relay.url)]).await;
    let secret = server.full_client("app").await;
    let app = ("app", secret.as_str());
    server.user("alice", &[]).await;
    let kept = server.login(app, "alice").await.text("refresh_token");

    relay.turns(Weather::Slow(Duration::from_millis(500)));
    let waiting = async { tokio::join!(server.refresh(app, &kept), server.login(app, "alice")) };
    let fast = async {
        for _ in 0..20 {
            assert_eq!(server.token_as(app, CLIENT_CREDENTIALS).await.status, 200);
            assert_eq!(server.get("/.well-known/jwks.json").await.status, 200);
            assert_eq!(server.get("/health/live").await.status, 200);
        }
    };
    // Changes are still obeyed: a question that takes long is not broken off to be asked anew.
    let obeyed = async {
        let elsewhere = TestServer::start(&database).await;
        let late = elsewhere.full_client("late").await;
        let known = async || server.token_as(("late", late.as_str()), CLIENT_CREDENTIALS).await.status == 200;
        until("obedience", known).await;
        elsewhere.stop().await;
    };
    let bounded =
        tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(waiting, fast, obeyed) }).await;
    let ((refreshed, logged_in), (), ()) = bounded.expect("no request waits without bound");
    relay.turns(Weather::Fair);

    // Right or put off, and nothing else.
    for answer in [&refreshed, &logged_in] {
        if answer.status != 200 {
            assert_put_off(answer);
        }
    }
    until("readiness", async || server.get("/health/ready").await.status == 200).await;
    let again = server.refresh(app, &kept).await;
    assert_eq!(again.status, 200, "{again:?}");
    if refreshed.status == 200 {
        assert_eq!(again.text("refresh_token"), refreshed.text("refresh_token"), "the same successor");
    }
    assert_eq!(server.login(app, "alice").await.status, 200);
    server.stop().await;
}

async fn a_refresh_whose_commit_never_arrived_is_done_by_the_retry(database: TestDatabase) {
    let (retried, generation) = lost_in_the_commit(&database, Weather::LosesCommit).await;
    assert_eq!(generation, 0, "the transaction was undone");
    assert_eq!(retried.status, 200, "{retried:?}");
}

async fn a_refresh_whose_commit_went_unanswered_is_answered_by_the_retry(database: TestDatabase) {
    let (retried, generation) = lost_in_the_commit(&database, Weather::LosesCommitted).await;
    assert_eq!(generation, 1, "the transaction was carried out");
    assert_eq!(retried.status, 200, "{retried:?}");
}

/// The answer to the retry of a refresh whose commit was lost, and the generation of the family before the retry.
async fn lost_in_the_commit(database: &TestDatabase, weather: Weather) -> (Answer, i64) {
    let relay = Relay::before(database).await;
    let server = TestServer::start_with(database, &[(URL, &relay.url)]).await;
    let secret = server.full_client("app").await;
    let app = ("app", secret.as_str());
    server.user("alice", &[]).await;
    let kept = server.login(app, "alice").await.text("refresh_token");

    relay.turns(weather);
    assert_put_off(&server.refresh(app, &kept).await);
    relay.turns(Weather::Fair);

    let mut operator = operator(database).await;
    let (generation,): (i64,) =
        sqlx::query_as("select generation from families").fetch_one(&mut operator).await.expect("one family");
    let retried = server.refresh(app, &kept).await;
    // One line of tokens, whatever became of the commit: what was handed out is live, and asking again changes nothing.
    let again = server.refresh(app, &kept).await;
    assert_eq!(again.text("refresh_token"), retried.text("refresh_token"));
    assert_eq!(server.refresh(app, &retried.text("refresh_token")).await.status, 200);
    assert_eq!(server.refresh(app, &kept).await.refusal(), (400, "invalid_grant".into()), "now it is reuse");
    server.stop().await;
    (retried, generation)
}

async fn a_login_whose_commit_was_lost_costs_nothing(database: TestDatabase) {
    let relay = Relay::before(&database).await;
    let settings = [(URL, relay.url.as_str()), ("GRANTD_THROTTLE__FREE_ATTEMPTS", "2")];
    let server = TestServer::start_with(&database, &settings).await;
    let secret = server.full_client("app").await;
    let app = ("app", secret.as_str());
    server.user("alice", &[]).await;

    for weather in [Weather::LosesCommit, Weather::LosesCommitted, Weather::LosesCommit] {
        relay.turns(weather);
        assert_put_off(&server.login(app, "alice").await);
        relay.turns(Weather::Fair);
    }

    let login = server.login(app, "alice").await;
    assert_eq!(login.status, 200, "no outage counts as a failed login: {login:?}");
    assert_eq!(server.refresh(app, &login.text("refresh_token")).await.status, 200);
    server.stop().await;
}

/// A connection that no relay and no limit stands before.
pub(crate) async fn operator(database: &TestDatabase) -> PgConnection {
    PgConnection::connect(&database.url).await.expect("Postgres answers")
}

pub(crate) async fn say(operator: &mut PgConnection, sql: String) {
    let said = operator.execute(sqlx::raw_sql(AssertSqlSafe(sql.as_str()))).await;
    said.unwrap_or_else(|error| panic!("{sql}: {error}"));
}
