//! `POST /revoke`: RFC 7009 §2.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use crate::app::revoke::revoke;
use crate::protocol::error::TokenError;

use super::client_request::ClientRequest;
use super::oauth_answer::{done, refused};
use super::state::HttpState;

const ERRORS: &str = "grantd_revocation_errors_total";

/// Ends a token.
pub(super) async fn revocation(request: HttpRequest, body: Payload, state: Data<HttpState>) -> HttpResponse {
    match answer(&request, body, &state).await {
        // RFC 7009 §2.2: the content of the answer is ignored; an empty object can be read as JSON.
        Ok(()) => done(&request, "{}"),
        Err(error) => refused(&request, &error, &state, ERRORS),
    }
}

/// Any other method.
pub(super) async fn wrong_method(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    refused(&request, &TokenError::Method, &state, ERRORS)
}

async fn answer(request: &HttpRequest, body: Payload, state: &HttpState) -> Result<(), TokenError> {
    let read = ClientRequest::read(request, body).await?;
    revoke(&state.app, read.sent()).await
}
