//! What an operator does in an incident: each command ends what it says and nothing else, and says how much it ended
//! and by when everybody who checks tokens offline knows.

use grantd::app::error::AdminError;
use grantd::app::revoke_token::RevokedToken;
use grantd::app::sessions::{Ended, Sessions};
use grantd::model::id::ClientId;
use grantd::model::secret::PlainSecret;
use grantd::model::status::StatusIndex;
use grantd::model::time::Ttl;
use grantd::protocol::token_id::status_index_of;

use crate::support::database::TestDatabase;
use crate::support::program::Home;
use crate::support::runner::trials;
use crate::support::server::{Answer, TestServer};

trials! {
    both: [
        what_clients_got_for_themselves_ends_with_all_sessions_of_theirs,
        what_began_before_a_time_ends_and_what_began_after_it_lives,
        a_token_that_was_found_ends_its_session_whatever_its_age,
        a_token_that_a_client_got_for_itself_ends_all_of_them,
        a_token_of_somebody_else_ends_nothing,
    ],
    sqlite: [every_command_says_how_much_it_ended_and_by_when_everybody_knows],
}

fn index(answer: &Answer) -> StatusIndex {
    assert_eq!(answer.status, 200, "{answer:?}");
    status_index_of(answer.claims()["jti"].as_str().expect("a jti")).expect("an index in it")
}

async fn is_revoked(server: &TestServer, answer: &Answer) -> bool {
    server.app.reload().await.expect("readable");
    server.app.revocations().is_revoked(index(answer))
}

async fn own_token(server: &TestServer, client: (&str, &str)) -> Answer {
    server.app.reload().await.expect("readable");
    server.token_as(client, &[("grant_type", "client_credentials")]).await
}

fn secret(answer: &Answer, member: &str) -> PlainSecret {
    PlainSecret::new(answer.text(member))
}

async fn what_clients_got_for_themselves_ends_with_all_sessions_of_theirs(database: TestDatabase) {
    let (server, app_secret) = TestServer::furnished(&database, &[]).await;
    let web_secret = server.full_client("web").await;
    let (app, web) = (("app", app_secret.as_str()), ("web", web_secret.as_str()));
    let (of_app, of_web) = (own_token(&server, app).await, own_token(&server, web).await);
    let login = server.login(app, "alice").await;

    let alice = Sessions::OfUser("alice".parse().expect("a name"));
    let ended = server.app.revoke_sessions(&alice).await.expect("ended");
    assert_eq!(ended, Ended { sessions: 1, clients: 0, api_keys: 0 });
    assert!(is_revoked(&server, &login).await && !is_revoked(&server, &of_app).await);

    let ended = server.app.revoke_sessions(&Sessions::OfClient("app".parse().expect("an id"))).await;
    assert_eq!(ended.expect("ended"), Ended { sessions: 0, clients: 1, api_keys: 0 });
    assert!(is_revoked(&server, &of_app).await && !is_revoked(&server, &of_web).await);
    let again = own_token(&server, app).await;
    assert!(!is_revoked(&server, &again).await, "it gets a new one by asking");

    // `spa` has no tokens of its own, which no table says.
    let ended = server.app.revoke_sessions(&Sessions::All).await.expect("ended");
    assert_eq!(ended, Ended { sessions: 0, clients: 3, api_keys: 0 });
    assert!(is_revoked(&server, &again).await && is_revoked(&server, &of_web).await);
    server.stop().await;
}

async fn what_began_before_a_time_ends_and_what_began_after_it_lives(database: TestDatabase) {
    let (server, app_secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", app_secret.as_str());
    let (old, of_old) = (server.login(app, "alice").await, own_token(&server, app).await);
    server.clock.advance(Ttl::from_secs(60));
    let refreshed = server.refresh(app, &old.text("refresh_token")).await;
    let time = server.clock.now();
    let web_secret = server.full_client("web").await;
    let web = ("web", web_secret.as_str());
    let (new, of_new) = (server.login(app, "alice").await, own_token(&server, web).await);

    let sessions = Sessions::BegunBefore(time);
    assert_eq!(server.app.list_sessions(&sessions).await.expect("listed").len(), 1);
    let ended = server.app.revoke_sessions(&sessions).await.expect("ended");

    assert_eq!(ended, Ended { sessions: 1, clients: 2, api_keys: 0 });
    for answer in [&old, &refreshed, &of_old] {
        assert!(is_revoked(&server, answer).await);
    }
    assert!(!is_revoked(&server, &new).await && !is_revoked(&server, &of_new).await);
    server.stop().await;
}

async fn a_token_that_was_found_ends_its_session_whatever_its_age(database: TestDatabase) {
    let (server, app_secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", app_secret.as_str());

    for kind in ["access token", "expired access token", "refresh token", "replaced refresh token"] {
        let (login, other) = (server.login(app, "alice").await, server.login(app, "alice").await);
        let refreshed = server.refresh(app, &login.text("refresh_token")).await;
        let found = match kind {
            "refresh token" => secret(&refreshed, "refresh_token"),
            "replaced refresh token" => secret(&login, "refresh_token"),
            _ => secret(&login, "access_token"),
        };
        if kind == "expired access token" {
            server.clock.advance(Ttl::from_secs(3600));
        }

        let revoked = server.app.revoke_token(&found).await.expect("ended");
        assert!(matches!(revoked, RevokedToken::Session(_)), "{kind}: {revoked:?}");
        assert!(is_revoked(&server, &refreshed).await && !is_revoked(&server, &other).await, "{kind}");
        let refused = server.refresh(app, &refreshed.text("refresh_token")).await;
        assert_eq!(refused.refusal(), (400, "invalid_grant".into()), "{kind}");
        assert_eq!(server.app.revoke_token(&found).await.expect("an answer"), RevokedToken::Over, "{kind}");
    }
    server.stop().await;
}

async fn a_token_that_a_client_got_for_itself_ends_all_of_them(database: TestDatabase) {
    let (server, app_secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", app_secret.as_str());
    let (found, other) = (own_token(&server, app).await, own_token(&server, app).await);
    let login = server.login(app, "alice").await;
    let id: ClientId = "app".parse().expect("an id");

    let revoked = server.app.revoke_token(&secret(&found, "access_token")).await.expect("ended");

    assert_eq!(revoked, RevokedToken::Client(id.clone()));
    assert!(is_revoked(&server, &other).await && !is_revoked(&server, &login).await);
    let again = own_token(&server, app).await;
    assert!(!is_revoked(&server, &again).await);
    // The old token must not end what came after it.
    let over = server.app.revoke_token(&secret(&found, "access_token")).await.expect("an answer");
    assert_eq!(over, RevokedToken::Over);
    assert!(!is_revoked(&server, &again).await);
    server.app.delete_client(&id).await.expect("deleted");
    let over = server.app.revoke_token(&secret(&again, "access_token")).await.expect("an answer");
    assert_eq!(over, RevokedToken::Over);
    server.stop().await;
}

async fn a_token_of_somebody_else_ends_nothing(database: TestDatabase) {
    let (server, app_secret) = TestServer::furnished(&database, &[]).await;
    let login = server.login(("app", &app_secret), "alice").await;
    let (jwt, refresh) = (login.text("access_token"), login.text("refresh_token"));
    let (message, _) = jwt.rsplit_once('.').expect("a JWT");
    let forged = format!("{message}.{}", "A".repeat(86));
    // Of the same family and a key of somebody else's: well-formed, with a checksum that fits.
    let foreign = {
        use grantd::model::secret::{REFRESH_TOKEN_PREFIX, decode_checked, encode_checked};
        let mut body = decode_checked::<52>(REFRESH_TOKEN_PREFIX, &refresh).expect("well-formed");
        body[51] ^= 1;
        encode_checked(REFRESH_TOKEN_PREFIX, &body[..]).expose().to_owned()
    };

    for token in [forged.as_str(), foreign.as_str(), "a.b.c", "grt_x", "x"] {
        let refused = server.app.revoke_token(&PlainSecret::new(token.to_owned())).await;
        assert!(matches!(refused, Err(AdminError::ForeignToken(_))), "{token}: {refused:?}");
    }

    assert!(!is_revoked(&server, &login).await);
    server.stop().await;
}

async fn every_command_says_how_much_it_ended_and_by_when_everybody_knows(database: TestDatabase) {
    let (server, app_secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", app_secret.as_str());
    let home = Home::new(&[
        ("GRANTD_DATABASE__URL", database.url.as_str()),
        ("GRANTD_KEYS__ENCRYPTION_KEY", "J0bGq0eXo9nH5Yx1mZ3kQv7RtUu2WcLdE8sFa4iPpTg="),
        ("GRANTD_STATUS__TTL", "100s"),
    ]);
    // The commands have a clock of their own, by which what the server began has not begun yet.
    let now = || grantd::app::clock::Clock::System.now();
    let by = |told: &serde_json::Value| {
        let by = told["offline_by"].as_str().and_then(grantd::model::time::Timestamp::from_rfc3339);
        by.expect("a time").as_secs() - now().as_secs()
    };
    let login = server.login(app, "alice").await;
    let found = login.text("access_token");

    let told = home.json_with(&["token", "revoke"], &login.text("refresh_token"));
    assert_eq!(told["revoked"], 1, "{told}");
    assert!((95..=101).contains(&by(&told)), "{told}");
    let over = home.run_with(&["token", "revoke"], &login.text("refresh_token"));
    assert!(over.status == 0 && over.stderr.contains("had ended before"), "{over:?}");
    let foreign = home.run_with(&["token", "revoke"], "x.y.z");
    assert!(foreign.status == 1 && foreign.stderr.contains("cannot be revoked here"), "{foreign:?}");
    assert!(!foreign.stderr.contains(&found));

    server.login(app, "alice").await;
    let ended = home.run(&["session", "revoke", "--client", "app", "--json"]);
    assert!(
        ended.stderr.contains("Ended 1 session and revoked what 1 client got for themselves."),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("--no-status"), "{ended:?}");
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&told["revoked"], &told["clients_cut_off"]), (&1.into(), &1.into()));
    assert!((95..=101).contains(&by(&told)), "{told}");

    for (off, on) in [
        (["user", "disable", "alice"], ["user", "enable", "alice"]),
        (["client", "disable", "app"], ["client", "enable", "app"]),
    ] {
        server.app.reload().await.expect("readable");
        assert_eq!(server.login(app, "alice").await.status, 200);
        let told = home.json(&off);
        assert_eq!(told["sessions_ended"], 1, "{told}");
        assert!((95..=101).contains(&by(&told)), "{told}");
        assert!(home.json(&on).get("offline_by").is_none());
    }

    let kid = home.json(&["key", "list"])[0]["kid"].as_str().expect("a key").to_owned();
    let told = home.json(&["key", "retire", &kid]);
    assert!((295..=301).contains(&by(&told)), "the JWKS may be kept for 300 s: {told}");
    server.stop().await;
}
