//! The address of its user as a back-end states it: believed from a client that is trusted to, read from nobody else.

use crate::support::database::TestDatabase;
use crate::support::program::Home;
use crate::support::refusal::{Challenge, assert_refusal};
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, PASSWORD, TestServer};
use crate::throttle::{House, assert_throttled, assert_wrong};

trials! {
    both: [users_of_a_trusted_client_are_throttled_each_where_they_are],
    sqlite: [
        an_address_that_is_none_or_two_is_refused_once_the_client_is_known,
        from_anybody_else_the_header_is_not_even_read,
    ],
    plain: [an_operator_trusts_a_client_and_takes_it_back],
}

/// A house with the client `backend`, which is trusted; its secret.
async fn trusting(database: &TestDatabase) -> (House, String) {
    let house = House::open(database, &[("GRANTD_THROTTLE__DAILY_LIMIT", "12")]).await;
    let trusted = ClientOf { trust_user_address: true, ..ClientOf::default() };
    let secret = house.server.client("backend", trusted).await.secret.expect("a confidential client");
    (house, secret.expose().to_owned())
}

async fn login(server: &TestServer, client: (&str, &str), user: (&str, &str), addresses: &[&str]) -> Answer {
    let form = [("grant_type", "password"), ("username", user.0), ("password", user.1)];
    let mut request = server.http.post(format!("{}/token", server.url)).form(&form);
    request = request.basic_auth(client.0, Some(client.1));
    for address in addresses {
        request = request.header("Grantd-User-Address", *address);
    }
    Answer::of(request.send().await.expect("an answer")).await
}

const RIGHT: (&str, &str) = ("alice", PASSWORD);
const WRONG: (&str, &str) = ("alice", "a wrong guess");

async fn users_of_a_trusted_client_are_throttled_each_where_they_are(database: TestDatabase) {
    let (house, secret) = trusting(&database).await;
    let server = &house.server;
    let backend = ("backend", secret.as_str());
    assert_eq!(login(server, backend, RIGHT, &["203.0.113.7"]).await.status, 200);

    for _ in 0..5 {
        assert_wrong(&login(server, backend, WRONG, &["2001:db8::1"]).await);
    }
    assert_throttled(&login(server, backend, RIGHT, &["2001:db8:0:0:1::"]).await, 1);
    assert_eq!(login(server, backend, RIGHT, &["203.0.113.7"]).await.status, 200);
    assert_eq!(login(server, backend, RIGHT, &[]).await.status, 200, "without an address, the client's own");

    // The limits over all sources and over all accounts hold among stated addresses as among real ones.
    for number in 0..7 {
        assert_wrong(&login(server, backend, WRONG, &[&format!("198.51.100.{number}")]).await);
    }
    assert_throttled(&login(server, backend, RIGHT, &["198.51.100.99"]).await, 900);
    for number in 0..12 {
        let stranger = format!("user{number}");
        assert_wrong(&login(server, backend, (&stranger, PASSWORD), &["192.0.2.1"]).await);
    }
    assert_throttled(&login(server, backend, ("user12", PASSWORD), &["192.0.2.1"]).await, 900);
    assert_eq!(login(server, backend, RIGHT, &["203.0.113.7"]).await.status, 200);
    house.server.stop().await;
}

async fn an_address_that_is_none_or_two_is_refused_once_the_client_is_known(database: TestDatabase) {
    let (house, secret) = trusting(&database).await;
    let server = &house.server;

    for addresses in [&["localhost"][..], &["203.0.113.7:443"], &["203.0.113.7", "203.0.113.7"], &[""]] {
        let answer = login(server, ("backend", &secret), RIGHT, addresses).await;
        assert_refusal(&answer, 400, "invalid_request", Challenge::Absent);
        assert!(answer.text("error_description").contains("Grantd-User-Address"), "{answer:?}");

        let stranger = login(server, ("backend", "a wrong secret"), RIGHT, addresses).await;
        assert_refusal(&stranger, 401, "invalid_client", Challenge::Given);
    }
    house.server.stop().await;
}

async fn from_anybody_else_the_header_is_not_even_read(database: TestDatabase) {
    let (house, _) = trusting(&database).await;
    let stated = |number: usize| if number == 0 { "no address".into() } else { format!("192.0.2.{number}") };

    for client in [("app", house.secret.as_str()), ("spa", "")] {
        for number in 0..5 {
            assert_wrong(&login(&house.server, client, WRONG, &[&stated(number)]).await);
        }
        assert_throttled(&login(&house.server, client, RIGHT, &["192.0.2.99"]).await, 1);
    }
    house.server.stop().await;
}

fn an_operator_trusts_a_client_and_takes_it_back() {
    let home = Home::new(&[]);
    let create = ["client", "create", "web", "--grant", "password"];

    let made = home.json(&[&create[..], &["--trust-user-address", "true"]].concat());
    assert_eq!(made["trust_user_address"], true);
    let renamed = home.json(&["client", "update", "web", "--name", "Web"]);
    assert_eq!(renamed["trust_user_address"], true, "what is not named stays");
    let public = ["client", "update", "web", "--auth-method", "none"];
    let refused = home.run(&public);
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.stderr.contains("--trust-user-address false"), "{refused:?}");
    let untrusted = home.json(&["client", "update", "web", "--trust-user-address", "false"]);
    assert_eq!(untrusted["trust_user_address"], false);
    let public = home.json(&public);
    assert_eq!(public["trust_user_address"], false);
    assert_eq!(home.json(&["client", "show", "web"])["trust_user_address"], false);
}
