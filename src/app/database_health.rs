//! What this instance knows of its database, kept up by looks that cost a well database next to nothing.
//!
//! Two facts make readiness: that it can be read, which the watch in `background` learns while it looks for changes, and
//! that it can be written, which is looked after here, on a task of its own: a write that hangs must not delay obedience.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::storage::health::{Outlook, look, try_write};

use super::error::AdminError;
use super::{App, random};

/// One that is only slow may take this long. Then the question is asked anew, on another connection.
const LONG_PATIENCE: Duration = Duration::from_secs(8);
/// How often it is asked whether a write would be taken.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is known of the database.
#[derive(Default)]
pub(crate) struct DatabaseHealth {
    faults: Mutex<Faults>,
    is_down: AtomicBool,
    doubted: AtomicBool,
}

/// Why it cannot be used.
#[derive(Default)]
struct Faults {
    reading: Option<String>,
    writing: Option<String>,
}

/// What a look is about.
#[derive(Clone, Copy)]
pub(super) enum Use {
    Reading,
    Writing,
}

impl Use {
    /// A database that takes longer is not there, as far as a load balancer is concerned. Writers may have to wait for
    /// each other and for a disk.
    const fn patience(self) -> Duration {
        match self {
            Self::Reading => Duration::from_millis(1200),
            Self::Writing => Duration::from_secs(2),
        }
    }
}

impl DatabaseHealth {
    /// Whether it can be read and written, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        !self.is_down.load(Ordering::Relaxed)
    }

    /// Something failed: the next look is a real write.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Notes how a look turned out. Logged once when an outage begins and once when it ends, not with every look.
    fn note(&self, of: Use, outcome: Result<(), String>) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match of {
            Use::Reading => faults.reading = outcome.err(),
            Use::Writing => faults.writing = outcome.err(),
        }
        let cause = faults.reading.as_ref().or(faults.writing.as_ref());
        let was_down = self.is_down.swap(cause.is_some(), Ordering::Relaxed);
        match cause {
            Some(cause) if !was_down => tracing::warn!(
                cause,
                "the database is away: clients, roles and keys stay as last seen, what must write is refused"
            ),
            None if was_down => tracing::info!("the database is back"),
            Some(_) | None => {}
        }
    }

    /// Asks the database something, notes the answer and says whether it is well. What takes longer than a load balancer waits is noted as a
    /// failure and still waited for: a slow database that is asked anew each time would never get to answer.
    pub(super) async fn ask(&self, of: Use, question: impl Future<Output = Result<(), AdminError>>) -> bool {
        let asked = tokio::time::timeout(LONG_PATIENCE, question);
        tokio::pin!(asked);
        let answered = match tokio::time::timeout(of.patience(), &mut asked).await {
            Ok(answered) => answered,
            Err(_) => {
                self.note(of, Err("no answer in time".to_owned()));
                asked.await
            }
        };
        let outcome = match answered {
            Ok(answered) => answered.map_err(|error| error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        let is_well = outcome.is_ok();
        self.note(of, outcome);
        is_well
    }
}

impl App {
    /// Keeps up the knowledge whether the database can be written.
    pub(super) async fn keep_asking_for_writes(&self) {
        let mut seen_commits = 0;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let doubted = self.database.doubted.swap(false, Ordering::Relaxed);
            let question = async {
                // A look sees no quota, no failing disk, no full tablespace: where a write has failed, only one that
                // succeeds ends the doubt.
                if look(&self.db, &mut seen_commits).await? == Outlook::Doubtful || doubted {
                    try_write(&self.db, &random::bytes::<4096>()).await?;
                }
                Ok(())
            };
            if !self.database.ask(Use::Writing, question).await {
                self.database.doubt();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: fn() -> Result<(), String> = || Err("a fault".to_owned());

    #[test]
    fn a_database_is_up_when_it_can_be_read_and_written() {
        let health = DatabaseHealth::default();
        assert!(health.is_up());

        health.note(Use::Writing, FAULT());
        health.note(Use::Reading, Ok(()));
        assert!(!health.is_up(), "that it can be read does not make it writable");

        health.note(Use::Reading, FAULT());
        health.note(Use::Writing, Ok(()));
        assert!(!health.is_up());

        health.note(Use::Reading, Ok(()));
        assert!(health.is_up());
    }
}
