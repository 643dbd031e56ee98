//! SQLite and the disk: killed at each sync, failed at each sync, and watched for an answer that comes before its sync.
//! What a kill alone cannot show, because the system keeps what a killed process wrote, a power cut would.
//!
//! Needs strace, and is ignored where there is none or it may not trace. A few syncs, or all with `GRANTD_TEST_ROUNDS`.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::crashes::{ready, start};
use crate::history::record::{Act, Outcome, Switch};
use crate::history::rest::{assert_in_order, look_at_rest};
use crate::history::traffic::{Device, World};
use crate::support::figures::{Lots, long, say};
use crate::support::program::{Home, Served};
use crate::support::runner::trials;
use crate::support::server::client;
use crate::support::strace::{self, Fault, at_sync, unsynced, watching};

trials! {
    alone: [
        sqlite_killed_at_a_sync_keeps_what_was_answered,
        sqlite_answers_nothing_that_the_disk_refused_and_heals,
        sqlite_answers_nothing_before_it_is_synced,
        a_command_that_the_disk_refused_says_so_and_one_that_succeeded_is_synced,
    ],
    plain: [a_first_start_that_was_killed_at_a_sync_starts_again],
}

/// What must be synced before anything is answered: the database and its log, not the index that is made anew.
const DURABLE: &[&str] = &["/grantd.db", "/grantd.db-wal"];

/// The syncs to go through: few, or all until the process got through without.
fn moments(few: &'static [u32]) -> impl Iterator<Item = u32> {
    let all = long().then_some(1..);
    all.into_iter().flatten().chain(few.iter().copied().filter(|_| !long()))
}

fn world() -> (Rc<World>, Device, PathBuf) {
    strace::here();
    let world = World::make(&[], 1);
    let device = world.devices(1, &mut Lots::of("syncs")).pop().expect("one");
    let log = world.home.path().join("strace.log");
    (world, device, log)
}

/// Starts the server of a world under strace; `None` if it did not live to listen.
async fn start_under(world: &World, strace: &[String]) -> Option<Served> {
    let words: Vec<&str> = strace.iter().map(String::as_str).collect();
    let served = world.home.serve_under(&words, &["serve"]).ok()?;
    ready(&client(), &served.url, Instant::now()).await;
    *world.urls.borrow_mut() = vec![served.url.clone()];
    Some(served)
}

/// One commit of each kind that a request makes, each asked for until it is answered; gives the number of times that it
/// was not, and gives up when `patience` is over.
async fn script(device: &mut Device, patience: usize, after_each: impl Fn()) -> usize {
    let mut unanswered = 0;
    for step in ["login", "rotate", "rotate", "again", "rotate", "rotate", "steal", "login", "rotate"] {
        loop {
            let newest = device.received.last().cloned().unwrap_or_default();
            let before = device.received.iter().rev().nth(1).cloned().unwrap_or_default();
            let outcome = match step {
                "login" => device.login().await,
                "rotate" => device.rotate(&newest).await,
                "again" => device.refresh(&before).await,
                _ => {
                    let oldest = device.received.first().cloned().unwrap_or_default();
                    let refused = device.refresh(&oldest).await;
                    if refused != Outcome::Unknown {
                        device.bury();
                    }
                    refused
                }
            };
            if outcome != Outcome::Unknown {
                after_each();
                break;
            }
            unanswered += 1;
            if unanswered > patience {
                return unanswered;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    unanswered
}

async fn sqlite_killed_at_a_sync_keeps_what_was_answered() {
    let (world, mut device, log) = world();
    let (mut killed, mut slowest) = (0, Duration::ZERO);

    for moment in moments(&[1, 2, 5]) {
        let mut unanswered = 1;
        if let Some(mut server) = start_under(&world, &at_sync(Fault::Kill, &moment.to_string(), &log)).await
        {
            unanswered = script(&mut device, 1, || ()).await;
            server.kill();
        }

        let (mut server, took) = start(&world).await;
        slowest = slowest.max(took);
        look_at_rest(&world, std::slice::from_mut(&mut device)).await;
        assert_in_order(&world.history, &format!("killed at sync {moment}"));
        server.kill();
        if unanswered == 0 {
            break;
        }
        killed += 1;
    }

    assert!(killed >= 3, "the script syncs, each time before it answers: {killed}");
    say(&format!("killed at {killed} different syncs; ready again after {} ms at most", slowest.as_millis()));
}

async fn sqlite_answers_nothing_that_the_disk_refused_and_heals() {
    let (world, mut device, log) = world();
    let wal = world.home.path().join("data/grantd.db-wal");
    let mut failed = 0;

    // After a failure there is a new connection, with a count of its own: a login, which commits a few times, would meet
    // the same fault at its first syncs again and again.
    for moment in moments(&[5, 7]).filter(|moment| *moment > 4) {
        let Some(mut server) =
            start_under(&world, &at_sync(Fault::ErrorOf(&wal), &moment.to_string(), &log)).await
        else {
            panic!("one failed sync does not end a start")
        };
        let unanswered = script(&mut device, 20, || ()).await;
        assert!(unanswered <= 20, "a disk that works again is used again");
        server.kill();
        let injected = std::fs::read_to_string(&log).expect("a log").matches("(INJECTED)").count();

        let (mut server, _) = start(&world).await;
        look_at_rest(&world, std::slice::from_mut(&mut device)).await;
        assert_in_order(&world.history, &format!("sync {moment} failed"));
        server.kill();
        if injected == 0 {
            break;
        }
        assert!(unanswered > 0, "sync {moment} failed, and all was answered as if it had not");
        failed += 1;
    }

    assert!(failed >= 2, "the script syncs: {failed}");
    // From some moment on nothing is synced any more.
    let mut server =
        start_under(&world, &at_sync(Fault::ErrorOf(&wal), "1+", &log)).await.expect("it starts");
    assert!(script(&mut device, 8, || ()).await > 8, "what cannot be written is not answered");
    server.kill();
    let (_server, _) = start(&world).await;
    look_at_rest(&world, std::slice::from_mut(&mut device)).await;
    assert_in_order(&world.history, "a disk that stayed broken");
    say(&format!("failed at {failed} different syncs, and at all: nothing answered that was lost"));
}

async fn sqlite_answers_nothing_before_it_is_synced() {
    let (world, mut device, log) = world();
    let mut server = start_under(&world, &watching(&log)).await.expect("it starts");

    let looks = std::cell::Cell::new(0);
    let look = || {
        let log = std::fs::read_to_string(&log).expect("a log");
        let unsynced = unsynced(&log, DURABLE);
        assert!(unsynced.is_empty(), "answered, but a power cut would undo it: {unsynced:?}");
        assert!(log.contains("grantd.db-wal"), "strace saw what was written: {log}");
        assert!(log.contains("fdatasync("), "SQLite was built without what .cargo/config.toml says: {log}");
        looks.set(looks.get() + 1);
    };
    assert_eq!(script(&mut device, 0, look).await, 0);

    assert_eq!(looks.get(), 9);
    server.kill();
}

async fn a_command_that_the_disk_refused_says_so_and_one_that_succeeded_is_synced() {
    let (world, mut device, log) = world();
    let wal = world.home.path().join("data/grantd.db-wal");
    let (_server, _) = start(&world).await;
    let user = String::from("user-0");
    let client = String::from("app");
    let off = [
        (Act::RevokeUser { user: user.clone() }, vec!["session", "revoke", "--user", "user-0"]),
        (Act::SwitchUser { user, to: Switch::Off }, vec!["user", "disable", "user-0"]),
        (Act::SwitchClient { client, to: Switch::Off }, vec!["client", "disable", "app"]),
    ];

    for (act, command) in off {
        for (starter, may_succeed) in [
            (at_sync(Fault::Kill, "1", &log), false),
            (at_sync(Fault::ErrorOf(&wal), "1", &log), false),
            (watching(&log), true),
        ] {
            world.switch_all_on().await;
            assert!(matches!(device.login().await, Outcome::Granted(_)));
            let starter: Vec<&str> = starter.iter().map(String::as_str).collect();
            let invoked = world.history.invoke(act.clone());

            let ended = world.home.run_under(&starter, &command);

            assert_eq!(ended.status == 0, may_succeed, "{command:?}: {ended:?}");
            world.history.end(invoked, if may_succeed { &Outcome::Done } else { &Outcome::Unknown });
            if may_succeed {
                let unsynced = unsynced(&std::fs::read_to_string(&log).expect("a log"), DURABLE);
                assert!(unsynced.is_empty(), "{command:?} said yes before it was so: {unsynced:?}");
                let newest = device.received.last().cloned().expect("logged in");
                assert!(matches!(device.rotate(&newest).await, Outcome::Refused(_)), "{command:?}");
            }
            look_at_rest(&world, std::slice::from_mut(&mut device)).await;
            assert_in_order(&world.history, &format!("{command:?} under {starter:?}"));
        }
    }
}

fn a_first_start_that_was_killed_at_a_sync_starts_again() {
    strace::here();
    let mut killed = 0;
    for moment in moments(&[1, 4, 9]) {
        let home = Home::new(&[]);
        let log = home.path().join("strace.log");
        let starter = at_sync(Fault::Kill, &moment.to_string(), &log);
        let starter: Vec<&str> = starter.iter().map(String::as_str).collect();

        let first = home.serve_under(&starter, &["serve"]);

        let survived = first.is_ok();
        drop(first);
        let again = home.serve(&["serve"]);
        assert!(again.log().contains("listening"), "killed at sync {moment}: {}", again.log());
        drop(again);
        let keys = home.json(&["key", "list"]);
        let states: Vec<_> =
            keys.as_array().expect("a list").iter().map(|key| key["state"].clone()).collect();
        assert!(states.contains(&"active".into()) && states.contains(&"pending".into()), "{keys}");
        assert_eq!(states.len(), 2, "one of each, however often it began: {keys}");
        if survived {
            break;
        }
        killed += 1;
    }
    assert!(killed >= 3, "a first start syncs what it makes: {killed}");
    say(&format!("a first start that was killed at {killed} different syncs starts again"));
}
