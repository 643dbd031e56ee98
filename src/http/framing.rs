//! Where a request begins and where it ends, read strictly from bytes. Must not know sockets, clocks or what a request means.
//!
//! Behind a proxy, two programs read the same bytes. Where they disagree on where a request ends, a stranger can put
//! one of his own into the gap and have it answered to somebody else (request smuggling). So whatever has been read in
//! two ways by any two servers is refused here, before actix-http reads it, and what is let through
//! has one reading: RFC 9112, without the tolerance that it allows.

use memchr::memchr;

/// The largest head that is read, request line included: 32 KiB.
pub const LONGEST_HEAD: usize = 32 * 1024;
/// The most header lines that are read; actix-http has room for 96.
pub const MOST_FIELDS: usize = 64;
/// The longest extension of a chunk, which nobody uses.
const LONGEST_EXTENSION: usize = 256;

/// Why a request is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// RFC 9112 §2.2 lets a recipient take a lone LF for the end of a line, or not.
    #[error("a line ends without CRLF")]
    LineEnd,
    /// The first line is not method, target and version, one space between them.
    #[error("the request line is malformed")]
    RequestLine,
    /// What is asked for is no URI.
    #[error("the request target is malformed")]
    Target,
    /// CONNECT, or a change to websockets: after it the bytes are no longer HTTP.
    #[error("this server opens no tunnel and changes to no other protocol")]
    Tunnel,
    /// RFC 9112 §5.2: a field continued on a second line.
    #[error("a header field is folded")]
    Fold,
    /// RFC 9112 §5.1: white space before the colon, no name, or no colon.
    #[error("the name of a header field is malformed")]
    FieldName,
    /// RFC 9110 §5.5: control characters, among them NUL and a lone CR.
    #[error("the value of a header field is malformed")]
    FieldValue,
    /// More than [`MOST_FIELDS`] or [`LONGEST_HEAD`].
    #[error("the head of the request is too large")]
    TooLarge,
    /// RFC 9112 §3.2: a request has one Host, and it is a host.
    #[error("the request must have one Host header, and it must be a host")]
    Host,
    /// RFC 9112 §6.3: no number, or more than one.
    #[error("the request must have at most one Content-Length, and it must be a number")]
    Length,
    /// RFC 9112 §6.1: a coding that is not exactly `chunked`, or several, or in HTTP/1.0.
    #[error("the transfer coding is not the one that this server knows")]
    TransferCoding,
    /// RFC 9112 §6.1: the sign of a request that was put together to be read in two ways.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// RFC 9112 §7.1, and fields after the last chunk, which nobody sends.
    #[error("the body is not well chunked")]
    Chunk,
}

/// A whole head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// How many bytes it has, with its empty line and any empty lines before it.
    pub length: usize,
    /// What comes after it.
    pub body: Body,
}

/// What is still to come of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks up to an empty one.
    Chunked(Chunks),
}

impl Body {
    /// How many of `bytes` belong to this body; all of them, unless it is over before their end.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        match self {
            Self::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= here as u64;
                Ok(here)
            }
            Self::Chunked(chunks) => chunks.advance(bytes),
        }
    }

    /// Whether nothing more is to come.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => *chunks == Chunks::Over,
        }
    }
}

/// Reads one head as its bytes come in; each byte is looked at once, however small the pieces are.
#[derive(Debug, Default)]
pub struct HeadScanner {
    /// Where the line begins that has not ended yet.
    line: usize,
    /// Up to where there is no further end of a line.
    searched: usize,
    fields: usize,
    request: Option<RequestLine>,
    host: bool,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Debug, Clone, Copy)]
struct RequestLine {
    version: Version,
    post: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

impl HeadScanner {
    /// Reads on. `bytes` are all bytes since the head began, those of the last call and what came since.
    /// None: the head is not complete. After an error or a head, a new scanner is needed.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<Head>, Refusal> {
        while let Some(found) = bytes.get(self.searched..).and_then(|new| memchr(b'\n', new)) {
            let end = self.searched + found;
            let line = bytes[self.line..end].strip_suffix(b"\r").ok_or(Refusal::LineEnd)?;
            (self.line, self.searched) = (end + 1, end + 1);
            if self.line > LONGEST_HEAD {
                return Err(Refusal::TooLarge);
            }
            match (self.request, line.is_empty()) {
                // RFC 9112 §2.2: some send an empty line after a body.
                (None, true) => {}
                (None, false) => self.request = Some(request_line(line)?),
                (Some(_), false) => self.field(line)?,
                (Some(request), true) => return self.head(request).map(Some),
            }
        }
        self.searched = bytes.len();
        if bytes.len() > LONGEST_HEAD {
            return Err(Refusal::TooLarge);
        }
        // Another protocol, such as TLS on a port without it, is told at once.
        match bytes.get(self.line) {
            Some(first) if self.request.is_none() && *first != b'\r' && !is_token(*first) => {
                Err(Refusal::RequestLine)
            }
            _ => Ok(None),
        }
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > MOST_FIELDS {
            return Err(Refusal::TooLarge);
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(Refusal::Fold);
        }
        let end_of_name = line.iter().position(|byte| !is_token(*byte)).ok_or(Refusal::FieldName)?;
        if end_of_name == 0 || line[end_of_name] != b':' {
            return Err(Refusal::FieldName);
        }
        let (name, value) = (&line[..end_of_name], trimmed(&line[end_of_name + 1..]));
        // To the end in any case, so that many bytes are looked at together.
        let has_controls = |found, byte: &u8| found | (byte.is_ascii_control() & (*byte != b'\t'));
        if value.iter().fold(false, has_controls) {
            return Err(Refusal::FieldValue);
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("host") {
            if self.host || !is_host(value) {
                return Err(Refusal::Host);
            }
            self.host = true;
        } else if is("content-length") {
            if self.length.is_some() {
                return Err(Refusal::Length);
            }
            self.length = Some(decimal(value).ok_or(Refusal::Length)?);
        } else if is("transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::TransferCoding);
            }
            self.chunked = true;
        } else if is("upgrade") {
            // actix-http takes all that follows for the new protocol, whatever the Content-Length says.
            let mut protocols = value.split(|byte| *byte == b',').map(trimmed);
            if protocols.any(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
                return Err(Refusal::Tunnel);
            }
        }
        Ok(())
    }

    fn head(&self, request: RequestLine) -> Result<Head, Refusal> {
        if request.version == Version::Http11 && !self.host {
            return Err(Refusal::Host);
        }
        let body = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Refusal::LengthAndCoding),
            (true, None) if request.version == Version::Http10 => return Err(Refusal::TransferCoding),
            (true, None) => Body::Chunked(Chunks::default()),
            // RFC 1945 §7.2.2: such a body would end with the connection.
            (false, None) if request.version == Version::Http10 && request.post => {
                return Err(Refusal::Length);
            }
            (false, length) => Body::Length(length.unwrap_or(0)),
        };
        Ok(Head { length: self.line, body })
    }
}

/// Without the white space of RFC 9110 §5.6.3, which is less than what ASCII has.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// RFC 9112 §3: `method SP request-target SP HTTP-version`.
fn request_line(line: &[u8]) -> Result<RequestLine, Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::RequestLine);
    };
    // Method and target by the parsers that actix-http uses, so that nothing it refuses comes to it. What every parser
    // takes, and nearly every request has, needs none.
    if !matches!(method, b"GET" | b"POST") && actix_web::http::Method::from_bytes(method).is_err() {
        return Err(Refusal::RequestLine);
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(Refusal::RequestLine),
    };
    if method == b"CONNECT" {
        return Err(Refusal::Tunnel);
    }
    let unread = !is_plain_path(target);
    if unread && (!target.iter().all(u8::is_ascii_graphic) || actix_web::http::Uri::try_from(target).is_err())
    {
        return Err(Refusal::Target);
    }
    Ok(RequestLine { version, post: method == b"POST" })
}

/// A path of RFC 3986's unreserved characters, without a query.
fn is_plain_path(target: &[u8]) -> bool {
    const PLAIN: [bool; 256] = alphanumeric_and(b"-._~/");
    target.first() == Some(&b'/') && target.iter().all(|byte| PLAIN[usize::from(*byte)])
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = alphanumeric_and(b"!#$%&'*+-.^_`|~");
    TOKEN[usize::from(byte)]
}

/// RFC 9110 §7.2, roughly: a name or an address, and a port. A comma would make two of one.
fn is_host(value: &[u8]) -> bool {
    const HOST: [bool; 256] = alphanumeric_and(b"-._~%!$&'()*+;=:[]");
    value.iter().all(|byte| HOST[usize::from(*byte)])
}

/// Which bytes are ASCII letters, digits or one of these.
const fn alphanumeric_and(others: &[u8]) -> [bool; 256] {
    let mut among = [false; 256];
    let mut byte = 0;
    while byte < among.len() {
        among[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        among[others[at] as usize] = true;
        at += 1;
    }
    among
}

/// RFC 9110 §8.6: `1*DIGIT`, no sign, no list.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Where in a chunked body we are (RFC 9112 §7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunks {
    /// In the size of a chunk, of which so much is known.
    Size(Option<u64>),
    /// In what follows the size, with so many bytes of it behind us.
    Extension(u64, usize),
    /// Before the LF that ends the line of the size.
    SizeEnd(u64),
    /// So many bytes before the end of the chunk.
    Data(u64),
    /// Before the CR behind a chunk.
    DataEnd,
    /// Before the LF behind a chunk.
    DataLineEnd,
    /// Before the CR behind the last chunk.
    LastEnd,
    /// Before the LF behind the last chunk.
    LastLineEnd,
    /// At the end.
    Over,
}

impl Default for Chunks {
    fn default() -> Self {
        Self::Size(None)
    }
}

impl Chunks {
    fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut at = 0;
        while let (Some(byte), true) = (bytes.get(at), *self != Self::Over) {
            if let Self::Data(left) = self {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += here;
                *left -= here as u64;
                if *left == 0 {
                    *self = Self::DataEnd;
                }
            } else {
                *self = self.step(*byte)?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&self, byte: u8) -> Result<Self, Refusal> {
        Ok(match (self, byte) {
            (Self::Size(Some(size)), b'\r') => Self::SizeEnd(*size),
            (Self::Size(Some(size)), b';') => Self::Extension(*size, 0),
            (Self::Size(size), digit) => {
                let digit = char::from(digit).to_digit(16).ok_or(Refusal::Chunk)?;
                let size = size.unwrap_or(0).checked_mul(16).ok_or(Refusal::Chunk)?;
                Self::Size(Some(size + u64::from(digit)))
            }
            (Self::Extension(size, _), b'\r') => Self::SizeEnd(*size),
            (Self::Extension(size, length), byte)
                if *length < LONGEST_EXTENSION && (byte == b'\t' || !byte.is_ascii_control()) =>
            {
                Self::Extension(*size, length + 1)
            }
            (Self::SizeEnd(0), b'\n') => Self::LastEnd,
            (Self::SizeEnd(size), b'\n') => Self::Data(*size),
            (Self::DataEnd, b'\r') => Self::DataLineEnd,
            (Self::DataLineEnd, b'\n') => Self::Size(None),
            (Self::LastEnd, b'\r') => Self::LastLineEnd,
            (Self::LastLineEnd, b'\n') => Self::Over,
            _ => return Err(Refusal::Chunk),
        })
    }
}

#[cfg(test)]
mod tests;
