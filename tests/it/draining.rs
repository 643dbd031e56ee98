//! The end of a server as those see it who come late: for a moment they are still served, then they are refused at once
//! and can ask elsewhere, however long those who came earlier still take.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::TestServer;
use crate::support::wire::{Wire, basic};

trials! {
    sqlite: [who_comes_late_is_refused_at_once_while_a_request_is_under_way],
}

async fn who_comes_late_is_refused_at_once_while_a_request_is_under_way(database: TestDatabase) {
    let mut server = TestServer::start_with(&database, &[("GRANTD_SERVER__SHUTDOWN_GRACE", "30s")]).await;
    let secret = server.full_client("app").await;
    let body = "grant_type=client_credentials";
    let head = format!(
        "POST /token HTTP/1.1\r\nHost: grantd\r\nAuthorization: {}\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n",
        basic(&format!("app:{secret}")),
        body.len()
    );
    let mut early = Wire::open(&server.url).await;
    early.send(head + &body[..10]).await;
    let mut reader = Wire::open(&server.url).await;
    let url = server.url.clone();
    let connects = async || TcpStream::connect(url.trim_start_matches("http://")).await.map(drop);
    // Whoever is served now was accepted after the two above.
    assert_eq!(server.get("/health/ready").await.status, 200);

    server.begin_to_stop();

    let refused = loop {
        match connects().await {
            Ok(()) => tokio::time::sleep(Duration::from_millis(20)).await,
            // Whoever stood in the queue when the door was closed.
            Err(met_the_door) if met_the_door.kind() == ErrorKind::ConnectionReset => {}
            Err(refused) => break refused.kind(),
        }
    };
    assert_eq!(refused, ErrorKind::ConnectionRefused);
    reader.send("GET /.well-known/jwks.json HTTP/1.1\r\nHost: grantd\r\n\r\n").await;
    let answer = reader.answer().await;
    assert_eq!((answer.status, answer.header("connection").as_str()), (200, "close"), "{answer:?}");
    early.send(&body[10..]).await;
    let answer = early.answer().await;
    assert_eq!((answer.status, answer.header("connection").as_str()), (200, "close"), "{answer:?}");
    server.stop().await;
}
