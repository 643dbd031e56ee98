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
    /// The system's clock, ahead or behind by as much as it was moved; for the tests of others.
    Shifted(Arc<ManualClock>),
}

/// What a clock of tests shows, or by how much another one is moved.
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

    /// A clock that shows the time until it is moved, and runs on from there.
    pub fn shifted() -> Self {
        Self::Shifted(Arc::default())
    }

    /// Whether this is one that strangers to the code may move.
    pub const fn is_shifted(&self) -> bool {
        matches!(self, Self::Shifted(_))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(match self {
            Self::System => system_millis(),
            Self::Manual(clock) => clock.wall_millis.load(Ordering::SeqCst),
            Self::Shifted(shift) => system_millis().saturating_add(shift.wall_millis.load(Ordering::SeqCst)),
        })
    }

    /// The time by a clock that started with the process and never jumps, whatever happens to the system's.
    pub fn steady(&self) -> Timestamp {
        Timestamp::from_millis(match self {
            Self::System => steady_millis(),
            Self::Manual(clock) => clock.steady_millis.load(Ordering::SeqCst),
            Self::Shifted(shift) => {
                steady_millis().saturating_add(shift.steady_millis.load(Ordering::SeqCst))
            }
        })
    }

    /// Lets time pass on a clock of tests; the system's clock is not ours to move.
    pub fn advance(&self, by: Ttl) {
        self.advance_millis(by.as_millis());
    }

    /// The same in milliseconds.
    pub fn advance_millis(&self, by: i64) {
        if let Self::Manual(clock) | Self::Shifted(clock) = self {
            clock.wall_millis.fetch_add(by, Ordering::SeqCst);
            clock.steady_millis.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// Sets a clock of tests, as somebody sets a wall clock: no time passes by it.
    pub fn set(&self, to: Timestamp) {
        match self {
            Self::System => {}
            Self::Manual(clock) => clock.wall_millis.store(to.as_millis(), Ordering::SeqCst),
            Self::Shifted(shift) => {
                shift.wall_millis.store(to.as_millis().saturating_sub(system_millis()), Ordering::SeqCst);
            }
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

fn steady_millis() -> i64 {
    let (wall, steady) = *START;
    let since = i64::try_from(steady.elapsed().as_millis()).unwrap_or(i64::MAX);
    wall.saturating_add(since)
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
    fn a_shifted_clock_runs_on_from_where_it_was_moved_to() {
        let clock = Clock::shifted();
        let before = clock.now();
        assert!(before.as_millis().abs_diff(Clock::System.now().as_millis()) < 60_000);

        clock.advance(Ttl::from_secs(86_400));
        let ahead = clock.now().as_millis() - before.as_millis();
        assert!((86_400_000..86_460_000).contains(&ahead), "{ahead}");

        clock.set(YEAR_2106);
        let ahead = clock.now().as_millis() - YEAR_2106.as_millis();
        assert!((0..60_000).contains(&ahead), "{ahead}");
        let steady = clock.steady().as_millis() - before.as_millis();
        assert!((86_399_000..86_460_000).contains(&steady), "a hand lets no time pass: {steady}");
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
