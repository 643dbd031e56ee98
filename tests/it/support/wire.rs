//! A bare connection, for requests that no HTTP client sends. Knows how a request and an answer look, and no endpoint.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::server::Answer;

/// A server that says nothing for this long has failed its test.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection, and what was read of it beyond the last answer.
pub(crate) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    /// Connects to `http://host:port`.
    pub(crate) async fn open(url: &str) -> Self {
        let address = url.strip_prefix("http://").expect("an address without TLS");
        Self { stream: TcpStream::connect(address).await.expect("a server that listens"), read: Vec::new() }
    }

    /// Sends what is given, as it is.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("a server that reads");
    }

    /// Reads one answer with its body.
    pub(crate) async fn answer(&mut self) -> Answer {
        let (status, headers) = self.head().await;
        let length = headers
            .get("content-length")
            .map_or(0, |length| length.to_str().expect("text").parse::<usize>().expect("a number"));
        while self.read.len() < length {
            assert!(self.more().await, "the connection ended inside a body");
        }
        let body: Vec<u8> = self.read.drain(..length).collect();
        Answer { status, headers, body: String::from_utf8(body).expect("text") }
    }

    /// Reads one answer to a HEAD request, which announces a body and has none.
    pub(crate) async fn head_only(&mut self) -> Answer {
        let (status, headers) = self.head().await;
        Answer { status, headers, body: String::new() }
    }

    /// Cuts the connection off, as a program does that is killed; an end in good order could still want its answer.
    pub(crate) fn cut(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a connection");
    }

    /// Whether the server ends the connection, having said nothing more.
    pub(crate) async fn ends(&mut self) -> bool {
        self.read.is_empty() && !self.more().await
    }

    /// Whether the server says nothing and keeps the connection for so long.
    pub(crate) async fn is_kept_for(&mut self, time: Duration) -> bool {
        let mut byte = [0; 1];
        tokio::time::timeout(time, self.stream.peek(&mut byte)).await.is_err()
    }

    /// Sends what is given one byte at a time with a pause after each, until the server has had enough.
    pub(crate) async fn trickle(&mut self, bytes: impl AsRef<[u8]>, pause: Duration) {
        for byte in bytes.as_ref() {
            if self.stream.write_all(&[*byte]).await.is_err() || !self.is_kept_for(pause).await {
                return;
            }
        }
    }

    /// Reads status and headers.
    async fn head(&mut self) -> (u16, HeaderMap) {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            assert!(self.more().await, "the connection ended inside a head");
        };
        let head: Vec<u8> = self.read.drain(..end + 4).collect();
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1."), "an answer begins here: {head:?}");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.parse::<HeaderName>().expect("a name"), value.parse::<HeaderValue>().expect("a value"))
        });
        (status.parse().expect("a status"), headers.collect())
    }

    /// Reads on; `false` at the end of the connection, however it ends.
    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
        let count = read.expect("an answer, or the end").unwrap_or(0);
        self.read.extend_from_slice(&buffer[..count]);
        count > 0
    }
}

/// A POST of a form, with more header lines, each ended by `\r\n`.
pub(crate) fn post(headers: &str, body: &str) -> String {
    let form = "Content-Type: application/x-www-form-urlencoded";
    format!(
        "POST /token HTTP/1.1\r\nHost: grantd\r\n{form}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The value of an Authorization header for HTTP Basic, of any text.
pub(crate) fn basic(text: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}
