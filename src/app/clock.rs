//! The one place that reads the clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use crate::model::time::{Timestamp, Ttl};

/// Where `now` comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that stands still until it is moved; for tests.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `start`.
    pub fn manual(start: Timestamp) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(start.as_millis())))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::from_millis(system_millis()),
            Self::Manual(millis) => Timestamp::from_millis(millis.load(Ordering::SeqCst)),
        }
    }

    /// The time by a clock that started with the process and never jumps, whatever happens to the system's.
    pub fn steady(&self) -> Timestamp {
        match self {
            Self::System => {
                let (wall, steady) = *START;
                let since = i64::try_from(steady.elapsed().as_millis()).unwrap_or(i64::MAX);
                Timestamp::from_millis(wall.saturating_add(since))
            }
            Self::Manual(_) => self.now(),
        }
    }

    /// Moves a manual clock on; the system's clock is not ours to move.
    pub fn advance(&self, by: Ttl) {
        if let Self::Manual(millis) = self {
            millis.fetch_add(by.as_millis(), Ordering::SeqCst);
        }
    }
}

/// The first reading of both clocks.
static START: LazyLock<(i64, Instant)> = LazyLock::new(|| (system_millis(), Instant::now()));

#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn system_millis() -> i64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
