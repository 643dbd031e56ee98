//! `/verify`: asked by nginx (`auth_request`), Traefik (`forwardAuth`), Caddy (`forward_auth`) and Envoy (`ext_authz`) for
//! each request that they get. By whatever method, for Envoy asks by that of the request.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use crate::app::verify::{Passed, verify};
use crate::protocol::error::TokenError;
use crate::protocol::verify::{API_KEY_HEADER, Credential, Denied, TOLD, Wanted, told};
use crate::telemetry::metrics::count;

use super::oauth_answer::{error_json, uncached};
use super::root_span::{record_cause, record_oauth_error};
use super::state::HttpState;

/// Where it is, below the issuer.
pub(super) const PATH: &str = "/verify";

const METRIC: &str = "grantd_verifications_total";
const X_API_KEY: HeaderName = HeaderName::from_static(API_KEY_HEADER);

/// Answers whether the request may pass, and who sends it.
pub(super) async fn request(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    match answer(&request, &state) {
        Ok(response) => {
            count(METRIC, "outcome", "ok");
            response
        }
        Err(denied) => refused(&request, &denied, &state),
    }
}

fn answer(request: &HttpRequest, state: &HttpState) -> Result<HttpResponse, Denied> {
    // Before the credential, so that a mistake in the proxy's configuration shows at once.
    let wanted = Wanted::parse(request.query_string())?;
    let lines = |name: HeaderName| -> Vec<&[u8]> {
        request.headers().get_all(name).map(|line| line.as_bytes()).collect()
    };
    let credential = Credential::read(&lines(AUTHORIZATION), &lines(X_API_KEY))?;

    let Passed { subject, token } = verify(&state.app, credential, &wanted)?;

    let written = |text: &str| {
        HeaderValue::from_str(text)
            .map_err(|_| TokenError::Internal("what is told of the caller is no header value".into()))
    };
    let mut response = uncached(HttpResponse::Ok().finish());
    let headers = response.headers_mut();
    for (name, value) in TOLD.into_iter().zip(told(&subject)) {
        headers.insert(HeaderName::from_static(name), written(&value)?);
    }
    headers.insert(AUTHORIZATION, written(&format!("Bearer {}", token.expose()))?);
    Ok(response)
}

/// RFC 6750 §3: the challenge, and in the body what other endpoints say there.
fn refused(request: &HttpRequest, denied: &Denied, state: &HttpState) -> HttpResponse {
    let (code, status, sentence) = denied.answer();
    if let Some(code) = code {
        record_oauth_error(request, code);
    }
    record_cause(request, denied);
    count(METRIC, "outcome", code.unwrap_or("no_credential"));

    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match code {
        Some(code) => HttpResponse::build(status).body(error_json(code, &sentence)),
        None => HttpResponse::build(status).finish(),
    };
    let headers = response.headers_mut();
    if code.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(challenge) = denied.challenge(&state.app.policy().issuer)
        && let Ok(challenge) = HeaderValue::from_str(&challenge)
    {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    uncached(response)
}
