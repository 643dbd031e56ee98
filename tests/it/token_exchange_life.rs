//! How long a token lives that was exchanged for another: never longer than that, and whatever ends the one ends the other.

use grantd::app::clients::Switch;
use grantd::app::sessions::Sessions;
use grantd::model::client::Registration;
use grantd::model::secret::PlainSecret;
use grantd::model::time::Ttl;
use grantd::model::user::Username;
use serde_json::json;

use crate::outage::until;
use crate::support::database::TestDatabase;
use crate::support::refusal::Challenge::Absent;
use crate::support::refusal::assert_refusal;
use crate::support::relay::Relay;
use crate::support::runner::trials;
use crate::support::server::TestServer;
use crate::token_exchange::{House, LEDGER, ORDERS, assert_refused_like_any_other, exchange, is_active};

trials! {
    both: [
        whatever_ends_a_session_ends_what_its_tokens_were_exchanged_for_on_every_instance,
        what_a_client_got_for_itself_may_be_exchanged_too_and_ends_with_that_client,
    ],
    sqlite: [attack_an_exchange_never_gives_a_longer_life, a_service_that_tidies_up_ends_no_session],
    postgres: [an_exchange_goes_on_without_the_database],
}

async fn attack_an_exchange_never_gives_a_longer_life(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let ttl = |seconds| move |it| Registration { access_ttl: Some(Ttl::from_secs(seconds)), ..it };
    house.change("orders", ttl(24 * 60 * 60)).await;
    let login = house.login().await;
    house.server.pass(595);

    let answer = exchange(server, house.orders(), &login.text("access_token"), &[]).await;

    assert_eq!((&answer.json()["expires_in"], &answer.claims()["exp"]), (&json!(5), &login.claims()["exp"]));
    let onward = exchange(server, house.orders(), &answer.text("access_token"), &[]).await;
    assert_eq!(onward.claims()["exp"], login.claims()["exp"], "nor does an exchange of an exchange");
    house.change("orders", ttl(2)).await;
    let answer = exchange(server, house.orders(), &login.text("access_token"), &[]).await;
    assert_eq!(answer.json()["expires_in"], 2, "a client's own bound holds too");
    house.server.stop().await;
}

async fn whatever_ends_a_session_ends_what_its_tokens_were_exchanged_for_on_every_instance(
    database: TestDatabase,
) {
    let house = House::open(&database).await;
    let other = TestServer::start_at(&database, &[], house.server.clock.clone()).await;
    let app = &house.server.app;
    let (alice, id) = ("alice".parse::<Username>().expect("a name"), "app".parse().expect("an id"));

    let orders = "orders".parse().expect("an id");
    let ends = [
        "revoked by its client",
        "session",
        "user disabled",
        "client disabled",
        "service disabled",
        "service",
    ];

    for end in ends {
        let mut goes_on = false;
        let login = house.login().await;
        let first = exchange(&house.server, house.orders(), &login.text("access_token"), &[]).await;
        let more = [("audience", ORDERS)];
        let second = exchange(&other, house.billing(), &first.text("access_token"), &more).await;
        let tokens = [first.text("access_token"), second.text("access_token")];
        for (server, client) in [(&house.server, house.billing()), (&other, house.orders())] {
            assert!(is_active(server, client, &tokens[0]).await, "{end}");
        }

        match end {
            "revoked by its client" => {
                let form = [("token", login.text("access_token"))];
                let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
                assert_eq!(house.server.post_as("/revoke", house.app(), &form).await.status, 200);
            }
            "session" => _ = app.revoke_sessions(&Sessions::OfUser(alice.clone())).await.expect("a user"),
            "user disabled" => {
                app.set_user_enabled(&alice, Switch::Off).await.expect("a user");
                app.set_user_enabled(&alice, Switch::On).await.expect("a user");
            }
            "client disabled" => {
                app.set_client_enabled(&id, Switch::Off).await.expect("a client");
                app.set_client_enabled(&id, Switch::On).await.expect("a client");
            }
            // The session goes on, of which the service was only one part.
            "service disabled" => {
                app.set_client_enabled(&orders, Switch::Off).await.expect("a client");
                app.set_client_enabled(&orders, Switch::On).await.expect("a client");
                goes_on = true;
            }
            _ => {
                app.revoke_sessions(&Sessions::OfClient(orders.clone())).await.expect("a client");
                goes_on = true;
            }
        }
        app.reload().await.expect("a database");
        other.app.reload().await.expect("a database");
        for server in [&house.server, &other] {
            assert_eq!(is_active(server, house.app(), &login.text("access_token")).await, goes_on, "{end}");
            for token in &tokens {
                assert!(!is_active(server, house.billing(), token).await, "{end}");
                assert!(!is_active(server, house.orders(), token).await, "{end}");
                let more = [("audience", LEDGER)];
                let answer = exchange(server, house.billing(), token, &more).await;
                assert_refused_like_any_other(&answer, end);
            }
        }
    }
    other.stop().await;
    house.server.stop().await;
}

async fn what_a_client_got_for_itself_may_be_exchanged_too_and_ends_with_that_client(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let own = server.token_as(house.app(), &[("grant_type", "client_credentials")]).await;

    let answer = exchange(server, house.orders(), &own.text("access_token"), &[]).await;

    let (claims, token) = (answer.claims(), answer.text("access_token"));
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("app"), &json!("orders")));
    assert_eq!((&claims["act"], &claims["status"]), (&json!({"sub": "orders"}), &own.claims()["status"]));
    assert_eq!(claims.get("auth_time"), None);
    let told = server.introspect(house.billing(), &token).await.json();
    assert_eq!((&told["active"], &told["sub"], told.get("username")), (&json!(true), &json!("app"), None));
    assert_eq!(server.userinfo(&token).await.status, 403, "there is no user behind it");
    let report = server.app.inspect_token(&token).await.expect("a report");
    assert!(report.is_valid(), "{report:?}");
    let names: Vec<_> = report.findings.iter().map(|finding| finding.name.as_str()).collect();
    assert!(names.ends_with(&["status", "client", "subject"]), "{names:?}");

    // The token says whose it is: an operator who finds it ends what app got for itself, and nothing of orders.
    let spared = server.token_as(house.orders(), &[("grant_type", "client_credentials")]).await;
    let spared = spared.text("access_token");
    let revoked = server.app.revoke_token(&PlainSecret::new(token.clone())).await.expect("a token of ours");
    assert_eq!(format!("{revoked:?}"), r#"Client(ClientId("app"))"#);
    server.app.reload().await.expect("a database");
    assert!(!is_active(server, house.billing(), &token).await);
    assert!(!is_active(server, house.app(), &own.text("access_token")).await);
    assert!(is_active(server, house.orders(), &spared).await);
    let report = server.app.inspect_token(&token).await.expect("a report");
    assert!(!report.is_valid(), "{report:?}");
    house.server.stop().await;
}

async fn a_service_that_tidies_up_ends_no_session(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let login = house.login().await;
    let own = server.token_as(house.app(), &[("grant_type", "client_credentials")]).await;

    for subject in [login.text("access_token"), own.text("access_token")] {
        let token = exchange(server, house.orders(), &subject, &[]).await.text("access_token");
        let answer = server.post_as("/revoke", house.orders(), &[("token", &token)]).await;

        // RFC 7009 §2.2.1; an answer of 200 would say that it is done.
        assert_refusal(&answer, 400, "unsupported_token_type", Absent);
        let others = server.post_as("/revoke", house.app(), &[("token", &token)]).await;
        assert_refusal(&others, 400, "invalid_grant", Absent);
        assert!(is_active(server, house.app(), &subject).await);
        assert!(is_active(server, house.billing(), &token).await);
    }
    let refresh = server.refresh(house.app(), &login.text("refresh_token")).await;
    assert_eq!(refresh.status, 200);
    house.server.stop().await;
}

async fn an_exchange_goes_on_without_the_database(database: TestDatabase) {
    let relay = Relay::before(&database).await;
    let house = House::open_with(&database, &[("GRANTD_DATABASE__URL", &relay.url)]).await;
    let token = house.login().await.text("access_token");

    relay.cut().await;
    until("the outage is known", async || house.server.get("/health/ready").await.status == 503).await;

    let answer = exchange(&house.server, house.orders(), &token, &[]).await;
    assert_eq!((answer.status, &answer.claims()["act"]), (200, &json!({"sub": "orders"})), "{answer:?}");
    relay.mend().await;
    house.server.stop().await;
}
