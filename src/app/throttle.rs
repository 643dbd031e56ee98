//! Counts failed logins. As many attempts of one account and source run at once as may still fail; the others stand
//! in line, so that parallel guesses gain nothing and parallel logins with the right password lose nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use tokio::sync::Notify;

use crate::model::login_failures::Failures;
use crate::protocol::error::TokenError;
use crate::protocol::throttle::{DAY, left_before_waiting, wait};
use crate::storage::login_failures;

use super::App;

/// Turns a login name into what is stored of it. People type passwords into the wrong field.
pub(crate) struct AccountHasher(hmac::Key);

impl AccountHasher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    pub(super) fn hash(&self, name: &str) -> [u8; 32] {
        hmac::sign(&self.0, name.as_bytes()).as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }
}

/// An account and where its logins come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) account: [u8; 32],
    pub(super) source: String,
}

/// The attempts that run in this instance right now; no entry outlives its attempts.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<HashMap<Pair, Arc<Line>>>);

/// The attempts of one pair.
#[derive(Default)]
struct Line {
    state: Mutex<LineState>,
    moved: Notify,
}

#[derive(Clone, Copy, Default)]
struct LineState {
    running: u32,
    waiting: u32,
    /// How many have ended since the line was formed: tells a stale reading of the failures.
    ended: u64,
}

/// An attempt that may go on to have its password looked at. Dropped, it makes room for the next.
pub(super) struct Attempt<'a> {
    app: &'a App,
    pair: Pair,
    line: Arc<Line>,
}

/// How many may stand in one line; who comes later is told so at once.
const LONGEST_LINE: u32 = 32;

impl<'a> Attempt<'a> {
    /// Waits for a place in the line, or refuses: the same for names that exist and names that do not.
    pub(super) async fn begin(app: &'a App, pair: Pair) -> Result<Self, TokenError> {
        let line = {
            let mut lines = lock(&app.attempts.0);
            let line = Arc::clone(lines.entry(pair.clone()).or_default());
            let mut state = lock(&line.state);
            if state.waiting >= LONGEST_LINE {
                return Err(TokenError::Busy);
            }
            state.waiting += 1;
            drop(state);
            line
        };
        let waiting = Waiting { app, pair: &pair, line: &line };
        let patience = app.policy.login_patience.as_duration();
        let place = tokio::time::timeout(patience, waiting.take_place()).await;
        let taken = place.unwrap_or(Err(TokenError::Busy));
        drop(waiting);
        taken.map(|()| Self { app, pair, line })
    }

    /// Counts the attempt as failed. Only then does it make room, so that who is next sees the count.
    pub(super) async fn fail(self) -> Result<(), TokenError> {
        let Pair { account, source } = &self.pair;
        loop {
            let now = self.app.clock.now();
            let before = login_failures::find(&self.app.db, account, source).await?;
            let counted = match before.filter(|failures| now < failures.first_at.plus(DAY)) {
                None => Failures { count: 1, first_at: now, last_at: now },
                Some(failures) => {
                    Failures { count: failures.count.saturating_add(1), last_at: now, ..failures }
                }
            };
            let mut tx = self.app.db.begin().await?;
            if login_failures::count(&mut tx, account, source, before.as_ref(), &counted).await? {
                tx.commit().await?;
                return Ok(());
            }
            tx.rollback().await?;
        }
    }

    /// Forgets the failures before it: what was given is right.
    pub(super) async fn succeed(self) -> Result<(), TokenError> {
        let Pair { account, source } = &self.pair;
        if login_failures::find(&self.app.db, account, source).await?.is_none() {
            return Ok(());
        }
        let mut tx = self.app.db.begin().await?;
        login_failures::forget(&mut tx, account, source).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Whose attempt it is.
    pub(super) const fn pair(&self) -> &Pair {
        &self.pair
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        leave(self.app, &self.pair, &self.line, |state| {
            state.running -= 1;
            state.ended += 1;
        });
    }
}

/// Somebody who stands in line.
struct Waiting<'a> {
    app: &'a App,
    pair: &'a Pair,
    line: &'a Arc<Line>,
}

impl Waiting<'_> {
    async fn take_place(&self) -> Result<(), TokenError> {
        loop {
            let moved = self.line.moved.notified();
            let before = *lock(&self.line.state);
            let Pair { account, source } = self.pair;
            let failures = login_failures::find(&self.app.db, account, source).await?;
            let now = self.app.clock.now();
            if let Some(retry_after) = wait(failures.as_ref(), &self.app.policy.throttle, now) {
                return Err(TokenError::Throttled { retry_after });
            }
            let room = left_before_waiting(failures.as_ref(), &self.app.policy.throttle, now);
            {
                let mut state = lock(&self.line.state);
                // Read before the last one ended, the failures may be one too few: look again.
                if state.ended != before.ended {
                    continue;
                }
                if state.running < room {
                    state.running += 1;
                    return Ok(());
                }
            }
            moved.await;
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        leave(self.app, self.pair, self.line, |state| state.waiting -= 1);
    }
}

/// Counts somebody out, wakes the next (who wakes the one after, whatever becomes of it), and takes the line away
/// with the last.
fn leave(app: &App, pair: &Pair, line: &Line, count_out: impl FnOnce(&mut LineState)) {
    {
        // The map's lock first, as in `begin`: nobody can join a line that is being taken away.
        let mut lines = lock(&app.attempts.0);
        let mut state = lock(&line.state);
        count_out(&mut state);
        if state.running == 0 && state.waiting == 0 {
            lines.remove(pair);
        }
    }
    line.moved.notify_one();
}

/// A panic elsewhere leaves counters, which stay usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
