//! The documents that other services read: keys (RFC 7517 §5) and metadata (RFC 8414 §3), with validators and
//! lifetimes so that polling costs little.

use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, EntityTag, Header as _, HeaderValue, IF_NONE_MATCH, IfNoneMatch,
    ORIGIN,
};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};

use super::state::HttpState;

/// Where the keys are, below the issuer.
pub(super) const JWKS: &str = "/.well-known/jwks.json";
/// Where the metadata is, below the issuer; RFC 8414 §3.1 has another place for issuers with a path.
pub(super) const METADATA: &str = "/.well-known/oauth-authorization-server";
/// The same under the name that OpenID Connect gives it.
pub(super) const OPENID: &str = "/.well-known/openid-configuration";

/// A document as it is now. To take one copies no text.
pub(super) struct Document {
    body: Bytes,
    etag: HeaderValue,
    cache_control: HeaderValue,
}

impl Document {
    fn jwks(state: &HttpState) -> Self {
        let ring = state.app.ring();
        let jwks = ring.jwks();
        Self {
            body: Bytes::from_owner(Arc::clone(&jwks.body)),
            etag: HeaderValue::from_str(&jwks.etag).expect("base64url between quotes"),
            cache_control: state.jwks_cache_control.clone(),
        }
    }

    fn metadata(state: &HttpState) -> Self {
        let (body, etag) = &state.metadata;
        let cache_control = HeaderValue::from_static("public, max-age=300");
        Self { body: body.clone(), etag: etag.clone(), cache_control }
    }

    /// The document that a request asks for which nothing but the document has to be known for: no condition, no page
    /// of another origin. It can be answered without looking for a route.
    pub(super) fn asked_plainly(request: &ServiceRequest) -> Option<Self> {
        let headers = request.headers();
        let plain = *request.method() == Method::GET
            && request.uri().query().is_none()
            && !headers.contains_key(IF_NONE_MATCH)
            && !headers.contains_key(ORIGIN);
        let document = match request.uri().path() {
            _ if !plain => return None,
            JWKS => Self::jwks,
            METADATA | OPENID => Self::metadata,
            _ => return None,
        };
        request.app_data::<Data<HttpState>>().map(|state| document(state))
    }

    /// All of it.
    pub(super) fn whole(self) -> HttpResponse {
        let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(self.body));
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, self.cache_control);
        headers.insert(ETAG, self.etag);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// That it has not changed.
    fn unchanged(self) -> HttpResponse {
        let mut response = HttpResponse::new(StatusCode::NOT_MODIFIED);
        response.headers_mut().insert(CACHE_CONTROL, self.cache_control);
        response.headers_mut().insert(ETAG, self.etag);
        response
    }

    fn answer(self, request: &HttpRequest) -> HttpResponse {
        let tag = self.etag.to_str().unwrap_or_default().trim_matches('"');
        match matches(request, &EntityTag::new_strong(tag.to_owned())) {
            true => self.unchanged(),
            false => self.whole(),
        }
    }
}

/// `GET /.well-known/jwks.json`.
pub(super) async fn jwks(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    Document::jwks(&state).answer(&request)
}

/// `GET /.well-known/oauth-authorization-server` and its OpenID alias.
pub(super) async fn metadata(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    Document::metadata(&state).answer(&request)
}

/// RFC 9110 §13.1.2: weak comparison, `*` matches.
fn matches(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|given| given.weak_eq(tag)),
        Err(_) => false,
    }
}
