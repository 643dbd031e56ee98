//! How failed logins slow the next one down: per account and source, never by sleeping on a connection.

use std::time::Duration;

use crate::model::login_failures::Failures;
use crate::model::time::{Timestamp, Ttl};

/// The settings that the rule needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleRules {
    /// Failures that cost nothing.
    pub free_attempts: u32,
    /// The longest wait.
    pub max_delay: Ttl,
    /// Failures within a day after which only the longest wait is left.
    pub daily_limit: u32,
}

/// A day, after which failures are forgotten.
pub const DAY: Ttl = Ttl::from_secs(24 * 60 * 60);

/// How long a login must still wait at `now`; `None` lets it through.
pub fn wait(failures: Option<&Failures>, rules: &ThrottleRules, now: Timestamp) -> Option<Duration> {
    let failures = failures.filter(|failures| now < failures.first_at.plus(DAY))?;
    let until = failures.last_at.plus(delay(failures.count, rules)?);
    let left = until.as_millis().saturating_sub(now.as_millis());
    // Longer than the longest wait it is only after the clock was set back, which must lock nobody out.
    if left > rules.max_delay.as_millis() {
        return None;
    }
    u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_millis)
}

/// How many attempts may run at once without more failures than the rules forgive; at least one.
pub fn left_before_waiting(failures: Option<&Failures>, rules: &ThrottleRules, now: Timestamp) -> u32 {
    let failed = failures.filter(|failures| now < failures.first_at.plus(DAY)).map_or(0, |f| f.count);
    rules.free_attempts.saturating_sub(failed).max(1)
}

fn delay(count: u32, rules: &ThrottleRules) -> Option<Ttl> {
    if count >= rules.daily_limit {
        return Some(rules.max_delay);
    }
    let beyond = count.checked_sub(rules.free_attempts)?;
    let doubled = 1u32.checked_shl(beyond).unwrap_or(u32::MAX);
    Some(Ttl::from_secs(doubled).min(rules.max_delay))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: ThrottleRules =
        ThrottleRules { free_attempts: 5, max_delay: Ttl::from_secs(900), daily_limit: 100 };

    fn waits(count: u32, last_at: i64, now: i64) -> Option<u64> {
        let failures =
            Failures { count, first_at: Timestamp::from_secs(0), last_at: Timestamp::from_secs(last_at) };
        wait(Some(&failures), &RULES, Timestamp::from_secs(now)).map(|wait| wait.as_secs())
    }

    #[test]
    fn the_wait_doubles_after_the_free_attempts_up_to_the_longest() {
        assert_eq!(wait(None, &RULES, Timestamp::from_secs(0)), None);
        assert_eq!(waits(4, 10, 10), None);
        assert_eq!(waits(5, 10, 10), Some(1));
        assert_eq!(waits(5, 10, 11), None);
        assert_eq!(waits(8, 10, 10), Some(8));
        assert_eq!(waits(40, 10, 10), Some(900));
        assert_eq!(waits(100, 10, 500), Some(410));
        assert_eq!(waits(u32::MAX, 10, 10), Some(900));
    }

    #[test]
    fn as_many_may_run_at_once_as_may_still_fail_for_free() {
        let now = Timestamp::from_secs(10);
        let left = |count| {
            let failures = Failures { count, first_at: Timestamp::from_secs(0), last_at: now };
            left_before_waiting(Some(&failures), &RULES, now)
        };

        assert_eq!(left_before_waiting(None, &RULES, now), 5);
        assert_eq!((left(1), left(4), left(5), left(500)), (4, 1, 1, 1));
    }

    #[test]
    fn a_day_forgets_and_a_clock_set_back_does_not_lock_out() {
        assert_eq!(waits(100, 86_399, 86_400), None);
        assert_eq!(waits(100, 80_000, 10), None);
    }
}
