//! A few threads of low priority behind a short queue: at most so many hashes at once, whoever asks.
//!
//! Must not know what a job computes. Three promises:
//!
//! - A job that does not fit is refused at once, one that waited too long is not run.
//! - A place belongs to the job, not to its caller: a client that hangs up frees nothing early, so
//!   opening and dropping connections does not start more hashes than there are threads.
//! - A job that panics takes nothing with it.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::hash::{HashFailure, HashParams, Hasher};
use super::pool::{PoolCounts, PoolError};
use super::ticket::{Place, Ticket};

/// A thread without work this long gives its memory back; an idle server then holds none.
const IDLE_BEFORE_RELEASE: Duration = Duration::from_secs(10);

/// The least share of a busy processor, and still a share: idle priority proper would let a flat-out
/// load of other requests starve all logins.
#[cfg(target_os = "linux")]
const LOWEST_NICE: i32 = 19;

/// The pool's threads. Dropping it, or [`HashThreads::stop`], ends them after their current job.
pub(super) struct HashThreads {
    shared: Arc<Shared>,
    threads: NonZeroUsize,
}

struct Shared {
    state: Mutex<State>,
    work_or_stop: Condvar,
    /// Jobs queued and running together: `threads + queue`.
    places: usize,
    counts: Counts,
}

#[derive(Default)]
struct State {
    queued: VecDeque<Job>,
    running: usize,
    /// Places that are held for jobs still to come.
    admitted: usize,
    stopping: bool,
}

#[derive(Default)]
struct Counts {
    hashes: Arc<AtomicU64>,
    run: AtomicU64,
    refused: AtomicU64,
    expired: AtomicU64,
    abandoned: AtomicU64,
    panicked: AtomicU64,
}

struct Job {
    ticket: Arc<Ticket>,
    queued_at: Instant,
    deadline: Duration,
    work: Box<dyn FnOnce(&mut Hasher) -> Done + Send>,
}

/// A job that ran. The answer is given after its place is free, so that who has one may ask again.
struct Done {
    answer: Box<dyn FnOnce()>,
    panicked: bool,
}

impl HashThreads {
    /// Starts `threads` threads; `queue` more jobs may wait.
    pub(super) fn start(params: HashParams, threads: NonZeroUsize, queue: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work_or_stop: Condvar::new(),
            places: threads.get().saturating_add(queue),
            counts: Counts::default(),
        });
        // Made before the threads: if one of them does not start, dropping this ends the others.
        let pool = Self { shared, threads };
        for number in 0..threads.get() {
            let shared = Arc::clone(&pool.shared);
            let hasher = Hasher::new(params, Arc::clone(&shared.counts.hashes));
            thread::Builder::new()
                .name(format!("grantd-hash-{number}"))
                .spawn(move || work(&shared, hasher))?;
        }
        Ok(pool)
    }

    /// Takes a place, or refuses at once.
    pub(super) fn admit(&self) -> Result<Admission, PoolError> {
        let mut state = self.shared.lock();
        if state.stopping {
            return Err(PoolError::Stopped);
        }
        if state.queued.len() + state.running + state.admitted >= self.shared.places {
            self.shared.counts.refused.fetch_add(1, Ordering::Relaxed);
            return Err(PoolError::Busy);
        }
        state.admitted += 1;
        Ok(Admission(Some(Arc::clone(&self.shared))))
    }

    /// Runs `work` in a place taken now.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        deadline: Duration,
        work: impl FnOnce(&mut Hasher) -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        self.run_admitted(self.admit()?, deadline, work).await
    }

    /// Runs `work` on one of the threads, if it gets there within `deadline`.
    ///
    /// Needs a Tokio runtime with its timer on.
    pub(super) async fn run_admitted<T: Send + 'static>(
        &self,
        admission: Admission,
        deadline: Duration,
        work: impl FnOnce(&mut Hasher) -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (reply, mut answer) = oneshot::channel();
        let ticket = Arc::new(Ticket::default());
        self.enqueue(
            admission,
            Job {
                ticket: Arc::clone(&ticket),
                queued_at: Instant::now(),
                deadline,
                work: Box::new(move |hasher| {
                    // A hasher that is left half-way is whole again after its memory is given back.
                    let outcome = catch_unwind(AssertUnwindSafe(|| work(hasher)));
                    let outcome = outcome.map_err(|_| PoolError::Failed(HashFailure::Panicked));
                    let panicked = outcome.is_err();
                    // Nobody may be there to hear it any more.
                    Done { panicked, answer: Box::new(move || drop(reply.send(outcome))) }
                }),
            },
        )?;
        let caller = Caller { ticket: &ticket, counts: &self.shared.counts };

        let outcome = match tokio::time::timeout(deadline, &mut answer).await {
            Ok(outcome) => outcome,
            Err(_) if caller.ticket.leave_queue(Place::Expired) => {
                self.shared.counts.expired.fetch_add(1, Ordering::Relaxed);
                return Err(PoolError::Busy);
            }
            // The deadline is for the queue only; what has begun is waited for.
            Err(_) => answer.await,
        };
        // No answer means that the job was taken out of the queue without being run.
        outcome.unwrap_or_else(|_| match caller.ticket.place() {
            Place::Expired | Place::Abandoned => Err(PoolError::Busy),
            Place::Queued | Place::Running | Place::Stopped => Err(PoolError::Stopped),
        })
    }

    /// Refuses new jobs and those in the queue; running ones end and are answered.
    pub(super) fn stop(&self) {
        let refused = {
            let mut state = self.shared.lock();
            state.stopping = true;
            std::mem::take(&mut state.queued)
        };
        self.shared.work_or_stop.notify_all();
        for job in refused {
            job.ticket.leave_queue(Place::Stopped);
        }
    }

    pub(super) fn threads(&self) -> NonZeroUsize {
        self.threads
    }

    pub(super) fn queue_depth(&self) -> usize {
        self.shared.lock().queued.len()
    }

    pub(super) fn running(&self) -> usize {
        self.shared.lock().running
    }

    pub(super) fn counts(&self) -> PoolCounts {
        let counts = &self.shared.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        PoolCounts {
            hashes: read(&counts.hashes),
            run: read(&counts.run),
            refused: read(&counts.refused),
            expired: read(&counts.expired),
            abandoned: read(&counts.abandoned),
            panicked: read(&counts.panicked),
        }
    }

    /// The place goes from the admission to the job.
    fn enqueue(&self, admission: Admission, job: Job) -> Result<(), PoolError> {
        {
            let mut state = self.shared.lock();
            if state.stopping {
                // Given back by the admission, which locks as well.
                drop(state);
                return Err(PoolError::Stopped);
            }
            state.admitted -= 1;
            state.queued.push_back(job);
        }
        admission.spend();
        self.shared.work_or_stop.notify_one();
        Ok(())
    }
}

impl Drop for HashThreads {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A place among those that wait and run, held for a job to come; given back when dropped.
pub struct Admission(Option<Arc<Shared>>);

impl Admission {
    fn spend(mut self) {
        self.0 = None;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.lock().admitted -= 1;
        }
    }
}

impl Shared {
    /// Held for a few instructions only: a thread of low priority that loses its processor while it
    /// holds the lock would hold up the others. Nothing panics under it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The life of one hash thread.
fn work(shared: &Shared, mut hasher: Hasher) {
    lower_priority();
    let mut state = shared.lock();
    loop {
        if let Some(job) = state.queued.pop_front() {
            state.running += 1;
            drop(state);
            let done = run(job, &mut hasher, &shared.counts);
            shared.lock().running -= 1;
            if let Some(done) = done {
                (done.answer)();
            }
            state = shared.lock();
        } else if state.stopping {
            return;
        } else if hasher.holds_memory() {
            let (woken, timeout) = shared
                .work_or_stop
                .wait_timeout(state, IDLE_BEFORE_RELEASE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timeout.timed_out() && state.queued.is_empty() {
                drop(state);
                hasher.release_memory();
                state = shared.lock();
            }
        } else {
            state = shared.work_or_stop.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Runs a job, unless it came too late or its caller left.
fn run(job: Job, hasher: &mut Hasher, counts: &Counts) -> Option<Done> {
    if job.queued_at.elapsed() >= job.deadline {
        if job.ticket.leave_queue(Place::Expired) {
            counts.expired.fetch_add(1, Ordering::Relaxed);
        }
        return None;
    }
    if !job.ticket.leave_queue(Place::Running) {
        return None;
    }
    counts.run.fetch_add(1, Ordering::Relaxed);
    let done = (job.work)(hasher);
    if done.panicked {
        counts.panicked.fetch_add(1, Ordering::Relaxed);
        hasher.release_memory();
        tracing::error!(
            "a job of the password threads panicked; its caller got an error, the thread goes on"
        );
    }
    Some(done)
}

/// On Linux a thread has a nice value of its own, and 0 means the calling thread (setpriority(2)).
#[cfg(target_os = "linux")]
fn lower_priority() {
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST_NICE) {
        tracing::warn!(%error, "the password threads keep normal priority: logins will slow down other requests");
    }
}

/// Elsewhere the nice value is the whole process's, which must stay as it is.
#[cfg(not(target_os = "linux"))]
fn lower_priority() {}

/// The waiting side. When it goes away, a job still in the queue keeps its place but is not run.
struct Caller<'a> {
    ticket: &'a Ticket,
    counts: &'a Counts,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if self.ticket.leave_queue(Place::Abandoned) {
            self.counts.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
