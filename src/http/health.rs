//! Health for load balancers and metrics for operators.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::web::Data;
use serde_json::{Map, Value, json};

use crate::telemetry;

use super::state::HttpState;

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> HttpResponse {
    answer(HttpResponse::Ok().json(json!({"status": "ok"})))
}

/// `GET /health/ready`: this instance can do its work and means to go on.
pub(super) async fn ready(state: Data<HttpState>) -> HttpResponse {
    let (ready, checks) = checks(&state);
    let checks: Map<String, Value> =
        checks.into_iter().map(|(name, ok)| (name, Value::from(if ok { "ok" } else { "failed" }))).collect();
    answer(match ready {
        true => HttpResponse::Ok().json(json!({"status": "ok", "checks": checks})),
        false => HttpResponse::ServiceUnavailable().json(json!({"status": "unavailable", "checks": checks})),
    })
}

/// `GET /metrics` of the management listener, in Prometheus' text format.
pub(super) async fn metrics() -> HttpResponse {
    answer(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(telemetry::metrics::render()))
}

/// Every check by name, and whether all are well.
pub(super) fn checks(state: &HttpState) -> (bool, Vec<(String, bool)>) {
    let mut checks: Vec<_> =
        state.app.check_health().iter().map(|check| (check.name.to_owned(), check.ok)).collect();
    if state.draining.has_begun() {
        checks.push(("shutdown".to_owned(), false));
    }
    (checks.iter().all(|(_, ok)| *ok), checks)
}

fn answer(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
