//! Work that ends although nobody waits for it any more. A guess is judged and counted also when its client hangs up;
//! else hanging up would be a way to guess for nothing, and to keep the hashing threads busy for nothing.

use std::time::Duration;

use tokio::sync::watch;
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
    ended.unwrap_or_else(|error| Err(TokenError::Internal(format!("a login broke off: {error}"))))
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

/// A database that hangs must not hold a task for ever.
pub(super) async fn bounded<T, E>(step: impl Future<Output = Result<T, E>>) -> Result<T, TokenError>
where
    TokenError: From<E>,
{
    match tokio::time::timeout(PATIENCE, step).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(TokenError::Unavailable("no answer in time".into())),
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
    async fn work_gives_what_it_came_to() {
        assert_eq!(to_its_end(async |_| Ok(7)).await, Ok(7));
        let refused: Result<(), _> = to_its_end(async |_| Err(TokenError::Busy)).await;
        assert_eq!(refused, Err(TokenError::Busy));
    }
}
