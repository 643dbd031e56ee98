//! Failed logins slow the next one down: per account and source, the same for names that do not exist.

use std::net::IpAddr;
use std::rc::Rc;

use grantd::app::clients::Switch;
use grantd::model::secret::PlainSecret;
use reqwest::header::HeaderMap;
use tokio::task::JoinSet;

use crate::audit::meddle;
use crate::storage::open;
use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, PASSWORD, TestServer};

trials! {
    both: [
        five_failures_are_free_then_even_the_right_password_waits,
        each_further_failure_doubles_the_wait_up_to_the_longest,
        a_name_that_does_not_exist_is_throttled_to_the_byte_as_one_that_does,
        the_right_password_of_somebody_who_is_switched_off_takes_no_more_questions_than_a_wrong_one,
        failures_survive_a_restart,
        parallel_guesses_are_all_counted,
        parallel_guesses_at_two_instances_are_judged_no_more_often_than_at_one,
        a_login_that_nobody_could_judge_is_not_counted,
    ],
    sqlite: [
        a_right_password_forgets_the_failures,
        accounts_and_clients_do_not_throttle_each_other,
        a_public_clients_sources_do_not_throttle_each_other,
        the_source_of_a_confidential_client_is_the_client,
        however_a_name_is_written_it_is_one_account,
        after_the_daily_limit_only_the_longest_wait_is_left,
        what_is_refused_before_the_password_is_looked_at_is_not_counted,
    ],
}

/// A server with a confidential client, a public client and a user.
pub(crate) struct House {
    pub(crate) server: TestServer,
    pub(crate) secret: String,
}

impl House {
    pub(crate) async fn open(database: &TestDatabase, overrides: &[(&str, &str)]) -> Self {
        let (server, secret) = TestServer::furnished(database, overrides).await;
        Self { server, secret }
    }

    /// A user `off` with the usual password, who is switched off.
    async fn has_somebody_off(&self) {
        self.server.user("off", &[]).await;
        let off = "off".parse().expect("a name");
        self.server.app.set_user_enabled(&off, Switch::Off).await.expect("a user");
    }

    pub(crate) async fn guess(&self, username: &str, password: &str) -> Answer {
        let form = [("grant_type", "password"), ("username", username), ("password", password)];
        self.server.token_as(("app", &self.secret), &form).await
    }

    pub(crate) async fn guess_wrong(&self, username: &str, times: usize) {
        for _ in 0..times {
            assert_wrong(&self.guess(username, "a wrong guess").await);
        }
    }

    pub(crate) async fn login(&self) -> Answer {
        self.guess("alice", PASSWORD).await
    }

    /// A login at the public client from an address of this machine.
    async fn guess_from(&self, last_byte: u8, password: &str) -> Answer {
        let address = IpAddr::from([127, 0, 0, last_byte]);
        let http = reqwest::Client::builder().local_address(address).no_proxy().build().expect("a client");
        let form =
            [("grant_type", "password"), ("client_id", "spa"), ("username", "alice"), ("password", password)];
        let request = http.post(format!("{}/token", self.server.url)).form(&form);
        Answer::of(request.send().await.expect("an answer")).await
    }
}

#[track_caller]
pub(crate) fn assert_wrong(answer: &Answer) {
    assert_eq!(answer.refusal(), (400, "invalid_grant".into()), "{answer:?}");
}

#[track_caller]
pub(crate) fn assert_throttled(answer: &Answer, seconds: u32) {
    assert_eq!(answer.refusal(), (429, "temporarily_unavailable".into()), "{answer:?}");
    assert_eq!(answer.header("retry-after"), seconds.to_string());
    assert_eq!(answer.header("cache-control"), "no-store");
}

async fn five_failures_are_free_then_even_the_right_password_waits(database: TestDatabase) {
    let house = House::open(&database, &[]).await;

    house.guess_wrong("alice", 5).await;

    assert_throttled(&house.login().await, 1);
    assert_throttled(&house.guess("alice", "a wrong guess").await, 1);
    house.server.pass(1);
    assert_eq!(house.login().await.status, 200);
    house.server.stop().await;
}

async fn each_further_failure_doubles_the_wait_up_to_the_longest(database: TestDatabase) {
    let house = House::open(&database, &[("GRANTD_THROTTLE__MAX_DELAY", "10s")]).await;
    house.guess_wrong("alice", 5).await;

    for seconds in [1, 2, 4, 8, 10, 10] {
        // Refused attempts are not counted: who waits as told is let in.
        for _ in 0..3 {
            assert_throttled(&house.guess("alice", "a wrong guess").await, seconds);
        }
        house.server.pass(seconds - 1);
        assert_throttled(&house.login().await, 1);
        house.server.pass(1);
        house.guess_wrong("alice", 1).await;
    }
    house.server.stop().await;
}

async fn a_name_that_does_not_exist_is_throttled_to_the_byte_as_one_that_does(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    house.has_somebody_off().await;

    for round in 0..7 {
        let known = house.guess("alice", "a wrong guess").await;
        // A disabled user looks like none even with the right password; the last is no user name at all.
        for (name, password) in [("nobody", "a wrong guess"), ("off", PASSWORD), ("no\tname", PASSWORD)] {
            let unknown = house.guess(name, password).await;

            assert_eq!((unknown.status, &unknown.body), (known.status, &known.body), "{name:?} in {round}");
            assert_eq!(lasting(&unknown.headers), lasting(&known.headers), "{name:?} in round {round}");
        }
        assert_eq!(known.status, if round < 5 { 400 } else { 429 });
    }
    house.server.stop().await;
}

async fn the_right_password_of_somebody_who_is_switched_off_takes_no_more_questions_than_a_wrong_one(
    database: TestDatabase,
) {
    let house = House::open(&database, &[]).await;
    house.has_somebody_off().await;
    let wrong = house.guess("off", "a wrong guess").await;
    let db = open(&database).await;
    // Whoever reads a user reads the roles.
    meddle(&db, &["alter table user_roles rename to user_roles_away"]).await;

    let right = house.guess("off", PASSWORD).await;
    let login = house.login().await;

    assert_eq!((right.status, &right.body), (400, &wrong.body));
    assert!(login.status >= 500, "a right password is looked at further: {login:?}");
    db.close().await;
    house.server.stop().await;
}

/// The headers that do not differ from one answer to the next anyhow.
pub(crate) fn lasting(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove("date");
    headers.remove("x-request-id");
    headers
}

async fn failures_survive_a_restart(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    house.guess_wrong("alice", 5).await;
    let House { server, secret } = house;
    let clock = server.clock.clone();
    server.stop().await;

    let server = TestServer::start_at(&database, &[], clock).await;
    let house = House { server, secret };

    assert_throttled(&house.login().await, 1);
    house.server.stop().await;
}

async fn parallel_guesses_are_all_counted(database: TestDatabase) {
    let house = Rc::new(House::open(&database, &[]).await);

    let answers = guess_at_once(&[&house]).await;

    assert_that_five_were_judged(&answers);
    assert_throttled(&house.login().await, 1);
    Rc::into_inner(house).expect("every task has ended").server.stop().await;
}

async fn parallel_guesses_at_two_instances_are_judged_no_more_often_than_at_one(database: TestDatabase) {
    let house = Rc::new(House::open(&database, &[]).await);
    let server = TestServer::start_at(&database, &[], house.server.clock.clone()).await;
    let other = Rc::new(House { server, secret: house.secret.clone() });

    let answers = guess_at_once(&[&house, &other]).await;

    assert_that_five_were_judged(&answers);
    for house in [house, other] {
        assert_throttled(&house.login().await, 1);
        Rc::into_inner(house).expect("every task has ended").server.stop().await;
    }
}

/// Sixteen wrong guesses to each of the instances.
async fn guess_at_once(instances: &[&Rc<House>]) -> Vec<Answer> {
    let mut guesses = JoinSet::new();
    for number in 0..16 * instances.len() {
        let house = Rc::clone(instances[number % instances.len()]);
        guesses.spawn_local(async move { house.guess("alice", &format!("wrong guess {number}")).await });
    }
    guesses.join_all().await
}

#[track_caller]
fn assert_that_five_were_judged(answers: &[Answer]) {
    let (judged, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 400);
    assert_eq!(judged.len(), 5, "{answers:?}");
    for answer in refused {
        assert_throttled(answer, 1);
    }
}

async fn a_login_that_nobody_could_judge_is_not_counted(database: TestDatabase) {
    // One thread and no queue, and a hash that keeps the thread busy: a hundred times what a guess costs.
    let narrow = [("GRANTD_PASSWORDS__THREADS", "1"), ("GRANTD_PASSWORDS__QUEUE", "0")];
    const SLOW: &str =
        "$argon2id$v=19$m=131072,t=32,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let house = Rc::new(House::open(&database, &narrow).await);
    house.guess_wrong("alice", 2).await;
    let app = std::sync::Arc::clone(&house.server.app);
    let busy = tokio::task::spawn_local(async move {
        let _wrong = app.pool().verify(PlainSecret::new("password".into()), Some(SLOW.into())).await;
    });
    while house.server.app.pool().running() == 0 {
        tokio::task::yield_now().await;
    }

    let mut logins = JoinSet::new();
    for number in 0..3 {
        let house = Rc::clone(&house);
        let password = if number == 0 { PASSWORD } else { "a wrong guess" };
        logins.spawn_local(async move { house.guess("alice", password).await });
    }
    let answers = logins.join_all().await;

    assert_eq!(house.server.app.pool().running(), 1, "the thread was busy all the time");
    for answer in &answers {
        assert_eq!(answer.refusal(), (503, "temporarily_unavailable".into()), "{answer:?}");
        assert_eq!(answer.header("retry-after"), "1");
    }
    busy.await.expect("a hash that ends");
    house.guess_wrong("alice", 3).await;
    assert_throttled(&house.login().await, 1);
    Rc::into_inner(house).expect("every task has ended").server.stop().await;
}

async fn a_right_password_forgets_the_failures(database: TestDatabase) {
    let house = House::open(&database, &[]).await;

    for _ in 0..3 {
        house.guess_wrong("alice", 4).await;
        assert_eq!(house.login().await.status, 200);
    }
    house.guess_wrong("alice", 5).await;
    assert_throttled(&house.login().await, 1);
    house.server.pass(1);
    assert_eq!(house.login().await.status, 200);
    house.guess_wrong("alice", 5).await;
    assert_throttled(&house.login().await, 1);
    house.server.stop().await;
}

async fn accounts_and_clients_do_not_throttle_each_other(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let other = house.server.full_client("other").await;
    house.server.user("bob", &[]).await;

    house.guess_wrong("alice", 5).await;

    assert_throttled(&house.login().await, 1);
    assert_eq!(house.guess("bob", PASSWORD).await.status, 200);
    assert_eq!(house.server.login(("other", &other), "alice").await.status, 200);
    assert_eq!(house.guess_from(1, PASSWORD).await.status, 200);
    assert_throttled(&house.login().await, 1);
    house.server.stop().await;
}

async fn a_public_clients_sources_do_not_throttle_each_other(database: TestDatabase) {
    let house = House::open(&database, &[]).await;

    for _ in 0..5 {
        assert_wrong(&house.guess_from(2, "a wrong guess").await);
    }

    assert_throttled(&house.guess_from(2, PASSWORD).await, 1);
    // Whoever locks an account from afar does not lock its owner out.
    assert_eq!(house.guess_from(3, PASSWORD).await.status, 200);
    assert_throttled(&house.guess_from(2, PASSWORD).await, 1);
    house.server.stop().await;
}

async fn the_source_of_a_confidential_client_is_the_client(database: TestDatabase) {
    let house = House::open(&database, &[("GRANTD_SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let form = [("grant_type", "password"), ("username", "alice"), ("password", "a wrong guess")];

    // A back-end has many addresses; it must not have five free guesses on each.
    let mut answers = Vec::new();
    for number in 0..6 {
        let request = house.server.http.post(format!("{}/token", house.server.url)).form(&form);
        let request = request.basic_auth("app", Some(&house.secret));
        let request = request.header("x-forwarded-for", format!("192.0.2.{number}"));
        answers.push(Answer::of(request.send().await.expect("an answer")).await);
    }

    answers[..5].iter().for_each(assert_wrong);
    assert_throttled(&answers[5], 1);
    house.server.stop().await;
}

async fn however_a_name_is_written_it_is_one_account(database: TestDatabase) {
    let house = House::open(&database, &[]).await;

    // RFC 8265 §3.3: case and width are mapped away.
    for name in ["alice", "Alice", "ALICE", "\u{ff41}lice", "aLICE"] {
        assert_wrong(&house.guess(name, "a wrong guess").await);
    }

    assert_throttled(&house.guess("AlicE", PASSWORD).await, 1);
    house.server.stop().await;
}

async fn after_the_daily_limit_only_the_longest_wait_is_left(database: TestDatabase) {
    let limits = [("GRANTD_THROTTLE__DAILY_LIMIT", "7"), ("GRANTD_THROTTLE__MAX_DELAY", "15m")];
    let house = House::open(&database, &limits).await;
    house.guess_wrong("alice", 5).await;
    for seconds in [1, 2] {
        assert_throttled(&house.login().await, seconds);
        house.server.pass(seconds);
        house.guess_wrong("alice", 1).await;
    }

    for _ in 0..2 {
        assert_throttled(&house.login().await, 900);
        house.server.pass(900);
        house.guess_wrong("alice", 1).await;
    }
    assert_throttled(&house.login().await, 900);

    // A day after the first failure all is forgotten, in the midst of a wait, too.
    house.server.pass(24 * 60 * 60 - 3 - 1800 - 1);
    house.guess_wrong("alice", 1).await;
    assert_throttled(&house.login().await, 900);
    house.server.pass(1);
    house.guess_wrong("alice", 5).await;
    assert_throttled(&house.login().await, 1);
    house.server.stop().await;
}

async fn what_is_refused_before_the_password_is_looked_at_is_not_counted(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let with = async |name: &str, value: &str| {
        let form = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD), (name, value)];
        house.server.token_as(("app", &house.secret), &form).await
    };

    for _ in 0..7 {
        assert_eq!(with("scope", "unheard-of").await.refusal(), (400, "invalid_scope".into()));
        assert_eq!(with("resource", "urn:z").await.refusal(), (400, "invalid_target".into()));
        let form = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
        let stranger = house.server.token_as(("app", "a wrong secret"), &form).await;
        assert_eq!(stranger.refusal(), (401, "invalid_client".into()));
    }

    assert_eq!(house.login().await.status, 200);
    house.server.stop().await;
}
