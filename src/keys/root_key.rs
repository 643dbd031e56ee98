//! The root key of a database, from which every other key is derived, and its seal: the encryption key can be
//! exchanged without anything that was ever made with a derived key. Must not know where it is kept.

use std::fmt;

use zeroize::Zeroizing;

use super::encryption_key::{EncryptionKey, LENGTH, derive_from};
use super::sealing::{Seal, SealError};

/// The 32 bytes that everything secret in a database depends on. Wiped from memory when dropped.
pub struct RootKey(Zeroizing<[u8; LENGTH]>);

/// What a derived key is for. Each purpose has its own, so that no key is ever used in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// AES-256-GCM over private signing keys.
    SigningKeys,
    /// HMAC-SHA-256 over client secrets.
    ClientSecrets,
    /// HMAC-SHA-256 inside refresh tokens.
    RefreshTokens,
    /// HMAC-SHA-256 over the names of failed logins.
    LoginFailures,
    /// HMAC-SHA-256 that chains the rows of the audit.
    Audit,
    /// HMAC-SHA-256 that scatters status indexes.
    StatusIndexes,
    /// HMAC-SHA-256 that makes the nonces of DPoP.
    DpopNonces,
    /// HMAC-SHA-256 over API keys.
    ApiKeys,
}

impl Purpose {
    /// The `info` of RFC 5869 §2.3. A changed text makes every existing database unreadable.
    const fn info(self) -> &'static [u8] {
        match self {
            Self::SigningKeys => b"grantd v1 signing keys",
            Self::ClientSecrets => b"grantd v1 client secrets",
            Self::RefreshTokens => b"grantd v1 refresh tokens",
            Self::LoginFailures => b"grantd v1 login failures",
            Self::Audit => b"grantd v1 audit",
            Self::StatusIndexes => b"grantd v1 status indexes",
            Self::DpopNonces => b"grantd v1 dpop nonces",
            Self::ApiKeys => b"grantd v1 api keys",
        }
    }
}

/// Binds sealed bytes to what they are.
const ASSOCIATED: &[u8] = b"grantd root key\x01";

impl RootKey {
    /// Takes bytes that came from the random source.
    pub fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The root key of a database of the first schema, whose keys were derived from its encryption key.
    pub fn of_first_schema(key: &EncryptionKey) -> Self {
        Self(key.bytes())
    }

    /// The key for one purpose, by HKDF-SHA-256 (RFC 5869).
    pub fn derive(&self, purpose: Purpose) -> Zeroizing<[u8; 32]> {
        derive_from(&self.0, purpose.info())
    }

    /// Seals it under an encryption key.
    pub fn seal(&self, under: &EncryptionKey) -> Vec<u8> {
        Seal::new(&under.root_key_seal()).seal(self.0.as_slice(), ASSOCIATED)
    }

    /// Opens what [`RootKey::seal`] made under the same encryption key.
    ///
    /// # Errors
    /// If anything about the bytes or the key is different.
    pub fn open(sealed: &[u8], under: &EncryptionKey) -> Result<Self, SealError> {
        let plain = Seal::new(&under.root_key_seal()).open(sealed, ASSOCIATED)?;
        let bytes = plain.as_slice().try_into().map_err(|_| SealError::Refused)?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn derived_keys_never_change_because_databases_depend_on_them() {
        let key = RootKey::from_bytes(std::array::from_fn(|i| i as u8));

        let derived = |purpose| base64::engine::general_purpose::STANDARD.encode(*key.derive(purpose));

        // Computed independently with Python's hmac module from RFC 5869 §2.
        assert_eq!(derived(Purpose::SigningKeys), "Tzl8WNTJR/MG4TkflzUx/lXgfE96qfFRvTNKzJnHHYs=");
        assert_eq!(derived(Purpose::ClientSecrets), "FBq7WSKzLndDZGCg3ioeOVpIEaovaKeTwph+yYSqkCE=");
        assert_eq!(derived(Purpose::RefreshTokens), "EnYsNSiTmd4kg0jxJZdlZnKzfQ3f9FtWG2vsZA3lzXE=");
        assert_eq!(derived(Purpose::Audit), "FuhRF/jckQq5hnqoEs5SEERc7ndRuvw6kjpKKe72aQM=");
        assert_eq!(derived(Purpose::DpopNonces), "YlPU6P7TYyjPmaDk3XBhn0lRS6+eBzKeSfq6SNwQC0M=");
        assert_eq!(derived(Purpose::ApiKeys), "OJAsZkYfrrkE0r9/VoXi4hfXNYPNYMfGjK10975CI6g=");
    }

    #[test]
    fn a_sealed_root_key_opens_under_its_encryption_key_only() {
        let (root, key) = (RootKey::from_bytes([1; 32]), EncryptionKey::from_bytes([2; 32]));
        let sealed = root.seal(&key);

        let opened = RootKey::open(&sealed, &key).expect("opens");

        assert_eq!(*opened.derive(Purpose::RefreshTokens), *root.derive(Purpose::RefreshTokens));
        assert!(!sealed.windows(32).any(|window| window == [1; 32]));
        assert!(RootKey::open(&sealed, &EncryptionKey::from_bytes([3; 32])).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(RootKey::open(&changed, &key).is_err(), "byte {at}");
        }
    }

    #[test]
    fn debug_never_shows_the_key() {
        assert_eq!(format!("{:?}", RootKey::from_bytes([7; 32])), "RootKey(..)");
    }
}
