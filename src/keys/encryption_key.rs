//! The encryption key of a database, which the operator keeps: it opens the root key and nothing else. Must not know
//! where it is kept.

use std::fmt;

use aws_lc_rs::hkdf;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

pub use crate::model::encryption_key::{InvalidEncryptionKey, LENGTH};

use crate::model::encryption_key::read;

/// The 32 bytes that open a database. Wiped from memory when dropped.
#[derive(Clone)]
pub struct EncryptionKey(Zeroizing<[u8; LENGTH]>);

impl EncryptionKey {
    /// Takes bytes that came from the random source.
    pub fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads a key as [`read`] does.
    ///
    /// # Errors
    /// If the text is not base64 of exactly 32 bytes, or is evidently a placeholder.
    pub fn from_base64(text: &str) -> Result<Self, InvalidEncryptionKey> {
        read(text).map(Self)
    }

    /// The key as `openssl rand -base64 32` would print it.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0.as_slice()))
    }

    /// The key that the root key is sealed with.
    pub(super) fn root_key_seal(&self) -> Zeroizing<[u8; 32]> {
        derive_from(&self.0, b"grantd v1 root key seal")
    }

    pub(super) fn bytes(&self) -> Zeroizing<[u8; LENGTH]> {
        self.0.clone()
    }

    /// What the database stores to recognise this key; says nothing about it or its derived keys.
    pub fn fingerprint(&self) -> [u8; 32] {
        *derive_from(&self.0, b"grantd v1 key check")
    }

    /// Whether `fingerprint` is this key's, in a time that does not depend on where they differ.
    pub fn has_fingerprint(&self, fingerprint: &[u8]) -> bool {
        self.fingerprint().ct_eq(fingerprint).into()
    }
}

/// The key that `info` (RFC 5869 §2.3) derives, by HKDF-SHA-256. Each use has an `info` of its own, so that no key is
/// ever used in two ways.
pub(super) fn derive_from(key: &[u8; LENGTH], info: &'static [u8]) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0u8; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"grantd")
        .extract(key)
        .expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(derived.as_mut_slice()))
        .expect("HKDF-SHA-256 fills 32 bytes: its limit is 8160");
    derived
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> EncryptionKey {
        EncryptionKey::from_bytes(std::array::from_fn(|i| i as u8 + 224))
    }

    #[test]
    fn a_key_reads_back_from_both_alphabets_with_and_without_padding() {
        let key = counting();
        let padded = key.to_base64();
        let url_safe = padded.replace('+', "-").replace('/', "_");
        assert!(*padded != url_safe, "the sample must show the difference of the alphabets");

        for text in [
            padded.as_str(),
            padded.trim_end_matches('='),
            &url_safe,
            url_safe.trim_end_matches('='),
            &format!(" {}\r\n", *padded),
        ] {
            let read = EncryptionKey::from_base64(text).expect(text);

            assert_eq!(read.0, key.0);
        }
    }

    #[test]
    fn what_is_not_32_bytes_of_base64_is_refused_and_not_repeated() {
        let good = counting().to_base64();
        for text in [
            "",
            "=",
            "change-me",
            &good[1..],
            &good[..42],
            &format!("{}A", *good),
            &format!("{0}{0}", *good),
            &format!("{}==", &good[..43]),
            &good.replace('4', "*"),
            &"ä".repeat(22),
            &"A".repeat(1_000_000),
        ] {
            let Err(refused) = EncryptionKey::from_base64(text) else { panic!("{text}") };

            assert_eq!(refused, InvalidEncryptionKey::Malformed, "{text}");
            assert!(refused.to_string().contains("openssl rand -base64 32"));
        }
    }

    #[test]
    fn a_placeholder_is_not_a_key() {
        for bytes in [[0; 32], [b'x'; 32], std::array::from_fn(|i| i as u8 % 8)] {
            let text = EncryptionKey::from_bytes(bytes).to_base64();

            let refused = EncryptionKey::from_base64(&text).expect_err("a placeholder");

            assert_eq!(refused, InvalidEncryptionKey::NotRandom);
        }
    }

    #[test]
    fn the_fingerprint_never_changes_because_databases_depend_on_it() {
        let key = EncryptionKey::from_bytes(std::array::from_fn(|i| i as u8));

        // Computed independently with Python's hmac module from RFC 5869 §2.
        assert_eq!(STANDARD.encode(key.fingerprint()), "bQFLUPVM5TOEPtsV4ypQZXPS0usH9k89X7A4lR/pz3g=");
    }

    #[test]
    fn a_fingerprint_recognises_its_key_only() {
        let key = counting();
        let stored = key.fingerprint();

        assert!(key.has_fingerprint(&stored));
        assert!(!EncryptionKey::from_bytes([7; 32]).has_fingerprint(&stored));
        assert!(!key.has_fingerprint(&stored[..31]));
        assert!(!key.has_fingerprint(&[]));
    }

    #[test]
    fn debug_never_shows_the_key() {
        assert_eq!(format!("{:?}", counting()), "EncryptionKey(..)");
    }
}
