//! `/verify`, as reverse proxies ask it: who may pass and with what, and that no caller makes it say more.

use grantd::app::sessions::Sessions;
use grantd::model::secret::PlainSecret;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api_keys::{API, House, OTHER, of_alice, of_batch};
use crate::dpop::proof;
use crate::support::database::TestDatabase;
use crate::support::jose::Key;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, ISSUER, PASSWORD, PUBLIC, START, TestServer};
use crate::token_exchange::is_active;

trials! {
    both: [
        a_key_passes_with_a_fresh_token_for_the_service_alone,
        a_token_that_was_revoked_does_not_pass,
    ],
    sqlite: [
        a_token_for_the_service_alone_passes_as_it_is_and_one_for_several_is_narrowed,
        rfc6750_3_a_refusal_is_a_challenge_and_says_what_is_missing,
        attack_nothing_that_a_caller_is_called_breaks_out_of_a_header,
        attack_a_token_is_not_widened_prolonged_or_unbound_by_asking,
        attack_a_misspelt_or_smuggled_question_lets_nobody_through,
        every_method_that_a_proxy_asks_by_is_answered,
        a_token_of_a_key_is_known_everywhere_as_any_other,
    ],
}

const FOR_API: &str = "audience=https://api.example";

async fn send(server: &TestServer, method: Method, query: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = server.http.request(method, format!("{}/verify?{query}", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.expect("an answer")).await
}

pub(crate) async fn ask_with_key(server: &TestServer, query: &str, key: &str) -> Answer {
    send(server, Method::GET, query, &[("X-API-Key", key)]).await
}

pub(crate) async fn ask(server: &TestServer, query: &str, token: &str) -> (u16, String) {
    let bearer = format!("Bearer {token}");
    let answer = send(server, Method::GET, query, &[("Authorization", &bearer)]).await;
    (answer.status, answer.header("authorization"))
}

/// The token that the service gets.
fn token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("authorization").strip_prefix("Bearer ").expect("a bearer token").to_owned()
}

fn claims(jwt: &str) -> Value {
    let headers = reqwest::header::HeaderMap::new();
    Answer { status: 200, headers, body: json!({"access_token": jwt}).to_string() }.claims()
}

/// `app` logs people in for [`API`] and [`OTHER`].
async fn app(house: &House, audience: &[&str]) -> String {
    let with = ClientOf { audience, ..ClientOf::ANY };
    house.server.client("app", with).await.secret.expect("a secret").expose().to_owned()
}

async fn a_key_passes_with_a_fresh_token_for_the_service_alone(database: TestDatabase) {
    let house = House::open(&database).await;
    let (held, key) = house.key(of_alice("read write pay", &[API, OTHER])).await;

    let answer = ask_with_key(&house.server, &format!("{FOR_API}&scope=write+read&role=clerk"), &key).await;

    let jwt = token(&answer);
    let said = claims(&jwt);
    let index = held.key.status_index;
    let status =
        json!({"status_list": {"idx": index.idx(), "uri": format!("{ISSUER}/status/{}", index.list())}});
    let expected = json!({
        "iss": ISSUER, "sub": said["sub"], "aud": API, "exp": START.as_secs() + 60, "iat": START.as_secs(),
        "jti": said["jti"], "client_id": held.key.id.to_string(), "scope": "read write",
        "preferred_username": "alice", "roles": ["clerk"], "status": status,
    });
    assert_eq!(said, expected);
    assert_eq!(answer.header("x-auth-user"), said["sub"].as_str().expect("a sub"));
    assert_eq!(answer.header("x-auth-username"), "alice");
    assert_eq!(
        (answer.header("x-auth-roles"), answer.header("x-auth-scope")),
        ("clerk".into(), "read write".into())
    );
    assert_eq!((answer.header("cache-control"), answer.body.as_str()), ("no-store".into(), ""));

    let (_, of_client) = house.key(of_batch("read", &[])).await;
    let answer = ask_with_key(&house.server, FOR_API, &of_client).await;
    let said = claims(&token(&answer));
    assert_eq!((&said["sub"], &said["client_id"]), (&json!("batch"), &json!("batch")));
    let of_user = [answer.header("x-auth-username"), answer.header("x-auth-roles")];
    assert_eq!((answer.header("x-auth-user"), of_user), ("batch".into(), Default::default()));
    for name in ["x-auth-username", "x-auth-roles"] {
        assert!(answer.headers.contains_key(name), "so that a proxy that copies it overwrites the caller's");
    }
    assert_eq!(ask_with_key(&house.server, &format!("{FOR_API}&role=clerk"), &of_client).await.status, 403);
    house.server.stop().await;
}

async fn a_token_that_was_revoked_does_not_pass(database: TestDatabase) {
    let house = House::open(&database).await;
    let secret = app(&house, &[API]).await;
    let login = house.server.login(("app", &secret), "alice").await.text("access_token");
    assert_eq!(ask(&house.server, FOR_API, &login).await.0, 200);

    house.server.app.revoke_sessions(&Sessions::All).await.expect("ended");
    house.reload().await;

    assert_eq!(ask(&house.server, FOR_API, &login).await.0, 401);
    house.server.stop().await;
}

async fn a_token_for_the_service_alone_passes_as_it_is_and_one_for_several_is_narrowed(
    database: TestDatabase,
) {
    let house = House::open(&database).await;
    let secret = app(&house, &[API, OTHER]).await;
    let app = ("app", secret.as_str());
    let several = house.server.login(app, "alice").await;
    let form = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD), ("resource", API)];
    let alone = house.server.token_as(app, &form).await.text("access_token");

    assert_eq!(ask(&house.server, FOR_API, &alone).await, (200, format!("Bearer {alone}")));
    let (status, narrowed) = ask(&house.server, FOR_API, &several.text("access_token")).await;
    let jwt = narrowed.strip_prefix("Bearer ").expect("a token");
    let (before, after) = (several.claims(), claims(jwt));
    assert_eq!((status, &after["aud"]), (200, &json!(API)));
    assert_eq!(after["exp"], START.as_secs() + 60);
    assert_ne!(after["jti"], before["jti"]);
    for same in ["sub", "client_id", "scope", "auth_time", "preferred_username", "roles", "status", "iss"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    assert!(is_active(&house.server, house.api(), jwt).await);
    house.server.stop().await;
}

async fn rfc6750_3_a_refusal_is_a_challenge_and_says_what_is_missing(database: TestDatabase) {
    let house = House::open(&database).await;
    let (_, key) = house.key(of_alice("read", &[API])).await;
    let bare = format!(r#"Bearer realm="{ISSUER}""#);
    for (query, headers, status, error, more) in [
        (FOR_API, &[][..], 401, None, ""),
        (FOR_API, &[("Authorization", "Basic YTpi")], 401, None, ""),
        (FOR_API, &[("X-API-Key", "")], 401, None, ""),
        (FOR_API, &[("X-API-Key", "gak_x")], 401, Some("invalid_token"), ""),
        (FOR_API, &[("Authorization", "Bearer x")], 401, Some("invalid_token"), ""),
        (FOR_API, &[("Authorization", &format!("Bearer {key}"))], 401, Some("invalid_token"), ""),
        (FOR_API, &[("Authorization", "Bearer x"), ("X-API-Key", &key)], 401, Some("invalid_request"), ""),
        (FOR_API, &[("X-API-Key", &key), ("X-API-Key", &key)], 401, Some("invalid_request"), ""),
        ("", &[("X-API-Key", &key)], 401, Some("invalid_token"), ""),
        ("audience=https://api.example/", &[("X-API-Key", &key)], 401, Some("invalid_token"), ""),
        (
            "audience=https://api.example&scope=read+pay",
            &[("X-API-Key", &key)],
            403,
            Some("insufficient_scope"),
            r#", scope="pay read""#,
        ),
        (
            "audience=https://api.example&role=boss",
            &[("X-API-Key", &key)],
            403,
            Some("insufficient_scope"),
            "",
        ),
    ] {
        let answer = send(&house.server, Method::GET, query, headers).await;

        let challenge = answer.header("www-authenticate");
        assert_eq!(answer.status, status, "{query} {headers:?}: {answer:?}");
        match error {
            None => assert_eq!((&challenge, answer.body.as_str()), (&bare, "")),
            Some(error) => {
                assert_eq!(answer.text("error"), error);
                assert!(challenge.starts_with(&format!(r#"{bare}, error="{error}", "#)), "{challenge}");
                assert!(challenge.ends_with(&format!(r#""{more}"#)) || more.is_empty(), "{challenge}");
            }
        }
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!answer.headers.contains_key("authorization") && !answer.headers.contains_key("x-auth-user"));
    }
    house.server.stop().await;
}

async fn attack_nothing_that_a_caller_is_called_breaks_out_of_a_header(database: TestDatabase) {
    let house = House::open(&database).await;
    house.server.user("j\u{fc}rgen%0d%0ax-auth-user:root", &[]).await;
    let new = grantd::app::api_keys::NewApiKey {
        owner: grantd::app::api_keys::NewOwner::User(
            "j\u{fc}rgen%0d%0ax-auth-user:root".parse().expect("a name"),
        ),
        ..of_alice("read a%0d%0a b:c/~", &[API])
    };
    let (_, key) = house.key(new).await;

    let answer = ask_with_key(&house.server, FOR_API, &key).await;

    assert_eq!(answer.header("x-auth-username"), "j%C3%BCrgen%250d%250ax-auth-user:root");
    assert_eq!(answer.header("x-auth-scope"), "a%0d%0a b:c/~ read");
    assert_eq!(answer.headers.get_all("x-auth-user").iter().count(), 1);
    // What the proxy asks for is told in the challenge.
    for query in ["scope=a%0d%0ax-auth-user:+root", "scope=a%22", "scope=%5c"] {
        let answer = ask_with_key(&house.server, &format!("{FOR_API}&{query}"), &key).await;
        assert_eq!((answer.status, answer.header("x-auth-user")), (400, String::new()), "{query}");
    }
    house.server.stop().await;
}

async fn attack_a_token_is_not_widened_prolonged_or_unbound_by_asking(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let secret = app(&house, &[API, OTHER]).await;
    let login = server.login(("app", &secret), "alice").await.text("access_token");
    assert_eq!(ask(server, "audience=urn:elsewhere", &login).await.0, 401);
    assert_eq!(ask(server, "", &login).await.0, 401, "no audience named is the default, and not any");
    assert_eq!(ask(server, &format!("{FOR_API}&scope=pay"), &login).await.0, 403);

    let key = Key::p256();
    server.client("page", ClientOf { audience: &[API], ..PUBLIC }).await;
    let form =
        [("grant_type", "password"), ("client_id", "page"), ("username", "alice"), ("password", PASSWORD)];
    let request = server.http.post(format!("{}/token", server.url)).header("DPoP", proof(&key)).form(&form);
    let bound = Answer::of(request.send().await.expect("an answer")).await.text("access_token");
    assert_eq!(ask(server, FOR_API, &bound).await.0, 401, "a thief presents it as if it were not bound");
    let scheme = send(server, Method::GET, FOR_API, &[("Authorization", &format!("DPoP {bound}"))]).await;
    assert_eq!((scheme.status, scheme.text("error")), (401, "invalid_token".into()));

    // What was narrowed to one audience is not widened to the other again.
    let (_, narrowed) = ask(server, FOR_API, &login).await;
    let narrowed = narrowed.strip_prefix("Bearer ").expect("a token").to_owned();
    assert_eq!(ask(server, &format!("audience={OTHER}"), &narrowed).await.0, 401);
    server.pass(30);
    let (_, again) = ask(server, FOR_API, &narrowed).await;
    assert_eq!(again, format!("Bearer {narrowed}"), "nor does it live any longer");
    server.pass(540);
    let (_, last) = ask(server, FOR_API, &login).await;
    let last = claims(last.strip_prefix("Bearer ").expect("a token"));
    assert_eq!(last["exp"], START.as_secs() + 600, "as long as the token that it was made from");
    server.pass(30);
    assert_eq!(ask(server, FOR_API, &login).await.0, 401);
    house.server.stop().await;
}

async fn attack_a_misspelt_or_smuggled_question_lets_nobody_through(database: TestDatabase) {
    let house = House::open(&database).await;
    let (_, key) = house.key(of_alice("read", &[API])).await;
    for query in [
        "audience=https://api.example&scopes=admin",
        "audience=https://api.example&scope=read&scope=admin",
        "audience=https://api.example&audience=https://other.example",
        "audience=https://api.example&role=a,b",
        // `role=${ROLE}`, and nobody has set ROLE.
        "audience=https://api.example&role=",
        "audience=https://api.example&scope=",
        "audience=&scope=read",
        "audience=https://api.example&%73cope=read&scope=read",
    ] {
        let answer = ask_with_key(&house.server, query, &key).await;
        assert_eq!((answer.status, answer.text("error")), (400, "invalid_request".into()), "{query}");
        assert!(!answer.headers.contains_key("www-authenticate"), "no other credential would help");
    }
    // Envoy appends what its caller asked for, who adds to it at will.
    let envoy = format!("{FOR_API}&scope=read&request=");
    for (appended, status) in [
        ("/notes/1?x=y", 200),
        ("/notes?audience=https://other.example&scope=admin&role=boss", 200),
        ("/notes?%zz&request=&scope", 200),
    ] {
        let answer = ask_with_key(&house.server, &format!("{envoy}{appended}"), &key).await;
        assert_eq!(answer.status, status, "{appended}");
        assert_eq!(claims(&token(&answer))["aud"], API);
    }
    let asks = format!("{FOR_API}&scope=pay&request=/notes?scope=read");
    assert_eq!(ask_with_key(&house.server, &asks, &key).await.status, 403);
    assert_eq!(house.server.get("/verify/notes/1").await.status, 404, "a prefix without a query");
    house.server.stop().await;
}

async fn every_method_that_a_proxy_asks_by_is_answered(database: TestDatabase) {
    let house = House::open(&database).await;
    let (_, key) = house.key(of_alice("read", &[API])).await;
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let asked = send(&house.server, method.clone(), FOR_API, &[("X-API-Key", &key)]).await;
        assert_eq!((asked.status, asked.header("x-auth-username")), (200, "alice".into()), "{method}");
        assert_eq!(send(&house.server, method.clone(), FOR_API, &[]).await.status, 401, "{method}");
        let origin = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "GET")];
        let preflight = send(&house.server, method, FOR_API, &origin).await;
        assert!(!preflight.headers.contains_key("access-control-allow-origin"), "no page is told anything");
    }
    house.server.stop().await;
}

/// It has no client, but the key in the place of one.
async fn a_token_of_a_key_is_known_everywhere_as_any_other(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let (held, key) = house.key(of_alice("read", &[API])).await;
    let jwt = token(&ask_with_key(server, FOR_API, &key).await);

    let told = server.introspect(house.api(), &jwt).await.json();
    assert_eq!((&told["active"], &told["client_id"]), (&json!(true), &json!(held.key.id.to_string())));
    assert_eq!((&told["username"], told.get("auth_time")), (&json!("alice"), None));
    assert_eq!(server.userinfo(&jwt).await.text("preferred_username"), "alice");
    assert_eq!(ask(server, FOR_API, &jwt).await, (200, format!("Bearer {jwt}")));
    let onward = [
        ("grant_type", crate::api_keys::EXCHANGE),
        ("subject_token", &jwt),
        ("subject_token_type", crate::api_keys::ACCESS_TOKEN),
    ];
    let next = server.token_as(house.api(), &onward).await;
    assert_eq!((next.status, &next.claims()["act"]), (200, &json!({"sub": "api"})), "{next:?}");
    assert_eq!(next.json()["expires_in"], 60, "no longer than what it was exchanged for");
    let report = server.app.inspect_token(&jwt).await.expect("readable");
    assert!(report.is_valid(), "{report:?}");

    server.app.revoke_token(&PlainSecret::new(key)).await.expect("ended");
    house.reload().await;
    assert!(!is_active(server, house.api(), &jwt).await);
    assert!(!is_active(server, house.api(), &next.text("access_token")).await);
    assert!(!server.app.inspect_token(&jwt).await.expect("readable").is_valid());
    house.server.stop().await;
}
