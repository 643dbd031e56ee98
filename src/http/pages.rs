//! The page for people at `/`: what this server is and how to use it.

use actix_web::HttpResponse;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use actix_web::web::Data;

use crate::model::client::GrantType;

use super::docs::{DOCS, OPENAPI};
use super::health;
use super::state::HttpState;
use super::views::{Endpoint, HomePage, content_security_policy};

/// `GET /`.
pub(super) async fn home(state: Data<HttpState>) -> HttpResponse {
    let (healthy, checks) = health::checks(&state);
    let policy = state.app.policy();
    let endpoint = |method, path: &str, what| Endpoint { method, url: state.url(path), what };
    let mut endpoints = vec![
        endpoint("POST", "/token", "issues, refreshes and exchanges tokens (RFC 6749, RFC 8693)"),
        endpoint("POST", "/introspect", "says whether a token is good now (RFC 7662)"),
        endpoint("POST", "/revoke", "ends a token and its session (RFC 7009)"),
        endpoint("GET, POST", "/userinfo", "the user behind an access token"),
        endpoint("ANY", "/verify", "what a reverse proxy asks before it lets a request through"),
        endpoint("GET", "/.well-known/jwks.json", "the public keys (RFC 7517)"),
        endpoint("GET", "/.well-known/oauth-authorization-server", "the metadata (RFC 8414)"),
        endpoint("GET", "/.well-known/openid-configuration", "the same under its OpenID name"),
        endpoint("GET", "/status", "where revoked tokens are listed (Token Status List)"),
        endpoint("GET", "/health/live", "200 while the process answers"),
        endpoint("GET", "/health/ready", "200 while this instance can do its work"),
    ];
    if state.shows_docs() {
        endpoints.push(endpoint("GET", DOCS, "all of it to read and to try out"));
        endpoints.push(endpoint("GET", OPENAPI, "the same for programs (OpenAPI 3.1)"));
    }
    let page = HomePage {
        issuer: policy.issuer.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        healthy,
        checks,
        endpoints,
        grant_types: GrantType::ALL.map(|grant| grant.as_str().to_owned()).to_vec(),
        algorithms: state.app.ring().algorithms().iter().map(ToString::to_string).collect(),
        audience: policy.default_audience.clone(),
        token_endpoint: state.url("/token"),
        jwks_uri: state.url("/.well-known/jwks.json"),
    };
    html(HttpResponse::Ok().body(page.render()), content_security_policy())
}

/// The headers of every page: only what its policy allows runs, nobody frames it, nothing is kept.
pub(super) fn html(mut response: HttpResponse, policy: &'static str) -> HttpResponse {
    let headers = response.headers_mut();
    headers
        .insert(actix_web::http::header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
