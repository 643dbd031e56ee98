//! What is measured: each operation of grantd beside its ceiling.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::compare::{Compared, Rounds};
use super::cores::Cores;
use super::disk::Disk;
use super::furniture::{many_clients, many_roles};
use super::hashes::RawHashes;
use super::load::{Driven, Load, Waiting, beside_idle_load};
use super::postgres::Postgres;
use super::programs::{Ceiling, DOCUMENTS};
use super::quiet::{Quiet, Watch, median};
use super::report::{Line, Target, tell};
use super::verifies::RawVerifies;
use crate::rig::figures::{Durations, ms};
use crate::rig::grantd::{House, Served};
use crate::rig::neighbours::write_login;
use crate::rig::wire::{Wire, member, write_form, write_token_request};

const WARM: Duration = Duration::from_millis(200);
/// Connections of the load where it is to be as much as fits.
const MANY: usize = 32;

/// What every measurement needs, and the lines so far.
pub(crate) struct Bench {
    pub(crate) cores: Cores,
    pub(crate) place: PathBuf,
    pub(crate) window: Duration,
    pub(crate) rounds: Rounds,
    pub(crate) lines: Vec<Line>,
    /// The most that the load needed of its core.
    pub(crate) load_busy: f64,
}

impl Bench {
    pub(crate) fn client_credentials(&mut self) {
        let house = House::new(&[]);
        let algorithms = [("ES256", 0.85), ("EdDSA", 0.80), ("RS256", 0.95)];
        let clients = algorithms.map(|(alg, _)| house.client_with(alg, &["--alg", alg]));
        let small = client_credentials(&house.client_with("small", &["--no-status"]));
        let served = self.cores.on_server(|| house.serve());
        let ceiling = self.cores.on_server(|| Ceiling::start([0; 3]));
        for ((alg, least), basic) in algorithms.into_iter().zip(&clients) {
            let mut ours = Load::of(served.address, MANY, &[client_credentials(basic)]);
            let mut theirs = Load::of(ceiling.address, MANY, &[Ceiling::token_request(alg)]);
            let compared = self.compare(&mut ours, &mut theirs);
            self.tell(&compared, &format!("client_credentials {alg}"), least);
        }
        // A token that says where its status is beside one that does not.
        let mut with_status = Load::of(served.address, MANY, &[client_credentials(&clients[0])]);
        let mut without = Load::of(served.address, MANY, &[small]);
        let compared = self.compare(&mut with_status, &mut without);
        self.tell(&compared, "with status beside --no-status", 0.97);
        served.stop();
    }

    pub(crate) fn documents(&mut self) {
        let house = House::new(&[]);
        let served = self.cores.on_server(|| house.serve());
        let lengths = DOCUMENTS.map(|path| {
            let mut wire = Wire::to(served.address);
            let answer = wire.ask(&read(path)).expect("a document");
            assert_eq!(answer.status, 200, "{path}");
            wire.body(answer).len()
        });
        let ceiling = self.cores.on_server(|| Ceiling::start(lengths));
        for ((name, path), length) in
            ["JWKS", "metadata", "status list"].into_iter().zip(DOCUMENTS).zip(lengths)
        {
            let mut ours = Load::of(served.address, MANY, &[read(path)]);
            let mut theirs = Load::of(ceiling.address, MANY, &[read(path)]);
            let compared = self.compare(&mut ours, &mut theirs);
            self.tell(&compared, &format!("{name}, {length} bytes"), 0.92);
        }
        served.stop();
    }

    /// Tokens that are asked about again and again, as by a service whose callers come with each for a while, and tokens
    /// that are all new to the server.
    pub(crate) fn introspection(&mut self) {
        let house = House::new(&[]);
        let basic = house.client("app");
        let served = self.cores.on_server(|| house.serve());
        let mut wire = Wire::to(served.address);
        // More than the server keeps verified.
        let questions: Vec<Vec<u8>> = (0..20_000).map(|_| question(&mut wire, &basic)).collect();
        let mut raw = None;
        for (name, some, least) in [("again", &questions[..100], 0.70), ("ever new", &questions[..], 0.30)] {
            let length = some[0].len();
            let raw = raw.get_or_insert_with(|| RawVerifies::of_length(length));
            let mut ours = Load::of(served.address, MANY, some);
            let compared = self.rounds.compare(&mut || self.drive(&mut ours, self.window), &mut || {
                Ok(Driven { rate: self.undriven(|| raw.rate(self.window)), ..Driven::default() })
            });
            self.tell(&compared, &format!("introspection, {name}"), least);
        }
        served.stop();
    }

    pub(crate) fn refresh(&mut self) {
        let house = House::new(&[]);
        let basic = house.client("app");
        house.users(1);
        let served = self.cores.on_server(|| house.serve());
        let tokens = log_in(&served, &basic, MANY + 1);
        let disk = Disk::new(&self.place, MANY);

        let mut ours = Load::refreshing(served.address, &basic, &tokens[..1]);
        // Until the log of its database has grown to its size, as that of the ceiling has.
        let _warm = self.drive(&mut ours, Duration::from_secs(1));
        let alone = self.rounds.compare(&mut || self.drive(&mut ours, self.window), &mut || {
            Ok(self.undriven(|| disk.alone(self.window)))
        });
        self.tell(&alone, "refresh, SQLite, 1 client", 0.7);

        let mut ours = Load::refreshing(served.address, &basic, &tokens[1..]);
        let crowd = self.rounds.compare(&mut || self.drive(&mut ours, self.window), &mut || {
            Ok(self.undriven(|| disk.each_for_itself(MANY as i64, self.window)))
        });
        self.tell(&crowd, "refresh, SQLite, 32 clients", 2.5);
        tell(&mut self.lines, crowd.p99_line("  its p99", 15.0));
        served.stop();
    }

    pub(crate) fn refresh_on_postgres(&mut self) {
        let postgres = match self.cores.on_any(|| Postgres::start(&self.place)) {
            Ok(postgres) => postgres,
            Err(why) => return println!("refresh, Postgres: not measured: {why}"),
        };
        let house = House::new(&[
            ("GRANTD_DATABASE__URL", postgres.url("grantd")),
            ("GRANTD_KEYS__ENCRYPTION_KEY", STANDARD.encode(random_key())),
        ]);
        let basic = house.client("app");
        house.users(1);
        let served = self.cores.on_any(|| house.serve());
        let tokens = log_in(&served, &basic, MANY);
        let mut ours = Load::refreshing(served.address, &basic, &tokens);
        // pgbench counts whole seconds; both sides get as long, and all cores that there are.
        let window = Duration::from_secs(self.window.as_secs().max(1));
        let compared = self.rounds.compare(
            &mut || self.cores.on_any(|| drive(&mut ours, window, Waiting::Sleeping)),
            &mut || {
                let rate = self.cores.on_any(|| postgres.rate(window))?;
                Ok(Driven { rate, ..Driven::default() })
            },
        );
        self.tell(&compared, "refresh, Postgres, 32 clients", 0.6);
        served.stop();
    }

    pub(crate) fn password(&mut self) {
        let house = House::new(&[]);
        let basic = house.client("app");
        house.users(4);
        let served = self.cores.on_server(|| house.serve());
        let requests: Vec<Vec<u8>> = (0..4).map(|user| login(&basic, user)).collect();
        let mut raw = RawHashes::new();

        let mut ours = Load::of(served.address, 4, &requests);
        // Hashes are few, so they are counted for longer.
        let window = 2 * self.window;
        let compared = self.rounds.compare(&mut || self.drive(&mut ours, window), &mut || {
            Ok(Driven { rate: self.undriven(|| raw.rate(window)), ..Driven::default() })
        });
        self.tell(&compared, "password, one core", 0.95);

        let mut wire = Wire::to(served.address);
        let watch = Watch::start();
        let rounds = (0..self.rounds.count).map(|_| {
            let logins: Durations = (0..12).map(|_| timed(&mut wire, &requests[0])).collect();
            let hashes = self.cores.on_server(|| raw.times(12));
            (ms(logins.percentile(50.0)), ms(hashes.percentile(50.0)))
        });
        let (logins, hashes): (Vec<f64>, Vec<f64>) = rounds.unzip();
        let more: Vec<f64> = logins.iter().zip(&hashes).map(|(login, hash)| login - hash).collect();
        let line = Line {
            name: "one login beside its hash, p50".into(),
            grantd: format!("{:.2} ms", median(&logins)),
            ceiling: format!("{:.2} ms", median(&hashes)),
            figure: median(&more),
            unit: "ms",
            target: Target::AtMost(1.0),
            // Of the difference of two nearly equal times no spread can be small: that of the hashes says more.
            quiet: Quiet { others: watch.others(), spread: super::quiet::spread(&hashes) },
            fault: None,
        };
        tell(&mut self.lines, line);
        served.stop();
    }

    /// Memory, start and size.
    pub(crate) fn footprint(&mut self) {
        let house = House::new(&[]);
        house.client("app");
        let watch = Watch::start();
        let (mut starts, mut memory) = (Vec::new(), 0.0);
        for _ in 0..self.rounds.count {
            let begin = Instant::now();
            let served = self.cores.on_any(|| house.serve());
            let answer = Wire::to(served.address).ask(&read(DOCUMENTS[0])).expect("an answer");
            starts.push(ms(begin.elapsed()));
            assert_eq!(answer.status, 200, "a server that has started");
            std::thread::sleep(Duration::from_millis(200));
            memory = served.memory() as f64 / 1024.0;
            served.stop();
        }
        let binary = std::fs::metadata(env!("CARGO_BIN_EXE_grantd")).expect("the binary");
        let quiet = Quiet { others: watch.others(), spread: 0.0 };
        let line = |name: &str, figure, unit, most, quiet| Line {
            name: name.into(),
            grantd: format!("{figure:.1} {unit}"),
            ceiling: String::new(),
            figure,
            unit,
            target: Target::AtMost(most),
            quiet,
            fault: None,
        };
        tell(&mut self.lines, line("memory, idle", memory, "MiB", 25.0, Quiet::default()));
        tell(&mut self.lines, line("start on an existing database", median(&starts), "ms", 100.0, quiet));
        let size = binary.len() as f64 / (1 << 20) as f64;
        tell(&mut self.lines, line("binary", size, "MiB", 25.0, Quiet::default()));
    }

    pub(crate) fn two_workers(&mut self) {
        if self.cores.count() < 3 {
            return println!(
                "two workers beside one: not measured: it takes two cores for them and one for the load, and here are {}",
                self.cores.count()
            );
        }
        let sides = [2, 1].map(|workers| {
            let house = House::new(&[("GRANTD_SERVER__WORKERS", workers.to_string())]);
            let request = client_credentials(&house.client("app"));
            (self.cores.on_first(workers, || house.serve()), house, request)
        });
        let [mut two, mut one] = [&sides[0], &sides[1]]
            .map(|(served, _, request)| Load::of(served.address, MANY, std::slice::from_ref(request)));
        let compared = self.compare(&mut two, &mut one);
        self.tell(&compared, "two workers beside one", 1.8);
    }

    /// The same request in a database with much in it, beside one with nothing else in it.
    pub(crate) fn flat(&mut self) {
        let small = House::new(&[]);
        let request = client_credentials(&small.client("app"));
        let (crowded, ruled) = (House::new(&[]), House::new(&[]));
        let clients = many_clients(&crowded, &crowded.client("app"), 10_000);
        let of_ruled = client_credentials(&ruled.client("app"));
        many_roles(&ruled, 1000);

        let one = self.cores.on_server(|| small.serve());
        let cases = [
            ("10,000 clients beside 1", &crowded, clients),
            ("1,000 roles beside 0", &ruled, vec![of_ruled]),
        ];
        for (name, house, requests) in cases {
            let many = self.cores.on_server(|| house.serve());
            let mut ours = Load::of(many.address, MANY, &requests);
            let mut theirs = Load::of(one.address, MANY, std::slice::from_ref(&request));
            let compared = self.compare(&mut ours, &mut theirs);
            self.tell(&compared, name, 0.95);
            many.stop();
        }
        one.stop();
    }

    fn compare(&self, ours: &mut Load, theirs: &mut Load) -> Compared {
        self.rounds.compare(&mut || self.drive(ours, self.window), &mut || self.drive(theirs, self.window))
    }

    /// Drives a load on its core, if there is one for it.
    fn drive(&self, load: &mut Load, window: Duration) -> Result<Driven, String> {
        let has_its_core = self.cores.count() > 1;
        drive(load, window, if has_its_core { Waiting::Looking } else { Waiting::Sleeping })
    }

    /// Runs a ceiling that no load drives, on the core of the server.
    fn undriven<T>(&self, ceiling: impl FnOnce() -> T) -> T {
        let on_server = || self.cores.on_server(ceiling);
        if self.cores.count() > 1 { beside_idle_load(on_server) } else { on_server() }
    }

    fn tell(&mut self, compared: &Compared, name: &str, at_least: f64) {
        self.load_busy = self.load_busy.max(compared.load_busy);
        tell(&mut self.lines, compared.line(name, Target::AtLeast(at_least)));
    }
}

/// A key for the database to be sealed under.
fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).expect("randomness");
    key
}

fn drive(load: &mut Load, window: Duration, waiting: Waiting) -> Result<Driven, String> {
    load.drive(WARM, window, waiting).map_err(|error| format!("the load broke off: {error}"))
}

fn log_in(served: &Served, basic: &str, count: usize) -> Vec<String> {
    let (mut wire, request) = (Wire::to(served.address), login(basic, 0));
    let token = |_| {
        let answer = wire.ask(&request).expect("a login");
        let token = member(wire.body(answer), "refresh_token");
        token.unwrap_or_else(|| panic!("a login without refresh token: {}", wire.body(answer))).to_owned()
    };
    (0..count).map(token).collect()
}

fn timed(wire: &mut Wire, request: &[u8]) -> Duration {
    let begin = Instant::now();
    let answer = wire.ask(request).expect("a login");
    assert_eq!(answer.status, 200, "{}", wire.body(answer));
    begin.elapsed()
}

fn login(basic: &str, user: u32) -> Vec<u8> {
    let mut request = Vec::new();
    write_login(&mut request, basic, user);
    request
}

fn client_credentials(basic: &str) -> Vec<u8> {
    let mut request = Vec::new();
    write_token_request(&mut request, basic, "grant_type=client_credentials");
    request
}

/// What asks about a new token.
fn question(wire: &mut Wire, basic: &str) -> Vec<u8> {
    let answer = wire.ask(&client_credentials(basic)).expect("a token");
    let token = member(wire.body(answer), "access_token").expect("a token");
    let mut request = Vec::new();
    write_form(&mut request, "/introspect", basic, &format!("token={token}"));
    request
}

fn read(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: grantd\r\n\r\n").into_bytes()
}
