//! One test per sharp edge of oxide-auth 0.6.1, oxide-auth-actix 0.3.0 and oxide-auth-async 0.2.1 that could cut
//! somebody at `/token`. The numbers are names of the defects, in the order in which they were found.
//!
//! Not here, because they cannot reach this surface: 6, 14 to 17 and 19 are about the authorization endpoint and its
//! codes, which this server has not; 8 is a machine fed out of order, kept out by the drivers and tested beside them in
//! `src/protocol/oxide.rs`; 13 is about deserializing types that are never deserialized; 18 is the resource machine,
//! which is not used; 23 panics in a flow that is not used; 26 is about the size of the tree.

use std::collections::BTreeSet;

use grantd::app::clock::Clock;
use grantd::model::client::{AuthMethod, GrantType};

use crate::support::database::TestDatabase;
use crate::support::refusal::Challenge::{Absent, Given};
use crate::support::refusal::assert_refusal;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, PASSWORD, PUBLIC, TestServer};
use crate::support::wire::basic;

trials! {
    sqlite: [
        edge_1_an_error_is_explained_under_the_name_of_the_rfc,
        edge_2_no_authentication_is_invalid_client_and_a_challenge_has_a_realm,
        edge_3_basic_is_form_decoded,
        edge_4_basic_may_stand_beside_the_same_client_id_and_post_works_for_every_grant,
        edge_5_a_scope_that_may_not_be_had_is_invalid_scope_and_a_grant_that_may_not_is_unauthorized_client,
        edge_7_a_repeated_scope_never_grants_the_default,
        edge_7_every_resource_that_is_named_is_read,
        edge_9_a_public_client_cannot_refresh_the_token_of_another,
        edge_10_a_narrowed_refresh_does_not_narrow_the_family,
        edge_11_a_refresh_token_outlives_its_access_token,
        edge_12_expires_in_is_exact_the_type_is_bearer_and_scopes_are_sorted,
        edge_20_a_client_without_a_redirect_uri_gets_its_token,
        edge_21_codes_beyond_rfc_6749_are_said,
        edge_22_a_database_that_is_gone_is_a_503_and_not_a_refusal_of_the_grant,
        edge_24_what_the_extractor_swallows_is_told_apart_and_told_in_json,
        edge_25_the_scheme_is_read_in_any_case_for_every_grant,
    ],
}

const CLIENT_CREDENTIALS: &[(&str, &str)] = &[("grant_type", "client_credentials")];

async fn edge_1_an_error_is_explained_under_the_name_of_the_rfc(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;

    for form in [
        [("grant_type", "client_credentials"), ("scope", "admin")],
        [("grant_type", "refresh_token"), ("refresh_token", "grt_x")],
        [("grant_type", "refresh_token"), ("scope", "read")],
    ] {
        let body = server.token_as(("app", &secret), &form).await.json();
        let members: BTreeSet<_> = body.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(members, BTreeSet::from(["error", "error_description"]), "{body}");
    }
    server.stop().await;
}

async fn edge_2_no_authentication_is_invalid_client_and_a_challenge_has_a_realm(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    server.full_client("app").await;

    assert_refusal(&server.token(CLIENT_CREDENTIALS).await, 401, "invalid_client", Absent);
    let refused = server.token_as(("app", "wrong"), CLIENT_CREDENTIALS).await;
    assert_refusal(&refused, 401, "invalid_client", Given);
    server.stop().await;
}

async fn edge_3_basic_is_form_decoded(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("my.app").await;
    let encoded: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();

    let answer = server.token_as(("my%2Eapp", &encoded), CLIENT_CREDENTIALS).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.claims()["client_id"], "my.app");
    server.stop().await;
}

async fn edge_4_basic_may_stand_beside_the_same_client_id_and_post_works_for_every_grant(
    database: TestDatabase,
) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    server.user("alice", &[]).await;

    let same = [("grant_type", "client_credentials"), ("client_id", "app")];
    assert_eq!(server.token_as(("app", &secret), &same).await.status, 200);
    let other = [("grant_type", "client_credentials"), ("client_id", "other")];
    assert_eq!(server.token_as(("app", &secret), &other).await.refusal().0, 400);
    let post = [("client_id", "app"), ("client_secret", secret.as_str())];
    let machine = [&post[..], CLIENT_CREDENTIALS].concat();
    assert_eq!(server.token(&machine).await.status, 200);
    let login =
        [&post[..], &[("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)]].concat();
    let login = server.token(&login).await.text("refresh_token");
    let refresh = [&post[..], &[("grant_type", "refresh_token"), ("refresh_token", &login)]].concat();
    assert_eq!(server.token(&refresh).await.status, 200);
    server.stop().await;
}

async fn edge_5_a_scope_that_may_not_be_had_is_invalid_scope_and_a_grant_that_may_not_is_unauthorized_client(
    database: TestDatabase,
) {
    let server = TestServer::start(&database).await;
    let machine = ClientOf { grants: &[GrantType::ClientCredentials], ..ClientOf::default() };
    let secret = server.client("machine", machine).await.secret.expect("a secret");
    let client = ("machine", secret.expose());

    for scope in ["admin", "read admin", "read  write", "\"", " "] {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        assert_refusal(&server.token_as(client, &form).await, 400, "invalid_scope", Absent);
    }
    let refused = server.login(client, "alice").await;
    assert_refusal(&refused, 400, "unauthorized_client", Absent);
    server.stop().await;
}

async fn edge_7_a_repeated_scope_never_grants_the_default(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    server.user("alice", &[]).await;
    let client = ("app", secret.as_str());
    let token = server.login(client, "alice").await.text("refresh_token");

    for grant in [
        CLIENT_CREDENTIALS.to_vec(),
        vec![("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)],
        vec![("grant_type", "refresh_token"), ("refresh_token", &token)],
    ] {
        let twice = [grant, vec![("scope", "read"), ("scope", "read")]].concat();
        assert_refusal(&server.token_as(client, &twice).await, 400, "invalid_request", Absent);
    }
    server.stop().await;
}

async fn edge_7_every_resource_that_is_named_is_read(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let registered = ClientOf { audience: &["urn:a", "urn:b", "urn:c"], ..ClientOf::default() };
    let secret = server.client("app", registered).await.secret.expect("a secret");

    let form = [("grant_type", "client_credentials"), ("resource", "urn:c"), ("resource", "urn:a")];
    let answer = server.token_as(("app", secret.expose()), &form).await;

    assert_eq!(answer.claims()["aud"], serde_json::json!(["urn:a", "urn:c"]));
    server.stop().await;
}

async fn edge_9_a_public_client_cannot_refresh_the_token_of_another(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    server.client("spa", PUBLIC).await;
    server.client("thief", PUBLIC).await;
    server.user("alice", &[]).await;
    let login = server.login(("spa", ""), "alice").await;
    let token = login.text("refresh_token");
    let refresh = async |client_id: &str| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", &token), ("client_id", client_id)];
        server.token(&form).await
    };

    assert_refusal(&refresh("thief").await, 400, "invalid_grant", Absent);
    assert_refusal(&server.refresh(("thief", ""), &token).await, 400, "invalid_grant", Absent);
    assert_refusal(&refresh("").await, 401, "invalid_client", Absent);
    assert_eq!(refresh("spa").await.status, 200, "and nothing happened to the token");
    server.stop().await;
}

async fn edge_10_a_narrowed_refresh_does_not_narrow_the_family(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    server.user("alice", &[]).await;
    let client = ("app", secret.as_str());
    let login = server.login(client, "alice").await.text("refresh_token");

    let form = [("grant_type", "refresh_token"), ("refresh_token", login.as_str()), ("scope", "read")];
    let narrow = server.token_as(client, &form).await;
    let wide = server.refresh(client, &narrow.text("refresh_token")).await;

    assert_eq!((narrow.text("scope"), wide.text("scope")), ("read".into(), "read write".into()));
    server.stop().await;
}

async fn edge_11_a_refresh_token_outlives_its_access_token(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    server.user("alice", &[]).await;
    let client = ("app", secret.as_str());
    let login = server.login(client, "alice").await;

    server.pass(13 * 24 * 60 * 60);
    let refreshed = server.refresh(client, &login.text("refresh_token")).await;

    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    assert_eq!(refreshed.json()["expires_in"], 600);
    server.stop().await;
}

/// On the real clock, which never stands at a whole second.
async fn edge_12_expires_in_is_exact_the_type_is_bearer_and_scopes_are_sorted(database: TestDatabase) {
    let settings = [("GRANTD_TOKENS__ACCESS_TTL", "15m")];
    let server = TestServer::start_at(&database, &settings, Clock::default()).await;
    let registered = ClientOf { scope: "h g f e d c b a", ..ClientOf::default() };
    let secret = server.client("app", registered).await.secret.expect("a secret");
    let client = ("app", secret.expose());
    server.user("alice", &[]).await;

    for _ in 0..10 {
        let answer = server.token_as(client, CLIENT_CREDENTIALS).await;
        assert_eq!(
            (answer.json()["expires_in"].as_u64(), answer.text("token_type")),
            (Some(900), "Bearer".into())
        );
        assert_eq!(answer.text("scope"), "a b c d e f g h");
        let claims = answer.claims();
        assert_eq!(claims["scope"], "a b c d e f g h");
        assert_eq!(claims["exp"].as_i64().map(|exp| exp - 900), claims["iat"].as_i64());
    }
    let login = server.login(client, "alice").await;
    let refreshed = server.refresh(client, &login.text("refresh_token")).await;
    assert_eq!(refreshed.text("scope"), "a b c d e f g h");
    assert_eq!(refreshed.json()["expires_in"], 900);
    server.stop().await;
}

async fn edge_20_a_client_without_a_redirect_uri_gets_its_token(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;

    let answer = server.token_as(("app", &secret), CLIENT_CREDENTIALS).await;

    assert_eq!(answer.status, 200);
    assert!(!answer.claims().to_string().contains("oob"), "the constant stays inside");
    server.stop().await;
}

async fn edge_21_codes_beyond_rfc_6749_are_said(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    let client = ("app", secret.as_str());

    let form = [("grant_type", "client_credentials"), ("resource", "urn:elsewhere")];
    assert_refusal(&server.token_as(client, &form).await, 400, "invalid_target", Absent);
    for _ in 0..5 {
        server.login(client, "nobody").await;
    }
    assert_refusal(&server.login(client, "nobody").await, 429, "temporarily_unavailable", Absent);
    server.stop().await;
}

async fn edge_22_a_database_that_is_gone_is_a_503_and_not_a_refusal_of_the_grant(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    server.user("alice", &[]).await;
    let client = ("app", secret.as_str());
    let token = server.login(client, "alice").await.text("refresh_token");

    server.app.close().await;

    assert_refusal(&server.login(client, "alice").await, 503, "temporarily_unavailable", Absent);
    assert_refusal(&server.refresh(client, &token).await, 503, "temporarily_unavailable", Absent);
    assert_eq!(server.token_as(client, CLIENT_CREDENTIALS).await.status, 200, "from memory");
    server.stop().await;
}

async fn edge_24_what_the_extractor_swallows_is_told_apart_and_told_in_json(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    let header = basic(&format!("app:{secret}"));
    let send = async |headers: &[(&str, &str)], body: String| {
        let mut request = server.http.post(format!("{}/token", server.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send().await.expect("an answer")).await
    };
    let form = ("content-type", "application/x-www-form-urlencoded");
    let authorization = ("authorization", header.as_str());
    let good = || "grant_type=client_credentials".to_owned();

    let answers = [
        send(&[("content-type", "application/json"), authorization], "{}".into()).await,
        send(&[form, authorization], "x".repeat(20_000)).await,
        send(&[form, authorization], "x=%ff".into()).await,
        send(&[form, authorization, authorization], good()).await,
    ];

    let statuses = answers.iter().map(|answer| answer.status).collect::<Vec<_>>();
    assert_eq!(statuses, [400, 413, 400, 400]);
    let mut sentences = BTreeSet::new();
    for answer in &answers {
        assert_refusal(answer, answer.status, "invalid_request", Absent);
        sentences.insert(answer.text("error_description"));
    }
    assert_eq!(sentences.len(), answers.len(), "each has a sentence of its own");
    server.stop().await;
}

async fn edge_25_the_scheme_is_read_in_any_case_for_every_grant(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let registered = ClientOf { methods: &[AuthMethod::ClientSecretBasic], ..ClientOf::default() };
    let secret = server.client("app", registered).await.secret.expect("a secret");
    let secret = secret.expose();
    server.user("alice", &[]).await;
    let token = server.login(("app", secret), "alice").await.text("refresh_token");

    for form in [CLIENT_CREDENTIALS, &[("grant_type", "refresh_token"), ("refresh_token", token.as_str())]] {
        let header = basic(&format!("app:{secret}")).replace("Basic", "basic");
        let request = server.http.post(format!("{}/token", server.url)).header("authorization", header);
        let answer = Answer::of(request.form(form).send().await.expect("an answer")).await;
        assert_eq!(answer.status, 200, "{form:?}");
    }
    server.stop().await;
}
