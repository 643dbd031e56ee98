//! The listeners: binds them, says what each answers with, and stops them in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server as Running, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App as Routes, HttpServer};
use tracing_actix_web::TracingLogger;

use crate::telemetry::metrics::http_metrics;

use super::client_address::{TrustedProxies, client_address};
use super::root_span::{GrantdRootSpan, request_id_header};
use super::state::HttpState;
use super::tls::{ReloadingCertificate, server_config};
use super::{draining, fallback};

/// How long a client may take to send the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may lie idle between requests.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client may take to hear the end of a connection.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// How a listener is to be set up.
pub struct Listener {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Threads that serve it.
    pub workers: usize,
    /// The certificate, if it speaks TLS.
    pub certificate: Option<Arc<ReloadingCertificate>>,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// How long connections may take to end once the listener is stopped.
    pub grace: Duration,
}

/// A bound listener; it serves when it is polled.
pub struct Bound {
    /// Where it listens, with the port that was taken.
    pub address: SocketAddr,
    /// The server, a future that ends when it is stopped.
    pub running: Running,
}

impl Bound {
    /// To stop it from elsewhere.
    pub fn handle(&self) -> ServerHandle {
        self.running.handle()
    }
}

/// Binds the listener that clients reach.
pub fn bind_public(listener: Listener, state: Data<HttpState>) -> io::Result<Bound> {
    bind(listener, state, Surface::Public)
}

/// Binds the listener that operators reach.
pub fn bind_management(listener: Listener, state: Data<HttpState>) -> io::Result<Bound> {
    bind(listener, state, Surface::Management)
}

#[derive(Clone, Copy)]
enum Surface {
    Public,
    Management,
}

fn bind(listener: Listener, state: Data<HttpState>, surface: Surface) -> io::Result<Bound> {
    let trusted_proxies = listener.trusted_proxies;
    let server = HttpServer::new(move || {
        // The last `wrap` is the first to see a request: who asks, the span with the id, the id in the answer,
        // metrics, the state of draining, the headers of every answer.
        Routes::new()
            .app_data(trusted_proxies.clone())
            .wrap(from_fn(fallback::safe_headers))
            .wrap(from_fn(draining::announce))
            .wrap(from_fn(http_metrics))
            .wrap(from_fn(request_id_header))
            .wrap(TracingLogger::<GrantdRootSpan>::new())
            .wrap(from_fn(client_address))
            .configure(|config| match surface {
                Surface::Public => super::public(state.clone())(config),
                Surface::Management => super::management(state.clone())(config),
            })
    })
    .workers(listener.workers)
    .disable_signals()
    .client_request_timeout(HEAD_PATIENCE)
    .client_disconnect_timeout(CLOSE_PATIENCE)
    .keep_alive(KEEP_ALIVE)
    .shutdown_timeout(listener.grace.as_secs().max(1));

    let server = match &listener.certificate {
        Some(certificate) => {
            server.bind_rustls_0_23(listener.address, server_config(Arc::clone(certificate)))?
        }
        None => server.bind(listener.address)?,
    };
    let address = server.addrs().first().copied().unwrap_or(listener.address);
    Ok(Bound { address, running: server.run() })
}
