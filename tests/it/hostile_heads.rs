//! Heads that two programs could read in two ways: 400, the connection is closed, and nothing behind them is answered.
//! The shapes one by one are in `src/http/framing/tests.rs`; here is what a peer sees of them, and in what order requests are let in.

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{PASSWORD, TestServer};
use crate::support::wire::{Wire, post};

trials! {
    sqlite: [
        a_head_that_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_answered,
        chunks_that_could_be_read_in_two_ways_end_the_connection,
        what_is_not_hostile_is_answered_and_the_connection_kept,
        a_head_behind_an_answered_request_is_refused_as_the_first_one_is,
        a_large_head_is_refused_and_told_why,
        nothing_is_answered_behind_the_end_of_a_connection,
        a_request_does_not_change_the_answer_to_the_one_before_it,
        a_body_that_nobody_reads_is_not_taken_for_a_request,
        every_address_refuses_a_coded_body_or_does_not_read_it,
    ],
}

/// What would be smuggled.
const NEXT: &str = "GET /health/live HTTP/1.1\r\nHost: grantd\r\n\r\n";

fn refused(wire_says: &crate::support::server::Answer, status: u16, shape: &str) {
    assert_eq!(wire_says.status, status, "{shape:?}: {wire_says:?}");
    assert_eq!(wire_says.header("x-request-id").len(), 36, "{shape:?}: {wire_says:?}");
    assert_eq!(wire_says.header("connection"), "close", "{shape:?}");
    assert!(wire_says.json()["error_description"].is_string(), "{shape:?}: {wire_says:?}");
}

async fn a_head_that_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_answered(
    database: TestDatabase,
) {
    let server = TestServer::start(&database).await;
    let get = "GET /health/live HTTP/1.1\r\nHost: grantd\r\n";
    let post = "POST /token HTTP/1.1\r\nHost: grantd\r\nContent-Type: application/x-www-form-urlencoded\r\n";

    for shape in [
        format!("{post}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
        format!("{post}Content-Length: 1\r\nContent-Length: 0\r\n\r\nx"),
        format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        format!("{post}Content-Length: +1\r\n\r\nx"),
        format!("{post}Content-Length: -1\r\n\r\nx"),
        format!("{post}Content-Length:\r\n\r\n"),
        format!("{post}Content-Length: 1, 1\r\n\r\nx"),
        format!("{post}Content-Length: 99999999999999999999\r\n\r\nx"),
        format!("{post}Content-Length : 1\r\n\r\nx"),
        format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "POST /token HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        format!("{get}X: y\n\r\n"),
        format!("{get}X: y\nContent-Length: 40\r\n\r\n"),
        format!("{get}\n"),
        NEXT.replace('\r', ""),
        format!("{get}X: y\rContent-Length: 40\r\n\r\n"),
        format!("{get}X: y\r\r\n\r\n"),
        format!("{get}X: y\r\n Content-Length: 40\r\n\r\n"),
        format!("{get}X: y\0\r\n\r\n"),
        format!("{get}Host: other\r\n\r\n"),
        "GET /health/live HTTP/1.1\r\n\r\n".into(),
        "CONNECT grantd:443 HTTP/1.1\r\nHost: grantd\r\n\r\n".into(),
        format!("{get}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx"),
        "GET /health/live\r\n\r\n".into(),
    ] {
        let mut wire = Wire::open(&server.url).await;
        wire.send(format!("{shape}{NEXT}")).await;

        refused(&wire.answer().await, 400, &shape);
        assert!(wire.ends().await, "{shape:?}");
    }
    assert_eq!(server.get("/health/live").await.status, 200);
    server.stop().await;
}

async fn chunks_that_could_be_read_in_two_ways_end_the_connection(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let head = "POST /token HTTP/1.1\r\nHost: grantd\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Transfer-Encoding: chunked\r\n\r\n";

    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\n",
        "5\r\nhello\r\n0\r\nContent-Length: 40\r\n\r\n",
    ] {
        let mut wire = Wire::open(&server.url).await;
        wire.send(format!("{head}{body}{NEXT}")).await;

        refused(&wire.answer().await, 400, body);
        assert!(wire.ends().await, "{body:?}");
    }
    server.stop().await;
}

async fn what_is_not_hostile_is_answered_and_the_connection_kept(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let mut wire = Wire::open(&server.url).await;

    for (request, status) in [
        (NEXT.to_owned(), 200),
        (format!("\r\n{NEXT}"), 200),
        ("GET http://grantd/health/live HTTP/1.1\r\nHost: grantd\r\n\r\n".into(), 200),
        ("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n".into(), 404),
        ("GET /health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".into(), 200),
        (format!("{}X: \u{e9}\r\n\r\n", NEXT.trim_end_matches("\r\n").to_owned() + "\r\n"), 200),
        (post("", "grant_type=x"), 401),
        (
            "POST /token HTTP/1.1\r\nHost: grantd\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Transfer-Encoding: chunked\r\n\r\n5;ext=\"a b\"\r\ngrant\r\n7\r\n_type=x\r\n0\r\n\r\n"
                .into(),
            401,
        ),
        (NEXT.to_owned(), 200),
    ] {
        wire.send(&request).await;
        assert_eq!(wire.answer().await.status, status, "{request:?}");
    }
    server.stop().await;
}

async fn a_head_behind_an_answered_request_is_refused_as_the_first_one_is(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let bad = NEXT.replace("\r\n\r\n", "\r\nContent-Length : 1\r\n\r\n");

    for url in [&server.url, &server.management] {
        let mut wire = Wire::open(url).await;
        wire.send(format!("{NEXT}{bad}{NEXT}")).await;

        assert_eq!(wire.answer().await.status, 200);
        refused(&wire.answer().await, 400, &bad);
        assert!(wire.ends().await);
    }
    server.stop().await;
}

async fn a_large_head_is_refused_and_told_why(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let of = |fields: &str| format!("GET /health/live HTTP/1.1\r\nHost: grantd\r\n{fields}\r\n");

    for shape in [
        of(&format!("X: {}\r\n", "y".repeat(200 * 1024))),
        of(&format!("X: {}\r\n", "y".repeat(40 * 1024))),
        of(&"X: y\r\n".repeat(120)),
    ] {
        let mut wire = Wire::open(&server.url).await;
        wire.send(&shape).await;

        refused(&wire.answer().await, 431, &shape[..80]);
        assert!(wire.ends().await);
    }
    server.stop().await;
}

async fn nothing_is_answered_behind_the_end_of_a_connection(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let last = NEXT.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let mut wire = Wire::open(&server.url).await;

    wire.send(format!("{NEXT}{last}{NEXT}")).await;

    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(wire.answer().await.header("connection"), "close");
    assert!(wire.ends().await, "RFC 9112 §9.6");
    server.stop().await;
}

/// actix-http applies what it has read ahead to answers that are not written yet.
async fn a_request_does_not_change_the_answer_to_the_one_before_it(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let login = format!(
        "grant_type=password&username=alice&password={}&client_id=app&client_secret={secret}",
        PASSWORD.replace(' ', "+")
    );
    let login = post("", &login);
    let head = NEXT.replace("GET", "HEAD");

    let mut wire = Wire::open(&server.url).await;
    wire.send(format!("{login}{head}")).await;
    assert_eq!(wire.answer().await.text("token_type"), "Bearer");
    assert_eq!(wire.head_only().await.status, 200);

    let mut wire = Wire::open(&server.url).await;
    wire.send(format!("{login}{head}{NEXT}")).await;
    assert_eq!(wire.answer().await.text("token_type"), "Bearer");
    assert_eq!(wire.head_only().await.status, 200);
    assert_eq!(wire.answer().await.json()["status"], "ok", "nothing is between them");
    server.stop().await;
}

async fn a_body_that_nobody_reads_is_not_taken_for_a_request(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let length = NEXT.len();

    for request in [
        format!("GET /health/live HTTP/1.1\r\nHost: grantd\r\nContent-Length: {length}\r\n\r\n"),
        format!("POST /nowhere HTTP/1.1\r\nHost: grantd\r\nContent-Length: {length}\r\n\r\n"),
        format!("PUT /token HTTP/1.1\r\nHost: grantd\r\nContent-Length: {length}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: grantd\r\nExpect: 200-maybe\r\nContent-Length: {length}\r\n\r\n"),
    ] {
        for pieces in [vec![format!("{request}{NEXT}")], vec![request.clone(), NEXT.to_owned()]] {
            let mut wire = Wire::open(&server.url).await;
            for piece in pieces {
                wire.send(piece).await;
            }

            wire.answer().await;
            assert!(wire.ends().await, "{request:?}");
        }
    }
    // Chunks are read to their end, behind which a request may come.
    let mut wire = Wire::open(&server.url).await;
    wire.send(format!(
        "POST /nowhere HTTP/1.1\r\nHost: grantd\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{NEXT}\r\n0\r\n\r\n{NEXT}"
    ))
    .await;
    assert_eq!(wire.answer().await.status, 404);
    assert_eq!(wire.answer().await.status, 200);
    assert!(wire.is_kept_for(std::time::Duration::from_millis(100)).await, "there is no third answer");
    server.stop().await;
}

async fn every_address_refuses_a_coded_body_or_does_not_read_it(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let coded = |head: &str, codings: &str| {
        format!("{head} HTTP/1.1\r\nHost: grantd\r\n{codings}Content-Length: 12\r\n\r\n\x1f\u{b}grant_type")
    };

    for codings in [
        "Content-Encoding: gzip\r\n",
        "Content-Encoding: identity\r\n",
        "Content-Encoding:\r\n",
        "Content-Encoding: identity\r\nContent-Encoding: br\r\n",
        "Content-Encoding: gzip, zstd\r\n",
    ] {
        for (head, status) in [
            ("POST /token", 415),
            ("PUT /token", 405),
            ("POST /nowhere", 404),
            ("POST /.well-known/jwks.json", 405),
            ("GET /health/live", 200),
        ] {
            let mut wire = Wire::open(&server.url).await;
            wire.send(coded(head, codings)).await;

            let answer = wire.answer().await;
            assert_eq!(answer.status, status, "{head} {codings:?}: {answer:?}");
        }
    }
    server.stop().await;
}
