//! Verifiers that keep the JWKS for exactly as long as its Cache-Control allows, each from whichever instance it meets:
//! through ten rotations under traffic none of them ever rejects a token that has not expired.
//!
//! Two forms. The exact one has a clock of its own and instances that are as late to notice a change as they may be; it
//! goes through the real handlers, without a network. The other one is two real servers with key times of a few
//! seconds: two rotations, or as many as `GRANTD_TEST_ROUNDS` says.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::web::Data;
use grantd::app::App;
use grantd::app::clock::Clock;
use grantd::app::signing_keys::Haste;
use grantd::http::{Draining, HttpState, public};
use grantd::model::time::Timestamp;
use grantd::startup::{Purpose, open_app};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use tokio::task::spawn_local;

use crate::storage;
use crate::support::database::TestDatabase;
use crate::support::figures::{Lots, rounds, say};
use crate::support::program::Home;
use crate::support::runner::trials;
use crate::support::server::{START, client, settings};

trials! {
    both: [verifiers_that_obey_cache_control_reject_nothing_through_ten_rotations],
    postgres: [verifiers_of_two_real_servers_reject_nothing_while_keys_rotate],
}

/// As tight as the settings allow: a verifier may keep the keys for almost as long as a key signs.
const TIGHT: &[(&str, &str)] = &[
    ("GRANTD_KEYS__ROTATE_EVERY", "6s"),
    ("GRANTD_KEYS__PUBLISH_BEFORE", "5s"),
    ("GRANTD_TOKENS__ACCESS_TTL", "7s"),
];

/// A service that takes tokens: what it knows of the keys, and until when it may.
struct Verifier<T> {
    keys: JwkSet,
    until: Option<T>,
}

impl<T: PartialOrd> Verifier<T> {
    const fn new() -> Self {
        Self { keys: JwkSet { keys: Vec::new() }, until: None }
    }

    fn must_ask(&self, now: &T) -> bool {
        self.until.as_ref().is_none_or(|until| now >= until)
    }

    /// Whether the signature holds by the keys that it has; asks nobody again because of a `kid` it does not know.
    fn accepts(&self, token: &str) -> Result<(), String> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
        let kid = header.kid.unwrap_or_default();
        let known = || self.keys.keys.iter().map(|key| key.common.key_id.clone().unwrap_or_default());
        let Some(key) = self.keys.find(&kid) else {
            return Err(format!("signed with {kid}, known are {:?}", known().collect::<Vec<_>>()));
        };
        let key = DecodingKey::from_jwk(key).map_err(|error| error.to_string())?;
        let mut validation = Validation::new(Algorithm::ES256);
        // The clock here is not the machine's: who asks knows what has expired.
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode::<Value>(token, &key, &validation).map(drop).map_err(|error| error.to_string())
    }
}

/// `max-age` of a Cache-Control header.
fn max_age(header: &str) -> u32 {
    let age = header.split(',').find_map(|directive| directive.trim().strip_prefix("max-age="));
    age.and_then(|age| age.parse().ok()).unwrap_or_else(|| panic!("no max-age in {header:?}"))
}

/// An instance without anything that runs by itself: the test says when it looks at the database.
struct Instance {
    app: Arc<App>,
    looks_at: Timestamp,
    cares_at: Timestamp,
}

impl Instance {
    async fn open(database: &TestDatabase, clock: &Clock) -> Self {
        let app = open_app(&settings(database, TIGHT), Purpose::Administer, clock.clone()).await;
        Self { app: app.expect("an app that opens"), looks_at: START, cares_at: START }
    }

    /// Looks at the database as late as it may: what changed is obeyed within a second.
    async fn live(&mut self, now: Timestamp, lots: &mut Lots) {
        if now >= self.cares_at {
            self.app.keep_keys_in_order().await.expect("keys in order");
            self.cares_at = Timestamp::from_millis(
                now.as_millis() + 800 + i64::try_from(lots.below(3)).expect("small") * 100,
            );
        }
        if now >= self.looks_at {
            self.app.reload().await.expect("readable");
            let later = if lots.below(3) == 0 { 200 } else { 900 };
            self.looks_at = Timestamp::from_millis(now.as_millis() + later);
        }
    }

    async fn ask(&self, request: TestRequest) -> (String, Vec<u8>) {
        let state = HttpState::new(Arc::clone(&self.app), "", Vec::new(), Draining::default());
        let routes = actix_web::App::new().configure(public(Data::new(state)));
        let service = init_service(routes).await;
        let request = request.peer_addr("192.0.2.1:4000".parse().expect("an address")).to_request();
        let answer = call_service(&service, request).await;
        assert_eq!(answer.status(), 200);
        let cached =
            answer.headers().get("cache-control").map(|value| value.to_str().expect("text").to_owned());
        (cached.unwrap_or_default(), read_body(answer).await.to_vec())
    }

    async fn keys(&self) -> (JwkSet, u32) {
        let (cached, body) = self.ask(TestRequest::get().uri("/.well-known/jwks.json")).await;
        (serde_json::from_slice(&body).expect("a JWK set"), max_age(&cached))
    }

    async fn token(&self, authorization: &str) -> String {
        let request = TestRequest::post().uri("/token").insert_header(("Authorization", authorization));
        let (_, body) = self.ask(request.set_form([("grant_type", "client_credentials")])).await;
        let body: Value = serde_json::from_slice(&body).expect("json");
        body["access_token"].as_str().expect("a token").to_owned()
    }
}

async fn verifiers_that_obey_cache_control_reject_nothing_through_ten_rotations(database: TestDatabase) {
    const STEP: i64 = 100;
    const ROTATIONS: usize = 10;
    let mut lots = Lots::of("verifiers");
    let clock = Clock::manual(START);
    let mut instances = [Instance::open(&database, &clock).await, Instance::open(&database, &clock).await];
    let registration = storage::client("app").registration;
    let made = instances[0].app.create_client(Some("app".parse().expect("an id")), registration, None).await;
    let secret = made.expect("a client").secret.expect("a secret").expose().to_owned();
    let authorization = crate::support::wire::basic(&format!("app:{secret}"));
    instances[1].app.reload().await.expect("readable");
    let mut verifiers: Vec<Verifier<i64>> = (0..6).map(|_| Verifier::new()).collect();
    let (mut alive, mut kids, mut verified) = (VecDeque::new(), Vec::new(), 0_u32);

    while kids.len() <= ROTATIONS {
        clock.advance_millis(STEP);
        let now = clock.now().as_millis();
        for instance in &mut instances {
            instance.live(Timestamp::from_millis(now), &mut lots).await;
        }
        // An operator may be in a hurry, but not so much as to break anything.
        if lots.below(60) == 0 {
            lots.one_of(&instances).app.rotate_keys(Haste::Safe).await.expect("rotated");
        }
        let token = lots.one_of(&instances).token(&authorization).await;
        let kid = jsonwebtoken::decode_header(&token).expect("a header").kid.expect("a kid");
        if !kids.contains(&kid) {
            kids.push(kid);
        }
        alive.push_back((now / 1000 * 1000 + 7000, token));
        alive.retain(|(expires_at, _)| *expires_at > now);

        let any = usize::try_from(lots.below(alive.len() as u64)).expect("small");
        for verifier in &mut verifiers {
            // Not all need a key at the moment at which the last ones expire.
            if verifier.must_ask(&now) && lots.below(4) == 0 {
                let (keys, seconds) = lots.one_of(&instances).keys().await;
                *verifier = Verifier { keys, until: Some(now + i64::from(seconds) * 1000) };
            }
            if verifier.must_ask(&now) {
                continue;
            }
            for (_, token) in [&alive[alive.len() - 1], &alive[any]] {
                let verdict = verifier.accepts(token);
                assert_eq!(verdict, Ok(()), "after {verified} tokens and {} keys, at {now}", kids.len());
                verified += 1;
            }
        }
    }
    for instance in &instances {
        instance.app.close().await;
    }
    say(&format!("verifiers: {verified} tokens verified over {ROTATIONS} rotations, 0 rejected"));
}

async fn verifiers_of_two_real_servers_reject_nothing_while_keys_rotate(database: TestDatabase) {
    let environment = [
        ("GRANTD_DATABASE__URL", database.url.as_str()),
        ("GRANTD_KEYS__ENCRYPTION_KEY", "J0bGq0eXo9nH5Yx1mZ3kQv7RtUu2WcLdE8sFa4iPpTg="),
        ("GRANTD_KEYS__ROTATE_EVERY", "3s"),
        ("GRANTD_KEYS__PUBLISH_BEFORE", "2s"),
        ("GRANTD_TOKENS__ACCESS_TTL", "3s"),
    ];
    let home = Home::new(&environment);
    let made = home.json(&["client", "create", "app", "--grant", "client_credentials"]);
    let secret = made["client_secret"].as_str().expect("a secret").to_owned();
    let servers = [home.serve(&["serve"]), home.serve(&["serve"])];
    let urls: Rc<Vec<String>> = Rc::new(servers.iter().map(|server| server.url.clone()).collect());
    let wanted = usize::try_from(rounds(2)).expect("a count");
    let mut lots = Lots::of("real verifiers");

    let services: Vec<_> = (0..4)
        .map(|_| spawn_local(service(Rc::clone(&urls), secret.clone(), wanted, lots.split())))
        .collect();
    let mut verified = 0;
    for service in services {
        verified += service.await.expect("no token is rejected");
    }
    say(&format!("real verifiers: {verified} tokens verified over {wanted} rotations, 0 rejected"));
}

/// Fetches tokens from any server and verifies them by keys from any server, until it saw so many rotations.
async fn service(urls: Rc<Vec<String>>, secret: String, rotations: usize, mut lots: Lots) -> usize {
    let http = client();
    let mut verifier: Verifier<Instant> = Verifier::new();
    let (mut kids, mut kept, mut verified) = (Vec::new(), VecDeque::new(), 0);
    let deadline = Instant::now() + Duration::from_secs(60 + 20 * rotations as u64);
    while kids.len() <= rotations {
        assert!(Instant::now() < deadline, "keys never rotate: {kids:?}");
        let url = format!("{}/token", lots.one_of(&urls));
        let form = [("grant_type", "client_credentials")];
        let asked = Instant::now();
        let answer = http.post(url).basic_auth("app", Some(&secret)).form(&form).send().await;
        let answer: Value = answer.expect("an answer").json().await.expect("json");
        let token = answer["access_token"].as_str().expect("a token").to_owned();
        let kid = jsonwebtoken::decode_header(&token).expect("a header").kid.expect("a kid");
        if !kids.contains(&kid) {
            kids.push(kid);
        }
        // It expires at a whole second, so up to one before three have passed.
        kept.push_back((asked + Duration::from_secs(2), token));
        kept.retain(|(until, _)| *until > Instant::now());

        let any = usize::try_from(lots.below(kept.len().max(1) as u64)).expect("small");
        let tokens: Vec<String> =
            [kept.back(), kept.get(any)].into_iter().flatten().map(|(_, t)| t.clone()).collect();
        for token in tokens {
            if verifier.must_ask(&Instant::now()) {
                let url = format!("{}/.well-known/jwks.json", lots.one_of(&urls));
                // The longest that it may be kept: a careful cache counts from its request, RFC 9111 §4.2.3.
                let answer = http.get(url).send().await.expect("an answer");
                let arrived = Instant::now();
                let header = answer.headers()["cache-control"].to_str().expect("text").to_owned();
                let keys = answer.json().await.expect("a JWK set");
                let until = arrived + Duration::from_secs(max_age(&header).into());
                verifier = Verifier { keys, until: Some(until) };
            }
            assert_eq!(verifier.accepts(&token), Ok(()), "after {verified} tokens and {} keys", kids.len());
            verified += 1;
        }
        tokio::time::sleep(lots.millis(2, 15)).await;
    }
    verified
}
