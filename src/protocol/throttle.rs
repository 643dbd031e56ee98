//! How failed logins slow the next one down, never by sleeping on a connection: by account and source, by account
//! over all sources that are not known for it, and by source over all accounts.
//!
//! A guess takes its place before it is judged. So however many are made at once, no more are judged than would be
//! one after another.

use std::time::Duration;

use crate::model::login_attempts::{Counter, CounterKind};
use crate::model::time::{Timestamp, Ttl};

/// The settings that the rule needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleRules {
    /// Failures of an account from one source that cost nothing.
    pub free_attempts: u32,
    /// The longest wait.
    pub max_delay: Ttl,
    /// Failures within a day after which only the longest wait is left.
    pub daily_limit: u32,
    /// A guess that is judged for longer than this is one whose process died. It counts as failed.
    pub lost_after: Ttl,
}

/// A day, after which failures are forgotten.
pub const DAY: Ttl = Ttl::from_secs(24 * 60 * 60);

/// How long a source stays known after a login.
pub const KNOWN_FOR: Ttl = Ttl::from_secs(30 * 24 * 60 * 60);

/// Whether one more guess may be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Now.
    Room,
    /// As soon as it is known how those that are being judged end.
    Full,
    /// Not before this time has passed, because of those that failed.
    Wait(Duration),
}

/// The counter as it is at `now`: guesses of processes that died have failed, and a day that is over is forgotten.
pub fn settle(counter: &mut Counter, rules: &ThrottleRules, now: Timestamp) {
    let lost_after = rules.lost_after.as_millis().unsigned_abs();
    // From the future it is only after the clock was set back; it will not end either.
    let is_lost = |at: &Timestamp| at.as_millis().abs_diff(now.as_millis()) > lost_after;
    let (mut lost, pending): (Vec<_>, Vec<_>) = counter.pending.drain(..).partition(is_lost);
    counter.pending = pending;
    lost.sort_unstable();
    for at in lost {
        add_failure(counter, at.min(now));
    }

    let begun = counter.first_at <= now.plus(DAY);
    if !begun || counter.first_at.plus(DAY) <= now {
        *counter = Counter { pending: std::mem::take(&mut counter.pending), ..Counter::new(now) };
    }
}

/// Whether one more guess may be judged at `now`, as far as this counter goes. It must be settled.
pub fn judge(counter: &Counter, kind: CounterKind, rules: &ThrottleRules, now: Timestamp) -> Judgement {
    let free = free_attempts(kind, rules);
    let pending = u32::try_from(counter.pending.len()).unwrap_or(u32::MAX);
    if counter.count < free {
        let taken = counter.count.saturating_add(pending);
        return if taken < free { Judgement::Room } else { Judgement::Full };
    }
    match wait(counter, free, rules, now) {
        Some(wait) => Judgement::Wait(wait),
        None if pending == 0 => Judgement::Room,
        None => Judgement::Full,
    }
}

/// Takes the place of a guess in a settled counter.
pub fn take_place(counter: &mut Counter, now: Timestamp) {
    counter.pending.push(now);
}

/// Gives the place back that was taken at `taken_at`, if it is not lost.
pub fn give_back(counter: &mut Counter, taken_at: Timestamp) {
    if let Some(place) = counter.pending.iter().position(|at| *at == taken_at) {
        counter.pending.swap_remove(place);
    }
}

/// Counts a guess that was judged and wrong.
pub fn add_failure(counter: &mut Counter, at: Timestamp) {
    if counter.count == 0 {
        (counter.first_at, counter.last_at) = (at, at);
    }
    counter.count = counter.count.saturating_add(1);
    counter.last_at = counter.last_at.max(at);
}

/// Forgets the failures: the right password was given.
pub fn forget(counter: &mut Counter) {
    counter.count = 0;
}

/// Whether the limit of the day was reached between `before` and `after`.
pub fn reaches_limit(before: u32, after: u32, rules: &ThrottleRules) -> bool {
    (before..after).contains(&(rules.daily_limit.saturating_sub(1)))
}

fn free_attempts(kind: CounterKind, rules: &ThrottleRules) -> u32 {
    match kind {
        CounterKind::Pair => rules.free_attempts.min(rules.daily_limit),
        CounterKind::Account | CounterKind::Source => rules.daily_limit,
    }
}

fn wait(counter: &Counter, free: u32, rules: &ThrottleRules, now: Timestamp) -> Option<Duration> {
    // Nothing has failed where nothing is free.
    let beyond = counter.count.checked_sub(free).filter(|_| counter.count > 0)?;
    let delay = match 1u32.checked_shl(beyond) {
        Some(doubled) if counter.count < rules.daily_limit => Ttl::from_secs(doubled).min(rules.max_delay),
        _ => rules.max_delay,
    };
    let left = counter.last_at.plus(delay).as_millis().saturating_sub(now.as_millis());
    // Longer than the longest wait it is only after the clock was set back, which must lock nobody out.
    if left > rules.max_delay.as_millis() {
        return None;
    }
    u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: ThrottleRules = ThrottleRules {
        free_attempts: 5,
        max_delay: Ttl::from_secs(900),
        daily_limit: 100,
        lost_after: Ttl::from_secs(60),
    };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn counter(count: u32, last_at: i64, pending: &[i64]) -> Counter {
        let pending = pending.iter().map(|secs| at(*secs)).collect();
        Counter { count, first_at: at(0), last_at: at(last_at), pending }
    }

    fn judged(kind: CounterKind, mut counter: Counter, now: i64) -> Judgement {
        settle(&mut counter, &RULES, at(now));
        judge(&counter, kind, &RULES, at(now))
    }

    fn pair(count: u32, last_at: i64, now: i64) -> Judgement {
        judged(CounterKind::Pair, counter(count, last_at, &[]), now)
    }

    fn seconds(secs: u64) -> Judgement {
        Judgement::Wait(Duration::from_secs(secs))
    }

    #[test]
    fn the_wait_doubles_after_the_free_attempts_up_to_the_longest() {
        assert_eq!(pair(0, 0, 0), Judgement::Room);
        assert_eq!(pair(4, 10, 10), Judgement::Room);
        assert_eq!(pair(5, 10, 10), seconds(1));
        assert_eq!(pair(5, 10, 11), Judgement::Room);
        assert_eq!(pair(8, 10, 10), seconds(8));
        assert_eq!(pair(40, 10, 10), seconds(900));
        assert_eq!(pair(100, 10, 500), seconds(410));
        assert_eq!(pair(u32::MAX, 10, 10), seconds(900));
    }

    #[test]
    fn the_limits_over_sources_and_over_accounts_are_by_the_day_alone() {
        for kind in [CounterKind::Account, CounterKind::Source] {
            assert_eq!(judged(kind, counter(99, 10, &[]), 10), Judgement::Room);
            assert_eq!(judged(kind, counter(98, 10, &[10]), 10), Judgement::Room);
            assert_eq!(judged(kind, counter(98, 10, &[10, 10]), 10), Judgement::Full);
            assert_eq!(judged(kind, counter(100, 10, &[]), 10), seconds(900));
            assert_eq!(judged(kind, counter(100, 10, &[]), 910), Judgement::Room);
        }
    }

    #[test]
    fn as_many_are_judged_at_once_as_may_still_fail_for_free_and_then_one() {
        let judged =
            |count, pending: &[i64], now| judged(CounterKind::Pair, counter(count, 10, pending), now);

        assert_eq!(judged(0, &[10; 4], 10), Judgement::Room);
        assert_eq!(judged(0, &[10; 5], 10), Judgement::Full);
        assert_eq!(judged(3, &[10], 10), Judgement::Room);
        assert_eq!(judged(3, &[10, 10], 10), Judgement::Full);
        assert_eq!(judged(5, &[10], 10), seconds(1));
        assert_eq!(judged(5, &[11], 11), Judgement::Full);
        assert_eq!(judged(500, &[], 910), Judgement::Room);
        assert_eq!(judged(500, &[910], 910), Judgement::Full);
    }

    #[test]
    fn without_free_attempts_the_first_guess_is_judged_alone() {
        let rules = ThrottleRules { free_attempts: 0, ..RULES };
        let judge = |counter: &Counter, now| judge(counter, CounterKind::Pair, &rules, at(now));

        assert_eq!(judge(&counter(0, 10, &[]), 10), Judgement::Room);
        assert_eq!(judge(&counter(0, 10, &[10]), 10), Judgement::Full);
        assert_eq!(judge(&counter(1, 10, &[]), 10), seconds(2));
    }

    #[test]
    fn a_guess_whose_process_died_has_failed_when_it_was_made_and_a_living_one_is_left_alone() {
        let mut counter = counter(0, 10, &[100, 139, 20]);

        settle(&mut counter, &RULES, at(199));

        assert_eq!((counter.count, &counter.pending[..]), (2, &[at(139)][..]));
        assert_eq!((counter.first_at, counter.last_at), (at(20), at(100)));
        settle(&mut counter, &RULES, at(200));
        assert_eq!((counter.count, counter.last_at, counter.pending.len()), (3, at(139), 0));
    }

    #[test]
    fn a_place_is_given_back_once_and_never_another_ones() {
        let mut counter = counter(1, 10, &[100, 101, 101]);

        give_back(&mut counter, at(101));
        give_back(&mut counter, at(99));

        assert_eq!((counter.count, &counter.pending[..]), (1, &[at(100), at(101)][..]));
    }

    #[test]
    fn a_day_forgets_and_a_clock_set_back_does_not_lock_out() {
        assert_eq!(pair(100, 86_399, 86_400), Judgement::Room);
        assert_eq!(pair(100, 80_000, 10), Judgement::Room);
        // Counted by a clock that stood in another year, it is no count of today.
        let mut far = Counter { first_at: at(9_000_000), last_at: at(9_000_000), ..counter(100, 0, &[7]) };
        settle(&mut far, &RULES, at(10));
        assert_eq!((far.count, far.pending.len()), (0, 1));
    }

    #[test]
    fn a_limit_is_reached_once() {
        assert!(!reaches_limit(98, 99, &RULES));
        assert!(reaches_limit(99, 100, &RULES));
        assert!(reaches_limit(0, 120, &RULES));
        assert!(!reaches_limit(100, 101, &RULES));
        assert!(!reaches_limit(100, 0, &RULES));
    }
}
