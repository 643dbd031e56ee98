//! A connection as actix-http sees it: whole, well-formed heads, one request at a time, and no peer that keeps us waiting.
//!
//! actix-http times the first head of a connection and the time between requests; nothing ends a later head, a body
//! that nobody reads, or an answer that the peer does not take. Here every wait for the peer has an end.
//! What is refused is replaced by a stand-in, which [`super::connection`] answers like a request.

use std::cmp;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::web::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::io::poll_read_buf;

use super::connection::{Connection, Patience, Rejection};
use super::framing::{Body, HeadScanner, LONGEST_HEAD};
use super::transport::Transport;

/// What is let in for a request that was refused. No peer can send it for himself: a method is checked by the
/// mark on the connection, not by its name.
const STAND_IN: &[u8] = b"REFUSED /refused HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";
/// How much is read at once.
const PIECE: usize = 4096;
/// A peer that takes this much of an answer within its patience may go on: about 6 KiB a second.
const PROGRESS: usize = 64 * 1024;
/// How long and how much is read and thrown away behind what was refused or late: a socket closed over unread bytes resets
/// the connection, and the peer loses the answer that says why.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// See the top of this file.
pub(super) struct GuardedStream {
    transport: Transport,
    connection: Rc<Connection>,
    patience: Patience,
    /// Read from the peer and not yet let in.
    received: BytesMut,
    /// How many bytes at its front may be let in.
    admitted: usize,
    reading: Reading,
    /// The peer sends nothing more.
    ended: bool,
    /// What is waited for, and since when.
    waiting: (Awaited, Instant),
    writing: Option<Writing>,
    /// Something was written that has not been flushed yet.
    unflushed: bool,
    /// Something was answered.
    has_answered: bool,
    lingering: Option<Lingering>,
    alarm: Pin<Box<Sleep>>,
}

enum Reading {
    Head(HeadScanner),
    Body(Body),
    /// A stand-in was let in, and nothing will be any more.
    Refused,
    /// As if the peer had ended the connection.
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Request,
    RestOfHead,
    RestOfBody,
    /// Our own answer; the peer may take its time.
    Nothing,
}

/// An answer that the peer does not take as fast as it is made.
struct Writing {
    since: Instant,
    taken: usize,
}

struct Lingering {
    until: Instant,
    left: usize,
}

impl GuardedStream {
    pub(super) fn new(transport: Transport, patience: Patience) -> Self {
        transport.give_up_after(patience.write);
        let now = Instant::now();
        Self {
            transport,
            connection: Connection::new(),
            patience,
            received: BytesMut::new(),
            admitted: 0,
            reading: Reading::Head(HeadScanner::default()),
            ended: false,
            waiting: (Awaited::Nothing, now),
            writing: None,
            unflushed: false,
            has_answered: false,
            lingering: None,
            alarm: Box::pin(tokio::time::sleep(patience.head)),
        }
    }

    pub(super) const fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Whether no further request may be let in now.
    fn is_held(&self) -> bool {
        // Whoever does not take his answers gets no more of them.
        self.connection.is_busy() || self.writing.is_some()
    }

    /// Decides how much of what was received may be let in.
    fn admit(&mut self) {
        loop {
            match &mut self.reading {
                Reading::Head(scanner) => {
                    if self.connection.is_busy() || self.writing.is_some() || self.received.is_empty() {
                        return;
                    }
                    match scanner.scan(&self.received) {
                        Ok(None) => return,
                        Ok(Some(head)) => {
                            self.connection.begin_turn();
                            self.admitted = head.length;
                            self.reading = Reading::Body(head.body);
                        }
                        Err(refusal) => return self.refuse(refusal),
                    }
                }
                Reading::Body(body) => {
                    match body.advance(&self.received[self.admitted..]) {
                        Ok(more) => self.admitted += more,
                        Err(_) => {
                            // The request is under way: to its handler, its body breaks off.
                            self.connection.end_after_this();
                            self.received.truncate(self.admitted);
                            self.reading = Reading::Over;
                            return;
                        }
                    }
                    if !body.is_over() {
                        return;
                    }
                    self.reading = Reading::Head(HeadScanner::default());
                }
                Reading::Refused | Reading::Over => return,
            }
        }
    }

    fn refuse(&mut self, rejection: impl Into<Rejection>) {
        self.connection.reject(rejection.into());
        self.connection.begin_turn();
        self.received = BytesMut::from(STAND_IN);
        self.admitted = STAND_IN.len();
        self.reading = Reading::Refused;
    }

    /// Lets in what may be; whether that was anything.
    fn let_in(&mut self, out: &mut ReadBuf<'_>) -> bool {
        if self.admitted == 0 {
            self.admit();
        }
        let here = cmp::min(self.admitted, out.remaining());
        out.put_slice(&self.received[..here]);
        self.received.advance(here);
        self.admitted -= here;
        here > 0
    }

    /// Reads a piece behind what was received.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Into room that is not cleared before, which would cost as much as reading does.
        self.received.reserve(PIECE);
        let mut piece = (&mut self.received).limit(PIECE);
        poll_read_buf(Pin::new(&mut self.transport), cx, &mut piece).map_ok(|count| self.ended |= count == 0)
    }

    /// What the peer owes us, and until when.
    fn due(&mut self, now: Instant) -> (Awaited, Instant) {
        let awaited = match self.reading {
            _ if self.connection.is_busy() && matches!(self.reading, Reading::Head(_)) => Awaited::Nothing,
            Reading::Head(_) if self.writing.is_some() => Awaited::Nothing,
            Reading::Head(_) if self.received.is_empty() => Awaited::Request,
            Reading::Head(_) => Awaited::RestOfHead,
            Reading::Body(_) => Awaited::RestOfBody,
            Reading::Refused | Reading::Over => Awaited::Nothing,
        };
        if self.waiting.0 != awaited {
            self.waiting = (awaited, now);
        }
        let since = self.waiting.1;
        let until = match awaited {
            // Nobody wakes us when the turn ends, so this looks again before whatever is due then.
            Awaited::Nothing => now + self.patience.keep_alive,
            Awaited::Request if self.has_answered => self.connection.free_since() + self.patience.keep_alive,
            Awaited::Request => self.connection.free_since() + self.patience.head,
            Awaited::RestOfHead => since + self.patience.head,
            Awaited::RestOfBody => since + self.patience.body,
        };
        (awaited, until)
    }

    /// Whether `deadline` has passed; if not, the task is woken then, or earlier.
    fn has_passed(&mut self, deadline: Instant, now: Instant, cx: &mut Context<'_>) -> bool {
        if now >= deadline {
            return true;
        }
        // Deadlines mostly move away. An alarm that is too early is left as it is, which is cheaper than setting it anew.
        if self.alarm.is_elapsed() || self.alarm.deadline() > deadline {
            self.alarm.as_mut().reset(deadline);
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            self.alarm.as_mut().reset(deadline);
            if Instant::now() >= deadline {
                return true;
            }
        }
        false
    }

    /// The peer takes nothing more for now.
    fn poll_taken<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let now = Instant::now();
        let writing = self.writing.get_or_insert(Writing { since: now, taken: 0 });
        let deadline = writing.since + self.patience.write;
        if !self.has_passed(deadline, now, cx) {
            return Poll::Pending;
        }
        self.transport.forget_unsent();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads what is still on its way and will not be let in, and throws it away.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut lingering = self
            .lingering
            .take()
            .unwrap_or_else(|| Lingering { until: Instant::now() + LINGER, left: LINGER_BYTES });
        loop {
            self.received.clear();
            match self.poll_receive(cx) {
                Poll::Ready(Ok(())) if !self.ended && lingering.left > self.received.len() => {
                    lingering.left -= self.received.len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if self.has_passed(lingering.until, Instant::now(), cx) => {
                    return Poll::Ready(());
                }
                Poll::Pending => {
                    self.lingering = Some(lingering);
                    return Poll::Pending;
                }
            }
        }
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.let_in(out) {
                return Poll::Ready(Ok(()));
            }
            match this.reading {
                Reading::Over => return Poll::Ready(Ok(())),
                // Its answer ends the connection, and nothing that is read could change that.
                Reading::Refused => return Poll::Pending,
                Reading::Head(_) | Reading::Body(_) => {}
            }
            let held = this.is_held() && !this.received.is_empty();
            if held {
                this.connection.wait_for_turn(cx);
            }
            if this.ended {
                // What is held back comes before the end.
                return if held { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            if held && this.received.len() >= LONGEST_HEAD {
                return Poll::Pending;
            }
            match this.poll_receive(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let now = Instant::now();
                    let (awaited, until) = this.due(now);
                    if !this.has_passed(until, now, cx) {
                        return Poll::Pending;
                    }
                    match awaited {
                        Awaited::RestOfHead => this.refuse(Rejection::TooSlow),
                        // To its handler, the body breaks off.
                        Awaited::RestOfBody => {
                            this.connection.body_is_late();
                            this.reading = Reading::Over;
                        }
                        Awaited::Request => this.reading = Reading::Over,
                        Awaited::Nothing => {}
                    }
                }
            }
        }
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.transport).poll_write(cx, bytes) {
            Poll::Pending => this.poll_taken(cx),
            Poll::Ready(Ok(count)) => {
                this.unflushed = true;
                if let Some(writing) = &mut this.writing {
                    writing.taken += count;
                    if writing.taken >= PROGRESS {
                        *writing = Writing { since: Instant::now(), taken: 0 };
                    }
                }
                Poll::Ready(Ok(count))
            }
            failed => failed,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.transport).poll_flush(cx);
        match flushed {
            Poll::Pending => return this.poll_taken(cx),
            Poll::Ready(Ok(())) => {
                this.has_answered |= std::mem::take(&mut this.unflushed);
                if this.writing.take().is_some() {
                    this.connection.answer_was_taken(Instant::now());
                    // A request may have been held back for it.
                    cx.waker().wake_by_ref();
                }
            }
            Poll::Ready(Err(_)) => {}
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            match Pin::new(&mut this.transport).poll_shutdown(cx) {
                Poll::Pending => return this.poll_taken(cx),
                Poll::Ready(Ok(())) if this.connection.has_ended() && !this.ended => {}
                ready => return ready,
            }
        }
        this.poll_linger(cx).map(Ok)
    }
}
