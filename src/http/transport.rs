//! The bytes of a connection, with or without TLS. Knows nothing of HTTP.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A connection that has been accepted. One type for both, so that the server behind it is compiled once.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// Shakes hands where there is a TLS configuration. The handshake counts among the connections and not against a
    /// limit of its own, so that slow ones keep nobody out.
    pub(super) async fn accept(
        socket: TcpStream,
        tls: Option<Arc<ServerConfig>>,
        patience: Duration,
    ) -> io::Result<Self> {
        let Some(tls) = tls else { return Ok(Self::Plain(socket)) };
        let stream = tokio::time::timeout(patience, TlsAcceptor::from(tls).accept(socket)).await??;
        Ok(Self::Tls(Box::new(stream)))
    }

    pub(super) fn peer_address(&self) -> Option<SocketAddr> {
        self.socket().peer_addr().ok()
    }

    /// The kernel gives a connection up whose peer takes nothing for so long, also after we have closed it.
    pub(super) fn give_up_after(&self, patience: Duration) {
        // Without it the connection ends later; nothing else depends on it.
        let _ = SockRef::from(self.socket()).set_tcp_user_timeout(Some(patience));
    }

    /// When it is dropped, what the peer has not taken is thrown away.
    pub(super) fn forget_unsent(&self) {
        let _ = SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Self::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}
