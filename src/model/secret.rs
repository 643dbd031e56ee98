//! Secrets as types: a plain one cannot be stored or printed, a hashed one cannot be shown.
//!
//! Every secret made here has a prefix, so that scanners find leaks, and ends in a checksum, so that
//! a mistyped or cut one is told from a wrong one without asking the database.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize, Zeroizing};

/// The prefix of client secrets that grantd made.
pub const CLIENT_SECRET_PREFIX: &str = "gcs_";
/// The prefix of refresh tokens.
pub const REFRESH_TOKEN_PREFIX: &str = "grt_";

const CHECKSUM_LENGTH: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A secret in the clear: a client secret, a password, a token. Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PlainSecret(Zeroizing<String>);

impl PlainSecret {
    /// Takes a secret in; the caller gives its only copy away.
    pub fn new(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The secret itself. Never hand it to a formatter of logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PlainSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainSecret(..)")
    }
}

/// A client secret as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub enum HashedSecret {
    /// HMAC-SHA-256 under a key of the server's; for secrets with enough entropy.
    Hmac([u8; 32]),
    /// An Argon2id PHC string; for weak secrets that were brought in from elsewhere.
    Argon2(String),
}

impl fmt::Debug for HashedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hmac(_) => f.write_str("HashedSecret::Hmac(..)"),
            Self::Argon2(_) => f.write_str("HashedSecret::Argon2(..)"),
        }
    }
}

/// Writes `prefix`, `body` in base64url and the checksum of both.
pub fn encode_checked(prefix: &str, body: &[u8]) -> PlainSecret {
    let capacity = prefix.len() + body.len().div_ceil(3) * 4 + CHECKSUM_LENGTH;
    let mut text = String::with_capacity(capacity);
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(body, &mut text);
    let sum = checksum(text.as_bytes());
    text.extend(sum.iter().map(|digit| char::from(*digit)));
    PlainSecret::new(text)
}

/// The `N` bytes inside a text made by [`encode_checked`], or `None` if anything about it is off.
pub fn decode_checked<const N: usize>(prefix: &str, text: &str) -> Option<Zeroizing<[u8; N]>> {
    let split = text.len().checked_sub(CHECKSUM_LENGTH)?;
    let (payload, sum) = text.as_bytes().split_at_checked(split)?;
    if checksum(payload) != sum {
        return None;
    }
    let encoded = payload.strip_prefix(prefix.as_bytes())?;
    let mut body = Zeroizing::new([0u8; N]);
    let decoded = URL_SAFE_NO_PAD.decode_slice(encoded, body.as_mut_slice());
    if decoded != Ok(N) {
        body.zeroize();
        return None;
    }
    Some(body)
}

fn checksum(payload: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(payload);
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// How much a secret that was brought in from elsewhere can be trusted to resist guessing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// Long and varied enough that a fast keyed hash protects it.
    Strong,
    /// Guessable; only a slow hash protects it.
    Weak,
}

/// Why a secret from elsewhere is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusableSecret {
    /// Too short to be a secret at all.
    #[error(
        "the secret is shorter than 8 characters: bring a longer one, or leave it out and let grantd make one"
    )]
    TooShort,
    /// Longer than any client sends.
    #[error(
        "the secret is longer than 256 characters: bring a shorter one, or leave it out and let grantd make one"
    )]
    TooLong,
    /// Contains a character that HTTP Basic encodes in two ways.
    #[error(
        "the secret contains a character outside A-Z a-z 0-9 . _ ~ -, which HTTP clients encode in different ways: bring another one, or leave it out and let grantd make one"
    )]
    Character,
}

/// Judges a client secret that was brought in from elsewhere.
pub fn judge_foreign_secret(secret: &str) -> Result<Strength, UnusableSecret> {
    if secret.len() < 8 {
        return Err(UnusableSecret::TooShort);
    }
    if secret.len() > 256 {
        return Err(UnusableSecret::TooLong);
    }
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
    if !secret.bytes().all(unreserved) {
        return Err(UnusableSecret::Character);
    }
    let mut seen = [false; 128];
    for byte in secret.bytes() {
        seen[usize::from(byte)] = true;
    }
    let distinct = seen.iter().filter(|seen| **seen).count();
    if secret.len() >= 32 && distinct >= 10 { Ok(Strength::Strong) } else { Ok(Strength::Weak) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checked_secret_reads_back_and_any_changed_character_is_seen() {
        let secret = encode_checked(CLIENT_SECRET_PREFIX, &[7; 32]);
        let text = secret.expose().to_owned();

        assert_eq!(decode_checked::<32>(CLIENT_SECRET_PREFIX, &text).as_deref(), Some(&[7; 32]));
        assert!(decode_checked::<31>(CLIENT_SECRET_PREFIX, &text).is_none());
        assert!(decode_checked::<32>(REFRESH_TOKEN_PREFIX, &text).is_none());
        for at in 0..text.len() {
            let mut broken = text.clone().into_bytes();
            broken[at] = if broken[at] == b'x' { b'y' } else { b'x' };
            let broken = String::from_utf8(broken).expect("ascii");
            assert!(decode_checked::<32>(CLIENT_SECRET_PREFIX, &broken).is_none(), "{at}");
        }
    }

    #[test]
    fn nonsense_is_no_secret() {
        for text in ["", "gcs_", "gcs_ä", "äääääää", "gcs_000000", "grt_AAAA"] {
            assert!(decode_checked::<32>(CLIENT_SECRET_PREFIX, text).is_none(), "{text}");
        }
    }

    #[test]
    fn debug_never_shows_a_secret() {
        let secret = PlainSecret::new("canary".into());

        assert!(!format!("{secret:?}").contains("canary"));
        assert!(!format!("{:?}", HashedSecret::Argon2("canary".into())).contains("canary"));
    }

    #[test]
    fn brought_in_secrets_are_judged() {
        assert_eq!(judge_foreign_secret("short"), Err(UnusableSecret::TooShort));
        assert_eq!(judge_foreign_secret("has a space in it"), Err(UnusableSecret::Character));
        assert_eq!(judge_foreign_secret(&"a".repeat(300)), Err(UnusableSecret::TooLong));
        assert_eq!(judge_foreign_secret("change-me"), Ok(Strength::Weak));
        assert_eq!(judge_foreign_secret(&"ab".repeat(30)), Ok(Strength::Weak));
        assert_eq!(judge_foreign_secret("k3Yq9-ZpW_x7Lm2.Tt5~Vb8Nc4Rd6Sf1gHj"), Ok(Strength::Strong));
    }
}
