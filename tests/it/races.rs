//! Many at once: parallel refreshes, logins, changes and revocations, on one instance and on two.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grantd::app::clients::Switch;
use grantd::app::sessions::Sessions;
use grantd::app::users::{NewPassword, UserChange};
use grantd::model::client::Registration;
use grantd::model::secret::PlainSecret;
use tokio::task::JoinSet;

use crate::storage;
use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, PASSWORD, TestServer};

trials! {
    both: [
        parallel_refreshes_of_one_token_share_one_successor,
        parallel_refreshes_of_a_public_client_share_one_successor_up_to_the_limit,
        a_reuse_among_parallel_refreshes_ends_the_family_for_all,
        once_a_revocation_has_answered_nothing_works,
        once_a_user_is_switched_off_no_login_under_way_works,
        parallel_logins_of_one_user_all_succeed,
        parallel_first_logins_with_an_imported_hash_all_succeed,
        of_parallel_creations_of_one_client_one_wins,
        of_parallel_creations_of_one_user_one_wins,
        a_client_that_hangs_up_and_asks_again_keeps_its_session,
        a_public_client_that_hangs_up_and_asks_again_keeps_its_session,
    ],
    postgres: [
        parallel_refreshes_over_two_instances_share_one_successor,
        what_one_instance_ends_is_ended_on_the_other,
    ],
}

const MANY: usize = 16;

/// A server with a confidential client, a public client and a user; cheap to hand to tasks.
struct House {
    server: TestServer,
    secret: String,
}

impl House {
    async fn open(database: &TestDatabase) -> Rc<Self> {
        let (server, secret) = TestServer::furnished(database, &[]).await;
        Rc::new(Self { server, secret })
    }

    async fn login(&self) -> Answer {
        self.server.login(("app", &self.secret), "alice").await
    }

    async fn redeem(&self, token: &str) -> Answer {
        self.server.refresh(("app", &self.secret), token).await
    }

    async fn login_in_public(&self) -> Answer {
        let form =
            [("grant_type", "password"), ("client_id", "spa"), ("username", "alice"), ("password", PASSWORD)];
        self.server.token(&form).await
    }

    async fn redeem_in_public(&self, token: &str) -> Answer {
        let form = [("grant_type", "refresh_token"), ("client_id", "spa"), ("refresh_token", token)];
        self.server.token(&form).await
    }

    async fn close(self: Rc<Self>) {
        Rc::into_inner(self).expect("every task has ended").server.stop().await;
    }
}

/// Starts `count` of them at once and waits for all.
async fn at_once<F: Future<Output: 'static> + 'static>(
    count: usize,
    make: impl Fn(usize) -> F,
) -> Vec<F::Output> {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        tasks.spawn_local(make(number));
    }
    tasks.join_all().await
}

/// The one refresh token that all of these answers hold, each with an access token of its own.
fn common_successor<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> String {
    let answers: Vec<_> = answers.into_iter().collect();
    let texts = |member: &str| answers.iter().map(|answer| answer.text(member)).collect::<BTreeSet<_>>();
    assert_eq!(texts("access_token").len(), answers.len());
    let successors = texts("refresh_token");
    assert_eq!(successors.len(), 1, "two live tokens in one family");
    successors.into_iter().next().expect("one")
}

fn assert_refused(answer: &Answer) {
    assert_eq!(answer.refusal(), (400, "invalid_grant".into()), "{answer:?}");
}

async fn parallel_refreshes_of_one_token_share_one_successor(database: TestDatabase) {
    let house = House::open(&database).await;
    let mut token = house.login().await.text("refresh_token");

    for _round in 0..3 {
        let answers = at_once(MANY, |_| {
            let (house, token) = (Rc::clone(&house), token.clone());
            async move { house.redeem(&token).await }
        })
        .await;

        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        let successor = common_successor(&answers);
        assert_ne!(successor, token);
        token = successor;
    }

    assert_eq!(house.redeem(&token).await.status, 200, "the family lives on");
    house.close().await;
}

async fn parallel_refreshes_of_a_public_client_share_one_successor_up_to_the_limit(database: TestDatabase) {
    let house = House::open(&database).await;
    let token = house.login_in_public().await.text("refresh_token");

    let answers = at_once(MANY, |_| {
        let (house, token) = (Rc::clone(&house), token.clone());
        async move { house.redeem_in_public(&token).await }
    })
    .await;

    let (granted, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(granted.len(), 6, "one rotation and five retries: {answers:?}");
    refused.into_iter().for_each(assert_refused);
    let successor = common_successor(granted);
    assert_eq!(house.redeem_in_public(&successor).await.status, 200, "an honest client is not logged out");
    house.close().await;
}

async fn parallel_refreshes_over_two_instances_share_one_successor(database: TestDatabase) {
    let house = House::open(&database).await;
    let clock = house.server.clock.clone();
    let other = TestServer::start_at(&database, &[], clock).await;
    let other = Rc::new(House { server: other, secret: house.secret.clone() });
    let mut token = house.login().await.text("refresh_token");

    for _round in 0..3 {
        let answers = at_once(MANY, |number| {
            let house = Rc::clone(if number % 2 == 0 { &house } else { &other });
            let token = token.clone();
            async move { house.redeem(&token).await }
        })
        .await;

        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        token = common_successor(&answers);
    }

    assert_eq!(other.redeem(&token).await.status, 200);
    assert_eq!(house.redeem(&token).await.status, 200, "a retry works at the other instance, too");
    house.close().await;
    other.close().await;
}

async fn what_one_instance_ends_is_ended_on_the_other(database: TestDatabase) {
    let house = House::open(&database).await;
    let clock = house.server.clock.clone();
    let other = TestServer::start_at(&database, &[], clock).await;
    let other = Rc::new(House { server: other, secret: house.secret.clone() });
    let first = house.login().await.text("refresh_token");
    let second = house.redeem(&first).await.text("refresh_token");
    let third = other.redeem(&second).await.text("refresh_token");
    let another = other.login().await.text("refresh_token");

    assert_refused(&house.redeem(&first).await);
    assert_refused(&other.redeem(&third).await);
    assert_eq!(house.server.app.revoke_sessions(&Sessions::All).await.expect("a database").sessions, 1);
    assert_refused(&other.redeem(&another).await);

    house.close().await;
    other.close().await;
}

async fn a_reuse_among_parallel_refreshes_ends_the_family_for_all(database: TestDatabase) {
    let house = House::open(&database).await;
    let first = house.login().await.text("refresh_token");
    let second = house.redeem(&first).await.text("refresh_token");
    let third = house.redeem(&second).await.text("refresh_token");

    let answers = at_once(MANY, |number| {
        let (house, stolen, live) = (Rc::clone(&house), first.clone(), third.clone());
        async move {
            let thief = number % 2 == 0;
            (thief, house.redeem(if thief { &stolen } else { &live }).await)
        }
    })
    .await;

    let mut seen = BTreeSet::from([first, second, third]);
    for (thief, answer) in &answers {
        if *thief || answer.status != 200 {
            assert_refused(answer);
        } else {
            seen.insert(answer.text("refresh_token"));
        }
    }
    for token in &seen {
        assert_refused(&house.redeem(token).await);
    }
    house.close().await;
}

async fn once_a_revocation_has_answered_nothing_works(database: TestDatabase) {
    let house = House::open(&database).await;
    let mut refreshing = JoinSet::new();
    for _ in 0..4 {
        let (house, mut token) = (Rc::clone(&house), house.login().await.text("refresh_token"));
        // Goes on refreshing until it is refused; gives the last tokens it had.
        refreshing.spawn_local(async move {
            let mut had = vec![token.clone()];
            loop {
                let answer = house.redeem(&token).await;
                if answer.status != 200 {
                    assert_refused(&answer);
                    return had;
                }
                token = answer.text("refresh_token");
                had.push(token.clone());
            }
        });
    }
    // Some refreshes are under way by now, and one login.
    let late = house.redeem(&house.login().await.text("refresh_token")).await.text("refresh_token");

    let ended = house.server.app.revoke_sessions(&Sessions::All).await.expect("a database").sessions;

    assert_refused(&house.redeem(&late).await);
    assert_eq!(ended, 5);
    // That each of them ends shows that no refresh slipped through; now from the newest to the oldest.
    for had in refreshing.join_all().await {
        for token in had.iter().rev().take(3) {
            assert_refused(&house.redeem(token).await);
        }
    }
    house.close().await;
}

async fn once_a_user_is_switched_off_no_login_under_way_works(database: TestDatabase) {
    let house = House::open(&database).await;
    let alice = "alice".parse().expect("a name");
    for round in 0..5 {
        let switching = async {
            // Later in each round, so that the logins are caught at different points.
            for _ in 0..round * 60 {
                tokio::task::yield_now().await;
            }
            house.server.app.set_user_enabled(&alice, Switch::Off).await.expect("a user")
        };
        let logins = at_once(3, |_| {
            let house = Rc::clone(&house);
            async move { house.login().await }
        });

        let (answers, _) = tokio::join!(logins, switching);

        for answer in answers {
            if answer.status == 200 {
                assert_refused(&house.redeem(&answer.text("refresh_token")).await);
            } else {
                assert_refused(&answer);
            }
        }
        house.server.app.set_user_enabled(&alice, Switch::On).await.expect("a user");
        house.server.pass(24 * 60 * 60);
    }
    house.close().await;
}

async fn parallel_logins_of_one_user_all_succeed(database: TestDatabase) {
    let house = House::open(&database).await;

    let answers = at_once(8, |_| {
        let house = Rc::clone(&house);
        async move { house.login().await }
    })
    .await;

    let tokens: BTreeSet<_> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.text("refresh_token")
        })
        .collect();
    assert_eq!(tokens.len(), 8);
    for token in &tokens {
        assert_eq!(house.redeem(token).await.status, 200, "each is a session of its own");
    }
    house.close().await;
}

async fn parallel_first_logins_with_an_imported_hash_all_succeed(database: TestDatabase) {
    let house = House::open(&database).await;
    // As another system stored it; the first login replaces it by a hash of our own.
    let imported = bcrypt::hash(PASSWORD, 4).expect("a hash");
    let password = NewPassword::Hash(PlainSecret::new(imported));
    let bob = "bob".parse().expect("a name");
    house.server.app.create_user(bob, UserChange::default(), password).await.expect("a user");

    let answers = at_once(4, |_| {
        let house = Rc::clone(&house);
        async move { house.server.login(("app", &house.secret), "bob").await }
    })
    .await;

    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let user = house.server.app.find_user(&"bob".parse().expect("a name")).await.expect("a user");
    assert!(user.password_hash.starts_with("$argon2id$"));
    house.close().await;
}

async fn of_parallel_creations_of_one_client_one_wins(database: TestDatabase) {
    let house = House::open(&database).await;

    let made = at_once(8, |_| {
        let app = Arc::clone(&house.server.app);
        let registration = Registration {
            scope: "read".parse().expect("a scope"),
            ..storage::client("wanted").registration
        };
        async move { app.create_client(Some("wanted".parse().expect("an id")), registration, None).await }
    })
    .await;

    let mut winners = made.into_iter().filter_map(|made| match made {
        Ok(winner) => winner.secret,
        Err(error) => {
            assert!(error.to_string().contains("exists already"), "{error}");
            None
        }
    });
    let secret = winners.next().expect("a winner");
    assert!(winners.next().is_none(), "one winner");
    let form = [("grant_type", "client_credentials")];
    assert_eq!(house.server.token_as(("wanted", secret.expose()), &form).await.status, 200);
    house.close().await;
}

async fn of_parallel_creations_of_one_user_one_wins(database: TestDatabase) {
    let house = House::open(&database).await;

    let made = at_once(8, |number| {
        let app = Arc::clone(&house.server.app);
        // One name in the eyes of RFC 8265, however it is written.
        let name = if number % 2 == 0 { "Bob" } else { "bob" }.parse().expect("a name");
        let password = NewPassword::Plain(PlainSecret::new(PASSWORD.into()));
        async move { app.create_user(name, UserChange::default(), password).await.is_ok() }
    })
    .await;

    assert_eq!(made.iter().filter(|won| **won).count(), 1);
    house.close().await;
}

async fn a_client_that_hangs_up_and_asks_again_keeps_its_session(database: TestDatabase) {
    let house = House::open(&database).await;
    let basic = STANDARD.encode(format!("app:{}", house.secret));
    for round in 0..24 {
        let token = house.login().await.text("refresh_token");
        // Given up at another point each time: before it is sent, while it is answered, after that.
        tokio::select! {
            biased;
            () = yields(round * 12) => {}
            _given_up = house.redeem(&token) => {}
        }
        // Sent completely, and nobody stays to read the answer.
        let form = format!("grant_type=refresh_token&refresh_token={token}");
        send_and_hang_up(&house, &format!("authorization: Basic {basic}\r\n"), &form);

        let answer = house.redeem(&token).await;

        assert_eq!(answer.status, 200, "round {round}: {answer:?}");
        let next = house.redeem(&answer.text("refresh_token")).await;
        assert_eq!(next.status, 200, "round {round}: {next:?}");
    }
    house.close().await;
}

async fn a_public_client_that_hangs_up_and_asks_again_keeps_its_session(database: TestDatabase) {
    let house = House::open(&database).await;
    for round in 0..8 {
        let token = house.login_in_public().await.text("refresh_token");
        tokio::select! {
            biased;
            () = yields(round * 30) => {}
            _given_up = house.redeem_in_public(&token) => {}
        }
        let form = format!("grant_type=refresh_token&client_id=spa&refresh_token={token}");
        send_and_hang_up(&house, "", &form);

        let answer = house.redeem_in_public(&token).await;

        assert_eq!(answer.status, 200, "round {round}: {answer:?}");
        let next = house.redeem_in_public(&answer.text("refresh_token")).await;
        assert_eq!(next.status, 200, "round {round}: {next:?}");
    }
    house.close().await;
}

async fn yields(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

fn send_and_hang_up(house: &House, header: &str, body: &str) {
    let address = house.server.url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).expect("a server that listens");
    let request = format!(
        "POST /token HTTP/1.1\r\nhost: {address}\r\n{header}content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).expect("a request that can be sent");
}
