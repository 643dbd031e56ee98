//! Instructions of the hottest pure parts, without a clock: `cargo bench --bench instructions`, half a minute.
//!
//! valgrind counts them. Beside each part its yardstick is counted in the same run: the least code that does the same
//! with the same libraries. What is limited is the ratio of the two. A baseline of absolute counts in the tree would
//! not be honest: they change with the compiler and its standard library, and with the processor whose instructions
//! the cryptography chooses. A limit wide enough for that lets ten per cent of ours pass too, a narrower one cries
//! wolf. A yardstick is compiled by the same compiler and runs on the same processor. The limits are what was counted
//! when they were written down, and a tenth more: who makes a part slower raises its limit in the same change, or
//! does not.
//!
//! Needs valgrind, and `gungraun-runner` of gungraun's own version, on PATH or where `GUNGRAUN_RUNNER` says.

#![expect(clippy::print_stderr, reason = "the ratios are what the bench is for")]
#![expect(missing_docs, reason = "gungraun makes a module of each function")]

#[expect(dead_code, reason = "the other bench uses the rest")]
mod parts;

use std::collections::BTreeSet;
use std::fs::{read_dir, read_to_string};
use std::hint::black_box;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use grantd::model::key::SigningAlgorithm;
use grantd::model::scope::Scope;
use grantd::protocol::client_auth::Presented;
use grantd::protocol::params::Params;
use gungraun::{library_benchmark, library_benchmark_group, main};
use parts::{BASIC, FORM, Refresh, SCOPE, Scopes, Token};
use serde::Serialize;

/// Each part with the most that it may take, in instructions of its yardstick.
const LIMITS: [(&str, f64); 6] =
    [("form", 0.74), ("basic", 2.53), ("scope", 4.02), ("refresh", 1.27), ("claims", 1.39), ("token", 1.16)];

// Every input is made by a function that runs the part once, so that what happens once in a process is not counted.

#[library_benchmark]
#[bench::of(args = (FORM), setup = warm_form)]
fn form(body: &'static [u8]) -> Params {
    Params::parse(black_box(body)).expect("a form")
}

fn warm_form(body: &'static [u8]) -> &'static [u8] {
    drop(Params::parse(body));
    body
}

#[library_benchmark]
#[bench::of(args = (FORM), setup = warm_form_yardstick)]
fn form_yardstick(body: &'static [u8]) -> Vec<(String, String)> {
    pairs(black_box(body))
}

fn warm_form_yardstick(body: &'static [u8]) -> &'static [u8] {
    drop(pairs(body));
    body
}

fn pairs(body: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

#[library_benchmark]
#[bench::of(args = (FORM), setup = warm_basic)]
fn basic(params: Params) -> (Params, Presented) {
    let presented = parts::basic(black_box(&params));
    (params, presented)
}

fn warm_basic(body: &[u8]) -> Params {
    let params = Params::parse(body).expect("a form");
    drop(parts::basic(&params));
    params
}

#[library_benchmark]
#[bench::of(args = (BASIC), setup = warm_basic_yardstick)]
fn basic_yardstick(header: &'static [u8]) -> (String, String) {
    id_and_secret(black_box(header))
}

fn warm_basic_yardstick(header: &'static [u8]) -> &'static [u8] {
    drop(id_and_secret(header));
    header
}

fn id_and_secret(header: &[u8]) -> (String, String) {
    let pair = STANDARD.decode(&header[b"Basic ".len()..]).expect("base64");
    let (id, secret) = std::str::from_utf8(&pair).expect("text").split_once(':').expect("a pair");
    (id.to_owned(), secret.to_owned())
}

#[library_benchmark]
#[bench::of(args = (SCOPE), setup = warm_scope)]
fn scope(scopes: Scopes) -> (Scopes, Scope) {
    let granted = scopes.grant(black_box(SCOPE));
    (scopes, granted)
}

fn warm_scope(asked: &str) -> Scopes {
    let scopes = Scopes::new();
    drop(scopes.grant(asked));
    scopes
}

#[library_benchmark]
#[bench::of(args = (SCOPE), setup = warm_scope_yardstick)]
fn scope_yardstick(asked: &'static str) -> BTreeSet<String> {
    words(black_box(asked))
}

fn warm_scope_yardstick(asked: &'static str) -> &'static str {
    drop(words(asked));
    asked
}

fn words(asked: &str) -> BTreeSet<String> {
    asked.split(' ').map(str::to_owned).collect()
}

#[library_benchmark]
#[bench::of(args = (7), setup = warm_refresh)]
fn refresh((refresh, token): (Refresh, String)) -> (Refresh, String) {
    assert!(refresh.verify(black_box(&token)));
    (refresh, token)
}

fn warm_refresh(generation: u32) -> (Refresh, String) {
    let refresh = Refresh::new();
    let token = refresh.derive(generation).expose().to_owned();
    assert!(refresh.verify(&token));
    (refresh, token)
}

#[library_benchmark]
#[bench::of(args = (7), setup = warm_refresh_yardstick)]
fn refresh_yardstick((key, text): (hmac::Key, String)) -> (hmac::Key, String) {
    assert!(!has_tag(black_box(&key), black_box(&text)));
    (key, text)
}

fn warm_refresh_yardstick(byte: u8) -> (hmac::Key, String) {
    // As long as a refresh token's body, and 32 bytes of a family's secret and 20 of its id under the HMAC.
    let (key, text) = (hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]), URL_SAFE_NO_PAD.encode([byte; 52]));
    assert!(!has_tag(&key, &text));
    (key, text)
}

fn has_tag(key: &hmac::Key, text: &str) -> bool {
    let mut body = [0; 54];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut body).expect("base64url");
    hmac::verify(key, &body[..length], &body[20..length]).is_ok()
}

#[library_benchmark]
#[bench::of(args = (SigningAlgorithm::EdDsa), setup = warm_token)]
fn claims(token: Token) -> (Token, Vec<u8>) {
    let claims = black_box(&token).claims();
    (token, claims)
}

#[library_benchmark]
#[bench::of(args = (SigningAlgorithm::EdDsa), setup = warm_token)]
fn token(token: Token) -> (Token, String) {
    let signed = black_box(&token).sign();
    (token, signed)
}

fn warm_token(algorithm: SigningAlgorithm) -> Token {
    let token = Token::new(algorithm);
    drop((token.claims(), token.sign()));
    token
}

#[library_benchmark]
#[bench::of(args = (SCOPE), setup = warm_claims_yardstick)]
fn claims_yardstick(scope: &'static str) -> Vec<u8> {
    Members::with(black_box(scope)).json()
}

fn warm_claims_yardstick(scope: &'static str) -> &'static str {
    drop(Members::with(scope).json());
    scope
}

#[library_benchmark]
#[bench::of(args = (SCOPE), setup = warm_token_yardstick)]
fn token_yardstick(key: Ed25519KeyPair) -> (Ed25519KeyPair, String) {
    let signed = signed(black_box(&key));
    (key, signed)
}

fn warm_token_yardstick(_: &str) -> Ed25519KeyPair {
    let key = Ed25519KeyPair::generate().expect("a key");
    drop(signed(&key));
    key
}

fn signed(key: &Ed25519KeyPair) -> String {
    // The header of all tokens of a key could be written once.
    const HEADER: &str = "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSIsImtpZCI6IkJ3Y0hCd2NIQndjSEJ3Y0hCd2NIQndjSEJ3Y0hCd2NIQndjSEJ3Y0hCd2MifQ.";
    let mut token = String::with_capacity(1024);
    token.push_str(HEADER);
    URL_SAFE_NO_PAD.encode_string(Members::with(SCOPE).json(), &mut token);
    let signature = key.sign(token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
    token
}

/// The claims of `parts::Token`, ready to be written.
#[derive(Serialize)]
struct Members<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    iat: i64,
    jti: &'a str,
    client_id: &'a str,
    scope: &'a str,
    auth_time: i64,
    preferred_username: &'a str,
    roles: [&'a str; 2],
    status: Status<'a>,
}

#[derive(Serialize)]
struct Status<'a> {
    status_list: StatusListRef<'a>,
}

#[derive(Serialize)]
struct StatusListRef<'a> {
    idx: u32,
    uri: &'a str,
}

impl<'a> Members<'a> {
    fn with(scope: &'a str) -> Self {
        Self {
            iss: "https://auth.example.com",
            sub: "04040404-0404-4404-8404-040404040404",
            aud: "https://auth.example.com",
            exp: 1_700_000_600,
            iat: 1_700_000_000,
            jti: "AAAAAAxNBwcHBwcHBwcHBwcH",
            client_id: "app",
            scope,
            auth_time: 1_700_000_000,
            preferred_username: "alice@example.com",
            roles: ["admin", "editor"],
            status: Status {
                status_list: StatusListRef { idx: 3149, uri: "https://auth.example.com/status/0" },
            },
        }
    }

    fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("JSON")
    }
}

library_benchmark_group!(
    name = pure,
    benchmarks = [
        form,
        form_yardstick,
        basic,
        basic_yardstick,
        scope,
        scope_yardstick,
        refresh,
        refresh_yardstick,
        claims,
        claims_yardstick,
        token,
        token_yardstick
    ]
);

main!(teardown = check_ratios(); library_benchmark_groups = pure);

/// Prints the ratios (which the runner shows with `-- --nocapture`) and fails if one is above its limit.
fn check_ratios() {
    let (mut above, mut compared) = (Vec::new(), 0);
    eprintln!("\n{:<10} {:>14} {:>12} {:>7} {:>7}", "", "instructions", "yardstick", "ratio", "limit");
    for (part, limit) in LIMITS {
        // Where a filter was given, not all were counted.
        let (Some(ours), Some(least)) = (counted(part), counted(&format!("{part}_yardstick"))) else {
            continue;
        };
        let ratio = ours as f64 / least as f64;
        eprintln!("{part:<10} {ours:>14} {least:>12} {ratio:>7.2} {limit:>7.2}");
        compared += 1;
        if ratio > limit {
            above.push(format!("{part} {ratio:.2}"));
        }
    }
    assert!(compared > 0, "no counts of a part and its yardstick were found beside what cargo builds");
    assert!(
        above.is_empty(),
        "more instructions than the limits in benches/instructions.rs allow: {above:?}"
    );
}

/// What valgrind wrote down last for a function.
fn counted(function: &str) -> Option<u64> {
    // Beside what cargo builds, which is where this program lies.
    let own = std::env::current_exe().ok()?;
    let place = own.ancestors().map(|above| above.join("gungraun")).find(|place| place.is_dir())?;
    let place = place.join("grantd/instructions/pure").join(format!("{function}.of"));
    let files = read_dir(place).ok()?.flatten().map(|file| file.path());
    let out = files.filter(|file| file.extension().is_some_and(|extension| extension == "out"));
    out.filter_map(|file| {
        let text = read_to_string(file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("summary: "))?;
        line.split(' ').next()?.parse().ok()
    })
    .max()
}
