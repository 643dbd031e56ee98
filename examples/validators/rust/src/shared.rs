//! Something that is fetched: once for all who want it, and kept while it is fresh, or good for want of newer. Knows no
//! token.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Without asking again: after a failure, and after something was sought in vain.
pub const PAUSE: Duration = Duration::from_secs(5);

pub type Fault = Box<dyn std::error::Error>;

/// What was fetched, and for how many seconds it is fresh, and good.
pub type Fetched<T> = Result<(T, u64, u64), Fault>;

/// It cannot be had now.
#[derive(Debug, thiserror::Error)]
#[error("a document of the issuer cannot be had")]
pub struct Unavailable;

pub struct Shared<T> {
    kept: Mutex<Kept<T>>,
    turn: tokio::sync::Mutex<()>,
}

struct Kept<T> {
    value: Option<Arc<T>>,
    fresh_until: Instant,
    good_until: Instant,
    failing: bool,
    retry_at: Instant,
    search_at: Instant,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        let [fresh_until, good_until, retry_at, search_at] = [Instant::now(); 4];
        let kept = Kept { value: None, fresh_until, good_until, failing: false, retry_at, search_at };
        Self { kept: Mutex::new(kept), turn: tokio::sync::Mutex::new(()) }
    }
}

impl<T> Shared<T> {
    /// The value, fetched anew where it `lacks` what is wanted; seldom, for a stranger may have invented that.
    pub async fn get(
        &self,
        lacks: impl Fn(&T) -> bool,
        fetch: impl AsyncFnOnce() -> Fetched<T>,
    ) -> Result<Arc<T>, Unavailable> {
        let fetching = self.turn.try_lock().is_err();
        // While somebody tries whether it can be had again, the others need not wait for what may not come.
        if !(fetching && self.kept().failing) && (self.is_due(&lacks) || fetching && self.lacks(&lacks)) {
            let _one_at_a_time = self.turn.lock().await;
            if self.is_due(&lacks) {
                self.refetch(fetch).await;
            }
        }
        let kept = self.kept();
        kept.value.clone().filter(|_| Instant::now() < kept.good_until).ok_or(Unavailable)
    }

    fn is_due(&self, lacks: impl Fn(&T) -> bool) -> bool {
        let (search, kept, now) = (self.lacks(lacks), self.kept(), Instant::now());
        now >= kept.retry_at && (now >= kept.fresh_until || search && now >= kept.search_at)
    }

    fn lacks(&self, lacks: impl Fn(&T) -> bool) -> bool {
        self.kept().value.as_deref().is_some_and(lacks)
    }

    async fn refetch(&self, fetch: impl AsyncFnOnce() -> Fetched<T>) {
        let asked_at = Instant::now();
        if asked_at < self.kept().fresh_until {
            self.kept().search_at = asked_at + PAUSE;
        }
        let fetched = fetch().await;
        let mut kept = self.kept();
        kept.failing = fetched.is_err();
        match fetched {
            Ok((value, fresh, good)) => {
                kept.value = Some(Arc::new(value));
                kept.fresh_until = asked_at + Duration::from_secs(fresh);
                kept.good_until = asked_at + Duration::from_secs(good);
            }
            Err(error) => {
                kept.retry_at = Instant::now() + PAUSE;
                log::warn!("a document of the issuer cannot be had: {error}");
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().expect("nobody panics with it")
    }
}
