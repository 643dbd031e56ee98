//! What pages of other origins may ask and read: the Fetch standard's CORS protocol, without credentials anywhere.

use reqwest::Method;

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, TestServer};

trials! {
    sqlite: [
        a_configured_origin_reads_answers_and_errors,
        any_other_origin_is_answered_and_reads_nothing,
        a_preflight_of_a_configured_origin_is_granted_what_clients_send,
        a_preflight_of_any_other_kind_grants_nothing,
        without_configured_origins_no_page_reads_anything,
        documents_are_read_from_anywhere,
    ],
}

const APP: &str = "https://app.example.com";
const DOCS: &str = "http://localhost:3000";
const STRANGERS: [&str; 7] = [
    "https://evil.example",
    "https://app.example.com.evil.example",
    "https://app.example.com:8443",
    "http://app.example.com",
    "https://APP.example.com",
    "null",
    "*",
];
const DOCUMENTS: [&str; 3] = [
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
];

async fn open(database: &TestDatabase) -> TestServer {
    let origins = format!("{APP},{DOCS}");
    TestServer::start_with(database, &[("GRANTD_CORS__ALLOWED_ORIGINS", &origins)]).await
}

async fn send(
    server: &TestServer,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = server.http.request(method, format!("{}{path}", server.url)).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.expect("an answer")).await
}

fn assert_readable_by(answer: &Answer, origin: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), origin, "{answer:?}");
    assert_varies(answer);
    assert!(!answer.headers.contains_key("access-control-allow-credentials"), "{answer:?}");
}

fn assert_unreadable(answer: &Answer) {
    for name in ["access-control-allow-origin", "access-control-allow-credentials"] {
        assert!(!answer.headers.contains_key(name), "{answer:?}");
    }
    assert_varies(answer);
}

/// A cache must not give one origin the answer of another.
fn assert_varies(answer: &Answer) {
    let vary = answer.header("vary").to_ascii_lowercase();
    assert!(vary.split(", ").any(|name| name == "origin"), "{answer:?}");
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const GOOD: &str = "grant_type=client_credentials";

async fn a_configured_origin_reads_answers_and_errors(database: TestDatabase) {
    let server = open(&database).await;
    let secret = server.full_client("app").await;
    let good = format!("{GOOD}&client_id=app&client_secret={secret}");
    let oversize = "x".repeat(20_000);

    for origin in [APP, DOCS] {
        for (method, headers, body, status) in [
            (Method::POST, vec![FORM], good.as_str(), 200),
            (Method::POST, vec![FORM], "grant_type=implicit", 401),
            (Method::POST, vec![FORM, ("authorization", "Bearer x")], GOOD, 401),
            (Method::POST, vec![FORM], "a=1&a=2", 400),
            (Method::POST, vec![("content-type", "text/plain")], GOOD, 400),
            (Method::POST, vec![FORM], oversize.as_str(), 413),
            (Method::GET, vec![], "", 405),
        ] {
            let headers = [headers, vec![("origin", origin)]].concat();
            let answer = send(&server, method, "/token", &headers, body).await;

            assert_eq!(answer.status, status, "{answer:?}");
            assert_readable_by(&answer, origin);
            let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
            for name in ["dpop-nonce", "retry-after", "www-authenticate", "x-request-id"] {
                assert!(exposed.contains(name), "{name} of {exposed}");
            }
        }
    }
    server.stop().await;
}

async fn any_other_origin_is_answered_and_reads_nothing(database: TestDatabase) {
    let server = open(&database).await;
    let secret = server.full_client("app").await;
    let good = format!("{GOOD}&client_id=app&client_secret={secret}");

    for origin in STRANGERS {
        for (body, status) in [(good.as_str(), 200), ("a=1&a=2", 400)] {
            let answer = send(&server, Method::POST, "/token", &[FORM, ("origin", origin)], body).await;
            assert_eq!(answer.status, status, "{answer:?}");
            assert_unreadable(&answer);
        }
    }
    let no_page = send(&server, Method::POST, "/token", &[FORM], &good).await;
    assert_eq!(no_page.status, 200);
    assert_unreadable(&no_page);
    server.stop().await;
}

async fn a_preflight_of_a_configured_origin_is_granted_what_clients_send(database: TestDatabase) {
    let server = open(&database).await;
    let wanted = "authorization, content-type, x-requested-with, dpop";

    for asked in [wanted, "Authorization,Content-Type", "DPoP"] {
        let headers = [
            ("origin", APP),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", asked),
        ];
        let answer = send(&server, Method::OPTIONS, "/token", &headers, "").await;

        assert!((200..300).contains(&answer.status), "{answer:?}");
        assert_readable_by(&answer, APP);
        let methods = answer.header("access-control-allow-methods");
        let mut methods: Vec<_> = methods.split(',').map(str::trim).collect();
        methods.sort_unstable();
        assert_eq!(methods, ["GET", "POST"]);
        let allowed = answer.header("access-control-allow-headers").to_ascii_lowercase();
        let allowed: Vec<_> = allowed.split(',').map(str::trim).collect();
        for name in wanted.split(", ") {
            assert!(allowed.contains(&name), "{name} of {allowed:?}");
        }
        assert!(!allowed.contains(&"*"));
    }
    server.stop().await;
}

async fn a_preflight_of_any_other_kind_grants_nothing(database: TestDatabase) {
    let server = open(&database).await;

    for origin in STRANGERS {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        let answer = send(&server, Method::OPTIONS, "/token", &headers, "").await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{answer:?}");
        assert!(!answer.body.contains(origin), "{answer:?}");
        assert_eq!(answer.header("x-request-id").len(), 36);
    }
    for (method, asked) in [("DELETE", "content-type"), ("POST", "x-evil"), ("POST", "authorization, cookie")]
    {
        let headers = [
            ("origin", APP),
            ("access-control-request-method", method),
            ("access-control-request-headers", asked),
        ];
        let answer = send(&server, Method::OPTIONS, "/token", &headers, "").await;
        assert!((400..500).contains(&answer.status), "{method} {asked}: {answer:?}");
    }
    server.stop().await;
}

async fn without_configured_origins_no_page_reads_anything(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    for origin in [APP, "null", &server.url] {
        let answer = send(&server, Method::POST, "/token", &[FORM, ("origin", origin)], GOOD).await;
        assert_eq!(answer.status, 401);
        assert_unreadable(&answer);
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        let preflight = send(&server, Method::OPTIONS, "/token", &headers, "").await;
        assert!(!preflight.headers.contains_key("access-control-allow-origin"), "{preflight:?}");
    }
    server.stop().await;
}

async fn documents_are_read_from_anywhere(database: TestDatabase) {
    let server = open(&database).await;

    for path in DOCUMENTS {
        for origin in [APP, "https://evil.example", "null"] {
            let answer = send(&server, Method::GET, path, &[("origin", origin)], "").await;
            assert_eq!(answer.status, 200);
            assert_readable_by(&answer, "*");
            let tag = answer.header("etag");
            let headers = [("origin", origin), ("if-none-match", tag.as_str())];
            let known = send(&server, Method::GET, path, &headers, "").await;
            assert_eq!(known.status, 304);
            assert_readable_by(&known, "*");
            let head = send(&server, Method::HEAD, path, &[("origin", origin)], "").await;
            assert_readable_by(&head, "*");
        }
    }
    server.stop().await;
}
