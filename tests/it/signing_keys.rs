//! Signing keys through their life, on a clock that the tests move: no key signs before it was published, none goes
//! before its tokens have expired, and every order of an operator does what it says.

use grantd::app::error::AdminError;
use grantd::app::signing_keys::Haste;
use grantd::model::key::{KeyState, Kid, SigningKeyInfo};
use grantd::model::time::Ttl;

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{ClientOf, START, TestServer};

trials! {
    both: [
        the_first_key_signs_at_once_and_another_waits_in_the_jwks,
        a_due_key_takes_over_and_the_old_one_goes_with_its_last_token,
        the_longest_lived_token_of_any_client_keeps_a_key_published,
        a_safe_rotation_waits_until_verifiers_have_seen_the_new_key,
        an_emergency_rotation_signs_with_the_new_key_at_once,
        a_retired_key_is_out_of_the_jwks_whatever_its_state_was,
        a_client_with_its_own_algorithm_gets_a_key_at_once,
    ],
    sqlite: [
        after_a_long_sleep_the_published_key_takes_over_and_the_next_one_waits_again,
        key_times_of_a_few_seconds_are_legal,
    ],
}

/// A key signs for 100 s and is published 50 s before; tokens live 10 s.
pub(crate) const FAST: &[(&str, &str)] = &[
    ("GRANTD_KEYS__ROTATE_EVERY", "100s"),
    ("GRANTD_KEYS__PUBLISH_BEFORE", "50s"),
    ("GRANTD_TOKENS__ACCESS_TTL", "10s"),
];

/// What the schedule adds to a token's life before a key goes, for an instance that saw the next one late and signs with
/// it for `publish_before` more.
const MARGIN: u32 = 60;

/// A server with one client, whose key is looked after only when the test says so, or later.
pub(crate) struct Watched {
    pub(crate) server: TestServer,
    secret: String,
}

impl Watched {
    pub(crate) async fn start(database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        let server = TestServer::start_with(database, settings).await;
        let secret = server.full_client("app").await;
        Self { server, secret }
    }

    /// Moves the clock and does what is due by then.
    pub(crate) async fn pass(&self, seconds: u32) {
        self.server.pass(seconds);
        self.server.app.keep_keys_in_order().await.expect("keys in order");
    }

    /// The key id that a new token names.
    pub(crate) async fn signs_with(&self) -> String {
        let form = [("grant_type", "client_credentials")];
        let answer = self.server.token_as(("app", &self.secret), &form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.jose()["kid"].as_str().expect("a kid").to_owned()
    }

    /// The key ids in the JWKS.
    pub(crate) async fn published(&self) -> Vec<String> {
        let document = self.server.get("/.well-known/jwks.json").await.json();
        let keys = document["keys"].as_array().expect("keys").clone();
        keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
    }

    /// The keys of `alg` in the database, as active, pending and retired.
    pub(crate) async fn keys(&self, alg: &str) -> [Vec<SigningKeyInfo>; 3] {
        let mut all = self.server.app.list_keys().await.expect("readable");
        all.retain(|key| key.algorithm.as_str() == alg);
        ["active", "pending", "retired"]
            .map(|state| all.iter().filter(|key| key.state.name() == state).cloned().collect())
    }

    /// The key that waits, and when it is to sign.
    async fn waiting(&self) -> (String, i64) {
        let [_, pending, _] = self.keys("ES256").await;
        let [key] = pending.as_slice() else { panic!("not one pending key: {pending:?}") };
        let KeyState::Pending { activates_at } = key.state else { panic!("{key:?}") };
        (key.kid.to_string(), activates_at.as_secs() - START.as_secs())
    }
}

async fn the_first_key_signs_at_once_and_another_waits_in_the_jwks(database: TestDatabase) {
    let watched = Watched::start(&database, FAST).await;

    let (signs, (waits, signs_at)) = (watched.signs_with().await, watched.waiting().await);

    assert_ne!(signs, waits);
    assert_eq!(signs_at, 100);
    assert_eq!(watched.published().await, [signs, waits]);
    let document = watched.server.get("/.well-known/jwks.json").await;
    assert!(document.header("cache-control").contains("max-age=50"), "never longer than publish_before");
    watched.server.stop().await;
}

async fn a_due_key_takes_over_and_the_old_one_goes_with_its_last_token(database: TestDatabase) {
    let watched = Watched::start(&database, FAST).await;
    let (first, (second, _)) = (watched.signs_with().await, watched.waiting().await);

    watched.pass(99).await;
    assert_eq!(watched.signs_with().await, first, "not a second too early");
    watched.pass(1).await;

    assert_eq!(watched.signs_with().await, second);
    let (third, signs_at) = watched.waiting().await;
    assert_eq!(signs_at, 200);
    assert_eq!(watched.published().await, [second.clone(), third.clone(), first.clone()]);
    watched.pass(10 + MARGIN - 1).await;
    assert!(watched.published().await.contains(&first), "its last token was given 69 s ago");
    watched.pass(1).await;
    assert_eq!(watched.published().await, [second, third]);
    watched.server.stop().await;
}

async fn the_longest_lived_token_of_any_client_keeps_a_key_published(database: TestDatabase) {
    let watched = Watched::start(&database, FAST).await;
    let patient = watched.server.client("patient", ClientOf::default()).await;
    let app = &watched.server.app;
    let longer = |mut registration: grantd::model::client::Registration| {
        registration.access_ttl = Some(Ttl::from_secs(1000));
        registration
    };
    app.update_client(&patient.client.id, longer, None).await.expect("updated");
    let first = watched.signs_with().await;

    app.rotate_keys(Haste::Now).await.expect("rotated");

    watched.pass(1000 + MARGIN - 1).await;
    assert!(watched.published().await.contains(&first));
    watched.pass(1).await;
    assert!(!watched.published().await.contains(&first));
    watched.server.stop().await;
}

async fn a_safe_rotation_waits_until_verifiers_have_seen_the_new_key(database: TestDatabase) {
    let watched = Watched::start(&database, FAST).await;
    let (first, (second, _)) = (watched.signs_with().await, watched.waiting().await);
    watched.pass(10).await;

    watched.server.app.rotate_keys(Haste::Safe).await.expect("rotated");

    assert_eq!(watched.waiting().await, (second.clone(), 52), "50 s after every instance has published it");
    watched.pass(41).await;
    assert_eq!(watched.signs_with().await, first);
    watched.pass(1).await;
    assert_eq!(watched.signs_with().await, second);
    // The next one is new, so it waits its time; a second order moves it no closer than that.
    watched.server.app.rotate_keys(Haste::Safe).await.expect("rotated");
    assert_eq!(watched.signs_with().await, second);
    assert_eq!(watched.waiting().await.1, 104);
    // One that has been published long enough takes over within the order.
    watched.pass(51).await;
    let (third, _) = watched.waiting().await;
    watched.pass(1).await;
    assert_eq!(watched.signs_with().await, third);
    watched.pass(60).await;
    let (fourth, _) = watched.waiting().await;
    watched.server.app.rotate_keys(Haste::Safe).await.expect("rotated");
    assert_eq!(watched.signs_with().await, fourth);
    watched.server.stop().await;
}

async fn an_emergency_rotation_signs_with_the_new_key_at_once(database: TestDatabase) {
    let watched = Watched::start(&database, FAST).await;
    let (first, (second, _)) = (watched.signs_with().await, watched.waiting().await);

    let keys = watched.server.app.rotate_keys(Haste::Now).await.expect("rotated");

    assert_eq!(watched.signs_with().await, second);
    let (third, signs_at) = watched.waiting().await;
    assert_eq!(signs_at, 100);
    assert_eq!(watched.published().await, [second, third, first], "tokens of the old one are still good");
    assert_eq!(keys.len(), 3, "the answer is the list of keys");
    watched.server.stop().await;
}

async fn a_retired_key_is_out_of_the_jwks_whatever_its_state_was(database: TestDatabase) {
    let watched = Watched::start(&database, FAST).await;
    let app = &watched.server.app;
    let (first, (second, _)) = (watched.signs_with().await, watched.waiting().await);
    watched.pass(10).await;

    let retired = app.retire_key(&Kid::new(first.clone())).await.expect("the active one");
    assert_eq!(retired.key.kid.as_str(), first);
    assert_eq!(retired.successor.as_ref().map(Kid::as_str), Some(second.as_str()));
    assert_eq!(watched.signs_with().await, second);
    let (third, signs_at) = watched.waiting().await;
    assert_eq!((watched.published().await, signs_at), (vec![second.clone(), third.clone()], 110));

    watched.pass(70).await;
    let retired = app.retire_key(&Kid::new(third.clone())).await.expect("the pending one");
    assert_eq!(retired.successor, None, "it did not sign");
    assert_eq!(watched.signs_with().await, second);
    let (fourth, signs_at) = watched.waiting().await;
    assert_eq!(signs_at, 132, "made at 80, so it is published until 132, later than the rotation was due");
    assert_eq!(watched.published().await, [second.clone(), fourth.clone()]);

    app.rotate_keys(Haste::Now).await.expect("rotated");
    let retired = app.retire_key(&Kid::new(second.clone())).await.expect("the retired one");
    assert_eq!(retired.successor, None, "it did not sign any more");
    assert_eq!(watched.signs_with().await, fourth);
    assert!(!watched.published().await.contains(&second));

    for gone in [&first, "nothing"] {
        let refused = app.retire_key(&Kid::new(gone.into())).await.expect_err("there is none");
        assert!(matches!(refused, AdminError::NotFound { kind: "key", .. }), "{refused}");
        assert!(refused.to_string().contains("'grantd key list'"), "{refused}");
    }
    watched.server.stop().await;
}

async fn a_client_with_its_own_algorithm_gets_a_key_at_once(database: TestDatabase) {
    let watched = Watched::start(&database, FAST).await;
    let server = &watched.server;
    assert_eq!(watched.published().await.len(), 2);

    let edwards = server.client("edwards", ClientOf { alg: Some("EdDSA"), ..ClientOf::default() }).await;

    let secret = edwards.secret.expect("a secret").expose().to_owned();
    let answer = server.token_as(("edwards", &secret), &[("grant_type", "client_credentials")]).await;
    assert_eq!((answer.status, answer.jose()["alg"].as_str()), (200, Some("EdDSA")), "{answer:?}");
    let [active, pending, retired] = watched.keys("EdDSA").await;
    assert_eq!((active.len(), pending.len(), retired.len()), (1, 1, 0));
    assert_eq!(answer.jose()["kid"], active[0].kid.as_str());
    assert_eq!(watched.published().await.len(), 4);
    // Each algorithm turns by itself: retiring the one leaves the other alone.
    let default = watched.signs_with().await;
    server.app.retire_key(&active[0].kid).await.expect("retired");
    let answer = server.token_as(("edwards", &secret), &[("grant_type", "client_credentials")]).await;
    assert_eq!(answer.jose()["kid"], pending[0].kid.as_str());
    assert_eq!(watched.signs_with().await, default);
    watched.server.stop().await;
}

async fn after_a_long_sleep_the_published_key_takes_over_and_the_next_one_waits_again(
    database: TestDatabase,
) {
    let watched = Watched::start(&database, FAST).await;
    let (second, _) = watched.waiting().await;

    watched.pass(100_000).await;

    assert_eq!(watched.signs_with().await, second, "it was published before");
    assert_eq!(watched.waiting().await.1, 100_100, "one step at a time, each key published before it signs");
    watched.server.stop().await;
}

async fn key_times_of_a_few_seconds_are_legal(database: TestDatabase) {
    let settings = [
        ("GRANTD_KEYS__ROTATE_EVERY", "2s"),
        ("GRANTD_KEYS__PUBLISH_BEFORE", "1s"),
        ("GRANTD_TOKENS__ACCESS_TTL", "1s"),
    ];
    let watched = Watched::start(&database, &settings).await;
    let mut seen = vec![watched.signs_with().await];

    for _ in 0..5 {
        let (next, _) = watched.waiting().await;
        watched.pass(3).await;
        assert_eq!(watched.signs_with().await, next);
        assert!(!seen.contains(&next), "never an old one again");
        assert!(
            seen.iter().all(|old| !old.is_empty())
                && watched.published().await.contains(&seen[seen.len() - 1])
        );
        seen.push(next);
    }
    watched.server.stop().await;
}
