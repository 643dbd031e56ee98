//! The documents that machines fetch all day, answered in front of the routes. Must not know what is in them.
//!
//! Making actix-web's request, finding its route and writing a span that nobody reads take longer than the answer.

use actix_http::{Request, Response};
use actix_web::body::BoxBody;
use actix_web::http::Method;
use tokio::time::Instant;

use crate::telemetry::metrics::http_request_finished;

use super::connection::end_turn;
use super::documents::Document;
use super::root_span::{add_request_id, nobody_listens};
use super::state::HttpState;
use super::{cors, fallback};

/// What the route of a document would answer, with all that is around it but the line that nobody reads; nothing if
/// more has to be known for it, or for whatever else is asked for.
pub(super) fn answer(request: &Request, state: &HttpState) -> Option<Response<BoxBody>> {
    let (document, route) = Document::asked_plainly(request.head(), state)?;
    let start = Instant::now();
    if !nobody_listens() {
        return None;
    }

    let mut response = document.whole();
    let head = response.head_mut();
    cors::add_to_document(head.headers_mut());
    fallback::add_safe_headers(head.headers_mut());
    add_request_id(head.headers_mut());
    state.draining.close_if_stopping(head);
    let end = Instant::now();
    end_turn(request, head, end);

    http_request_finished(&Method::GET, route, response.status().as_str(), (end - start).as_secs_f64());
    Some(response)
}
