//! Scopes, RFC 6749 §3.3: unordered, case-sensitive, no repeats.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::id::excerpt;

/// One scope token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeToken(Box<str>);

impl ScopeToken {
    /// The token's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ScopeToken {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A set of scope tokens; may be empty. Prints sorted, joined by single spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope(BTreeSet<ScopeToken>);

/// Why a text is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a scope: write names of visible ASCII characters (no quote, no backslash), separated by single spaces"
)]
pub struct InvalidScope(String);

impl Scope {
    /// The scope of nobody.
    pub const fn empty() -> Self {
        Self(BTreeSet::new())
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many tokens are in it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `token` is in it.
    pub fn contains(&self, token: &str) -> bool {
        self.0.contains(token)
    }

    /// The tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = &ScopeToken> {
        self.0.iter()
    }

    /// Whether every token of this is in `other`.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// The tokens that are in both.
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// The tokens that `keep` agrees to.
    pub fn filter(&self, mut keep: impl FnMut(&ScopeToken) -> bool) -> Self {
        Self(self.0.iter().filter(|token| keep(token)).cloned().collect())
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    /// The empty text is the empty scope; else RFC 6749 §3.3 to the letter.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::empty());
        }
        text.split(' ')
            .map(|token| {
                // RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
                let legal =
                    !token.is_empty() && token.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
                if legal { Ok(ScopeToken(token.into())) } else { Err(InvalidScope(excerpt(text))) }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&token.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_sorted_set() {
        let scope: Scope = "write read write".parse().expect("legal");

        assert_eq!(scope.to_string(), "read write");
        assert!(scope.contains("read") && !scope.contains("rea"));
    }

    #[test]
    fn malformed_scopes_are_refused() {
        for text in [" ", " read", "read ", "read  write", "re\"ad", "re\\ad", "rea\u{e4}", "a\tb", "a\0"] {
            assert!(text.parse::<Scope>().is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_parses_prints_back_to_itself(text in "[ -~\u{e4}\n]{0,40}") {
            if let Ok(scope) = text.parse::<Scope>() {
                proptest::prop_assert_eq!(scope.to_string().parse::<Scope>(), Ok(scope.clone()));
                let tokens: BTreeSet<&str> = text.split(' ').filter(|t| !t.is_empty()).collect();
                proptest::prop_assert_eq!(scope.len(), tokens.len());
            }
        }
    }
}
