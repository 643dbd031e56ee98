//! The validators of `examples/validators` behind the real binary: what is good gets in, what is wrong in one point does
//! not, who is switched off is out when the status list says so, keys rotate unnoticed, and a server that is away ends
//! nothing at once. What a stranger or a broken issuer can do to them is in `validators_issuer.rs`.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt::task::spawn_blocking;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::{join, join_all};
use grantd::app::App;
use grantd::app::clock::Clock;
use grantd::startup::{Purpose, open_app};
use serde_json::{Value, json};

use crate::outage::until;
use crate::support::database::TestDatabase;
use crate::support::figures::say;
use crate::support::jose::{Key, hmac_signed, unsigned};
use crate::support::program::{Home, Served};
use crate::support::runner::trials;
use crate::support::server::{Answer, PASSWORD, client, settings};
use crate::support::services::{Kind, Service, free_port};

trials! {
    sqlite: [
        validators_let_in_what_is_good_until_it_is_revoked,
        validators_refuse_nothing_while_keys_rotate,
        validators_go_on_for_a_while_without_the_server,
    ],
}

pub(crate) const AUDIENCE: &str = "https://notes.example";

/// The binary at an address that it knows itself, with short times.
pub(crate) struct Issuer {
    pub(crate) home: Arc<Home>,
    pub(crate) served: Option<Served>,
    pub(crate) url: String,
    /// The same database, for keys and claims that no client can ask for.
    pub(crate) app: Arc<App>,
    pub(crate) app_secret: String,
    http: reqwest::Client,
}

impl Issuer {
    /// With the client `app`, the role of editors, and the user bob, who is none.
    async fn start(database: &TestDatabase) -> Self {
        Self::start_at(database, &format!("127.0.0.1:{}", free_port())).await
    }

    /// The same at this address.
    pub(crate) async fn start_at(database: &TestDatabase, listen: &str) -> Self {
        let url = format!("http://{listen}");
        let environment = [
            ("GRANTD_SERVER__LISTEN", listen),
            ("GRANTD_SERVER__ISSUER", &url),
            ("GRANTD_DATABASE__URL", &database.url),
            ("GRANTD_KEYS__ENCRYPTION_KEY", "J0bGq0eXo9nH5Yx1mZ3kQv7RtUu2WcLdE8sFa4iPpTg="),
            ("GRANTD_KEYS__ROTATE_EVERY", "1h"),
            ("GRANTD_KEYS__PUBLISH_BEFORE", "2s"),
            ("GRANTD_STATUS__TTL", "1s"),
            ("GRANTD_TOKENS__DEFAULT_AUDIENCE", AUDIENCE),
        ];
        let home = Arc::new(Home::new(&environment));
        home.json(&["role", "create", "editor", "--scope", "notes:write"]);
        let scope =
            ["--scope", "notes:read notes:write", "--grant", "password", "--grant", "client_credentials"];
        let made = home.json(&[&["client", "create", "app"], scope.as_slice()].concat());
        home.json_with(&["user", "create", "bob", "--password-stdin"], PASSWORD);
        let served = Some(home.serve(&["serve"]));
        let app = open_app(&settings(database, &environment), Purpose::Administer, Clock::System).await;
        let app_secret = made["client_secret"].as_str().expect("a secret").to_owned();
        let app = app.expect("an app that opens");
        Self { home, served, url, app, app_secret, http: client() }
    }

    pub(crate) async fn ask(&self, form: &[(&str, &str)]) -> Answer {
        let request = self.http.post(format!("{}/token", self.url)).basic_auth("app", Some(&self.app_secret));
        let answer = Answer::of(request.form(form).send().await.expect("an answer")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    pub(crate) async fn login(&self, username: &str) -> Answer {
        self.ask(&[("grant_type", "password"), ("username", username), ("password", PASSWORD)]).await
    }

    /// A token of the client's own.
    pub(crate) async fn token(&self) -> String {
        self.ask(&[("grant_type", "client_credentials")]).await.text("access_token")
    }

    /// What the issuer itself would sign.
    pub(crate) async fn signed(&self, typ: &str, claims: &Value) -> String {
        self.app.reload().await.expect("readable");
        let key = self.app.signer("ES256".parse().expect("an algorithm")).expect("a key");
        key.sign(typ, claims).expect("signed")
    }
}

async fn services(issuer: &Issuer, fail_open: &str) -> Vec<Service> {
    let all = Kind::here().into_iter().map(|kind| Service::start(kind, &issuer.url, AUDIENCE, fail_open));
    join_all(all).await
}

async fn validators_let_in_what_is_good_until_it_is_revoked(database: TestDatabase) {
    let issuer = Issuer::start(&database).await;

    let services = services(&issuer, "false").await;
    join_all(services.iter().map(|service| lets_in_what_is_good_until_it_is_revoked(&issuer, service))).await;

    issuer.app.close().await;
    Kind::none_is_missing();
}

async fn lets_in_what_is_good_until_it_is_revoked(issuer: &Issuer, service: &Service) {
    let name = format!("alice-{:?}", service.kind).to_lowercase();
    issuer.home.json_with(&["user", "create", &name, "--role", "editor", "--password-stdin"], PASSWORD);
    let (alice, bob) = (issuer.login(&name).await, issuer.login("bob").await.text("access_token"));
    let (alice, claims) = (alice.text("access_token"), alice.claims());
    let soon = claims["iat"].as_i64().expect("a time") + 2;
    let short_lived = issuer.signed("at+jwt", &with(&claims, "exp", json!(soon))).await;

    // What is good.
    for path in ["/me", "/notes", "/drafts"] {
        assert_eq!(service.get(path, &alice).await.status, 200, "{path}: {}", service.log());
    }
    for path in ["/me", "/notes"] {
        assert_eq!(service.get(path, &bob).await.status, 200, "{path}");
    }
    assert_eq!(service.get("/me", &alice).await.json()["sub"], claims["sub"]);
    assert_eq!(service.get("/me", &short_lived).await.status, 200);
    let others = with(&claims, "aud", json!(["https://other.example", AUDIENCE]));
    assert_eq!(service.get("/me", &issuer.signed("application/at+jwt", &others).await).await.status, 200);
    let lower_case = service.get_as("/me", Some(&format!("bearer {alice}"))).await;
    assert_eq!(lower_case.status, 200, "RFC 9110 §11.1: the scheme is case-insensitive");

    // RFC 6750 §3: what is missing is said, and no more to who sent nothing.
    let lacks = service.get("/drafts", &bob).await;
    assert_eq!(lacks.status, 403);
    let challenge = lacks.header("www-authenticate");
    assert!(challenge.contains(r#"error="insufficient_scope""#), "{challenge}");
    assert!(challenge.contains(r#"scope="notes:write""#), "{challenge}");
    let no_role = issuer.signed("at+jwt", &with(&claims, "roles", json!(["reader"]))).await;
    assert_eq!(service.get("/drafts", &no_role).await.status, 403);
    for nothing in [None, Some("Basic YXBwOnNlY3JldA=="), Some("Bearer"), Some(&*format!("DPoP {alice}"))] {
        let answer = service.get_as("/me", nothing).await;
        let challenge = answer.header("www-authenticate");
        assert_eq!((answer.status, challenge.contains("error")), (401, false), "{nothing:?}: {challenge}");
        assert!(challenge.starts_with("Bearer realm="), "{challenge}");
    }

    // What is wrong in one point.
    for (wrong, token) in bad_tokens(issuer, &alice, &claims).await {
        let answer = service.get("/me", &token).await;
        assert_eq!(answer.status, 401, "{wrong}: {}", service.log());
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains(r#"error="invalid_token""#), "{wrong}: {challenge}");
    }

    until("the end of the token", async || service.get("/me", &short_lived).await.status == 401).await;

    let ended = issuer.home.run(&["user", "disable", &name]);
    assert_eq!(ended.status, 0, "{ended:?}");
    let since = Instant::now();
    until("alice is out", async || service.get("/me", &alice).await.status == 401).await;
    let (kind, after) = (service.kind, since.elapsed().as_millis());
    say(&format!("{kind:?}: a disabled user is refused after {after} ms, ttl 1 s"));
    assert_eq!(service.get("/me", &bob).await.status, 200, "and nobody else");
}

pub(crate) fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[name] = value;
    claims
}

/// Tokens that are good but for what is said of them.
pub(crate) async fn bad_tokens(issuer: &Issuer, good: &str, claims: &Value) -> Vec<(String, String)> {
    let now = claims["iat"].as_i64().expect("a time");
    let status = |idx: u64, uri: &str| json!({"status_list": {"idx": idx, "uri": uri}});
    let list = claims["status"]["status_list"]["uri"].as_str().expect("an address");
    let changed = [
        ("iss", json!("https://other.example")),
        ("iss", json!(format!("{}/", issuer.url))),
        ("aud", json!("https://other.example")),
        ("aud", json!([])),
        ("exp", json!(now - 6)),
        ("exp", json!("tomorrow")),
        ("iat", json!(now + 600)),
        ("nbf", json!(now + 600)),
        // RFC 9449 §7.2, RFC 8705 §3: whoever presents these must prove more.
        ("cnf", json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})),
        ("cnf", json!({"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"})),
        // draft-ietf-oauth-status-list §8.3: beyond the end of the list.
        ("status", status(1 << 20, list)),
        ("status", status(0, "https://elsewhere.example/status/0")),
        ("status", status(0, &format!("{}@elsewhere.example/status/0", issuer.url))),
    ];
    let mut bad = Vec::new();
    for (name, value) in changed {
        bad.push((format!("{name}: {value}"), issuer.signed("at+jwt", &with(claims, name, value)).await));
    }
    // RFC 9068 §2.2.
    for name in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"] {
        let mut without = claims.clone();
        without.as_object_mut().expect("an object").remove(name);
        bad.push((format!("no {name}"), issuer.signed("at+jwt", &without).await));
    }
    // RFC 9068 §4.
    for typ in ["JWT", "statuslist+jwt", "at+jwt2", ""] {
        bad.push((format!("typ {typ:?}"), issuer.signed(typ, claims).await));
    }

    let keys = issuer.http.get(format!("{}/.well-known/jwks.json", issuer.url)).send().await.expect("keys");
    let keys: Value = keys.json().await.expect("json");
    let header: Value = serde_json::from_slice(
        &URL_SAFE_NO_PAD.decode(good.split('.').next().expect("a header")).expect("base64url"),
    )
    .expect("json");
    let jwk = keys["keys"].as_array().expect("keys").iter().find(|key| key["kid"] == header["kid"]);
    let jwk = jwk.expect("the key of a good token").to_string();
    let as_alg = |alg: &str| with(&header, "alg", json!(alg));
    bad.push(("alg none".into(), unsigned(&as_alg("none"), claims)));
    bad.push(("HS256 by the public key".into(), hmac_signed(jwk.as_bytes(), &as_alg("HS256"), claims)));
    bad.push(("another's key".into(), Key::p256().sign(&header, claims)));
    bad.push(("another's RSA key".into(), Key::rsa().sign(&as_alg("RS256"), claims)));
    bad.push(("an unknown kid".into(), Key::p256().sign(&with(&header, "kid", json!("stranger")), claims)));
    let (message, _) = good.rsplit_once('.').expect("a signature");
    bad.push(("no signature".into(), format!("{message}.")));
    bad.push(("no JWT".into(), "abc".into()));
    bad.push(("an opaque token".into(), "grt_AAAA".into()));
    let deep = URL_SAFE_NO_PAD.encode("[".repeat(5000));
    bad.push(("a deep header".into(), format!("{deep}.e30.AA")));
    bad
}

async fn validators_refuse_nothing_while_keys_rotate(database: TestDatabase) {
    let issuer = Issuer::start(&database).await;
    let services = services(&issuer, "false").await;
    let over = Cell::new(false);

    let rotations = async {
        // The last two come at once, so that the second of them signs with a key that nobody had time to read of.
        for rotations in [0, 1, 1, 1, 2] {
            for _ in 0..rotations {
                let home = Arc::clone(&issuer.home);
                let rotated = spawn_blocking(move || home.run(&["key", "rotate", "--now"])).await;
                assert_eq!(rotated.expect("a thread").status, 0);
            }
            tokio::time::sleep(Duration::from_millis(2500)).await;
        }
        over.set(true);
    };
    let in_use = services.iter().map(|service| refuses_nothing_until(&over, &issuer, service));
    join(rotations, join_all(in_use)).await;

    issuer.app.close().await;
    Kind::none_is_missing();
}

async fn refuses_nothing_until(over: &Cell<bool>, issuer: &Issuer, service: &Service) {
    let (first, mut used, mut kids) = (issuer.token().await, 0, BTreeSet::new());
    while !over.get() {
        let fresh = issuer.token().await;
        kids.insert(jsonwebtoken::decode_header(&fresh).expect("a header").kid.expect("a kid"));
        for token in [&first, &fresh] {
            let answer = service.get("/notes", token).await;
            assert_eq!(answer.status, 200, "after {used} and {} keys: {}", kids.len(), service.log());
            used += 1;
        }
    }
    assert!(kids.len() >= 5, "{kids:?}");
    say(&format!("{:?}: {used} requests while {} keys signed, 0 refused", service.kind, kids.len()));
}

async fn validators_go_on_for_a_while_without_the_server(database: TestDatabase) {
    let mut issuer = Issuer::start(&database).await;
    let (closed, open) = (services(&issuer, "false").await, services(&issuer, "true").await);
    let token = issuer.token().await;
    for service in closed.iter().chain(&open) {
        assert_eq!(service.get("/notes", &token).await.status, 200);
    }

    issuer.served.take().expect("a server").kill();
    let both = closed.iter().zip(&open);
    join_all(both.map(|(closed, open)| goes_on_for_a_while(closed, open, &token))).await;

    issuer.served = Some(issuer.home.serve(&["serve"]));
    for closed in &closed {
        until("all is well again", async || closed.get("/notes", &token).await.status == 200).await;
    }
    issuer.app.close().await;
    Kind::none_is_missing();
}

async fn goes_on_for_a_while(closed: &Service, open: &Service, token: &str) {
    let since = Instant::now();
    // Twice the ttl: the list that it holds is not fresh any more, and good.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut answer = closed.get("/notes", token).await;
    assert_eq!(answer.status, 200, "{}", closed.log());
    until("the end of its list", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer = closed.get("/notes", token).await;
        answer.status != 200
    })
    .await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "5".into()), "{answer:?}");
    say(&format!("{:?}: without the server it closes after {} ms", closed.kind, since.elapsed().as_millis()));

    assert_eq!(open.get("/notes", token).await.status, 200, "{}", open.log());
    assert_eq!(open.get("/notes", "stranger").await.status, 401, "open, but not for everybody");
}
