//! Hashes and checks passwords on the pool's threads, at the same price for users who do not exist.
//!
//! Must not know who logs in or why: the answer is a verdict, and what it means is for `app` to say.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::hash::{HashFailure, HashParams, Hasher, unknown_password};
use super::stored::{UnusableHash, recognise};
use super::threads::{Admission, HashThreads};
use crate::model::secret::PlainSecret;

/// How large the pool is and what one hash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// The cost of new hashes.
    pub params: HashParams,
    /// Hashes at once, each on a thread and in memory of its own; at least 1.
    pub threads: usize,
    /// Jobs that may wait besides those that run.
    pub queue: usize,
    /// How long a job may wait before it begins.
    pub queue_deadline: Duration,
}

/// Hashes and checks passwords, so many at a time and no more.
///
/// Its methods need a Tokio runtime with its timer on. Threads end when it is dropped.
pub struct PasswordPool {
    threads: HashThreads,
    queue_deadline: Duration,
    params: HashParams,
    nobody: Arc<str>,
}

/// What a check came to.
#[derive(Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The password is right.
    Match {
        /// A new hash to store, where the stored one is of another kind or cost than the settings say.
        rehashed: Option<String>,
    },
    /// The password is wrong, or there is no such user.
    Mismatch,
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Match { rehashed: None } => "Match",
            Self::Match { rehashed: Some(_) } => "Match { rehashed: .. }",
            Self::Mismatch => "Mismatch",
        })
    }
}

/// Why there is no verdict and no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The queue is full, or the job waited in it for too long: 503 with Retry-After.
    #[error("too many passwords are being checked at once: try again in a moment")]
    Busy,
    /// The pool was stopped.
    #[error("the server is stopping and checks no more passwords")]
    Stopped,
    /// The hash could not be computed; nothing is known about the password.
    #[error(transparent)]
    Failed(#[from] HashFailure),
    /// The stored hash cannot be read or costs too much. It was written past grantd, or is damaged.
    #[error("a stored password cannot be checked: {0}")]
    Unusable(#[from] UnusableHash),
}

/// What the pool has done since it started, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Password hashes computed; one login may take two (check, then hash anew).
    pub hashes: u64,
    /// Jobs that began.
    pub run: u64,
    /// Jobs refused at once because the queue was full.
    pub refused: u64,
    /// Jobs that waited longer than the deadline.
    pub expired: u64,
    /// Jobs whose caller hung up before they began.
    pub abandoned: u64,
    /// Jobs that panicked.
    pub panicked: u64,
}

impl PasswordPool {
    /// Starts the threads. Each takes its memory with its first hash and gives it back when idle.
    pub fn start(settings: PoolSettings) -> Result<Self, io::Error> {
        settings.params.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let threads = NonZeroUsize::new(settings.threads).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the password pool has 0 threads, so nobody could log in: give it at least 1",
            )
        })?;
        Ok(Self {
            nobody: unknown_password(settings.params).map_err(io::Error::other)?.into(),
            threads: HashThreads::start(settings.params, threads, settings.queue)?,
            queue_deadline: settings.queue_deadline,
            params: settings.params,
        })
    }

    /// The Argon2id PHC string of a new password.
    pub async fn hash(&self, password: PlainSecret) -> Result<String, PoolError> {
        let hash = move |hasher: &mut Hasher| hasher.hash(&password);
        Ok(self.threads.run(self.queue_deadline, hash).await??)
    }

    /// Checks a password against the stored hash, or `None` for a user who does not exist.
    ///
    /// Both cost one job and one hash, as long as the stored hash has the cost of the settings; it
    /// has after the first login. An unusable stored hash costs the same before it is an error.
    pub async fn verify(&self, password: PlainSecret, stored: Option<String>) -> Result<Verdict, PoolError> {
        self.verify_admitted(self.admit()?, password, stored).await
    }

    /// Holds a place for a check to come, or says [`PoolError::Busy`] at once.
    ///
    /// For callers who have to ask a database before they know what to check: in a storm, who does not fit shall
    /// cost no more than this. Never hold it in a line of unknown length.
    pub fn admit(&self) -> Result<Admission, PoolError> {
        self.threads.admit()
    }

    /// [`PasswordPool::verify`] in a place that is held; it is the job's from now on.
    pub async fn verify_admitted(
        &self,
        admission: Admission,
        password: PlainSecret,
        stored: Option<String>,
    ) -> Result<Verdict, PoolError> {
        let nobody = Arc::clone(&self.nobody);
        let check = move |hasher: &mut Hasher| judge(hasher, &password, stored.as_deref(), &nobody);
        self.threads.run_admitted(admission, self.queue_deadline, check).await?
    }

    /// Ends the pool: jobs in the queue and new ones get [`PoolError::Stopped`], running ones end.
    pub fn stop(&self) {
        self.threads.stop();
    }

    /// What a check of a user who does not exist is made with: of the length and kind of a hash.
    pub fn nobody(&self) -> &str {
        &self.nobody
    }

    /// The cost of new hashes.
    pub const fn params(&self) -> HashParams {
        self.params
    }

    /// Hashes at once.
    pub fn threads(&self) -> usize {
        self.threads.threads().get()
    }

    /// Jobs that wait right now, those of callers who hung up included.
    pub fn queue_depth(&self) -> usize {
        self.threads.queue_depth()
    }

    /// Jobs that run right now.
    pub fn running(&self) -> usize {
        self.threads.running()
    }

    /// What it has done so far.
    pub fn counts(&self) -> PoolCounts {
        self.threads.counts()
    }
}

fn judge(
    hasher: &mut Hasher,
    password: &PlainSecret,
    stored: Option<&str>,
    nobody: &str,
) -> Result<Verdict, PoolError> {
    let stored = stored.map(recognise).transpose();
    let Ok(Some(stored)) = stored else {
        // The answer is thrown away: that a guess met the random bytes of `nobody` proves nothing.
        hasher.verify(password, &recognise(nobody)?)?;
        return stored.map(|_| Verdict::Mismatch).map_err(PoolError::Unusable);
    };
    if !hasher.verify(password, &stored)? {
        return Ok(Verdict::Mismatch);
    }
    Ok(Verdict::Match { rehashed: hasher.rehash(password, &stored)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: HashParams = HashParams { memory_kib: 16, iterations: 1, parallelism: 2 };

    fn settings(params: HashParams) -> PoolSettings {
        PoolSettings { params, threads: 1, queue: 1, queue_deadline: Duration::from_secs(600) }
    }

    fn pool() -> PasswordPool {
        PasswordPool::start(settings(PARAMS)).expect("threads")
    }

    fn secret(text: &str) -> PlainSecret {
        PlainSecret::new(text.to_owned())
    }

    /// The verdict, and the jobs and hashes that it took.
    async fn price(
        pool: &PasswordPool,
        password: &str,
        stored: Option<&str>,
    ) -> (Result<Verdict, PoolError>, u64, u64) {
        let before = pool.counts();
        let verdict = pool.verify(secret(password), stored.map(str::to_owned)).await;
        let after = pool.counts();
        (verdict, after.run - before.run, after.hashes - before.hashes)
    }

    #[tokio::test]
    async fn a_password_that_was_hashed_matches_and_another_does_not() {
        let pool = pool();
        let stored = pool.hash(secret("correct horse")).await.expect("room");

        assert!(stored.starts_with("$argon2id$v=19$m=16,t=1,p=2$"), "{stored}");
        let right = pool.verify(secret("correct horse"), Some(stored.clone())).await;
        assert_eq!(right, Ok(Verdict::Match { rehashed: None }));
        assert_eq!(pool.verify(secret("battery staple"), Some(stored)).await, Ok(Verdict::Mismatch));
    }

    #[tokio::test]
    async fn an_unknown_user_costs_the_same_jobs_and_hashes_as_a_known_one() {
        let pool = pool();
        let stored = pool.hash(secret("correct horse")).await.expect("room");

        assert_eq!(price(&pool, "correct horse", None).await, (Ok(Verdict::Mismatch), 1, 1));
        assert_eq!(price(&pool, "wrong", Some(&stored)).await, (Ok(Verdict::Mismatch), 1, 1));
        let right = price(&pool, "correct horse", Some(&stored)).await;
        assert_eq!(right, (Ok(Verdict::Match { rehashed: None }), 1, 1));
    }

    #[tokio::test]
    async fn a_stored_hash_that_cannot_be_checked_costs_a_hash_and_is_an_error_not_a_mismatch() {
        let pool = pool();

        for (stored, why) in [
            ("{SSHA}damaged", UnusableHash::UnknownFormat),
            ("$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", UnusableHash::BcryptCost(31)),
        ] {
            let verdict = price(&pool, "password", Some(stored)).await;
            assert_eq!(verdict, (Err(PoolError::Unusable(why)), 1, 1));
        }
    }

    #[tokio::test]
    async fn a_match_with_another_cost_is_hashed_anew_in_the_same_job() {
        let old = PasswordPool::start(settings(HashParams { iterations: 2, ..PARAMS })).expect("threads");
        let stored = old.hash(secret("correct horse")).await.expect("room");
        let pool = pool();

        assert_eq!(price(&pool, "wrong", Some(&stored)).await, (Ok(Verdict::Mismatch), 1, 1));
        let (verdict, jobs, hashes) = price(&pool, "correct horse", Some(&stored)).await;

        let Ok(Verdict::Match { rehashed: Some(rehashed) }) = verdict else { panic!("{verdict:?}") };
        assert_eq!((jobs, hashes), (1, 2));
        assert!(rehashed.starts_with("$argon2id$v=19$m=16,t=1,p=2$"), "{rehashed}");
        let again = price(&pool, "correct horse", Some(&rehashed)).await;
        assert_eq!(again, (Ok(Verdict::Match { rehashed: None }), 1, 1));
    }

    #[tokio::test]
    async fn a_bcrypt_hash_becomes_argon2id_with_the_first_login() {
        let bcrypt = "$2b$04$abcdefghijklmnopqrstuuyx2n0Zzopyr9QuYTMCfOJJOj526QVoC";
        let pool = pool();

        let (verdict, jobs, hashes) = price(&pool, "p\u{e4}ssw\u{f6}rd", Some(bcrypt)).await;

        let Ok(Verdict::Match { rehashed: Some(rehashed) }) = verdict else { panic!("{verdict:?}") };
        assert_eq!((jobs, hashes), (1, 2));
        assert!(rehashed.starts_with("$argon2id$"), "{rehashed}");
    }

    #[tokio::test]
    async fn a_stopped_pool_says_so() {
        let pool = pool();
        pool.stop();

        assert_eq!(pool.hash(secret("correct horse")).await, Err(PoolError::Stopped));
        assert_eq!(pool.verify(secret("correct horse"), None).await, Err(PoolError::Stopped));
    }

    #[test]
    fn settings_that_nobody_could_log_in_with_are_refused_at_the_start() {
        let refused = |settings| PasswordPool::start(settings).map(|_| ()).expect_err("refused").to_string();

        let no_threads = refused(PoolSettings { threads: 0, ..settings(PARAMS) });
        assert!(no_threads.contains("0 threads"), "{no_threads}");
        let too_much = refused(settings(HashParams { memory_kib: u32::MAX, ..PARAMS }));
        assert!(too_much.contains("out of bounds"), "{too_much}");
    }

    #[test]
    fn debug_never_shows_a_new_hash() {
        let verdict = Verdict::Match { rehashed: Some("canary".into()) };
        assert!(!format!("{verdict:?}").contains("canary"));
    }
}
