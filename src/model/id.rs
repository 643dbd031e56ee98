//! Identifiers, each its own type, so that one is never passed for another.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A client identifier, RFC 6749 §2.2, of 1 to 128 characters from `[A-Za-z0-9._~-]`.
///
/// The set is narrower than the RFC's, so that percent-encoded and raw HTTP Basic read the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(String);

/// Why a text is not a client id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a client id: use 1 to 128 characters from A-Z a-z 0-9 . _ ~ - (other characters are encoded in different ways by different HTTP clients), and not in the form of a UUID (user ids are)"
)]
pub struct InvalidClientId(String);

impl ClientId {
    /// The id as it was registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = InvalidClientId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // RFC 9068 §5: the subject of a client must not be taken for a user's, whose ids look like this.
        if is_plain_name(text) && Uuid::try_parse(text).is_err() {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidClientId(excerpt(text)))
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` has 1 to 128 characters, all of RFC 3986 §2.3 "unreserved".
pub(super) fn is_plain_name(text: &str) -> bool {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(unreserved)
}

/// The start of a refused text, fit to be repeated in a sentence.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(40).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Makes an id of 16 random bytes.
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }

            /// The id's bytes, as a refresh token carries them.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Takes the bytes that [`Self::as_bytes`] gave.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match Uuid::try_parse(text) {
                    Ok(uuid) => Ok(Self(uuid)),
                    Err(_) => Err(InvalidId(excerpt(text))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

/// Why a text is not an id that grantd made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not an id: it looks like 7f0e5c1a-3d3b-4a53-9f6e-0c4f6f3c2b11, copy it from a list command"
)]
pub struct InvalidId(String);

opaque_id! {
    /// A user's opaque id, the `sub` of their tokens; never reused, tells nothing.
    UserId
}

opaque_id! {
    /// The id of a refresh-token family, called a session by the CLI.
    FamilyId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_keep_to_characters_that_every_client_encodes_alike() {
        for good in ["a", "my-app", "A.b_c~d-9", &"x".repeat(128)] {
            assert!(good.parse::<ClientId>().is_ok(), "{good}");
        }
        for bad in [
            "7f0e5c1a-3d3b-4a53-9f6e-0c4f6f3c2b11",
            "",
            "a b",
            "a:b",
            "ä",
            "a%20b",
            "a/b",
            &"x".repeat(129),
            "a\0",
        ] {
            assert!(bad.parse::<ClientId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_opaque_id_survives_text_and_bytes() {
        let id = FamilyId::from_random([9; 16]);

        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(FamilyId::from_bytes(*id.as_bytes()), id);
        assert!("../../etc/passwd".parse::<UserId>().is_err());
    }
}
