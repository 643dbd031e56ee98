//! A service that knows nothing of tokens behind a real nginx, with the configuration that is shipped: it hears who asks
//! from grantd and never from the caller. The configurations of other proxies are read as far as that goes here.

use std::collections::BTreeMap;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use grantd::app::api_keys::{NewApiKey, NewOwner};
use jsonwebtoken::{DecodingKey, Validation};
use reqwest::Method;
use serde_json::Value;

use crate::api_keys::{House, of_alice};
use crate::support::database::TestDatabase;
use crate::support::nginx::{self, Nginx};
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, ISSUER};

trials! {
    sqlite: [
        a_service_behind_nginx_hears_from_grantd_who_asks_and_checks_the_token_itself,
        attack_what_a_caller_says_of_themselves_never_reaches_the_service,
        whoever_may_not_pass_hears_why_from_nginx,
        large_cookies_and_many_roles_pass_through_nginx,
    ],
    plain: [every_example_strips_what_a_caller_says_of_themselves],
}

const NOTES: &str = "https://notes.example.com";

/// The service: it answers with what it was sent.
pub(crate) async fn echo(request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in request.headers() {
        headers.entry(name.to_string()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into());
    }
    let method = request.method().as_str();
    HttpResponse::Ok().json(serde_json::json!({
        "method": method, "path": request.uri().to_string(), "headers": headers, "body": body.len(),
    }))
}

/// grantd, the service and nginx before it.
struct Street {
    house: House,
    nginx: Nginx,
    key: String,
    token: String,
}

impl Street {
    async fn open(database: &TestDatabase) -> Self {
        nginx::here();
        let house = House::open(database).await;
        let service = HttpServer::new(|| App::new().default_service(web::to(echo)))
            .workers(1)
            .bind("127.0.0.1:0")
            .expect("a free port");
        let port = service.addrs()[0].port();
        tokio::task::spawn_local(service.run());
        let (_, url) = house.server.url.rsplit_once(':').expect("a port");
        let nginx = Nginx::asking(url.parse().expect("a port"), port);
        let (_, key) = house.key(of_alice("notes:read", &[NOTES])).await;
        let app = ClientOf { scope: "notes:read", audience: &[NOTES], ..ClientOf::ANY };
        let app = house.server.client("app", app).await.secret.expect("a secret");
        let token = house.server.login(("app", app.expose()), "alice").await.text("access_token");
        Self { house, nginx, key, token }
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = self.house.server.http.request(method, format!("{}{path}", self.nginx.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.body(body.to_owned()).send().await.expect("an answer")).await
    }

    /// What the service was sent in a header; all of it.
    async fn seen(&self, headers: &[(&str, &str)]) -> Value {
        let answer = self.send(Method::GET, "/notes/1?x=y", headers, "").await;
        assert_eq!(answer.status, 200, "{answer:?} {}", self.nginx.log("error.log"));
        answer.json()["headers"].clone()
    }

    /// The claims of a token that the service checks by the keys that it has read.
    async fn checked(&self, authorization: &Value) -> Value {
        let jwt = authorization[0].as_str().and_then(|text| text.strip_prefix("Bearer ")).expect("a token");
        let keys = self.house.server.get("/.well-known/jwks.json").await;
        let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&keys.body).expect("a JWK Set");
        let header = jsonwebtoken::decode_header(jwt).expect("a header");
        let key = keys.find(header.kid.as_deref().expect("a kid")).expect("a published key");
        let mut validation = Validation::new(header.alg);
        // By the clock of the test, which is not that of the library.
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[NOTES]);
        let key = DecodingKey::from_jwk(key).expect("a public key");
        jsonwebtoken::decode::<Value>(jwt, &key, &validation).expect("verifies").claims
    }
}

async fn a_service_behind_nginx_hears_from_grantd_who_asks_and_checks_the_token_itself(
    database: TestDatabase,
) {
    let street = Street::open(&database).await;
    let bearer = format!("Bearer {}", street.token);
    for headers in [[("X-API-Key", street.key.as_str())], [("Authorization", &bearer)]] {
        let seen = street.seen(&headers).await;

        let claims = street.checked(&seen["authorization"]).await;
        assert_eq!(
            (&claims["preferred_username"], &claims["scope"]),
            (&"alice".into(), &"notes:read".into())
        );
        assert_eq!(seen["x-auth-user"][0], claims["sub"]);
        assert_eq!(
            (&seen["x-auth-username"][0], &seen["x-auth-roles"][0]),
            (&"alice".into(), &"clerk".into())
        );
        assert_eq!(seen["x-auth-scope"][0], "notes:read");
        assert_eq!(seen.get("x-api-key"), None, "the service gets no secret that is good elsewhere");
    }
    // A body and a method go to the service, and not to grantd.
    let key = [("X-API-Key", street.key.as_str())];
    let answer = street.send(Method::PUT, "/notes/1?x=y", &key, "some words").await.json();
    assert_eq!((&answer["method"], &answer["path"]), (&"PUT".into(), &"/notes/1?x=y".into()));
    assert_eq!(answer["body"], 10);
    street.house.server.stop().await;
}

async fn attack_what_a_caller_says_of_themselves_never_reaches_the_service(database: TestDatabase) {
    let street = Street::open(&database).await;
    let seen = street
        .seen(&[
            ("X-API-Key", &street.key),
            ("X-Auth-User", "root"),
            ("x-auth-username", "root"),
            ("X-AUTH-ROLES", "boss"),
            ("X-Auth-Roles", "admin"),
            ("X-Auth-Scope", "admin"),
            ("X_Auth_User", "root"),
            ("X_Auth-User", "root"),
        ])
        .await;

    let told = seen.to_string();
    assert!(!["root", "boss", "admin"].iter().any(|word| told.contains(word)), "{told}");
    assert!(!told.contains("gak_"), "{told}");
    for header in ["x-auth-user", "x-auth-username", "x-auth-roles", "x-auth-scope", "authorization"] {
        assert_eq!(seen[header].as_array().map(Vec::len), Some(1), "{header}: {told}");
    }
    // Nor is the address at which nginx asks reached from outside, whatever it is called there.
    for path in ["/_grantd_verify", "/x/../_grantd_verify", "/_grantd%5fverify"] {
        let answer = street.send(Method::GET, path, &[], "").await;
        assert!(matches!(answer.status, 401 | 404), "{path}: {answer:?}");
    }
    // What stands in the query of the request is not asked.
    let answer =
        street.send(Method::GET, "/notes?audience=urn:x&scope=y", &[("X-API-Key", &street.key)], "").await;
    assert_eq!(answer.status, 200);
    street.house.server.stop().await;
}

async fn whoever_may_not_pass_hears_why_from_nginx(database: TestDatabase) {
    let street = Street::open(&database).await;
    let (_, reads_nothing) = street.house.key(of_alice("other", &[NOTES])).await;
    let (_, elsewhere) = street.house.key(of_alice("notes:read", &[])).await;
    let bearer = format!("Bearer {}", street.token);
    for (headers, status, challenge) in [
        (&[][..], 401, "Bearer realm="),
        (&[("X-Auth-User", "root")], 401, "Bearer realm="),
        (&[("X-API-Key", "gak_x")], 401, r#"error="invalid_token""#),
        (&[("X-API-Key", elsewhere.as_str())], 401, r#"error="invalid_token""#),
        (&[("X-API-Key", &street.key), ("Authorization", &bearer)], 401, r#"error="invalid_request""#),
        (&[("X-API-Key", &reads_nothing)], 403, ""),
    ] {
        let answer = street.send(Method::GET, "/", headers, "").await;

        assert_eq!(answer.status, status, "{headers:?} {answer:?}");
        assert!(answer.header("www-authenticate").contains(challenge), "{answer:?}");
        assert!(!answer.body.contains("headers"), "the service was not asked");
    }
    street
        .house
        .server
        .app
        .revoke_token(&grantd::model::secret::PlainSecret::new(street.key.clone()))
        .await
        .expect("ended");
    street.house.reload().await;
    let ended = street.send(Method::GET, "/", &[("X-API-Key", &street.key)], "").await;
    assert_eq!(ended.status, 401);
    street.house.server.stop().await;
}

async fn large_cookies_and_many_roles_pass_through_nginx(database: TestDatabase) {
    let street = Street::open(&database).await;
    let server = &street.house.server;
    let roles: Vec<String> =
        (0..60).map(|number| format!("department-{number:02}-{}", "x".repeat(46))).collect();
    for role in &roles {
        server.role(role, "notes:read").await;
    }
    let names: Vec<&str> = roles.iter().map(String::as_str).collect();
    server.user("bob", &names).await;
    let of_bob = NewApiKey {
        owner: NewOwner::User("bob".parse().expect("a name")),
        ..of_alice("notes:read", &[NOTES])
    };
    let (_, key) = street.house.key(of_bob).await;

    // As much as nginx itself takes, and in more fields than grantd reads.
    let cookie = "y".repeat(7500);
    let many: Vec<String> = (0..75).map(|number| format!("X-Field-{number}")).collect();
    let mut headers =
        vec![("X-API-Key", key.as_str()), ("Cookie", &cookie), ("X-One", &cookie), ("X-Two", &cookie)];
    headers.extend(many.iter().map(|name| (name.as_str(), "z")));
    let seen = street.seen(&headers).await;

    assert_eq!(seen["x-auth-roles"][0], roles.join(","));
    assert_eq!(street.checked(&seen["authorization"]).await["roles"].as_array().map(Vec::len), Some(60));
    assert_eq!((&seen["cookie"][0], &seen["x-two"][0]), (&cookie.as_str().into(), &cookie.as_str().into()));
    street.house.server.stop().await;
}

/// The one of nginx is tried above; no other proxy is on machines like this one, so these are read.
fn every_example_strips_what_a_caller_says_of_themselves() {
    let nginx = include_str!("../../deploy/forward-auth/nginx.conf");
    let traefik = include_str!("../../deploy/forward-auth/traefik.yaml");
    let caddy = include_str!("../../deploy/forward-auth/Caddyfile");
    let envoy = include_str!("../../deploy/forward-auth/envoy.yaml");
    for header in grantd::protocol::verify::TOLD {
        let names = |text: &str| text.to_ascii_lowercase();
        assert!(names(nginx).contains(&format!("proxy_set_header {header} ")), "nginx {header}");
        assert!(names(traefik).contains(&format!("{header}: \"\"")), "Traefik {header}");
        assert!(names(envoy).contains(&format!("- remove: {header}\n")), "Envoy {header}");
        assert!(names(envoy).contains(&format!("- exact: {header}\n")), "Envoy {header}");
        let copied = caddy.lines().find(|line| line.contains("copy_headers")).expect("a list");
        assert!(names(copied).split_whitespace().any(|word| word == header), "Caddy {header}");
    }
    let at = |line: &str| caddy.find(line).unwrap_or_else(|| panic!("no {line}"));
    assert!(at("request_header -X-Auth*") < at("forward_auth grantd"));
    assert!(at("forward_auth grantd") < at("request_header -X-API-Key"));
    assert!(at("request_header -X-API-Key") < at("reverse_proxy notes"));
    assert!(envoy.contains("&request=\"\n") && envoy.contains("request_headers_to_remove: [x-api-key]"));
}
