//! Work that ends although nobody waits for it any more. A guess is judged and counted also when its client hangs up;
//! else hanging up would be a way to guess for nothing, and to keep the hashing threads busy for nothing.

use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tracing::Instrument as _;

use crate::protocol::error::TokenError;

/// Runs `work` to its end on a task of its own and gives what it came to. Dropping this future drops only the caller.
pub(super) async fn to_its_end<T, F>(work: impl FnOnce(Caller) -> F) -> Result<T, TokenError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, TokenError>> + Send + 'static,
{
    let (here, caller) = watch::channel(());
    let ended = tokio::spawn(work(Caller(caller)).in_current_span()).await;
    drop(here);
    ended
        .unwrap_or_else(|error| Err(TokenError::Internal(format!("work that was to end broke off: {error}"))))
}

/// Whoever waits for the work.
#[derive(Clone)]
pub(super) struct Caller(watch::Receiver<()>);

impl Caller {
    /// Whether nobody waits any more.
    pub(super) fn hung_up(&self) -> bool {
        self.0.has_changed().is_err()
    }

    /// Waits for `what`, until `until` and as long as somebody waits for us.
    pub(super) async fn waits<T>(
        &self,
        until: tokio::time::Instant,
        what: impl Future<Output = T>,
    ) -> Result<T, TokenError> {
        let mut here = self.0.clone();
        tokio::select! {
            done = tokio::time::timeout_at(until, what) => done.map_err(|_| TokenError::Busy),
            _ = here.changed() => Err(TokenError::Busy),
        }
    }
}

/// How long the database may take for one step. It is longer than a request waits: this is for the work behind it,
/// which nobody else ends.
const PATIENCE: Duration = Duration::from_secs(15);

/// The logins' share of the database. They come in storms, and whoever refreshes a token would stand in line behind a
/// hundred of them; so only a few are at the database at a time, and wait among themselves for that. More would not make
/// them faster, for what they wait for in the end is their hash.
pub(crate) struct LoginShare(Semaphore);

impl LoginShare {
    /// Enough to keep so many hashing threads busy.
    pub(crate) fn for_threads(threads: usize) -> Self {
        Self(Semaphore::new(threads.saturating_mul(2).clamp(2, Semaphore::MAX_PERMITS)))
    }

    /// Takes one step at the database when there is room. A database that hangs must not hold a task for ever.
    pub(super) async fn step<T, E>(&self, step: impl Future<Output = Result<T, E>>) -> Result<T, TokenError>
    where
        TokenError: From<E>,
    {
        let in_turn = async {
            // Never closed.
            let _room = self.0.acquire().await;
            step.await
        };
        match tokio::time::timeout(PATIENCE, in_turn).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(TokenError::Unavailable("no answer in time".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_goes_on_without_its_caller_and_learns_that_they_left() {
        let (ended, end) = tokio::sync::oneshot::channel();
        let (begun, begin) = tokio::sync::oneshot::channel();
        let working = to_its_end(async move |caller: Caller| {
            let _ = begun.send(caller.hung_up());
            let wait = caller.waits(tokio::time::Instant::now() + PATIENCE, std::future::pending::<()>());
            let waited = wait.await;
            let _ = ended.send((waited, caller.hung_up()));
            Ok(())
        });

        tokio::select! {
            _ = working => unreachable!("it waits for its caller to leave"),
            begun = begin => assert_eq!(begun, Ok(false)),
        }

        assert_eq!(end.await, Ok((Err(TokenError::Busy), true)));
    }

    #[tokio::test]
    async fn as_many_are_at_the_database_as_have_room_and_the_next_follow() {
        let share = LoginShare::for_threads(1);
        let (go_on, wait) = watch::channel(false);
        let there = &std::cell::Cell::new(0);
        let step = |mut wait: watch::Receiver<bool>| {
            share.step::<_, TokenError>(async move {
                there.set(there.get() + 1);
                let went_on = wait.wait_for(|go_on| *go_on).await;
                went_on.map(drop).map_err(|_| TokenError::Busy)
            })
        };
        let all = futures_util::future::join_all((0..5).map(|_| step(wait.clone())));
        let look = async {
            tokio::task::yield_now().await;
            let at_first = there.get();
            go_on.send_replace(true);
            at_first
        };

        let (answers, at_first) = futures_util::future::join(all, look).await;

        assert_eq!((at_first, there.get()), (2, 5));
        assert!(answers.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn work_gives_what_it_came_to() {
        assert_eq!(to_its_end(async |_| Ok(7)).await, Ok(7));
        let refused: Result<(), _> = to_its_end(async |_| Err(TokenError::Busy)).await;
        assert_eq!(refused, Err(TokenError::Busy));
    }
}
