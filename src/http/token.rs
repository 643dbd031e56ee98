//! `POST /token`: RFC 6749 §3.2.

use actix_web::http::header::HeaderName;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use crate::app::exchange::{Exchange, exchange};
use crate::protocol::error::TokenError;
use crate::protocol::token_response::TokenResponse;
use crate::protocol::user_address;

use super::client_request::ClientRequest;
use super::oauth_answer::{DPOP, add_dpop_nonce, done, refused};
use super::state::HttpState;

const ERRORS: &str = "grantd_token_errors_total";
const USER_ADDRESS: HeaderName = HeaderName::from_static(user_address::HEADER);

/// Answers a token request.
pub(super) async fn token(request: HttpRequest, body: Payload, state: Data<HttpState>) -> HttpResponse {
    let mut response = match answer(&request, body, &state).await {
        Ok(response) => done(&request, &response.to_json()),
        Err(error) => refused(&request, &error, &state, ERRORS),
    };
    add_dpop_nonce(&request, &mut response, &state);
    response
}

/// Any other method.
pub(super) async fn wrong_method(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    refused(&request, &TokenError::Method, &state, ERRORS)
}

async fn answer(
    request: &HttpRequest,
    body: Payload,
    state: &HttpState,
) -> Result<TokenResponse, TokenError> {
    let read = ClientRequest::read(request, body).await?;
    let user_address: Vec<&[u8]> =
        request.headers().get_all(&USER_ADDRESS).map(|line| line.as_bytes()).collect();
    let proofs: Vec<&[u8]> = request.headers().get_all(&DPOP).map(|line| line.as_bytes()).collect();
    let request = Exchange { sent: read.sent(), user_address: &user_address, proofs: &proofs };
    exchange(&state.app, request).await
}
