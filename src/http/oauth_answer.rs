//! Writes the answers of the OAuth endpoints: JSON that no cache keeps, and the errors of RFC 6749 §5.2. Must not know
//! what was asked for.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, HeaderName, HeaderValue, PRAGMA, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, Responder as _};
use oxide_auth::endpoint::WebResponse as _;
use oxide_auth_actix::{OAuthResponse, WebError};
use serde::Serialize;

use crate::protocol::dpop;
use crate::protocol::error::TokenError;
use crate::telemetry::metrics::count;

use super::root_span::{record_cause, record_oauth_error};
use super::state::HttpState;

/// The header that proofs come in.
pub(super) const DPOP: HeaderName = HeaderName::from_static(dpop::HEADER);
const DPOP_NONCE: HeaderName = HeaderName::from_static(dpop::NONCE_HEADER);

/// RFC 9449 §8.2: whoever sends proofs hears with every answer what the next one is to be made with.
pub(super) fn add_dpop_nonce(request: &HttpRequest, response: &mut HttpResponse, state: &HttpState) {
    if request.headers().contains_key(&DPOP)
        && let Ok(nonce) = HeaderValue::from_str(&state.app.dpop_nonce())
    {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
}

/// What was asked for was done; `json` says what came of it.
pub(super) fn done(request: &HttpRequest, json: &str) -> HttpResponse {
    let mut answer = OAuthResponse::ok();
    match answer.body_json(json) {
        Ok(()) => uncached(answer.respond_to(request)),
        Err(error) => broken(request, &error),
    }
}

/// RFC 6749 §5.2, to the letter: code, status, challenge, no-store. Counted under `metric`.
pub(super) fn refused(
    request: &HttpRequest,
    error: &TokenError,
    state: &HttpState,
    metric: &'static str,
) -> HttpResponse {
    let (code, status, description) = error.answer();
    record_oauth_error(request, code.as_str());
    record_cause(request, error);
    count(metric, "error", code.as_str());

    let mut answer = OAuthResponse::ok();
    let outcome = match error {
        TokenError::Client { header_used: true, .. } => answer.unauthorized(&challenge(state)),
        _ => answer.client_error(),
    };
    if let Err(error) = outcome.and_then(|()| answer.body_json(&error_json(code.as_str(), description))) {
        return broken(request, &error);
    }
    let mut response = answer.respond_to(request);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    add_retry_after(&mut response, error);
    if *error == TokenError::Method {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    }
    uncached(response)
}

/// Says when to come back, where waiting helps.
pub(super) fn add_retry_after(response: &mut HttpResponse, error: &TokenError) {
    if let Some(retry_after) = error.retry_after() {
        // RFC 9110 §10.2.3: whole seconds; rounded up, so that who waits that long is let in.
        let seconds = retry_after.as_millis().div_ceil(1000).max(1);
        response.headers_mut().insert(RETRY_AFTER, (seconds as u64).into());
    }
}

/// RFC 6749 §5.1: both headers on every answer that may hold a token, and errors are no exception.
pub(super) fn uncached(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// The body of an error, RFC 6749 §5.2.
pub(super) fn error_json(error: &str, error_description: &str) -> String {
    #[derive(Serialize)]
    struct Members<'a> {
        error: &'a str,
        error_description: &'a str,
    }
    serde_json::to_string(&Members { error, error_description }).expect("strings always serialize")
}

/// RFC 7617 §2: a realm is required. The issuer is one, and is known to contain no quote.
fn challenge(state: &HttpState) -> String {
    format!(r#"Basic realm="{}", charset="UTF-8""#, state.app.policy().issuer)
}

fn broken(request: &HttpRequest, error: &WebError) -> HttpResponse {
    record_cause(request, error);
    uncached(HttpResponse::InternalServerError().finish())
}
