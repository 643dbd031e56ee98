//! Revocation by the letter of RFC 7009: who may give back which token, what ends with it, and that an answer means that
//! it is so.

use std::net::Ipv4Addr;
use std::sync::Arc;

use futures_util::future::{join_all, poll_immediate};
use grantd::app::authenticate_client::FromClient;
use grantd::app::revoke::revoke;
use grantd::app::sessions::Sessions;
use grantd::model::audit::AuditRow;
use grantd::model::session::RevocationReason;
use grantd::model::time::Timestamp;
use grantd::protocol::params::Params;
use grantd::storage::revisions::{Subject, bump};
use serde_json::json;

use crate::audit::{BREAK, MEND, meddle};
use crate::introspection::House;
use crate::outage::{assert_put_off, until};
use crate::storage::open;
use crate::support::database::TestDatabase;
use crate::support::refusal::Challenge::{Absent, Given};
use crate::support::refusal::assert_refusal;
use crate::support::runner::trials;
use crate::support::server::{Answer, PASSWORD, PUBLIC, TestServer};

trials! {
    both: [
        rfc7009_2_1_a_refresh_token_of_any_generation_ends_its_session_with_all_that_was_issued_in_it,
        rfc7009_2_1_an_access_token_of_a_user_ends_its_session,
        rfc7009_2_1_a_token_that_a_client_got_for_itself_ends_with_all_of_its_kind,
        what_many_give_back_at_once_on_two_instances_ends_once,
        what_cannot_be_made_durable_is_not_said_to_be_done,
        a_client_that_hangs_up_has_its_token_ended_all_the_same,
        a_client_that_gives_back_its_own_tokens_has_nobody_read_all_clients,
        what_was_ended_is_so_here_also_if_it_cannot_be_read_again,
    ],
    sqlite: [
        rfc7009_2_1_a_token_of_another_client_is_refused_and_stays_good,
        rfc7009_2_2_a_token_that_is_worth_nothing_is_no_error_and_changes_nothing,
        rfc7009_2_1_each_client_authenticates_as_it_does_for_tokens,
    ],
}

async fn give_back(server: &TestServer, client: (&str, &str), token: &str) -> Answer {
    server.post_as("/revoke", client, &[("token", token)]).await
}

#[track_caller]
fn assert_done(answer: &Answer) {
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        (answer.header("cache-control"), answer.header("pragma")),
        ("no-store".into(), "no-cache".into())
    );
}

/// What the audit says was revoked.
async fn revoked(server: &TestServer) -> Vec<AuditRow> {
    let rows = server.app.list_audit(Timestamp::from_millis(i64::MIN), "", 1000).await.expect("readable");
    rows.into_iter().filter(|row| row.act.ends_with("revoked")).collect()
}

async fn is_active(server: &TestServer, client: (&str, &str), token: &str) -> bool {
    server.introspect(client, token).await.json()["active"] == true
}

async fn rfc7009_2_1_a_refresh_token_of_any_generation_ends_its_session_with_all_that_was_issued_in_it(
    database: TestDatabase,
) {
    let house = House::open(&database).await;
    let server = &house.server;
    let other = TestServer::start_at(&database, &[], server.clock.clone()).await;

    for replaced in [false, true] {
        let bystander = server.login(house.app(), "alice").await;
        let login = server.login(house.app(), "alice").await;
        let refreshed = server.refresh(house.app(), &login.text("refresh_token")).await;
        let given = if replaced { &login } else { &refreshed };
        let before = revoked(server).await.len();

        assert_done(&give_back(server, house.app(), &given.text("refresh_token")).await);

        other.app.reload().await.expect("a database");
        for token in [login.text("access_token"), refreshed.text("access_token")] {
            assert!(!is_active(server, house.api(), &token).await, "here at once");
            assert!(!is_active(&other, house.api(), &token).await, "there as soon as it has looked");
        }
        let refused = server.refresh(house.app(), &refreshed.text("refresh_token")).await;
        assert_eq!(refused.refusal(), (400, "invalid_grant".into()));
        let alive = server.refresh(house.app(), &bystander.text("refresh_token")).await;
        assert_eq!(alive.status, 200, "another session of the same user lives on");
        assert!(is_active(server, house.api(), &bystander.text("access_token")).await);
        let rows = revoked(server).await;
        let row = rows.last().expect("a row");
        assert_eq!((rows.len(), row.act.as_str()), (before + 1, "session.revoked"));
        assert_eq!((row.actor.as_str(), row.subject_kind.as_str()), ("client:app", "session"));
        let details: serde_json::Value = serde_json::from_str(&row.details).expect("json");
        assert_eq!(details, json!({"reason": "client", "sessions_ended": 1}));
    }
    let sessions = server.app.list_sessions(&Sessions::All).await.expect("sessions");
    let reasons = sessions.iter().filter_map(|row| row.family.revoked.map(|(_, reason)| reason));
    assert!(reasons.eq([RevocationReason::Client; 2]));
    other.stop().await;
    house.server.stop().await;
}

async fn rfc7009_2_1_an_access_token_of_a_user_ends_its_session(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let login = server.login(house.app(), "alice").await;
    let machine = server.token_as(house.app(), &[("grant_type", "client_credentials")]).await;

    assert_done(&give_back(server, house.app(), &login.text("access_token")).await);

    assert!(!is_active(server, house.api(), &login.text("access_token")).await);
    assert_eq!(server.userinfo(&login.text("access_token")).await.status, 401);
    let refused = server.refresh(house.app(), &login.text("refresh_token")).await;
    assert_eq!(refused.refusal(), (400, "invalid_grant".into()));
    assert!(is_active(server, house.api(), &machine.text("access_token")).await, "the client's own lives on");
    assert_done(&give_back(server, house.app(), &login.text("access_token")).await);
    assert_eq!(revoked(server).await.len(), 1, "once");
    house.server.stop().await;
}

async fn rfc7009_2_1_a_token_that_a_client_got_for_itself_ends_with_all_of_its_kind(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let other = TestServer::start_at(&database, &[], server.clock.clone()).await;
    let token = async |server: &TestServer| {
        server.token_as(house.app(), &[("grant_type", "client_credentials")]).await.text("access_token")
    };
    let (one, two) = (token(server).await, token(&other).await);
    let login = server.login(house.app(), "alice").await;

    assert_done(&give_back(server, house.app(), &one).await);

    other.app.reload().await.expect("a database");
    for dead in [&one, &two] {
        assert!(!is_active(server, house.api(), dead).await);
        assert!(!is_active(&other, house.api(), dead).await);
    }
    for server in [server, &other] {
        let fresh = token(server).await;
        assert!(is_active(server, house.api(), &fresh).await, "the client goes on with another index");
    }
    assert!(is_active(server, house.api(), &login.text("access_token")).await, "sessions live on");
    assert_done(&give_back(server, house.app(), &two).await);
    let rows = revoked(server).await;
    let [row] = &rows[..] else { panic!("one row: {rows:?}") };
    assert_eq!((row.act.as_str(), row.actor.as_str()), ("client.tokens_revoked", "client:app"));
    other.stop().await;
    house.server.stop().await;
}

async fn rfc7009_2_1_a_token_of_another_client_is_refused_and_stays_good(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let stranger = server.full_client("stranger").await;
    server.client("spa", PUBLIC).await;
    let login = server.login(house.app(), "alice").await;
    let machine = server.token_as(house.app(), &[("grant_type", "client_credentials")]).await;
    let (access, refresh) = (login.text("access_token"), login.text("refresh_token"));

    for token in [&access, &refresh, &machine.text("access_token")] {
        for client in [("stranger", stranger.as_str()), house.api(), ("spa", "")] {
            let refused = give_back(server, client, token).await;
            assert_refusal(&refused, 400, "invalid_grant", Absent);
        }
    }

    assert!(is_active(server, house.api(), &access).await);
    assert!(is_active(server, house.api(), &machine.text("access_token")).await);
    assert_eq!(server.refresh(house.app(), &refresh).await.status, 200);
    assert_eq!(revoked(server).await, []);
    house.server.stop().await;
}

async fn rfc7009_2_2_a_token_that_is_worth_nothing_is_no_error_and_changes_nothing(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let login = server.login(house.app(), "alice").await;
    let (access, refresh) = (login.text("access_token"), login.text("refresh_token"));
    let (message, signature) = access.rsplit_once('.').expect("a JWT");
    let forged = format!("{message}.{}", "A".repeat(signature.len()));

    for nothing in
        ["x", "ä", "a.b.c", "grt_x", &format!("{refresh}x"), &forged, &format!("grt_{}", "A".repeat(76))]
    {
        for hint in ["access_token", "refresh_token", "x"] {
            let form = [("token", nothing), ("token_type_hint", hint)];
            assert_done(&server.post_as("/revoke", house.app(), &form).await);
        }
    }
    assert!(is_active(server, house.api(), &access).await);
    server.pass(600);
    assert_done(&give_back(server, house.app(), &access).await);
    let refreshed = server.refresh(house.app(), &refresh).await;
    assert_eq!(refreshed.status, 200, "an expired access token ends nothing");
    assert_eq!(revoked(server).await, []);

    for hint in ["access_token", "x", ""] {
        let login = server.login(house.app(), "alice").await;
        let refresh = login.text("refresh_token");
        let form = [("token", refresh.as_str()), ("token_type_hint", hint)];
        assert_done(&server.post_as("/revoke", house.app(), &form).await);
        assert!(!is_active(server, house.api(), &login.text("access_token")).await, "a wrong hint: {hint}");
    }
    house.server.stop().await;
}

async fn rfc7009_2_1_each_client_authenticates_as_it_does_for_tokens(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    server.client("spa", PUBLIC).await;
    let plain = async |form: &[(&str, &str)]| {
        let request = server.http.post(format!("{}/revoke", server.url)).form(form);
        Answer::of(request.send().await.expect("an answer")).await
    };
    let login =
        [("grant_type", "password"), ("client_id", "spa"), ("username", "alice"), ("password", PASSWORD)];
    let login = server.token(&login).await;
    let (access, refresh) = (login.text("access_token"), login.text("refresh_token"));

    assert_refusal(&plain(&[("token", &refresh)]).await, 401, "invalid_client", Absent);
    assert_refusal(&plain(&[("token", &refresh), ("client_id", "app")]).await, 401, "invalid_client", Absent);
    assert_refusal(&give_back(server, ("app", "wrong"), &refresh).await, 401, "invalid_client", Given);
    assert_refusal(&plain(&[("client_id", "spa")]).await, 400, "invalid_request", Absent);
    assert_eq!(server.userinfo(&access).await.status, 200);

    assert_done(&plain(&[("token", &refresh), ("client_id", "spa")]).await);

    assert_eq!(server.userinfo(&access).await.status, 401);
    house.server.stop().await;
}

async fn what_many_give_back_at_once_on_two_instances_ends_once(database: TestDatabase) {
    let house = House::open(&database).await;
    let other = TestServer::start_at(&database, &[], house.server.clock.clone()).await;
    let login = house.server.login(house.app(), "alice").await;
    let machine = house.server.token_as(house.app(), &[("grant_type", "client_credentials")]).await;
    let tokens = [login.text("refresh_token"), login.text("access_token"), machine.text("access_token")];

    let all = (0..24).map(|number| {
        let server = if number % 2 == 0 { &house.server } else { &other };
        give_back(server, house.app(), &tokens[number % 3])
    });
    for answer in join_all(all).await {
        assert_done(&answer);
    }

    let acts: Vec<_> = revoked(&other).await.into_iter().map(|row| row.act).collect();
    assert_eq!(acts.len(), 2, "{acts:?}");
    other.app.verify_audit(None).await.expect("a chain that holds");
    other.stop().await;
    house.server.stop().await;
}

async fn what_cannot_be_made_durable_is_not_said_to_be_done(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let login = server.login(house.app(), "alice").await;
    let machine = server.token_as(house.app(), &[("grant_type", "client_credentials")]).await;
    let tokens = [login.text("refresh_token"), login.text("access_token"), machine.text("access_token")];
    let db = open(&database).await;

    meddle(&db, BREAK).await;
    for token in &tokens {
        assert_put_off(&give_back(server, house.app(), token).await);
    }
    for token in &tokens[1..] {
        assert!(is_active(server, house.api(), token).await, "nothing was done");
    }
    meddle(&db, MEND).await;

    for token in &tokens {
        assert_done(&give_back(server, house.app(), token).await);
    }
    for token in &tokens[1..] {
        assert!(!is_active(server, house.api(), token).await);
    }
    assert_eq!(revoked(server).await.len(), 2);
    house.server.stop().await;
}

async fn a_client_that_hangs_up_has_its_token_ended_all_the_same(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let login = server.login(house.app(), "alice").await;
    let (id, secret) = house.app();
    let form = format!("token={}&client_id={id}&client_secret={secret}", login.text("refresh_token"));
    let params = Params::parse(form.as_bytes()).expect("a form");
    let db = open(&database).await;
    let mut held = db.begin().await.expect("a transaction");
    bump(&mut held, Subject::Revocations).await.expect("held");

    let sent = FromClient { authorization: None, params: &params, source: Ipv4Addr::LOCALHOST.into() };
    // Whoever hangs up drops what would have answered.
    let answer = poll_immediate(revoke(&server.app, sent)).await;

    assert_eq!(answer, None, "it waits for who holds what it needs");
    assert!(is_active(server, house.app(), &login.text("access_token")).await);
    held.rollback().await.expect("released");
    until("its end", async || !is_active(server, house.app(), &login.text("access_token")).await).await;
    house.server.stop().await;
}

async fn a_client_that_gives_back_its_own_tokens_has_nobody_read_all_clients(database: TestDatabase) {
    let house = House::open(&database).await;
    let one = &house.server;
    let two = TestServer::start_at(&database, &[], one.clock.clone()).await;
    let own = async |server: &TestServer| {
        let answer = server.token_as(house.app(), &[("grant_type", "client_credentials")]).await;
        answer.text("access_token")
    };
    let known = |server: &TestServer, id: &str| {
        server.app.directory().client(&id.parse().expect("an id")).expect("registered")
    };
    let (first, before) = (own(&two).await, [known(one, "api"), known(&two, "api")]);

    assert_done(&give_back(one, house.app(), &first).await);
    two.app.reload().await.expect("a database");

    for (server, before) in [one, &two].into_iter().zip(&before) {
        assert!(!is_active(server, house.api(), &first).await);
        assert!(Arc::ptr_eq(&known(server, "api"), before), "nobody else was read");
    }
    assert_eq!(known(one, "app").status_index, known(&two, "app").status_index);
    for issuer in [one, &two] {
        let next = own(issuer).await;
        assert!(is_active(one, house.api(), &next).await && is_active(&two, house.api(), &next).await);
    }
    two.stop().await;
    house.server.stop().await;
}

/// As when the database goes away between the commit and the reading of what was committed.
async fn what_was_ended_is_so_here_also_if_it_cannot_be_read_again(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let login = server.login(house.app(), "alice").await;
    let machine = server.token_as(house.app(), &[("grant_type", "client_credentials")]).await;
    let db = open(&database).await;
    let unreadable =
        "insert into revocations (status_index, revision, expires_at) values (-1, 1000000, 4102444800)";
    meddle(&db, &[unreadable]).await;

    for given in [login.text("access_token"), machine.text("access_token")] {
        assert_done(&give_back(server, house.app(), &given).await);

        server.app.reload().await.expect_err("something that cannot be read");
        assert!(!is_active(server, house.api(), &given).await);
    }
    let next = server.token_as(house.app(), &[("grant_type", "client_credentials")]).await;
    assert!(is_active(server, house.api(), &next.text("access_token")).await, "and no other");
    db.close().await;
    house.server.stop().await;
}
