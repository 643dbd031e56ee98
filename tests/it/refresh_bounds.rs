//! What a refresh may ask for, and what takes it away: scope, audience, roles, users, clients, operators.

use grantd::app::clients::Switch;
use grantd::app::error::AdminError;
use grantd::app::sessions::Sessions;
use grantd::app::users::{NewPassword, UserChange};
use grantd::model::client::{GrantType, Registration};
use grantd::model::id::ClientId;
use grantd::model::secret::PlainSecret;
use grantd::model::time::Timestamp;
use grantd::model::user::Username;
use grantd::storage::revisions;
use serde_json::json;

use crate::storage::open;
use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, PASSWORD, TestServer};

trials! {
    both: [
        a_refresh_may_narrow_the_scope_and_widen_it_again,
        a_refresh_beyond_the_first_request_is_refused_and_consumes_nothing,
        a_refresh_may_narrow_the_audience_and_widen_it_again,
        whatever_ends_a_session_ends_it_for_good,
        ending_one_session_leaves_the_others,
        to_switch_on_what_is_on_changes_nothing,
        of_many_who_switch_a_client_on_one_does_and_no_new_session_ends,
    ],
    sqlite: [
        a_retry_is_bounded_as_a_first_try,
        a_reused_token_ends_the_family_even_with_a_bad_scope,
        a_role_that_is_taken_takes_its_scope_at_the_next_refresh,
        a_scope_that_is_bound_to_a_role_is_lost_by_the_others_at_the_next_refresh,
        a_scope_granted_later_waits_for_the_next_login,
        what_is_taken_from_the_client_is_gone_at_the_next_refresh,
        a_client_without_the_grant_gets_no_refresh_token,
        a_client_that_loses_the_grant_cannot_refresh_and_loses_nothing,
        a_disabled_client_is_no_client,
    ],
}

/// A server with a client for `a b c`, registered for two audiences, and a user.
struct House {
    server: TestServer,
    secret: String,
}

impl House {
    async fn open(database: &TestDatabase) -> Self {
        let server = TestServer::start(database).await;
        let registered = ClientOf { scope: "a b c", audience: &["urn:x", "urn:y"], ..ClientOf::default() };
        let made = server.client("app", registered).await;
        server.user("alice", &[]).await;
        Self { server, secret: made.secret.expect("a secret").expose().to_owned() }
    }

    async fn login(&self, wish: &[(&str, &str)]) -> Answer {
        let form = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
        self.server.token_as(("app", &self.secret), &[&form, wish].concat()).await
    }

    async fn redeem(&self, token: &str, wish: &[(&str, &str)]) -> Answer {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.server.token_as(("app", &self.secret), &[&form, wish].concat()).await
    }

    async fn change_client(&self, change: impl FnOnce(Registration) -> Registration) {
        self.server.app.update_client(&app(), change, None).await.expect("a client");
    }

    async fn give_roles(&self, roles: &[&str]) {
        let roles = roles.iter().map(|role| role.parse().expect("a role")).collect();
        let change = UserChange { roles: Some(roles), ..UserChange::default() };
        self.server.app.update_user(&alice(), change, None).await.expect("a user");
    }
}

fn app() -> ClientId {
    "app".parse().expect("an id")
}

fn alice() -> Username {
    "alice".parse().expect("a name")
}

fn successor(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text("refresh_token")
}

fn assert_refused(answer: &Answer, code: &str) {
    assert_eq!(answer.refusal(), (400, code.into()), "{answer:?}");
}

async fn a_refresh_may_narrow_the_scope_and_widen_it_again(database: TestDatabase) {
    let house = House::open(&database).await;
    let mut token = house.login(&[("scope", "a b")]).await.text("refresh_token");

    // RFC 6749 §6: a new refresh token keeps the scope of the old one, whatever the access token got.
    for (asked, granted) in [
        (Some("a"), "a"),
        (Some("b"), "b"),
        (None, "a b"),
        (Some("b a"), "a b"),
        (Some(""), "a b"),
        (Some("a"), "a"),
        (None, "a b"),
    ] {
        let wish: Vec<_> = asked.map(|scope| ("scope", scope)).into_iter().collect();
        let answer = house.redeem(&token, &wish).await;

        token = successor(&answer);
        assert_eq!((answer.text("scope").as_str(), &answer.claims()["scope"]), (granted, &json!(granted)));
    }
    house.server.stop().await;
}

async fn a_refresh_beyond_the_first_request_is_refused_and_consumes_nothing(database: TestDatabase) {
    let house = House::open(&database).await;
    let first = house.login(&[("scope", "a b"), ("resource", "urn:x")]).await.text("refresh_token");

    for (name, value, code) in [
        ("scope", "c", "invalid_scope"),
        ("scope", "a b c", "invalid_scope"),
        ("scope", "unheard-of", "invalid_scope"),
        ("scope", "A", "invalid_scope"),
        ("scope", "a  b", "invalid_scope"),
        ("scope", "a\"", "invalid_scope"),
        ("resource", "urn:y", "invalid_target"),
        ("resource", "urn:z", "invalid_target"),
        ("resource", "no uri", "invalid_target"),
    ] {
        assert_refused(&house.redeem(&first, &[(name, value)]).await, code);
    }

    let second = successor(&house.redeem(&first, &[]).await);
    assert_eq!(
        successor(&house.redeem(&first, &[]).await),
        second,
        "the first refusal did not count as a use"
    );
    house.server.stop().await;
}

async fn a_refresh_may_narrow_the_audience_and_widen_it_again(database: TestDatabase) {
    let house = House::open(&database).await;
    let login = house.login(&[]).await;
    assert_eq!(login.claims()["aud"], json!(["urn:x", "urn:y"]));
    let mut token = login.text("refresh_token");

    for (asked, granted) in [
        (&["urn:x"][..], json!("urn:x")),
        (&["urn:y"], json!("urn:y")),
        (&[], json!(["urn:x", "urn:y"])),
        (&["urn:y", "urn:x"], json!(["urn:x", "urn:y"])),
    ] {
        let wish: Vec<_> = asked.iter().map(|uri| ("resource", *uri)).collect();
        let answer = house.redeem(&token, &wish).await;

        token = successor(&answer);
        assert_eq!(answer.claims()["aud"], granted);
    }
    house.server.stop().await;
}

async fn a_retry_is_bounded_as_a_first_try(database: TestDatabase) {
    let house = House::open(&database).await;
    let first = house.login(&[("scope", "a b")]).await.text("refresh_token");
    let second = successor(&house.redeem(&first, &[("scope", "a")]).await);

    assert_refused(&house.redeem(&first, &[("scope", "c")]).await, "invalid_scope");
    let again = house.redeem(&first, &[("scope", "b")]).await;

    assert_eq!((successor(&again), again.text("scope")), (second.clone(), "b".into()));
    successor(&house.redeem(&second, &[]).await);
    house.server.stop().await;
}

async fn a_reused_token_ends_the_family_even_with_a_bad_scope(database: TestDatabase) {
    let house = House::open(&database).await;
    let first = house.login(&[]).await.text("refresh_token");
    let second = successor(&house.redeem(&first, &[]).await);
    let third = successor(&house.redeem(&second, &[]).await);

    // A thief must not be able to test a stolen token without raising the alarm.
    assert_refused(&house.redeem(&first, &[("scope", "unheard-of")]).await, "invalid_grant");

    assert_refused(&house.redeem(&third, &[]).await, "invalid_grant");
    house.server.stop().await;
}

async fn a_role_that_is_taken_takes_its_scope_at_the_next_refresh(database: TestDatabase) {
    let house = House::open(&database).await;
    house.server.role("boss", "c").await;
    house.give_roles(&["boss"]).await;
    house.server.app.reload().await.expect("a database");
    let login = house.login(&[]).await;
    assert_eq!((login.text("scope"), &login.claims()["roles"]), ("a b c".into(), &json!(["boss"])));

    house.give_roles(&[]).await;
    let without = house.redeem(&login.text("refresh_token"), &[]).await;
    assert_eq!((without.text("scope"), without.claims().get("roles")), ("a b".into(), None));
    assert_refused(&house.redeem(&successor(&without), &[("scope", "c")]).await, "invalid_scope");

    // What was granted at the login and is allowed again comes back.
    house.give_roles(&["boss"]).await;
    let back = house.redeem(&successor(&without), &[]).await;
    assert_eq!((back.text("scope"), &back.claims()["roles"]), ("a b c".into(), &json!(["boss"])));
    house.server.stop().await;
}

async fn a_scope_that_is_bound_to_a_role_is_lost_by_the_others_at_the_next_refresh(database: TestDatabase) {
    let house = House::open(&database).await;
    let login = house.login(&[]).await;
    assert_eq!(login.text("scope"), "a b c");

    house.server.role("boss", "c").await;
    house.server.app.reload().await.expect("a database");

    assert_eq!(house.redeem(&login.text("refresh_token"), &[]).await.text("scope"), "a b");
    house.server.stop().await;
}

async fn a_scope_granted_later_waits_for_the_next_login(database: TestDatabase) {
    let house = House::open(&database).await;
    house.server.role("boss", "c").await;
    house.server.app.reload().await.expect("a database");
    let login = house.login(&[]).await;
    assert_eq!(login.text("scope"), "a b");

    house.give_roles(&["boss"]).await;
    house.change_client(|it| Registration { scope: "a b c d".parse().expect("a scope"), ..it }).await;
    let refreshed = house.redeem(&login.text("refresh_token"), &[]).await;

    // RFC 6749 §6: nothing beyond what was granted at first, though the request named it by naming nothing.
    assert_eq!(refreshed.text("scope"), "a b");
    assert_refused(&house.redeem(&successor(&refreshed), &[("scope", "d")]).await, "invalid_scope");
    assert_refused(&house.redeem(&successor(&refreshed), &[("scope", "c")]).await, "invalid_scope");
    assert_eq!(house.redeem(&successor(&refreshed), &[("scope", "a c")]).await.text("scope"), "a");
    assert_eq!(house.login(&[]).await.text("scope"), "a b c d");
    house.server.stop().await;
}

async fn what_is_taken_from_the_client_is_gone_at_the_next_refresh(database: TestDatabase) {
    let house = House::open(&database).await;
    let token = house.login(&[("scope", "a b")]).await.text("refresh_token");

    let narrow = |scope: &str, audience: &str| {
        let (scope, audience) = (scope.parse().expect("a scope"), audience.parse().expect("a URI"));
        move |it: Registration| Registration { scope, audience: vec![audience], ..it }
    };
    house.change_client(narrow("b c", "urn:y")).await;
    let answer = house.redeem(&token, &[]).await;
    assert_eq!((answer.text("scope"), &answer.claims()["aud"]), ("b".into(), &json!("urn:y")));
    let token = successor(&answer);
    assert_refused(&house.redeem(&token, &[("scope", "a")]).await, "invalid_scope");
    assert_refused(&house.redeem(&token, &[("resource", "urn:x")]).await, "invalid_target");

    // Nothing is left of what was granted: an answer without scope would say more than it holds.
    house.change_client(narrow("c", "urn:y")).await;
    assert_refused(&house.redeem(&token, &[]).await, "invalid_scope");
    house.change_client(narrow("a b c", "urn:y")).await;
    assert_eq!(house.redeem(&token, &[]).await.text("scope"), "a b", "and nothing was consumed");
    house.server.stop().await;
}

async fn whatever_ends_a_session_ends_it_for_good(database: TestDatabase) {
    const ENDINGS: [&str; 9] = [
        "user disabled",
        "client disabled",
        "password set",
        "by user",
        "by client",
        "by id",
        "all",
        "user deleted",
        "client deleted",
    ];
    for ending in ENDINGS {
        let database = match database.kind {
            crate::support::database::DatabaseKind::Sqlite => TestDatabase::sqlite(),
            crate::support::database::DatabaseKind::Postgres => TestDatabase::postgres(),
        };
        let house = House::open(&database).await;
        let grantd = &house.server.app;
        let first = house.login(&[]).await.text("refresh_token");
        let second = successor(&house.redeem(&first, &[]).await);

        let new_password = || NewPassword::Plain(PlainSecret::new("another long password".into()));
        let ended = match ending {
            "user disabled" => grantd.set_user_enabled(&alice(), Switch::Off).await.expect("a user"),
            "client disabled" => grantd.set_client_enabled(&app(), Switch::Off).await.expect("a client"),
            "password set" => grantd.set_password(&alice(), new_password()).await.expect("a user"),
            "by user" => grantd.revoke_sessions(&Sessions::OfUser(alice())).await.expect("a user").sessions,
            "by client" => {
                grantd.revoke_sessions(&Sessions::OfClient(app())).await.expect("a client").sessions
            }
            "by id" => {
                let rows = grantd.list_sessions(&Sessions::All).await.expect("a database");
                let [row] = &rows[..] else { panic!("one session, not {rows:?}") };
                grantd.revoke_sessions(&Sessions::One(row.family.id)).await.expect("a session").sessions
            }
            "all" => grantd.revoke_sessions(&Sessions::All).await.expect("a database").sessions,
            "user deleted" => grantd.delete_user(&alice()).await.map(|()| 1).expect("a user"),
            _ => grantd.delete_client(&app()).await.map(|()| 1).expect("a client"),
        };
        assert_eq!(ended, 1, "{ending}");

        // At once, before any instance has looked whether clients changed, and the predecessor too.
        for token in [&second, &first] {
            let refused = house.redeem(token, &[]).await.status;
            assert!([400, 401].contains(&refused), "{ending}: {refused}");
        }

        match ending {
            "user disabled" => {
                assert_refused(&house.login(&[]).await, "invalid_grant");
                grantd.set_user_enabled(&alice(), Switch::On).await.map(drop).expect("a user");
            }
            "client disabled" => {
                grantd.reload().await.expect("a database");
                assert_eq!(house.login(&[]).await.refusal(), (401, "invalid_client".into()));
                grantd.set_client_enabled(&app(), Switch::On).await.map(drop).expect("a client");
            }
            "client deleted" => {
                grantd.reload().await.expect("a database");
                assert_eq!(house.redeem(&second, &[]).await.refusal(), (401, "invalid_client".into()));
                continue;
            }
            _ => {}
        }
        grantd.reload().await.expect("a database");
        assert_refused(&house.redeem(&second, &[]).await, "invalid_grant");
        if !["password set", "user deleted"].contains(&ending) {
            successor(&house.login(&[]).await);
        }
        house.server.stop().await;
    }
}

async fn ending_one_session_leaves_the_others(database: TestDatabase) {
    let house = House::open(&database).await;
    let grantd = &house.server.app;
    let one = house.login(&[]).await.text("refresh_token");
    let rows = grantd.list_sessions(&Sessions::All).await.expect("a database");
    let other = house.login(&[]).await.text("refresh_token");
    house.server.user("bob", &[]).await;
    let bobs = house.server.login(("app", &house.secret), "bob").await.text("refresh_token");

    assert_eq!(
        grantd.revoke_sessions(&Sessions::One(rows[0].family.id)).await.expect("a session").sessions,
        1
    );
    assert_refused(&house.redeem(&one, &[]).await, "invalid_grant");
    let other = successor(&house.redeem(&other, &[]).await);

    assert_eq!(grantd.revoke_sessions(&Sessions::OfUser(alice())).await.expect("a user").sessions, 1);
    assert_refused(&house.redeem(&other, &[]).await, "invalid_grant");
    successor(&house.redeem(&bobs, &[]).await);
    house.server.stop().await;
}

/// How often each of these acts is in the audit.
async fn audited(house: &House, acts: [&str; 2]) -> [usize; 2] {
    let rows = house.server.app.list_audit(Timestamp::from_secs(0), "", 1000).await.expect("a database");
    acts.map(|act| rows.iter().filter(|row| row.act == act).count())
}

async fn to_switch_on_what_is_on_changes_nothing(database: TestDatabase) {
    let house = House::open(&database).await;
    let (grantd, db) = (&house.server.app, open(&database).await);
    let token = house.login(&[]).await.text("refresh_token");
    let before = revisions::read(&db).await.expect("readable");

    assert_eq!(grantd.set_client_enabled(&app(), Switch::On).await.expect("a client"), 0);
    assert_eq!(grantd.set_user_enabled(&alice(), Switch::On).await.expect("a user"), 0);

    assert_eq!(revisions::read(&db).await.expect("readable"), before, "no server reads anything again");
    assert_eq!(audited(&house, ["client.enabled", "user.enabled"]).await, [0, 0]);
    successor(&house.redeem(&token, &[]).await);
    let nobody = "nobody".parse().expect("an id");
    let no_client = grantd.set_client_enabled(&nobody, Switch::On).await;
    assert!(matches!(no_client, Err(AdminError::NotFound { kind: "client", .. })), "{no_client:?}");
    let no_user = grantd.set_user_enabled(&"nobody".parse().expect("a name"), Switch::On).await;
    assert!(matches!(no_user, Err(AdminError::NotFound { kind: "user", .. })), "{no_user:?}");
    db.close().await;
    house.server.stop().await;
}

async fn of_many_who_switch_a_client_on_one_does_and_no_new_session_ends(database: TestDatabase) {
    let house = House::open(&database).await;
    let elsewhere = TestServer::start(&database).await;
    for round in 1..=3 {
        house.server.app.set_client_enabled(&app(), Switch::Off).await.expect("a client");
        house.server.app.set_user_enabled(&alice(), Switch::Off).await.expect("a user");

        let operator = async |server: &TestServer| {
            for _ in 0..3 {
                server.app.set_user_enabled(&alice(), Switch::On).await.expect("a user");
                server.app.set_client_enabled(&app(), Switch::On).await.expect("a client");
            }
        };
        // Each operator's first word is over by the time of their login, the other's second may not be.
        let first = async {
            operator(&house.server).await;
            house.server.app.reload().await.expect("a database");
            house.login(&[]).await
        };
        let more = async || {
            operator(&elsewhere).await;
            operator(&elsewhere).await;
        };
        let (login, (), ()) = tokio::join!(first, more(), more());

        successor(&house.redeem(&login.text("refresh_token"), &[]).await);
        assert_eq!(audited(&house, ["client.enabled", "user.enabled"]).await, [round, round]);
    }
    elsewhere.stop().await;
    house.server.stop().await;
}

async fn a_client_without_the_grant_gets_no_refresh_token(database: TestDatabase) {
    let house = House::open(&database).await;
    let only = |grants| ClientOf { grants, ..ClientOf::default() };
    let made = house.server.client("brief", only(&[GrantType::Password])).await;
    let brief = made.secret.expect("a secret");

    let login = house.server.login(("brief", brief.expose()), "alice").await;
    assert_eq!((login.status, login.json().get("refresh_token")), (200, None));
    let machine =
        house.server.token_as(("app", &house.secret), &[("grant_type", "client_credentials")]).await;
    assert_eq!((machine.status, machine.json().get("refresh_token")), (200, None));

    let sessions = house.server.app.list_sessions(&Sessions::All).await.expect("a database");
    let ends: Vec<_> = sessions.iter().map(|row| row.family.expires_at.as_secs()).collect();
    assert_eq!(login.claims()["exp"], ends[0], "its session ends with its access token");
    assert_eq!(ends.len(), 1, "a client by itself has none");
    house.server.stop().await;
}

async fn a_client_that_loses_the_grant_cannot_refresh_and_loses_nothing(database: TestDatabase) {
    let house = House::open(&database).await;
    let token = house.login(&[]).await.text("refresh_token");

    house.change_client(|it| Registration { grant_types: vec![GrantType::Password], ..it }).await;
    assert_refused(&house.redeem(&token, &[]).await, "unauthorized_client");

    house.change_client(|it| Registration { grant_types: ClientOf::ANY.grants.to_vec(), ..it }).await;
    successor(&house.redeem(&token, &[]).await);
    house.server.stop().await;
}

async fn a_disabled_client_is_no_client(database: TestDatabase) {
    let house = House::open(&database).await;
    let token = house.login(&[]).await.text("refresh_token");

    house.server.app.set_client_enabled(&app(), Switch::Off).await.expect("a client");
    house.server.app.reload().await.expect("a database");

    assert_eq!(house.redeem(&token, &[]).await.refusal(), (401, "invalid_client".into()));
    let machine =
        house.server.token_as(("app", &house.secret), &[("grant_type", "client_credentials")]).await;
    assert_eq!(machine.refusal(), (401, "invalid_client".into()));
    house.server.stop().await;
}
