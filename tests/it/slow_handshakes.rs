//! Peers that begin a TLS handshake and leave it at that: each is cut off within the patience for a head, and they
//! keep nobody out for longer. How long that patience really is, stands in `slow_peers.rs`.

use std::sync::Arc;
use std::time::Duration;

use grantd::http::server::Patience;
use grantd::http::tls::{CertificateFiles, ReloadingCertificate};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::slow_peers::{Edge, LONG, PLACES, SHORT};
use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::tls::{ask, connect, renew, shake};

trials! {
    sqlite: [
        a_handshake_that_stalls_is_cut_off_wherever_it_does,
        a_handshake_that_trickles_gains_no_time,
        stalled_handshakes_keep_nobody_out_while_there_is_a_place,
        more_stalled_handshakes_than_there_are_places_keep_others_out_for_a_moment_only,
    ],
}

/// Only handshakes end by themselves.
const IMPATIENT: Patience = Patience { head: SHORT.head, body: LONG, write: LONG, keep_alive: LONG };
const PATIENT: Patience = Patience { head: LONG, ..IMPATIENT };

/// A listener with a certificate of its own.
struct House {
    edge: Edge,
    address: String,
    certificate: CertificateDer<'static>,
    _directory: TempDir,
}

impl House {
    async fn open(database: &TestDatabase, patience: Patience) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let certificate = renew(directory.path());
        let files = CertificateFiles {
            cert: directory.path().join("cert.pem"),
            key: directory.path().join("key.pem"),
        };
        let loaded = ReloadingCertificate::load(files).expect("a pair");
        let edge = Edge::behind(database, patience, Some(Arc::new(loaded))).await;
        let address = edge.url.trim_start_matches("http://").to_owned();
        Self { edge, address, certificate, _directory: directory }
    }

    /// What a client says first.
    fn hello(&self) -> Vec<u8> {
        let mut hello = Vec::new();
        shake(std::slice::from_ref(&self.certificate)).write_tls(&mut hello).expect("a client begins");
        hello
    }

    /// A peer that says this and then nothing.
    async fn stalled(&self, said: &[u8]) -> TcpStream {
        let mut peer = TcpStream::connect(&self.address).await.expect("a server that listens");
        peer.write_all(said).await.expect("a server that reads");
        peer
    }

    /// Shakes hands to the end and asks something.
    async fn is_served(&self) {
        let (address, certificate) = (self.address.clone(), self.certificate.clone());
        let honest = move || ask(&mut connect(&address, &[certificate]));
        let answered = tokio::task::spawn_blocking(honest).await.expect("a talk over TLS");
        assert_eq!(answered, "HTTP/1.1 200 OK");
    }
}

/// What the server says until it cuts the peer off.
async fn until_cut_off(peer: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(30), peer.read_to_end(&mut heard)).await;
    // In good order or not: what matters is that it ends.
    let _how = ended.expect("a handshake that stalls is cut off");
    heard
}

async fn a_handshake_that_stalls_is_cut_off_wherever_it_does(database: TestDatabase) {
    let house = House::open(&database, IMPATIENT).await;
    let hello = house.hello();

    let heard = until_cut_off(&mut house.stalled(b"").await).await;
    assert_eq!(heard, b"", "who says nothing hears nothing");
    let heard = until_cut_off(&mut house.stalled(&hello[..hello.len() / 2]).await).await;
    assert_eq!(heard, b"", "half a hello is none");
    let heard = until_cut_off(&mut house.stalled(&hello).await).await;
    // A record of the handshake: the server's hello, and whatever else it says in one go.
    assert_eq!(heard.first(), Some(&22), "it was the peer that stalled: {heard:?}");

    house.is_served().await;
    house.edge.stop().await;
}

async fn a_handshake_that_trickles_gains_no_time(database: TestDatabase) {
    let house = House::open(&database, IMPATIENT).await;
    let hello = house.hello();
    let mut peer = house.stalled(b"").await;

    // Never as long as the patience between two bytes, and much longer than that in all.
    let mut sent = 0;
    for byte in &hello {
        let cut_off = tokio::time::timeout(IMPATIENT.head / 8, peer.readable()).await.is_ok();
        if cut_off || peer.write_all(&[*byte]).await.is_err() {
            break;
        }
        sent += 1;
    }

    assert!(sent < hello.len() / 2, "{sent} bytes of {} were waited for", hello.len());
    assert_eq!(until_cut_off(&mut peer).await, b"");
    house.edge.stop().await;
}

async fn stalled_handshakes_keep_nobody_out_while_there_is_a_place(database: TestDatabase) {
    let house = House::open(&database, PATIENT).await;
    let hello = house.hello();
    let mut stalled = Vec::new();
    for said in [&[][..], &hello[..hello.len() / 2], &hello].into_iter().cycle().take(PLACES - 5) {
        stalled.push(house.stalled(said).await);
    }

    for _ in 0..3 {
        house.is_served().await;
    }

    // They are there still.
    for peer in stalled.iter().step_by(3) {
        let silent = peer.try_read(&mut [0; 1]).expect_err("nothing was said to who said nothing");
        assert_eq!(silent.kind(), std::io::ErrorKind::WouldBlock);
    }
    house.edge.stop().await;
}

async fn more_stalled_handshakes_than_there_are_places_keep_others_out_for_a_moment_only(
    database: TestDatabase,
) {
    let house = House::open(&database, IMPATIENT).await;
    let hello = house.hello();
    let mut stalled = Vec::new();
    for said in [&[][..], &hello[..hello.len() / 2], &hello].into_iter().cycle().take(PLACES * 2) {
        stalled.push(house.stalled(said).await);
    }

    house.is_served().await;
    house.edge.stop().await;
}
