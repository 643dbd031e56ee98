//! The documents that other services read: keys (RFC 7517 §5) and metadata (RFC 8414 §3), with validators and
//! lifetimes so that polling costs little.

use actix_web::http::header::{CacheControl, CacheDirective, ETag, EntityTag, Header as _, IfNoneMatch};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};

use crate::protocol::key_schedule::jwks_max_age;

use super::state::HttpState;

/// How long the metadata may be kept; it changes with a new configuration only.
const METADATA_MAX_AGE: u32 = 300;

/// `GET /.well-known/jwks.json`.
pub(super) async fn jwks(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    let ring = state.app.ring();
    let document = ring.jwks();
    let tag = document.etag.trim_matches('"').to_owned();
    let max_age = jwks_max_age(state.app.policy().publish_before).as_secs();
    let max_age = u32::try_from(max_age).unwrap_or(0);
    send(&request, || Bytes::copy_from_slice(&document.body), tag, max_age)
}

/// `GET /.well-known/oauth-authorization-server` and its OpenID alias.
pub(super) async fn metadata(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    let (body, tag) = &state.metadata;
    send(&request, || body.clone(), tag.clone(), METADATA_MAX_AGE)
}

fn send(request: &HttpRequest, body: impl FnOnce() -> Bytes, tag: String, max_age: u32) -> HttpResponse {
    let tag = EntityTag::new_strong(tag);
    let known = matches(request, &tag);
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header(CacheControl(vec![CacheDirective::Public, CacheDirective::MaxAge(max_age)]))
        .insert_header(ETag(tag));
    if known {
        return response.finish();
    }
    response.content_type("application/json").body(body())
}

/// RFC 9110 §13.1.2: weak comparison, `*` matches.
fn matches(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|given| given.weak_eq(tag)),
        Err(_) => false,
    }
}
