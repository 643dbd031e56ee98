//! The end of API keys and of the tokens that were made from them: at once, for good, and nobody else's.

use grantd::app::api_keys::KeysOf;
use grantd::app::clients::Switch;
use grantd::app::revoke_token::RevokedToken;
use grantd::app::sessions::{Ended, Sessions};
use grantd::model::client::Registration;
use grantd::model::secret::PlainSecret;
use grantd::model::status::StatusIndex;
use grantd::model::time::Ttl;
use grantd::protocol::token_id::status_index_of;
use grantd::storage::revisions;
use serde_json::json;

use crate::api_keys::{API, House, OTHER, of_alice, of_batch, swap};
use crate::audit::meddle;
use crate::storage::open;
use crate::support::database::TestDatabase;
use crate::support::refusal::Challenge::Absent;
use crate::support::refusal::assert_refusal;
use crate::support::runner::trials;
use crate::support::server::{Answer, TestServer};
use crate::token_exchange::{assert_refused_like_any_other, is_active};
use crate::verify::{ask, ask_with_key};

trials! {
    both: [
        a_key_that_is_ended_ends_with_all_tokens_of_it_on_every_instance,
        a_user_who_is_switched_off_or_deleted_takes_their_keys_along,
        a_client_that_is_switched_off_or_deleted_takes_its_keys_along,
        ending_sessions_revokes_what_keys_were_swapped_for_and_leaves_the_keys,
        attack_a_token_that_is_given_back_makes_no_instance_read_all_keys,
        attack_a_role_that_was_taken_while_keys_could_not_be_read_is_gone_once_they_can,
    ],
    sqlite: [
        a_token_of_a_key_that_was_found_ends_all_of_them_and_a_key_that_was_found_ends,
        a_client_gives_back_what_was_made_from_its_key_and_no_key,
        a_new_password_and_another_session_s_end_leave_keys_alone,
        keys_go_on_while_the_database_is_away,
        keys_that_are_long_over_are_forgotten,
    ],
}

fn index(answer: &Answer) -> StatusIndex {
    assert_eq!(answer.status, 200, "{answer:?}");
    status_index_of(answer.claims()["jti"].as_str().expect("a jti")).expect("an index in it")
}

impl House {
    /// What services that read status lists know.
    fn is_revoked(&self, answer: &Answer) -> bool {
        self.server.app.revocations().is_revoked(index(answer))
    }

    async fn swapped(&self, key: &str) -> Answer {
        swap(&self.server, self.api(), key, &[]).await
    }
}

async fn a_key_that_is_ended_ends_with_all_tokens_of_it_on_every_instance(database: TestDatabase) {
    let house = House::open(&database).await;
    let other = TestServer::start(&database).await;
    let (held, key) = house.key(of_alice("read", &[API])).await;
    let (_, another) = house.key(of_alice("read", &[API])).await;
    other.app.reload().await.expect("readable");
    let (swapped, apart) = (house.swapped(&key).await, house.swapped(&another).await);
    let here = swap(&other, house.api(), &key, &[]).await;
    assert_eq!(index(&here), index(&swapped));

    let ended = house.server.app.revoke_api_keys(&KeysOf::One(held.key.id)).await;
    assert_eq!(ended.expect("ended"), 1);
    for server in [&house.server, &other] {
        server.app.reload().await.expect("readable");
        assert_refused_like_any_other(&swap(server, house.api(), &key, &[]).await, "the key");
        for token in [&swapped, &here] {
            assert!(!is_active(server, house.api(), &token.text("access_token")).await);
            assert!(server.app.revocations().is_revoked(index(token)));
        }
        assert!(is_active(server, house.api(), &apart.text("access_token")).await);
    }
    assert_eq!(house.server.app.revoke_api_keys(&KeysOf::All).await.expect("ended"), 1);
    house.reload().await;
    assert!(house.is_revoked(&apart));
    other.stop().await;
    house.server.stop().await;
}

async fn a_user_who_is_switched_off_or_deleted_takes_their_keys_along(database: TestDatabase) {
    let house = House::open(&database).await;
    let app = &house.server.app;
    let alice = "alice".parse().expect("a name");
    let (_, key) = house.key(of_alice("read", &[API])).await;
    let (_, of_client) = house.key(of_batch("read", &[API])).await;
    let (before, apart) = (house.swapped(&key).await, house.swapped(&of_client).await);

    app.set_user_enabled(&alice, Switch::Off).await.expect("switched off");
    house.reload().await;
    assert_refused_like_any_other(&house.swapped(&key).await, "switched off");
    assert_eq!(ask_with_key(&house.server, "audience=https://api.example", &key).await.status, 401);
    assert!(
        house.is_revoked(&before)
            && !is_active(&house.server, house.api(), &before.text("access_token")).await
    );
    app.set_user_enabled(&alice, Switch::On).await.expect("switched on");
    house.reload().await;
    let after = house.swapped(&key).await;
    assert!(!house.is_revoked(&after) && house.is_revoked(&before), "what was revoked stays so");

    app.delete_user(&alice).await.expect("deleted");
    house.reload().await;
    assert_refused_like_any_other(&house.swapped(&key).await, "deleted");
    assert!(house.is_revoked(&after) && !house.is_revoked(&apart));
    assert_eq!(app.list_api_keys(&KeysOf::All).await.expect("readable").len(), 1);
    house.server.stop().await;
}

async fn a_client_that_is_switched_off_or_deleted_takes_its_keys_along(database: TestDatabase) {
    let house = House::open(&database).await;
    let app = &house.server.app;
    let batch = "batch".parse().expect("an id");
    let (_, key) = house.key(of_batch("read", &[API])).await;
    let (_, of_user) = house.key(of_alice("read", &[API])).await;
    let (before, apart) = (house.swapped(&key).await, house.swapped(&of_user).await);

    app.set_client_enabled(&batch, Switch::Off).await.expect("switched off");
    house.reload().await;
    assert_refused_like_any_other(&house.swapped(&key).await, "switched off");
    assert!(house.is_revoked(&before));
    app.set_client_enabled(&batch, Switch::On).await.expect("switched on");
    house.reload().await;
    let after = house.swapped(&key).await;
    assert!(!house.is_revoked(&after) && house.is_revoked(&before), "what was revoked stays so");

    app.delete_client(&batch).await.expect("deleted");
    house.reload().await;
    assert_refused_like_any_other(&house.swapped(&key).await, "deleted");
    assert!(house.is_revoked(&after) && !house.is_revoked(&apart));
    // A service that is switched off swaps nothing, and what it swapped is not active any more.
    app.set_client_enabled(&"api".parse().expect("an id"), Switch::Off).await.expect("switched off");
    house.reload().await;
    let api = house.server.resource_server("reader", &[API]).await;
    assert!(!is_active(&house.server, ("reader", &api), &apart.text("access_token")).await);
    house.server.stop().await;
}

async fn ending_sessions_revokes_what_keys_were_swapped_for_and_leaves_the_keys(database: TestDatabase) {
    let house = House::open(&database).await;
    let app = &house.server.app;
    let (_, alices) = house.key(of_alice("read", &[API])).await;
    house.server.pass(60);
    let time = app.clock().now();
    house.server.pass(60);
    let (_, batchs) = house.key(of_batch("read", &[API])).await;
    let alice = Sessions::OfUser("alice".parse().expect("a name"));
    let batch = Sessions::OfClient("batch".parse().expect("an id"));

    for (sessions, of_alice, of_batch) in [
        (alice, true, false),
        (batch, false, true),
        (Sessions::BegunBefore(time), true, false),
        (Sessions::All, true, true),
    ] {
        let (one, other) = (house.swapped(&alices).await, house.swapped(&batchs).await);
        let Ended { api_keys, .. } = app.revoke_sessions(&sessions).await.expect("ended");
        house.reload().await;
        assert_eq!(api_keys, u64::from(of_alice) + u64::from(of_batch), "{sessions:?}");
        assert_eq!((house.is_revoked(&one), house.is_revoked(&other)), (of_alice, of_batch), "{sessions:?}");
        for key in [&alices, &batchs] {
            let again = house.swapped(key).await;
            assert!(!house.is_revoked(&again), "{sessions:?}: the key goes on");
        }
    }
    house.server.stop().await;
}

/// A failover in the midst of a look: whoever lost a role must not keep it until somebody changes something else.
async fn attack_a_role_that_was_taken_while_keys_could_not_be_read_is_gone_once_they_can(
    database: TestDatabase,
) {
    let (house, db) = (House::open(&database).await, open(&database).await);
    house.alice_holds(&["clerk", "boss"]).await;
    let (_, key) = house.key(of_alice("write", &[API])).await;
    house.key(of_batch("read", &[API])).await;
    let roles = async || {
        let asked = ask_with_key(&house.server, "audience=https://api.example", &key).await;
        asked.header("x-auth-roles").to_owned()
    };
    assert_eq!(roles().await, "boss,clerk");

    meddle(&db, &["update api_keys set audience = '?' where client_id = 'batch'"]).await;
    house.server.app.delete_role(&"boss".parse().expect("a name")).await.expect("deleted");
    for _ in 0..2 {
        house.server.app.reload().await.expect_err("an unreadable key");
    }
    meddle(&db, &["update api_keys set audience = '[]' where client_id = 'batch'"]).await;
    house.reload().await;

    assert_eq!(roles().await, "clerk");
    db.close().await;
    house.server.stop().await;
}

/// Anybody with a key can do it again and again.
async fn attack_a_token_that_is_given_back_makes_no_instance_read_all_keys(database: TestDatabase) {
    let (house, db) = (House::open(&database).await, open(&database).await);
    let other = TestServer::start(&database).await;
    let (_, key) = house.key(of_batch("read", &[API])).await;
    other.app.reload().await.expect("readable");
    let before = revisions::read(&db).await.expect("readable");
    let mut seen = vec![index(&house.swapped(&key).await)];

    for _ in 0..2 {
        let asked = ask_with_key(&house.server, "audience=https://api.example", &key).await;
        let token = asked.header("authorization").trim_start_matches("Bearer ").to_owned();
        let given_back = house.server.post_as("/revoke", house.batch(), &[("token", &token)]).await;
        assert_eq!(given_back.status, 200, "{given_back:?}");
        other.app.reload().await.expect("readable");

        let (here, there) = (house.swapped(&key).await, swap(&other, house.api(), &key, &[]).await);
        assert_eq!(index(&here), index(&there));
        assert!(!house.is_revoked(&here) && !other.app.revocations().is_revoked(index(&there)));
        assert!(!seen.contains(&index(&here)));
        seen.push(index(&here));
    }

    let after = revisions::read(&db).await.expect("readable");
    assert_eq!((after.api_keys, after.clients), (before.api_keys, before.clients));
    assert_eq!(after.revocations, before.revocations + 2);
    db.close().await;
    other.stop().await;
    house.server.stop().await;
}

async fn a_token_of_a_key_that_was_found_ends_all_of_them_and_a_key_that_was_found_ends(
    database: TestDatabase,
) {
    let house = House::open(&database).await;
    let app = &house.server.app;
    for (held, key) in [house.key(of_alice("read", &[API])).await, house.key(of_batch("read", &[API])).await]
    {
        let (one, other) = (house.swapped(&key).await, house.swapped(&key).await);
        let asked = ask_with_key(&house.server, "audience=https://api.example", &key).await;
        let shown = asked.header("authorization").trim_start_matches("Bearer ").to_owned();

        let token = PlainSecret::new(one.text("access_token"));
        let ended = app.revoke_token(&token).await.expect("ended");
        assert_eq!(ended, RevokedToken::TokensOfApiKey(held.key.id));
        assert_eq!(app.revoke_token(&token).await.expect("over"), RevokedToken::Over);
        house.reload().await;
        assert!(house.is_revoked(&other));
        let (status, _) = ask(&house.server, "audience=https://api.example", &shown).await;
        assert_eq!(status, 401);
        assert!(!house.is_revoked(&house.swapped(&key).await), "the key was not found, and goes on");

        let found = PlainSecret::new(key.clone());
        assert_eq!(app.revoke_token(&found).await.expect("ended"), RevokedToken::ApiKey(held.key.id));
        assert_eq!(app.revoke_token(&found).await.expect("over"), RevokedToken::Over);
        house.reload().await;
        assert_refused_like_any_other(&house.swapped(&key).await, "ended");
        // Whoever has seen the id alone ends nothing.
        let forged = grantd::model::api_key::api_key(held.key.id, &[7; 32]);
        assert!(app.revoke_token(&forged).await.is_err());
    }
    house.server.stop().await;
}

async fn a_client_gives_back_what_was_made_from_its_key_and_no_key(database: TestDatabase) {
    let house = House::open(&database).await;
    let (_, key) = house.key(of_batch("read", &[API])).await;
    let asked = ask_with_key(&house.server, "audience=https://api.example", &key).await;
    let token = asked.header("authorization").trim_start_matches("Bearer ").to_owned();
    assert!(is_active(&house.server, house.batch(), &token).await);

    let given_back = house.server.post_as("/revoke", house.batch(), &[("token", &key)]).await;
    assert_refusal(&given_back, 400, "unsupported_token_type", Absent);
    let swapped = house.swapped(&key).await.text("access_token");
    let given_back = house.server.post_as("/revoke", house.api(), &[("token", &swapped)]).await;
    assert_refusal(&given_back, 400, "unsupported_token_type", Absent);
    let strangers = house.server.post_as("/revoke", house.api(), &[("token", &token)]).await;
    assert_refusal(&strangers, 400, "invalid_grant", Absent);
    assert!(is_active(&house.server, house.batch(), &token).await, "none of these has ended anything");

    let given_back = house.server.post_as("/revoke", house.batch(), &[("token", &token)]).await;
    assert_eq!((given_back.status, given_back.json()), (200, json!({})));
    assert!(!is_active(&house.server, house.batch(), &token).await);
    assert_eq!(house.swapped(&key).await.status, 200, "the key goes on");
    house.server.stop().await;
}

async fn a_new_password_and_another_session_s_end_leave_keys_alone(database: TestDatabase) {
    let house = House::open(&database).await;
    let (_, key) = house.key(of_alice("read", &[API])).await;
    let before = house.swapped(&key).await;
    let alice = "alice".parse().expect("a name");

    let password = grantd::app::users::NewPassword::Plain(PlainSecret::new("another horse battery".into()));
    house.server.app.set_password(&alice, password).await.expect("set");
    house.reload().await;

    assert!(!house.is_revoked(&before));
    assert_eq!(
        house.swapped(&key).await.status,
        200,
        "an operator made it, whoever knew the password did not"
    );
    // The user's own name is told as it is now, and other keys stand in the way of nothing.
    let change = |it| Registration { name: Some("x".into()), ..it };
    house.server.app.update_client(&"api".parse().expect("an id"), change, None).await.expect("changed");
    house.reload().await;
    assert_eq!(house.swapped(&key).await.status, 200);
    let elsewhere = ask_with_key(&house.server, &format!("audience={OTHER}"), &key).await;
    assert_eq!(elsewhere.status, 401);
    house.server.stop().await;
}

async fn keys_go_on_while_the_database_is_away(database: TestDatabase) {
    let house = House::open(&database).await;
    let (_, key) = house.key(of_alice("read", &[API])).await;

    house.server.app.close().await;

    assert_eq!(house.swapped(&key).await.status, 200);
    let asked = ask_with_key(&house.server, "audience=https://api.example&scope=read", &key).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    house.server.stop().await;
}

async fn keys_that_are_long_over_are_forgotten(database: TestDatabase) {
    let house = House::open(&database).await;
    let app = &house.server.app;
    let (held, _) = house.key(of_alice("read", &[API])).await;
    let (_, stays) = house.key(of_alice("read", &[API])).await;
    app.revoke_api_keys(&KeysOf::One(held.key.id)).await.expect("ended");
    let day = Ttl::from_secs(24 * 60 * 60);
    let in_days = |days| (0..days).fold(app.clock().now(), |time, _| time.plus(day));

    app.purge(in_days(29)).await.expect("purged");
    assert_eq!(app.list_api_keys(&KeysOf::All).await.expect("readable").len(), 2);
    app.purge(in_days(31)).await.expect("purged");
    assert_eq!(app.list_api_keys(&KeysOf::All).await.expect("readable").len(), 1);
    assert_eq!(house.swapped(&stays).await.status, 200);
    house.server.stop().await;
}
