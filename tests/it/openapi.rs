//! The OpenAPI document held to its word: other people's tools find nothing wrong with it, the server answers what it says,
//! and every route of the server is in it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use actix_web::dev::Service as _;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::Data;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grantd::app::clock::Clock;
use grantd::http::{Draining, HttpState, public};
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::python::hold_to_its_document;
use crate::support::runner::trials;
use crate::support::server::{ClientOf, PASSWORD, TestServer};

trials! {
    sqlite: [
        the_server_answers_what_its_document_says,
        under_an_issuer_with_a_path_it_does_so_too,
        every_route_is_documented_and_nothing_else,
        the_document_is_kept_and_read_from_anywhere,
    ],
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// Every way to ask that has an answer of its own.
async fn ways(server: &TestServer, prefix: &str) -> Vec<Value> {
    let api = "https://api.example";
    let grants = &grantd::model::client::GrantType::ALL;
    let made = server
        .client(
            "app",
            ClientOf {
                grants,
                may_act_for: &[api],
                resource_servers: &[api],
                audience: &[api],
                ..ClientOf::ANY
            },
        )
        .await;
    let app = basic("app", made.secret.expect("a secret").expose());
    server.user("alice", &[]).await;
    let login = async || -> Value {
        let form = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
        let request = server.http.post(format!("{}{prefix}/token", server.url)).header("authorization", &app);
        request.form(&form).send().await.expect("an answer").json().await.expect("json")
    };
    let (login, given_back) = (login().await, login().await["refresh_token"].clone());
    let (access, refresh) = (&login["access_token"], &login["refresh_token"]);
    let bearer = format!("Bearer {}", access.as_str().expect("a token"));

    let mut ways = Vec::new();
    let mut add = |method: &str, path: &str, headers: Value, form: Value, conforms: bool| {
        let path = format!("{prefix}{path}");
        ways.push(json!({"method": method, "path": path, "headers": headers, "form": form, "conforms": conforms, "fill": {"list": "0"}}));
    };
    let by_app = json!({"Authorization": app});
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    let kind = "urn:ietf:params:oauth:token-type:access_token";
    for (form, conforms) in [
        (json!({"grant_type": "client_credentials", "scope": "read"}), true),
        (json!({"grant_type": "client_credentials", "client_secret": "", "username": "", "token": ""}), true),
        (
            json!({"grant_type": "password", "username": "alice", "password": PASSWORD, "resource": [api]}),
            true,
        ),
        (json!({"grant_type": "password", "username": "alice", "password": "wrong"}), true),
        (json!({"grant_type": "password", "username": "alice"}), false),
        (json!({"grant_type": "refresh_token", "refresh_token": refresh}), true),
        (json!({"grant_type": "refresh_token", "refresh_token": "grt_x"}), true),
        (json!({"grant_type": exchange, "subject_token": access, "subject_token_type": kind}), true),
        (json!({"grant_type": exchange, "subject_token": "x", "subject_token_type": kind}), true),
        (json!({"grant_type": "client_credentials", "scope": "more"}), true),
        (json!({"grant_type": "client_credentials", "scope": " "}), true),
        (json!({"grant_type": "client_credentials", "resource": ["urn:other"]}), true),
        (json!({"grant_type": "authorization_code"}), false),
        (json!({"grant_type": ["password", "password"]}), false),
        (json!({"grant_type": "client_credentials", "scope": "x".repeat(20_000)}), true),
    ] {
        add("post", "/token", by_app.clone(), form, conforms);
    }
    let cc = json!({"grant_type": "client_credentials"});
    add("post", "/token", json!({"Authorization": basic("app", "wrong")}), cc.clone(), true);
    add("post", "/token", json!({"Authorization": app, "DPoP": "x"}), cc.clone(), true);
    add("post", "/token", json!({"Authorization": app, "Content-Encoding": "gzip"}), cc.clone(), true);
    add("post", "/token", json!({"Authorization": app, "Content-Type": "application/json"}), cc, true);
    for token in [access, refresh, &json!("x")] {
        add("post", "/introspect", by_app.clone(), json!({"token": token}), true);
    }
    let signed = json!({"Authorization": app, "Accept": "application/token-introspection+jwt"});
    add("post", "/introspect", signed, json!({"token": access}), true);
    for headers in [
        json!({"Authorization": bearer}),
        json!({"Authorization": "Bearer x"}),
        json!({"Authorization": bearer, "DPoP": "x"}),
        json!({"Authorization": "DPoP x"}),
    ] {
        add("get", "/userinfo", headers.clone(), Value::Null, true);
        add("post", "/userinfo", headers, Value::Null, true);
    }
    add("post", "/userinfo", json!({}), json!({"access_token": access}), true);
    add("post", "/userinfo", json!({"Authorization": bearer}), json!({"access_token": access}), true);
    for path in [
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/status",
        "/status/{list}",
        "/openapi.json",
    ] {
        add("get", path, json!({"If-None-Match": "*"}), Value::Null, true);
    }
    add("get", "/status/{list}", json!({"Accept": "application/statuslist+cwt"}), Value::Null, true);
    add("post", "/revoke", by_app, json!({"token": given_back, "token_type_hint": "refresh_token"}), true);
    ways
}

async fn the_server_answers_what_its_document_says(database: TestDatabase) {
    let server = TestServer::start_at(&database, &[], Clock::System).await;
    let ways = ways(&server, "").await;

    let held = hold_to_its_document(&server.url, "/openapi.json", &ways).await;

    let asked = held.unwrap_or_else(|complaints| panic!("{complaints}"));
    let asked: BTreeSet<_> =
        asked["asked"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    for answer in [
        "POST /token 200",
        "POST /token 400",
        "POST /token 401",
        "POST /token 413",
        "POST /token 415",
        "POST /introspect 200",
        "POST /introspect 401",
        "POST /revoke 200",
        "GET /userinfo 200",
        "GET /userinfo 401",
        "POST /userinfo 200",
        "POST /userinfo 400",
        "GET /status/{list} 200",
        "GET /status/{list} 304",
        "GET /status/{list} 406",
        "GET /openapi.json 304",
        "GET /health/ready 200",
        "GET / 200",
        "GET /docs 200",
    ] {
        assert!(asked.contains(answer), "{answer} is not among {asked:?}");
    }
    server.stop().await;
}

async fn under_an_issuer_with_a_path_it_does_so_too(database: TestDatabase) {
    let settings = [("GRANTD_SERVER__ISSUER", "http://127.0.0.1:8080/tenant/one")];
    let server = TestServer::start_at(&database, &settings, Clock::System).await;
    let ways = ways(&server, "/tenant/one").await;

    let held = hold_to_its_document(&server.url, "/tenant/one/openapi.json", &ways).await;

    let asked = held.unwrap_or_else(|complaints| panic!("{complaints}"));
    let inserted = json!("GET /.well-known/oauth-authorization-server/tenant/one 200");
    assert!(asked["asked"].as_array().expect("a list").contains(&inserted), "{asked}");
    server.stop().await;
}

/// The routes as actix has them, once it has built them.
async fn routes(server: &TestServer) -> BTreeSet<String> {
    let state = HttpState::new(Arc::clone(&server.app), "", Vec::new(), Draining::default());
    let map = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&map);
    let routes = actix_web::App::new().configure(public(Data::new(state))).wrap_fn(move |request, next| {
        *seen.lock().expect("nobody panics here") = format!("{:?}", request.resource_map());
        next.call(request)
    });
    let service = init_service(routes).await;
    call_service(&service, TestRequest::get().uri("/health/live").to_request()).await;
    let map = map.lock().expect("nobody panics here").clone();
    let mut found = BTreeSet::new();
    for part in map.split("Single(\"").skip(1) {
        found.insert(part.split('"').next().expect("a pattern").to_owned());
    }
    found
}

async fn every_route_is_documented_and_nothing_else(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    let mut routes = routes(&server).await;

    assert!(routes.contains("/token") && routes.contains("/status/{list}"), "{routes:?}");
    // The files of a page, whose names nobody needs to know.
    assert!(routes.remove("/docs/{file}"), "{routes:?}");
    routes.remove("");
    let document = server.get("/openapi.json").await.json();
    let documented: BTreeSet<_> = document["paths"].as_object().expect("paths").keys().cloned().collect();
    assert_eq!(documented, routes);
    server.stop().await;
}

async fn the_document_is_kept_and_read_from_anywhere(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    let document = server.get("/openapi.json").await;
    let metadata = server.get("/.well-known/oauth-authorization-server").await.json();

    assert_eq!((document.status, document.header("content-type")), (200, "application/json".into()));
    assert_eq!(document.header("cache-control"), "public, max-age=300");
    let known = server
        .http
        .get(format!("{}/openapi.json", server.url))
        .header("if-none-match", document.header("etag"));
    assert_eq!(known.send().await.expect("an answer").status(), 304);
    let elsewhere =
        server.http.get(format!("{}/openapi.json", server.url)).header("origin", "https://portal.example");
    let elsewhere = elsewhere.send().await.expect("an answer");
    assert_eq!(elsewhere.headers()["access-control-allow-origin"], "*");
    let document = document.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document.get("servers").is_none());
    // It cannot contradict what it quotes.
    assert_eq!(document["components"]["schemas"]["Metadata"]["examples"], json!([metadata]));
    server.stop().await;
}
