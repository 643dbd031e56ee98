//! The rules of a refresh-token family: one live token, a lost answer costs nothing, reuse ends it all.
//!
//! RFC 9700 §4.14.2 asks for rotation with reuse detection; clients on bad networks ask for a retry. Both are
//! met by telling the direct predecessor, whose successor nobody has used, from everything older.

use crate::model::session::{Family, StrangeRetry};
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

/// In how many generations in a row a confidential client may ask for a lost answer from elsewhere. Two who live on
/// one family must do so in each: whoever comes second presents the predecessor. So the family ends with the third.
pub const STRANGE_RETRIES: u32 = 2;

/// How far the clocks of two instances may be apart.
const CLOCK_SLACK: Ttl = Ttl::from_secs(60);

/// Who presents the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presenter<'a> {
    /// A client that proved who it is.
    Confidential {
        /// The address, as [`Family::source`] keeps it.
        source: &'a str,
    },
    /// A client that did not.
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
    Retry {
        /// To be remembered, where it is asked for from elsewhere.
        strange: Option<StrangeRetry>,
    },
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
        Presenter::Confidential { source } if within(rules.retry_window) => {
            let strange = (source != family.source).then(|| strange_retry(family));
            match strange {
                Some(strange) if strange.in_a_row > STRANGE_RETRIES => Standing::Reused,
                strange => Standing::Retry { strange },
            }
        }
        Presenter::Public { source } if within(rules.retry_window_public) && source == family.source => {
            if family.retries < PUBLIC_RETRIES {
                Standing::Retry { strange: None }
            } else {
                // Many parallel requests of one honest client end here, so the family lives on.
                Standing::Worthless(GrantFailure::TooManyRetries)
            }
        }
        Presenter::Confidential { .. } | Presenter::Public { .. } => Standing::Reused,
    }
}

/// One more retry from elsewhere; several in one generation count once.
fn strange_retry(family: &Family) -> StrangeRetry {
    let in_a_row = match family.strange {
        Some(last) if last.generation == family.generation => last.in_a_row,
        Some(last) if last.generation.checked_add(1) == Some(family.generation) => last.in_a_row + 1,
        Some(_) | None => 1,
    };
    StrangeRetry { generation: family.generation, in_a_row }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{FamilyId, UserId};
    use crate::model::scope::Scope;
    use crate::model::session::{FamilySecret, RevocationReason};
    use crate::model::status::StatusIndex;

    const RULES: FamilyRules = FamilyRules {
        idle_ttl: Ttl::from_secs(1000),
        retry_window: Ttl::from_secs(100),
        retry_window_public: Ttl::from_secs(10),
    };

    const CONFIDENTIAL: Presenter<'_> = Presenter::Confidential { source: "192.0.2.1" };

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
            jkt: None,
            strange: None,
            auth_time: Timestamp::from_secs(0),
            rotated_at: Timestamp::from_secs(1000),
            expires_at: Timestamp::from_secs(5000),
            status_index: StatusIndex::new(0),
            revoked: None,
        }
    }

    #[test]
    fn a_token_stands_by_generation_time_and_presenter() {
        use Presenter::Public;
        use Standing::{Live, Reused, Worthless};
        const RETRY: Standing = Standing::Retry { strange: None };
        let (home, away) = (Public { source: "192.0.2.1" }, Public { source: "198.51.100.9" });
        for (generation, presenter, at, expected) in [
            (5, CONFIDENTIAL, 1000, Live),
            (5, away, 1500, Live),
            (4, CONFIDENTIAL, 1099, RETRY),
            (4, CONFIDENTIAL, 1100, Reused),
            (4, home, 1009, RETRY),
            (4, home, 1010, Reused),
            (4, away, 1001, Reused),
            (3, CONFIDENTIAL, 1001, Reused),
            (0, home, 1001, Reused),
            (6, CONFIDENTIAL, 1001, Worthless(GrantFailure::UnknownToken)),
            (5, CONFIDENTIAL, 2000, Worthless(GrantFailure::Expired)),
            (4, CONFIDENTIAL, 2000, Worthless(GrantFailure::Expired)),
            (5, CONFIDENTIAL, 900, Live),
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

        let stand = |family: &Family, g| standing(family, g, CONFIDENTIAL, &RULES, at);

        assert_eq!(stand(&expired, 5), Standing::Worthless(GrantFailure::Expired));
        assert_eq!(stand(&revoked, 5), Standing::Worthless(GrantFailure::Revoked));
        assert_eq!(stand(&revoked, 1), Standing::Worthless(GrantFailure::Revoked));
    }

    #[test]
    fn a_window_of_zero_means_no_retry() {
        let rules = FamilyRules { retry_window: Ttl::ZERO, retry_window_public: Ttl::ZERO, ..RULES };
        let at = Timestamp::from_secs(1000);

        for presenter in [CONFIDENTIAL, Presenter::Public { source: "192.0.2.1" }] {
            assert_eq!(standing(&family(), 4, presenter, &rules, at), Standing::Reused);
        }
    }

    #[test]
    fn two_who_live_on_one_family_are_told_apart_in_the_third_generation() {
        let away = Presenter::Confidential { source: "198.51.100.9" };
        let stand = |strange, presenter| {
            let family = Family { strange, ..family() };
            standing(&family, 4, presenter, &RULES, Timestamp::from_secs(1001))
        };
        let strange = |generation, in_a_row| Some(StrangeRetry { generation, in_a_row });

        assert_eq!(stand(None, away), Standing::Retry { strange: strange(5, 1) });
        // Asked for twice in one generation, it counts once.
        assert_eq!(stand(strange(5, 2), away), Standing::Retry { strange: strange(5, 2) });
        assert_eq!(stand(strange(4, 1), away), Standing::Retry { strange: strange(5, 2) });
        assert_eq!(stand(strange(4, 2), away), Standing::Reused);
        // A generation without one in between, or from where the token was asked for: a client that moves.
        assert_eq!(stand(strange(3, 2), away), Standing::Retry { strange: strange(5, 1) });
        assert_eq!(stand(strange(4, 2), CONFIDENTIAL), Standing::Retry { strange: None });
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
