//! How near grantd is to what this machine can do: `cargo bench --bench ceiling`, about four minutes.
//!
//! The release server runs on one core, the load on another, where it looks for answers all the time; on a machine of
//! one core, and where all cores are Postgres' too, it sleeps. Beside each operation stands its ceiling: the least
//! program that does the same work with the same libraries (`programs`, `disk`, `hashes`, and `pgbench`). The two are
//! driven in turn, A B A B, and the figure is the median of the ratios of neighbouring windows: rates of a shared
//! machine change by a factor of two from day to day, their ratios do not. `spread` is how far the middle half of the
//! ratios lies apart, `others` what anything else used of all cores; where either is above 10 or 5 %, nobody can tell
//! whether a target is reached, and the line says so. The exit status is a failure only if a target is missed on a
//! machine that was quiet, or if something answered with errors.
//!
//! Everything is at its default, audit and metrics included. What is written goes through `fsync` beside what cargo
//! builds; `BENCH_DIR` names another place, which should be a disk and not memory.
//!
//! `-- --milliseconds 1000 --rounds 5 --only refresh,password` : a window's length, how many of each side, and which
//! of client_credentials, documents, introspection, refresh, postgres, password, footprint, workers and flat.
//!
//! The picture is written to `target/ceiling.svg`: bars are ratios, the black strokes their targets.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is what the bench is for")]

mod chart;
mod compare;
mod cores;
mod disk;
mod furniture;
mod hashes;
mod load;
mod operations;
mod postgres;
mod programs;
mod quiet;
mod report;
#[expect(dead_code, reason = "other benches use the rest")]
#[path = "../rig/mod.rs"]
mod rig;
mod verifies;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use compare::Rounds;
use cores::Cores;
use operations::Bench;
use report::{Verdict, print_head};

/// The same as grantd's, which the ceilings that answer over HTTP are compared with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// After this no further round and no further part begins, so that all ends within five minutes also where starts are
/// slow.
const PATIENCE: Duration = Duration::from_secs(240);

/// What `--only` may name, and what measures it.
type Part = (&'static str, fn(&mut Bench));

const PARTS: [Part; 9] = [
    ("client_credentials", Bench::client_credentials),
    ("documents", Bench::documents),
    ("introspection", Bench::introspection),
    ("refresh", Bench::refresh),
    ("postgres", Bench::refresh_on_postgres),
    ("password", Bench::password),
    ("footprint", Bench::footprint),
    ("workers", Bench::two_workers),
    ("flat", Bench::flat),
];

fn main() -> ExitCode {
    let mut given = rig::options::given();
    if given.first().is_some_and(|first| first == "--ceiling") {
        return program(&given[1..]);
    }
    let Some(only) = only(&mut given) else {
        let names = PARTS.map(|(name, _)| name).join(",");
        eprintln!("--only takes some of {names}");
        return ExitCode::from(2);
    };
    let [window, rounds] = rig::options::read_from(given, [("milliseconds", 1000), ("rounds", 5)]);

    let cores = Cores::take();
    if cores.count() < 2 {
        println!("there is one core only: server and load share it, and all figures are those of both");
    }
    let place = std::env::var("BENCH_DIR").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").to_owned());
    let begun = Instant::now();
    let mut bench = Bench {
        cores,
        place: PathBuf::from(place),
        window: Duration::from_millis(window.max(100)),
        rounds: Rounds { count: rounds.max(1) as usize, no_later: begun + PATIENCE },
        lines: Vec::new(),
        load_busy: 0.0,
    };
    print_head();
    for (name, part) in PARTS {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        if begun.elapsed() > PATIENCE {
            println!(
                "{name}: not measured: the machine is too slow for all in five minutes, so use --only {name}"
            );
            continue;
        }
        part(&mut bench);
    }

    let chart = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("ceiling.svg");
    std::fs::write(&chart, chart::svg(&bench.lines)).expect("a picture beside what cargo builds");
    println!(
        "\n{:.0} s; the load needed at most {:.0} % of its core; the picture: {}",
        begun.elapsed().as_secs_f64(),
        100.0 * bench.load_busy,
        chart.display()
    );
    let count = |wanted| bench.lines.iter().filter(|line| line.verdict() == wanted).count();
    let (missed, noisy, faulty) = (count(Verdict::Misses), count(Verdict::Noisy), count(Verdict::Faulty));
    println!(
        "of {} targets {missed} missed, {noisy} not to be told, {faulty} not measurable",
        bench.lines.len()
    );
    if missed + faulty == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Takes `--only a,b` out of what was given; nothing if one of them is unknown.
fn only(given: &mut Vec<String>) -> Option<Vec<String>> {
    let Some(at) = given.iter().position(|given| given == "--only") else { return Some(Vec::new()) };
    let named: Vec<String> = given.get(at + 1)?.split(',').map(str::to_owned).collect();
    given.drain(at..at + 2);
    named.iter().all(|named| PARTS.iter().any(|(name, _)| name == named)).then_some(named)
}

/// What this bench is when it starts itself.
fn program(lengths: &[String]) -> ExitCode {
    let lengths: Option<Vec<_>> = lengths.iter().map(|length| length.parse().ok()).collect();
    let Some(Ok(lengths)) = lengths.map(programs::Lengths::try_from) else {
        return ExitCode::from(2);
    };
    match programs::serve(lengths) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the ceiling program does not serve: {error}");
            ExitCode::FAILURE
        }
    }
}
