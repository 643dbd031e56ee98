//! Whether an account exists is not to be told by how long a wrong guess takes, nor by what the answer looks like.
//!
//! Two classes are interleaved at random on one connection, and the chance that a guess at an account that exists
//! takes longer than one at a name that does not is estimated (the Mann-Whitney statistic over the number of pairs).
//! It is a half if time tells nothing; with as many samples as here its standard error is 0.013.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Instant;

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, PASSWORD};
use crate::support::wire::{Wire, basic, post};
use crate::throttle::{House, lasting};

trials! {
    sqlite: [
        at_a_back_end_the_time_of_a_wrong_guess_does_not_tell_who_exists,
        at_a_public_client_the_time_of_a_wrong_guess_does_not_tell_who_exists,
    ],
}

const SAMPLES: usize = 1000;
/// So that nobody has to wait; and a hash that takes some milliseconds, a tenth of a real one.
const UNTHROTTLED: [(&str, &str); 3] = [
    ("GRANTD_THROTTLE__FREE_ATTEMPTS", "1000000"),
    ("GRANTD_THROTTLE__DAILY_LIMIT", "1000000"),
    ("GRANTD_PASSWORDS__MEMORY_KIB", "2048"),
];

async fn at_a_back_end_the_time_of_a_wrong_guess_does_not_tell_who_exists(database: TestDatabase) {
    let house = House::open(&database, &UNTHROTTLED).await;
    let header = format!("Authorization: {}\r\n", basic(&format!("app:{}", house.secret)));
    tells_nothing(&house, &header, "", &["alice"]).await;
    house.server.stop().await;
}

async fn at_a_public_client_the_time_of_a_wrong_guess_does_not_tell_who_exists(database: TestDatabase) {
    let house = House::open(&database, &UNTHROTTLED).await;
    // One who is known from here, as a neighbour is, and one who is not.
    tells_nothing(&house, "", "client_id=spa&", &["alice", "carol"]).await;
    house.server.stop().await;
}

async fn tells_nothing(house: &House, header: &str, client: &str, names: &[&str]) {
    house.server.user("carol", &[]).await;
    let mut wire = Wire::open(&house.server.url).await;
    let right = format!("{client}grant_type=password&username=alice&password={}", PASSWORD.replace(' ', "+"));
    assert_eq!(guess(&mut wire, header, &right).await.status, 200);

    for name in names {
        let mut chances = Vec::new();
        // Once more, because one in ten thousand is too much for a test that runs every day.
        while chances.len() < 2 && !chances.iter().any(|chance| (0.45..=0.55).contains(chance)) {
            chances.push(chance_that_the_account_takes_longer(&mut wire, header, client, name).await);
        }
        let last = chances.last().expect("one at least");
        assert!((0.45..=0.55).contains(last), "{name} is told from nobody: {chances:?}");
    }
}

async fn chance_that_the_account_takes_longer(
    wire: &mut Wire,
    header: &str,
    client: &str,
    name: &str,
) -> f64 {
    // Of the same length, for a byte more is a byte more.
    let nobody = &"nobody"[..name.len()];
    let body = |name: &str| format!("{client}grant_type=password&username={name}&password=a+wrong+guess");
    let (account, nobody) = (body(name), body(nobody));
    for _ in 0..20 {
        let [one, other] = [guess(wire, header, &account).await, guess(wire, header, &nobody).await];
        assert_eq!((one.status, &one.body), (400, &other.body));
        assert_eq!(lasting(&one.headers), lasting(&other.headers));
    }

    let (mut of_account, mut of_nobody) = (Vec::new(), Vec::new());
    while of_account.len() < SAMPLES || of_nobody.len() < SAMPLES {
        let exists = RandomState::new().hash_one(0).is_multiple_of(2);
        let begun = Instant::now();
        let answer = guess(wire, header, if exists { &account } else { &nobody }).await;
        let took = begun.elapsed();
        assert_eq!(answer.status, 400, "{answer:?}");
        if exists { &mut of_account } else { &mut of_nobody }.push(took);
    }

    of_nobody.sort_unstable();
    let beaten = of_account.iter().map(|took| {
        let shorter = of_nobody.partition_point(|other| other < took);
        let not_longer = of_nobody.partition_point(|other| other <= took);
        (shorter + not_longer) as f64 / 2.0
    });
    beaten.sum::<f64>() / (of_account.len() * of_nobody.len()) as f64
}

async fn guess(wire: &mut Wire, header: &str, body: &str) -> Answer {
    wire.send(post(header, body)).await;
    wire.answer().await
}
