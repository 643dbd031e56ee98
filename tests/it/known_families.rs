//! Refreshes that rest on what this instance remembers: whatever was changed elsewhere counts at the very next one.

use grantd::app::clients::Switch;
use grantd::app::users::UserChange;
use grantd::model::role::RoleName;

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, TestServer};

trials! {
    both: [
        a_role_that_is_taken_or_given_elsewhere_counts_at_the_next_refresh,
        a_role_that_is_deleted_elsewhere_is_held_no_more_at_the_next_refresh,
        a_user_who_is_switched_off_elsewhere_is_refused_at_the_next_refresh,
        a_session_that_moved_on_elsewhere_is_seen_as_it_is,
        a_refusal_never_rests_on_what_is_remembered,
    ],
}

/// Two instances on one database, and a session that the first one remembers.
struct Houses {
    one: TestServer,
    two: TestServer,
    secret: String,
    token: String,
}

impl Houses {
    async fn open(database: &TestDatabase) -> Self {
        let (one, secret) = TestServer::furnished(database, &[]).await;
        one.role("editor", "write").await;
        let two = TestServer::start_at(database, &[], one.clock.clone()).await;
        for server in [&one, &two] {
            server.app.reload().await.expect("a database");
        }
        let login = one.login(("app", &secret), "alice").await;
        assert_eq!(login.text("scope"), "read");
        let mut houses = Self { token: login.text("refresh_token"), one, two, secret };
        // Read once, and remembered from then on.
        houses.refresh().await;
        houses.refresh().await;
        houses
    }

    /// A refresh at the first instance.
    async fn refresh(&mut self) -> Answer {
        let answer = self.one.refresh(("app", &self.secret), &self.token).await;
        if answer.status == 200 {
            self.token = answer.text("refresh_token");
        }
        answer
    }

    /// Gives alice these roles, at the second instance.
    async fn give(&self, roles: &[&str]) {
        let roles: Vec<RoleName> = roles.iter().map(|role| role.parse().expect("a name")).collect();
        let change = UserChange { roles: Some(roles), ..UserChange::default() };
        let updated = self.two.app.update_user(&"alice".parse().expect("a name"), change, None).await;
        updated.expect("an update");
    }

    async fn close(self) {
        self.one.stop().await;
        self.two.stop().await;
    }
}

async fn a_role_that_is_taken_or_given_elsewhere_counts_at_the_next_refresh(database: TestDatabase) {
    let mut houses = Houses::open(&database).await;

    for _ in 0..2 {
        houses.give(&["editor"]).await;
        // Of what was granted at first: the token's scope does not grow, its roles do.
        assert_eq!(houses.refresh().await.claims()["roles"], serde_json::json!(["editor"]));
        assert_eq!(houses.refresh().await.claims()["roles"], serde_json::json!(["editor"]));
        houses.give(&[]).await;
        assert!(houses.refresh().await.claims().get("roles").is_none());
    }
    houses.close().await;
}

async fn a_role_that_is_deleted_elsewhere_is_held_no_more_at_the_next_refresh(database: TestDatabase) {
    let mut houses = Houses::open(&database).await;
    houses.give(&["editor"]).await;
    assert_eq!(houses.refresh().await.claims()["roles"], serde_json::json!(["editor"]));

    houses.two.app.delete_role(&"editor".parse().expect("a name")).await.expect("deleted");

    assert!(houses.refresh().await.claims().get("roles").is_none());
    houses.close().await;
}

async fn a_user_who_is_switched_off_elsewhere_is_refused_at_the_next_refresh(database: TestDatabase) {
    let mut houses = Houses::open(&database).await;
    let alice = "alice".parse().expect("a name");

    houses.two.app.set_user_enabled(&alice, Switch::Off).await.expect("switched off");
    assert_eq!(houses.refresh().await.refusal(), (400, "invalid_grant".to_owned()));

    houses.two.app.set_user_enabled(&alice, Switch::On).await.expect("switched on");
    assert_eq!(
        houses.refresh().await.refusal(),
        (400, "invalid_grant".to_owned()),
        "its sessions have ended"
    );
    houses.close().await;
}

async fn a_session_that_moved_on_elsewhere_is_seen_as_it_is(database: TestDatabase) {
    let mut houses = Houses::open(&database).await;
    let at_home = houses.token.clone();
    let client = ("app", houses.secret.as_str());

    // The answer of the second instance is lost; the first one gives it again, and nothing newer.
    let lost = houses.two.refresh(client, &at_home).await.text("refresh_token");
    assert_eq!(houses.one.refresh(client, &at_home).await.text("refresh_token"), lost);
    let next = houses.one.refresh(client, &lost).await.text("refresh_token");
    let newest = houses.two.refresh(client, &next).await.text("refresh_token");

    // What the first instance remembers as live was replaced at the second, and what came before it is reuse.
    assert_eq!(houses.one.refresh(client, &lost).await.status, 400, "older than the predecessor");
    assert_eq!(houses.two.refresh(client, &newest).await.status, 400, "so the session ends");
    houses.token = newest;
    assert_eq!(houses.refresh().await.status, 400);
    houses.close().await;
}

async fn a_refusal_never_rests_on_what_is_remembered(database: TestDatabase) {
    let houses = Houses::open(&database).await;
    let client = ("app", houses.secret.as_str());
    let ask = async |server: &TestServer, scope: &str| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", &houses.token), ("scope", scope)];
        server.token_as(client, &form).await
    };

    assert_eq!(ask(&houses.one, "elsewhere").await.refusal(), (400, "invalid_scope".to_owned()));
    let rotated = ask(&houses.one, "read").await;

    assert_eq!(rotated.status, 200, "a refused request consumed nothing: {rotated:?}");
    houses.close().await;
}
