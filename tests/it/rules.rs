//! The rules of scopes, roles and audiences as tables, each row asked over HTTP.

use grantd::model::client::Registration;
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, ISSUER, PASSWORD, TestServer};

trials! {
    both: [a_user_is_granted_by_registration_and_roles, a_client_is_granted_by_registration_alone],
    sqlite: [
        a_refresh_is_granted_by_the_first_request_and_by_now,
        a_token_is_for_what_is_asked_among_what_is_registered,
        a_refreshed_token_is_for_what_is_asked_among_the_first,
        an_empty_scope_or_roles_claim_is_left_out_and_scope_is_always_in_the_answer,
        a_malformed_scope_is_told_apart_from_nothing_but_never_granted,
    ],
    alone: [a_client_without_audience_gets_the_default_one],
}

/// What a row expects: the granted scope, or the error code.
type Expected = Result<&'static str, &'static str>;

const INVALID_SCOPE: Expected = Err("invalid_scope");

/// A server where `admin` holds `users.write` and `audit`, and `auditor` holds `audit` and a scope of no client.
async fn house(database: &TestDatabase) -> TestServer {
    let server = TestServer::start(database).await;
    server.role("admin", "users.write audit").await;
    server.role("auditor", "audit elsewhere").await;
    server.role("idle", "nothing.here").await;
    for (name, roles) in [
        ("nobody", &[][..]),
        ("admin", &["admin"]),
        ("auditor", &["auditor"]),
        ("both", &["auditor", "admin"]),
        ("idler", &["idle"]),
    ] {
        server.user(name, roles).await;
    }
    server.app.reload().await.expect("a database");
    server
}

/// Registers a client for a scope and audiences; gives its secret.
async fn client(server: &TestServer, id: &str, scope: &str, audience: &[&str]) -> String {
    let made = server.client(id, ClientOf { scope, audience, ..ClientOf::default() }).await;
    made.secret.expect("a confidential client").expose().to_owned()
}

async fn ask(
    server: &TestServer,
    client: (&str, &str),
    grant: &[(&str, &str)],
    wish: &[(&str, &str)],
) -> Answer {
    server.token_as(client, &[grant, wish].concat()).await
}

fn password_of(user: &str) -> [(&str, &str); 3] {
    [("grant_type", "password"), ("username", user), ("password", PASSWORD)]
}

const AS_ITSELF: &[(&str, &str)] = &[("grant_type", "client_credentials")];

fn refresh_with(token: &str) -> [(&str, &str); 2] {
    [("grant_type", "refresh_token"), ("refresh_token", token)]
}

fn scope_wish(asked: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    asked.map(|scope| ("scope", scope)).into_iter().collect()
}

/// The answer and the access token say the same, and it is what the row says.
#[track_caller]
fn assert_granted(answer: &Answer, expected: Expected, row: &str) {
    match expected {
        Ok(scope) => {
            assert_eq!(answer.status, 200, "{row}: {answer:?}");
            assert_eq!(answer.text("scope"), scope, "{row}");
            let claim = answer.claims().get("scope").cloned();
            assert_eq!(claim, (!scope.is_empty()).then(|| json!(scope)), "{row}");
        }
        Err(code) => assert_eq!(answer.refusal(), (400, code.into()), "{row}"),
    }
}

async fn a_user_is_granted_by_registration_and_roles(database: TestDatabase) {
    let server = house(&database).await;

    let rows: &[(&str, &str, Option<&'static str>, Expected)] = &[
        // Naming none asks for all that are registered.
        ("read write", "nobody", None, Ok("read write")),
        ("read write", "nobody", Some(""), Ok("read write")),
        ("read write", "nobody", Some("read"), Ok("read")),
        ("read write", "nobody", Some("write read"), Ok("read write")),
        ("read write", "nobody", Some("read read"), Ok("read")),
        // Anything that is not registered spoils the whole request.
        ("read write", "nobody", Some("admin"), INVALID_SCOPE),
        ("read write", "nobody", Some("read admin"), INVALID_SCOPE),
        ("read write", "nobody", Some("READ"), INVALID_SCOPE),
        ("read write", "nobody", Some("rea"), INVALID_SCOPE),
        // A role gives no scope that the client is not registered for.
        ("read write", "admin", Some("users.write"), INVALID_SCOPE),
        ("read write", "both", None, Ok("read write")),
        // A scope in a role reaches its holders; the others lose it silently.
        ("read users.write", "nobody", None, Ok("read")),
        ("read users.write", "nobody", Some("read users.write"), Ok("read")),
        ("read users.write", "admin", None, Ok("read users.write")),
        ("read users.write", "auditor", None, Ok("read")),
        ("read users.write", "idler", None, Ok("read")),
        // One role of several is enough.
        ("audit read", "nobody", None, Ok("read")),
        ("audit read", "admin", None, Ok("audit read")),
        ("audit read", "auditor", None, Ok("audit read")),
        ("audit users.write read", "auditor", None, Ok("audit read")),
        ("audit users.write read", "both", None, Ok("audit read users.write")),
        // Something was asked for and nothing is left.
        ("read users.write", "nobody", Some("users.write"), INVALID_SCOPE),
        ("users.write", "nobody", None, INVALID_SCOPE),
        ("users.write audit", "idler", None, INVALID_SCOPE),
        ("users.write audit", "auditor", None, Ok("audit")),
        // A client without scopes.
        ("", "nobody", None, Ok("")),
        ("", "admin", None, Ok("")),
        ("", "admin", Some("users.write"), INVALID_SCOPE),
        ("", "nobody", Some("read"), INVALID_SCOPE),
    ];
    for (number, (registered, user, asked, expected)) in rows.iter().enumerate() {
        let id = format!("client-{number}");
        let secret = client(&server, &id, registered, &[]).await;

        let answer = ask(&server, (&id, &secret), &password_of(user), &scope_wish(*asked)).await;

        assert_granted(&answer, *expected, &format!("{user} asks {asked:?} of {registered:?}"));
    }
    server.stop().await;
}

async fn a_client_is_granted_by_registration_alone(database: TestDatabase) {
    let server = house(&database).await;

    let rows: &[(&str, Option<&'static str>, Expected)] = &[
        ("read users.write", None, Ok("read users.write")),
        ("read users.write", Some("users.write"), Ok("users.write")),
        ("users.write audit", None, Ok("audit users.write")),
        ("read", Some(""), Ok("read")),
        ("read", Some("users.write"), INVALID_SCOPE),
        ("read", Some("read users.write"), INVALID_SCOPE),
        ("", None, Ok("")),
        ("", Some("read"), INVALID_SCOPE),
    ];
    for (number, (registered, asked, expected)) in rows.iter().enumerate() {
        let id = format!("client-{number}");
        let secret = client(&server, &id, registered, &[]).await;

        let answer = ask(&server, (&id, &secret), AS_ITSELF, &scope_wish(*asked)).await;

        assert_granted(&answer, *expected, &format!("{asked:?} of {registered:?}"));
        if expected.is_ok() {
            let claims = answer.claims();
            assert_eq!((claims.get("roles"), claims.get("preferred_username")), (None, None));
            assert_eq!(claims["sub"], json!(id));
        }
    }
    server.stop().await;
}

async fn a_refresh_is_granted_by_the_first_request_and_by_now(database: TestDatabase) {
    struct Row {
        user: &'static str,
        first: Option<&'static str>,
        then_registered: &'static str,
        asked: Option<&'static str>,
        expected: Expected,
    }
    const BEFORE: &str = "audit read write";
    let row =
        |user, first, then_registered, asked, expected| Row { user, first, then_registered, asked, expected };
    let server = house(&database).await;

    let rows = [
        row("admin", None, BEFORE, None, Ok("audit read write")),
        row("admin", None, BEFORE, Some("audit"), Ok("audit")),
        row("admin", Some("read"), BEFORE, None, Ok("read")),
        row("admin", Some("read"), BEFORE, Some("audit"), INVALID_SCOPE),
        row("admin", Some("read"), BEFORE, Some("read audit"), INVALID_SCOPE),
        // Named in the first request, but not granted then: left out silently, as it was then.
        row("nobody", None, BEFORE, None, Ok("read write")),
        row("nobody", None, BEFORE, Some("audit read"), Ok("read")),
        row("nobody", None, BEFORE, Some("audit"), INVALID_SCOPE),
        row("nobody", Some("audit read"), BEFORE, Some("audit read"), Ok("read")),
        // Registered later is beyond the first request; registered no more is left out.
        row("admin", None, "audit read write new", Some("new"), INVALID_SCOPE),
        row("admin", None, "audit read write new", None, Ok("audit read write")),
        row("admin", None, "read", None, Ok("read")),
        row("admin", None, "read", Some("read write"), Ok("read")),
        row("admin", None, "read", Some("write"), INVALID_SCOPE),
        row("admin", None, "new", None, INVALID_SCOPE),
        row("admin", None, "", None, INVALID_SCOPE),
    ];
    for (number, Row { user, first, then_registered, asked, expected }) in rows.iter().enumerate() {
        let id = format!("client-{number}");
        let secret = client(&server, &id, BEFORE, &[]).await;
        let login = ask(&server, (&id, &secret), &password_of(user), &scope_wish(*first)).await;
        let parsed = then_registered.parse().expect("a scope");
        let change = |it: Registration| Registration { scope: parsed, ..it };
        server.app.update_client(&id.parse().expect("an id"), change, None).await.expect("a client");

        let token = login.text("refresh_token");
        let answer = ask(&server, (&id, &secret), &refresh_with(&token), &scope_wish(*asked)).await;

        let row = format!("{user}: {first:?}, then {asked:?} of {then_registered:?}");
        assert_granted(&answer, *expected, &row);
    }
    server.stop().await;
}

/// Registered or asked at first, asked now, and the `aud` or the error code.
type AudienceRow<'a> = (&'a [&'a str], &'a [&'a str], Result<Value, &'a str>);

const NO_TARGET: Result<Value, &str> = Err("invalid_target");

fn assert_audience(answer: &Answer, expected: &Result<Value, &str>, row: &str) {
    match expected {
        Ok(aud) => {
            assert_eq!(answer.status, 200, "{row}: {answer:?}");
            assert_eq!(answer.claims()["aud"], *aud, "{row}");
        }
        Err(code) => assert_eq!(answer.refusal(), (400, (*code).into()), "{row}"),
    }
}

fn resources<'a>(uris: &[&'a str]) -> Vec<(&'static str, &'a str)> {
    uris.iter().map(|uri| ("resource", *uri)).collect()
}

async fn a_token_is_for_what_is_asked_among_what_is_registered(database: TestDatabase) {
    let server = house(&database).await;

    let (x, y) = ("https://x.example/api", "urn:y");
    let rows: &[AudienceRow<'_>] = &[
        (&[x], &[], Ok(json!(x))),
        (&[x, y], &[], Ok(json!([x, y]))),
        (&[x, y], &[x], Ok(json!(x))),
        (&[x, y], &[y, x], Ok(json!([x, y]))),
        (&[x, y], &[y, y], Ok(json!(y))),
        (&[x, y], &[""], Ok(json!([x, y]))),
        (&[x], &[y], NO_TARGET),
        (&[x], &[x, y], NO_TARGET),
        // RFC 8707 §2: compared as it stands, and nothing is derived from it.
        (&[x], &["https://x.example/api/"], NO_TARGET),
        (&[x], &["https://X.example/api"], NO_TARGET),
        (&[x], &["https://x.example"], NO_TARGET),
        (&[x], &["https://x.example/api#part"], NO_TARGET),
        (&[x], &["api"], NO_TARGET),
        (&[], &[x], NO_TARGET),
        // The issuer is what nobody named, not what anybody may name.
        (&[x], &[ISSUER], NO_TARGET),
    ];
    for (number, (registered, asked, expected)) in rows.iter().enumerate() {
        let id = format!("client-{number}");
        let secret = client(&server, &id, "read", registered).await;
        let wish = resources(asked);

        for grant in [AS_ITSELF, &password_of("nobody")] {
            let answer = ask(&server, (&id, &secret), grant, &wish).await;

            assert_audience(&answer, expected, &format!("{} {asked:?} of {registered:?}", grant[0].1));
        }
    }
    server.stop().await;
}

async fn a_refreshed_token_is_for_what_is_asked_among_the_first(database: TestDatabase) {
    let server = house(&database).await;

    let (x, y) = ("https://x.example/api", "urn:y");
    let rows: &[AudienceRow<'_>] = &[
        (&[], &[], Ok(json!([x, y]))),
        (&[], &[y], Ok(json!(y))),
        (&[x], &[], Ok(json!(x))),
        (&[x], &[x], Ok(json!(x))),
        (&[x], &[y], NO_TARGET),
        (&[x], &[x, y], NO_TARGET),
        (&[x, y], &[y, x], Ok(json!([x, y]))),
        (&[x, y], &["urn:z"], NO_TARGET),
    ];
    let secret = client(&server, "app", "read", &[x, y]).await;
    for (first, asked, expected) in rows {
        let login = ask(&server, ("app", &secret), &password_of("nobody"), &resources(first)).await;

        let token = login.text("refresh_token");
        let answer = ask(&server, ("app", &secret), &refresh_with(&token), &resources(asked)).await;

        assert_audience(&answer, expected, &format!("{first:?}, then {asked:?}"));
    }
    server.stop().await;
}

async fn a_client_without_audience_gets_the_default_one() {
    let named = [("GRANTD_TOKENS__DEFAULT_AUDIENCE", "urn:everything")];
    for (overrides, expected) in [(&[][..], ISSUER), (&named, "urn:everything")] {
        let database = TestDatabase::sqlite();
        let server = TestServer::start_with(&database, overrides).await;
        server.user("alice", &[]).await;
        let bare = client(&server, "bare", "read", &[]).await;
        let bound = client(&server, "bound", "read", &["urn:x"]).await;

        let machine = ask(&server, ("bare", &bare), AS_ITSELF, &[]).await;
        assert_eq!(machine.claims()["aud"], expected);
        let login = ask(&server, ("bare", &bare), &password_of("alice"), &[]).await;
        assert_eq!(login.claims()["aud"], expected);
        let token = login.text("refresh_token");
        let refreshed = ask(&server, ("bare", &bare), &refresh_with(&token), &[]).await;
        assert_eq!(refreshed.claims()["aud"], expected);
        assert_eq!(ask(&server, ("bound", &bound), AS_ITSELF, &[]).await.claims()["aud"], "urn:x");
        server.stop().await;
    }
}

async fn an_empty_scope_or_roles_claim_is_left_out_and_scope_is_always_in_the_answer(database: TestDatabase) {
    let server = house(&database).await;
    let bare = client(&server, "bare", "", &[]).await;
    let full = client(&server, "full", "read", &[]).await;

    for (id, secret, user, scope, roles) in [
        ("bare", &bare, "nobody", None, None),
        ("bare", &bare, "both", None, Some(json!(["admin", "auditor"]))),
        ("full", &full, "nobody", Some(json!("read")), None),
        ("full", &full, "idler", Some(json!("read")), Some(json!(["idle"]))),
    ] {
        let login = ask(&server, (id, secret), &password_of(user), &[]).await;
        let token = login.text("refresh_token");
        let refreshed = ask(&server, (id, secret), &refresh_with(&token), &[]).await;

        for answer in [&login, &refreshed] {
            let claims = answer.claims();
            assert_eq!(claims.get("scope"), scope.as_ref(), "{id} {user}");
            assert_eq!(claims.get("roles"), roles.as_ref(), "{id} {user}");
            assert_eq!(answer.json()["scope"], scope.clone().unwrap_or_else(|| json!("")), "{id} {user}");
        }
    }
    let machine = ask(&server, ("bare", &bare), AS_ITSELF, &[]).await;
    assert_eq!((machine.claims().get("scope"), machine.text("scope")), (None, String::new()));
    server.stop().await;
}

async fn a_malformed_scope_is_told_apart_from_nothing_but_never_granted(database: TestDatabase) {
    let server = house(&database).await;
    let secret = client(&server, "app", "read write", &[]).await;
    let token = ask(&server, ("app", &secret), &password_of("nobody"), &[]).await.text("refresh_token");

    // RFC 6749 §3.3: names of %x21 / %x23-5B / %x5D-7E with one space between.
    for scope in [
        " ",
        " read",
        "read ",
        "read  write",
        "read\twrite",
        "read\nwrite",
        "\"read\"",
        "re\\ad",
        "r\u{e9}ad",
    ] {
        for grant in [AS_ITSELF, &password_of("nobody"), &refresh_with(&token)] {
            let answer = ask(&server, ("app", &secret), grant, &[("scope", scope)]).await;

            assert_eq!(answer.refusal(), (400, "invalid_scope".into()), "{} {scope:?}", grant[0].1);
        }
    }
    assert_eq!(ask(&server, ("app", &secret), &refresh_with(&token), &[]).await.status, 200);
    server.stop().await;
}
