//! SQLite and `kill -9` at random moments: whatever was answered 200 is still so after the restart, and nobody's
//! session is lost. The real binary, several devices, an operator and thieves at the same time.
//!
//! Five rounds, or as many as `GRANTD_TEST_ROUNDS` says. A kill loses what was not yet handed to the system; what was
//! not yet synced is the matter of `fsyncs.rs`.

use std::time::{Duration, Instant};

use crate::history::rest::{assert_in_order, look_at_rest, rob_all};
use crate::history::traffic::World;
use crate::support::figures::{Lots, rounds, say};
use crate::support::program::Served;
use crate::support::runner::trials;
use crate::support::server::client;

trials! {
    alone: [sqlite_keeps_what_was_answered_through_kills_at_random_moments],
}

/// Two seconds are promised; a busy test machine proves nothing about time, so this is what fails.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Waits until a server says that it is ready; how long that took from `since`.
pub(crate) async fn ready(http: &reqwest::Client, url: &str, since: Instant) -> Duration {
    while since.elapsed() < READY_WITHIN {
        if let Ok(answer) = http.get(format!("{url}/health/ready")).send().await
            && answer.status() == 200
        {
            return since.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not ready within {READY_WITHIN:?}");
}

/// Starts the server of a world, where it is the only one.
pub(crate) async fn start(world: &World) -> (Served, Duration) {
    let (http, since) = (client(), Instant::now());
    let server = world.home.serve(&["serve"]);
    let took = ready(&http, &server.url, since).await;
    *world.urls.borrow_mut() = vec![server.url.clone()];
    (server, took)
}

async fn sqlite_keeps_what_was_answered_through_kills_at_random_moments() {
    let mut lots = Lots::of("kills at random moments");
    let world = World::make(&[], 3);
    let mut devices = world.devices(6, &mut lots);
    let (mut server, _) = start(&world).await;
    let (rounds, mut slowest) = (rounds(5), Duration::ZERO);

    for round in 1..=rounds {
        let moment = lots.millis(100, 900);
        let kill = async {
            tokio::time::sleep(moment).await;
            server.kill();
        };
        world.busy(&mut devices, &mut lots, kill).await;

        // Sometimes the next start is killed as well, while it puts the database in order or before.
        if lots.below(3) == 0 {
            world.home.run_and_kill(&["serve"], lots.millis(1, 300));
        }
        let (restarted, took) = start(&world).await;
        server = restarted;
        slowest = slowest.max(took);

        look_at_rest(&world, &mut devices).await;
        // The whole history is judged each time; where there are hundreds of rounds, not each time.
        if round <= 5 || round % 25 == 0 {
            assert_in_order(&world.history, &format!("after kill {round}"));
        }
    }
    rob_all(&mut devices).await;
    assert_in_order(&world.history, "at the end");
    let [granted, refused, unknown] = world.history.refreshes();
    assert!(granted > usize::try_from(rounds).expect("a count") * 5, "traffic: {granted} refreshes");
    say(&format!(
        "kills at random moments: {rounds} kills, {granted} refreshes answered 200, {refused} refused, {unknown} \
         unanswered, all in order; ready again after {} ms at most",
        slowest.as_millis()
    ));
}
