//! `/clock` of the management listener of a test double: says what its clock shows, and moves it. Not there on any other
//! server.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use crate::model::time::{Timestamp, Ttl};
use crate::protocol::params::Params;

use super::form;
use super::oauth_answer::{error_json, uncached};
use super::state::HttpState;

/// What a request wants of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// Time passes.
    Advance(Ttl),
    /// Somebody sets the clock, forward or back, and no time passes by it.
    Now(Timestamp),
}

/// `GET /clock`.
pub(super) async fn tell(state: Data<HttpState>) -> HttpResponse {
    shown(&state)
}

/// `POST /clock`: `advance=10m`, or `now=2026-05-01T12:00:00Z`.
pub(super) async fn set(request: HttpRequest, body: Payload, state: Data<HttpState>) -> HttpResponse {
    let params = match form::read(&request, body).await {
        Ok(params) => params,
        Err(error) => {
            let (code, status, description) = error.answer();
            return refused(status, code.as_str(), description);
        }
    };
    match wish(&params) {
        Err(sentence) => return refused(400, "invalid_request", &sentence),
        Ok(Wish::Now(time)) => state.app.clock().set(time),
        Ok(Wish::Advance(by)) => {
            if let Err(error) = state.app.let_time_pass(by).await {
                return refused(503, "temporarily_unavailable", &error.to_string());
            }
        }
    }
    shown(&state)
}

fn wish(params: &Params) -> Result<Wish, String> {
    match (params.value("advance"), params.value("now")) {
        (Some(by), None) => {
            by.parse().map(Wish::Advance).map_err(|error: crate::model::time::InvalidTtl| error.to_string())
        }
        (None, Some(time)) => Timestamp::from_rfc3339(time).map(Wish::Now).ok_or_else(|| {
            "now is not a time: write one by RFC 3339, such as 2026-05-01T12:00:00Z (and + as %2B)".to_owned()
        }),
        _ => {
            Err("send either advance, such as advance=10m, or now, such as now=2026-05-01T12:00:00Z"
                .to_owned())
        }
    }
}

fn shown(state: &HttpState) -> HttpResponse {
    uncached(HttpResponse::Ok().json(json!({"now": state.app.clock().now().rfc3339_millis()})))
}

fn refused(status: u16, code: &str, description: &str) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    uncached(HttpResponse::build(status).content_type("application/json").body(error_json(code, description)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Wish, String> {
        wish(&Params::parse(body.as_bytes()).expect("a form"))
    }

    #[test]
    fn a_clock_is_moved_by_a_length_of_time_or_to_a_time() {
        assert_eq!(read("advance=10m"), Ok(Wish::Advance(Ttl::from_secs(600))));
        let noon = Timestamp::from_secs(1_777_636_800);
        for text in ["2026-05-01T12:00:00Z", "2026-05-01T14:00:00%2B02:00", "2026-05-01T12:00:00.000Z"] {
            assert_eq!(read(&format!("now={text}")), Ok(Wish::Now(noon)), "{text}");
        }
        for body in [
            "",
            "advance=",
            "advance=-1h",
            "advance=10",
            "now=soon",
            "now=0",
            "advance=1s&now=2026-05-01T12:00:00Z",
        ] {
            assert!(read(body).is_err(), "{body}");
        }
    }
}
