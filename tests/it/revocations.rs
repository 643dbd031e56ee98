//! Every token carries an index, and whatever ends a session or cuts off a client revokes it: for ever, on every
//! instance, also beside logins that are under way.

use std::sync::Arc;

use grantd::app::App;
use grantd::app::clients::Switch;
use grantd::app::clock::Clock;
use grantd::app::sessions::Sessions;
use grantd::app::users::NewPassword;
use grantd::model::client::GrantType;
use grantd::model::id::ClientId;
use grantd::model::secret::PlainSecret;
use grantd::model::status::StatusIndex;
use grantd::model::time::Ttl;
use grantd::protocol::token_id::status_index_of;
use serde_json::json;
use tokio::task::JoinSet;

use crate::audit::meddle;
use crate::outage::until;
use crate::storage::open;
use crate::support::database::TestDatabase;
use crate::support::relay::Relay;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, ISSUER, START, TestServer};

trials! {
    both: [
        every_token_of_a_session_carries_its_index_and_other_sessions_have_others,
        a_client_without_status_has_small_tokens_that_are_revoked_all_the_same,
        whatever_ends_a_session_revokes_its_tokens_and_no_other,
        a_session_without_refresh_tokens_can_be_ended_too,
        tokens_of_a_client_that_was_switched_off_stay_revoked_when_it_is_on_again,
        a_client_that_is_registered_again_revives_no_token,
        an_access_token_never_outlives_its_session,
        a_login_beside_the_end_of_its_user_or_client_leaves_no_token_alive,
        what_is_over_is_forgotten_in_memory_and_in_the_database,
        a_session_whose_token_may_live_is_kept_to_be_ended,
        an_inspection_says_that_a_token_is_revoked,
        what_a_server_without_indexes_begins_beside_us_gets_an_index_at_its_next_use,
    ],
    postgres: [
        what_one_instance_revokes_the_other_learns_by_itself,
        what_was_revoked_while_the_database_was_away_is_learned_when_it_is_back,
    ],
}

fn index(answer: &Answer) -> StatusIndex {
    assert_eq!(answer.status, 200, "{answer:?}");
    status_index_of(answer.claims()["jti"].as_str().expect("a jti")).expect("an index in it")
}

async fn is_revoked(app: &App, index: StatusIndex) -> bool {
    app.reload().await.expect("readable");
    app.revocations().is_revoked(index)
}

async fn client_credentials(server: &TestServer, secret: &str) -> Answer {
    server.token_as(("app", secret), &[("grant_type", "client_credentials")]).await
}

async fn every_token_of_a_session_carries_its_index_and_other_sessions_have_others(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", secret.as_str());

    let login = server.login(app, "alice").await;
    let refreshed = server.refresh(app, &login.text("refresh_token")).await;
    let other = server.login(app, "alice").await;
    let (own, again) =
        (client_credentials(&server, &secret).await, client_credentials(&server, &secret).await);

    assert_eq!(index(&refreshed), index(&login));
    assert_eq!(index(&own), index(&again));
    let all: std::collections::BTreeSet<_> = [&login, &other, &own].into_iter().map(index).collect();
    assert_eq!(all.len(), 3);
    for answer in [&login, &refreshed, &other, &own] {
        let (index, claims) = (index(answer), answer.claims());
        let uri = format!("{ISSUER}/status/{}", index.list());
        assert_eq!(claims["status"], json!({"status_list": {"idx": index.idx(), "uri": uri}}));
    }
    server.stop().await;
}

async fn a_client_without_status_has_small_tokens_that_are_revoked_all_the_same(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let id = "app".parse().expect("an id");
    server
        .app
        .update_client(&id, |old| grantd::model::client::Registration { status: false, ..old }, None)
        .await
        .expect("updated");

    let own = client_credentials(&server, &secret).await;
    assert!(own.claims().get("status").is_none());

    server.app.set_client_enabled(&id, Switch::Off).await.expect("switched");
    assert!(is_revoked(&server.app, index(&own)).await);
    server.stop().await;
}

async fn whatever_ends_a_session_revokes_its_tokens_and_no_other(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let other_secret = server.full_client("web").await;
    server.user("bob", &[]).await;
    let (app, web) = (("app", secret.as_str()), ("web", other_secret.as_str()));
    let alice = "alice".parse().expect("a name");
    let client: ClientId = "app".parse().expect("an id");
    let operator = &server.app;
    let bystander = server.login(web, "bob").await;

    for end in 0..9 {
        if end > 6 {
            server.user("alice", &[]).await;
        }
        let login = server.login(app, "alice").await;
        let at_web = server.login(web, "alice").await;
        match end {
            0 => {
                operator.set_user_enabled(&alice, Switch::Off).await.expect("switched");
                operator.set_user_enabled(&alice, Switch::On).await.expect("switched");
            }
            1 => {
                let same = PlainSecret::new(crate::support::server::PASSWORD.into());
                operator.set_password(&alice, NewPassword::Plain(same)).await.expect("set");
            }
            2 => drop(
                operator.revoke_sessions(&Sessions::OfUser(alice.clone())).await.expect("ended").sessions,
            ),
            3 => drop(
                operator.revoke_sessions(&Sessions::OfClient(client.clone())).await.expect("ended").sessions,
            ),
            4 => {
                let sessions =
                    operator.list_sessions(&Sessions::OfClient(client.clone())).await.expect("listed");
                let newest = sessions.iter().find(|row| row.family.status_index == Some(index(&login)));
                let one = Sessions::One(newest.expect("there").family.id);
                operator.revoke_sessions(&one).await.expect("ended");
            }
            5 => {
                // Reuse: the first token after its successor was used.
                let first = login.text("refresh_token");
                let second = server.refresh(app, &first).await.text("refresh_token");
                assert_eq!(server.refresh(app, &second).await.status, 200);
                assert_eq!(server.refresh(app, &first).await.status, 400);
                let known = operator.revocations().is_revoked(index(&login));
                assert!(known, "the instance that ended it knows at once");
            }
            6 | 7 => operator.delete_user(&alice).await.expect("deleted"),
            _ => operator.delete_client(&client).await.expect("deleted"),
        }

        assert!(is_revoked(operator, index(&login)).await, "case {end}");
        let of_user = matches!(end, 0 | 1 | 2 | 6 | 7);
        assert_eq!(is_revoked(operator, index(&at_web)).await, of_user, "case {end}");
        assert!(!is_revoked(operator, index(&bystander)).await, "case {end}");
    }
    server.stop().await;
}

async fn a_session_without_refresh_tokens_can_be_ended_too(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.client("app", ClientOf { grants: &[GrantType::Password], ..ClientOf::ANY }).await;
    server.user("alice", &[]).await;
    let login = server.login(("app", secret.secret.as_ref().expect("a secret").expose()), "alice").await;
    assert!(login.json().get("refresh_token").is_none());

    let alice = "alice".parse().expect("a name");
    let sessions = server.app.list_sessions(&Sessions::OfUser(alice)).await.expect("listed");
    assert_eq!(sessions.len(), 1);
    let ends = sessions[0].family.expires_at.as_secs();
    assert_eq!(login.claims()["exp"], ends, "it ends with its one access token");

    assert_eq!(server.app.revoke_sessions(&Sessions::All).await.expect("ended").sessions, 1);
    assert!(is_revoked(&server.app, index(&login)).await);
    server.stop().await;
}

async fn tokens_of_a_client_that_was_switched_off_stay_revoked_when_it_is_on_again(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let id = "app".parse().expect("an id");
    let (before, login) =
        (client_credentials(&server, &secret).await, server.login(("app", &secret), "alice").await);

    for switch in [Switch::Off, Switch::On] {
        server.app.set_client_enabled(&id, switch).await.expect("switched");
    }
    server.app.reload().await.expect("readable");
    let after = client_credentials(&server, &secret).await;

    assert!(is_revoked(&server.app, index(&before)).await && is_revoked(&server.app, index(&login)).await);
    assert!(!is_revoked(&server.app, index(&after)).await, "it works again");
    server.stop().await;
}

async fn a_client_that_is_registered_again_revives_no_token(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let (before, login) =
        (client_credentials(&server, &secret).await, server.login(("app", &secret), "alice").await);

    server.app.delete_client(&"app".parse().expect("an id")).await.expect("deleted");
    let secret = server.full_client("app").await;
    let after = client_credentials(&server, &secret).await;

    assert!(is_revoked(&server.app, index(&before)).await && is_revoked(&server.app, index(&login)).await);
    assert!(!is_revoked(&server.app, index(&after)).await);
    server.stop().await;
}

async fn an_access_token_never_outlives_its_session(database: TestDatabase) {
    let settings = [("GRANTD_TOKENS__REFRESH_TTL", "1000s"), ("GRANTD_TOKENS__REFRESH_IDLE_TTL", "1000s")];
    let (server, secret) = TestServer::furnished(&database, &settings).await;
    let app = ("app", secret.as_str());
    let login = server.login(app, "alice").await;
    let end = START.as_secs() + 1000;

    server.clock.advance(Ttl::from_secs(399));
    let early = server.refresh(app, &login.text("refresh_token")).await;
    assert_eq!((&early.json()["expires_in"], &early.claims()["exp"]), (&json!(600), &json!(end - 1)));
    server.clock.advance(Ttl::from_secs(600));
    let late = server.refresh(app, &early.text("refresh_token")).await;
    assert_eq!((&late.json()["expires_in"], &late.claims()["exp"]), (&json!(1), &json!(end)));
    server.stop().await;
}

async fn a_login_beside_the_end_of_its_user_or_client_leaves_no_token_alive(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let (server, secret) = (std::rc::Rc::new(server), std::rc::Rc::new(secret));
    let (alice, client) = ("alice".parse().expect("a name"), "app".parse().expect("an id"));

    for round in 0..12 {
        let mut logins = JoinSet::new();
        for _ in 0..6 {
            let (server, secret) = (std::rc::Rc::clone(&server), std::rc::Rc::clone(&secret));
            logins.spawn_local(async move { server.login(("app", &secret), "alice").await });
        }
        // At another moment of the logins each time.
        for _ in 0..round * 4 {
            tokio::task::yield_now().await;
        }
        match round % 2 {
            0 => server.app.set_user_enabled(&alice, Switch::Off).await.expect("switched"),
            _ => server.app.set_client_enabled(&client, Switch::Off).await.expect("switched"),
        };
        for answer in logins.join_all().await {
            if answer.status == 200 {
                assert!(is_revoked(&server.app, index(&answer)).await, "round {round}");
            }
        }
        server.app.set_user_enabled(&alice, Switch::On).await.expect("switched");
        server.app.set_client_enabled(&client, Switch::On).await.expect("switched");
        server.app.reload().await.expect("readable");
    }
    std::rc::Rc::into_inner(server).expect("every task has ended").stop().await;
}

async fn what_is_over_is_forgotten_in_memory_and_in_the_database(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let login = server.login(("app", &secret), "alice").await;
    server.app.revoke_sessions(&Sessions::All).await.expect("ended");
    assert!(is_revoked(&server.app, index(&login)).await);
    let tokens_are_over = START.plus(Ttl::from_secs(600));
    let day = Ttl::from_secs(24 * 60 * 60);

    server.app.purge(tokens_are_over).await.expect("purged");
    assert!(
        is_revoked(&server.app, index(&login)).await,
        "an instance that was cut off may have issued more"
    );
    server.app.purge(tokens_are_over.plus(day)).await.expect("purged");
    assert!(!server.app.revocations().is_revoked(index(&login)));
    server.stop().await;
}

async fn a_session_whose_token_may_live_is_kept_to_be_ended(database: TestDatabase) {
    // Nobody refreshes what needs no refresh for a month.
    let settings = [("GRANTD_TOKENS__ACCESS_TTL", "30d"), ("GRANTD_TOKENS__REFRESH_IDLE_TTL", "1h")];
    let (server, secret) = TestServer::furnished(&database, &settings).await;
    let login = server.login(("app", &secret), "alice").await;

    server.clock.advance(Ttl::from_secs(29 * 24 * 60 * 60));
    server.app.purge(server.clock.now()).await.expect("purged");
    server.app.set_user_enabled(&"alice".parse().expect("a name"), Switch::Off).await.expect("switched");

    assert!(is_revoked(&server.app, index(&login)).await);
    server.stop().await;
}

async fn an_inspection_says_that_a_token_is_revoked(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let jwt = server.login(("app", &secret), "alice").await.text("access_token");
    assert!(server.app.inspect_token(&jwt).await.expect("inspected").is_valid());

    server.app.revoke_sessions(&Sessions::All).await.expect("ended");
    server.app.reload().await.expect("readable");

    let report = server.app.inspect_token(&jwt).await.expect("inspected");
    let found: Vec<_> = report.findings.iter().filter(|finding| finding.problem.is_some()).collect();
    assert_eq!(found.iter().map(|finding| finding.name.as_str()).collect::<Vec<_>>(), ["status"]);
    server.stop().await;
}

async fn what_one_instance_revokes_the_other_learns_by_itself(database: TestDatabase) {
    let clock = Clock::manual(START);
    let one = TestServer::start_at(&database, &[], clock.clone()).await;
    let secret = one.full_client("app").await;
    one.user("alice", &[]).await;
    let two = TestServer::start_at(&database, &[], clock).await;
    let (here, there) =
        (one.login(("app", &secret), "alice").await, two.login(("app", &secret), "alice").await);
    assert_ne!(index(&here), index(&there), "two instances hand out the same index");

    one.app.set_user_enabled(&"alice".parse().expect("a name"), Switch::Off).await.expect("switched");

    for login in [&here, &there] {
        // Nothing asks it to look.
        until("the poll", async || two.app.revocations().is_revoked(index(login))).await;
    }
    one.stop().await;
    two.stop().await;
}

async fn what_was_revoked_while_the_database_was_away_is_learned_when_it_is_back(database: TestDatabase) {
    let clock = Clock::manual(START);
    let one = TestServer::start_at(&database, &[], clock.clone()).await;
    let secret = one.full_client("app").await;
    one.user("alice", &[]).await;
    let relay = Relay::before(&database).await;
    let two = TestServer::start_at(&database, &[("GRANTD_DATABASE__URL", &relay.url)], clock).await;
    let (first, second) =
        (one.login(("app", &secret), "alice").await, one.login(("app", &secret), "alice").await);
    let sessions = one.app.list_sessions(&Sessions::All).await.expect("listed");
    let end = async |login: &Answer| {
        let row = sessions.iter().find(|row| row.family.status_index == Some(index(login))).expect("there");
        one.app.revoke_sessions(&Sessions::One(row.family.id)).await.expect("ended");
    };
    let knows = |app: &Arc<App>, login: &Answer| app.revocations().is_revoked(index(login));

    end(&first).await;
    until("the poll", async || knows(&two.app, &first)).await;
    relay.cut().await;
    end(&second).await;
    until("the outage", async || two.get("/health/ready").await.status == 503).await;
    assert!(knows(&two.app, &first) && !knows(&two.app, &second), "it goes on by what it knew");
    relay.mend().await;

    until("the return", async || knows(&two.app, &second)).await;
    assert!(knows(&two.app, &first));
    one.stop().await;
    two.stop().await;
}

/// As a server leaves it that still runs when a newer one migrates the database.
async fn what_a_server_without_indexes_begins_beside_us_gets_an_index_at_its_next_use(
    database: TestDatabase,
) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", secret.as_str());
    let login = server.login(app, "alice").await;
    let db = open(&database).await;
    let statements = [
        "update families set status_index = null",
        "update clients set status_index = null",
        "update revisions set value = value + 1 where subject = 'clients'",
    ];
    meddle(&db, &statements).await;
    server.app.list_sessions(&Sessions::All).await.expect("readable");

    server.app.reload().await.expect("readable");
    let own = index(&client_credentials(&server, &secret).await);
    let refreshed = server.refresh(app, &login.text("refresh_token")).await;
    let next = server.refresh(app, &refreshed.text("refresh_token")).await;

    assert_eq!(index(&next), index(&refreshed));
    assert_ne!(index(&refreshed), index(&login));
    assert_ne!(own, index(&refreshed));
    server.app.revoke_sessions(&Sessions::All).await.expect("ended");
    assert!(is_revoked(&server.app, index(&next)).await && is_revoked(&server.app, own).await);
    db.close().await;
    server.stop().await;
}
