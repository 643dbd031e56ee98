//! People who log in with a name and a password.

use std::fmt;
use std::str::FromStr;

use precis_profiles::UsernameCaseMapped;
use precis_profiles::precis_core::profile::PrecisFastInvocation as _;

use super::id::{UserId, excerpt};
use super::role::RoleName;
use super::time::Timestamp;

/// A user name as RFC 8265 §3.3 (UsernameCaseMapped) prepares it: lower case, one Unicode form, no
/// spaces. `Alice`, `alice` and full-width `ａｌｉｃｅ` are one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(String);

/// Why a text is not a user name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a user name: use 1 to 255 bytes of letters, digits and ASCII signs, without spaces (RFC 8265 UsernameCaseMapped)"
)]
pub struct InvalidUsername(String);

impl Username {
    /// The prepared name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Username {
    type Err = InvalidUsername;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidUsername(excerpt(text));
        if text.is_empty() || text.len() > 255 {
            return Err(invalid());
        }
        // The profile is idempotent for what we keep: a name that changes when prepared again is refused.
        let prepared = UsernameCaseMapped::enforce(text).map_err(|_| invalid())?;
        let again = UsernameCaseMapped::enforce(prepared.as_ref()).map_err(|_| invalid())?;
        if prepared.is_empty() || prepared.len() > 255 || prepared != again {
            return Err(invalid());
        }
        Ok(Self(prepared.into_owned()))
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A person's account.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The opaque id, `sub` of their tokens.
    pub id: UserId,
    /// The name they log in with.
    pub username: Username,
    /// Their e-mail address, as the operator wrote it.
    pub email: Option<String>,
    /// Their full name.
    pub name: Option<String>,
    /// The roles they hold, sorted.
    pub roles: Vec<RoleName>,
    /// The PHC or crypt string of their password.
    pub password_hash: String,
    /// Since when they are switched off.
    pub disabled_at: Option<Timestamp>,
    /// When they were registered.
    pub created_at: Timestamp,
    /// When they last logged in with their password.
    pub last_login_at: Option<Timestamp>,
}

impl User {
    /// Whether they may act at all.
    pub const fn is_enabled(&self) -> bool {
        self.disabled_at.is_none()
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_one_name() {
        for (text, prepared) in [
            ("Alice", "alice"),
            ("alice@Example.COM", "alice@example.com"),
            ("\u{ff41}lice", "alice"),
            ("J\u{fc}rgen", "j\u{fc}rgen"),
            ("Ju\u{308}rgen", "j\u{fc}rgen"),
        ] {
            assert_eq!(text.parse::<Username>().map(|name| name.0), Ok(prepared.to_owned()), "{text}");
        }
    }

    #[test]
    fn names_that_deceive_or_break_are_refused() {
        for text in ["", "a b", "a\0b", "a\nb", "\u{200b}", "\u{202e}ecila", &"x".repeat(256), "\u{2028}"] {
            assert!(text.parse::<Username>().is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_what_is_kept_is_stable(text in "\\PC{0,20}|.{0,20}") {
            if let Ok(name) = text.parse::<Username>() {
                proptest::prop_assert_eq!(name.as_str().parse::<Username>(), Ok(name.clone()));
            }
        }
    }
}
