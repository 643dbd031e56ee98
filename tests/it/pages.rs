//! What people and operators see: the page at `/`, what is not there, health and metrics.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, ISSUER, TestServer};
use crate::support::wire::{Wire, basic, post};

trials! {
    sqlite: [
        the_home_page_is_a_page_that_runs_nothing_and_loads_nothing,
        the_home_page_shows_the_issuer_escaped_and_each_of_its_links_leads_somewhere,
        what_is_not_there_is_json_for_programs_and_a_page_for_browsers,
        the_404_page_repeats_the_path_as_text,
        a_method_that_a_page_does_not_take_is_told_in_kind,
        every_answer_has_an_id_of_its_own_making,
        health_is_on_both_listeners_and_never_kept,
        a_stopping_server_is_not_ready_says_why_and_lets_connections_go,
        metrics_are_on_the_management_listener_alone_and_count_tokens_and_refusals,
        head_gives_what_get_gives_without_a_body,
    ],
}

async fn send(url: &str, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = crate::support::server::client().request(method, format!("{url}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.expect("an answer")).await
}

async fn as_browser(server: &TestServer, path: &str) -> Answer {
    let accept = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
    send(&server.url, Method::GET, path, &[accept]).await
}

/// What every page is sent with; `style` is the one thing that it may run.
fn assert_page(page: &Answer) {
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cache-control"), "no-store");

    let policy = page.header("content-security-policy");
    let policy: Vec<_> = policy.split("; ").collect();
    let style = between(&page.body, "<style>", "</style>").pop().expect("a style");
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
    for directive in [
        "default-src 'none'",
        &format!("style-src 'sha256-{hash}'"),
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(&directive), "{directive} is not in {policy:?}");
    }
    assert!(
        !policy.iter().any(|part| part.contains("unsafe") || part.starts_with("script-src")),
        "{policy:?}"
    );

    assert_eq!(page.body.matches("<style").count(), 1, "the policy allows one style");
    for forbidden in
        ["<script", " style=", " onclick", " onload", "javascript:", "@import", " src=", "url(http"]
    {
        assert!(!page.body.contains(forbidden), "{forbidden} in {}", page.body);
    }
}

/// Every text between two marks.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Vec<&'a str> {
    let parts = text.split(begin).skip(1);
    parts.map(|rest| rest.split_once(end).expect("an end for each begin").0).collect()
}

async fn the_home_page_is_a_page_that_runs_nothing_and_loads_nothing(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    for page in [server.get("/").await, as_browser(&server, "/").await] {
        assert_eq!(page.status, 200);
        assert_page(&page);
        for href in between(&page.body, "href=\"", "\"") {
            assert!(href.starts_with("data:image/") || href.starts_with(ISSUER) || href == "/", "{href}");
        }
        assert!(page.body.contains("width=device-width") && page.body.contains("prefers-color-scheme"));
    }
    server.stop().await;
}

async fn the_home_page_shows_the_issuer_escaped_and_each_of_its_links_leads_somewhere(
    database: TestDatabase,
) {
    for (issuer, shown) in [
        (ISSUER, ISSUER),
        ("http://127.0.0.1:8080/tenant/one", "http://127.0.0.1:8080/tenant/one"),
        ("http://127.0.0.1:8080/a&b'c", "http://127.0.0.1:8080/a&#38;b&#39;c"),
    ] {
        let server = TestServer::start_with(&database, &[("GRANTD_SERVER__ISSUER", issuer)]).await;

        let page = server.get("/").await;

        assert_page(&page);
        assert!(page.body.contains(&format!("<p class=\"issuer\">{shown}</p>")), "{}", page.body);
        assert_eq!(issuer == shown, page.body.contains(issuer), "the issuer is never there unescaped");
        let links: Vec<_> = between(&page.body, "href=\"", "\"")
            .into_iter()
            .filter_map(|href| href.strip_prefix(shown))
            .collect();
        assert!(links.len() >= 5, "{links:?}");
        let root = issuer.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
        for path in links {
            assert_eq!(server.get(&format!("{root}{path}")).await.status, 200, "{root}{path}");
        }
        server.stop().await;
    }
}

async fn what_is_not_there_is_json_for_programs_and_a_page_for_browsers(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    for path in ["/nothing", "/token/", "/.well-known", "/.well-known/jwks", "/health", "/metrics", "//"] {
        for accept in ["*/*", "application/json", "text/html;q=0", "text/htmlx"] {
            let answer = send(&server.url, Method::GET, path, &[("accept", accept)]).await;
            assert_eq!(answer.refusal(), (404, "not_found".into()), "{path} {accept}");
            assert_eq!(answer.header("content-type"), "application/json");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
        }
        let page = as_browser(&server, path).await;
        assert_eq!(page.status, 404);
        assert_page(&page);
    }
    let posted = send(&server.url, Method::POST, "/nothing", &[]).await;
    assert_eq!(posted.refusal(), (404, "not_found".into()));
    server.stop().await;
}

async fn the_404_page_repeats_the_path_as_text(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    for path in ["/%3Cscript%3Ealert(1)%3C/script%3E", "/\"><script>alert(1)</script>", "/a\"onload='x'&b"] {
        let mut wire = Wire::open(&server.url).await;
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: grantd\r\nAccept: text/html\r\n\r\n")).await;
        let page = wire.answer().await;
        // A character that no address may hold ends in 400 before any page is made.
        if path.contains('<') {
            assert_eq!((page.status, page.header("content-type").as_str()), (400, "application/json"));
            assert!(!page.body.contains("alert"), "{}", page.body);
            continue;
        }
        assert_eq!(page.status, 404);
        assert_page(&page);
        assert!(!page.body.contains("\"onload") && !page.body.contains("'x'"), "{}", page.body);
    }
    let long = as_browser(&server, &format!("/{}", "x".repeat(4000))).await;
    assert!(!long.body.contains(&"x".repeat(300)), "a long path is cut");
    let program = server.get("/canary").await;
    assert!(!program.body.contains("canary"));
    server.stop().await;
}

async fn a_method_that_a_page_does_not_take_is_told_in_kind(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    for path in ["/", "/health/live", "/health/ready"] {
        let program = send(&server.url, Method::POST, path, &[]).await;
        assert_eq!(program.refusal(), (405, "method_not_allowed".into()));
        assert_eq!(program.header("allow"), "GET, HEAD");
        let browser = send(&server.url, Method::POST, path, &[("accept", "text/html")]).await;
        assert_eq!((browser.status, browser.header("allow")), (405, "GET, HEAD".into()));
        assert_page(&browser);
        assert!(browser.body.contains(&browser.header("x-request-id")), "what to look for in the log");
    }
    server.stop().await;
}

async fn every_answer_has_an_id_of_its_own_making(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    let mut seen = std::collections::BTreeSet::new();
    let mut count = 0;
    for (url, paths) in [
        (&server.url, &["/", "/token", "/.well-known/jwks.json", "/health/ready", "/nothing"][..]),
        (&server.management, &["/metrics", "/health/live", "/nothing"]),
    ] {
        for path in paths {
            for method in [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS] {
                let answer = send(url, method, path, &[("x-request-id", "mine")]).await;
                let id = answer.header("x-request-id");
                assert_eq!(id.len(), 36, "{path}: {answer:?}");
                seen.insert(id);
                count += 1;
            }
        }
    }
    assert_eq!(seen.len(), count, "no id is used twice");
    server.stop().await;
}

async fn health_is_on_both_listeners_and_never_kept(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    for url in [&server.url, &server.management] {
        let live = send(url, Method::GET, "/health/live", &[]).await;
        assert_eq!((live.status, live.json()), (200, serde_json::json!({"status": "ok"})));
        let ready = send(url, Method::GET, "/health/ready", &[]).await;
        let expected = serde_json::json!({"status": "ok", "checks": {"database": "ok", "keys": "ok"}});
        assert_eq!((ready.status, ready.json()), (200, expected));
        for answer in [live, ready] {
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.header("content-type"), "application/json");
        }
    }
    server.stop().await;
}

async fn a_stopping_server_is_not_ready_says_why_and_lets_connections_go(database: TestDatabase) {
    let settings = [("GRANTD_SERVER__SHUTDOWN_GRACE", "20s")];
    let mut server = TestServer::start_with(&database, &settings).await;
    let secret = server.full_client("app").await;
    let header = format!("Authorization: {}\r\nExpect: 100-continue\r\n", basic(&format!("app:{secret}")));
    let body = "grant_type=client_credentials";
    let whole = post(&header, body);
    // A request under way holds the server open: it has its head and waits for its body.
    let mut under_way = Wire::open(&server.url).await;
    under_way.send(&whole[..whole.len() - body.len()]).await;
    assert_eq!(under_way.answer().await.status, 100);
    // Connections from before the order to stop, so that nobody depends on how long new ones are let in.
    let mut kept = Vec::new();
    for url in [&server.url, &server.management] {
        let mut wire = Wire::open(url).await;
        wire.send(READY).await;
        assert_eq!(wire.answer().await.status, 200);
        kept.push(wire);
    }

    server.begin_to_stop();

    for mut wire in kept {
        let answer = loop {
            wire.send(READY).await;
            let answer = wire.answer().await;
            if answer.status != 200 {
                break answer;
            }
        };
        assert_eq!(answer.status, 503);
        assert_eq!(answer.text("status"), "unavailable");
        assert_eq!(answer.json()["checks"]["shutdown"], "failed");
        assert_eq!(answer.json()["checks"]["database"], "ok");
        assert_eq!(answer.header("connection"), "close");
        assert!(wire.ends().await);
    }
    under_way.send(body).await;
    let finished = under_way.answer().await;
    assert_eq!((finished.status, finished.header("connection")), (200, "close".into()));
    server.stop().await;
}

const READY: &str = "GET /health/ready HTTP/1.1\r\nHost: grantd\r\n\r\n";

async fn metrics_are_on_the_management_listener_alone_and_count_tokens_and_refusals(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    let form = [("grant_type", "client_credentials")];
    assert_eq!(server.token_as(("app", &secret), &form).await.status, 200);
    assert_eq!(server.token_as(("app", "wrong"), &form).await.status, 401);

    let metrics = send(&server.management, Method::GET, "/metrics", &[]).await;

    assert_eq!((metrics.status, metrics.header("content-type")), (200, "text/plain; version=0.0.4".into()));
    for series in [
        "grantd_tokens_issued_total{",
        "grantd_token_errors_total{error=\"invalid_client\"}",
        "grantd_http_requests_total{method=\"POST\",route=\"/token\",status=\"200\"}",
    ] {
        assert!(metrics.body.lines().any(|line| line.starts_with(series)), "{series} in {}", metrics.body);
    }
    assert_eq!(server.get("/metrics").await.status, 404);
    for path in ["/token", "/.well-known/jwks.json", "/"] {
        assert_eq!(send(&server.management, Method::GET, path, &[]).await.status, 404, "{path}");
    }
    server.stop().await;
}

/// RFC 9110 §9.3.2.
async fn head_gives_what_get_gives_without_a_body(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    for (url, path, status) in [
        (&server.url, "/", 200),
        (&server.url, "/health/live", 200),
        (&server.url, "/health/ready", 200),
        (&server.url, "/nothing", 404),
        (&server.management, "/metrics", 200),
    ] {
        let get = send(url, Method::GET, path, &[]).await;
        let head = send(url, Method::HEAD, path, &[]).await;

        assert_eq!((get.status, head.status, head.body.as_str()), (status, status, ""), "{path}");
        for name in ["content-type", "cache-control", "content-security-policy", "x-frame-options"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
        // Metrics change from one look to the next.
        if path != "/metrics" {
            assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
        }
    }
    server.stop().await;
}
