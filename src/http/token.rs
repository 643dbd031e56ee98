//! `POST /token`: RFC 6749 §3.2. What goes in is read by `form`, what comes out is written here.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, HeaderName, HeaderValue, PRAGMA, RETRY_AFTER,
};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, Responder as _};
use oxide_auth::endpoint::WebResponse as _;
use oxide_auth_actix::{OAuthResource, OAuthResponse, WebError};
use serde::Serialize;

use crate::app::exchange::{Exchange, exchange};
use crate::protocol::dpop;
use crate::protocol::error::{ErrorCode, TokenError};
use crate::protocol::token_response::TokenResponse;
use crate::protocol::user_address;
use crate::telemetry::metrics::count;

use super::client_address::ClientAddress;
use super::form;
use super::root_span::{record_cause, record_oauth_error};
use super::state::HttpState;

/// Answers a token request.
pub(super) async fn token(request: HttpRequest, body: Payload, state: Data<HttpState>) -> HttpResponse {
    let mut response = match answer(&request, body, &state).await {
        Ok(response) => granted(&request, &response),
        Err(error) => refused(&request, &error, &state),
    };
    // RFC 9449 §8.2: whoever sends proofs hears with every answer what the next one is to be made with.
    if request.headers().contains_key(dpop::HEADER)
        && let Ok(nonce) = HeaderValue::from_str(&state.app.dpop_nonce())
    {
        response.headers_mut().insert(HeaderName::from_static(dpop::NONCE_HEADER), nonce);
    }
    response
}

/// Any other method.
pub(super) async fn wrong_method(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    refused(&request, &TokenError::Method, &state)
}

async fn answer(
    request: &HttpRequest,
    body: Payload,
    state: &HttpState,
) -> Result<TokenResponse, TokenError> {
    let params = form::read(request, body).await?;
    let credentials = OAuthResource::new(request).map_err(|_| TokenError::TwoAuthorizationHeaders)?;
    let credentials = credentials.into_request();
    let source = ClientAddress::of(request)
        .ok_or_else(|| TokenError::Internal("the connection has no peer address".into()))?;
    // A header that is no text is there, but of no scheme we know.
    let present = request.headers().contains_key(AUTHORIZATION);
    let authorization = credentials.authorization_header().or_else(|| present.then_some(""));
    let authorization = authorization.map(str::as_bytes);
    let user_address: Vec<&[u8]> =
        request.headers().get_all(user_address::HEADER).map(|line| line.as_bytes()).collect();
    let proofs: Vec<&[u8]> = request.headers().get_all(dpop::HEADER).map(|line| line.as_bytes()).collect();
    let request = Exchange {
        authorization: authorization.as_slice(),
        params: &params,
        source,
        user_address: &user_address,
        proofs: &proofs,
    };
    exchange(&state.app, request).await
}

fn granted(request: &HttpRequest, response: &TokenResponse) -> HttpResponse {
    let mut answer = OAuthResponse::ok();
    match answer.body_json(&response.to_json()) {
        Ok(()) => uncached(answer.respond_to(request)),
        Err(error) => broken(request, &error),
    }
}

/// RFC 6749 §5.2, to the letter: code, status, challenge, no-store.
fn refused(request: &HttpRequest, error: &TokenError, state: &HttpState) -> HttpResponse {
    let (code, status, description) = error.answer();
    record_oauth_error(request, code.as_str());
    record_cause(request, error);
    count("grantd_token_errors_total", "error", code.as_str());

    let written = OAuthError { error: code, error_description: description };
    let mut answer = OAuthResponse::ok();
    let outcome = match error {
        TokenError::Client { header_used: true, .. } => answer.unauthorized(&challenge(state)),
        _ => answer.client_error(),
    };
    if let Err(error) = outcome.and_then(|()| answer.body_json(&written.to_json())) {
        return broken(request, &error);
    }
    let mut response = answer.respond_to(request);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(retry_after) = error.retry_after() {
        // RFC 9110 §10.2.3: whole seconds; rounded up, so that who waits that long is let in.
        let seconds = retry_after.as_millis().div_ceil(1000).max(1);
        headers.insert(RETRY_AFTER, (seconds as u64).into());
    }
    if *error == TokenError::Method {
        headers.insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    }
    uncached(response)
}

/// RFC 6749 §5.1: both headers on every answer that may hold a token, and errors are no exception.
fn uncached(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// RFC 7617 §2: a realm is required. The issuer is one, and is known to contain no quote.
fn challenge(state: &HttpState) -> String {
    format!(r#"Basic realm="{}", charset="UTF-8""#, state.app.policy().issuer)
}

fn broken(request: &HttpRequest, error: &WebError) -> HttpResponse {
    record_cause(request, error);
    uncached(HttpResponse::InternalServerError().finish())
}

/// RFC 6749 §5.2.
struct OAuthError {
    error: ErrorCode,
    error_description: &'static str,
}

impl OAuthError {
    fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Members {
            error: &'static str,
            error_description: &'static str,
        }
        let members = Members { error: self.error.as_str(), error_description: self.error_description };
        serde_json::to_string(&members).expect("strings always serialize")
    }
}
