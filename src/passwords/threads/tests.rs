//! The bounded threads, one gate and one poll at a time: nothing here waits for a clock.

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
async fn a_place_that_is_held_counts_until_it_is_dropped_or_its_job_has_ended() {
    let pool = pool(1, 1);
    let (held, unused) = (pool.admit().expect("room"), pool.admit().expect("room"));

    assert_eq!(pool.admit().err(), Some(PoolError::Busy));
    assert!(is_refused_at_once(&pool).await);
    assert_eq!((pool.queue_depth(), pool.running(), pool.counts().refused), (0, 0, 2));

    drop(unused);
    assert_eq!(pool.run(LONG, |_| "ran").await, Ok("ran"));
    assert_eq!(pool.run_admitted(held, LONG, |_| "held").await, Ok("held"));
    let both = (pool.admit(), pool.admit());
    assert!(both.0.is_ok() && both.1.is_ok());
    assert!(is_refused_at_once(&pool).await);
}

#[tokio::test]
async fn a_place_in_a_pool_that_was_stopped_is_worth_nothing() {
    let pool = pool(1, 1);
    let held = pool.admit().expect("room");

    pool.stop();

    assert_eq!(pool.run_admitted(held, LONG, |_| ()).await, Err(PoolError::Stopped));
    assert_eq!(pool.admit().err(), Some(PoolError::Stopped));
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

    pool.enqueue(pool.admit().expect("there is room"), job).expect("it runs");
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
