//! Whether slow peers slow down only themselves: `cargo bench --bench slow_peers`, about two minutes.
//!
//! A real grantd serves client_credentials, refresh and JWKS at a steady rate. In every other window two thousand
//! more connections either send the head of a request or, having sent one, its body, one byte each second. What the
//! server cuts off is opened again at once. Read the ratios (`x p99`), which compare windows of one run, and not the
//! milliseconds, which are those of the machine; and read the line on what else the machine was doing first.
//!
//! `-- --seconds 6 --rounds 4 --rate 300 --peers 2000` are the defaults.
//!
//! Whatever else writes to the disk delays every commit: `BENCH_DIR=/dev/shm` takes the disk out of the figures.

#![expect(clippy::print_stdout, reason = "the panel is what the bench is for")]

mod rig;

use std::io::{ErrorKind, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use rig::figures::{Neighbourhood, verdict};
use rig::grantd::House;
use rig::machine::Work;
use rig::neighbours::Neighbours;
use rig::timeline::{Lengths, Scene, Timeline};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// p99 with slow peers over p99 without them.
const MOST_SLOWDOWN: f64 = 1.5;
/// Longer than the server waits for a head or a body, so that what is measured includes the cutting off.
const RAMP: Duration = Duration::from_secs(7);

fn main() -> ExitCode {
    let [seconds, rounds, rate, peers] =
        rig::options::read([("seconds", 6), ("rounds", 4), ("rate", 300), ("peers", 2000)]);
    // For this process; the server inherits it, as from a service manager that sets LimitNOFILE.
    raise_file_limit(2 * peers + 500);
    let house = House::new(&[]);
    let basic = house.client("app");
    house.users(8);
    let served = house.serve();
    let neighbours =
        Neighbours { address: served.address, basic: basic.clone(), connections: 8, rate: rate as u32 };
    let tokens = neighbours.log_in();

    let timeline = Arc::new(Timeline::begin_now(Lengths {
        rounds: rounds as usize,
        troubles: Slow::ALL.len(),
        window: Duration::from_secs(seconds),
        ramp: RAMP,
        rest: Duration::from_secs(3),
    }));
    let base = served.memory();
    let work = Work::of(&served);
    let running = neighbours.start(&timeline, tokens);
    let crowd = Crowd::new(served.address, &basic, peers as usize);
    let crowd = {
        let timeline = Arc::clone(&timeline);
        Builder::new().name("slow-peers".into()).spawn(move || crowd.live(&timeline)).expect("a thread")
    };
    let samples: Vec<_> = running.into_iter().flat_map(|one| one.join().expect("a neighbour")).collect();
    let ordeals = crowd.join().expect("the crowd");

    work.print();
    let seen = Neighbourhood { timeline: &timeline, samples: &samples };
    println!("memory in MiB: {} before, {} at the most", base / 1024, served.peak_memory() / 1024);
    served.stop();
    let mut kept = Vec::new();
    for (number, slow) in Slow::ALL.into_iter().enumerate() {
        let ordeal = &ordeals[number];
        println!(
            "\nneighbours: {rate} requests/s of each kind; calm on the left, {peers} {} on the right",
            slow.name()
        );
        println!(
            "(connected on average {:.0}; opened {}, cut off {}, could not be opened {}; answered before the end {:?})",
            ordeal.held as f64 / ordeal.looks.max(1) as f64,
            ordeal.opened,
            ordeal.cut,
            ordeal.refused,
            ordeal.said
        );
        let (slowdown, errors) = seen.print_panel(Scene::Calm, Scene::Trouble(number));
        kept.push((slow.name(), slowdown, errors));
    }
    seen.print_windows(&Slow::ALL.map(Slow::name));

    println!();
    let mut all = true;
    for (name, slowdown, errors) in kept {
        all &= verdict(
            &format!("p99 of the neighbours of {peers} {name} at most 1.5 times that in calm"),
            slowdown <= MOST_SLOWDOWN && errors == 0,
            &format!("{slowdown:.2} for the worst kind, {errors} errors"),
        );
    }
    for (number, slow) in Slow::ALL.into_iter().enumerate() {
        let ordeal = &ordeals[number];
        all &= verdict(
            &format!("{} are cut off", slow.name()),
            ordeal.cut > 0,
            &format!("{} of {}", ordeal.cut, ordeal.opened),
        );
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn raise_file_limit(least: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= least) {
        return;
    }
    let raised = Rlimit { current: Some(least), maximum: maximum.map(|maximum| maximum.max(least)) };
    setrlimit(Resource::Nofile, raised).expect("as many files as there are peers: raise the hard limit");
}

/// What a peer is slow with.
#[derive(Clone, Copy, Debug)]
enum Slow {
    Head,
    Body,
}

impl Slow {
    const ALL: [Self; 2] = [Self::Head, Self::Body];

    const fn name(self) -> &'static str {
        match self {
            Self::Head => "slow heads",
            Self::Body => "slow bodies",
        }
    }
}

/// What became of the slow peers of one kind.
#[derive(Clone, Default)]
struct Ordeal {
    opened: u64,
    cut: u64,
    refused: u64,
    /// How many connections were open, summed over so many looks.
    held: u64,
    looks: u64,
    /// The status lines that the server said, and how often.
    said: std::collections::BTreeMap<String, u64>,
}

/// Many slow peers on one thread: each is looked at once in a second, so that no list of events is needed.
struct Crowd {
    address: SocketAddr,
    peers: Vec<Option<Peer>>,
    /// Sent at once.
    head: Vec<u8>,
    ordeals: Vec<Ordeal>,
}

struct Peer {
    stream: TcpStream,
    sent: usize,
    answered: bool,
}

/// How often in a second some of the peers have their turn.
const TURNS: usize = 100;

impl Crowd {
    fn new(address: SocketAddr, basic: &str, peers: usize) -> Self {
        let head = format!(
            "POST /token HTTP/1.1\r\nHost: grantd\r\nAuthorization: {basic}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n"
        );
        let peers = std::iter::repeat_with(|| None).take(peers).collect();
        Self { address, peers, head: head.into_bytes(), ordeals: vec![Ordeal::default(); Slow::ALL.len()] }
    }

    fn live(mut self, timeline: &Timeline) -> Vec<Ordeal> {
        for (trouble, from, until) in timeline.troubles() {
            let mut turn = 0;
            while timeline.elapsed() < until {
                timeline.sleep_until(from + Duration::from_secs(1) * turn / TURNS as u32);
                let chunk = self.peers.len().div_ceil(TURNS);
                let first = (turn as usize % TURNS) * chunk;
                for number in first..(first + chunk).min(self.peers.len()) {
                    self.turn(number, trouble);
                }
                self.ordeals[trouble].held += self.peers.iter().flatten().count() as u64;
                self.ordeals[trouble].looks += 1;
                turn += 1;
            }
            self.peers.iter_mut().for_each(|peer| *peer = None);
        }
        self.ordeals
    }

    fn turn(&mut self, number: usize, trouble: usize) {
        let ordeal = &mut self.ordeals[trouble];
        let beginning: &[u8] = match Slow::ALL[trouble] {
            Slow::Head => b"",
            Slow::Body => &self.head,
        };
        let peer = &mut self.peers[number];
        if let Some(slow) = peer
            && !slow.goes_on(&self.head, Slow::ALL[trouble], ordeal)
        {
            ordeal.cut += 1;
            *peer = None;
        }
        if peer.is_none() {
            match Peer::open(self.address, beginning) {
                Ok(opened) => {
                    ordeal.opened += 1;
                    *peer = Some(opened);
                }
                Err(_) => ordeal.refused += 1,
            }
        }
    }
}

impl Peer {
    fn open(address: SocketAddr, beginning: &[u8]) -> Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_nodelay(true)?;
        stream.write_all(beginning)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, sent: 0, answered: false })
    }

    /// Sends one byte more, unless the server has ended the connection.
    fn goes_on(&mut self, head: &[u8], slow: Slow, ordeal: &mut Ordeal) -> bool {
        let mut buffer = [0; 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => {
                let said = String::from_utf8_lossy(&buffer[..count]);
                if !self.answered {
                    *ordeal.said.entry(said.lines().next().unwrap_or_default().to_owned()).or_default() += 1;
                }
                self.answered = true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        let byte = match slow {
            Slow::Head => head.get(self.sent).copied().unwrap_or(b'a'),
            Slow::Body => b'a',
        };
        self.sent += 1;
        self.stream.write_all(&[byte]).is_ok()
    }
}
