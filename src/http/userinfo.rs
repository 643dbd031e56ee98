//! `GET` and `POST /userinfo`: the user behind a bearer token (RFC 6750; OpenID Connect Core §5.3).

use actix_web::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use crate::app::userinfo::{Presented, userinfo};
use crate::protocol::bearer::{BearerError, presented};
use crate::telemetry::metrics::count;

use super::form;
use super::oauth_answer::{DPOP, add_dpop_nonce, add_retry_after, done, error_json, uncached};
use super::root_span::{record_cause, record_oauth_error};
use super::state::HttpState;

/// Where it is, below the issuer.
pub(super) const PATH: &str = "/userinfo";

/// Answers who the user is.
pub(super) async fn user(request: HttpRequest, body: Payload, state: Data<HttpState>) -> HttpResponse {
    let mut response = match answer(&request, body, &state).await {
        Ok(json) => done(&request, &json),
        Err(error) => refused(&request, &error, &state),
    };
    add_dpop_nonce(&request, &mut response, &state);
    response
}

/// Any other method.
pub(super) async fn wrong_method(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    refused(&request, &BearerError::Method, &state)
}

async fn answer(request: &HttpRequest, body: Payload, state: &HttpState) -> Result<String, BearerError> {
    // RFC 6750 §2.2: a token is looked for in a body that says it is a form, and in no other.
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    // And never in that of a GET.
    let may_have_one = *request.method() == Method::POST;
    let form = match may_have_one && content_type.is_some_and(form::is_form) {
        true => Some(form::read(request, body).await?),
        false => None,
    };
    let authorization: Vec<&[u8]> =
        request.headers().get_all(AUTHORIZATION).map(|line| line.as_bytes()).collect();
    let (scheme, token) = presented(&authorization, form.as_ref())?;
    let proofs: Vec<&[u8]> = request.headers().get_all(&DPOP).map(|line| line.as_bytes()).collect();
    let (method, path) = (request.method().as_str(), PATH);
    userinfo(&state.app, &Presented { token: &token, scheme, method, path, proofs: &proofs }).await
}

/// RFC 6750 §3: the challenge, and in the body what other endpoints say there.
fn refused(request: &HttpRequest, error: &BearerError, state: &HttpState) -> HttpResponse {
    let (code, status, description) = error.answer();
    if let Some(code) = code {
        record_oauth_error(request, code);
    }
    record_cause(request, error);
    count("grantd_userinfo_errors_total", "error", code.unwrap_or("none"));

    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match code {
        Some(code) => HttpResponse::build(status).body(error_json(code, description)),
        None => HttpResponse::build(status).finish(),
    };
    let headers = response.headers_mut();
    if code.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for challenge in error.challenges(&state.app.policy().issuer) {
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            headers.append(WWW_AUTHENTICATE, challenge);
        }
    }
    if *error == BearerError::Method {
        headers.insert(ALLOW, HeaderValue::from_static("GET, POST, OPTIONS"));
    }
    if let BearerError::Request(error) = error {
        add_retry_after(&mut response, error);
    }
    uncached(response)
}
