//! Clients that go about their business, each at its own pace, whatever happens to the server.
//!
//! Requests are due at times fixed beforehand, and an answer takes as long as it comes after the moment its request
//! was due: a generator that waits for one answer before it thinks of the next request would not see a stall, only
//! pause with it (coordinated omission).

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::grantd::PASSWORD;
use super::timeline::Timeline;
use super::wire::{Answer, Wire, member, write_token_request};

/// What neighbours ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ClientCredentials,
    Refresh,
    Jwks,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::ClientCredentials, Self::Refresh, Self::Jwks];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Refresh => "refresh_token",
            Self::Jwks => "jwks.json",
        }
    }
}

/// One request of one neighbour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) kind: Kind,
    pub(crate) window: usize,
    /// From when it was due to when its answer was read.
    pub(crate) took: Duration,
    /// How long the generator itself was late, which is its fault and not the server's.
    pub(crate) late: Duration,
    pub(crate) status: Option<u16>,
}

/// The neighbours of a run.
pub(crate) struct Neighbours {
    pub(crate) address: SocketAddr,
    /// The header with which they authenticate.
    pub(crate) basic: String,
    /// Connections of each kind.
    pub(crate) connections: u32,
    /// Requests per second of each kind.
    pub(crate) rate: u32,
}

impl Neighbours {
    /// Logs in for each connection that will refresh: the tokens at which their chains begin.
    pub(crate) fn log_in(&self) -> Vec<String> {
        let mut wire = Wire::to(self.address);
        let mut request = Vec::new();
        let tokens = (0..self.connections).map(|number| {
            write_login(&mut request, &self.basic, number);
            let answer = wire.ask(&request).expect("a login");
            let token = member(wire.body(answer), "refresh_token");
            token.unwrap_or_else(|| panic!("a login without refresh token: {}", wire.body(answer))).to_owned()
        });
        tokens.collect()
    }

    /// Starts a thread for each connection; what they saw is known when they end.
    pub(crate) fn start(
        &self,
        timeline: &Arc<Timeline>,
        tokens: Vec<String>,
    ) -> Vec<JoinHandle<Vec<Sample>>> {
        let period = Duration::from_secs(1) * self.connections / self.rate;
        let mut threads = Vec::new();
        for kind in Kind::ALL {
            for (number, token) in tokens.iter().enumerate() {
                let neighbour = Neighbour {
                    kind,
                    wire: Wire::to(self.address),
                    basic: self.basic.clone(),
                    token: token.clone(),
                    form: String::with_capacity(256),
                    request: Vec::with_capacity(1024),
                };
                let pace = Pace { period, random: (threads.len() as u64 + 1) * 0x9e37_79b9_7f4a_7c15 };
                let timeline = Arc::clone(timeline);
                let thread = Builder::new().name(format!("{}-{number}", kind.name()));
                let thread = thread.spawn(move || neighbour.live(&timeline, pace)).expect("a thread");
                threads.push(thread);
            }
        }
        threads
    }
}

/// A login of one of the users.
pub(crate) fn write_login(request: &mut Vec<u8>, basic: &str, user: u32) {
    let form = format!("grant_type=password&username=user-{user}&password={PASSWORD}");
    write_token_request(request, basic, &form);
}

struct Neighbour {
    kind: Kind,
    wire: Wire,
    basic: String,
    token: String,
    form: String,
    request: Vec<u8>,
}

/// One request in each period, at a moment in it that chance decides: many such connections together are close to
/// the arrivals of real clients, who know nothing of each other, and never march in step.
struct Pace {
    period: Duration,
    random: u64,
}

impl Pace {
    /// When the request of this number is due, counted from the beginning.
    fn due(&mut self, number: u32) -> Duration {
        // xorshift64: the same every time, which is what is wanted.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.period * number + self.period.mul_f64((self.random >> 11) as f64 / (1u64 << 53) as f64)
    }
}

impl Neighbour {
    fn live(mut self, timeline: &Timeline, mut pace: Pace) -> Vec<Sample> {
        let expected = timeline.length().as_nanos() / pace.period.as_nanos();
        let mut samples = Vec::with_capacity(expected as usize + 1);
        let mut free = timeline.moment(Duration::ZERO);
        for number in 0.. {
            let due = pace.due(number);
            if due > timeline.length() {
                break;
            }
            self.prepare();
            timeline.sleep_until(due);

            let sent = Instant::now();
            let answer = self.wire.ask(&self.request);
            let took = timeline.moment(due).elapsed();

            let late = sent.saturating_duration_since(timeline.moment(due).max(free));
            free = Instant::now();
            let status = answer.as_ref().ok().map(|answer| answer.status);
            if let Some(window) = timeline.window_at(due) {
                samples.push(Sample { kind: self.kind, window, took, late, status });
            }
            if let (Kind::Refresh, Ok(answer)) = (self.kind, answer) {
                self.keep_token(answer);
            }
        }
        samples
    }

    fn prepare(&mut self) {
        use std::fmt::Write as _;
        self.form.clear();
        // Writing into memory does not fail.
        let _ = match self.kind {
            Kind::ClientCredentials => write!(self.form, "grant_type=client_credentials"),
            Kind::Refresh => write!(self.form, "grant_type=refresh_token&refresh_token={}", self.token),
            Kind::Jwks => {
                self.request.clear();
                self.request
                    .extend_from_slice(b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: grantd\r\n\r\n");
                return;
            }
        };
        write_token_request(&mut self.request, &self.basic, &self.form);
    }

    /// The successor; after an error the old token is asked with again, as the retry rule allows.
    fn keep_token(&mut self, answer: Answer) {
        if let Some(token) = member(self.wire.body(answer), "refresh_token") {
            self.token.clear();
            self.token.push_str(token);
        }
    }
}
