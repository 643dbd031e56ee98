//! Refused shapes one by one, and that actix-http sees every request end where we do.

use actix_http::ServiceConfig;
use actix_http::h1::{Codec, Message, MessageType};
use actix_web::rt::{System, SystemRunner};
use actix_web::web::BytesMut;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio_util::codec::Decoder as _;

use super::*;

fn scan(head: &[u8]) -> Result<Option<Head>, Refusal> {
    HeadScanner::default().scan(head)
}

fn with_field(field: &str) -> Vec<u8> {
    format!("POST /token HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n").into_bytes()
}

#[test]
fn a_head_ends_at_its_empty_line_and_says_what_follows() {
    for (field, body) in [
        ("Accept: */*", Body::Length(0)),
        ("Content-Length: 0", Body::Length(0)),
        ("Content-Length: 0012", Body::Length(12)),
        ("content-length:\t 12 \t", Body::Length(12)),
        ("Content-Length: 18446744073709551615", Body::Length(u64::MAX)),
        ("transfer-encoding: Chunked", Body::Chunked(Chunks::default())),
        ("X-Latin: \u{e9}", Body::Length(0)),
        ("Upgrade: h2c", Body::Length(0)),
    ] {
        let mut head = with_field(field);
        let length = head.len();
        head.extend_from_slice(b"GET / HTTP/1.1\r\n");

        assert_eq!(scan(&head), Ok(Some(Head { length, body })), "{field}");
    }
    let relaxed = b"\r\nGET http://a/x?y HTTP/1.0\r\n\r\n";
    assert_eq!(scan(relaxed), Ok(Some(Head { length: relaxed.len(), body: Body::Length(0) })));
}

#[test]
fn fields_that_two_servers_could_read_in_two_ways_are_refused() {
    for (field, refusal) in [
        ("Content-Length: 5\r\nContent-Length: 5", Refusal::Length),
        ("Content-Length: 5\r\nContent-Length: 6", Refusal::Length),
        ("Content-Length: 5, 5", Refusal::Length),
        ("Content-Length: +5", Refusal::Length),
        ("Content-Length: -5", Refusal::Length),
        ("Content-Length: 0x5", Refusal::Length),
        ("Content-Length: 5_0", Refusal::Length),
        ("Content-Length: 5 0", Refusal::Length),
        ("Content-Length:", Refusal::Length),
        ("Content-Length: 18446744073709551616", Refusal::Length),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", Refusal::LengthAndCoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", Refusal::LengthAndCoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Refusal::TransferCoding),
        ("Transfer-Encoding: xchunked", Refusal::TransferCoding),
        ("Transfer-Encoding: chunked, identity", Refusal::TransferCoding),
        ("Transfer-Encoding: gzip, chunked", Refusal::TransferCoding),
        ("Transfer-Encoding: identity", Refusal::TransferCoding),
        ("Transfer-Encoding:", Refusal::TransferCoding),
        ("Transfer-Encoding: \u{b}chunked", Refusal::FieldValue),
        ("Content-Length : 5", Refusal::FieldName),
        ("Content-Length\t: 5", Refusal::FieldName),
        ("Content Length: 5", Refusal::FieldName),
        (": 5", Refusal::FieldName),
        ("Content-Length", Refusal::FieldName),
        ("X: y\r\n z", Refusal::Fold),
        ("X: y\r\n\tz", Refusal::Fold),
        ("X: y\0", Refusal::FieldValue),
        ("X: y\u{7f}", Refusal::FieldValue),
        ("X: y\rContent-Length: 5", Refusal::FieldValue),
        ("X: y\r", Refusal::FieldValue),
        ("X: y\u{c}", Refusal::FieldValue),
        ("X: y\nContent-Length: 5", Refusal::LineEnd),
        ("Host: b", Refusal::Host),
        ("Upgrade: websocket", Refusal::Tunnel),
        ("Upgrade: h2c , WebSocket", Refusal::Tunnel),
    ] {
        assert_eq!(scan(&with_field(field)), Err(refusal), "{field:?}");
    }
}

#[test]
fn request_lines_and_hosts_are_read_strictly() {
    for (head, refusal) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Refusal::LineEnd),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::LineEnd),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET /\r\n\r\n", Refusal::RequestLine),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
        ("GET /< HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Tunnel),
        ("GET / HTTP/1.1\r\n\r\n", Refusal::Host),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Refusal::Host),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Refusal::Host),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Refusal::Host),
        ("POST / HTTP/1.0\r\n\r\n", Refusal::Length),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::TransferCoding),
    ] {
        assert_eq!(scan(head.as_bytes()), Err(refusal), "{head:?}");
    }
}

#[test]
fn another_protocol_is_told_before_a_line_of_it_ends() {
    assert_eq!(scan(b"\x16\x03\x01\x02\x00"), Err(Refusal::RequestLine));
    assert_eq!(scan(b"GET"), Ok(None));
    assert_eq!(scan(b"\r"), Ok(None));
}

#[test]
fn a_head_has_bounds_whether_it_ends_or_not() {
    let field = |length: usize| with_field(&format!("X: {}", "y".repeat(length)));
    let rest = field(0).len();

    assert!(matches!(scan(&field(LONGEST_HEAD - rest)), Ok(Some(_))));
    assert_eq!(scan(&field(LONGEST_HEAD - rest + 1)), Err(Refusal::TooLarge));
    assert_eq!(scan(&field(LONGEST_HEAD)[..LONGEST_HEAD + 1]), Err(Refusal::TooLarge));
    // `Host` is one of them.
    assert!(matches!(scan(&with_field(&["X: y"; MOST_FIELDS - 1].join("\r\n"))), Ok(Some(_))));
    assert_eq!(scan(&with_field(&["X: y"; MOST_FIELDS].join("\r\n"))), Err(Refusal::TooLarge));
}

#[test]
fn chunks_are_read_strictly() {
    for (good, length) in [
        ("0\r\n\r\n", 5),
        ("5\r\nhello\r\n0\r\n\r\nGET", 15),
        ("005;a=\"b c\"\r\nhello\r\n0;\r\n\r\n", 26),
        ("A\r\n0\r\n\r\n01234\r\n0\r\n\r\n", 20),
    ] {
        let mut body = Body::Chunked(Chunks::default());
        assert_eq!(body.advance(good.as_bytes()), Ok(length), "{good:?}");
        assert!(body.is_over(), "{good:?}");
    }
    for bad in [
        "\r\n",
        ";a\r\n",
        "0x5\r\n",
        "+5\r\n",
        "5 \r\n",
        "5\n",
        "5\rX",
        "5;a\n",
        "5;a\0\r\n",
        "10000000000000000\r\n",
        "5\r\nhello!",
        "5\r\nhello\n",
        "5\r\nhello\r\n\r\n",
        "0\r\nX: y\r\n\r\n",
        "0\r\n\n",
    ] {
        assert_eq!(Body::Chunked(Chunks::default()).advance(bad.as_bytes()), Err(Refusal::Chunk), "{bad:?}");
    }
    let long = format!("5;{}\r\n", "a".repeat(LONGEST_EXTENSION + 1));
    assert_eq!(Body::Chunked(Chunks::default()).advance(long.as_bytes()), Err(Refusal::Chunk));
}

/// Where each request ends, until something is refused or incomplete.
fn ends(mut bytes: &[u8], piece: usize) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 0);
    loop {
        let mut scanner = HeadScanner::default();
        let pieces = (1..=bytes.len().div_ceil(piece)).map(|count| &bytes[..bytes.len().min(count * piece)]);
        let Some(Ok(Some(head))) = pieces.map(|seen| scanner.scan(seen)).find(|seen| *seen != Ok(None))
        else {
            return ends;
        };
        let mut body = head.body;
        let Ok(length) = body.advance(&bytes[head.length..]) else { return ends };
        if !body.is_over() {
            return ends;
        }
        at += head.length + length;
        bytes = &bytes[head.length + length..];
        ends.push(at);
    }
}

/// The same, as actix-http reads it.
fn ends_for_actix(config: &ServiceConfig, bytes: &[u8]) -> Vec<usize> {
    let (mut codec, mut left, mut ends) = (Codec::new(config.clone()), BytesMut::from(bytes), Vec::new());
    while let Ok(Some(message)) = codec.decode(&mut left) {
        let over = match message {
            Message::Item(_) => codec.message_type() == MessageType::None,
            Message::Chunk(chunk) => chunk.is_none(),
        };
        if over {
            ends.push(bytes.len() - left.len());
        }
    }
    ends
}

/// Runs `test` where actix-http's codec can be made, which needs a runtime for its clock.
fn with_actix(test: impl FnOnce(&SystemRunner, &ServiceConfig)) {
    let system = System::new();
    let config = system.block_on(async { ServiceConfig::default() });
    test(&system, &config);
}

const BEGINNINGS: &[&str] = &[
    "POST /token HTTP/1.1\r\nHost: a\r\n",
    "GET /x?y=z HTTP/1.1\r\nhost: a\r\n",
    "\r\nHEAD * HTTP/1.1\r\nHost: a\r\n",
    "GET / HTTP/1.0\r\n",
    "POST / HTTP/1.0\r\n",
    "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n",
];

const FIELDS: &[&str] = &[
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: +5\r\n",
    "Content-Length : 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Upgrade: websocket\r\n",
    "Upgrade: h2c\r\n",
    "Connection: upgrade\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "Host: b\r\n",
    "X: y\n",
    "X: y\r\n z\r\n",
    "X: \u{e9}\t\r\n",
];

const BODIES: &[&str] = &[
    "hello",
    "5\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    "5 \r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nX: y\r\n\r\n",
    "\r\n",
    "\n",
    "0",
    "\0",
];

/// Requests one behind the other, whole and broken.
fn streams() -> impl Strategy<Value = String> {
    let some_of = |parts: &'static [&'static str], most: usize| {
        prop::collection::vec(prop::sample::select(parts), 0..=most).prop_map(|parts| parts.concat())
    };
    let request = (prop::sample::select(BEGINNINGS), some_of(FIELDS, 3), some_of(BODIES, 3));
    let request = request.prop_map(|(beginning, fields, body)| format!("{beginning}{fields}\r\n{body}"));
    prop::collection::vec(request, 1..4).prop_map(|requests| requests.concat())
}

/// A request that only one of two readers sees is how one is smuggled.
#[test]
fn actix_http_sees_every_request_end_where_we_do() {
    with_actix(|system, config| {
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 4096,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let outcome = runner.run(&(streams(), 1..40_usize), |(stream, piece)| {
            let bytes = stream.into_bytes();

            let ours = ends(&bytes, piece);

            let theirs = system.block_on(async { ends_for_actix(config, &bytes) });
            prop_assert!(theirs.starts_with(&ours), "{ours:?} is not the beginning of {theirs:?}");
            prop_assert_eq!(ends(&bytes, usize::MAX), ours, "the size of the pieces matters");
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
    });
}

/// What we let in, actix-http must not refuse by itself: such an answer has no request id.
#[test]
fn every_byte_that_we_let_in_actix_http_takes_too() {
    with_actix(|system, config| {
        for byte in 0..=u8::MAX {
            for template in [
                "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /@ HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: @\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nX@: y\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nX: @\r\n\r\n",
                "GET @ HTTP/1.1\r\nHost: a\r\n\r\n",
            ] {
                let bytes: Vec<u8> =
                    template.bytes().map(|known| if known == b'@' { byte } else { known }).collect();
                if ends(&bytes, usize::MAX) == [bytes.len()] {
                    let theirs = system.block_on(async { ends_for_actix(config, &bytes) });
                    assert_eq!(theirs, [bytes.len()], "{byte:#04x} in {template:?}");
                }
            }
        }
    });
}

proptest! {
    /// Nothing is let in unread that a parser would refuse.
    #[test]
    fn every_plain_path_is_a_target(path in "/[A-Za-z0-9._~/-]{0,60}") {
        prop_assert!(is_plain_path(path.as_bytes()));
        prop_assert!(actix_web::http::Uri::try_from(path.as_bytes()).is_ok());
    }
}
