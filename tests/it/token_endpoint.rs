//! The token endpoint as RFC 6749 wants it, over real sockets: each grant, each error, each header.

use grantd::model::client::{AuthMethod, GrantType};
use serde_json::json;

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, ISSUER, PASSWORD, PUBLIC, TestServer};

trials! {
    both: [
        client_credentials_gives_an_access_token_and_no_refresh_token,
        a_login_gives_both_tokens_and_a_refresh_gives_both_anew,
        a_public_client_logs_in_without_a_secret,
    ],
    sqlite: [
        a_client_authenticates_by_basic_post_or_not_at_all_as_registered,
        every_failed_client_authentication_looks_alike,
    ],
}

const CLIENT_CREDENTIALS: &[(&str, &str)] = &[("grant_type", "client_credentials")];

async fn client_credentials_gives_an_access_token_and_no_refresh_token(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;

    let answer = server.token_as(("app", &secret), CLIENT_CREDENTIALS).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("pragma"), "no-cache");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("x-request-id").len(), 36);
    let body = answer.json();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(600)));
    assert_eq!((&body["scope"], body.get("refresh_token")), (&json!("read write"), None));
    let claims = answer.claims();
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(ISSUER), &json!(ISSUER)));
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("app"), &json!("app")));
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_800_000_000), &json!(1_800_000_600)));
    assert_eq!(claims["scope"], "read write");
    let jose = answer.jose();
    assert_eq!((&jose["typ"], &jose["alg"]), (&json!("at+jwt"), &json!("ES256")));
    server.stop().await;
}

async fn a_login_gives_both_tokens_and_a_refresh_gives_both_anew(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    server.user("alice", &[]).await;

    let login = server.login(("app", &secret), "Alice").await;
    assert_eq!(login.status, 200, "{login:?}");
    server.pass(100);
    let refreshed = server.refresh(("app", &secret), &login.text("refresh_token")).await;

    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    assert_ne!(refreshed.text("refresh_token"), login.text("refresh_token"));
    assert_ne!(refreshed.claims()["jti"], login.claims()["jti"]);
    let claims = refreshed.claims();
    assert_eq!(claims["sub"], login.claims()["sub"]);
    assert_ne!(claims["sub"], "alice");
    assert_eq!(claims["preferred_username"], "alice");
    assert_eq!((&claims["auth_time"], &claims["iat"]), (&json!(1_800_000_000), &json!(1_800_000_100)));
    assert_eq!(claims.get("roles"), None);
    server.stop().await;
}

async fn a_public_client_logs_in_without_a_secret(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    server.client("spa", PUBLIC).await;
    server.user("alice", &[]).await;

    let form =
        [("grant_type", "password"), ("client_id", "spa"), ("username", "alice"), ("password", PASSWORD)];
    let login = server.token(&form).await;

    assert_eq!(login.status, 200, "{login:?}");
    let token = login.text("refresh_token");
    let form = [("grant_type", "refresh_token"), ("client_id", "spa"), ("refresh_token", token.as_str())];
    assert_eq!(server.token(&form).await.status, 200);
    server.stop().await;
}

async fn a_client_authenticates_by_basic_post_or_not_at_all_as_registered(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let both = server.full_client("both").await;
    let only = |methods| ClientOf { methods, grants: &[GrantType::ClientCredentials], ..ClientOf::default() };
    let basic = server.client("basic", only(&[AuthMethod::ClientSecretBasic])).await;
    let basic = basic.secret.expect("a secret").expose().to_owned();
    let post = |id: &'static str, secret: &str| {
        let form = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
        form.map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let send = async |form: &[(String, String)]| {
        let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        server.token(&form).await
    };

    assert_eq!(server.token_as(("both", &both), CLIENT_CREDENTIALS).await.status, 200);
    assert_eq!(send(&post("both", &both)).await.status, 200);
    assert_eq!(server.token_as(("basic", &basic), CLIENT_CREDENTIALS).await.status, 200);
    let refused = send(&post("basic", &basic)).await;
    assert_eq!(refused.refusal(), (401, "invalid_client".into()));
    assert_eq!(refused.header("www-authenticate"), "", "no header was used");
    server.stop().await;
}

async fn every_failed_client_authentication_looks_alike(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    server.full_client("off").await;
    server.client("spa", PUBLIC).await;
    let off = "off".parse().expect("an id");
    server.app.set_client_enabled(&off, grantd::app::clients::Switch::Off).await.expect("a client");
    server.app.reload().await.expect("a database");

    let mut seen: Vec<Answer> = Vec::new();
    for (id, secret) in
        [("app", "wrong"), ("nobody", &secret), ("off", &secret), ("spa", &secret), ("app", "")]
    {
        seen.push(server.token_as((id, secret), CLIENT_CREDENTIALS).await);
    }

    for answer in &seen {
        assert_eq!(answer.refusal(), (401, "invalid_client".into()));
        assert_eq!(answer.header("www-authenticate"), format!(r#"Basic realm="{ISSUER}", charset="UTF-8""#));
        assert_eq!(answer.body, seen[0].body);
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    server.stop().await;
}
