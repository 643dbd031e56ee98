//! The load: many keep-alive connections driven by one thread, each sending its next request when it has its answer.
//!
//! Cheap enough that the server is what is measured: requests are bytes made beforehand, one wait serves all
//! connections, and each answer costs one read and one write. Knows nothing of who answers.

use std::io::{ErrorKind, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::rig::figures::Durations;
use crate::rig::wire::{member, write_token_request};

/// Who waits longer than this for an answer has met a fault.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a connection says next.
#[derive(Clone)]
pub(crate) enum Talk {
    /// These requests in turn, from this one on.
    Turns(Vec<Vec<u8>>, usize),
    /// A refresh with the token of the last answer.
    Refresh { basic: String, token: String },
}

/// How answers are waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// By looking all the time, on a core that is the load's alone. A load that sleeps is woken by whoever answers, in the
    /// server's time: microseconds that no server spends on a client elsewhere, and the slower one the more often.
    Looking,
    /// Asleep, where the core is needed by others.
    Sleeping,
}

/// Connections with what each of them says, from one window to the next.
pub(crate) struct Load {
    address: SocketAddr,
    talks: Vec<Talk>,
}

/// What came of a window.
#[derive(Default)]
pub(crate) struct Driven {
    /// Answers per second.
    pub(crate) rate: f64,
    /// From the sending of each request to its answer.
    pub(crate) took: Durations,
    /// What the load itself used of its core, but for looking in vain.
    pub(crate) busy: f64,
    /// Answers that were not 200, and the first of them.
    pub(crate) errors: usize,
    pub(crate) first_error: Option<String>,
}

impl Load {
    /// So many connections, each with the same requests, each from another one on.
    pub(crate) fn of(address: SocketAddr, connections: usize, requests: &[Vec<u8>]) -> Self {
        let turns = |number| Talk::Turns(requests.to_vec(), number * requests.len() / connections);
        Self { address, talks: (0..connections).map(turns).collect() }
    }

    /// A connection for each chain of refresh tokens.
    pub(crate) fn refreshing(address: SocketAddr, basic: &str, tokens: &[String]) -> Self {
        let chain = |token: &String| Talk::Refresh { basic: basic.to_owned(), token: token.clone() };
        Self { address, talks: tokens.iter().map(chain).collect() }
    }

    /// Drives the server for `warm`, which does not count, and for `window`, which does. Every answer is waited for,
    /// so that no chain loses its token.
    pub(crate) fn drive(&mut self, warm: Duration, window: Duration, waiting: Waiting) -> Result<Driven> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(self.talks.len());
        for (number, talk) in self.talks.iter_mut().enumerate() {
            let connection = Connection::open(self.address, talk)?;
            let number = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, &connection.stream, number, epoll::EventFlags::IN)?;
            connections.push(connection);
        }
        let (started, used) = (Instant::now(), processor_time());
        let begin = started + warm;
        let end = begin + window;
        for connection in &mut connections {
            connection.ask()?;
        }

        let mut open = connections.len();
        let mut events = Vec::with_capacity(open);
        let (mut took, mut errors, mut first_error) = (Vec::with_capacity(1 << 18), 0, None);
        let (mut first, mut last) = (None, begin);
        let sleep = if waiting == Waiting::Sleeping { PATIENCE } else { Duration::ZERO };
        let sleep = Timespec::try_from(sleep).expect("a few seconds");
        let (mut nothing_since, mut in_vain) = (None, 0.0);
        while open > 0 {
            events.clear();
            match epoll::wait(&epoll, spare_capacity(&mut events), Some(&sleep)) {
                // A machine that was paused meanwhile.
                Err(Errno::INTR) => continue,
                outcome => outcome?,
            };
            if events.is_empty() {
                let (since, _) = *nothing_since.get_or_insert_with(|| (Instant::now(), processor_time()));
                if waiting == Waiting::Sleeping || since.elapsed() >= PATIENCE {
                    return Err(ErrorKind::TimedOut.into());
                }
                continue;
            }
            in_vain += nothing_since.take().map_or(0.0, |(_, used)| processor_time() - used);
            for event in &events {
                let connection = &mut connections[event.data.u64() as usize];
                if !connection.read()? {
                    continue;
                }
                let now = Instant::now();
                if (begin..end).contains(&now) {
                    // The rate is that between the first and the last answer, so that it is right for few of them too.
                    first.get_or_insert(now);
                    last = now;
                    took.push(now - connection.asked);
                }
                if !connection.is_ok() {
                    errors += 1;
                    first_error.get_or_insert_with(|| connection.text().to_owned());
                }
                connection.listen();
                if now < end {
                    connection.ask()?;
                } else {
                    open -= 1;
                }
            }
        }
        let between = first.map_or(Duration::ZERO, |first| last - first).as_secs_f64();
        let rate = if between > 0.0 { (took.len() - 1) as f64 / between } else { 0.0 };
        let busy = (processor_time() - used - in_vain) / started.elapsed().as_secs_f64();
        Ok(Driven { rate, took: took.into_iter().collect(), busy, errors, first_error })
    }
}

/// Runs something elsewhere while a load without connections looks for answers on the core of this thread: whoever is
/// compared with a driven server has the neighbour that it has.
pub(crate) fn beside_idle_load<T>(run: impl FnOnce() -> T) -> T {
    struct Ended<'a>(&'a AtomicBool);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let has_ended = AtomicBool::new(false);
    let look = || {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("another descriptor");
        let (mut events, at_once) = (Vec::with_capacity(1), Timespec::default());
        while !has_ended.load(Ordering::Relaxed) {
            let _there_is_nothing = epoll::wait(&epoll, spare_capacity(&mut events), Some(&at_once));
        }
    };
    thread::scope(|scope| {
        scope.spawn(look);
        let _ended = Ended(&has_ended);
        run()
    })
}

/// Seconds that this thread has used.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

struct Connection<'a> {
    stream: TcpStream,
    talk: &'a mut Talk,
    asked: Instant,
    /// A refresh, as it is sent.
    request: Vec<u8>,
    answer: Vec<u8>,
    layout: Layout,
}

/// Where things were in the last answer. The next one is nearly always alike, which is then seen without searching.
#[derive(Default)]
struct Layout {
    head: usize,
    length: Range<usize>,
    digits: Vec<u8>,
    body: usize,
}

impl<'a> Connection<'a> {
    fn open(address: SocketAddr, talk: &'a mut Talk) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            talk,
            asked: Instant::now(),
            request: Vec::with_capacity(1024),
            answer: Vec::with_capacity(16 * 1024),
            layout: Layout::default(),
        })
    }

    fn ask(&mut self) -> Result<()> {
        self.answer.clear();
        let request = match &mut *self.talk {
            Talk::Turns(requests, next) => {
                *next = (*next + 1) % requests.len();
                &requests[*next]
            }
            Talk::Refresh { basic, token } => {
                let form = format!("grant_type=refresh_token&refresh_token={token}");
                write_token_request(&mut self.request, basic, &form);
                &self.request
            }
        };
        self.asked = Instant::now();
        self.stream.write_all(request)
    }

    /// Reads what is there; gives whether the answer is complete.
    fn read(&mut self) -> Result<bool> {
        let mut buffer = [0; 8192];
        match self.stream.read(&mut buffer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.answer.extend_from_slice(&buffer[..count]);
                Ok((self.layout.fits(&self.answer) || self.layout.learn(&self.answer))
                    && self.answer.len() >= self.layout.head + self.layout.body)
            }
        }
    }

    fn is_ok(&self) -> bool {
        self.answer.starts_with(b"HTTP/1.1 200 ")
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.answer).unwrap_or("an answer that is no text")
    }

    /// Takes from the answer what the next request needs.
    fn listen(&mut self) {
        if let Talk::Refresh { token, .. } = &mut *self.talk
            && let Ok(answer) = std::str::from_utf8(&self.answer)
            && let Some(successor) = member(answer, "refresh_token")
        {
            token.clear();
            token.push_str(successor);
        }
    }
}

impl Layout {
    fn fits(&self, answer: &[u8]) -> bool {
        self.head > 0
            && answer.len() >= self.head
            && answer[..self.head].ends_with(b"\r\n\r\n")
            && answer[self.length.clone()] == self.digits
    }

    fn learn(&mut self, answer: &[u8]) -> bool {
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
        let name = b"\r\ncontent-length: ";
        let at = answer[..end].windows(name.len()).position(|found| found.eq_ignore_ascii_case(name));
        let from = at.map_or(end, |at| at + name.len());
        let count = answer[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        // With the line's end: a longer number is another one.
        self.length = from..from + count + 2;
        self.digits = answer[self.length.clone()].to_vec();
        self.body = self.digits[..count].iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        self.head = end + 4;
        true
    }
}
