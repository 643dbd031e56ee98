//! TLS in the process: a certificate is exchanged under a running server, and no connection notices.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::database::TestDatabase;
use crate::support::program::Home;
use crate::support::runner::trials;
use crate::support::server::TestServer;

trials! {
    sqlite: [a_new_certificate_is_served_without_a_restart_and_old_connections_go_on],
    plain: [a_certificate_that_cannot_be_used_is_told_before_anything_is_made],
}

/// Writes a new self-signed pair, the key first, as a careful renewal would not.
pub(crate) fn renew(directory: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem())
        .expect("a writable directory");
    std::fs::write(directory.join("cert.pem"), made.cert.pem()).expect("a writable directory");
    made.cert.der().clone()
}

pub(crate) type Connection = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn connect(address: &str, trusted: &[CertificateDer<'static>]) -> Connection {
    let socket = TcpStream::connect(address).expect("the server listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    StreamOwned::new(shake(trusted), socket)
}

/// The client's side of a handshake, before its first byte.
pub(crate) fn shake(trusted: &[CertificateDer<'static>]) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone()).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // What a browser offers; only the second is spoken.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a connection")
}

/// One request on a kept connection; the status line.
pub(crate) fn ask(connection: &mut Connection) -> String {
    connection
        .write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("an open connection");
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut byte = [0; 1];
        connection.read_exact(&mut byte).expect("an answer");
        answer.extend_from_slice(&byte);
    }
    String::from_utf8(answer).expect("text").lines().next().expect("a status line").to_owned()
}

fn presented(connection: &Connection) -> CertificateDer<'static> {
    connection.conn.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

async fn a_new_certificate_is_served_without_a_restart_and_old_connections_go_on(database: TestDatabase) {
    let directory = tempfile::tempdir().expect("a directory");
    let first = renew(directory.path());
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let files = [
        ("GRANTD_SERVER__TLS__CERT", cert.to_str().expect("a path")),
        ("GRANTD_SERVER__TLS__KEY", key.to_str().expect("a path")),
        ("GRANTD_SERVER__ISSUER", "https://localhost"),
        ("GRANTD_PASSWORDS__MEMORY_KIB", "64"),
    ];
    let server = TestServer::start_with(&database, &files).await;
    let address = server.url.trim_start_matches("https://").to_owned();

    let talk = move || {
        let mut old = connect(&address, std::slice::from_ref(&first));
        assert_eq!(ask(&mut old), "HTTP/1.1 200 OK");
        assert_eq!(old.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(presented(&old), first);
        let second = renew(directory.path());
        let trusted = [first, second.clone()];

        // Looked at every second; a busy machine stretches that.
        let renewed = (0..200).any(|_| {
            let mut new = connect(&address, &trusted);
            assert_eq!(ask(&mut new), "HTTP/1.1 200 OK");
            std::thread::sleep(Duration::from_millis(50));
            presented(&new) == second
        });

        assert!(renewed, "the new certificate is never served");
        assert_eq!(ask(&mut old), "HTTP/1.1 200 OK", "the old connection goes on");
    };
    tokio::task::spawn_blocking(talk).await.expect("a talk over TLS");
    server.stop().await;
}

fn a_certificate_that_cannot_be_used_is_told_before_anything_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    renew(directory.path());
    let cert = directory.path().join("cert.pem");
    std::fs::write(directory.path().join("key.pem"), "no key").expect("a writable directory");
    let key = directory.path().join("key.pem");
    let home = Home::new(&[
        ("GRANTD_SERVER__TLS__CERT", cert.to_str().expect("a path")),
        ("GRANTD_SERVER__TLS__KEY", key.to_str().expect("a path")),
    ]);

    let ended = home.run(&["serve"]);

    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.stderr.contains("key.pem"), "{}", ended.stderr);
    assert!(!home.path().join("data").exists(), "nothing was made");
}
