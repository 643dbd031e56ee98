//! What strangers send, and what of it is in the log of the real binary: no query string, header or body, and no byte
//! that could move a cursor or begin a line.

use crate::support::program::Home;
use crate::support::runner::trials;
use crate::support::wire::{Wire, basic};

trials! {
    alone: [
        nothing_that_a_stranger_sends_is_in_the_log_as_he_sent_it,
    ],
}

/// A line of the log that nobody wrote, in red, behind a bell and a bare CR.
const NASTY: &str = "canary\x1b[31m\x07\r\n{\"level\":\"ERROR\",\"message\":\"canary\"}\u{202e}\u{9b}\x00";

/// The same where a byte below the space would be refused at once.
fn encoded() -> String {
    NASTY.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn requests() -> Vec<String> {
    let encoded = encoded();
    let form = "Content-Type: application/x-www-form-urlencoded";
    let post = |headers: &str, body: &str| {
        format!(
            "POST /token HTTP/1.1\r\nHost: grantd\r\n{form}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let get = |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nHost: grantd\r\n{headers}\r\n");
    vec![
        get(&format!("/{encoded}?{encoded}"), ""),
        get(&format!("/canary-path/../{encoded}"), "Accept: text/html\r\n"),
        get(&format!("/token?canary-query={encoded}"), ""),
        get(&format!("/.well-known/jwks.json?{encoded}"), ""),
        get("/nowhere", &format!("User-Agent: canary\u{9b}31m\u{202e}\r\nX-Request-Id: canary{encoded}\r\n")),
        get(
            "/nowhere",
            "Forwarded: for=\"canary\u{9b}\";host=canary\r\nX-Forwarded-For: canary\r\nTraceparent: 00-canary\r\n",
        ),
        get("/nowhere", "Origin: https://canary.example\r\nReferer: https://canary\r\nCookie: canary=1\r\n"),
        "GET /nowhere HTTP/1.1\r\nHost: canary.example\r\n\r\n".into(),
        "CANARY /canary HTTP/1.1\r\nHost: canary\r\n\r\n".into(),
        post(
            &format!("Authorization: {}\r\n", basic(&format!("{NASTY}:{NASTY}"))),
            "grant_type=client_credentials",
        ),
        post(&format!("Authorization: canary{encoded}\r\n"), "grant_type=client_credentials"),
        post("", &format!("grant_type={encoded}&client_id=app")),
        post("", &format!("grant_type=password&client_id=app&username={encoded}&password={encoded}")),
        post(
            "",
            &format!(
                "grant_type=password&client_id=app&username=canary-user&password={encoded}&scope={encoded}"
            ),
        ),
        post("", &format!("grant_type=refresh_token&client_id=app&refresh_token={encoded}")),
        post("", &format!("grant_type=client_credentials&client_id={encoded}&client_secret={encoded}")),
        post("", &format!("{encoded}={encoded}&{NASTY}")),
        post("Content-Encoding: canary\r\n", "canary"),
        post("Content-Type: canary/canary\r\n", "canary"),
        // What is refused before it is a request.
        get("/nowhere", &format!("User-Agent: {NASTY}\r\n")),
        get("/nowhere", "Content-Length: canary\r\n"),
        get("/nowhere", "Transfer-Encoding: canary\r\n"),
        get("/nowhere", "Host: canary\r\n"),
        get("/nowhere", "canary\x1b: x\r\n"),
        get(&format!("/{NASTY}"), ""),
        format!("{NASTY}\r\n\r\n"),
        format!(
            "POST /token HTTP/1.1\r\nHost: grantd\r\n{form}\r\nTransfer-Encoding: chunked\r\n\r\n{NASTY}"
        ),
    ]
}

async fn nothing_that_a_stranger_sends_is_in_the_log_as_he_sent_it() {
    for format in ["json", "pretty"] {
        for level in ["info", "trace"] {
            let home = Home::new(&[
                ("GRANTD_LOG__FORMAT", format),
                ("GRANTD_LOG__LEVEL", level),
                ("GRANTD_SERVER__TRUSTED_PROXIES", "127.0.0.0/8"),
                ("GRANTD_CORS__ALLOWED_ORIGINS", "https://app.example"),
            ]);
            home.json(&["client", "create", "app", "--grant", "password", "--auth-method", "none"]);
            let server = home.serve(&["serve"]);
            let requests = requests();

            for request in &requests {
                let mut wire = Wire::open(&server.url).await;
                wire.send(request).await;
                let answer = wire.answer().await;
                assert!((200..500).contains(&answer.status), "{request:?}: {answer:?}");
            }
            server.terminate();
            let log = server.log_to_the_end();

            let told = log.matches("request answered").count();
            assert!(told >= requests.len() - 1, "{told} lines for {} requests: {log}", requests.len());
            let raw = log.chars().find(|character| {
                (character.is_control() && *character != '\n') || matches!(character, '\u{202a}'..='\u{202e}')
            });
            assert_eq!(raw, None, "{format} {level}: {}", log.escape_debug());
            let found = log.lines().find(|line| line.to_lowercase().contains("canary"));
            assert_eq!(found, None, "{format} {level}");
            if format == "json" {
                for line in log.lines() {
                    assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
                }
            }
        }
    }
}
