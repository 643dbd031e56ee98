//! The runtime that opened the database. It ends with the process, while those of workers end before it: what others wait
//! for runs here, and not with whoever happened to begin it. Knows nothing of what runs.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// The runtime.
#[derive(Clone, Debug)]
pub struct Lasting(Handle);

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
}
