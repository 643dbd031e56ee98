//! A worker's thread and runtime end before the process does. Whatever it was doing for others is done all the same.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_util::future::join;
use grantd::app::App;
use grantd::app::authenticate_client::FromClient;
use grantd::app::exchange::{Exchange, exchange};
use grantd::protocol::error::TokenError;
use grantd::protocol::params::Params;
use grantd::protocol::refresh_token::PresentedRefreshToken;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};
use tokio::sync::oneshot;

use crate::outage::operator;
use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::TestServer;

trials! {
    postgres: [a_refresh_that_an_ended_worker_was_writing_for_another_is_answered],
}

/// Redeems a token of the client `app` and gives the next one.
async fn redeem(app: &Arc<App>, secret: &str, token: &str) -> Result<String, TokenError> {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", "app"),
        ("client_secret", secret),
    ];
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let params = Params::parse(body.as_bytes()).expect("a form");
    let source = IpAddr::from(Ipv4Addr::LOCALHOST);
    let sent = FromClient { authorization: None, params: &params, source };
    let request = Exchange { sent, user_address: &[], proofs: &[] };
    Ok(exchange(app, request).await?.refresh_token.expect("a refresh token").expose().to_owned())
}

/// Keeps the sessions of these tokens from being written until it is told to let go.
async fn lock(database: &TestDatabase, tokens: &[&String]) -> PgConnection {
    let mut operator = operator(database).await;
    operator.execute("begin").await.expect("begun");
    for token in tokens {
        let family = PresentedRefreshToken::read(token).expect("a refresh token").family;
        let locked = format!("select 1 from families where id = '{family}' for update");
        assert_eq!(operator.execute(AssertSqlSafe(locked)).await.expect("locked").rows_affected(), 1);
    }
    operator
}

/// Comes back when so many statements wait for a lock.
async fn until_so_many_wait(operator: &mut PgConnection, count: i64) {
    let question = "select count(*) from pg_stat_activity
                    where wait_event_type = 'Lock' and datname = current_database()";
    for _ in 0..4000 {
        let waiting: i64 = operator.fetch_one(question).await.expect("Postgres answers").get(0);
        if waiting == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never did {count} wait for a lock");
}

/// Two are written at a time. Both belong to a worker, and whoever is next in line does not.
async fn a_refresh_that_an_ended_worker_was_writing_for_another_is_answered(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let token = server.login(("app", &secret), "alice").await.text("refresh_token");
        // From now on the instance remembers the session, and stands in line without a look at the database.
        tokens.push(redeem(&server.app, &secret, &token).await.expect("refreshed"));
    }
    let [one, two, three] = <[String; 3]>::try_from(tokens).expect("three");
    let mut at_first = lock(&database, &[&one, &two]).await;
    let mut then = lock(&database, &[&three]).await;
    let mut observer = operator(&database).await;

    let (stop, stopped) = oneshot::channel::<()>();
    let (go_on, goes_on) = oneshot::channel::<()>();
    let (answered, answers) = mpsc::channel();
    let worker = std::thread::spawn({
        let (app, secret) = (Arc::clone(&server.app), secret.clone());
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(async move {
                let second = async {
                    drop(goes_on.await);
                    redeem(&app, &secret, &two).await
                };
                let both = join(redeem(&app, &secret, &one), second).await;
                answered.send(both).expect("somebody waits");
                drop(stopped.await);
            });
        }
    });
    // One after the other, so that they are not written together.
    until_so_many_wait(&mut observer, 1).await;
    drop(go_on);
    until_so_many_wait(&mut observer, 2).await;
    let mut others = Box::pin(redeem(&server.app, &secret, &three));
    assert!(futures_util::poll!(&mut others).is_pending(), "it stands in line");
    at_first.execute("rollback").await.expect("let go");
    let (one, two) = loop {
        match answers.try_recv() {
            Ok(both) => break both,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    until_so_many_wait(&mut observer, 1).await;

    drop(stop);
    worker.join().expect("a worker that ends well");
    then.execute("rollback").await.expect("let go");

    let next = others.await.expect("it was written, so it is answered");
    redeem(&server.app, &secret, &next).await.expect("and the session goes on");
    server.stop().await;
}
