//! Which pages of other origins may ask what (the Fetch standard's CORS protocol).

use actix_cors::Cors;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_EXPOSE_HEADERS, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, VARY,
};

/// Keys and metadata: readable from anywhere, without credentials.
pub(super) fn documents() -> Cors {
    Cors::default()
        .allow_any_origin()
        .send_wildcard()
        .allowed_methods([Method::GET, Method::HEAD])
        .expose_headers(["etag", "x-request-id"])
        .max_age(3600)
}

/// What [`documents`] adds to an answer that no page of another origin asked for; caches may give it to one.
pub(super) fn add_to_document(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag, x-request-id"));
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    headers.insert(VARY, HeaderValue::from_static(vary));
}

/// The endpoints: from the configured origins only. Other origins are answered too, without the headers that
/// would let a page read the answer.
pub(super) fn endpoints(allowed_origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods([Method::GET, Method::POST])
        .allowed_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            // Swagger UI sends it.
            HeaderName::from_static("x-requested-with"),
            HeaderName::from_static("dpop"),
        ])
        .expose_headers(["dpop-nonce", "retry-after", "www-authenticate", "x-request-id"])
        .max_age(3600);
    allowed_origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}
