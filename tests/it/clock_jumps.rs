//! A clock that jumps: an hour ahead or back, to 1970, 2038 or 2106, and home again, between and in the midst of
//! requests. No family ever has two live tokens, nothing panics, and nothing is deleted or rotated by a time that lasts
//! only a moment.

use std::collections::HashSet;

use grantd::app::background::KEEP_ENDED;
use grantd::app::clock::Steadiness;
use grantd::app::sessions::Sessions;
use grantd::model::time::{Timestamp, Ttl};

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{START, TestServer};

trials! {
    both: [
        no_jump_of_the_clock_makes_two_live_tokens,
        sessions_outlive_a_clock_that_was_ahead_for_a_moment,
        keys_outlive_a_clock_that_was_ahead_for_a_moment,
        keys_rotate_on_after_a_clock_that_was_years_ahead,
        failed_logins_under_a_clock_that_was_ahead_lock_nobody_out,
    ],
}

const HOUR: Ttl = Ttl::from_secs(3600);
const EPOCH: Timestamp = Timestamp::from_secs(0);
/// One second after 32 bits with a sign.
const YEAR_2038: Timestamp = Timestamp::from_secs(1 << 31);
/// One second after 32 bits without.
const YEAR_2106: Timestamp = Timestamp::from_secs(1 << 32);

async fn no_jump_of_the_clock_makes_two_live_tokens(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", secret.as_str());
    let form = [("grant_type", "client_credentials")];
    let jumps =
        [START.plus(HOUR), START.minus(HOUR), EPOCH, YEAR_2038, YEAR_2106, Timestamp::from_secs(1 << 33)];

    for away in jumps {
        for (before, between, after) in [(START, away, START), (away, START, away), (START, away, away)] {
            server.clock.set(before);
            let login = server.login(app, "alice").await;
            assert_eq!(login.status, 200, "{before:?}: {login:?}");
            let first = login.text("refresh_token");

            // One token, presented by two at once while the clock jumps, and by a third after it jumped again.
            let jump = async { server.clock.set(between) };
            let (one, (), two) = tokio::join!(server.refresh(app, &first), jump, server.refresh(app, &first));
            server.clock.set(after);
            let three = server.refresh(app, &first).await;

            let answers = [one, two, three];
            for answer in &answers {
                assert!(
                    answer.status == 200 || answer.refusal() == (400, "invalid_grant".into()),
                    "{answer:?}"
                );
            }
            let successors: HashSet<_> = answers
                .iter()
                .filter(|answer| answer.status == 200)
                .map(|answer| answer.text("refresh_token"))
                .collect();
            assert!(successors.len() <= 1, "{before:?}, {between:?}, {after:?}: two live tokens");

            // Whoever uses the successor makes the first worthless for good, whatever the time.
            if let Some(successor) = successors.iter().next()
                && server.refresh(app, successor).await.status == 200
            {
                for now in [START, away] {
                    server.clock.set(now);
                    let reused = server.refresh(app, &first).await;
                    assert_eq!(reused.refusal(), (400, "invalid_grant".into()), "{now:?}");
                }
            }
            assert_eq!(server.token_as(app, &form).await.status, 200);
            assert_eq!(server.get("/.well-known/jwks.json").await.status, 200);
            assert_eq!(server.get("/").await.status, 200);
            server.app.list_sessions(&Sessions::All).await.expect("a list");
        }
    }
    server.stop().await;
}

async fn sessions_outlive_a_clock_that_was_ahead_for_a_moment(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", secret.as_str());
    let kept = server.login(app, "alice").await.text("refresh_token");
    let mut steadiness = Steadiness::default();
    server.app.forget_once(&mut steadiness).await;
    server.pass(600);
    server.app.forget_once(&mut steadiness).await;

    for ahead in [YEAR_2038, YEAR_2106] {
        server.clock.set(ahead);
        server.app.forget_once(&mut steadiness).await;
        server.pass(600);
        server.app.forget_once(&mut steadiness).await;
        assert_eq!(server.refresh(app, &kept).await.status, 400, "by this clock it has expired");
    }
    // Nor does a process delete at once that begins under such a clock.
    server.app.forget_once(&mut Steadiness::default()).await;
    server.clock.set(START.plus(Ttl::from_secs(1800)));
    server.app.forget_once(&mut steadiness).await;

    assert_eq!(server.refresh(app, &kept).await.status, 200);
    // What is over is deleted all the same, when the clock has come there steadily.
    server.pass(365 * 86_400);
    server.app.forget_once(&mut steadiness).await;
    server.clock.set(START.plus(KEEP_ENDED));
    assert!(server.app.list_sessions(&Sessions::All).await.expect("a list").is_empty());
    server.stop().await;
}

async fn keys_outlive_a_clock_that_was_ahead_for_a_moment(database: TestDatabase) {
    let (server, _) = TestServer::furnished(&database, &[]).await;
    let keys = async || server.get("/.well-known/jwks.json").await.body;
    let before = keys().await;
    let mut steadiness = Steadiness::default();
    server.app.look_after_keys_once(&mut steadiness).await;

    for away in [YEAR_2038, YEAR_2106, EPOCH, START.plus(Ttl::from_secs(40 * 86_400))] {
        server.clock.set(away);
        server.app.look_after_keys_once(&mut steadiness).await;
        server.pass(60);
        server.app.look_after_keys_once(&mut steadiness).await;
        assert_eq!(keys().await, before, "{away:?}");
    }
    server.clock.set(START);
    server.app.look_after_keys_once(&mut steadiness).await;
    assert_eq!(keys().await, before);

    // They rotate when their time has come steadily.
    server.pass(40 * 86_400);
    server.app.look_after_keys_once(&mut steadiness).await;
    assert_ne!(keys().await, before);
    server.stop().await;
}

async fn keys_rotate_on_after_a_clock_that_was_years_ahead(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", secret.as_str());
    let form = [("grant_type", "client_credentials")];
    // So long that it was believed, or while a command ran.
    server.clock.set(YEAR_2106);
    server.app.keep_keys_in_order().await.expect("keys");

    server.clock.set(START);
    server.app.keep_keys_in_order().await.expect("keys");
    let signer = server.token_as(app, &form).await.jose()["kid"].clone();
    server.pass(31 * 86_400);
    server.app.keep_keys_in_order().await.expect("keys");

    let next = server.token_as(app, &form).await.jose()["kid"].clone();
    assert_ne!(signer, next, "the next rotation is not in eighty years");
    server.stop().await;
}

async fn failed_logins_under_a_clock_that_was_ahead_lock_nobody_out(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", secret.as_str());
    let wrong = [("grant_type", "password"), ("username", "alice"), ("password", "wrong, wrong, wrong")];

    for away in [YEAR_2106, EPOCH] {
        server.clock.set(away);
        let mut last = server.token_as(app, &wrong).await.status;
        for _ in 0..20 {
            last = server.token_as(app, &wrong).await.status;
        }
        assert_eq!(last, 429, "{away:?}");

        server.clock.set(START);
        server.pass(15 * 60);
        assert_eq!(server.login(app, "alice").await.status, 200, "{away:?}");
    }
    server.stop().await;
}
