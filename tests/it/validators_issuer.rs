//! The validators of `examples/validators` behind an issuer that the test speaks for: how often they ask it, whatever
//! strangers send, and what they make of documents that are wrong.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use grantd::app::clock::Clock;
use miniz_oxide::deflate::compress_to_vec_zlib;
use serde_json::{Value, json};
use tokio::task::spawn_local;

use crate::outage::until;
use crate::support::jose::Key;
use crate::support::runner::trials;
use crate::support::services::{Kind, Service};

trials! {
    alone: [
        validators_ask_seldom_whatever_strangers_send,
        validators_believe_no_document_that_is_wrong,
    ],
}

const AUDIENCE: &str = "https://notes.example";
const KEYS: &str = "/tenant/jwks";
const METADATA: &str = "/.well-known/oauth-authorization-server/tenant";

/// What is served where, and how often it was asked for.
#[derive(Default)]
struct Documents {
    bodies: Mutex<BTreeMap<String, String>>,
    asked: Mutex<BTreeMap<String, u32>>,
}

/// An issuer with a path, RFC 8414 §3.1.
struct Issuer {
    url: String,
    documents: Data<Documents>,
    key: Key,
    server: ServerHandle,
}

impl Issuer {
    fn start() -> Self {
        let documents = Data::new(Documents::default());
        let kept = documents.clone();
        let server =
            HttpServer::new(move || App::new().app_data(kept.clone()).default_service(web::to(answer)));
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/tenant", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        spawn_local(server);
        let issuer = Self { url, documents, key: Key::p256(), server: handle };
        issuer.publish(METADATA, &json!({"issuer": issuer.url, "jwks_uri": format!("{}/jwks", issuer.url)}));
        issuer.publish(KEYS, &json!({"keys": [issuer.jwk("first")]}));
        issuer
    }

    fn serve(&self, path: &str, body: String) {
        self.documents.bodies.lock().expect("nobody panics here").insert(path.into(), body);
    }

    fn publish(&self, path: &str, document: &Value) {
        self.serve(path, document.to_string());
    }

    fn jwk(&self, kid: &str) -> Value {
        let mut jwk = self.key.named(kid);
        jwk["alg"] = json!("ES256");
        jwk
    }

    fn asked(&self, path: &str) -> u32 {
        self.documents.asked.lock().expect("nobody panics here").get(path).copied().unwrap_or(0)
    }

    /// A token whose status is in the list of this number.
    fn token(&self, kid: &str, list: &str, idx: u64) -> String {
        let status = json!({"status_list": {"idx": idx, "uri": format!("{}/status/{list}", self.url)}});
        let claims = json!({"iss": self.url, "aud": AUDIENCE, "sub": "s", "client_id": "c", "jti": "j", "iat": now(),
            "exp": now() + 600, "scope": "notes:read", "status": status});
        self.key.sign(&json!({"alg": "ES256", "typ": "at+jwt", "kid": kid}), &claims)
    }

    /// The claims of a list of these bytes.
    fn list(&self, list: &str, bits: u8, bytes: &[u8]) -> Value {
        let lst = URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(bytes, 9));
        json!({"iss": self.url, "sub": format!("{}/status/{list}", self.url), "iat": now(), "exp": now() + 600,
            "ttl": 300, "status_list": {"bits": bits, "lst": lst}})
    }

    fn serve_list(&self, list: &str, claims: &Value) {
        let header = json!({"alg": "ES256", "typ": "statuslist+jwt", "kid": "first"});
        self.serve(&format!("/tenant/status/{list}"), self.key.sign(&header, claims));
    }
}

async fn answer(request: HttpRequest, documents: Data<Documents>) -> HttpResponse {
    let path = request.path().to_owned();
    *documents.asked.lock().expect("nobody panics here").entry(path.clone()).or_default() += 1;
    // So long that all who ask at once find the first still asking.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let body = documents.bodies.lock().expect("nobody panics here").get(&path).cloned();
    match body {
        Some(to) if to.starts_with('/') => HttpResponse::Found().insert_header(("location", to)).finish(),
        Some(body) => {
            let age = if path.ends_with("/aged") { "299" } else { "0" };
            let mut answer = HttpResponse::Ok();
            let max_age = if path.ends_with("/brief-jwks") { 1 } else { 300 };
            answer.insert_header(("cache-control", format!("public, max-age={max_age}")));
            answer.insert_header(("age", age));
            answer.body(body)
        }
        None => HttpResponse::NotFound().finish(),
    }
}

fn now() -> i64 {
    Clock::System.now().as_secs()
}

async fn validators_ask_seldom_whatever_strangers_send() {
    join_all(Kind::here().into_iter().map(asks_seldom)).await;
    Kind::none_is_missing();
}

async fn asks_seldom(kind: Kind) {
    let issuer = Issuer::start();
    issuer.serve_list("0", &issuer.list("0", 1, &[0; 16]));
    let service = Service::start(kind, &issuer.url, AUDIENCE, "false").await;

    // Many at once, before it knows anything.
    let token = issuer.token("first", "0", 7);
    let answers = join_all((0..40).map(|_| service.get("/notes", &token))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{kind:?}: {answers:?} {}", service.log());
    assert_eq!([METADATA, KEYS, "/tenant/status/0"].map(|path| issuer.asked(path)), [1; 3], "{kind:?}");

    // A key of which nobody could know is looked for at once, and once for all.
    issuer.publish(KEYS, &json!({"keys": [issuer.jwk("first"), issuer.jwk("second")]}));
    let token = issuer.token("second", "0", 7);
    let answers = join_all((0..40).map(|_| service.get("/notes", &token))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{kind:?}: {answers:?} {}", service.log());
    assert_eq!(issuer.asked(KEYS), 2, "{kind:?}");

    // A stranger makes it ask no more often than every five seconds. Here nobody waits for that.
    let strange: Vec<_> = (0..100).map(|n| issuer.token(&format!("stranger-{n}"), "0", 7)).collect();
    let answers = join_all(strange.iter().map(|token| service.get("/notes", token))).await;
    assert!(answers.iter().all(|answer| answer.status == 401), "{kind:?}");
    assert!(issuer.asked(KEYS) <= 3, "{kind:?} asked {} times", issuer.asked(KEYS));

    // And keeps nobody out who has the next key for longer than that.
    issuer.publish(KEYS, &json!({"keys": [issuer.jwk("first"), issuer.jwk("third")]}));
    let token = issuer.token("third", "0", 7);
    until("the third key", async || service.get("/notes", &token).await.status == 200).await;
    assert!(issuer.asked(KEYS) <= 4, "{kind:?} asked {} times", issuer.asked(KEYS));

    // How long a list may be kept is its ttl, of which a cache on the way may have used up most; not its exp.
    for (name, ttl) in [("brief", 1), ("aged", 300)] {
        let mut list = issuer.list(name, 1, &[0]);
        list["ttl"] = json!(ttl);
        issuer.serve_list(name, &list);
        let token = issuer.token("first", name, 7);
        assert_eq!(service.get("/notes", &token).await.status, 200, "{kind:?}: {}", service.log());
        list["status_list"] = issuer.list(name, 1, &[0x80])["status_list"].clone();
        issuer.serve_list(name, &list);
        until("the newer list", async || service.get("/notes", &token).await.status == 401).await;
    }
    assert_eq!([METADATA, "/tenant/status/0"].map(|path| issuer.asked(path)), [1; 2], "{kind:?}");
    drop(service);
    issuer.server.stop(false).await;
}

async fn validators_believe_no_document_that_is_wrong() {
    join_all(Kind::here().into_iter().map(believes_nothing_wrong)).await;
    Kind::none_is_missing();
}

async fn believes_nothing_wrong(kind: Kind) {
    let issuer = Issuer::start();
    issuer.serve_list("0", &issuer.list("0", 1, &[0; 16]));
    let good = issuer.token("first", "0", 7);

    // RFC 8414 §3.3: the issuer in the metadata must be the one that was asked for, character by character.
    for (member, wrong) in
        [("issuer", format!("{}/", issuer.url)), ("jwks_uri", String::from("http://keys.example/"))]
    {
        let mut metadata = json!({"issuer": issuer.url, "jwks_uri": format!("{}/jwks", issuer.url)});
        metadata[member] = json!(wrong);
        issuer.publish(METADATA, &metadata);
        let service = Service::start(kind, &issuer.url, AUDIENCE, "true").await;
        let answer = service.get("/notes", &good).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "5".into()), "{kind:?}: {member}");
        // RFC 9110 §10.2.3: who is told so need not make it ask again.
        assert_eq!(service.get("/notes", &good).await.status, 503);
    }
    assert_eq!((issuer.asked(METADATA), issuer.asked(KEYS)), (2, 0), "{kind:?}");
    issuer
        .publish(METADATA, &json!({"issuer": issuer.url, "jwks_uri": format!("{}/brief-jwks", issuer.url)}));
    issuer.publish("/tenant/brief-jwks", &json!({"keys": [issuer.jwk("first")]}));
    let service = Service::start(kind, &issuer.url, AUDIENCE, "false").await;
    assert_eq!(service.get("/notes", &good).await.status, 200, "{kind:?}: {}", service.log());

    // draft-ietf-oauth-status-list §4.1: sixteen entries of one bit, and twelve of two.
    issuer.serve_list("one", &issuer.list("one", 1, &[0xb9, 0xa3]));
    issuer.serve_list("two", &issuer.list("two", 2, &[0xc9, 0x44, 0xf9]));
    let one = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1];
    let two = [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3];
    for (list, values) in [("one", one.as_slice()), ("two", &two)] {
        for (idx, value) in (0u64..).zip(values) {
            let expected = if *value == 0 { 200 } else { 401 };
            let answer = service.get("/notes", &issuer.token("first", list, idx)).await;
            assert_eq!(answer.status, expected, "{kind:?}: list {list}, {idx}: {}", service.log());
        }
        let beyond = service.get("/notes", &issuer.token("first", list, values.len() as u64)).await;
        assert_eq!(beyond.status, 401, "{kind:?}: beyond the end of list {list}");
    }

    // Lists that are none, as if there were none.
    for name in hostile_lists(&issuer) {
        let answer = service.get("/notes", &issuer.token("first", &name, 7)).await;
        let log = service.log();
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, "5".into()),
            "{kind:?}: {name}: {log}"
        );
    }
    assert_eq!(service.get("/notes", &good).await.status, 200, "{kind:?}: {}", service.log());

    // A key that was retired is gone when max-age is over, though nobody asks for an unknown one.
    issuer.publish("/tenant/brief-jwks", &json!({"keys": [issuer.jwk("second")]}));
    until("the end of the key", async || service.get("/notes", &good).await.status == 401).await;
    drop(service);
    issuer.server.stop(false).await;
}

/// Serves lists of which each is wrong in one point; their names.
fn hostile_lists(issuer: &Issuer) -> Vec<String> {
    let good = |name: &str| issuer.list(name, 1, &[0; 16]);
    let changed = |name: &str, member: &str, value: Value| {
        let mut claims = good(name);
        claims[member] = value;
        issuer.serve_list(name, &claims);
    };
    changed("expired", "exp", json!(now() - 10));
    changed("another", "sub", json!(format!("{}/status/0", issuer.url)));
    changed("of-others", "iss", json!("https://other.example"));
    changed("no-list", "status_list", json!(null));
    changed("no-zlib", "status_list", json!({"bits": 1, "lst": "AAAA"}));
    changed("no-base64", "status_list", json!({"bits": 1, "lst": "!!!!"}));
    issuer.serve_list("three-bits", &issuer.list("three-bits", 3, &[0; 16]));
    // Two MiB in two KiB.
    issuer.serve_list("bomb", &issuer.list("bomb", 1, &vec![0; 2 << 20]));
    let packed = compress_to_vec_zlib(&[0; 1 << 17], 9);
    let cut_off = URL_SAFE_NO_PAD.encode(&packed[..packed.len() / 2]);
    changed("cut-off", "status_list", json!({"bits": 1, "lst": cut_off}));
    let header = |typ: &str| json!({"alg": "ES256", "typ": typ, "kid": "first"});
    let at = |name: &str| format!("/tenant/status/{name}");
    issuer.serve(&at("of-a-stranger"), Key::p256().sign(&header("statuslist+jwt"), &good("of-a-stranger")));
    issuer.serve(&at("of-another-type"), issuer.key.sign(&header("at+jwt"), &good("of-another-type")));
    issuer.serve(&at("no-jwt"), "not found".into());
    issuer.serve_list("led-to", &good("led-elsewhere"));
    issuer.serve(&at("led-elsewhere"), at("led-to"));
    let names = "expired another of-others no-list no-zlib no-base64 three-bits bomb cut-off of-a-stranger of-another-type
        no-jwt led-elsewhere missing";
    names.split_whitespace().map(str::to_owned).collect()
}
