//! When signing keys are made, begin to sign, stop and go: pending -> active -> retired -> gone.
//!
//! A key is in the JWKS for `publish_before` before it signs, and stays there until the last token it signed has
//! expired, so that a verifier which follows the cache headers never meets an unknown key.

use crate::model::key::{KeyState, Kid, SigningAlgorithm, SigningKeyInfo};
use crate::model::time::{Timestamp, Ttl};

/// The settings that the schedule needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRules {
    /// How long a key signs.
    pub rotate_every: Ttl,
    /// How long a key is published before it signs.
    pub publish_before: Ttl,
    /// The longest life of an access token that any client may get.
    pub longest_access_ttl: Ttl,
}

/// Every instance publishes a new key within this time of its making.
const PUBLISHED_WITHIN: Ttl = Ttl::from_secs(1);
/// How much longer than `publish_before` a key waits by the clock: for the last instance to publish it, and for the
/// part of a second that stored times leave out.
const ROUNDED: Ttl = Ttl::from_secs(2);
/// How far the clocks of two instances may be apart.
const CLOCK_SLACK: Ttl = Ttl::from_secs(5);
/// For those clocks, and for an instance that learns late that a key signs no more.
const LEAVE_SLACK: Ttl = Ttl::from_secs(10);

/// The longest a verifier may keep the JWKS: Cache-Control's `max-age`.
pub fn jwks_max_age(publish_before: Ttl) -> Ttl {
    publish_before.min(Ttl::from_secs(300))
}

/// One change that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The algorithm has no key that signs: make one that does at once.
    MakeActive(SigningAlgorithm),
    /// The algorithm has no key in waiting: make one.
    MakePending {
        /// For which algorithm.
        algorithm: SigningAlgorithm,
        /// When it is to sign.
        activates_at: Timestamp,
    },
    /// The key in waiting takes over.
    Promote {
        /// The key that begins to sign.
        pending: Kid,
        /// The key that stops, if there is one.
        active: Option<Kid>,
        /// When the stopped key leaves the JWKS.
        retires_at: Timestamp,
    },
    /// The key in waiting waits for a time that is too far off.
    Hasten {
        /// The key in waiting.
        pending: Kid,
        /// When it is to sign.
        activates_at: Timestamp,
    },
    /// No valid token is signed with it any more.
    Remove(Kid),
}

/// The next change that is due for `algorithms`, or `None` if all is in order. Asked again after each change.
pub fn next_step(
    keys: &[SigningKeyInfo],
    algorithms: &[SigningAlgorithm],
    rules: &KeyRules,
    now: Timestamp,
) -> Option<Step> {
    let over = keys.iter().find(|key| matches!(key.state, KeyState::Retired { until, .. } if until <= now));
    if let Some(key) = over {
        return Some(Step::Remove(key.kid.clone()));
    }
    algorithms.iter().find_map(|algorithm| {
        let of_it = |key: &&SigningKeyInfo| key.algorithm == *algorithm;
        let active = keys.iter().filter(of_it).find_map(|key| match key.state {
            KeyState::Active { since } => Some((key, since)),
            KeyState::Pending { .. } | KeyState::Retired { .. } => None,
        });
        let pending = keys.iter().filter(of_it).find_map(|key| match key.state {
            KeyState::Pending { activates_at } => Some((key, activates_at)),
            KeyState::Active { .. } | KeyState::Retired { .. } => None,
        });
        match (active, pending) {
            (None, None) => Some(Step::MakeActive(*algorithm)),
            (None, Some((pending, _))) => Some(promote(pending, None, rules, now)),
            (Some((_, since)), None) => Some(Step::MakePending {
                algorithm: *algorithm,
                // Not from a time that is yet to come: the clock was set back since.
                activates_at: since
                    .min(now)
                    .plus(rules.rotate_every)
                    .max(published_long_enough(now, rules.publish_before)),
            }),
            (Some((active, _)), Some((pending, activates_at))) => {
                if activates_at <= now {
                    return Some(promote(pending, Some(active), rules, now));
                }
                (activates_at > longest_wait(rules, now)).then(|| Step::Hasten {
                    pending: pending.kid.clone(),
                    activates_at: now
                        .plus(rules.rotate_every)
                        .max(published_long_enough(now, rules.publish_before)),
                })
            }
        }
    })
}

/// Longer than this a key never waits by the rules, with a minute for clocks that differ. It does after a rotation
/// under a clock that was years ahead, which without this would be the last one for years.
fn longest_wait(rules: &KeyRules, now: Timestamp) -> Timestamp {
    now.plus(rules.rotate_every).plus(rules.publish_before).plus(Ttl::from_secs(60))
}

/// The change that `pending` takes over from `active` now.
pub fn promote(
    pending: &SigningKeyInfo,
    active: Option<&SigningKeyInfo>,
    rules: &KeyRules,
    now: Timestamp,
) -> Step {
    // By what it signed, not only by what is signed now: a lifetime may have been shortened since.
    let signed = active.map_or(Ttl::ZERO, |key| key.longest_ttl);
    let longest_ttl = signed.max(rules.longest_access_ttl);
    Step::Promote {
        pending: pending.kid.clone(),
        active: active.map(|key| key.kid.clone()),
        // An instance that saw the new key late signs with the old one for `publish_before` more.
        retires_at: now.plus(rules.publish_before).plus(longest_ttl).plus(LEAVE_SLACK),
    }
}

/// When a pending key may sign if an operator wants it as soon as that is safe.
pub fn soonest(pending: &SigningKeyInfo, rules: &KeyRules, now: Timestamp) -> Timestamp {
    published_long_enough(pending.created_at, rules.publish_before).max(now)
}

/// From when on one instance signs with an active key that it has published itself since `seen_at`. Other instances may
/// have taken the change of state for granted while this one was cut off from the database, and verifiers that asked
/// it for the JWKS do not know the key yet.
pub fn signs_from(key: &SigningKeyInfo, seen_at: Timestamp, publish_before: Ttl) -> Timestamp {
    match key.state {
        // An emergency, or the first of its algorithm: the old key is not to be trusted, or there is none.
        KeyState::Active { since } if since < published_long_enough(key.created_at, publish_before) => since,
        KeyState::Active { .. } => seen_at.plus(publish_before).plus(PUBLISHED_WITHIN),
        KeyState::Pending { activates_at } => activates_at,
        KeyState::Retired { since, .. } => since,
    }
}

/// Since when an instance that has just started is taken to have published a key that it found: its own memory is
/// gone, and the stored time is by another clock.
pub fn seen_before_start(key: &SigningKeyInfo) -> Timestamp {
    key.created_at.plus(CLOCK_SLACK)
}

/// When every verifier that keeps the JWKS for `publish_before` at most knows a key made at `created_at`.
fn published_long_enough(created_at: Timestamp, publish_before: Ttl) -> Timestamp {
    created_at.plus(publish_before).plus(ROUNDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALG: SigningAlgorithm = SigningAlgorithm::Es256;
    const RULES: KeyRules = KeyRules {
        rotate_every: Ttl::from_secs(1000),
        publish_before: Ttl::from_secs(100),
        longest_access_ttl: Ttl::from_secs(10),
    };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn key(kid: &str, state: KeyState) -> SigningKeyInfo {
        SigningKeyInfo {
            kid: Kid::new(kid.into()),
            algorithm: ALG,
            state,
            created_at: at(0),
            longest_ttl: Ttl::ZERO,
        }
    }

    fn next(keys: &[SigningKeyInfo], now: i64) -> Option<Step> {
        next_step(keys, &[ALG], &RULES, at(now))
    }

    #[test]
    fn the_first_key_signs_at_once_and_another_waits() {
        assert_eq!(next(&[], 0), Some(Step::MakeActive(ALG)));
        let active = key("a", KeyState::Active { since: at(0) });

        let step = next(std::slice::from_ref(&active), 0);

        assert_eq!(step, Some(Step::MakePending { algorithm: ALG, activates_at: at(1000) }));
        let pending = key("p", KeyState::Pending { activates_at: at(1000) });
        assert_eq!(next(&[active, pending], 999), None);
    }

    #[test]
    fn a_late_pending_key_is_still_published_before_it_signs() {
        let active = key("a", KeyState::Active { since: at(0) });

        let step = next(&[active], 5000);

        assert_eq!(step, Some(Step::MakePending { algorithm: ALG, activates_at: at(5102) }));
    }

    #[test]
    fn keys_rotate_again_after_a_clock_that_was_years_ahead() {
        let active = key("a", KeyState::Active { since: at(2_000_000_000) });

        let step = next(std::slice::from_ref(&active), 500);

        assert_eq!(step, Some(Step::MakePending { algorithm: ALG, activates_at: at(1500) }));
        let pending = key("p", KeyState::Pending { activates_at: at(2_000_001_000) });
        let hastened = Step::Hasten { pending: Kid::new("p".into()), activates_at: at(1500) };
        assert_eq!(next(&[active.clone(), pending], 500), Some(hastened));
        let pending = key("p", KeyState::Pending { activates_at: at(1500) });
        assert_eq!(next(&[active, pending], 500), None, "once is enough");
    }

    #[test]
    fn a_due_key_takes_over_and_the_old_one_stays_until_its_tokens_have_expired() {
        let active = key("a", KeyState::Active { since: at(0) });
        let pending = key("p", KeyState::Pending { activates_at: at(1000) });

        let step = next(&[active, pending], 1000);

        assert_eq!(
            step,
            Some(Step::Promote {
                pending: Kid::new("p".into()),
                active: Some(Kid::new("a".into())),
                retires_at: at(1120)
            })
        );
        let retired = key("a", KeyState::Retired { since: at(1000), until: at(1120) });
        let active = key("p", KeyState::Active { since: at(1000) });
        let pending = key("q", KeyState::Pending { activates_at: at(2000) });
        assert_eq!(next(&[retired.clone(), active.clone(), pending.clone()], 1119), None);
        assert_eq!(next(&[retired, active, pending], 1120), Some(Step::Remove(Kid::new("a".into()))));
    }

    #[test]
    fn a_key_stays_for_the_longest_token_it_ever_signed() {
        let active = SigningKeyInfo {
            longest_ttl: Ttl::from_secs(500),
            ..key("a", KeyState::Active { since: at(0) })
        };
        let pending = key("p", KeyState::Pending { activates_at: at(1000) });

        let Some(Step::Promote { retires_at, .. }) = next(&[active, pending], 1000) else {
            panic!("a take-over")
        };

        assert_eq!(retires_at, at(1610));
    }

    #[test]
    fn without_an_active_key_the_pending_one_signs_at_once() {
        let pending = key("p", KeyState::Pending { activates_at: at(1000) });

        let step = next(&[pending], 10);

        assert!(matches!(step, Some(Step::Promote { active: None, .. })), "{step:?}");
    }

    #[test]
    fn an_instance_signs_with_a_key_that_it_has_published_itself_for_long_enough() {
        let made_at_0 = |since| key("a", KeyState::Active { since: at(since) });
        let wait = RULES.publish_before;

        // Promoted in good order at 102, and seen at once, late, or found at the start.
        assert_eq!(signs_from(&made_at_0(102), at(0), wait), at(101));
        assert_eq!(signs_from(&made_at_0(102), at(500), wait), at(601));
        assert_eq!(signs_from(&made_at_0(102), seen_before_start(&made_at_0(102)), wait), at(106));
        // Before its time: somebody was in a hurry, and knows why.
        assert_eq!(signs_from(&made_at_0(101), at(50), wait), at(101));
        assert_eq!(signs_from(&made_at_0(0), at(0), wait), at(0));
    }

    #[test]
    fn the_soonest_time_leaves_every_instance_a_second_to_publish_the_key() {
        let pending = key("p", KeyState::Pending { activates_at: at(1000) });

        assert_eq!(soonest(&pending, &RULES, at(10)), at(102));
        assert_eq!(soonest(&pending, &RULES, at(500)), at(500));
    }

    #[test]
    fn a_verifier_may_not_keep_the_jwks_longer_than_a_key_is_published() {
        assert_eq!(jwks_max_age(Ttl::from_secs(3600)), Ttl::from_secs(300));
        assert_eq!(jwks_max_age(Ttl::from_secs(3)), Ttl::from_secs(3));
    }
}
