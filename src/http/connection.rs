//! What the stream of a connection and the requests on it must know of each other. Must not know sockets.
//!
//! Requests of one connection take turns: the next one is let in when the answer to the last is made. actix-http
//! would read up to 16 ahead, apply what it has read to answers that are not written yet (a HEAD behind a GET takes the
//! GET's body away), go on answering behind `Connection: close`, and spin while its buffer is full.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use actix_http::{Request, ResponseHead};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{Error, HttpRequest, HttpResponse};
use serde_json::json;
use tokio::time::Instant;

use super::framing::Refusal;
use super::root_span::record_cause;

/// How long a peer may take for what it owes us.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the head of a request from its first byte, for a TLS handshake, and for the first byte of a connection.
    pub head: Duration,
    /// For the whole body of a request.
    pub body: Duration,
    /// For taking an answer that does not fit into the buffers of the network.
    pub write: Duration,
    /// Between an answer and the next request.
    pub keep_alive: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            body: Duration::from_secs(5),
            write: Duration::from_secs(10),
            keep_alive: Duration::from_secs(15),
        }
    }
}

/// Why the stream let in a stand-in instead of the request that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejection {
    /// It could be read in two ways, or not at all.
    #[error(transparent)]
    Malformed(#[from] Refusal),
    /// Its head did not come in time.
    #[error("the head of the request did not come in time")]
    TooSlow,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// A request was let in and has no answer yet.
    busy: Cell<bool>,
    /// When the last turn ended, or the peer had taken an answer that it kept us waiting with; before the first, when the
    /// connection began.
    free_since: Cell<Instant>,
    /// Who wants to know when the turn ends.
    waiting: RefCell<Option<Waker>>,
    rejection: Cell<Option<Rejection>>,
    /// Whether no further request will be let in.
    last: Cell<bool>,
    late_body: Cell<bool>,
    /// The caller of the last request, and as a text.
    caller: RefCell<Option<(IpAddr, Rc<str>)>>,
}

impl Connection {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            busy: Cell::new(false),
            free_since: Cell::new(Instant::now()),
            waiting: RefCell::new(None),
            rejection: Cell::new(None),
            last: Cell::new(false),
            late_body: Cell::new(false),
            caller: RefCell::new(None),
        })
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    pub(super) fn free_since(&self) -> Instant {
        self.free_since.get()
    }

    /// The peer has taken the last answer only now.
    pub(super) fn answer_was_taken(&self, at: Instant) {
        self.free_since.set(at);
    }

    /// A request is let in; nothing more until it has its answer.
    pub(super) fn begin_turn(&self) {
        self.busy.set(true);
    }

    /// The stand-in that is let in is to be refused, and is the last of the connection.
    pub(super) fn reject(&self, rejection: Rejection) {
        self.rejection.set(Some(rejection));
        self.end_after_this();
    }

    /// The body of the request was not there in time. Its answer is the last of the connection.
    pub(super) fn body_is_late(&self) {
        self.late_body.set(true);
        self.end_after_this();
    }

    /// The answer that is being made says `Connection: close`.
    pub(super) fn end_after_this(&self) {
        self.last.set(true);
    }

    /// Whether no further request will be let in.
    pub(super) fn has_ended(&self) -> bool {
        self.last.get()
    }

    /// Wakes this task when the turn ends.
    pub(super) fn wait_for_turn(&self, context: &Context<'_>) {
        *self.waiting.borrow_mut() = Some(context.waker().clone());
    }

    fn written(&self, address: IpAddr) -> Rc<str> {
        let mut last = self.caller.borrow_mut();
        match &*last {
            Some((caller, text)) if *caller == address => Rc::clone(text),
            _ => Rc::clone(&last.insert((address, address.to_string().into())).1),
        }
    }

    fn announce_end(&self, answer: &mut ResponseHead) {
        if self.last.get() {
            answer.set_connection_type(ConnectionType::Close);
        }
    }

    fn end_turn(&self, at: Instant) {
        self.busy.set(false);
        self.free_since.set(at);
        let waiting = self.waiting.borrow_mut().take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

/// The address of the caller as a text. All requests of a connection have the same, but behind a proxy.
pub(super) fn written_address(request: &HttpRequest, address: IpAddr) -> Rc<str> {
    match request.conn_data::<Rc<Connection>>() {
        Some(connection) => connection.written(address),
        None => address.to_string().into(),
    }
}

/// Whether the body of this request broke off because it took too long.
pub(super) fn was_body_late(request: &HttpRequest) -> bool {
    request.conn_data::<Rc<Connection>>().is_some_and(|connection| connection.late_body.get())
}

/// The turn of a request; over when the answer is made, or when nobody waits for it any more.
struct Turn(Rc<Connection>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.end_turn(Instant::now());
    }
}

/// Middleware: ends the turn of a request. Must be the first to see it.
pub(super) async fn take_turns<B>(
    request: ServiceRequest,
    next: impl AsyncFnOnce(ServiceRequest) -> Result<ServiceResponse<B>, Error>,
) -> Result<ServiceResponse<B>, Error> {
    let Some(connection) = request.conn_data::<Rc<Connection>>().cloned() else {
        return next(request).await;
    };
    let turn = Turn(connection);
    let mut response = next(request).await?;
    turn.0.announce_end(response.response_mut().head_mut());
    Ok(response)
}

/// The same for an answer that nothing had to be waited for, made at this time.
pub(super) fn end_turn(request: &Request, answer: &mut ResponseHead, at: Instant) {
    if let Some(connection) = request.conn_data::<Rc<Connection>>() {
        connection.announce_end(answer);
        connection.end_turn(at);
    }
}

/// Middleware: answers the stand-in of a request that was refused. It is inside of logs, metrics and the request id, so
/// that a refusal has them as every other answer.
pub(super) async fn refuse_rejected<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: impl AsyncFnOnce(ServiceRequest) -> Result<ServiceResponse<B>, Error>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let rejection = request.conn_data::<Rc<Connection>>().and_then(|connection| connection.rejection.get());
    let Some(rejection) = rejection else {
        return Ok(next(request).await?.map_into_boxed_body());
    };
    record_cause(request.request(), rejection);
    let (status, error) = match rejection {
        Rejection::TooSlow => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
        Rejection::Malformed(Refusal::TooLarge) => {
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "request_too_large")
        }
        Rejection::Malformed(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
    };
    let body = json!({"error": error, "error_description": sentence(&rejection.to_string())});
    Ok(request.into_response(HttpResponse::build(status).json(body)))
}

/// With a capital letter and a full stop, as errors for callers are.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_behind_a_proxy_is_written_as_who_they_are() {
        let connection = Connection::new();

        for text in ["192.0.2.1", "192.0.2.1", "2001:db8::1", "192.0.2.1"] {
            assert_eq!(&*connection.written(text.parse().expect("an address")), text);
        }
    }
}
