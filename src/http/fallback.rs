//! What is not there, what is not allowed, and the headers that every answer has: JSON for programs, a page for
//! browsers.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::accept::Wish;
use super::pages::html;
use super::root_span::request_id;
use super::views::{ErrorPage, NotFoundPage, content_security_policy};

/// No such address.
pub(super) async fn not_found(request: HttpRequest) -> HttpResponse {
    if wants_html(&request) {
        return html(
            HttpResponse::NotFound().body(NotFoundPage::new(request.path()).render()),
            content_security_policy(),
        );
    }
    HttpResponse::NotFound().json(json!({
        "error": "not_found",
        "error_description": "There is nothing at this address; /.well-known/oauth-authorization-server lists what there is.",
    }))
}

/// An address that only reads.
pub(super) async fn only_get(request: HttpRequest) -> HttpResponse {
    let message = "This address takes GET and HEAD requests only.";
    let mut response = match wants_html(&request) {
        true => {
            let page = ErrorPage {
                status: StatusCode::METHOD_NOT_ALLOWED.as_u16(),
                title: "Method not allowed".into(),
                message: message.into(),
                request_id: request_id(&request),
            };
            html(HttpResponse::MethodNotAllowed().body(page.render()), content_security_policy())
        }
        false => HttpResponse::MethodNotAllowed()
            .json(json!({"error": "method_not_allowed", "error_description": message})),
    };
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// A browser names `text/html`; a program that takes anything gets JSON.
fn wants_html(request: &HttpRequest) -> bool {
    let html = Wish::of(request, "text/html");
    html.named && html.quality > 0
}

/// No answer is to be guessed at.
pub(super) fn add_safe_headers(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
