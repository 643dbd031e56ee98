//! An apply beside logins, refreshes and single commands on Postgres: it waits for them and they for it, and neither is
//! killed as a deadlock. And what it has written stays written and told, whatever fails after it.

use std::sync::Arc;

use grantd::app::apply::{Applied, ApplyError};
use grantd::model::client::{GrantType, Registration};
use grantd::model::declared::{Declared, DeclaredClient, DeclaredUser};
use sqlx::PgConnection;

use crate::api_keys::{API, House, of_batch};
use crate::audit::meddle;
use crate::outage::{operator, say, until};
use crate::storage::open;
use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::TestServer;

trials! {
    both: [a_secret_that_was_made_is_told_though_what_follows_the_commit_fails],
    postgres: [
        attack_a_login_under_way_is_no_deadlock_with_a_client_that_is_switched_off,
        attack_a_new_password_is_no_deadlock_with_users_that_are_changed,
        attack_refreshes_of_several_sessions_are_no_deadlock_with_users_that_are_switched_off,
    ],
}

fn user(name: &str, enabled: Option<bool>) -> DeclaredUser {
    DeclaredUser {
        username: name.parse().expect("a name"),
        email: Some(format!("{name}@example.com")),
        name: None,
        roles: Vec::new(),
        password: None,
        enabled,
    }
}

fn client(id: &str, registration: Registration, enabled: Option<bool>) -> DeclaredClient {
    DeclaredClient { id: id.parse().expect("an id"), registration, secret: None, enabled }
}

/// Applies while somebody else does `first` and, once the apply waits for that, `then`, in one transaction.
async fn beside(
    database: &TestDatabase,
    server: &TestServer,
    declared: Declared,
    (first, then): (String, String),
) -> Result<Applied, ApplyError> {
    let (mut other, mut watching) = (operator(database).await, operator(database).await);
    say(&mut other, "begin".into()).await;
    say(&mut other, first).await;
    let app = Arc::clone(&server.app);
    let applied = actix_web::rt::spawn(async move { app.apply(&declared, &[]).await });
    until("the apply waits", async || waits(&mut watching).await).await;
    say(&mut other, then).await;
    say(&mut other, "commit".into()).await;
    applied.await.expect("no panic")
}

async fn waits(watching: &mut PgConnection) -> bool {
    let text = "select count(*) from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock'";
    let waiting: (i64,) = sqlx::query_as(text).fetch_one(watching).await.expect("readable");
    waiting.0 > 0
}

async fn attack_a_login_under_way_is_no_deadlock_with_a_client_that_is_switched_off(database: TestDatabase) {
    let (server, _) = TestServer::furnished(&database, &[]).await;
    let app = server.app.find_client(&"app".parse().expect("an id")).await.expect("there");
    let declared = Declared {
        clients: Some(vec![client("app", app.registration, Some(false))]),
        users: Some(vec![user("alice", None)]),
        ..Declared::default()
    };

    let login = "update users set last_login_at = 7 where username = 'alice'";
    let session = "select from clients where id = 'app' for key share";
    let applied = beside(&database, &server, declared, (login.into(), session.into())).await;

    assert_eq!(applied.expect("applied").steps.len(), 2);
    server.stop().await;
}

async fn attack_a_new_password_is_no_deadlock_with_users_that_are_changed(database: TestDatabase) {
    let (server, _) = TestServer::furnished(&database, &[]).await;
    server.user("bob", &[]).await;
    let users = vec![user("alice", None), user("bob", Some(false))];
    let declared = Declared { users: Some(users), ..Declared::default() };

    let ends_sessions = "update revisions set value = value + 1 where subject = 'revocations'";
    let password = "update users set password_hash = password_hash where username = 'alice'";
    let applied = beside(&database, &server, declared, (ends_sessions.into(), password.into())).await;

    assert_eq!(applied.expect("applied").steps.len(), 2);
    server.stop().await;
}

async fn attack_refreshes_of_several_sessions_are_no_deadlock_with_users_that_are_switched_off(
    database: TestDatabase,
) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    server.user("bob", &[]).await;
    for name in ["alice", "bob"] {
        assert_eq!(server.login(("app", &secret), name).await.status, 200);
    }
    let sessions = "select username from families join users on users.id = user_id order by families.id";
    let sessions: Vec<(String,)> =
        sqlx::query_as(sessions).fetch_all(&mut operator(&database).await).await.expect("readable");
    let [(lower,), (upper,)] = &sessions[..] else { panic!("{sessions:?}") };
    // Against the order of their sessions.
    let users = vec![user(upper, Some(false)), user(lower, Some(false))];
    let declared = Declared { users: Some(users), ..Declared::default() };

    let refresh = |of: &str| {
        format!(
            "update families set generation = generation + 1
             where user_id = (select id from users where username = '{of}')"
        )
    };
    let applied = beside(&database, &server, declared, (refresh(lower), refresh(upper))).await;

    assert_eq!(applied.expect("applied").ended, Some(2));
    server.stop().await;
}

async fn a_secret_that_was_made_is_told_though_what_follows_the_commit_fails(database: TestDatabase) {
    let (house, db) = (House::open(&database).await, open(&database).await);
    let app = &house.server.app;
    house.key(of_batch("read", &[API])).await;
    meddle(&db, &["update api_keys set audience = '?'", "update revisions set value = value + 1"]).await;
    let registration =
        || Registration { grant_types: vec![GrantType::ClientCredentials], ..Registration::default() };
    let declared =
        Declared { clients: Some(vec![client("declared", registration(), None)]), ..Declared::default() };

    let made = app.create_client(Some("made".parse().expect("an id")), registration(), None).await;
    let applied = app.apply(&declared, &[]).await;

    app.reload().await.expect_err("an unreadable key");
    assert!(made.expect("it was written").secret.is_some());
    assert_eq!(applied.expect("it was written").generated.len(), 1);
    db.close().await;
    house.server.stop().await;
}
