//! The rules of a refresh-token family: one live token, a lost answer costs nothing, reuse ends it all.
//!
//! RFC 9700 §4.14.2 asks for rotation with reuse detection; clients on bad networks ask for a retry. Both are
//! met by telling the direct predecessor, whose successor nobody has used, from everything older.

use crate::model::session::Family;
use crate::model::time::{Timestamp, Ttl};

use super::error::GrantFailure;

/// The settings that the rules need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyRules {
    /// How long a family may lie unused.
    pub idle_ttl: Ttl,
    /// How long a client that authenticates may ask again for a lost answer; `0s` never.
    pub retry_window: Ttl,
    /// The same for a public client.
    pub retry_window_public: Ttl,
}

/// How often a public client may ask again for the same lost answer.
pub const PUBLIC_RETRIES: u32 = 5;

/// How far the clocks of two instances may be apart.
const CLOCK_SLACK: Ttl = Ttl::from_secs(60);

/// Who presents the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presenter<'a> {
    /// A client that proved who it is.
    Confidential,
    /// A client that did not, from this address.
    Public {
        /// The address, as [`Family::source`] keeps it.
        source: &'a str,
    },
}

/// What a genuine refresh token of a family is worth at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the live one: redeeming it makes the next generation.
    Live,
    /// It is the direct predecessor inside the retry rule: its successor is handed out again.
    Retry,
    /// It was replaced for good: the family ends (RFC 9700 §4.14.2).
    Reused,
    /// It is worth nothing, and nothing changes.
    Worthless(GrantFailure),
}

/// The standing of the token of `generation`, which the server has vouched for, at `now`.
pub fn standing(
    family: &Family,
    generation: u32,
    presenter: Presenter<'_>,
    rules: &FamilyRules,
    now: Timestamp,
) -> Standing {
    if family.revoked.is_some() {
        return Standing::Worthless(GrantFailure::Revoked);
    }
    if now >= family.expires_at || now >= family.rotated_at.plus(rules.idle_ttl) {
        return Standing::Worthless(GrantFailure::Expired);
    }
    match family.generation.checked_sub(generation) {
        Some(0) => Standing::Live,
        Some(1) => standing_of_predecessor(family, presenter, rules, now),
        Some(_) => Standing::Reused,
        // A generation that was never reached: made before the database was put back to an older state.
        None => Standing::Worthless(GrantFailure::UnknownToken),
    }
}

fn standing_of_predecessor(
    family: &Family,
    presenter: Presenter<'_>,
    rules: &FamilyRules,
    now: Timestamp,
) -> Standing {
    // A clock that was set back must not stretch the window.
    let set_back = now.plus(CLOCK_SLACK) < family.rotated_at;
    let within = |window: Ttl| !window.is_zero() && !set_back && now < family.rotated_at.plus(window);
    match presenter {
        Presenter::Confidential if within(rules.retry_window) => Standing::Retry,
        Presenter::Public { source } if within(rules.retry_window_public) && source == family.source => {
            if family.retries < PUBLIC_RETRIES {
                Standing::Retry
            } else {
                // Many parallel requests of one honest client end here, so the family lives on.
                Standing::Worthless(GrantFailure::TooManyRetries)
            }
        }
        Presenter::Confidential | Presenter::Public { .. } => Standing::Reused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{FamilyId, UserId};
    use crate::model::scope::Scope;
    use crate::model::session::{FamilySecret, RevocationReason};

    const RULES: FamilyRules = FamilyRules {
        idle_ttl: Ttl::from_secs(1000),
        retry_window: Ttl::from_secs(100),
        retry_window_public: Ttl::from_secs(10),
    };

    fn family() -> Family {
        Family {
            id: FamilyId::from_random([1; 16]),
            client_id: "app".parse().expect("an id"),
            user_id: UserId::from_random([2; 16]),
            requested: Scope::empty(),
            granted: Scope::empty(),
            audience: Vec::new(),
            secret: FamilySecret([3; 32]),
            generation: 5,
            retries: 0,
            source: "192.0.2.1".into(),
            auth_time: Timestamp::from_secs(0),
            rotated_at: Timestamp::from_secs(1000),
            expires_at: Timestamp::from_secs(5000),
            revoked: None,
        }
    }

    #[test]
    fn a_token_stands_by_generation_time_and_presenter() {
        use Presenter::{Confidential, Public};
        use Standing::{Live, Retry, Reused, Worthless};
        let (home, away) = (Public { source: "192.0.2.1" }, Public { source: "198.51.100.9" });
        for (generation, presenter, at, expected) in [
            (5, Confidential, 1000, Live),
            (5, away, 1500, Live),
            (4, Confidential, 1099, Retry),
            (4, Confidential, 1100, Reused),
            (4, home, 1009, Retry),
            (4, home, 1010, Reused),
            (4, away, 1001, Reused),
            (3, Confidential, 1001, Reused),
            (0, home, 1001, Reused),
            (6, Confidential, 1001, Worthless(GrantFailure::UnknownToken)),
            (5, Confidential, 2000, Worthless(GrantFailure::Expired)),
            (4, Confidential, 2000, Worthless(GrantFailure::Expired)),
            (5, Confidential, 900, Live),
        ] {
            let standing = standing(&family(), generation, presenter, &RULES, Timestamp::from_secs(at));

            assert_eq!(standing, expected, "{generation} {presenter:?} at {at}");
        }
    }

    #[test]
    fn the_absolute_end_and_revocation_come_first() {
        let mut expired = family();
        expired.expires_at = Timestamp::from_secs(1001);
        let mut revoked = family();
        revoked.revoked = Some((Timestamp::from_secs(1000), RevocationReason::Operator));
        let at = Timestamp::from_secs(1001);

        let stand = |family: &Family, g| standing(family, g, Presenter::Confidential, &RULES, at);

        assert_eq!(stand(&expired, 5), Standing::Worthless(GrantFailure::Expired));
        assert_eq!(stand(&revoked, 5), Standing::Worthless(GrantFailure::Revoked));
        assert_eq!(stand(&revoked, 1), Standing::Worthless(GrantFailure::Revoked));
    }

    #[test]
    fn a_window_of_zero_means_no_retry() {
        let rules = FamilyRules { retry_window: Ttl::ZERO, retry_window_public: Ttl::ZERO, ..RULES };
        let at = Timestamp::from_secs(1000);

        for presenter in [Presenter::Confidential, Presenter::Public { source: "192.0.2.1" }] {
            assert_eq!(standing(&family(), 4, presenter, &rules, at), Standing::Reused);
        }
    }

    #[test]
    fn a_public_client_is_answered_again_a_few_times_only() {
        let mut family = family();
        family.retries = PUBLIC_RETRIES;
        let presenter = Presenter::Public { source: "192.0.2.1" };

        let standing = standing(&family, 4, presenter, &RULES, Timestamp::from_secs(1001));

        assert_eq!(standing, Standing::Worthless(GrantFailure::TooManyRetries));
    }
}
