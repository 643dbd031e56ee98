//! Which passwords are taken, and the one form in which they are hashed (RFC 8265, OpaqueString).
//!
//! Must not know hashes: what comes out of here is a plain secret, ready to be hashed or checked.

use precis_profiles::OpaqueString;
use precis_profiles::precis_core::Error as PrecisError;
use precis_profiles::precis_core::profile::{Profile, Rules};
use zeroize::Zeroizing;

use crate::model::secret::PlainSecret;

/// NFC shortens UTF-8 to no less than a third (four 2-byte code points become one of 3 bytes), so
/// longer input than this many times the limit cannot fit and is not worth the work of preparing.
const SHRINKS_AT_MOST: usize = 3;

/// RFC 8264 §7: the rules are applied again until nothing changes, three more times at most.
const ROUNDS: usize = 1 + 3;

/// How long a password may be. Both limits count the prepared form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// Fewest characters (Unicode code points) of a new password.
    pub min_length: usize,
    /// Most bytes (UTF-8) of any password; bounds the work that a stranger can ask for.
    pub max_length: usize,
}

/// Why a new password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedPassword {
    /// RFC 8265 §4.2.2: an empty password is no password.
    #[error("the password is empty: choose one")]
    Empty,
    /// Fewer characters than the policy wants.
    #[error("the password is shorter than {0} characters: choose a longer one")]
    TooShort(usize),
    /// More bytes than the policy allows.
    #[error("the password is longer than {0} bytes in UTF-8: choose a shorter one")]
    TooLong(usize),
    /// RFC 8264 §4.3 (FreeformClass) has no place for this code point; counted from 1.
    ///
    /// Unassigned ones have none either, and the tables of `precis-core` are those that IANA's
    /// registry began with, Unicode 6.3: anything newer is refused.
    #[error(
        "character {0} of the password cannot be used, because it is a control character, an invisible one, or one that systems do not agree on, such as a recent emoji: leave it out or choose another"
    )]
    Character(usize),
    /// RFC 5892 appendix A: such a character needs neighbours, and stands at an end of the password.
    #[error(
        "the password begins or ends with a character that may only stand between certain others, such as a joiner: leave it out"
    )]
    Edge,
    /// RFC 8264 §7: preparing it again and again gives something else each time.
    #[error("the password has no stable form in Unicode: choose one without rare compatibility characters")]
    Unstable,
}

impl PasswordPolicy {
    /// The prepared form of a new password, or why it is not taken.
    pub fn prepare_for_setting(&self, password: &str) -> Result<PlainSecret, RefusedPassword> {
        let prepared = self.prepare(password)?;
        if prepared.expose().chars().count() < self.min_length {
            return Err(RefusedPassword::TooShort(self.min_length));
        }
        Ok(prepared)
    }

    /// The prepared form of a password to check, or `None` when no stored password can be equal.
    ///
    /// The least length is not asked for: a raised policy must lock nobody out. The caller spends a
    /// hash on `None` too (as for an unknown user), so that the time does not say why it failed.
    pub fn prepare_for_login(&self, password: &str) -> Option<PlainSecret> {
        self.prepare(password).ok()
    }

    fn prepare(&self, password: &str) -> Result<PlainSecret, RefusedPassword> {
        // Before the profile: its context rules read the whole text for some characters, which a
        // stranger could make quadratic.
        if password.len() > self.max_length.saturating_mul(SHRINKS_AT_MOST) {
            return Err(RefusedPassword::TooLong(self.max_length));
        }
        let prepared = opaque_string(password)?;
        if prepared.expose().len() > self.max_length {
            return Err(RefusedPassword::TooLong(self.max_length));
        }
        Ok(prepared)
    }
}

/// RFC 8265 §4.2.2, step by step instead of `OpaqueString::enforce`, so that every copy is wiped.
fn opaque_string(password: &str) -> Result<PlainSecret, RefusedPassword> {
    let profile = OpaqueString::new();
    let mut current = Zeroizing::new(password.to_owned());
    for _ in 0..ROUNDS {
        profile.prepare(current.as_str()).map_err(refusal)?;
        let spaces_mapped = profile.additional_mapping_rule(current.as_str()).map_err(refusal)?;
        let spaces_mapped = Zeroizing::new(spaces_mapped.into_owned());
        let composed = profile.normalization_rule(spaces_mapped.as_str()).map_err(refusal)?;
        let mut composed = Zeroizing::new(composed.into_owned());
        if composed == current {
            return Ok(PlainSecret::new(std::mem::take(&mut *composed)));
        }
        current = composed;
    }
    Err(RefusedPassword::Unstable)
}

/// Keeps the position and drops the code point: it is a part of the password.
fn refusal(error: PrecisError) -> RefusedPassword {
    use precis_profiles::precis_core::UnexpectedError as Unexpected;
    match error {
        PrecisError::Invalid => RefusedPassword::Empty,
        PrecisError::BadCodepoint(at)
        | PrecisError::Unexpected(
            Unexpected::ContextRuleNotApplicable(at) | Unexpected::MissingContextRule(at),
        ) => RefusedPassword::Character(at.position.saturating_add(1)),
        PrecisError::Unexpected(Unexpected::Undefined | Unexpected::ProfileRuleNotApplicable) => {
            RefusedPassword::Edge
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: PasswordPolicy = PasswordPolicy { min_length: 8, max_length: 64 };

    fn set(password: &str) -> Result<String, RefusedPassword> {
        POLICY.prepare_for_setting(password).map(|secret| secret.expose().to_owned())
    }

    fn login(password: &str) -> Option<String> {
        POLICY.prepare_for_login(password).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn the_examples_of_rfc_8265_section_4_3_hold() {
        // Table 3: case, spaces and symbols are kept; non-ASCII spaces become U+0020.
        assert_eq!(set("correct horse battery staple").as_deref(), Ok("correct horse battery staple"));
        assert_eq!(set("Correct Horse Battery Staple").as_deref(), Ok("Correct Horse Battery Staple"));
        assert_eq!(login("\u{3c0}\u{df}\u{e5}").as_deref(), Some("\u{3c0}\u{df}\u{e5}"));
        assert_eq!(set("Jack of \u{2666}s").as_deref(), Ok("Jack of \u{2666}s"));
        assert_eq!(set("foo\u{1680}bar").as_deref(), Err(&RefusedPassword::TooShort(8)));
        assert_eq!(login("foo\u{1680}bar").as_deref(), Some("foo bar"));

        // Table 4: the empty string and a control character.
        assert_eq!(set(""), Err(RefusedPassword::Empty));
        assert_eq!(set("my cat is a \u{9}by"), Err(RefusedPassword::Character(13)));
    }

    #[test]
    fn one_password_typed_on_two_keyboards_is_the_same_bytes() {
        let composed = "p\u{e4}sswort\u{20}\u{212b}";
        let decomposed = "pa\u{308}sswort\u{a0}A\u{30a}";

        assert_eq!(set(composed), set(decomposed));
        assert_eq!(set(composed).as_deref(), Ok("p\u{e4}sswort \u{c5}"));
        assert_eq!(login(composed), login(decomposed));
    }

    #[test]
    fn compatibility_characters_and_case_are_kept() {
        // NFC, not NFKC: a ligature and full-width letters stay what they are.
        assert_eq!(set("\u{fb01}re\u{ff21}LARM!!").as_deref(), Ok("\u{fb01}re\u{ff21}LARM!!"));
    }

    #[test]
    fn control_characters_are_refused_by_position_and_never_named() {
        for (password, position) in [
            ("long enough\0", 12),
            ("\nlong enough", 1),
            ("long\u{7f}enough", 5),
            ("l\u{e4}ng\u{200b}enough", 5),
        ] {
            assert_eq!(set(password), Err(RefusedPassword::Character(position)), "{password:?}");
            assert_eq!(login(password), None, "{password:?}");
        }
        let sentence = RefusedPassword::Character(5).to_string();
        assert!(sentence.starts_with("character 5 of the password cannot be used"), "{sentence}");
    }

    #[test]
    fn characters_newer_than_the_tables_are_refused_and_older_emoji_are_not() {
        assert!(set("long enough \u{1f435}").is_ok());
        assert_eq!(set("long enough \u{1f979}"), Err(RefusedPassword::Character(13)));
    }

    #[test]
    fn a_character_that_needs_neighbours_is_refused_at_the_edge() {
        assert_eq!(set("\u{b7}long enough"), Err(RefusedPassword::Edge));
        assert_eq!(set("para\u{b7}lel is wrong"), Err(RefusedPassword::Character(5)));
        assert!(set("paral\u{b7}lel is right").is_ok());
    }

    #[test]
    fn a_character_that_becomes_a_forbidden_one_is_refused_too() {
        // U+0387 is U+00B7 in NFC, which only stands between two l: one pass of the rules lets it by.
        assert_eq!(set("long\u{387}enough"), Err(RefusedPassword::Character(5)));
        assert!(set("paral\u{387}lel is right").is_ok());
    }

    #[test]
    fn the_least_length_counts_characters_and_only_for_new_passwords() {
        assert!(set("\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}").is_ok());
        assert_eq!(set("1234567"), Err(RefusedPassword::TooShort(8)));
        assert_eq!(login("1234567").as_deref(), Some("1234567"));
    }

    #[test]
    fn the_greatest_length_counts_bytes_of_the_prepared_form() {
        assert!(set(&"a".repeat(64)).is_ok());
        assert_eq!(set(&"a".repeat(65)), Err(RefusedPassword::TooLong(64)));
        assert_eq!(set(&"\u{e4}".repeat(33)), Err(RefusedPassword::TooLong(64)));
        assert_eq!(login(&"a".repeat(65)), None);

        let decomposed = "\u{3b1}\u{313}\u{300}\u{345}".repeat(21);
        assert_eq!(decomposed.len(), 168);
        assert_eq!(set(&decomposed).map(|prepared| prepared.len()), Ok(63));
    }

    /// Characters with rules of their own, so that random text meets them.
    fn odd_characters() -> impl Strategy<Value = String> {
        let special = prop::sample::select(vec![
            'l',
            'a',
            '\u{0}',
            '\u{b7}',
            '\u{300}',
            '\u{345}',
            '\u{375}',
            '\u{387}',
            '\u{3b1}',
            '\u{5d0}',
            '\u{5f3}',
            '\u{628}',
            '\u{660}',
            '\u{6f0}',
            '\u{70f}',
            '\u{94d}',
            '\u{1100}',
            '\u{200c}',
            '\u{200d}',
            '\u{2000}',
            '\u{30a2}',
            '\u{30fb}',
            '\u{fdd0}',
            '\u{1f979}',
            '\u{10ffff}',
        ]);
        prop::collection::vec(prop_oneof![special, any::<char>()], 0..24)
            .prop_map(|characters| characters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_a_prepared_password_stays_as_it_is(text in odd_characters()) {
            if let Ok(prepared) = set(&text) {
                prop_assert_eq!(set(&prepared), Ok(prepared.clone()));
                prop_assert_eq!(login(&text), Some(prepared));
            }
        }

        #[test]
        fn what_can_be_set_can_be_used_to_log_in(text in "\\PC{0,40}") {
            if let Ok(prepared) = set(&text) {
                prop_assert_eq!(login(&text), Some(prepared));
            }
        }
    }
}
