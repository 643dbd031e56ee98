//! Peers that take their time: every wait for them has an end, and nobody who is merely slow meets it.
//! Patience is cut to fractions of a second here; how long it really is, stands in `Patience::default`.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use grantd::app::clock::Clock;
use grantd::http::server::{Listener, Patience, bind_public};
use grantd::http::tls::ReloadingCertificate;
use grantd::http::{Draining, HttpState, TrustedProxies};
use grantd::startup::{Purpose, open_app};
use tokio::net::TcpSocket;

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{START, settings};
use crate::support::wire::{Wire, post};

trials! {
    sqlite: [
        a_first_head_that_stalls_is_told_and_cut_off,
        a_later_head_that_stalls_is_told_and_cut_off,
        a_head_that_trickles_gains_no_time,
        a_head_behind_a_pipelined_request_has_no_more_time_than_others,
        a_connection_that_says_nothing_ends_silently,
        a_connection_that_is_kept_ends_silently,
        a_connection_in_use_outlives_every_patience,
        a_body_that_stalls_is_cut_off_at_every_address,
        a_body_that_trickles_gains_no_time,
        a_client_that_goes_on_sending_a_late_body_still_reads_why_it_is_cut_off,
        a_peer_that_takes_no_answer_is_cut_off_and_not_read_any_further,
    ],
    plain: [patience_is_as_long_as_promised],
}

pub(crate) const SHORT: Patience = Patience {
    head: Duration::from_millis(400),
    body: Duration::from_millis(400),
    write: Duration::from_millis(400),
    keep_alive: Duration::from_millis(800),
};
/// For what is not waited for in a test.
pub(crate) const LONG: Duration = Duration::from_secs(600);

const GET: &str = "GET /health/live HTTP/1.1\r\nHost: grantd\r\n\r\n";
const HALF: &str = "GET /health/live HTTP/1.1\r\nHost: gra";

/// A listener with a patience of its own.
pub(crate) struct Edge {
    pub(crate) url: String,
    handle: ServerHandle,
}

/// How many connections an edge takes at once.
pub(crate) const PLACES: usize = 100;

impl Edge {
    async fn with(database: &TestDatabase, patience: Patience) -> Self {
        Self::behind(database, patience, None).await
    }

    /// With TLS where there is a certificate.
    pub(crate) async fn behind(
        database: &TestDatabase,
        patience: Patience,
        certificate: Option<Arc<ReloadingCertificate>>,
    ) -> Self {
        let settings = settings(database, &[]);
        let app = open_app(&settings, Purpose::Serve, Clock::manual(START)).await.expect("an app that opens");
        let listener = Listener {
            address: settings.server.listen,
            workers: 1,
            max_connections: PLACES,
            patience,
            certificate,
            trusted_proxies: TrustedProxies::new([]),
            grace: Duration::from_secs(1),
        };
        let state = Data::new(HttpState::new(app, "", Vec::new(), Draining::default()));
        let bound = bind_public(listener, state).expect("a free port");
        let (url, handle) = (format!("http://{}", bound.address), bound.handle());
        tokio::task::spawn_local(bound.running);
        Self { url, handle }
    }

    pub(crate) async fn stop(self) {
        self.handle.stop(false).await;
    }
}

async fn told_that_it_was_too_slow(wire: &mut Wire) {
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (408, "close".into()), "{answer:?}");
    assert_eq!(answer.header("x-request-id").len(), 36, "{answer:?}");
    assert!(wire.ends().await);
}

async fn a_first_head_that_stalls_is_told_and_cut_off(database: TestDatabase) {
    let edge = Edge::with(&database, Patience { keep_alive: LONG, ..SHORT }).await;
    let mut wire = Wire::open(&edge.url).await;

    wire.send(HALF).await;

    told_that_it_was_too_slow(&mut wire).await;
    edge.stop().await;
}

async fn a_later_head_that_stalls_is_told_and_cut_off(database: TestDatabase) {
    let edge = Edge::with(&database, Patience { keep_alive: LONG, ..SHORT }).await;
    let mut wire = Wire::open(&edge.url).await;

    for _ in 0..3 {
        wire.send(GET).await;
        assert_eq!(wire.answer().await.status, 200);
    }
    wire.send(HALF).await;

    told_that_it_was_too_slow(&mut wire).await;
    edge.stop().await;
}

async fn a_head_that_trickles_gains_no_time(database: TestDatabase) {
    let edge = Edge::with(&database, Patience { keep_alive: LONG, ..SHORT }).await;
    let mut wire = Wire::open(&edge.url).await;

    wire.send(GET).await;
    assert_eq!(wire.answer().await.status, 200);
    wire.trickle("GET / HTTP/1.1\r\n".to_owned() + &"X: y\r\n".repeat(20), Duration::from_millis(100)).await;

    told_that_it_was_too_slow(&mut wire).await;
    edge.stop().await;
}

async fn a_head_behind_a_pipelined_request_has_no_more_time_than_others(database: TestDatabase) {
    let edge = Edge::with(&database, Patience { keep_alive: LONG, ..SHORT }).await;
    let mut wire = Wire::open(&edge.url).await;

    wire.send(format!("{GET}{GET}{HALF}")).await;

    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(wire.answer().await.status, 200);
    told_that_it_was_too_slow(&mut wire).await;
    edge.stop().await;
}

async fn a_connection_that_says_nothing_ends_silently(database: TestDatabase) {
    let edge = Edge::with(&database, Patience { keep_alive: LONG, ..SHORT }).await;

    assert!(Wire::open(&edge.url).await.ends().await);
    edge.stop().await;
}

async fn a_connection_that_is_kept_ends_silently(database: TestDatabase) {
    let edge = Edge::with(&database, Patience { head: LONG, ..SHORT }).await;
    let mut wire = Wire::open(&edge.url).await;

    wire.send(GET).await;
    assert_eq!(wire.answer().await.status, 200);

    assert!(wire.ends().await);
    edge.stop().await;
}

async fn a_connection_in_use_outlives_every_patience(database: TestDatabase) {
    let patience = Patience { keep_alive: Duration::from_secs(20), ..SHORT };
    let edge = Edge::with(&database, patience).await;
    let mut wire = Wire::open(&edge.url).await;

    for _ in 0..3 {
        wire.send(GET).await;
        assert_eq!(wire.answer().await.status, 200);
        assert!(wire.is_kept_for(SHORT.head * 2).await, "it may be silent between requests");
        wire.send(post("", "grant_type=x")).await;
        assert_eq!(wire.answer().await.status, 401);
    }
    edge.stop().await;
}

async fn a_body_that_stalls_is_cut_off_at_every_address(database: TestDatabase) {
    let edge = Edge::with(&database, Patience { keep_alive: LONG, ..SHORT }).await;
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";

    for (request, status) in [
        (format!("POST /token HTTP/1.1\r\nHost: grantd\r\n{form}Content-Length: 9\r\n\r\nx"), 408),
        (
            format!("POST /token HTTP/1.1\r\nHost: grantd\r\n{form}Transfer-Encoding: chunked\r\n\r\n9\r\nx"),
            408,
        ),
        ("POST /nowhere HTTP/1.1\r\nHost: grantd\r\nContent-Length: 9\r\n\r\nx".into(), 404),
        ("POST /nowhere HTTP/1.1\r\nHost: grantd\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nx".into(), 404),
        ("GET /health/live HTTP/1.1\r\nHost: grantd\r\nTransfer-Encoding: chunked\r\n\r\n9".into(), 200),
        ("PUT /token HTTP/1.1\r\nHost: grantd\r\nContent-Length: 9\r\n\r\n".into(), 405),
    ] {
        let mut wire = Wire::open(&edge.url).await;
        wire.send(&request).await;

        assert_eq!(wire.answer().await.status, status, "{request:?}");
        assert!(wire.ends().await, "{request:?}");
    }
    edge.stop().await;
}

async fn a_body_that_trickles_gains_no_time(database: TestDatabase) {
    let edge = Edge::with(&database, Patience { keep_alive: LONG, ..SHORT }).await;
    let chunks = "1\r\nx\r\n".repeat(20);

    for (path, status) in [("/token", 408), ("/nowhere", 404)] {
        let mut wire = Wire::open(&edge.url).await;
        wire.send(format!(
            "POST {path} HTTP/1.1\r\nHost: grantd\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        ))
        .await;
        if status == 404 {
            assert_eq!(wire.answer().await.status, status, "an answer without the body");
        }
        wire.trickle(&chunks, Duration::from_millis(50)).await;

        if status != 404 {
            assert_eq!(wire.answer().await.status, status);
        }
        assert!(wire.ends().await, "{path}");
    }
    edge.stop().await;
}

async fn a_client_that_goes_on_sending_a_late_body_still_reads_why_it_is_cut_off(database: TestDatabase) {
    let edge = Edge::with(&database, Patience { keep_alive: LONG, ..SHORT }).await;
    let late = post("", &"x".repeat(1000));
    let form = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n";
    let malformed = format!("POST /token HTTP/1.1\r\nHost: grantd\r\n{form}1\r\nx\r\nno length\r\n");

    for (request, status) in [(&late[..late.len() - 999], 408), (&malformed, 400)] {
        let mut wire = Wire::open(&edge.url).await;
        wire.send(request).await;
        assert!(!wire.is_kept_for(LONG).await, "it was answered");

        // A socket that is closed would reset the connection, and with it what was not read yet.
        for _ in 0..5 {
            wire.send("x").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }

        assert_eq!(wire.answer().await.status, status);
        assert!(wire.ends().await);
    }
    edge.stop().await;
}

async fn a_peer_that_takes_no_answer_is_cut_off_and_not_read_any_further(database: TestDatabase) {
    let edge = Edge::with(&database, Patience { head: LONG, body: LONG, keep_alive: LONG, ..SHORT }).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address = edge.url.trim_start_matches("http://").parse().expect("an address");
    let deaf = socket.connect(address).await.expect("a server that listens");
    let asked = GET.replace("/health/live", "/").repeat(100);

    // Without ever reading: what the server has to say fills the buffers of the network, then it must stop.
    let cut_off = async {
        let mut batches = 0;
        while deaf.take_error().expect("a socket").is_none() {
            let mut rest = asked.as_bytes();
            while batches < 400 && !rest.is_empty() {
                match deaf.try_write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Err(_) => return,
                }
                if deaf.take_error().expect("a socket").is_some() {
                    return;
                }
            }
            batches += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let cut_off = tokio::time::timeout(Duration::from_secs(40), cut_off).await;

    assert!(cut_off.is_ok(), "nobody takes the answers, and the server goes on making them");
    let mut wire = Wire::open(&edge.url).await;
    wire.send(GET).await;
    assert_eq!(wire.answer().await.status, 200);
    edge.stop().await;
}

fn patience_is_as_long_as_promised() {
    let Patience { head, body, write, keep_alive } = Patience::default();

    assert_eq!([head, body, write, keep_alive].map(|patience| patience.as_secs()), [5, 5, 10, 15]);
}
