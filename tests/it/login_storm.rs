//! What becomes of a login that does not fit: refused at once, at no cost, and nobody else hears of it.
//!
//! The places are held by the test itself, so nothing here depends on how fast anything is; how fast a refusal is,
//! says `benches/storm.rs`.

use grantd::passwords::Admission;

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, PASSWORD, TestServer};

trials! {
    both: [a_login_that_does_not_fit_consumes_nothing],
    sqlite: [
        as_many_logins_fit_as_there_are_threads_and_places_in_the_queue,
        a_login_that_does_not_fit_is_refused_before_the_database_is_asked,
        while_no_login_fits_everything_else_is_answered,
    ],
}

const NARROW: [(&str, &str); 2] = [("GRANTD_PASSWORDS__THREADS", "2"), ("GRANTD_PASSWORDS__QUEUE", "3")];

/// Takes the places that are left.
fn fill(server: &TestServer) -> Vec<Admission> {
    // Bounded, so that a pool without a bound fails the test instead of filling the memory.
    std::iter::from_fn(|| server.app.pool().admit().ok()).take(100).collect()
}

async fn guess(server: &TestServer, secret: &str, username: &str, password: &str) -> Answer {
    let form = [("grant_type", "password"), ("username", username), ("password", password)];
    server.token_as(("app", secret), &form).await
}

#[track_caller]
fn assert_does_not_fit(answer: &Answer) {
    assert_eq!(answer.refusal(), (503, "temporarily_unavailable".into()), "{answer:?}");
    assert!(answer.text("error_description").starts_with("Too many logins at once"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.header("cache-control"), "no-store");
}

async fn as_many_logins_fit_as_there_are_threads_and_places_in_the_queue(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &NARROW).await;

    let mut held = fill(&server);

    assert_eq!(held.len(), 5);
    assert_does_not_fit(&server.login(("app", &secret), "alice").await);
    held.pop();
    assert_eq!(server.login(("app", &secret), "alice").await.status, 200);
    assert_eq!(server.login(("app", &secret), "alice").await.status, 200, "the place was given back");
    server.stop().await;
}

async fn a_login_that_does_not_fit_consumes_nothing(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &NARROW).await;
    let held = fill(&server);
    let hashes = server.app.pool().counts().hashes;

    let mut answers = Vec::new();
    for (username, password) in [("alice", PASSWORD), ("alice", "a wrong guess"), ("nobody", "a wrong guess")]
    {
        for _ in 0..6 {
            answers.push(guess(&server, &secret, username, password).await);
        }
    }

    for answer in &answers {
        assert_does_not_fit(answer);
        assert_eq!(answer.body, answers[0].body, "who exists is not to be seen");
    }
    assert_eq!(server.app.pool().counts().hashes, hashes);
    drop(held);
    // As many as are free of any wait: none was counted before.
    for username in ["alice", "nobody"] {
        for _ in 0..5 {
            let answer = guess(&server, &secret, username, "a wrong guess").await;
            assert_eq!(answer.refusal(), (400, "invalid_grant".into()), "{answer:?}");
        }
        assert_eq!(guess(&server, &secret, username, "a wrong guess").await.status, 429);
    }
    server.stop().await;
}

async fn a_login_that_does_not_fit_is_refused_before_the_database_is_asked(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &NARROW).await;
    let held = fill(&server);
    server.app.close().await;

    // A storm of reads would hold up everybody else's, a storm of writes even more.
    assert_does_not_fit(&server.login(("app", &secret), "alice").await);

    drop(held);
    let asked = server.login(("app", &secret), "alice").await;
    assert!(asked.text("error_description").contains("database"), "{asked:?}");
    server.stop().await;
}

async fn while_no_login_fits_everything_else_is_answered(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &NARROW).await;
    let token = server.login(("app", &secret), "alice").await.text("refresh_token");
    let _held = fill(&server);

    let form = [("grant_type", "client_credentials")];
    assert_eq!(server.token_as(("app", &secret), &form).await.status, 200);
    assert_eq!(server.refresh(("app", &secret), &token).await.status, 200);
    assert_eq!(server.get("/.well-known/jwks.json").await.status, 200);
    assert_does_not_fit(&server.login(("app", &secret), "alice").await);
    server.stop().await;
}
