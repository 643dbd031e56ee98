//! Whether a storm of logins hurts only logins: `cargo bench --bench storm`, about two minutes.
//!
//! A real grantd with real hashes serves client_credentials, refresh and JWKS at a steady rate, and three scenes take
//! turns:
//!
//! - calm;
//! - busy: threads of the lowest priority, as many as grantd hashes with, keep the processors busy and do nothing else.
//!   What that costs the others is the machine's doing, and is no storm: on some it doubles the p99;
//! - storm: two hundred clients log in at the same moment and go on. Who is let in logs in again at once, who is told
//!   503 comes back after the Retry-After and a moment of its own.
//!
//! Read the ratios (`x p99`), which compare windows of one run, and not the milliseconds, which are those of the
//! machine; and read first what else the machine was doing.
//!
//! `-- --seconds 6 --rounds 4 --rate 300 --logins 200` are the defaults. `--threads` sets `passwords.threads`;
//! `--spread 0` lets all who were refused come back at the same moment instead of within a second.
//!
//! Whatever else writes to the disk delays every commit: `BENCH_DIR=/dev/shm` takes the disk out of the figures.

#![expect(clippy::print_stdout, reason = "the panel is what the bench is for")]

mod rig;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

use rig::figures::{Durations, Neighbourhood, ms, verdict};
use rig::grantd::{House, Served};
use rig::machine::Work;
use rig::neighbours::{Neighbours, write_login};
use rig::timeline::{Lengths, Scene, Timeline};
use rig::wire::{Wire, write_token_request};

/// The scenes beside calm.
const BUSY: usize = 0;
const STORM: usize = 1;
/// p99 with the storm over p99 without it.
const MOST_SLOWDOWN: f64 = 1.25;
/// How soon a login that does not fit is refused.
const SOON: Duration = Duration::from_millis(50);
/// `passwords.memory_kib` by default.
const HASH_KIB: u64 = 19456;
/// What a client that logs in may cost beside the hash: its connection, its request, its place in the queue.
const CLIENT_KIB: u64 = 64;
/// `passwords.queue_deadline` by default: who is told 503 after that long did fit, and was then not reached in time.
const QUEUE_DEADLINE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    // As many as grantd takes by itself.
    let threads =
        thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1)) as u64;
    let [seconds, rounds, rate, guests, threads, spread] = rig::options::read([
        ("seconds", 6),
        ("rounds", 4),
        ("rate", 300),
        ("logins", 200),
        ("threads", threads),
        ("spread", 1000),
    ]);
    let house = House::new(&[("GRANTD_PASSWORDS__THREADS", threads.to_string())]);
    let basic = house.client("app");
    house.users(guests.max(8) as usize);
    let neighbours = |served: &Served| Neighbours {
        address: served.address,
        basic: basic.clone(),
        connections: 8,
        rate: rate as u32,
    };
    // The chains begin in a server of their own, so that the base of memory is one without a single hash.
    let first = house.serve();
    let tokens = neighbours(&first).log_in();
    first.stop();

    let served = house.serve();
    let timeline = Arc::new(Timeline::begin_now(Lengths {
        rounds: rounds as usize,
        troubles: 2,
        window: Duration::from_secs(seconds),
        ramp: Duration::ZERO,
        rest: Duration::from_secs(2),
    }));
    let work = Work::of(&served);
    let running = neighbours(&served).start(&timeline, tokens);
    let storm: Vec<_> = (0..guests as u32)
        .map(|user| Guest { wire: Wire::to(served.address), basic: basic.clone(), user, spread })
        .map(|guest| guest.start(&timeline))
        .collect();
    let idlers: Vec<_> = (0..threads).map(|_| idle_away(&timeline)).collect();
    let memory = Memory::watch(&served, &timeline);

    let logins: Vec<Login> = storm.into_iter().flat_map(|guest| guest.join().expect("a guest")).collect();
    let samples: Vec<_> = running.into_iter().flat_map(|one| one.join().expect("a neighbour")).collect();
    work.print();
    let seen = Neighbourhood { timeline: &timeline, samples: &samples };
    idlers.into_iter().for_each(|idler| idler.join().expect("an idler"));
    println!(
        "\nneighbours: {rate} requests/s of each kind; calm on the left, {guests} logins at once on the right"
    );
    let (over_calm, errors) = seen.print_panel(Scene::Calm, Scene::Trouble(STORM));
    println!("\nthe same; {threads} busy threads of the lowest priority on the left, the storm on the right");
    let (over_busy, _) = seen.print_panel(Scene::Trouble(BUSY), Scene::Trouble(STORM));
    seen.print_windows(&["busy", "storm"]);
    let refusals = print_logins(&logins, Duration::from_secs(seconds * rounds));
    let (base, ever) = (memory.base(), served.peak_memory());
    let hashes = base + threads * HASH_KIB;
    let allowed = hashes + guests * CLIENT_KIB;
    println!(
        "\nmemory in MiB: base {}, with {threads} x the memory cost of a hash {}, at the most {}: {:.0} KiB more for \
         each of {guests} clients",
        mib(base),
        mib(hashes),
        mib(ever),
        ever.saturating_sub(hashes) as f64 / guests.max(1) as f64
    );
    let windows: Vec<String> = memory.0.iter().map(|kib| mib(*kib)).collect();
    println!("window by window: {}", windows.join(" "));
    served.stop();

    println!();
    let kept = [
        verdict(
            "p99 of the neighbours at most 1.25 times that in calm, or that of a busy machine",
            over_calm.min(over_busy) <= MOST_SLOWDOWN,
            &format!("{over_calm:.2} and {over_busy:.2} for the worst kind"),
        ),
        verdict("every neighbour got its answer", errors == 0, &format!("{errors} errors")),
        verdict(
            "a login that does not fit gets 503 and Retry-After within 50 ms",
            refusals.slowest < SOON && refusals.count > 0 && refusals.speechless == 0,
            &format!(
                "slowest {:.2} ms of {}, {} without Retry-After",
                ms(refusals.slowest),
                refusals.count,
                refusals.speechless
            ),
        ),
        verdict(
            &format!("memory stays within base + threads x memory cost + {CLIENT_KIB} KiB a client"),
            ever <= allowed,
            &format!("{} of {} MiB", mib(ever), mib(allowed)),
        ),
    ];
    if kept.iter().all(|kept| *kept) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Somebody who wants to log in whenever there is a storm.
struct Guest {
    wire: Wire,
    basic: String,
    user: u32,
    /// Milliseconds in which they come back who were told to wait equally long.
    spread: u64,
}

/// One login and what came of it.
#[derive(Clone, Copy)]
struct Login {
    took: Duration,
    status: Option<u16>,
    retry_after: Option<u64>,
}

impl Guest {
    fn start(self, timeline: &Arc<Timeline>) -> JoinHandle<Vec<Login>> {
        let timeline = Arc::clone(timeline);
        let thread = Builder::new().name(format!("guest-{}", self.user)).stack_size(256 * 1024);
        thread.spawn(move || self.live(&timeline)).expect("a thread")
    }

    fn live(mut self, timeline: &Timeline) -> Vec<Login> {
        let (mut logins, mut request) = (Vec::with_capacity(1024), Vec::with_capacity(1024));
        // All at once, and no logins: the base of memory is to have in it what so many connections cost anyway.
        write_token_request(&mut request, &self.basic, "grant_type=client_credentials");
        for _ in 0..5 {
            let _ = self.wire.ask(&request);
        }
        write_login(&mut request, &self.basic, self.user);
        let mut random = u64::from(self.user);
        for (_, from, until) in timeline.troubles().filter(|(trouble, ..)| *trouble == STORM) {
            timeline.sleep_until(from);
            while timeline.elapsed() < until {
                let sent = Instant::now();
                let answer = self.wire.ask(&request).ok();
                let took = sent.elapsed();
                let retry_after =
                    answer.and_then(|answer| self.wire.header(answer, "retry-after")?.parse().ok());
                let status = answer.map(|answer| answer.status);
                logins.push(Login { took, status, retry_after });
                if status != Some(200) {
                    // Knuth's multiplier: guests come back in an order that looks like none.
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let own = if self.spread == 0 { 0 } else { (random >> 33) % self.spread };
                    let told = Duration::from_secs(retry_after.unwrap_or(1));
                    thread::sleep(told + Duration::from_millis(own));
                }
            }
        }
        logins
    }
}

/// Keeps a processor busy in the busy scenes, at the priority of a hashing thread.
fn idle_away(timeline: &Arc<Timeline>) -> JoinHandle<()> {
    let timeline = Arc::clone(timeline);
    thread::spawn(move || {
        #[cfg(target_os = "linux")]
        rustix::process::setpriority_process(None, 19).expect("a lower priority");
        for (_, from, until) in timeline.troubles().filter(|(trouble, ..)| *trouble == BUSY) {
            timeline.sleep_until(from);
            while timeline.elapsed() < until {
                std::hint::spin_loop();
            }
        }
    })
}

/// What became of the logins that were refused for want of room.
struct Refusals {
    count: usize,
    slowest: Duration,
    speechless: usize,
}

fn print_logins(logins: &[Login], storm: Duration) -> Refusals {
    let of = |status| logins.iter().filter(move |login| login.status == Some(status));
    let let_in: Durations = of(200).map(|login| login.took).collect();
    let refused: Durations = of(503).map(|login| login.took).filter(|took| *took < QUEUE_DEADLINE).collect();
    let expired = of(503).count() - refused.count();
    println!("\nlogins in ms, from the sending of the request:");
    for (name, took) in [("200", &let_in), ("503", &refused)] {
        let [half, most, nearly_all] = [50.0, 99.0, 99.9].map(|percent| ms(took.percentile(percent)));
        let (count, max) = (took.count(), ms(took.max()));
        println!(
            "{name}: n {count:>6} p50 {half:>8.2} p99 {most:>8.2} p99.9 {nearly_all:>8.2} max {max:>8.2}"
        );
    }
    let others = logins.len() - let_in.count() - of(503).count();
    let rate = let_in.count() as f64 / storm.as_secs_f64();
    println!("503 after passwords.queue_deadline: {expired}; anything else: {others}; {rate:.1} logins/s");
    let speechless = of(503).filter(|login| login.retry_after.is_none()).count();
    Refusals { count: refused.count(), slowest: refused.max(), speechless }
}

/// The most that was in use in each window, in KiB.
struct Memory(Vec<u64>);

impl Memory {
    /// Looks every 20 ms until the run is over.
    fn watch(served: &Served, timeline: &Timeline) -> Self {
        let mut most = vec![0; timeline.windows().len()];
        while timeline.elapsed() < timeline.length() {
            if let Some(window) = timeline.window_at(timeline.elapsed()) {
                most[window] = served.memory().max(most[window]);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Self(most)
    }

    /// The most before the first storm.
    fn base(&self) -> u64 {
        self.0.first().copied().unwrap_or_default()
    }
}

fn mib(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}
