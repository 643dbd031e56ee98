//! `POST /introspect`: RFC 7662 §2, and its signed answers, RFC 9701 §4.

use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use crate::app::introspection::{Form, introspect};
use crate::protocol::error::TokenError;
use crate::protocol::introspection::SIGNED_MEDIA_TYPE;

use super::accept::Wish;
use super::client_request::ClientRequest;
use super::oauth_answer::{done, refused, uncached};
use super::state::HttpState;

const ERRORS: &str = "grantd_introspection_errors_total";

/// Answers what a token is worth.
pub(super) async fn introspection(
    request: HttpRequest,
    body: Payload,
    state: Data<HttpState>,
) -> HttpResponse {
    let form = wanted_form(&request);
    match answer(&request, body, &state, form).await {
        Ok(answer) => match form {
            Form::Json => done(&request, &answer),
            Form::Signed => {
                let mut response = uncached(HttpResponse::Ok().body(answer));
                let media = HeaderValue::from_static(SIGNED_MEDIA_TYPE);
                response.headers_mut().insert(CONTENT_TYPE, media);
                response
            }
        },
        Err(error) => refused(&request, &error, &state, ERRORS),
    }
}

/// Any other method.
pub(super) async fn wrong_method(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    refused(&request, &TokenError::Method, &state, ERRORS)
}

async fn answer(
    request: &HttpRequest,
    body: Payload,
    state: &HttpState,
    form: Form,
) -> Result<String, TokenError> {
    let read = ClientRequest::read(request, body).await?;
    introspect(&state.app, read.sent(), form).await
}

/// RFC 9701 §4: whoever names the signed form gets it, unless JSON is wanted more. Whoever takes anything gets JSON.
fn wanted_form(request: &HttpRequest) -> Form {
    let signed = Wish::of(request, SIGNED_MEDIA_TYPE);
    let json = Wish::of(request, "application/json");
    match signed.named && signed.quality > 0 && signed.quality >= json.quality {
        true => Form::Signed,
        false => Form::Json,
    }
}
