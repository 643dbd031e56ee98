//! The log line of an HTTP request: its span, its level, its id. Must not know a header, a query string or a body.
//!
//! Whoever learns something adds it: the use cases to the current span, the handlers with
//! [`record_oauth_error`] and [`record_cause`]; the one line at the end of the request carries it all, so a decision needs no line of its own.

use std::cell::Cell;
use std::fmt::Display;
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{Error, HttpMessage as _, HttpRequest};
use tracing::field::{Empty, display};
use tracing::{Level, Span};
use tracing_actix_web::{RootSpan, RootSpanBuilder};
use uuid::Uuid;

use super::client_address::ClientAddress;
use super::connection::written_address;
use crate::telemetry;
use crate::telemetry::metrics::{UNMATCHED, known_method, route_of};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Builds the span around each request and writes its line. For `TracingLogger::<GrantdRootSpan>::new()`.
///
/// Fields: `request_id`, `method`, `route` (the pattern that matched, never the path, which may hold anything),
/// `client_address`, `status`, and where known `client_id`, `grant_type`, `user_id`, `oauth_error`, `cause`.
/// tracing-actix-web's own builder would log the query string and believe any `X-Forwarded-For`.
pub struct GrantdRootSpan;

impl RootSpanBuilder for GrantdRootSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let start = Instant::now();
        let id = request.extensions().get::<tracing_actix_web::RequestId>().map(|id| RequestId::of(**id));
        let id = id.unwrap_or_else(RequestId::new);
        request.extensions_mut().insert(Asked { id, start, cause_told: Cell::new(false) });
        let address = ClientAddress::of(request.request());
        let address = address.map(|address| written_address(request.request(), address));
        // At error, so that the span exists at every log level and a warning knows its request.
        tracing::error_span!(
            "request",
            request_id = id.as_str(),
            method = known_method(request.method()),
            route = &*route_of(request.request()),
            client_address = address.as_deref(),
            status = Empty,
            client_id = Empty,
            grant_type = Empty,
            user_id = Empty,
            oauth_error = Empty,
            cause = Empty,
        )
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        let (status, untold, route, taken) = match outcome {
            Ok(response) => {
                let route = route_of(response.request());
                let extensions = response.request().extensions();
                let asked = extensions.get::<Asked>();
                let told = asked.is_some_and(|asked| asked.cause_told.get());
                let untold = response.response().error().filter(|_| !told);
                let taken = asked.map(|asked| asked.start.elapsed());
                (response.status(), untold, Some(route), taken)
            }
            // A middleware refused; the request is gone with it.
            Err(error) => (error.as_response_error().status_code(), Some(error), None, None),
        };
        // The line says it itself; a trace has its span alone.
        if telemetry::traces_are_exported() {
            span.record("status", status.as_u16());
        }
        // What a caller is refused for is the handler's to tell; what broke is told here if nobody else did.
        if let (true, Some(error)) = (status.is_server_error(), untold) {
            span.record("cause", display(error));
        }
        let duration_ms = taken.map(|taken| taken.as_micros() as f64 / 1000.0);

        macro_rules! say {
            ($level:ident) => {
                tracing::$level!(parent: &span, status = status.as_u16(), duration_ms, "request answered")
            };
        }
        match level(route.as_deref().unwrap_or(UNMATCHED), status) {
            Level::ERROR => say!(error),
            Level::WARN => say!(warn),
            Level::DEBUG => say!(debug),
            _ => say!(info),
        }
    }
}

/// Sets `X-Request-Id` on every answer, errors included. Call it inside `TracingLogger`, which makes the id, and
/// outside everything that may answer.
///
/// The id is always our own. Echoing the caller's would let anybody write into other people's log searches.
pub async fn with_request_id<B>(
    request: ServiceRequest,
    next: impl AsyncFnOnce(ServiceRequest) -> Result<ServiceResponse<B>, Error>,
) -> Result<ServiceResponse<B>, Error> {
    let id = request.extensions().get::<Asked>().map(|asked| asked.id);
    let outcome = next(request).await;
    let Some(id) = id else { return outcome };
    match outcome {
        Ok(mut response) => {
            id.add_to(response.headers_mut());
            Ok(response)
        }
        Err(error) => {
            let mut response = error.error_response();
            id.add_to(response.headers_mut());
            Err(InternalError::from_response(error, response).into())
        }
    }
}

/// Whether nobody would see the span or the line of a polled document that is answered as it should be.
pub fn nobody_listens() -> bool {
    !tracing::enabled!(Level::DEBUG) && !telemetry::traces_are_exported()
}

/// Puts a new id on an answer that has no span.
pub fn add_request_id(headers: &mut HeaderMap) {
    RequestId::new().add_to(headers);
}

/// In a request's extensions: what is to be said of it.
struct Asked {
    id: RequestId,
    start: Instant,
    /// [`record_cause`] was called.
    cause_told: Cell<bool>,
}

/// A version 4 UUID as text.
#[derive(Clone, Copy)]
struct RequestId([u8; 36]);

impl RequestId {
    /// Ids name requests and open nothing, so they come from a generator that is quick rather than from `app::random`.
    fn new() -> Self {
        Self::of(Uuid::new_v4())
    }

    fn of(id: Uuid) -> Self {
        let mut text = [0; 36];
        id.hyphenated().encode_lower(&mut text);
        Self(text)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a UUID in text is ASCII")
    }

    fn add_to(self, headers: &mut HeaderMap) {
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(&self.0).expect("a UUID in text is ASCII"));
    }
}

/// The id of this request.
pub fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<Asked>().map(|asked| asked.id.as_str().to_owned()).unwrap_or_default()
}

/// The level of a request's line.
fn level(route: &str, status: StatusCode) -> Level {
    match (status, is_polled(route)) {
        // Health says 503 for as long as the server is away from its database; whoever noticed has logged it once.
        (StatusCode::SERVICE_UNAVAILABLE, true) => Level::DEBUG,
        // The server works and says "later": too many logins, a database that comes back.
        (StatusCode::SERVICE_UNAVAILABLE, false) => Level::WARN,
        (status, _) if status.is_server_error() => Level::ERROR,
        (_, true) => Level::DEBUG,
        (status, false) if status.is_success() && is_asked_per_request(route) => Level::DEBUG,
        (_, false) => Level::INFO,
    }
}

/// What a resource server, or a proxy in front of one, may ask for each request that it gets itself. It decides nothing and changes nothing, and its
/// lines would bury those that do; a caller that is refused is told at info.
fn is_asked_per_request(route: &str) -> bool {
    route.ends_with("/introspect") || route.ends_with("/verify")
}

/// Documents and pages that machines fetch all day, and whose answer is no decision.
fn is_polled(route: &str) -> bool {
    // By their ends, because an issuer with a path has all of them below it as well.
    const POLLED: [&str; 11] = [
        "/",
        "/metrics",
        "/health/live",
        "/health/ready",
        "/status",
        "/openapi.json",
        "/docs",
        "/docs/{file}",
        "/status/{list}",
        "/.well-known/jwks.json",
        "/.well-known/openid-configuration",
    ];
    POLLED.iter().any(|end| route.ends_with(end)) || route.contains("/.well-known/oauth-authorization-server")
}

/// Puts the error code of the answer (`invalid_grant`, …) into the request's log line.
pub fn record_oauth_error(request: &HttpRequest, code: &str) {
    record(request, |span| span.record("oauth_error", code));
}

/// Puts the reason inside the server, which the client is not told, into the request's log line.
/// It must hold no secret: name what failed, never the value that did.
pub fn record_cause(request: &HttpRequest, cause: impl Display) {
    if let Some(asked) = request.extensions().get::<Asked>() {
        asked.cause_told.set(true);
    }
    record(request, |span| span.record("cause", display(cause)));
}

fn record<'a>(request: &'a HttpRequest, write: impl FnOnce(&Span) -> &Span + 'a) {
    // Not `Span::current()`: inside a nested span that would be the wrong one, and the field would be lost.
    let span = request.extensions().get::<RootSpan>().cloned();
    if let Some(span) = span {
        write(&span);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use actix_web::http::Method;
    use actix_web::middleware::{Next, from_fn};
    use actix_web::test::{TestRequest, call_service, init_service, try_call_service};
    use actix_web::{App, HttpResponse, error, web};
    use futures_util::future::poll_immediate;
    use serde_json::Value;
    use tracing_actix_web::TracingLogger;

    use super::*;
    use crate::http::client_address::{TrustedProxies, find_client_address};
    use crate::telemetry::LogFormat;
    use crate::telemetry::capture::listen;
    use crate::telemetry::metrics::http_metrics;

    async fn token(request: HttpRequest) -> HttpResponse {
        tracing::Span::current().record("client_id", "app-1");
        let nested = tracing::info_span!("nested");
        let _inside = nested.enter();
        record_oauth_error(&request, "invalid_grant");
        record_cause(&request, "the family has ended");
        HttpResponse::BadRequest().finish()
    }

    async fn broken() -> Result<HttpResponse, Error> {
        Err(error::ErrorInternalServerError("the disk is full"))
    }

    async fn explained(request: HttpRequest) -> Result<HttpResponse, Error> {
        record_cause(&request, "the disk is full");
        Err(error::ErrorInternalServerError("server_error"))
    }

    async fn refusing<B: MessageBody>(
        request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<B>, Error> {
        match request.path() {
            "/refused" => Err(error::ErrorServiceUnavailable("too many")),
            _ => next.call(request).await,
        }
    }

    async fn outside<B: MessageBody>(
        request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<B>, Error> {
        find_client_address(&request);
        next.call(request).await
    }

    async fn inside<B: MessageBody>(
        request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<B>, Error> {
        with_request_id(request, async |request| next.call(request).await).await
    }

    struct Answer {
        status: StatusCode,
        ids: Vec<String>,
        lines: Vec<Value>,
        text: String,
    }

    /// Sends one request through the stack that the server has, and reads answer and logs.
    async fn send(level: &str, request: TestRequest) -> Answer {
        let (captured, _listening) = listen(LogFormat::Json, level);
        let app = init_service(
            App::new()
                .app_data(TrustedProxies::new(["10.0.0.0/8".parse().expect("a network")]))
                .wrap(from_fn(refusing))
                .wrap(from_fn(inside))
                .wrap(TracingLogger::<GrantdRootSpan>::new())
                .wrap(from_fn(outside))
                .route("/token", web::post().to(token))
                .route("/users/{name}", web::get().to(HttpResponse::Ok))
                .route("/broken", web::get().to(broken))
                .route("/explained", web::get().to(explained))
                .route("/health/ready", web::get().to(HttpResponse::ServiceUnavailable)),
        )
        .await;

        let peer: SocketAddr = "10.0.0.1:4711".parse().expect("an address");
        let response = match try_call_service(&app, request.peer_addr(peer).to_request()).await {
            Ok(response) => response.into_parts().1.map_into_boxed_body(),
            Err(error) => error.error_response(),
        };

        Answer {
            status: response.status(),
            ids: response
                .headers()
                .get_all("x-request-id")
                .map(|id| id.to_str().expect("text").to_owned())
                .collect(),
            lines: captured.json(),
            text: captured.text(),
        }
    }

    #[actix_web::test]
    async fn a_request_is_one_line_with_all_that_was_learned_about_it() {
        let answer = send("info", TestRequest::post().uri("/token")).await;

        let [line] = &answer.lines[..] else { panic!("one line: {}", answer.text) };
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "request answered");
        assert_eq!((&line["method"], &line["route"]), (&"POST".into(), &"/token".into()));
        assert_eq!(line["status"], 400);
        assert_eq!(line["client_id"], "app-1");
        assert_eq!(line["oauth_error"], "invalid_grant");
        assert_eq!(line["cause"], "the family has ended");
        assert_eq!(line["client_address"], "10.0.0.1");
        assert!(line["duration_ms"].is_f64());
        assert_eq!(answer.ids, [line["request_id"].as_str().expect("an id")]);
    }

    #[actix_web::test]
    async fn the_source_is_the_one_behind_the_trusted_proxy() {
        let request = TestRequest::post().uri("/token").insert_header(("x-forwarded-for", "192.0.2.7"));

        let answer = send("info", request).await;

        assert_eq!(answer.lines[0]["client_address"], "192.0.2.7");
    }

    #[actix_web::test]
    async fn secrets_of_path_query_headers_and_body_are_in_no_log_even_at_trace() {
        let request = TestRequest::post()
            .uri("/users/canary-path?code=canary-query")
            .insert_header(("authorization", "Basic canary-header"))
            .insert_header(("cookie", "canary-cookie"))
            .insert_header(("x-request-id", "canary-id"))
            .set_payload("client_secret=canary-body");

        let answer = send("trace", request).await;

        assert!(!answer.lines.is_empty());
        assert!(!answer.text.contains("canary"), "{}", answer.text);
    }

    #[actix_web::test]
    async fn every_answer_carries_our_own_request_id_and_never_the_callers() {
        for (path, status) in [
            ("/token", StatusCode::NOT_FOUND),
            ("/nowhere", StatusCode::NOT_FOUND),
            ("/broken", StatusCode::INTERNAL_SERVER_ERROR),
            ("/refused", StatusCode::SERVICE_UNAVAILABLE),
            ("/users/x", StatusCode::OK),
        ] {
            let request = TestRequest::get().uri(path).insert_header(("x-request-id", "forged"));

            let answer = send("info", request).await;

            assert_eq!(answer.status, status, "{path}");
            let [id] = &answer.ids[..] else { panic!("{path}: one id, not {:?}", answer.ids) };
            assert_eq!(id.len(), 36, "{path}: a version 4 UUID");
            assert_eq!(answer.lines[0]["request_id"], id.as_str(), "{path}");
        }
    }

    #[actix_web::test]
    async fn what_broke_is_logged_at_error_with_its_route_and_the_cause_the_handler_told_or_else_its_error() {
        for path in ["/broken", "/explained"] {
            let answer = send("error", TestRequest::get().uri(path)).await;

            let [line] = &answer.lines[..] else { panic!("one line: {}", answer.text) };
            assert_eq!((&line["level"], &line["cause"]), (&"ERROR".into(), &"the disk is full".into()));
            assert_eq!(line["route"], path);
        }
    }

    #[actix_web::test]
    async fn the_route_of_an_unknown_path_and_an_invented_method_are_not_the_callers_words() {
        let method = Method::from_bytes(b"CANARY").expect("a token");

        let answer = send("info", TestRequest::with_uri("/canary").method(method)).await;

        let line = &answer.lines[0];
        assert_eq!((&line["route"], &line["method"]), (&UNMATCHED.into(), &"other".into()));
    }

    #[actix_web::test]
    async fn a_caller_who_hangs_up_is_told_of_with_the_id_of_his_request() {
        async fn counted<B: MessageBody>(
            request: ServiceRequest,
            next: Next<B>,
        ) -> Result<ServiceResponse<B>, Error> {
            http_metrics(request, async |request| next.call(request).await).await
        }
        let (captured, _listening) = listen(LogFormat::Json, "info");
        let app = init_service(
            App::new()
                .wrap(from_fn(counted))
                .wrap(TracingLogger::<GrantdRootSpan>::new())
                .route("/slow", web::get().to(std::future::pending::<HttpResponse>)),
        )
        .await;

        let answer = call_service(&app, TestRequest::get().uri("/slow").to_request());
        assert!(poll_immediate(answer).await.is_none(), "nothing answers there");

        let lines = captured.json();
        assert_eq!(lines[0]["message"], "the caller hung up before the answer");
        assert_eq!(lines[0]["request_id"].as_str().map(str::len), Some(36));
    }

    #[test]
    fn decisions_are_told_at_info_polled_documents_at_debug_and_failures_louder() {
        for (route, status, expected) in [
            ("/token", 200, Level::INFO),
            ("/token", 400, Level::INFO),
            ("/token", 503, Level::WARN),
            ("/token", 500, Level::ERROR),
            ("/revoke", 200, Level::INFO),
            ("/tenant/introspect", 200, Level::DEBUG),
            ("/introspect", 401, Level::INFO),
            ("/introspect", 503, Level::WARN),
            ("/userinfo", 200, Level::INFO),
            (UNMATCHED, 404, Level::INFO),
            ("/.well-known/jwks.json", 200, Level::DEBUG),
            ("/.well-known/jwks.json", 500, Level::ERROR),
            ("/.well-known/oauth-authorization-server/{path}", 200, Level::DEBUG),
            ("/status", 200, Level::DEBUG),
            ("/tenant/status/{list}", 200, Level::DEBUG),
            ("/health/live", 200, Level::DEBUG),
            ("/health/ready", 503, Level::DEBUG),
            ("/metrics", 200, Level::DEBUG),
            ("/", 200, Level::DEBUG),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(level(route, status), expected, "{route} {status}");
        }
    }

    #[actix_web::test]
    async fn a_server_that_is_asked_for_its_health_stays_quiet_at_info() {
        assert!(send("info", TestRequest::get().uri("/health/ready")).await.lines.is_empty());
        assert_eq!(send("debug", TestRequest::get().uri("/health/ready")).await.lines.len(), 1);
    }
}
