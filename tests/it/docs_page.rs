//! `/docs` as a person meets it, in a real browser: it is read, logged in on as a user and as a client, and called from.
//! Nothing is asked of any other host, nothing breaks the page's policy, and everybody can use it.

use grantd::app::clock::Clock;
use grantd::model::client::GrantType;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::browse;
use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, PASSWORD, PUBLIC, TestServer};
use crate::support::services::free_port;

trials! {
    sqlite: [
        people_log_in_and_call_on_the_page_of_the_documentation,
        people_log_in_there_below_a_path_and_where_the_server_is_reached_by_another_name,
        the_files_of_the_page_are_kept_for_ever_and_come_packed,
        without_docs_neither_the_page_nor_the_document_is_there,
    ],
}

/// A server at an address that it has for its issuer.
async fn at_its_issuer(database: &TestDatabase, path: &str) -> TestServer {
    let listen = format!("127.0.0.1:{}", free_port());
    let issuer = format!("http://{listen}{path}");
    let settings = [("GRANTD_SERVER__LISTEN", listen.as_str()), ("GRANTD_SERVER__ISSUER", issuer.as_str())];
    TestServer::start_at(database, &settings, Clock::System).await
}

/// What somebody sees and does at `url`; everything but the figures that differ is looked at here.
async fn walk(server: &TestServer, url: &str) {
    server.client("page", PUBLIC).await;
    server.user("alice", &[]).await;
    let grants = &[GrantType::ClientCredentials];
    let made = server.client("svc", ClientOf { grants, ..ClientOf::ANY }).await;
    let secret = made.secret.expect("a secret").expose().to_owned();

    let seen = browse(
        "docs.mjs",
        json!({
            "url": url, "username": "alice", "password": PASSWORD, "public_client": "page",
            "client_id": "svc", "client_secret": secret,
            "screenshots": std::env::var("GRANTD_TEST_SCREENSHOTS").ok(),
        }),
    )
    .await;

    let operations = seen["operations"].as_array().expect("operations");
    assert!(
        operations.iter().any(|path| path.as_str().is_some_and(|path| path.ends_with("/token"))),
        "{seen}"
    );
    let error = seen["wrong_password"].as_str().expect("an error");
    assert!(error.contains("The username or password is wrong."), "{error}");
    assert_eq!((&seen["right_password"], &seen["client"]), (&json!("authorized"), &json!("authorized")));
    assert_eq!(seen["userinfo"]["status"], 200, "{seen}");
    assert_eq!(seen["stranger"]["status"], 401, "{seen}");
    assert_eq!(seen["nobody"]["status"], 401, "only the grant type is filled in: {}", seen["nobody"]);
    assert_eq!(seen["dialogs"], json!([]));
    assert_eq!(seen["with_cookies"], json!([]));
    assert_eq!(seen["home_leads_to"], format!("{}/docs", server.app.policy().issuer));
    assert_eq!((&seen["barriers"], &seen["home_barriers"]), (&json!([]), &json!([])));
    // The refusals above, which Chromium calls errors; nothing else.
    let expected = |error: &Value| {
        let error = error.as_str().unwrap_or_default();
        error.starts_with("Failed to load resource") && (error.contains(" 400 ") || error.contains(" 401 "))
    };
    let errors: Vec<_> =
        seen["errors"].as_array().expect("errors").iter().filter(|it| !expected(it)).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let requests = seen["requests"].as_array().expect("requests");
    let elsewhere: Vec<_> = requests
        .iter()
        .filter_map(Value::as_str)
        .filter(|at| !at.starts_with(&server.url) && !at.starts_with("data:"))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

async fn people_log_in_and_call_on_the_page_of_the_documentation(database: TestDatabase) {
    let server = at_its_issuer(&database, "").await;

    walk(&server, &server.url).await;

    server.stop().await;
}

async fn people_log_in_there_below_a_path_and_where_the_server_is_reached_by_another_name(
    database: TestDatabase,
) {
    // Nothing listens at the issuer, which stands for a name that the browser does not use.
    let settings = [("GRANTD_SERVER__ISSUER", "http://127.0.0.1:9/tenant/one")];
    let server = TestServer::start_at(&database, &settings, Clock::System).await;

    walk(&server, &format!("{}/tenant/one", server.url)).await;

    server.stop().await;
}

async fn send(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = server.http.request(Method::GET, format!("{}{path}", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

async fn the_files_of_the_page_are_kept_for_ever_and_come_packed(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let page = server.get("/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8".into()));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(
        !page.body.contains("<style") && !page.body.contains(" style=") && !page.body.contains("<script>")
    );

    let files: Vec<_> = page.body.split('"').filter(|word| word.starts_with("docs/")).collect();
    assert_eq!(files.len(), 4, "{}", page.body);
    for file in files {
        let path = format!("/{file}");
        let packed = file.contains("swagger-ui");
        let first = send(&server, &path, &[("accept-encoding", "gzip, br")]).await;
        let coding =
            first.headers().get("content-encoding").map(|coding| coding.to_str().expect("text").to_owned());
        let tag = first.headers()["etag"].to_str().expect("text").to_owned();
        let bytes = first.bytes().await.expect("a body");
        assert_eq!(
            (coding.as_deref(), bytes.starts_with(&[0x1f, 0x8b])),
            (packed.then_some("gzip"), packed),
            "{file}"
        );

        let kept = Answer::of(send(&server, &path, &[("if-none-match", &tag)]).await).await;
        assert_eq!((kept.status, kept.body.as_str()), (304, ""), "{file}");
        assert_eq!(kept.header("cache-control"), "public, max-age=31536000, immutable");
        let unpacked = send(&server, &path, &[("accept-encoding", "identity")]).await.status().as_u16();
        assert_eq!(unpacked, if packed { 406 } else { 200 }, "{file}");
    }
    for path in ["/docs/", "/docs/swagger-ui.css", "/docs/swagger-ui.00000000.css", "/docs/..%2fopenapi.json"]
    {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    server.stop().await;
}

async fn without_docs_neither_the_page_nor_the_document_is_there(database: TestDatabase) {
    let server = TestServer::start_with(&database, &[("GRANTD_SERVER__DOCS", "false")]).await;

    for path in ["/docs", "/openapi.json"] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    let home = server.get("/").await;
    assert!(home.status == 200 && !home.body.contains("/docs") && !home.body.contains("openapi"));
    server.stop().await;
}
