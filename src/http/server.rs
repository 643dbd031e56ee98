//! The listeners: binds them, says what each answers with, and stops them in good order.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Request, Response};
use actix_service::{
    IntoServiceFactory as _, Service as _, ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config,
};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Server, ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::Data;
use actix_web::{App as Routes, Error};
use futures_util::future::{Either, ready};
use socket2::SockRef;
use tokio::net::TcpStream;
use tracing_actix_web::TracingLogger;

use crate::telemetry::metrics::http_metrics;

use super::client_address::{TrustedProxies, find_client_address};
use super::connection::{refuse_rejected, take_turns};
use super::guarded_stream::GuardedStream;
use super::root_span::{GrantdRootSpan, with_request_id};
use super::state::HttpState;
use super::tls::{ReloadingCertificate, server_config};
use super::transport::Transport;
use super::{draining, fallback, plain_documents};

pub use super::connection::Patience;

/// How long a client may take to hear the end of a connection whose request we did not read to the end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// Connections that the kernel has taken and we have not; it may hold fewer (`net.core.somaxconn`).
const QUEUE: i32 = 2048;

/// How a listener is to be set up.
pub struct Listener {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Threads that serve it.
    pub workers: usize,
    /// Connections at once; further ones wait until one ends. Shared evenly among the workers.
    pub max_connections: usize,
    /// How long peers may take.
    pub patience: Patience,
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
    pub running: Server,
    /// To turn new connections away.
    pub door: Arc<Door>,
}

/// The socket that new connections come in by.
#[derive(Debug)]
pub struct Door(TcpListener);

impl Door {
    /// From now on new connections are refused at once, so that a load balancer asks another instance. A server that
    /// only stops to accept leaves them in the system's queue, where they wait and are cut off in the end.
    pub fn close(&self) {
        if let Err(cause) = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Read) {
            tracing::warn!(%cause, "new connections cannot be refused");
        }
    }
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
    let socket = TcpListener::bind(listener.address)?;
    // A flood fills the queue that others wait in; std's own is short.
    SockRef::from(&socket).listen(QUEUE)?;
    let (address, door) = (socket.local_addr()?, Arc::new(Door(socket.try_clone()?)));
    let Listener { patience, trusted_proxies, workers, .. } = listener;
    let tls = listener.certificate.map(|certificate| Arc::new(server_config(certificate)));
    let server = Server::build()
        .workers(workers)
        .max_concurrent_connections(listener.max_connections.div_ceil(workers.max(1)).max(1))
        .disable_signals()
        .shutdown_timeout(listener.grace.as_secs().max(1))
        .listen("grantd", socket, move || {
            let routes = Routes::new()
                .app_data(trusted_proxies.clone())
                // The last `wrap` is the first to see a request.
                .wrap(from_fn(inside_the_span))
                .wrap(TracingLogger::<GrantdRootSpan>::new())
                .wrap(from_fn(outside_the_span))
                .configure(|config| match surface {
                    Surface::Public => super::public(state.clone())(config),
                    Surface::Management => super::management(state.clone())(config),
                });
            let routes = routes.into_factory().map(Response::from).map_err(|error| error.error_response());
            let routes = map_config(routes, |()| AppConfig::default());
            let documents = match surface {
                Surface::Public => Some(state.clone()),
                Surface::Management => None,
            };
            let answers = apply_fn_factory(routes, move |request: Request, routes: &_| {
                let document = documents.as_ref().and_then(|state| plain_documents::answer(&request, state));
                match document {
                    Some(document) => Either::Left(ready(Ok(document))),
                    None => Either::Right(routes.call(request)),
                }
            });
            let requests = HttpService::build()
                // Time is kept by the stream. A connection that its client has half closed is served on, as actix-http does
                // by default: a handler that is kept but not gone on with would keep everybody waiting who writes.
                .keep_alive(KeepAlive::Os)
                .client_request_timeout(Duration::ZERO)
                .client_disconnect_timeout(CLOSE_PATIENCE)
                .local_addr(address)
                .on_connect_ext(|stream: &GuardedStream, data| {
                    data.insert(Rc::clone(stream.connection()));
                })
                .h1(answers);

            let tls = tls.clone();
            let streams = fn_service(move |socket: TcpStream| {
                let tls = tls.clone();
                async move {
                    let transport = Transport::accept(socket, tls, patience.head).await;
                    let transport = transport.map_err(DispatchError::Io)?;
                    let peer = transport.peer_address();
                    Ok((GuardedStream::new(transport, patience), peer))
                }
            });
            streams.and_then(requests)
        })?;
    Ok(Bound { address, running: server.run(), door })
}

/// From the outside to the inside: whose turn it is, who asks. Then the span with the id, and [`inside_the_span`].
///
/// One future holds what belongs together. Each as a `wrap` of its own would put one more on the heap, and move the
/// answer once more.
async fn outside_the_span<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    take_turns(request, async |request| {
        find_client_address(&request);
        Ok(next.call(request).await?.map_into_boxed_body())
    })
    .await
}

/// The id in the answer, metrics, the state of draining, the headers of every answer, what was refused already.
async fn inside_the_span<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    with_request_id(request, async |request| {
        http_metrics(request, async |request| {
            draining::announce(request, async |request| {
                let answer = async |request| next.call(request).await;
                let mut response = refuse_rejected(request, answer).await?;
                fallback::add_safe_headers(response.headers_mut());
                Ok(response)
            })
            .await
        })
        .await
    })
    .await
}
