//! Signing keys as facts: which algorithm, which state, since when.

use std::fmt;
use std::str::FromStr;

use super::id::excerpt;
use super::time::{Timestamp, Ttl};

/// The `typ` of every access token, RFC 9068 §2.1: the one spelling that is written and taken.
pub const ACCESS_TOKEN_TYP: &str = "at+jwt";

/// A signature algorithm of RFC 7518 §3.1 or RFC 8037 that grantd signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SigningAlgorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// Ed25519.
    EdDsa,
}

impl SigningAlgorithm {
    /// Every algorithm, in the order of `--help` and the metadata.
    pub const ALL: [Self; 5] = [Self::Es256, Self::Rs256, Self::Ps256, Self::EdDsa, Self::Es384];

    /// The name in `alg`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for SigningAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not a signing algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a signing algorithm here: use ES256, RS256, PS256, EdDSA or ES384")]
pub struct InvalidAlgorithm(String);

impl FromStr for SigningAlgorithm {
    type Err = InvalidAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| InvalidAlgorithm(excerpt(text)))
    }
}

/// A key id: the RFC 7638 thumbprint of the public key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(String);

impl Kid {
    /// Takes a thumbprint as it was computed or stored.
    pub const fn new(thumbprint: String) -> Self {
        Self(thumbprint)
    }

    /// The id as it stands in the JWT header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a key is in its life. A key that is gone has no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, not signing yet.
    Pending {
        /// When it may sign.
        activates_at: Timestamp,
    },
    /// Published and signing.
    Active {
        /// Since when it signs.
        since: Timestamp,
    },
    /// Published until the last token it signed has expired.
    Retired {
        /// Since when it does not sign.
        since: Timestamp,
        /// When it leaves the JWKS.
        until: Timestamp,
    },
}

impl KeyState {
    /// The state's name, as `key list` prints it and the database holds it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Active { .. } => "active",
            Self::Retired { .. } => "retired",
        }
    }
}

/// A signing key without its private half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKeyInfo {
    /// Its id.
    pub kid: Kid,
    /// What it signs with.
    pub algorithm: SigningAlgorithm,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// The longest life of any token it may have signed, which only ever grows.
    pub longest_ttl: Ttl,
}
