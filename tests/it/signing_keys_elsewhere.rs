//! Several instances on one database: they agree on keys however they race, and each obeys what another one changed,
//! by itself, within about a second.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Barrier;

use grantd::app::App;
use grantd::app::clients::Switch;
use grantd::app::clock::Clock;
use grantd::app::signing_keys::Haste;
use grantd::model::id::ClientId;
use grantd::model::key::{Kid, SigningAlgorithm, SigningKeyInfo};
use grantd::model::time::Ttl;
use grantd::startup::{Purpose, open_app};

use crate::signing_keys::{FAST, Watched};
use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, START, TestServer, settings};

trials! {
    both: [
        instances_that_race_to_keep_the_keys_end_up_with_one_of_each,
        an_instance_takes_the_keys_that_another_one_changed,
        an_instance_that_was_cut_off_does_not_sign_with_a_key_it_has_not_published,
        a_running_server_obeys_clients_made_switched_and_deleted_elsewhere,
        a_running_server_obeys_secrets_rotated_elsewhere,
        a_running_server_obeys_roles_changed_elsewhere,
        a_running_server_obeys_keys_retired_elsewhere,
    ],
}

async fn another_instance(database: &TestDatabase, clock: &Clock) -> Arc<App> {
    let settings = settings(database, FAST);
    open_app(&settings, Purpose::Administer, clock.clone()).await.expect("another instance")
}

const ALGORITHMS: [SigningAlgorithm; 2] = [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa];

/// What each algorithm signs with.
fn signers(app: &App) -> [Option<Kid>; 2] {
    ALGORITHMS.map(|algorithm| app.signer(algorithm).map(|key| key.kid().clone()))
}

/// How many keys of each algorithm are active and pending.
fn counts(keys: &[SigningKeyInfo]) -> [(usize, usize); 2] {
    let count = |algorithm, state| {
        keys.iter().filter(|key| key.algorithm == algorithm && key.state.name() == state).count()
    };
    ALGORITHMS.map(|algorithm| (count(algorithm, "active"), count(algorithm, "pending")))
}

async fn instances_that_race_to_keep_the_keys_end_up_with_one_of_each(database: TestDatabase) {
    const ROUNDS: usize = 6;
    const INSTANCES: usize = 4;
    let clock = Clock::manual(START);
    let first = another_instance(&database, &clock).await;
    let registration = |alg: &str| grantd::model::client::Registration {
        grant_types: vec![grantd::model::client::GrantType::ClientCredentials],
        auth_methods: vec![grantd::model::client::AuthMethod::ClientSecretBasic],
        alg: Some(alg.parse().expect("an algorithm")),
        ..grantd::model::client::Registration::default()
    };
    first.create_client(None, registration("EdDSA"), None).await.expect("a client");
    let together = Barrier::new(INSTANCES);

    // Each a thread with a runtime of its own: they race for the database, not for one thread's turn.
    let one = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let app = another_instance(&database, &clock).await;
            let mut rounds = Vec::new();
            for round in 0..ROUNDS {
                // Every round a key is due; in the odd ones operators order it as well, in both ways at once.
                let leads = together.wait().await.is_leader();
                if leads {
                    clock.advance(Ttl::from_secs(100));
                }
                together.wait().await;
                let kept = match (round % 2, leads) {
                    (0, _) => app.keep_keys_in_order().await,
                    (_, true) => app.rotate_keys(Haste::Now).await.map(drop),
                    (_, false) => app.rotate_keys(Haste::Safe).await.map(drop),
                };
                together.wait().await;
                // Judged at the end: who panics here leaves the others waiting.
                rounds.push(match kept.and(app.reload().await) {
                    Ok(()) => Ok((signers(&app), counts(&app.list_keys().await.unwrap_or_default()))),
                    Err(error) => Err(error.to_string()),
                });
            }
            app.close().await;
            rounds
        })
    };
    let seen: Vec<_> = std::thread::scope(|scope| {
        let racing: Vec<_> = (0..INSTANCES).map(|_| scope.spawn(one)).collect();
        racing.into_iter().map(|racing| racing.join().expect("no panic")).collect()
    });

    let mut different = HashSet::new();
    for round in 0..ROUNDS {
        let (signers, counts) = seen[0][round].as_ref().expect("none is in another's way");
        assert_eq!(*counts, [(1, 1); 2], "one active and one pending key of each algorithm");
        assert!(seen.iter().all(|other| other[round] == seen[0][round]), "round {round}: {seen:?}");
        assert!(different.insert(signers.clone()), "each round another key: {seen:?}");
    }
    first.close().await;
}

async fn an_instance_takes_the_keys_that_another_one_changed(database: TestDatabase) {
    let watched = Watched::start(&database, FAST).await;
    let app = &watched.server.app;
    let other = another_instance(&database, &watched.server.clock).await;
    let signer = |app: &App| app.signer(SigningAlgorithm::Es256).expect("one signs").kid().to_string();
    assert_eq!(signer(&other), signer(app));

    app.rotate_keys(Haste::Now).await.expect("rotated");
    other.reload().await.expect("readable");
    assert_eq!(signer(&other), signer(app));
    assert_eq!(other.ring().jwks(), app.ring().jwks(), "the same bytes, so that caches agree");

    let gone = Kid::new(signer(app));
    other.retire_key(&gone).await.expect("retired");
    app.reload().await.expect("readable");
    assert_eq!(signer(&other), signer(app));
    assert!(app.ring().find(gone.as_str()).is_none());
    assert_eq!(other.ring().jwks(), app.ring().jwks());
    other.close().await;
    watched.server.stop().await;
}

async fn an_instance_that_was_cut_off_does_not_sign_with_a_key_it_has_not_published(database: TestDatabase) {
    let watched = Watched::start(&database, FAST).await;
    let app = &watched.server.app;
    let other = another_instance(&database, &watched.server.clock).await;
    let signer = |app: &App| app.signer(SigningAlgorithm::Es256).expect("one signs").kid().to_string();
    let published = |app: &App, kid: &str| app.ring().find(kid).is_some();
    // Two rotations, of which the other sees the second key only when it signs already.
    watched.pass(100).await;
    other.reload().await.expect("readable");
    let old = signer(app);
    assert_eq!(signer(&other), old);
    let [_, pending, _] = watched.keys("ES256").await;
    app.retire_key(&pending[0].kid).await.expect("retired");
    watched.pass(100).await;
    let new = signer(app);
    assert!(new != old && !published(&other, &new));

    other.reload().await.expect("readable");

    assert!(published(&other, &new), "from now on");
    assert_eq!(signer(&other), old, "verifiers that asked this instance do not know the new one yet");
    watched.server.pass(50);
    assert_eq!((signer(&other), published(app, &old)), (old, true), "nor is the old one gone for anybody");
    watched.server.pass(1);
    assert_eq!(signer(&other), new);
    other.close().await;
    watched.server.stop().await;
}

/// Asks until the answer is as it should be. A change must be seen within a second; the bound here is wide, because
/// a busy test machine proves nothing about time.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..100 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the running server never obeyed: {what}");
}

async fn ask(server: &TestServer, id: &str, secret: &str) -> Answer {
    server.token_as((id, secret), &[("grant_type", "client_credentials")]).await
}

async fn a_running_server_obeys_clients_made_switched_and_deleted_elsewhere(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let elsewhere = another_instance(&database, &server.clock).await;
    let template = server.client("template", ClientOf::default()).await.client.registration;

    let id: ClientId = "made-elsewhere".parse().expect("an id");
    let made = elsewhere.create_client(Some(id.clone()), template, None).await.expect("made");
    let secret = made.secret.expect("a secret").expose().to_owned();
    let status = async || ask(&server, "made-elsewhere", &secret).await.status;

    until("a client is made", async || status().await == 200).await;
    elsewhere.set_client_enabled(&id, Switch::Off).await.expect("switched");
    until("a client is switched off", async || status().await == 401).await;
    elsewhere.set_client_enabled(&id, Switch::On).await.expect("switched");
    until("a client is switched on", async || status().await == 200).await;
    let narrow = |mut registration: grantd::model::client::Registration| {
        registration.scope = "read".parse().expect("a scope");
        registration
    };
    elsewhere.update_client(&id, narrow, None).await.expect("updated");
    let scope = async || ask(&server, "made-elsewhere", &secret).await.text("scope");
    until("a client is changed", async || scope().await == "read").await;
    elsewhere.delete_client(&id).await.expect("deleted");
    until("a client is deleted", async || status().await == 401).await;
    elsewhere.close().await;
    server.stop().await;
}

async fn a_running_server_obeys_secrets_rotated_elsewhere(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let first = server.full_client("app").await;
    let id: ClientId = "app".parse().expect("an id");
    let elsewhere = another_instance(&database, &server.clock).await;
    let status = async |secret: &str| ask(&server, "app", secret).await.status;

    let second = elsewhere.rotate_client_secret(&id, None, None).await.expect("rotated");
    let second = second.expose();
    until("a new secret", async || status(second).await == 200).await;
    assert_eq!(status(&first).await, 401, "seen with the new one, the old one is dead");

    let hour = Some(Ttl::from_secs(3600));
    let third = elsewhere.rotate_client_secret(&id, hour, None).await.expect("rotated");
    let third = third.expose();
    until("a new secret beside the old one", async || status(third).await == 200).await;
    assert_eq!(status(second).await, 200, "so that a rotation has no gap");
    assert_eq!(status(&first).await, 401);
    server.pass(3599);
    assert_eq!((status(second).await, status(third).await), (200, 200));
    server.pass(1);
    assert_eq!((status(second).await, status(third).await), (401, 200));
    elsewhere.close().await;
    server.stop().await;
}

async fn a_running_server_obeys_roles_changed_elsewhere(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    server.user("alice", &[]).await;
    let elsewhere = another_instance(&database, &server.clock).await;
    let writer = "writer".parse().expect("a role's name");
    let scope = async || server.login(("app", &secret), "alice").await.text("scope");
    assert_eq!(scope().await, "read write");

    elsewhere
        .create_role("writer".parse().expect("a name"), "write".parse().expect("a scope"), None)
        .await
        .expect("made");
    until("a role binds a scope", async || scope().await == "read").await;
    elsewhere.update_role(&writer, Some("read".parse().expect("a scope")), None).await.expect("updated");
    until("a role binds another scope", async || scope().await == "write").await;
    elsewhere.delete_role(&writer).await.expect("deleted");
    until("a role is deleted", async || scope().await == "read write").await;
    elsewhere.close().await;
    server.stop().await;
}

async fn a_running_server_obeys_keys_retired_elsewhere(database: TestDatabase) {
    let watched = Watched::start(&database, FAST).await;
    let elsewhere = another_instance(&database, &watched.server.clock).await;
    let first = watched.signs_with().await;

    let retired = elsewhere.retire_key(&Kid::new(first.clone())).await.expect("retired");

    let successor = retired.successor.expect("it signed").to_string();
    until("a key is retired", async || !watched.published().await.contains(&first)).await;
    assert_eq!(watched.signs_with().await, successor, "seen with the JWKS, as one value");
    elsewhere.rotate_keys(Haste::Now).await.expect("rotated");
    until("keys are rotated", async || watched.signs_with().await != successor).await;
    assert!(watched.published().await.contains(&successor));
    elsewhere.close().await;
    watched.server.stop().await;
}
