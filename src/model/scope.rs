//! Scopes, RFC 6749 §3.3: unordered, case-sensitive, no repeats.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::id::excerpt;

/// A set of scope tokens; may be empty. Prints sorted, joined by single spaces.
// Which is also how it is kept: it is handed on and printed with every token, and taken apart seldom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope(Option<Arc<str>>);

/// Why a text is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a scope: write names of visible ASCII characters (no quote, no backslash), separated by single spaces"
)]
pub struct InvalidScope(String);

impl Scope {
    /// The scope of nobody.
    pub const fn empty() -> Self {
        Self(None)
    }

    /// The tokens in order, separated by spaces.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether nothing is in it.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many tokens are in it.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether `token` is in it.
    pub fn contains(&self, token: &str) -> bool {
        self.iter().any(|own| own == token)
    }

    /// The tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|text| text.split(' '))
    }

    /// Whether every token of this is in `other`.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self == other || self.common(other).count() == self.len()
    }

    /// The tokens that are in both.
    pub fn intersection(&self, other: &Self) -> Self {
        Self::of_sorted(self.common(other))
    }

    /// The tokens that `keep` agrees to.
    pub fn filter(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        Self::of_sorted(self.iter().filter(|token| keep(token)))
    }

    /// Both are in order, so one pass will do.
    fn common<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let mut others = other.iter().peekable();
        self.iter().filter(move |token| {
            while others.next_if(|other| other.cmp(token) == Ordering::Less).is_some() {}
            others.peek() == Some(token)
        })
    }

    fn of_sorted<'a>(tokens: impl Iterator<Item = &'a str>) -> Self {
        let text = tokens.collect::<Vec<_>>().join(" ");
        Self((!text.is_empty()).then(|| text.into()))
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::empty());
        }
        // RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
        let is_legal = |token: &str| {
            !token.is_empty() && token.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
        };
        if !text.split(' ').all(is_legal) {
            return Err(InvalidScope(excerpt(text)));
        }
        // What was stored or printed by us.
        if text.split(' ').is_sorted_by(|one, next| one < next) {
            return Ok(Self(Some(text.into())));
        }
        let mut tokens: Vec<&str> = text.split(' ').collect();
        tokens.sort_unstable();
        tokens.dedup();
        Ok(Self::of_sorted(tokens.into_iter()))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
        fn sets_of_tokens_do_what_sets_do(one in "[a-c]{0,2}( [a-c]{1,2}){0,5}", other in "[a-c]{0,2}( [a-c]{1,2}){0,5}") {
            let set = |text: &str| text.split(' ').filter(|t| !t.is_empty()).map(str::to_owned).collect::<BTreeSet<_>>();
            let back = |scope: &Scope| scope.iter().map(str::to_owned).collect::<BTreeSet<_>>();
            let (a, b) = (set(&one), set(&other));
            let parse = |text: &str| text.trim_start().parse::<Scope>().expect("legal");
            let (x, y) = (parse(&one), parse(&other));

            proptest::prop_assert_eq!(back(&x), a.clone());
            proptest::prop_assert_eq!(x.len(), a.len());
            proptest::prop_assert_eq!(back(&x.intersection(&y)), a.intersection(&b).cloned().collect::<BTreeSet<_>>());
            proptest::prop_assert_eq!(x.is_subset_of(&y), a.is_subset(&b));
            proptest::prop_assert_eq!(back(&x.filter(|t| y.contains(t))), back(&x.intersection(&y)));
            proptest::prop_assert_eq!(x == y, a == b);
            proptest::prop_assert_eq!(x.is_empty(), a.is_empty());
        }

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
