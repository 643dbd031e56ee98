//! One keep-alive connection that sends bytes made beforehand and reads answers into memory it already has.
//!
//! Blocking and without a timer of its own: an answer is stamped by the thread that waited for it.

use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;

/// Who waits longer than this has met a fault, not a delay.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that is opened when it is needed.
pub(crate) struct Wire {
    address: SocketAddr,
    stream: Option<TcpStream>,
    read: Vec<u8>,
}

/// What the head of an answer says; the body lies in the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Where the body begins.
    body: usize,
}

impl Wire {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self { address, stream: None, read: Vec::with_capacity(16 * 1024) }
    }

    /// Sends a request and reads its answer. A connection that the server closed while it was idle is opened anew.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        let reused = self.stream.is_some();
        match self.ask_once(request) {
            Err(_) if reused && self.read.is_empty() => self.ask_once(request),
            outcome => outcome,
        }
        .inspect_err(|_| self.stream = None)
    }

    /// The body of the last answer.
    pub(crate) fn body(&self, answer: Answer) -> &str {
        std::str::from_utf8(&self.read[answer.body..]).unwrap_or_default()
    }

    /// A header of the last answer.
    pub(crate) fn header(&self, answer: Answer, wanted: &str) -> Option<&str> {
        let lines = self.head(answer.body).split("\r\n").filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    }

    fn head(&self, end: usize) -> &str {
        std::str::from_utf8(&self.read[..end]).unwrap_or_default()
    }

    fn ask_once(&mut self, request: &[u8]) -> Result<Answer> {
        self.read.clear();
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => open(self.address)?,
        };
        stream.write_all(request)?;
        let body = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            more(&mut stream, &mut self.read)?;
        };
        let status = self.head(body).split(' ').nth(1).and_then(|status| status.parse().ok());
        let answer = Answer { status: status.ok_or_else(unreadable)?, body };
        let length: usize =
            self.header(answer, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let closes = self.header(answer, "connection").is_some_and(|said| said.eq_ignore_ascii_case("close"));
        while self.read.len() < body + length {
            more(&mut stream, &mut self.read)?;
        }
        self.stream = (!closes).then_some(stream);
        Ok(answer)
    }
}

fn open(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn more(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<()> {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        count => {
            read.extend_from_slice(&buffer[..count]);
            Ok(())
        }
    }
}

fn unreadable() -> Error {
    Error::new(ErrorKind::InvalidData, "an answer that is not HTTP")
}

/// A POST of a form to `/token`, in `request`, by a client that authenticates with HTTP Basic.
pub(crate) fn write_token_request(request: &mut Vec<u8>, basic: &str, form: &str) {
    write_form(request, "/token", basic, form);
}

/// The same to any path.
pub(crate) fn write_form(request: &mut Vec<u8>, path: &str, basic: &str, form: &str) {
    request.clear();
    let length = form.len();
    // Writing into memory does not fail.
    let _ = write!(
        request,
        "POST {path} HTTP/1.1\r\nHost: grantd\r\nAuthorization: {basic}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
    );
}

/// The value of an Authorization header for HTTP Basic.
pub(crate) fn basic(id: &str, secret: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
    format!("Basic {pair}")
}

/// The value of a member that is a plain string.
pub(crate) fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{name}\":\""))?;
    rest.split_once('"').map(|(value, _)| value)
}
