//! The runtime that opened the database. It ends with the process, while those of workers end before it: what others wait
//! for is brought to its end here, whoever began it and wherever they went. Knows nothing of what runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::error::StorageError;

/// The runtime.
#[derive(Clone, Debug)]
pub struct Lasting(Handle);

/// Work that its caller does, and the runtime goes on with if they go away before it is done. While they stay, nothing
/// crosses to another thread and back.
pub struct ToTheEnd<T: Send + 'static> {
    lasting: Lasting,
    /// `None` once it has ended.
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
}

impl Lasting {
    /// The one that runs the caller, who opens a database in it.
    pub(super) fn here() -> Self {
        Self(Handle::current())
    }

    /// Runs `work` to its end, whoever waits for it.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.0.spawn(work)
    }

    /// Runs `work` to its end, with the caller as long as they wait for it. If it panics, it is an error.
    pub fn to_the_end<F>(&self, work: F) -> ToTheEnd<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        ToTheEnd { lasting: self.clone(), work: Some(Box::pin(work)) }
    }
}

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = Result<T, StorageError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let gone = || StorageError::unavailable("work that was to end broke off");
        let Some(mut work) = self.work.take() else { return Poll::Ready(Err(gone())) };
        // The clocks and sockets that it makes are of the runtime that it may have to go on in.
        let within = self.lasting.0.enter();
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Ok(Poll::Pending) => {
                drop(within);
                self.work = Some(work);
                Poll::Pending
            }
            Err(_it_was_told_where_it_happened) => Poll::Ready(Err(gone())),
        }
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.lasting.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::oneshot;

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    #[test]
    fn work_is_done_on_the_thread_of_the_caller() {
        let (lasting, worker) = (runtime(), runtime());
        let here = lasting.block_on(async { Lasting::here() });

        // Nobody drives the other runtime, so nothing of it can have run there.
        let done = worker.block_on(here.to_the_end(async {
            tokio::task::yield_now().await;
            7
        }));

        assert_eq!(done.map_err(drop), Ok(7));
    }

    #[test]
    fn work_goes_on_and_its_clock_with_it_when_the_runtime_of_its_caller_ends() {
        let (lasting, worker) = (runtime(), runtime());
        let here = lasting.block_on(async { Lasting::here() });
        let (told, end) = oneshot::channel();
        let mut working = Box::pin(here.to_the_end(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            told.send(7)
        }));

        worker.block_on(async { assert!(futures_util::poll!(&mut working).is_pending()) });
        drop(worker);
        drop(working);

        assert_eq!(lasting.block_on(end), Ok(7));
    }

    #[test]
    fn work_that_panics_is_an_error_and_is_not_gone_on_with() {
        let lasting = runtime();

        lasting.block_on(async {
            let mut working = Lasting::here().to_the_end(async { panic!("a test panics on purpose") });
            let broken: Result<(), _> = (&mut working).await;
            assert!(matches!(broken, Err(StorageError::Unavailable(_))), "{broken:?}");
            assert!(working.work.is_none());
        });
    }
}
