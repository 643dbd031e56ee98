//! Refresh tokens by the rules of rotation: who may ask again for a lost answer, and what ends a family.

use grantd::model::secret::{REFRESH_TOKEN_PREFIX, decode_checked, encode_checked};
use grantd::model::time::Ttl;

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, PASSWORD, TestServer};

trials! {
    both: [
        every_refresh_rotates_and_only_the_newest_token_goes_on,
        a_client_that_authenticates_gets_a_lost_answer_again_for_a_day,
        a_thief_who_has_the_clients_secret_too_is_found_out_in_the_third_generation,
        a_client_that_moves_now_and_then_keeps_its_session,
        a_predecessor_after_a_day_ends_the_family,
        a_token_older_than_the_predecessor_ends_the_family,
        a_public_client_gets_a_lost_answer_again_for_ten_seconds,
        a_public_client_gets_a_lost_answer_again_from_the_same_source_only,
        a_public_client_may_go_on_from_another_source,
        a_public_client_asks_for_a_lost_answer_five_times_at_most,
        another_clients_token_is_refused_and_stays_good,
        what_is_not_a_token_of_ours_is_refused_and_changes_nothing,
        a_family_that_nobody_uses_ends_after_the_idle_time,
        a_family_ends_at_its_absolute_time_however_much_it_is_used,
    ],
    sqlite: [
        a_window_of_zero_means_that_no_answer_is_given_twice,
        the_source_behind_a_trusted_proxy_is_whom_the_proxy_names,
        a_clients_own_refresh_ttl_overrides_the_servers,
        every_refused_refresh_token_looks_alike,
    ],
}

const DAY: u32 = 24 * 60 * 60;

/// A server with a confidential client, a public client and a user.
struct House {
    server: TestServer,
    secret: String,
}

impl House {
    async fn open(database: &TestDatabase, overrides: &[(&str, &str)]) -> Self {
        let (server, secret) = TestServer::furnished(database, overrides).await;
        Self { server, secret }
    }

    /// Logs alice in at the confidential client and gives the refresh token.
    async fn login(&self) -> String {
        self.server.login(("app", &self.secret), "alice").await.text("refresh_token")
    }

    async fn redeem(&self, token: &str) -> Answer {
        self.server.refresh(("app", &self.secret), token).await
    }

    /// Logs alice in at the public client and gives the refresh token.
    async fn login_in_public(&self) -> String {
        let form =
            [("grant_type", "password"), ("client_id", "spa"), ("username", "alice"), ("password", PASSWORD)];
        self.server.token(&form).await.text("refresh_token")
    }

    /// A confidential client's refresh from that client's address.
    async fn redeem_at(&self, http: &reqwest::Client, token: &str) -> Answer {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let request = http.post(format!("{}/token", self.server.url)).basic_auth("app", Some(&self.secret));
        Answer::of(request.form(&form).send().await.expect("an answer")).await
    }

    async fn redeem_in_public(&self, token: &str) -> Answer {
        self.redeem_from(&self.server.http, token).await
    }

    async fn redeem_from(&self, http: &reqwest::Client, token: &str) -> Answer {
        let form = [("grant_type", "refresh_token"), ("client_id", "spa"), ("refresh_token", token)];
        let request = http.post(format!("{}/token", self.server.url)).form(&form);
        Answer::of(request.send().await.expect("an answer")).await
    }

    /// A public client's refresh through a proxy on this machine.
    async fn redeem_through_proxy(&self, forwarded_for: &str, token: &str) -> Answer {
        let form = [("grant_type", "refresh_token"), ("client_id", "spa"), ("refresh_token", token)];
        let request = self.server.http.post(format!("{}/token", self.server.url));
        let request = request.header("x-forwarded-for", forwarded_for).form(&form);
        Answer::of(request.send().await.expect("an answer")).await
    }
}

/// A client on another address of this machine.
fn elsewhere() -> reqwest::Client {
    let address = std::net::IpAddr::from([127, 0, 0, 2]);
    reqwest::Client::builder().local_address(address).no_proxy().build().expect("a client can be made")
}

/// The refresh token of an answer that must be a good one.
fn successor(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text("refresh_token")
}

fn assert_refused(answer: &Answer) {
    assert_eq!(answer.refusal(), (400, "invalid_grant".into()), "{answer:?}");
}

async fn every_refresh_rotates_and_only_the_newest_token_goes_on(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let mut seen = vec![house.login().await];

    for _ in 0..5 {
        let newest = seen.last().expect("one").clone();
        seen.push(successor(&house.redeem(&newest).await));
    }

    let mut distinct = seen.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 6, "each refresh gives another token");
    assert!(seen.iter().all(|token| token.starts_with("grt_")));
    house.server.stop().await;
}

async fn a_client_that_authenticates_gets_a_lost_answer_again_for_a_day(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let first = house.login().await;
    let answered = house.redeem(&first).await;
    let second = successor(&answered);

    let mut ids = vec![answered.claims()["jti"].clone()];
    for _ in 0..7 {
        let again = house.redeem(&first).await;
        assert_eq!(successor(&again), second, "the same successor, however often");
        ids.push(again.claims()["jti"].clone());
    }
    house.server.pass(DAY - 1);
    assert_eq!(successor(&house.redeem(&first).await), second, "until the last second");

    ids.sort_by_key(ToString::to_string);
    ids.dedup();
    assert_eq!(ids.len(), 8, "each with an access token of its own");
    successor(&house.redeem(&second).await);
    house.server.stop().await;
}

async fn a_thief_who_has_the_clients_secret_too_is_found_out_in_the_third_generation(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let (home, thief) = (&house.server.http, elsewhere());
    let mut live = house.login().await;

    // Whoever refreshes second is given the successor of the other's token, so both live on ...
    for second in [&thief, home] {
        let first = if std::ptr::eq(second, home) { &thief } else { home };
        let successor_of_both = successor(&house.redeem_at(first, &live).await);
        assert_eq!(successor(&house.redeem_at(second, &live).await), successor_of_both);
        assert_eq!(successor(&house.redeem_at(second, &live).await), successor_of_both, "counts once");
        live = successor_of_both;
    }

    // ... but not a third time in a row.
    let newest = successor(&house.redeem_at(home, &live).await);
    assert_refused(&house.redeem_at(&thief, &live).await);
    assert_refused(&house.redeem_at(home, &newest).await);
    house.server.stop().await;
}

async fn a_client_that_moves_now_and_then_keeps_its_session(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let (home, away) = (&house.server.http, elsewhere());
    let mut live = house.login().await;

    for _ in 0..3 {
        for _ in 0..2 {
            let lost = successor(&house.redeem_at(home, &live).await);
            live = successor(&house.redeem_at(&away, &live).await);
            assert_eq!(live, lost);
        }
        // An answer that is not lost, or asked for again from the same place.
        let answer = successor(&house.redeem_at(&away, &live).await);
        assert_eq!(successor(&house.redeem_at(&away, &live).await), answer);
        live = answer;
    }
    house.server.stop().await;
}

async fn a_predecessor_after_a_day_ends_the_family(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let first = house.login().await;
    let second = successor(&house.redeem(&first).await);

    house.server.pass(DAY);

    assert_refused(&house.redeem(&first).await);
    assert_refused(&house.redeem(&second).await);
    house.server.stop().await;
}

async fn a_token_older_than_the_predecessor_ends_the_family(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let first = house.login().await;
    let second = successor(&house.redeem(&first).await);
    let third = successor(&house.redeem(&second).await);
    let untouched = house.login().await;

    assert_refused(&house.redeem(&first).await);

    assert_refused(&house.redeem(&third).await);
    assert_refused(&house.redeem(&second).await);
    successor(&house.redeem(&untouched).await);
    house.server.stop().await;
}

async fn a_public_client_gets_a_lost_answer_again_for_ten_seconds(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let first = house.login_in_public().await;
    let answered = house.redeem_in_public(&first).await;
    let second = successor(&answered);

    house.server.pass(9);
    let again = house.redeem_in_public(&first).await;
    assert_eq!(successor(&again), second);
    assert_ne!(again.claims()["jti"], answered.claims()["jti"]);
    house.server.pass(1);

    assert_refused(&house.redeem_in_public(&first).await);
    assert_refused(&house.redeem_in_public(&second).await);
    house.server.stop().await;
}

async fn a_public_client_gets_a_lost_answer_again_from_the_same_source_only(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let first = house.login_in_public().await;
    let second = successor(&house.redeem_in_public(&first).await);

    assert_refused(&house.redeem_from(&elsewhere(), &first).await);

    assert_refused(&house.redeem_in_public(&second).await);
    house.server.stop().await;
}

async fn a_public_client_may_go_on_from_another_source(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let away = elsewhere();
    let first = house.login_in_public().await;

    // A telephone that leaves the house; from then on the new place is the source.
    let second = successor(&house.redeem_from(&away, &first).await);
    assert_eq!(successor(&house.redeem_from(&away, &first).await), second);

    assert_refused(&house.redeem_in_public(&first).await);
    assert_refused(&house.redeem_from(&away, &second).await);
    house.server.stop().await;
}

async fn a_public_client_asks_for_a_lost_answer_five_times_at_most(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let first = house.login_in_public().await;
    let second = successor(&house.redeem_in_public(&first).await);

    for _ in 0..5 {
        assert_eq!(successor(&house.redeem_in_public(&first).await), second);
    }
    assert_refused(&house.redeem_in_public(&first).await);
    assert_refused(&house.redeem_in_public(&first).await);

    let third = successor(&house.redeem_in_public(&second).await);
    assert_eq!(
        successor(&house.redeem_in_public(&second).await),
        third,
        "each rotation begins the count anew"
    );
    house.server.stop().await;
}

async fn another_clients_token_is_refused_and_stays_good(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let other = house.server.full_client("other").await;
    let first = house.login().await;
    let second = successor(&house.redeem(&first).await);
    let third = successor(&house.redeem(&second).await);

    // Not even one that would end the family in its own client's hands: nobody may end the sessions of others.
    for token in [&first, &second, &third] {
        assert_refused(&house.server.refresh(("other", &other), token).await);
        assert_refused(&house.redeem_in_public(token).await);
    }

    assert_eq!(successor(&house.redeem(&second).await), third);
    successor(&house.redeem(&third).await);
    house.server.stop().await;
}

async fn what_is_not_a_token_of_ours_is_refused_and_changes_nothing(database: TestDatabase) {
    const LENGTH: usize = 52;
    let house = House::open(&database, &[]).await;
    let first = house.login().await;
    let second = successor(&house.redeem(&first).await);
    let body: [u8; LENGTH] = *decode_checked::<LENGTH>(REFRESH_TOKEN_PREFIX, &second).expect("well-formed");
    // A thief who knows the format, and so the checksum, but no key.
    let forged = |change: &dyn Fn(&mut [u8; LENGTH])| {
        let mut body = body;
        change(&mut body);
        encode_checked(REFRESH_TOKEN_PREFIX, &body).expose().to_owned()
    };

    for token in [
        forged(&|body| body[19] = 0),
        forged(&|body| body[19] = 2),
        forged(&|body| body[16..20].fill(0xff)),
        forged(&|body| body[51] ^= 1),
        forged(&|body| body[20..].fill(0)),
        forged(&|body| body[..16].fill(7)),
        second[..second.len() - 1].to_owned(),
        second[1..].to_owned(),
        format!("{second}A"),
        format!("{second}="),
        format!(" {second}"),
        second.replace("grt_", "GRT_"),
        "grt_".into(),
        "null".into(),
        "'; drop table families; --".into(),
        "\u{1f511}".repeat(200),
        "A".repeat(9000),
    ] {
        assert_refused(&house.redeem(&token).await);
    }

    assert_eq!(successor(&house.redeem(&first).await), second, "the family stands where it stood");
    successor(&house.redeem(&second).await);
    house.server.stop().await;
}

async fn a_family_that_nobody_uses_ends_after_the_idle_time(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let first = house.login().await;
    let forgotten = house.login().await;

    house.server.pass(14 * DAY - 1);
    let second = successor(&house.redeem(&first).await);
    house.server.pass(1);

    assert_refused(&house.redeem(&forgotten).await);
    assert_eq!(successor(&house.redeem(&first).await), second, "use begins the idle time anew");
    // A retry is no use: the client has not moved on.
    house.server.pass(14 * DAY - 1);
    assert_refused(&house.redeem(&second).await);
    house.server.stop().await;
}

async fn a_family_ends_at_its_absolute_time_however_much_it_is_used(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let mut token = house.login().await;

    for _ in 0..2 {
        house.server.pass(10 * DAY);
        token = successor(&house.redeem(&token).await);
    }
    house.server.pass(10 * DAY - 1);
    let last = successor(&house.redeem(&token).await);
    house.server.pass(1);

    assert_refused(&house.redeem(&last).await);
    assert_refused(&house.redeem(&token).await);
    house.server.stop().await;
}

async fn a_window_of_zero_means_that_no_answer_is_given_twice(database: TestDatabase) {
    let never =
        [("GRANTD_TOKENS__REFRESH_RETRY_WINDOW", "0s"), ("GRANTD_TOKENS__REFRESH_RETRY_WINDOW_PUBLIC", "0s")];
    let house = House::open(&database, &never).await;
    let first = house.login().await;
    let second = successor(&house.redeem(&first).await);
    let public_first = house.login_in_public().await;
    let public_second = successor(&house.redeem_in_public(&public_first).await);

    assert_refused(&house.redeem(&first).await);
    assert_refused(&house.redeem(&second).await);
    assert_refused(&house.redeem_in_public(&public_first).await);
    assert_refused(&house.redeem_in_public(&public_second).await);
    house.server.stop().await;
}

async fn the_source_behind_a_trusted_proxy_is_whom_the_proxy_names(database: TestDatabase) {
    let trusting = [("GRANTD_SERVER__TRUSTED_PROXIES", "127.0.0.1")];
    let house = House::open(&database, &trusting).await;
    let first = house.login_in_public().await;
    let second = successor(&house.redeem_through_proxy("192.0.2.1", &first).await);

    // What the caller himself wrote in front of the proxy's entry does not count.
    let again = house.redeem_through_proxy("198.51.100.9, 192.0.2.1", &first).await;
    assert_eq!(successor(&again), second);

    assert_refused(&house.redeem_through_proxy("198.51.100.9", &first).await);
    assert_refused(&house.redeem_through_proxy("192.0.2.1", &second).await);
    house.server.stop().await;
}

async fn a_clients_own_refresh_ttl_overrides_the_servers(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let id = "app".parse().expect("an id");
    let shorter = |registration| grantd::model::client::Registration {
        refresh_ttl: Some(Ttl::from_secs(60)),
        ..registration
    };
    let before = house.login().await;
    house.server.app.update_client(&id, shorter, None).await.expect("a client");
    let first = house.login().await;

    house.server.pass(59);
    let second = successor(&house.redeem(&first).await);
    house.server.pass(1);

    assert_refused(&house.redeem(&second).await);
    successor(&house.redeem(&before).await);
    house.server.stop().await;
}

async fn every_refused_refresh_token_looks_alike(database: TestDatabase) {
    let house = House::open(&database, &[]).await;
    let login_only = ClientOf {
        grants: &[grantd::model::client::GrantType::RefreshToken, grantd::model::client::GrantType::Password],
        ..ClientOf::default()
    };
    let other = house.server.client("other", login_only).await.secret.expect("a secret");
    let idle = house.login().await;
    house.server.pass(14 * DAY);
    let stolen = house.login().await;
    let first = house.login().await;
    let second = successor(&house.redeem(&first).await);
    successor(&house.redeem(&second).await);

    let answers = [
        house.redeem(&idle).await,
        house.redeem("grt_unknown").await,
        house.server.refresh(("other", other.expose()), &stolen).await,
        house.redeem(&first).await,
        house.redeem(&second).await,
    ];

    for answer in &answers {
        assert_refused(answer);
        assert_eq!(answer.body, answers[0].body, "an attacker learns nothing about the token");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    house.server.stop().await;
}
