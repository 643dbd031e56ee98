//! Tokens and keys as a library that is not ours sees them: PyJWT's `PyJWKClient`.

use grantd::app::clock::Clock;
use grantd::app::signing_keys::Haste;

use crate::support::database::TestDatabase;
use crate::support::python::{Verification, verify_with_pyjwt};
use crate::support::runner::trials;
use crate::support::server::{ClientOf, ISSUER, TestServer};

trials! {
    sqlite: [
        pyjwt_takes_tokens_of_every_algorithm_and_refuses_them_elsewhere,
        pyjwt_takes_tokens_from_before_and_after_a_rotation,
        pyjwt_takes_a_user_s_token_for_the_audience_it_names,
    ],
}

fn verification(server: &TestServer, audience: &str) -> Verification {
    Verification {
        jwks_url: format!("{}/.well-known/jwks.json", server.url),
        issuer: ISSUER.into(),
        audience: audience.into(),
    }
}

async fn token_of(server: &TestServer, alg: &str) -> String {
    let id = format!("app-{alg}");
    let made = server.client(&id, ClientOf { alg: Some(alg), ..ClientOf::default() }).await;
    let secret = made.secret.expect("a secret");
    let answer = server.token_as((&id, secret.expose()), &[("grant_type", "client_credentials")]).await;
    assert_eq!(answer.jose()["alg"], alg, "{answer:?}");
    answer.text("access_token")
}

async fn pyjwt_takes_tokens_of_every_algorithm_and_refuses_them_elsewhere(database: TestDatabase) {
    let server = TestServer::start_at(&database, &[], Clock::System).await;

    for alg in ["ES256", "RS256", "PS256", "EdDSA", "ES384"] {
        let token = token_of(&server, alg).await;

        let claims = verify_with_pyjwt(&verification(&server, ISSUER), &token).await;
        assert_eq!(claims.expect("a good token")["client_id"], format!("app-{alg}"));
        let elsewhere = verify_with_pyjwt(&verification(&server, "https://other.example"), &token).await;
        assert!(elsewhere.expect_err("another audience").contains("Audience"), "{alg}");
    }
    server.stop().await;
}

async fn pyjwt_takes_tokens_from_before_and_after_a_rotation(database: TestDatabase) {
    let server = TestServer::start_at(&database, &[], Clock::System).await;
    let secret = server.full_client("app").await;
    let form = [("grant_type", "client_credentials")];
    let before = server.token_as(("app", &secret), &form).await;

    server.app.rotate_keys(Haste::Now).await.expect("a rotation");
    let after = server.token_as(("app", &secret), &form).await;

    assert_ne!(before.jose()["kid"], after.jose()["kid"]);
    for answer in [before, after] {
        let claims = verify_with_pyjwt(&verification(&server, ISSUER), &answer.text("access_token")).await;
        assert!(claims.is_ok(), "{claims:?}");
    }
    server.stop().await;
}

async fn pyjwt_takes_a_user_s_token_for_the_audience_it_names(database: TestDatabase) {
    let server = TestServer::start_at(&database, &[], Clock::System).await;
    let audience = &["https://orders.example", "https://stock.example"];
    let made = server.client("app", ClientOf { audience, ..ClientOf::default() }).await;
    let secret = made.secret.expect("a secret").expose().to_owned();
    server.user("alice", &[]).await;

    let both = server.login(("app", &secret), "alice").await.text("access_token");

    for audience in audience {
        let claims = verify_with_pyjwt(&verification(&server, audience), &both).await;
        assert_eq!(claims.expect("a good token")["preferred_username"], "alice");
    }
    server.stop().await;
}
