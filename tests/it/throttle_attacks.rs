//! Guessing as attackers do it: from many places, at many accounts, hanging up, across crashes. What is known of its
//! users logs in all the same.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use grantd::app::App;
use grantd::app::sessions::Sessions;
use grantd::model::secret::PlainSecret;
use grantd::storage::Db;
use tokio::task::JoinSet;

use crate::storage::open;
use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, PASSWORD, START, TestServer};
use crate::support::wire::{Wire, basic, post};
use crate::throttle::{House, assert_throttled, assert_wrong};

trials! {
    both: [
        guesses_from_a_hundred_places_lock_nobody_out_of_where_they_are_known,
        one_place_that_guesses_at_many_accounts_is_stopped_and_who_is_known_there_is_not,
        a_guess_whose_client_hangs_up_is_counted,
        a_right_password_whose_client_hangs_up_makes_no_session_and_gives_its_place_back,
        places_that_a_crash_left_behind_count_as_failed_when_their_time_is_over,
        right_logins_at_two_instances_at_once_all_succeed,
        wrong_guesses_among_right_ones_gain_nothing,
        nothing_is_remembered_of_who_did_nothing_wrong,
    ],
    sqlite: [
        a_source_is_known_for_thirty_days,
        the_failures_of_a_known_source_are_its_own,
        a_weak_client_secret_is_guessed_no_faster_in_parallel,
    ],
}

/// Behind a proxy of this machine, so that a request comes from wherever it says.
const PROXIED: (&str, &str) = ("GRANTD_SERVER__TRUSTED_PROXIES", "127.0.0.1");
const HOME: &str = "203.0.113.7";

/// A login at the public client from an address.
async fn from(house: &House, address: &str, username: &str, password: &str) -> Answer {
    let form =
        [("grant_type", "password"), ("client_id", "spa"), ("username", username), ("password", password)];
    let request = house.server.http.post(format!("{}/token", house.server.url)).form(&form);
    Answer::of(request.header("x-forwarded-for", address).send().await.expect("an answer")).await
}

fn place(number: usize) -> String {
    format!("198.51.{}.{}", 100 + number / 250, 1 + number % 250)
}

/// How many counters of failed logins there are.
async fn counters(database: &TestDatabase) -> i64 {
    let db = open(database).await;
    const COUNT: &str = "select count(*) from login_attempts";
    let count: i64 = match &db {
        Db::Sqlite { readers, .. } => sqlx::query_scalar(COUNT)
            .fetch_one(&mut readers.connect().await.expect("a connection"))
            .await
            .expect("a number"),
        Db::Postgres(lender) => sqlx::query_scalar(COUNT)
            .fetch_one(&mut lender.connect().await.expect("a connection"))
            .await
            .expect("a number"),
    };
    db.close().await;
    count
}

async fn guesses_from_a_hundred_places_lock_nobody_out_of_where_they_are_known(database: TestDatabase) {
    let house = House::open(&database, &[PROXIED]).await;
    assert_eq!(from(&house, HOME, "alice", PASSWORD).await.status, 200);

    for name in ["alice", "nobody"] {
        for number in 0..110 {
            let answer = from(&house, &place(number), name, "a wrong guess").await;
            match number {
                0..100 => assert_wrong(&answer),
                _ => assert_throttled(&answer, 900),
            }
        }
        // The right password is no better than a guess where the account is not known.
        assert_throttled(&from(&house, &place(200), name, PASSWORD).await, 900);
    }

    assert_eq!(from(&house, HOME, "alice", PASSWORD).await.status, 200);
    assert_eq!(house.login().await.status, 200, "at a back-end, which is a place of its own");
    house.server.pass(900);
    for name in ["alice", "nobody"] {
        assert_wrong(&from(&house, &place(201), name, "a wrong guess").await);
        assert_throttled(&from(&house, &place(202), name, "a wrong guess").await, 900);
    }
    // A day after the first of them all is forgotten.
    house.server.pass(24 * 60 * 60 - 900);
    assert_eq!(from(&house, &place(203), "alice", PASSWORD).await.status, 200);
    house.server.stop().await;
}

async fn one_place_that_guesses_at_many_accounts_is_stopped_and_who_is_known_there_is_not(
    database: TestDatabase,
) {
    let house = House::open(&database, &[PROXIED]).await;
    house.server.user("bob", &[]).await;
    let shared = "198.51.100.1";
    assert_eq!(from(&house, shared, "alice", PASSWORD).await.status, 200);

    for number in 0..110 {
        let answer = from(&house, shared, &format!("user{number}"), "a wrong guess").await;
        match number {
            0..100 => assert_wrong(&answer),
            _ => assert_throttled(&answer, 900),
        }
    }

    assert_throttled(&from(&house, shared, "bob", PASSWORD).await, 900);
    assert_eq!(from(&house, shared, "alice", PASSWORD).await.status, 200);
    assert_eq!(from(&house, HOME, "bob", PASSWORD).await.status, 200);
    // Now bob is known at his place, and only there.
    assert_throttled(&from(&house, shared, "bob", PASSWORD).await, 900);
    // Each name costs two rows besides the one of the place, and none once it is stopped.
    assert_eq!(counters(&database).await, 201);
    house.server.stop().await;
}

/// The hash of another password, a hundred times as slow as a guess in these tests.
const SLOW: &str =
    "$argon2id$v=19$m=131072,t=32,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// So that logins stand in the queue for as long as [`keep_busy`] has the thread, which a busy machine gives little time.
const ONE_THREAD: [(&str, &str); 2] =
    [("GRANTD_PASSWORDS__THREADS", "1"), ("GRANTD_PASSWORDS__QUEUE_DEADLINE", "60s")];

async fn keep_busy(app: &Arc<App>) {
    let slow = Arc::clone(app);
    tokio::task::spawn_local(async move {
        let _wrong = slow.pool().verify(PlainSecret::new("password".into()), Some(SLOW.into())).await;
    });
    while app.pool().running() == 0 {
        tokio::task::yield_now().await;
    }
}

/// Sends logins whose clients hang up before they are judged, and waits until they were.
async fn hang_up(house: &House, password: &str, times: usize) {
    let app = &house.server.app;
    keep_busy(app).await;
    let header = format!("Authorization: {}\r\n", basic(&format!("app:{}", house.secret)));
    let body = format!("grant_type=password&username=alice&password={}", password.replace(' ', "+"));
    let mut wires = Vec::new();
    for number in 0..times {
        let mut wire = Wire::open(&house.server.url).await;
        wire.send(post(&header, &body)).await;
        while app.pool().queue_depth() <= number {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        wires.push(wire);
    }
    wires.into_iter().for_each(Wire::cut);
    // Long enough for the server to see that they are gone, while the thread is still busy.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((app.pool().running(), app.pool().queue_depth()), (1, times), "none was judged yet");
    while app.pool().running() + app.pool().queue_depth() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_guess_whose_client_hangs_up_is_counted(database: TestDatabase) {
    let house = House::open(&database, &ONE_THREAD).await;

    hang_up(&house, "a wrong guess", 5).await;

    // It stands in line until they are counted, and then has to wait because of them.
    assert_throttled(&house.login().await, 1);
    house.server.pass(1);
    assert_eq!(house.login().await.status, 200);
    assert_eq!(counters(&database).await, 0);
    house.server.stop().await;
}

async fn a_right_password_whose_client_hangs_up_makes_no_session_and_gives_its_place_back(
    database: TestDatabase,
) {
    let house = House::open(&database, &ONE_THREAD).await;
    house.guess_wrong("alice", 3).await;

    hang_up(&house, PASSWORD, 2).await;

    // Two places are free again, and the failures before are not forgotten: nobody heard that it was right.
    house.guess_wrong("alice", 2).await;
    assert_throttled(&house.login().await, 1);
    assert!(house.server.app.list_sessions(&Sessions::All).await.expect("readable").is_empty());
    house.server.stop().await;
}

async fn places_that_a_crash_left_behind_count_as_failed_when_their_time_is_over(database: TestDatabase) {
    let house = House::open(&database, &[("GRANTD_PASSWORDS__QUEUE_DEADLINE", "1s")]).await;
    house.guess_wrong("alice", 1).await;
    // As an instance leaves it that is killed while it hashes: nobody will ever end these guesses.
    let left =
        format!("update login_attempts set count = 0, pending = '{0} {0} {0} {0} {0}'", START.as_millis());
    let left = sqlx::AssertSqlSafe(left);
    let db = open(&database).await;
    match &db {
        Db::Sqlite { write, .. } => _ = sqlx::query(left).execute(write).await.expect("written"),
        Db::Postgres(lender) => {
            _ = sqlx::query(left)
                .execute(&mut lender.connect().await.expect("a connection"))
                .await
                .expect("written")
        }
    }
    db.close().await;

    // They may be judged right now, so that nobody else is; but not for ever.
    let answer = house.login().await;
    assert_eq!(answer.refusal(), (503, "temporarily_unavailable".into()), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "1");
    house.server.pass(63);
    house.guess_wrong("alice", 1).await;
    assert_throttled(&house.login().await, 2);
    house.server.pass(2);
    assert_eq!(house.login().await.status, 200);
    house.server.stop().await;
}

/// A house of two instances on one clock.
async fn two(database: &TestDatabase, overrides: &[(&str, &str)]) -> [Rc<House>; 2] {
    let house = House::open(database, overrides).await;
    let server = TestServer::start_at(database, overrides, house.server.clock.clone()).await;
    let secret = house.secret.clone();
    [Rc::new(house), Rc::new(House { server, secret })]
}

async fn close(houses: [Rc<House>; 2]) {
    for house in houses {
        Rc::into_inner(house).expect("every task has ended").server.stop().await;
    }
}

async fn right_logins_at_two_instances_at_once_all_succeed(database: TestDatabase) {
    let houses = two(&database, &[PROXIED]).await;
    let mut logins = JoinSet::new();

    // Twenty at each, half of them where the user is not known yet: four times as many as may fail for free.
    for number in 0..40 {
        let house = Rc::clone(&houses[number % 2]);
        logins.spawn_local(async move {
            if number % 4 < 2 { house.login().await } else { from(&house, HOME, "alice", PASSWORD).await }
        });
    }
    let answers = logins.join_all().await;

    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(counters(&database).await, 0);
    close(houses).await;
}

async fn wrong_guesses_among_right_ones_gain_nothing(database: TestDatabase) {
    let houses = two(&database, &[]).await;
    let mut guesses = JoinSet::new();

    for number in 0..48 {
        let house = Rc::clone(&houses[number % 2]);
        let is_right = number % 12 < 2;
        let password = if is_right { PASSWORD } else { "a wrong guess" };
        guesses.spawn_local(async move { (is_right, house.guess("alice", password).await) });
    }
    let answers = guesses.join_all().await;

    let count = |right, status| answers.iter().filter(|(r, a)| *r == right && a.status == status).count();
    let (rights, wrongs) = (count(true, 200), count(false, 400));
    // Each right one forgives those before it.
    assert!(wrongs <= 5 * (rights + 1), "{wrongs} guesses beside {rights} logins");
    assert_eq!(rights + count(true, 429), 8, "{answers:?}");
    assert_eq!(wrongs + count(false, 429), 40, "{answers:?}");
    close(houses).await;
}

async fn nothing_is_remembered_of_who_did_nothing_wrong(database: TestDatabase) {
    let house = House::open(&database, &[PROXIED]).await;
    for _ in 0..2 {
        assert_eq!(house.login().await.status, 200);
        assert_eq!(from(&house, HOME, "alice", PASSWORD).await.status, 200);
        assert_eq!(counters(&database).await, 0);
    }

    // Whoever fails is remembered for a day, whatever they call themselves.
    for name in ["alice", "nobody", "no\tname"] {
        assert_wrong(&from(&house, &place(1), name, "a wrong guess").await);
    }
    assert_eq!(counters(&database).await, 7);
    house.server.app.purge(house.server.clock.now()).await.expect("purged");
    assert_eq!(counters(&database).await, 7);
    house.server.pass(24 * 60 * 60 + 1);
    house.server.app.purge(house.server.clock.now()).await.expect("purged");
    assert_eq!(counters(&database).await, 0);
    house.server.stop().await;
}

async fn a_source_is_known_for_thirty_days(database: TestDatabase) {
    const DAY: u32 = 24 * 60 * 60;
    let house = House::open(&database, &[PROXIED, ("GRANTD_THROTTLE__DAILY_LIMIT", "2")]).await;
    let lock_out = async || {
        for number in 0..2 {
            assert_wrong(&from(&house, &place(number), "alice", "a wrong guess").await);
        }
        assert_throttled(&from(&house, &place(2), "alice", PASSWORD).await, 900);
    };
    assert_eq!(from(&house, HOME, "alice", PASSWORD).await.status, 200);

    house.server.pass(30 * DAY);
    house.server.app.purge(house.server.clock.now()).await.expect("purged");
    lock_out().await;
    assert_eq!(from(&house, HOME, "alice", PASSWORD).await.status, 200);
    house.server.pass(30 * DAY + 1);
    lock_out().await;
    assert_throttled(&from(&house, HOME, "alice", PASSWORD).await, 900);
    house.server.stop().await;
}

async fn the_failures_of_a_known_source_are_its_own(database: TestDatabase) {
    let house = House::open(&database, &[PROXIED, ("GRANTD_THROTTLE__DAILY_LIMIT", "6")]).await;
    assert_eq!(from(&house, HOME, "alice", PASSWORD).await.status, 200);

    for _ in 0..5 {
        assert_wrong(&from(&house, HOME, "alice", "a wrong guess").await);
    }

    assert_throttled(&from(&house, HOME, "alice", PASSWORD).await, 1);
    // Neither the account elsewhere nor others from there pay for them.
    for number in 0..6 {
        assert_wrong(&from(&house, &place(number), "alice", "a wrong guess").await);
    }
    for number in 0..6 {
        assert_wrong(&from(&house, HOME, &format!("user{number}"), "a wrong guess").await);
    }
    assert_throttled(&from(&house, HOME, "user7", PASSWORD).await, 900);
    house.server.pass(1);
    assert_eq!(from(&house, HOME, "alice", PASSWORD).await.status, 200);
    house.server.stop().await;
}

async fn a_weak_client_secret_is_guessed_no_faster_in_parallel(database: TestDatabase) {
    let houses = two(&database, &[]).await;
    let id = "app".parse().expect("a client id");
    let weak = PlainSecret::new("weaksecret".into());
    houses[0].server.app.rotate_client_secret(&id, None, Some(weak)).await.expect("rotated");
    for house in &houses {
        house.server.app.reload().await.expect("a database");
    }
    let ask = async |house: &House, secret: &str| {
        house.server.token_as(("app", secret), &[("grant_type", "client_credentials")]).await
    };

    let mut guesses = JoinSet::new();
    for number in 0..32 {
        let house = Rc::clone(&houses[number % 2]);
        guesses.spawn_local(async move { ask(&house, &format!("wrongsecret{number}")).await });
    }
    let answers = guesses.join_all().await;

    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 5, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 27, "{answers:?}");
    assert_throttled(&ask(&houses[0], "weaksecret").await, 1);
    houses[0].server.pass(1);
    assert_eq!(ask(&houses[1], "weaksecret").await.status, 200);
    assert_eq!(counters(&database).await, 0);
    close(houses).await;
}
