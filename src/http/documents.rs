//! The documents that other services read: keys (RFC 7517 §5), metadata (RFC 8414 §3) and status lists
//! (draft-ietf-oauth-status-list §8), with validators and lifetimes so that polling costs little.

use actix_http::{RequestHead, Response};
use actix_web::body::BoxBody;
use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, EntityTag, Header as _, HeaderMap, HeaderValue, IF_NONE_MATCH,
    IfNoneMatch, ORIGIN, RETRY_AFTER,
};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use crate::app::status_lists::{NoStatusList, StatusDocument};
use crate::protocol::status_list::STATUS_LIST_MEDIA_TYPE;

use super::accept::Wish;
use super::fallback;
use super::root_span::record_cause;
use super::state::HttpState;

const JSON: &str = "application/json";

/// Where the keys are, below the issuer.
pub(super) const JWKS: &str = "/.well-known/jwks.json";
/// Where the metadata is, below the issuer; RFC 8414 §3.1 has another place for issuers with a path.
pub(super) const METADATA: &str = "/.well-known/oauth-authorization-server";
/// The same under the name that OpenID Connect gives it.
pub(super) const OPENID: &str = "/.well-known/openid-configuration";

/// What the addresses of status lists begin with, below the issuer; alone it is that of the document that names them.
pub(super) const STATUS: &str = "/status";
/// The pattern of those addresses.
pub(super) const STATUS_LIST: &str = "/status/{list}";

/// A document as it is now. To take one copies no text.
pub(super) struct Document {
    body: Bytes,
    media_type: &'static str,
    etag: HeaderValue,
    cache_control: HeaderValue,
}

impl Document {
    fn jwks(state: &HttpState) -> Self {
        let ring = state.app.ring();
        let jwks = ring.jwks();
        Self {
            body: jwks.body.clone(),
            media_type: JSON,
            etag: entity_tag(&jwks.etag),
            cache_control: state.jwks_cache_control.clone(),
        }
    }

    fn metadata(state: &HttpState) -> Self {
        let (body, etag) = &state.metadata;
        let cache_control = HeaderValue::from_static("public, max-age=300");
        Self { body: body.clone(), media_type: JSON, etag: etag.clone(), cache_control }
    }

    /// What [`crate::protocol::openapi`] says.
    pub(super) fn openapi(state: &HttpState) -> Self {
        let (body, etag) = state.openapi();
        let cache_control = HeaderValue::from_static("public, max-age=300");
        Self { body, media_type: JSON, etag, cache_control }
    }

    async fn status_list(state: &HttpState, list: u32) -> Result<Self, NoStatusList> {
        let document = state.app.status_list(list).await?;
        Ok(Self::status_document(state, &document, STATUS_LIST_MEDIA_TYPE))
    }

    fn status_list_at_hand(state: &HttpState, list: u32) -> Option<Self> {
        let document = state.app.status_list_at_hand(list).ok().flatten()?;
        Some(Self::status_document(state, &document, STATUS_LIST_MEDIA_TYPE))
    }

    fn status_lists(state: &HttpState) -> Self {
        Self::status_document(state, &state.app.status_list_aggregation(), JSON)
    }

    fn status_document(state: &HttpState, document: &StatusDocument, media_type: &'static str) -> Self {
        Self {
            body: document.body.clone(),
            media_type,
            etag: entity_tag(&document.etag),
            cache_control: state.status_cache_control.clone(),
        }
    }

    /// The document that a request asks for which nothing but the document has to be known for: no condition, no page
    /// of another origin. It can be answered without looking for a route.
    ///
    /// With the pattern of that route.
    pub(super) fn asked_plainly(request: &RequestHead, state: &HttpState) -> Option<(Self, &'static str)> {
        let headers = request.headers();
        let plain = request.method == Method::GET
            && request.uri.query().is_none()
            && !headers.contains_key(IF_NONE_MATCH)
            && !headers.contains_key(ORIGIN);
        if !plain {
            return None;
        }
        match request.uri.path() {
            JWKS => Some((Self::jwks(state), JWKS)),
            METADATA => Some((Self::metadata(state), METADATA)),
            OPENID => Some((Self::metadata(state), OPENID)),
            path => {
                let list = list_number(path.strip_prefix(STATUS)?.strip_prefix('/')?)?;
                // Whatever has to be built is so by its route, and whatever cannot be served is refused there.
                let list = takes_status_list_jwt(headers)
                    .then(|| Self::status_list_at_hand(state, list))
                    .flatten()?;
                Some((list, STATUS_LIST))
            }
        }
    }

    /// All of it.
    pub(super) fn whole(self) -> Response<BoxBody> {
        let mut response = Response::with_body(StatusCode::OK, BoxBody::new(self.body));
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, self.cache_control);
        headers.insert(ETAG, self.etag);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        response
    }

    /// That it has not changed.
    fn unchanged(self) -> HttpResponse {
        let mut response = HttpResponse::new(StatusCode::NOT_MODIFIED);
        response.headers_mut().insert(CACHE_CONTROL, self.cache_control);
        response.headers_mut().insert(ETAG, self.etag);
        response
    }

    /// What the conditions of the request ask for.
    pub(super) fn answer(self, request: &HttpRequest) -> HttpResponse {
        match has_already(request, &self.etag) {
            true => self.unchanged(),
            false => self.whole().into(),
        }
    }
}

/// Whether whoever asks has what bears this tag.
pub(super) fn has_already(request: &HttpRequest, etag: &HeaderValue) -> bool {
    let tag = etag.to_str().unwrap_or_default().trim_start_matches("W/").trim_matches('"');
    // Comparison is weak in any case.
    matches(request, &EntityTag::new_strong(tag.to_owned()))
}

/// `GET /.well-known/jwks.json`.
pub(super) async fn jwks(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    Document::jwks(&state).answer(&request)
}

/// `GET /.well-known/oauth-authorization-server` and its OpenID alias.
pub(super) async fn metadata(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    Document::metadata(&state).answer(&request)
}

/// `GET /status`: the status list aggregation, draft-ietf-oauth-status-list §9.
pub(super) async fn status_lists(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    Document::status_lists(&state).answer(&request)
}

/// `GET /status/{list}`: a Token Status List, draft-ietf-oauth-status-list §8.
pub(super) async fn status_list(
    request: HttpRequest,
    list: Path<String>,
    state: Data<HttpState>,
) -> HttpResponse {
    let Some(list) = list_number(&list) else { return fallback::not_found(request).await };
    // §8.4: a list of now must not answer for another time. Of the two codes that the draft has for this, the one that
    // is the caller's: a stranger must not be able to make a server look broken.
    if request.query_string().split('&').any(|parameter| parameter.split('=').next() == Some("time")) {
        return not_acceptable("There are no status lists of other times.");
    }
    if !takes_status_list_jwt(request.headers()) {
        return not_acceptable("Status lists are application/statuslist+jwt only.");
    }
    match Document::status_list(&state, list).await {
        Ok(document) => document.answer(&request),
        Err(NoStatusList::NoSuchList) => fallback::not_found(request).await,
        Err(cause @ NoStatusList::Unsigned(_)) => {
            record_cause(&request, &cause);
            HttpResponse::ServiceUnavailable().insert_header((RETRY_AFTER, "1")).json(json!({
                "error": "temporarily_unavailable",
                "error_description": "The list cannot be signed now; try again in a moment.",
            }))
        }
    }
}

fn entity_tag(tag: &Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(tag.clone()).expect("base64url between quotes")
}

fn not_acceptable(description: &str) -> HttpResponse {
    HttpResponse::NotAcceptable().json(json!({"error": "not_acceptable", "error_description": description}))
}

/// A number as the tokens write it: one address for each list.
fn list_number(text: &str) -> Option<u32> {
    let canonical = text == "0" || (text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0'));
    text.parse().ok().filter(|_| canonical)
}

/// §8.1: who names media types and not this one wants CWT. Who names none knows what there is.
fn takes_status_list_jwt(headers: &HeaderMap) -> bool {
    !headers.contains_key(ACCEPT) || Wish::among(headers, STATUS_LIST_MEDIA_TYPE).quality > 0
}

/// RFC 9110 §13.1.2: weak comparison, `*` matches.
fn matches(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|given| given.weak_eq(tag)),
        Err(_) => false,
    }
}
