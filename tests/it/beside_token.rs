//! What holds of `/token` holds of the endpoints beside it: `/introspect`, `/revoke`, `/userinfo`. Bodies that are no
//! form, methods, pages of other origins, outages, garbage, secrets in logs.

use reqwest::Method;
use reqwest::header::HeaderMap;

use crate::introspection::House;
use crate::outage::{CLIENT_CREDENTIALS, assert_put_off, until};
use crate::support::database::TestDatabase;
use crate::support::refusal::Challenge::Absent;
use crate::support::refusal::assert_refusal;
use crate::support::relay::{Relay, Weather};
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, TestServer};

trials! {
    postgres: [while_the_database_is_away_questions_are_answered_from_memory_and_nothing_is_promised],
    sqlite: [
        a_body_that_is_no_form_is_refused_as_at_token,
        any_other_method_is_told_which_are_taken,
        a_configured_origin_reads_answers_and_refusals_and_no_other_does,
        parameters_in_the_query_are_not_read,
        garbage_is_never_a_fault_of_the_server,
        under_an_issuer_with_a_path_each_is_below_that_path,
    ],
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const FOR_CLIENTS: [&str; 2] = ["/introspect", "/revoke"];

async fn send(
    server: &TestServer,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
    body: impl Into<reqwest::Body>,
) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().expect("a value"));
    }
    let request = server.http.request(method, format!("{}{path}", server.url)).headers(map).body(body);
    Answer::of(request.send().await.expect("an answer")).await
}

async fn a_body_that_is_no_form_is_refused_as_at_token(database: TestDatabase) {
    let house = House::open(&database).await;
    let token = house.server.login(house.app(), "alice").await.text("access_token");
    let (id, secret) = house.app();
    let good = format!("token={token}&client_id={id}&client_secret={secret}");
    let long = format!("{good}&x={}", "x".repeat(16 * 1024));

    for path in FOR_CLIENTS {
        for (headers, body, status) in [
            (vec![], good.as_str(), 400),
            (vec![("content-type", "application/json")], r#"{"token":"x"}"#, 400),
            (vec![FORM, FORM], &good, 400),
            (vec![FORM, ("content-encoding", "gzip")], &good, 415),
            (vec![FORM], &long, 413),
            (vec![FORM], "token=%ff", 400),
            (vec![FORM], "token=%00", 400),
            (vec![FORM], "token=a&token=b", 400),
            (vec![FORM, ("authorization", "Basic YTpi"), ("authorization", "Basic YTpi")], &good, 400),
            (vec![FORM, ("authorization", "Basic YTpi")], &good, 400),
        ] {
            let answer = send(&house.server, Method::POST, path, &headers, body.to_owned()).await;
            assert_refusal(&answer, status, "invalid_request", Absent);
        }
    }
    assert_eq!(house.server.userinfo(&token).await.status, 200, "nothing of it revoked anything");
    house.server.stop().await;
}

async fn any_other_method_is_told_which_are_taken(database: TestDatabase) {
    let house = House::open(&database).await;

    for path in FOR_CLIENTS {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = send(&house.server, method, path, &[], "").await;

            assert_refusal(&answer, 405, "invalid_request", Absent);
            assert_eq!(answer.header("allow"), "POST, OPTIONS");
        }
    }
    house.server.stop().await;
}

async fn a_configured_origin_reads_answers_and_refusals_and_no_other_does(database: TestDatabase) {
    const PAGE: &str = "https://app.example.com";
    let server = TestServer::start_with(&database, &[("GRANTD_CORS__ALLOWED_ORIGINS", PAGE)]).await;
    let secret = server.full_client("app").await;
    server.user("alice", &[]).await;
    let token = server.login(("app", &secret), "alice").await.text("access_token");
    let good = format!("token={token}&client_id=app&client_secret={secret}");
    let bearer = format!("Bearer {token}");

    for (path, method, headers, body, status) in [
        ("/introspect", Method::POST, vec![FORM], good.as_str(), 200),
        ("/introspect", Method::POST, vec![FORM], "token=x", 401),
        ("/userinfo", Method::GET, vec![("authorization", bearer.as_str())], "", 200),
        ("/userinfo", Method::POST, vec![("authorization", &bearer)], "", 200),
        ("/userinfo", Method::GET, vec![], "", 401),
        ("/revoke", Method::POST, vec![FORM], &good, 200),
        ("/revoke", Method::POST, vec![FORM], "token=x", 401),
    ] {
        for (origin, readable) in [(PAGE, true), ("https://evil.example", false), ("null", false)] {
            let headers = [headers.clone(), vec![("origin", origin)]].concat();
            let answer = send(&server, method.clone(), path, &headers, body.to_owned()).await;
            let allowed = answer.headers.get("access-control-allow-origin").map(|_| true).unwrap_or_default();

            // What the last of the three calls at /revoke finds ended is no error either.
            assert_eq!((answer.status, allowed), (status, readable), "{path} {origin}: {answer:?}");
            assert!(answer.header("vary").to_ascii_lowercase().contains("origin"), "{answer:?}");
            assert!(!answer.headers.contains_key("access-control-allow-credentials"));
        }
    }
    for path in ["/introspect", "/revoke", "/userinfo"] {
        let headers = [
            ("origin", PAGE),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization, content-type, x-requested-with, dpop"),
        ];
        let preflight = send(&server, Method::OPTIONS, path, &headers, "").await;
        assert_eq!(preflight.header("access-control-allow-origin"), PAGE, "{path}: {preflight:?}");
        let mut methods: Vec<_> = preflight
            .header("access-control-allow-methods")
            .split(',')
            .map(|m| m.trim().to_owned())
            .collect();
        methods.sort_unstable();
        assert_eq!(methods, ["GET", "POST"]);
    }
    server.stop().await;
}

async fn parameters_in_the_query_are_not_read(database: TestDatabase) {
    let house = House::open(&database).await;
    let login = house.server.login(house.app(), "alice").await;
    let (id, secret) = house.app();
    let all = format!("?token={}&client_id={id}&client_secret={secret}", login.text("access_token"));

    for path in FOR_CLIENTS {
        let answer = send(&house.server, Method::POST, &format!("{path}{all}"), &[FORM], "").await;
        assert_refusal(&answer, 401, "invalid_client", Absent);
        let credentials = format!("client_id={id}&client_secret={secret}");
        let answer = send(&house.server, Method::POST, &format!("{path}{all}"), &[FORM], credentials).await;
        assert_refusal(&answer, 400, "invalid_request", Absent);
    }
    house.server.stop().await;
}

async fn garbage_is_never_a_fault_of_the_server(database: TestDatabase) {
    let house = House::open(&database).await;
    let login = house.server.login(house.app(), "alice").await;
    let (access, refresh) = (login.text("access_token"), login.text("refresh_token"));
    let (id, secret) = house.app();
    let credentials = format!("client_id={id}&client_secret={secret}");
    let parts = [
        "token=",
        "&",
        "=",
        "%",
        "%00",
        "+",
        "token_type_hint=",
        "refresh_token",
        "access_token=",
        "grt_",
        ".",
        "eyJ",
        "AAAA",
        "\u{e4}",
        "client_id=app",
        &credentials,
        &access,
        &access[..40],
        &refresh,
        &refresh[..40],
    ];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    // Marsaglia's xorshift64: the same garbage on every run.
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 16) as usize % bound
    };

    for _ in 0..200 {
        let body: String = (0..below(9)).map(|_| parts[below(parts.len())]).collect();
        let bearer = format!("Bearer {}", body.replace(|c: char| !c.is_ascii_graphic(), ""));
        let authorization = [("authorization", bearer.as_str())];
        // With the right credentials in front, so that it gets as far as it can.
        let bodies = [body.clone(), format!("{credentials}&{body}")];
        for path in ["/introspect", "/revoke", "/userinfo"] {
            for body in &bodies {
                let answer = send(&house.server, Method::POST, path, &[FORM], body.clone()).await;
                assert!(answer.status < 500, "{path} {body}: {answer:?}");
                assert_eq!(answer.header("cache-control"), "no-store", "{path} {body}");
            }
        }
        let answer = send(&house.server, Method::GET, "/userinfo", &authorization, "").await;
        assert!(answer.status < 500, "{bearer}: {answer:?}");
    }

    let login = house.server.login(house.app(), "alice").await;
    assert_eq!(house.server.userinfo(&login.text("access_token")).await.status, 200);
    house.server.stop().await;
}

async fn under_an_issuer_with_a_path_each_is_below_that_path(database: TestDatabase) {
    let issuer = "http://127.0.0.1:8080/tenant/one";
    let server = TestServer::start_with(&database, &[("GRANTD_SERVER__ISSUER", issuer)]).await;
    let secret = server.full_client("app").await;
    let document = server.get("/.well-known/oauth-authorization-server/tenant/one").await.json();
    let token = server.token_as(("app", &secret), CLIENT_CREDENTIALS).await.text("access_token");

    for (member, path) in [("introspection_endpoint", "/introspect"), ("revocation_endpoint", "/revoke")] {
        assert_eq!(document[member], format!("{issuer}{path}"));
        let path = format!("/tenant/one{path}");
        assert_eq!(server.post_as(&path, ("app", &secret), &[("token", &token)]).await.status, 200, "{path}");
    }
    assert_eq!(document["userinfo_endpoint"], format!("{issuer}/userinfo"));
    assert_eq!(server.get("/tenant/one/userinfo").await.status, 401);
    server.stop().await;
}

async fn while_the_database_is_away_questions_are_answered_from_memory_and_nothing_is_promised(
    database: TestDatabase,
) {
    let relay = Relay::before(&database).await;
    let server = TestServer::start_with(&database, &[("GRANTD_DATABASE__URL", &relay.url)]).await;
    let secret = server.client("app", ClientOf::ANY).await.secret.expect("a secret");
    let app = ("app", secret.expose());
    server.user("alice", &[]).await;
    let login = server.login(app, "alice").await;
    let (access, refresh) = (login.text("access_token"), login.text("refresh_token"));
    let ended = server.login(app, "alice").await;
    assert_eq!(server.post_as("/revoke", app, &[("token", &ended.text("refresh_token"))]).await.status, 200);
    let ended = ended.text("access_token");

    relay.turns(Weather::Frozen);

    assert_eq!(server.introspect(app, &access).await.json()["active"], true);
    assert_eq!(server.introspect(app, &ended).await.body, r#"{"active":false}"#, "what was known is known");
    assert_eq!(server.introspect(app, "x").await.body, r#"{"active":false}"#);
    let machine = server.token_as(app, CLIENT_CREDENTIALS).await.text("access_token");
    assert_eq!(server.introspect(app, &machine).await.json()["active"], true, "also of a token of now");
    assert_put_off(&server.introspect(app, &refresh).await);
    assert_put_off(&server.userinfo(&access).await);
    for token in [&access, &refresh, &machine] {
        assert_put_off(&server.post_as("/revoke", app, &[("token", token)]).await);
    }
    assert_eq!(server.introspect(("app", "wrong"), &access).await.refusal().0, 401);

    relay.turns(Weather::Fair);

    until("readiness", async || server.get("/health/ready").await.status == 200).await;
    assert_eq!(server.userinfo(&access).await.status, 200, "what was put off was not done");
    assert_eq!(server.post_as("/revoke", app, &[("token", &refresh)]).await.status, 200);
    assert_eq!(server.userinfo(&access).await.status, 401);
    server.stop().await;
}
