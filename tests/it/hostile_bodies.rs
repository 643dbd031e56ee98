//! Bodies at `/token` that are no form, lie about themselves or never come: each a clear error, none a 5xx, and the
//! server answers the next request as if nothing had been. What is wrong inside a form is in `requests`.

use grantd::app::sessions::Sessions;
use reqwest::header::HeaderMap;

use crate::support::database::TestDatabase;
use crate::support::refusal::Challenge::{Absent, Given};
use crate::support::refusal::assert_refusal;
use crate::support::runner::trials;
use crate::support::server::{Answer, PASSWORD, TestServer};
use crate::support::wire::{Wire, basic, post};

trials! {
    sqlite: [
        only_a_form_in_utf_8_is_read,
        a_coded_body_is_refused_whatever_the_coding,
        a_body_over_16_kib_is_refused_by_its_announcement_and_by_its_length,
        an_announced_flood_is_refused_before_it_comes,
        bytes_that_are_no_text_are_refused,
        a_body_that_breaks_off_leaves_nothing_behind,
        a_body_that_stalls_is_given_up_and_its_connection_ended,
        pipelined_requests_are_answered_in_order,
        a_request_with_two_lengths_is_never_read_two_ways,
        an_authorization_header_that_is_no_text_is_not_as_if_left_out,
        garbage_is_refused_and_the_server_goes_on,
    ],
}

const FORM: &str = "application/x-www-form-urlencoded";
const GOOD: &str = "grant_type=client_credentials";

/// A server with the client `app`, and the Authorization header of that client.
async fn server_with_app(database: &TestDatabase) -> (TestServer, String) {
    let server = TestServer::start(database).await;
    let secret = server.full_client("app").await;
    (server, basic(&format!("app:{secret}")))
}

/// Sends a body with these headers and the client's own.
async fn ask(
    server: &TestServer,
    app: &str,
    headers: &[(&'static str, &str)],
    body: impl Into<reqwest::Body>,
) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().expect("a value"));
    }
    let request = server.http.post(format!("{}/token", server.url)).headers(map);
    Answer::of(request.header("authorization", app).body(body).send().await.expect("an answer")).await
}

async fn only_a_form_in_utf_8_is_read(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;

    for good in [
        "application/x-www-form-urlencoded;charset=UTF-8",
        "application/x-www-form-urlencoded; charset=\"utf-8\"",
        "Application/X-WWW-Form-URLencoded",
    ] {
        assert_eq!(ask(&server, &app, &[("content-type", good)], GOOD).await.status, 200, "{good}");
    }
    for bad in [
        &[("content-type", "application/json")][..],
        &[("content-type", "text/plain")],
        &[("content-type", "multipart/form-data; boundary=x")],
        &[("content-type", "application/x-www-form-urlencoded; charset=ISO-8859-1")],
        &[("content-type", "application/x-www-form-urlencoded, text/plain")],
        &[("content-type", "")],
        &[],
        &[("content-type", FORM), ("content-type", FORM)],
        &[("content-type", FORM), ("content-type", "application/json")],
    ] {
        assert_refusal(&ask(&server, &app, bad, GOOD).await, 400, "invalid_request", Absent);
    }
    server.stop().await;
}

async fn a_coded_body_is_refused_whatever_the_coding(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;

    for coding in ["gzip", "identity", "br", "deflate", "zstd", ""] {
        let headers = [("content-type", FORM), ("content-encoding", coding)];
        assert_refusal(&ask(&server, &app, &headers, GOOD).await, 415, "invalid_request", Absent);
    }
    server.stop().await;
}

async fn a_body_over_16_kib_is_refused_by_its_announcement_and_by_its_length(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;
    let of_length = |length: usize| format!("{GOOD}&x={}", "x".repeat(length - GOOD.len() - 3));
    let headers = [("content-type", FORM)];

    assert_eq!(ask(&server, &app, &headers, of_length(16 * 1024)).await.status, 200);
    let announced = ask(&server, &app, &headers, of_length(16 * 1024 + 1)).await;
    assert_refusal(&announced, 413, "invalid_request", Absent);
    for (length, status) in [(16 * 1024, 200), (16 * 1024 + 1, 413)] {
        let answer = chunked(&server, &app, &of_length(length)).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    server.stop().await;
}

/// Sends a body in chunks, which announce no length.
async fn chunked(server: &TestServer, app: &str, body: &str) -> Answer {
    let mut wire = Wire::open(&server.url).await;
    let mut text = format!(
        "POST /token HTTP/1.1\r\nHost: grantd\r\nAuthorization: {app}\r\nContent-Type: {FORM}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    for chunk in body.as_bytes().chunks(1000) {
        text += &format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).expect("ASCII"));
    }
    wire.send(text + "0\r\n\r\n").await;
    let answer = wire.answer().await;
    if answer.status != 200 {
        assert_refusal(&answer, answer.status, "invalid_request", Absent);
    }
    answer
}

async fn an_announced_flood_is_refused_before_it_comes(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;

    for length in ["16385", "99999999999", "18446744073709551615"] {
        let mut wire = Wire::open(&server.url).await;
        wire.send(format!(
            "POST /token HTTP/1.1\r\nHost: grantd\r\nAuthorization: {app}\r\nContent-Type: {FORM}\r\n\
             Content-Length: {length}\r\n\r\n"
        ))
        .await;
        assert_refusal(&wire.answer().await, 413, "invalid_request", Absent);
    }
    server.stop().await;
}

async fn bytes_that_are_no_text_are_refused(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;

    for (bytes, sentence) in [
        (&b"x=\0"[..], "NUL"),
        (b"x=%00", "NUL"),
        (b"%00=x", "NUL"),
        (b"scope=read%00", "NUL"),
        (b"x=\xff", "UTF-8"),
        (b"x=%ff", "UTF-8"),
        (b"x=%C3", "UTF-8"),
        (b"x=%ED%A0%80", "UTF-8"),
        (b"x=%C0%AF", "UTF-8"),
        (b"x=%", "percent-encoded"),
        (b"x=%4", "percent-encoded"),
        (b"x=%zz", "percent-encoded"),
        (b"%=x", "percent-encoded"),
        (b"x=%u0041", "percent-encoded"),
    ] {
        let body = [GOOD.as_bytes(), b"&", bytes].concat();
        let answer = ask(&server, &app, &[("content-type", FORM)], body).await;

        assert_refusal(&answer, 400, "invalid_request", Absent);
        assert!(answer.text("error_description").contains(sentence), "{bytes:?}: {answer:?}");
    }
    server.stop().await;
}

async fn a_body_that_breaks_off_leaves_nothing_behind(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;
    server.user("alice", &[]).await;
    let login = format!("grant_type=password&username=alice&password={}", PASSWORD.replace(' ', "+"));

    for keep in [0, 1, login.len() / 2, login.len() - 1] {
        let whole = post(&format!("Authorization: {app}\r\n"), &login);
        let mut wire = Wire::open(&server.url).await;
        wire.send(&whole[..whole.len() - login.len() + keep]).await;
        drop(wire);
    }

    let answer = ask(&server, &app, &[("content-type", FORM)], GOOD).await;
    assert_eq!(answer.status, 200);
    let sessions = server.app.list_sessions(&Sessions::All).await.expect("a database");
    assert!(sessions.is_empty(), "{sessions:?}");
    server.stop().await;
}

/// Waits five real seconds, once: the timer of a connection is the runtime's, not the clock's that tests move.
async fn a_body_that_stalls_is_given_up_and_its_connection_ended(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;
    let whole = post(&format!("Authorization: {app}\r\n"), GOOD);
    let mut wire = Wire::open(&server.url).await;

    wire.send(&whole[..whole.len() - 1]).await;
    let answer = wire.answer().await;

    assert_refusal(&answer, 408, "invalid_request", Absent);
    assert!(wire.ends().await, "whoever stalls must not hold a connection");
    server.stop().await;
}

async fn pipelined_requests_are_answered_in_order(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;
    let authorization = format!("Authorization: {app}\r\n");
    let mut wire = Wire::open(&server.url).await;

    let requests = [
        post(&authorization, GOOD),
        post("", GOOD),
        post(&authorization, "grant_type=implicit"),
        post(&authorization, GOOD),
    ];
    wire.send(requests.concat()).await;

    assert_eq!(wire.answer().await.text("token_type"), "Bearer");
    assert_refusal(&wire.answer().await, 401, "invalid_client", Absent);
    assert_refusal(&wire.answer().await, 400, "unsupported_grant_type", Absent);
    assert_eq!(wire.answer().await.text("token_type"), "Bearer");
    server.stop().await;
}

/// RFC 9112 §6.1: a request with both lengths, or with two, is how one is smuggled behind another.
async fn a_request_with_two_lengths_is_never_read_two_ways(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;

    for lengths in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 40\r\n",
        "Content-Length: +4\r\n",
        "Transfer-Encoding: xchunked\r\n",
    ] {
        let mut wire = Wire::open(&server.url).await;
        wire.send(format!(
            "POST /token HTTP/1.1\r\nHost: grantd\r\nAuthorization: {app}\r\nContent-Type: {FORM}\r\n{lengths}\r\n\
             0\r\n\r\nGET / HTTP/1.1\r\nHost: grantd\r\n\r\n"
        ))
        .await;

        assert_eq!(wire.answer().await.status, 400, "{lengths}");
        assert!(wire.ends().await, "{lengths}");
    }
    server.stop().await;
}

async fn an_authorization_header_that_is_no_text_is_not_as_if_left_out(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;
    let secret = secret_of(&app);
    let body = format!("{GOOD}&client_id=app&client_secret={secret}");
    let mut wire = Wire::open(&server.url).await;

    let whole = post("Authorization: Basic @\r\n", &body);
    let bytes: Vec<u8> = whole.bytes().map(|byte| if byte == b'@' { 0xff } else { byte }).collect();
    wire.send(bytes).await;

    assert_refusal(&wire.answer().await, 401, "invalid_client", Given);
    server.stop().await;
}

fn secret_of(basic: &str) -> String {
    use base64::Engine as _;
    let text = basic.strip_prefix("Basic ").expect("Basic");
    let text = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    String::from_utf8(text).expect("text").split_once(':').expect("a colon").1.to_owned()
}

async fn garbage_is_refused_and_the_server_goes_on(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);

    for _ in 0..100 {
        let body = random.body();
        let answer = ask(&server, &app, &[("content-type", FORM)], body.clone()).await;

        let shown = String::from_utf8_lossy(&body);
        assert!(answer.status == 200 || (400..500).contains(&answer.status), "{shown}: {answer:?}");
        assert_eq!(answer.header("cache-control"), "no-store", "{shown}");
        let expected = if answer.status == 200 { "access_token" } else { "error" };
        assert!(answer.json()[expected].is_string(), "{shown}: {answer:?}");
    }

    assert_eq!(ask(&server, &app, &[("content-type", FORM)], GOOD).await.status, 200);
    server.stop().await;
}

/// Marsaglia's xorshift64: the same garbage on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    /// Something between noise and a form.
    fn body(&mut self) -> Vec<u8> {
        const PARTS: [&[u8]; 16] = [
            b"grant_type=",
            b"client_credentials",
            b"password",
            b"refresh_token",
            b"&",
            b"=",
            b"%",
            b"%00",
            b"+",
            b"scope=",
            b"resource=",
            b"username=alice",
            b"client_id=app",
            b"\xc3\xa4",
            b"\xff",
            b"\0",
        ];
        let mut body = Vec::new();
        for _ in 0..self.below(12) {
            match self.below(4) {
                0 => body.push(self.below(256) as u8),
                _ => body.extend_from_slice(PARTS[self.below(PARTS.len())]),
            }
        }
        body
    }
}
