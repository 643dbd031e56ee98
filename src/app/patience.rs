//! Waiting that has an end. Knows nothing of what is waited for.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;

/// What `work` comes to, if it does within `patience`, which begins when it has to be waited for: nearly all that comes
/// here is done at once, and neither reads a clock nor sets an alarm.
pub async fn within<T>(patience: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    match poll!(work.as_mut()) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => tokio::time::timeout(patience, work).await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_done_at_once_needs_no_clock() {
        // Outside of a runtime, where there is none.
        let done = futures_util::FutureExt::now_or_never(within(MOMENT, async { 7 }));

        assert_eq!(done, Some(Some(7)));
    }

    #[tokio::test]
    async fn what_takes_longer_is_waited_for_until_patience_ends() {
        let later = async {
            tokio::task::yield_now().await;
            7
        };
        assert_eq!(within(Duration::from_secs(60), later).await, Some(7));
        assert_eq!(within(MOMENT, std::future::pending::<()>()).await, None);
    }
}
