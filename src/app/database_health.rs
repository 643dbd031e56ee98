//! What this instance knows of its database, kept up by looks that cost a well database next to nothing.
//!
//! Two facts make readiness: that it can be read, which the watch in `background` learns while it looks for changes, and
//! that it can be written, which is looked after here, on a task of its own: a write that hangs must not delay obedience.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::storage::health::{Outlook, look, try_write};

use super::error::AdminError;
use super::{App, random};

/// One that is only slow may take this long. Then the question is asked anew, on another connection.
const LONG_PATIENCE: Duration = Duration::from_secs(8);
/// How often it is asked whether a write would be taken.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often while the last answer was no, and how often it is then tried whether there is anybody to ask: a restarted
/// database is used within two seconds, and one that stays away is not hammered.
const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(250);

/// What is known of the database.
#[derive(Default)]
pub(crate) struct DatabaseHealth {
    faults: Mutex<Faults>,
    is_down: AtomicBool,
    doubted: AtomicBool,
    /// Told when there is somebody to ask again.
    returned: Notify,
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

    fn cannot_be_read(&self) -> bool {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).reading.is_some()
    }

    /// Lets a while pass, or less if the database returns meanwhile.
    pub(super) async fn pause(&self, at_most: Duration) {
        let _passed = tokio::time::timeout(at_most, self.returned.notified()).await;
    }

    /// Asks the database something, notes the answer and says whether it is well. Asks anew when the database returns:
    /// what was asked before may be waiting for the next try, or for somebody who is not there any more.
    pub(super) async fn ask(
        &self,
        of: Use,
        mut question: impl AsyncFnMut() -> Result<(), AdminError>,
    ) -> bool {
        loop {
            tokio::select! {
                is_well = self.ask_once(of, question()) => return is_well,
                () = self.returned.notified() => {}
            }
        }
    }

    /// What takes longer than a load balancer waits is noted as a failure and still waited for: a slow database that is
    /// asked anew each time would never get to answer.
    async fn ask_once(&self, of: Use, question: impl Future<Output = Result<(), AdminError>>) -> bool {
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
        let (mut seen_commits, mut is_well) = (0, true);
        loop {
            self.database.pause(if is_well { LOOK_EVERY } else { LOOK_AGAIN_EVERY }).await;
            let doubted = self.database.doubted.swap(false, Ordering::Relaxed);
            let question = async || {
                // A look sees no quota, no failing disk, no full tablespace: where a write has failed, only one that
                // succeeds ends the doubt.
                if look(&self.db, &mut seen_commits).await? == Outlook::Doubtful || doubted {
                    try_write(&self.db, &random::bytes::<4096>()).await?;
                }
                Ok(())
            };
            is_well = self.database.ask(Use::Writing, question).await;
            if !is_well {
                self.database.doubt();
            }
        }
    }

    /// While the database cannot be read, tries whether there is anybody to ask, and has everything asked at once when
    /// there is. Once only, lest a slow database be asked anew for ever.
    pub(super) async fn keep_knocking(&self) {
        let mut is_there = false;
        loop {
            tokio::time::sleep(LOOK_AGAIN_EVERY).await;
            let was_there = is_there;
            is_there = self.database.cannot_be_read() && self.db.takes_connections().await;
            if is_there && !was_there {
                self.database.returned.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: fn() -> Result<(), String> = || Err("a fault".to_owned());

    #[tokio::test]
    async fn what_hangs_is_asked_anew_when_the_database_returns() {
        let health = DatabaseHealth::default();
        let mut asked = 0;
        let question = async || {
            asked += 1;
            if asked == 1 { std::future::pending().await } else { Ok(()) }
        };
        health.note(Use::Reading, FAULT());

        let (is_well, ()) =
            tokio::join!(health.ask(Use::Reading, question), async { health.returned.notify_waiters() });

        assert!(is_well && health.is_up());
        assert_eq!(asked, 2);
    }

    #[tokio::test]
    async fn a_pause_ends_when_the_database_returns() {
        let health = DatabaseHealth::default();

        let both =
            async { tokio::join!(health.pause(Duration::MAX), async { health.returned.notify_waiters() }) };
        assert!(tokio::time::timeout(LONG_PATIENCE, both).await.is_ok());
    }

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
