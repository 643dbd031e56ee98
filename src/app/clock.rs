//! The one place that reads the clock, and the judge of whether it can be believed.

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
    Manual(Arc<ManualClock>),
}

/// What a clock of tests shows.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_millis: AtomicI64,
    steady_millis: AtomicI64,
}

impl Clock {
    /// A clock that stands at `start`.
    pub fn manual(start: Timestamp) -> Self {
        let at = || AtomicI64::new(start.as_millis());
        Self::Manual(Arc::new(ManualClock { wall_millis: at(), steady_millis: at() }))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::from_millis(system_millis()),
            Self::Manual(clock) => Timestamp::from_millis(clock.wall_millis.load(Ordering::SeqCst)),
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
            Self::Manual(clock) => Timestamp::from_millis(clock.steady_millis.load(Ordering::SeqCst)),
        }
    }

    /// Lets time pass on a manual clock; the system's clock is not ours to move.
    pub fn advance(&self, by: Ttl) {
        self.advance_millis(by.as_millis());
    }

    /// The same in milliseconds.
    pub fn advance_millis(&self, by: i64) {
        if let Self::Manual(clock) = self {
            clock.wall_millis.fetch_add(by, Ordering::SeqCst);
            clock.steady_millis.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// Sets a manual clock, as somebody sets a wall clock: no time passes by it.
    pub fn set(&self, to: Timestamp) {
        if let Self::Manual(clock) = self {
            clock.wall_millis.store(to.as_millis(), Ordering::SeqCst);
        }
    }
}

/// Whether a clock can be believed in what cannot be undone: deleting what is over by its time. A clock that jumped (a
/// virtual machine resumed, a wrong time server, a hand) is believed again after it has run steadily for an hour, or as
/// soon as it jumps back.
#[derive(Debug, Default)]
pub struct Steadiness {
    last: Option<Offset>,
    /// The last one that was believed.
    home: Offset,
    unsteady_since: Option<Timestamp>,
}

/// Wall time less steady time in milliseconds: stays what it is while a clock runs steadily.
type Offset = i64;

/// More than time servers correct in one go, and than instances may be apart.
const JUMP_MILLIS: u64 = 60_000;
/// How long a clock must have run steadily since it jumped.
const STEADY_FOR: Ttl = Ttl::from_secs(60 * 60);

impl Steadiness {
    /// The time, if it can be believed. It never is at the first look, when there is nothing to compare it with.
    pub fn look(&mut self, clock: &Clock) -> Option<Timestamp> {
        let (now, steady) = (clock.now(), clock.steady());
        let offset = now.as_millis().saturating_sub(steady.as_millis());
        let Some(last) = self.last.replace(offset) else {
            self.home = offset;
            return None;
        };
        if offset.abs_diff(last) > JUMP_MILLIS {
            let is_back = offset.abs_diff(self.home) <= JUMP_MILLIS;
            self.unsteady_since = (!is_back).then_some(steady);
            let by_seconds = offset.saturating_sub(last) / 1000;
            tracing::warn!(
                by_seconds,
                "the clock jumped: nothing is deleted or rotated by it until it is steady"
            );
        }
        if self.unsteady_since.is_some_and(|since| steady < since.plus(STEADY_FOR)) {
            return None;
        }
        self.unsteady_since = None;
        self.home = offset;
        Some(now)
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

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_2027: Timestamp = Timestamp::from_secs(1_800_000_000);
    const YEAR_2106: Timestamp = Timestamp::from_secs(4_294_967_296);

    #[test]
    fn a_clock_that_jumped_is_believed_after_an_hour_and_not_before() {
        let (clock, mut steadiness) = (Clock::manual(YEAR_2027), Steadiness::default());
        assert_eq!(steadiness.look(&clock), None, "there is nothing to compare it with");
        clock.advance(Ttl::from_secs(86_400));
        assert_eq!(steadiness.look(&clock), Some(clock.now()), "time may pass");

        clock.set(YEAR_2106);

        assert_eq!(steadiness.look(&clock), None);
        clock.advance(Ttl::from_secs(3599));
        assert_eq!(steadiness.look(&clock), None);
        clock.advance(Ttl::from_secs(1));
        assert_eq!(steadiness.look(&clock), Some(clock.now()));
    }

    #[test]
    fn a_clock_that_jumped_for_a_moment_is_never_believed_meanwhile() {
        let (clock, mut steadiness) = (Clock::manual(YEAR_2027), Steadiness::default());
        assert_eq!(steadiness.look(&clock), None);

        for wrong in [YEAR_2106, Timestamp::from_secs(0), YEAR_2027.plus(Ttl::from_secs(3600))] {
            clock.set(wrong);
            assert_eq!(steadiness.look(&clock), None, "{wrong:?}");
        }

        clock.set(YEAR_2027);
        assert_eq!(steadiness.look(&clock), Some(YEAR_2027), "it is back");
    }

    #[test]
    fn what_a_time_server_corrects_is_no_jump() {
        let (clock, mut steadiness) = (Clock::manual(YEAR_2027), Steadiness::default());
        assert_eq!(steadiness.look(&clock), None);

        for seconds in 1..10 {
            clock.set(YEAR_2027.plus(Ttl::from_secs(seconds * 50)));
            assert!(steadiness.look(&clock).is_some());
        }
    }

    #[test]
    fn time_that_passes_moves_both_readings_and_a_hand_only_one() {
        let clock = Clock::manual(YEAR_2027);
        let later = YEAR_2027.plus(Ttl::from_secs(5));

        clock.advance(Ttl::from_secs(5));
        assert_eq!((clock.now(), clock.steady()), (later, later));

        clock.set(YEAR_2106);
        assert_eq!((clock.now(), clock.steady()), (YEAR_2106, later));
    }
}
