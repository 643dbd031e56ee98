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

    /// Runs `work` on one of the threads, if it gets there within `deadline`.
    ///
    /// Needs a Tokio runtime with its timer on.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        deadline: Duration,
        work: impl FnOnce(&mut Hasher) -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (reply, mut answer) = oneshot::channel();
        let ticket = Arc::new(Ticket::default());
        self.admit(Job {
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
        })?;
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

    fn admit(&self, job: Job) -> Result<(), PoolError> {
        {
            let mut state = self.shared.lock();
            if state.stopping {
                return Err(PoolError::Stopped);
            }
            if state.queued.len() + state.running >= self.shared.places {
                self.shared.counts.refused.fetch_add(1, Ordering::Relaxed);
                return Err(PoolError::Busy);
            }
            state.queued.push_back(job);
        }
        self.shared.work_or_stop.notify_one();
        Ok(())
    }
}

impl Drop for HashThreads {
    fn drop(&mut self) {
        self.stop();
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
mod tests {
    use std::pin::Pin;
    use std::sync::mpsc;
    use std::task::Poll;

    use super::*;

    const CHEAP: HashParams = HashParams { memory_kib: 8, iterations: 1, parallelism: 1 };
    const LONG: Duration = Duration::from_secs(600);

    fn pool(threads: usize, queue: usize) -> Arc<HashThreads> {
        let threads = NonZeroUsize::new(threads).expect("at least one");
        Arc::new(HashThreads::start(CHEAP, threads, queue).expect("threads"))
    }

    /// Occupies one thread until it is opened (or dropped).
    struct Gate {
        open: mpsc::Sender<()>,
        caller: tokio::task::JoinHandle<Result<&'static str, PoolError>>,
    }

    async fn occupy(pool: &Arc<HashThreads>) -> Gate {
        let (open, opened) = mpsc::channel::<()>();
        let (begin, begun) = oneshot::channel();
        let pool = Arc::clone(pool);
        let caller = tokio::spawn(async move {
            let job = move |_: &mut Hasher| {
                begin.send(()).expect("the test waits");
                let _ = opened.recv();
                "ran"
            };
            pool.run(LONG, job).await
        });
        begun.await.expect("the job begins");
        Gate { open, caller }
    }

    async fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
    }

    async fn is_refused_at_once(pool: &HashThreads) -> bool {
        let mut one_more = Box::pin(pool.run(LONG, |_| ()));
        poll_once(&mut one_more).await == Poll::Ready(Err(PoolError::Busy))
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_at_once_and_what_fits_runs() {
        let pool = pool(1, 1);
        let gate = occupy(&pool).await;
        let mut queued = Box::pin(pool.run(LONG, |_| "queued"));
        assert!(poll_once(&mut queued).await.is_pending());

        assert!(is_refused_at_once(&pool).await);
        assert_eq!((pool.queue_depth(), pool.running(), pool.counts().refused), (1, 1, 1));

        gate.open.send(()).expect("the job waits");
        assert_eq!(queued.await, Ok("queued"));
        assert_eq!(gate.caller.await.expect("no panic"), Ok("ran"));
        assert_eq!(pool.counts().run, 2);
    }

    #[tokio::test]
    async fn without_a_queue_there_are_as_many_places_as_threads_and_an_answer_means_a_free_one() {
        let pool = pool(2, 0);
        let (one, two) = (occupy(&pool).await, occupy(&pool).await);
        assert!(is_refused_at_once(&pool).await);

        one.open.send(()).expect("the job waits");
        assert_eq!(one.caller.await.expect("no panic"), Ok("ran"));
        for _ in 0..100 {
            assert_eq!(pool.run(LONG, |_| ()).await, Ok(()));
        }
        drop(two);
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_does_not_free_the_place_of_its_running_job() {
        let pool = pool(1, 0);
        let gate = occupy(&pool).await;

        gate.caller.abort();
        assert!(gate.caller.await.expect_err("aborted").is_cancelled());

        assert_eq!(pool.running(), 1);
        assert!(is_refused_at_once(&pool).await);
        assert_eq!(pool.counts().abandoned, 0);
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_in_the_queue_keeps_its_place_and_costs_no_hash() {
        let pool = pool(1, 2);
        let gate = occupy(&pool).await;
        let mut left = Box::pin(pool.run(LONG, |_| panic!("nobody waits for this")));
        let mut waiting = Box::pin(pool.run(LONG, |_| "ran"));
        assert!(poll_once::<_>(&mut left).await.is_pending());
        assert!(poll_once(&mut waiting).await.is_pending());

        drop::<Pin<Box<dyn Future<Output = Result<(), PoolError>>>>>(left);
        assert_eq!((pool.queue_depth(), pool.counts().abandoned), (2, 1));
        assert!(is_refused_at_once(&pool).await);

        gate.open.send(()).expect("the job waits");
        assert_eq!(waiting.await, Ok("ran"));
        assert_eq!((pool.counts().run, pool.counts().panicked), (2, 0));
    }

    #[tokio::test]
    async fn who_waited_too_long_is_answered_at_the_deadline_and_not_run_later() {
        let pool = pool(1, 2);
        let gate = occupy(&pool).await;

        // Answered while the only thread is still busy.
        let late = pool.run(Duration::ZERO, |_| panic!("too late to run")).await;
        assert_eq!(late.map(|()| "ran"), Err(PoolError::Busy));
        assert_eq!((pool.queue_depth(), pool.counts().expired), (1, 1));

        gate.open.send(()).expect("the job waits");
        assert_eq!(pool.run(LONG, |_| "ran").await, Ok("ran"));
        assert_eq!((pool.counts().run, pool.counts().expired, pool.counts().panicked), (2, 1, 0));
    }

    #[tokio::test]
    async fn a_thread_does_not_run_what_is_past_its_deadline_even_if_the_caller_has_not_noticed() {
        let pool = pool(1, 2);
        let ticket = Arc::new(Ticket::default());
        let job = Job {
            ticket: Arc::clone(&ticket),
            queued_at: Instant::now(),
            deadline: Duration::ZERO,
            work: Box::new(|_| Done { answer: Box::new(|| ()), panicked: false }),
        };

        pool.admit(job).expect("there is room");
        assert_eq!(pool.run(LONG, |_| "ran").await, Ok("ran"));

        assert_eq!(ticket.place(), Place::Expired);
        assert_eq!((pool.counts().run, pool.counts().expired), (1, 1));
    }

    #[tokio::test]
    async fn stopping_answers_those_who_wait_and_lets_running_jobs_end() {
        let pool = pool(1, 1);
        let gate = occupy(&pool).await;
        let mut queued = Box::pin(pool.run(LONG, |_| "queued"));
        assert!(poll_once(&mut queued).await.is_pending());

        pool.stop();

        assert_eq!(queued.await, Err(PoolError::Stopped));
        assert_eq!(pool.run(LONG, |_| ()).await, Err(PoolError::Stopped));
        gate.open.send(()).expect("the job waits");
        assert_eq!(gate.caller.await.expect("no panic"), Ok("ran"));
    }

    #[tokio::test]
    async fn threads_end_when_the_pool_is_dropped() {
        let pool = pool(3, 1);
        pool.run(LONG, |hasher| drop(hasher.hash(&crate::model::secret::PlainSecret::new("x".into()))))
            .await
            .expect("room");
        let shared = Arc::downgrade(&pool.shared);

        drop(pool);

        // Each thread holds the shared state until its end.
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn a_panic_in_one_job_is_an_error_for_its_caller_and_for_nobody_else() {
        let pool = pool(1, 1);

        for _ in 0..3 {
            // As `panic!`, without its trace among the test output.
            let outcome = pool.run(LONG, |_| -> () { std::panic::resume_unwind(Box::new("a bug")) }).await;
            assert_eq!(outcome, Err(PoolError::Failed(HashFailure::Panicked)));
        }

        assert_eq!(pool.run(LONG, |_| "ran").await, Ok("ran"));
        assert_eq!((pool.counts().panicked, pool.running()), (3, 0));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn hash_threads_have_a_name_and_low_priority_and_the_others_keep_theirs() {
        let priority = || rustix::process::getpriority_process(None).expect("our own");
        let before = priority();

        let (name, inside) = pool(1, 0)
            .run(LONG, move |_| (thread::current().name().map(str::to_owned), priority()))
            .await
            .expect("room");

        assert_eq!(name.as_deref(), Some("grantd-hash-0"));
        assert_eq!((inside, priority()), (LOWEST_NICE, before));
    }
}
