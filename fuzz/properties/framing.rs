//! Requests one behind the other on a connection, as bytes in pieces: where each begins and ends.
//!
//! The first byte of the input is the size of the pieces, the rest is the connection. Must not know what a request
//! means.

use actix_http::ServiceConfig;
use actix_http::h1::{Codec, Message, MessageType};
use actix_web::rt::{System, SystemRunner};
use actix_web::web::BytesMut;
use grantd::http::framing::{HeadScanner, LONGEST_HEAD};
use tokio_util::codec::Decoder as _;

thread_local! {
    /// actix-http's codec has a clock, and that needs a runtime. Never dropped: a thread's end is too late for it.
    static ACTIX: &'static (SystemRunner, ServiceConfig) = {
        let system = System::new();
        let config = system.block_on(async { ServiceConfig::default() });
        Box::leak(Box::new((system, config)))
    };
}

/// A request that only one of two readers sees is how one is smuggled: actix-http sees each end where we do.
pub(crate) fn holds(data: &[u8]) {
    let Some((piece, connection)) = data.split_first() else { return };

    let ours = ends(connection, usize::from(*piece).max(1));

    assert_eq!(ends(connection, usize::MAX), ours, "the size of the pieces matters");
    let (system, config) = ACTIX.with(|actix| *actix);
    let theirs = system.block_on(async { ends_for_actix(config, connection) });
    assert!(theirs.starts_with(&ours), "{ours:?} is not the beginning of {theirs:?}");
}

/// Where each request ends, until something is refused or incomplete.
fn ends(connection: &[u8], piece: usize) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 0);
    while let Some(length) = request_length(&connection[at..], piece) {
        at += length;
        ends.push(at);
    }
    ends
}

fn request_length(bytes: &[u8], piece: usize) -> Option<usize> {
    let mut scanner = HeadScanner::default();
    let mut seen = 0;
    let head = loop {
        if seen == bytes.len() {
            return None;
        }
        seen = bytes.len().min(seen.saturating_add(piece));
        if let Some(head) = scanner.scan(&bytes[..seen]).ok()? {
            break head;
        }
    };
    assert!(head.length <= seen.min(LONGEST_HEAD) && bytes[..head.length].ends_with(b"\r\n\r\n"));

    let (mut body, mut at) = (head.body, head.length);
    while !body.is_over() {
        let end = bytes.len().min(at.saturating_add(piece));
        let taken = body.advance(&bytes[at..end]).ok()?;
        if taken == 0 {
            return None;
        }
        at += taken;
    }
    Some(at)
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
