//! Postgres under two real servers: one of them killed, the database restarted in good order and as in a crash, and
//! failed over to a synchronous standby, all under traffic. Nothing that was answered 200 is lost, and both servers are
//! ready again by themselves.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use crate::crashes::ready;
use crate::history::rest::{assert_in_order, look_at_rest, rob_all};
use crate::history::traffic::{Device, World};
use crate::support::cluster::{Mode, OwnPostgres};
use crate::support::figures::{Lots, rounds, say};
use crate::support::program::Served;
use crate::support::runner::trials;
use crate::support::server::client;
use crate::support::switchboard::Switchboard;

trials! {
    alone: [
        two_instances_on_postgres_keep_what_was_answered_through_kills_and_restarts,
        a_failover_to_a_synchronous_standby_loses_nothing,
    ],
}

const KEY: (&str, &str) = ("GRANTD_KEYS__ENCRYPTION_KEY", "J0bGq0eXo9nH5Yx1mZ3kQv7RtUu2WcLdE8sFa4iPpTg=");

/// Two seconds are promised; a busy test machine proves nothing about time, so this is what fails.
const SERVED_WITHIN: Duration = Duration::from_secs(30);

/// How long it took from the moment that what went wrong was over, at most.
#[derive(Clone, Copy, Default)]
struct Slowest {
    /// Until both servers said that they were ready.
    ready: Duration,
    /// Until both had served a login as well.
    served: Duration,
}

impl Slowest {
    fn of(self, other: Self) -> Self {
        Self { ready: self.ready.max(other.ready), served: self.served.max(other.served) }
    }
}

/// Two servers on one database, and those who use them.
struct Pair {
    world: Rc<World>,
    devices: Vec<Device>,
    servers: [Served; 2],
    lots: Lots,
}

impl Pair {
    async fn start(url: &str, test: &str) -> Self {
        let mut lots = Lots::of(test);
        let world = World::make(&[("GRANTD_DATABASE__URL", url), KEY], 3);
        let devices = world.devices(6, &mut lots);
        let servers = [world.home.serve(&["serve"]), world.home.serve(&["serve"])];
        let pair = Self { world, devices, servers, lots };
        pair.ready().await;
        pair
    }

    /// Waits until both are ready, and makes them the ones that are used.
    async fn ready(&self) {
        *self.world.urls.borrow_mut() = self.servers.iter().map(|server| server.url.clone()).collect();
        for server in &self.servers {
            ready(&client(), &server.url, Instant::now()).await;
        }
    }

    /// Traffic, and something that goes wrong in the midst of it on a thread of its own; how long both servers took
    /// until all was well again, and what it left.
    async fn through<T: Send + 'static>(
        &mut self,
        what: &str,
        goes_wrong: impl FnOnce() -> T + Send + 'static,
    ) -> (Slowest, T) {
        let (before, after) = (self.lots.millis(200, 600), self.lots.millis(200, 400));
        let (world, urls, http) = (Rc::clone(&self.world), self.world.urls.borrow().clone(), client());
        let meanwhile = async {
            tokio::time::sleep(before).await;
            let left = spawn_blocking(goes_wrong).await.expect("it goes wrong as planned");
            let since = Instant::now();
            let back = async |url: &str| {
                let ready = ready(&http, url, since).await;
                // Readiness is as old as the last look at the database, which may have missed it all.
                while !world.is_served_by(&http, url).await {
                    assert!(since.elapsed() < SERVED_WITHIN, "{what}: {url} never came back");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Slowest { ready, served: since.elapsed() }
            };
            let (one, other) = tokio::join!(back(&urls[0]), back(&urls[1]));
            let took = one.of(other);
            tokio::time::sleep(after).await;
            (took, left)
        };
        let ended = world.busy(&mut self.devices, &mut self.lots, meanwhile).await;
        look_at_rest(&self.world, &mut self.devices).await;
        assert_in_order(&self.world.history, what);
        ended
    }

    async fn end(mut self, what: &str, slowest: Slowest) {
        rob_all(&mut self.devices).await;
        assert_in_order(&self.world.history, "at the end");
        let [granted, refused, unknown] = self.world.history.refreshes();
        assert!(granted > 20, "traffic: {granted} refreshes");
        say(&format!(
            "{what}: {granted} refreshes answered 200, {refused} refused, {unknown} unanswered, all in order; after \
             Postgres at most {} ms until ready and {} ms until a login was served",
            slowest.ready.as_millis(),
            slowest.served.as_millis()
        ));
    }
}

async fn two_instances_on_postgres_keep_what_was_answered_through_kills_and_restarts() {
    let postgres = Arc::new(OwnPostgres::start());
    let mut pair = Pair::start(&postgres.url(), "Postgres restarted").await;
    let (rounds, mut slowest) = (rounds(1), Slowest::default());

    for round in 1..=rounds {
        // One instance is killed; the other one goes on, and a third takes its place.
        let [victim, survivor] = pair.servers;
        let mut victim = victim;
        let home = Arc::clone(&pair.world.home);
        pair.servers = [home.serve(&["serve"]), survivor];
        let urls = [&victim.url, &pair.servers[1].url].map(String::clone);
        *pair.world.urls.borrow_mut() = urls.to_vec();
        let kill = {
            let moment = pair.lots.millis(100, 600);
            let urls = pair.servers.each_ref().map(|server| server.url.clone());
            let world = Rc::clone(&pair.world);
            async move {
                tokio::time::sleep(moment).await;
                victim.kill();
                tokio::time::sleep(Duration::from_millis(100)).await;
                *world.urls.borrow_mut() = urls.to_vec();
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let world = Rc::clone(&pair.world);
        world.busy(&mut pair.devices, &mut pair.lots, kill).await;
        look_at_rest(&world, &mut pair.devices).await;
        assert_in_order(&world.history, &format!("one of two was killed, round {round}"));

        for mode in [Mode::Fast, Mode::Immediate] {
            let postgres = Arc::clone(&postgres);
            let what = format!("Postgres restarted, {mode:?}, round {round}");
            let (took, ()) = pair.through(&what, move || postgres.restart(mode)).await;
            slowest = slowest.of(took);
        }
    }
    pair.end(
        &format!("one of two killed, Postgres restarted fast and immediate, {rounds} times each"),
        slowest,
    )
    .await;
}

async fn a_failover_to_a_synchronous_standby_loses_nothing() {
    let (mut slowest, rounds) = (Slowest::default(), rounds(1).min(20));
    for round in 1..=rounds {
        let (primary, standby) = spawn_blocking(|| {
            let primary = OwnPostgres::start();
            let standby = primary.synchronous_standby();
            (primary, standby)
        })
        .await
        .unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()));
        let switchboard = Switchboard::to(primary.socket());
        let url = format!("postgres://grantd@{}/postgres", switchboard.address);
        let mut pair = Pair::start(&url, "Postgres failed over").await;

        let failover = move || {
            primary.stop(Mode::Immediate);
            standby.promote();
            switchboard.lead_to(standby.socket());
            // Kept for as long as it is used.
            (switchboard, standby)
        };
        let (took, _kept) = pair.through(&format!("failed over, round {round}"), failover).await;
        slowest = slowest.of(took);
        pair.end("Postgres failed over to a synchronous standby", slowest).await;
    }
}
