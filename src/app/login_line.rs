//! Where guesses stand that find every place taken by others which are being judged. Knows no rule: who may be judged
//! is decided in the database, for all instances; here only one of a line asks at a time, and the others wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedMutexGuard};

use crate::model::login_attempts::CounterKey;

/// How many may stand in one line; who comes later is told so at once.
const LONGEST_LINE: u32 = 32;
/// How often the first in line looks whether a guess ended at another instance.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// The lines of this instance; none outlives those who stand in it.
#[derive(Default)]
pub(crate) struct Lines(Mutex<HashMap<CounterKey, Arc<Line>>>);

#[derive(Default)]
struct Line {
    length: Mutex<u32>,
    /// Held by the first in line; fair, so that who came first goes first.
    first: Arc<tokio::sync::Mutex<()>>,
    moved: Notify,
}

impl Lines {
    /// Joins the line of a counter; `None` if it is too long.
    pub(super) fn join<'a>(&'a self, key: &CounterKey) -> Option<InLine<'a>> {
        let mut lines = lock(&self.0);
        let line = Arc::clone(lines.entry(key.clone()).or_default());
        let mut length = lock(&line.length);
        if *length >= LONGEST_LINE {
            return None;
        }
        *length += 1;
        drop(length);
        Some(InLine { lines: self, key: key.clone(), line, turn: None })
    }

    /// Tells the first in a counter's line that a guess has ended.
    pub(super) fn moved(&self, key: &CounterKey) {
        let line = lock(&self.0).get(key).cloned();
        if let Some(line) = line {
            line.moved.notify_one();
        }
    }
}

/// Somebody who stands in line; dropped, they leave it.
pub(super) struct InLine<'a> {
    lines: &'a Lines,
    key: CounterKey,
    line: Arc<Line>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl InLine<'_> {
    /// Which line it is.
    pub(super) const fn key(&self) -> &CounterKey {
        &self.key
    }

    /// Whether nobody stands before us; from then on nobody will.
    pub(super) fn is_first(&mut self) -> bool {
        if self.turn.is_none() {
            self.turn = Arc::clone(&self.line.first).try_lock_owned().ok();
        }
        self.turn.is_some()
    }

    /// Waits until nobody stands before us.
    pub(super) async fn take_turn(&mut self) {
        if self.turn.is_none() {
            self.turn = Some(Arc::clone(&self.line.first).lock_owned().await);
        }
    }

    /// Waits until a guess has ended here, or may have ended elsewhere.
    pub(super) async fn for_a_move(&self) {
        // Which of the two it was does not matter.
        let _ = tokio::time::timeout(LOOK_EVERY, self.line.moved.notified()).await;
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        // The map's lock first, as in `join`: nobody can join a line that is being taken away.
        let mut lines = lock(&self.lines.0);
        let mut length = lock(&self.line.length);
        *length -= 1;
        if *length == 0 {
            lines.remove(&self.key);
        }
    }
}

/// A panic elsewhere leaves counters, which stay usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::login_attempts::CounterKind;

    fn key(source: &str) -> CounterKey {
        CounterKey { kind: CounterKind::Pair, account: None, source: source.into() }
    }

    #[tokio::test]
    async fn a_line_is_as_long_as_it_may_be_and_gone_with_the_last() {
        let lines = Lines::default();
        let mut standing: Vec<_> = (0..LONGEST_LINE).map(|_| lines.join(&key("a")).expect("room")).collect();

        assert!(lines.join(&key("a")).is_none());
        assert!(lines.join(&key("b")).is_some());
        standing.pop();
        standing.push(lines.join(&key("a")).expect("room again"));
        standing.clear();
        assert!(lock(&lines.0).is_empty());
    }

    #[tokio::test]
    async fn one_at_a_time_is_first_and_hears_of_a_move_that_was_before_it_listened() {
        let lines = Lines::default();
        let (mut one, mut two) = (lines.join(&key("a")).expect("room"), lines.join(&key("a")).expect("room"));
        assert!(one.is_first() && !two.is_first());
        one.take_turn().await;

        let waited = tokio::time::timeout(Duration::from_millis(20), two.take_turn()).await;
        assert!(waited.is_err());
        lines.moved(&key("a"));
        one.for_a_move().await;
        drop(one);
        two.take_turn().await;
    }
}
