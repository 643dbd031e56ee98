//! More connections than the system has file descriptors for: those who are in are served, nothing spins, and it passes.

use std::time::{Duration, Instant};

use crate::support::figures::say;
use crate::support::program::{Home, Served};
use crate::support::runner::trials;
use crate::support::wire::{Wire, basic, post};

trials! {
    alone: [
        a_flood_of_connections_leaves_descriptors_for_those_who_are_in,
        when_a_flood_is_over_who_waited_is_served,
        the_limit_of_open_files_is_raised_as_far_as_it_goes,
    ],
}

const OPEN_FILES: usize = 160;

/// Five seconds are promised. Counted in naps of this process, so that a test machine that stands still for a while
/// does not count.
const NAPS: usize = 500;
const NAP: Duration = Duration::from_millis(10);

/// `what` the kernel says of a process.
fn kernel_says(server: &Served, what: &str) -> String {
    std::fs::read_to_string(format!("/proc/{}/{what}", server.pid())).expect("a process")
}

/// Hundredths of a second that it has worked.
fn worked(server: &Served) -> u64 {
    let stat = kernel_says(server, "stat");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [11, 12].into_iter().map(|index| fields[index].parse::<u64>().expect("a number")).sum()
}

async fn a_flood_of_connections_leaves_descriptors_for_those_who_are_in() {
    let home = Home::new(&[("GRANTD_MANAGEMENT__LISTEN", "127.0.0.1:0")]);
    let made =
        home.json(&["client", "create", "app", "--grant", "client_credentials", "--grant", "password"]);
    home.json_with(&["user", "create", "alice", "--password-stdin"], "correct horse battery");
    let secret = made["client_secret"].as_str().expect("a secret");
    let authorization = format!("Authorization: {}\r\n", basic(&format!("app:{secret}")));
    let server = home.serve_after(&format!("ulimit -n {OPEN_FILES}"), &["serve"]);
    let mut neighbour = Wire::open(&server.url).await;
    let token = post(&authorization, "grant_type=client_credentials");
    let login = post(&authorization, "grant_type=password&username=alice&password=correct+horse+battery");
    neighbour.send(&token).await;
    assert_eq!(neighbour.answer().await.status, 200);

    let flood = flood(&server).await;
    let before = worked(&server);
    for _ in 0..10 {
        for request in [&token, &login] {
            neighbour.send(request).await;
            let answer = neighbour.answer().await;
            assert_eq!(answer.status, 200, "{answer:?} {}", server.log());
        }
        let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("a process").count();
        assert!(open < OPEN_FILES - 8, "{open} descriptors of {OPEN_FILES} are taken");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let worked = worked(&server) - before;
    assert!(worked < 150, "{worked} hundredths of a second of work while nothing happens: it spins");
    drop(flood);
    neighbour.send(&token).await;
    assert_eq!(neighbour.answer().await.status, 200);
    assert!(!server.log().contains("panicked"), "{}", server.log());
    server.terminate();
    assert_eq!(server.end().0, 0);
}

/// More connections than there are descriptors, each with half a head.
async fn flood(server: &Served) -> Vec<Wire> {
    let mut flood = Vec::new();
    for _ in 0..OPEN_FILES + 100 {
        let mut wire = Wire::open(&server.url).await;
        wire.send("GET / HTTP/1.1\r\n").await;
        flood.push(wire);
    }
    flood
}

async fn when_a_flood_is_over_who_waited_is_served() {
    let server = Home::new(&[]).serve_after(&format!("ulimit -n {OPEN_FILES}"), &["serve"]);
    let get = "GET /health/live HTTP/1.1\r\nHost: grantd\r\n\r\n";
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        let flood = flood(&server).await;
        // Behind the others in the queue of the kernel, from which nobody is taken while no place is free.
        let mut late = Wire::open(&server.url).await;
        late.send(get).await;
        assert!(late.is_kept_for(NAP * 20).await, "there was a place left: the flood is too small");

        let over = Instant::now();
        drop(flood);
        let mut answer = std::pin::pin!(late.answer());
        let mut naps = 0;
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                () = tokio::time::sleep(NAP) => naps += 1,
            }
            assert!(naps < NAPS, "not served within five seconds: {}", server.log());
        };

        assert_eq!(answer.status, 200, "{answer:?}");
        slowest = slowest.max(over.elapsed());
    }
    say(&format!(
        "out of descriptors: who waited is served {} ms after the flood at most",
        slowest.as_millis()
    ));
    server.terminate();
    assert_eq!(server.end().0, 0);
}

async fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
    let server = Home::new(&[]).serve_after("ulimit -Sn 128; ulimit -Hn 512", &["serve"]);

    let limits = kernel_says(&server, "limits");

    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let limits: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(limits, ["512", "512"]);
}
