//! Secrets at rest: AES-256-GCM, bound to what they are; private signing keys under a key of their own, bound to their
//! key id. Must not know what the sealed bytes mean or where they are stored.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use super::root_key::{Purpose, RootKey};
use crate::model::key::Kid;

/// `version (1) | nonce (12) | ciphertext | tag (16)`; another layout gets another number.
const VERSION: u8 = 1;
const NONCE: std::ops::Range<usize> = 1..13;
const TAG_LENGTH: usize = 16;

/// Seals and opens bytes under one key.
pub(super) struct Seal(RandomizedNonceKey);

/// Why sealed bytes do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Another key sealed them, they are something else, or they were changed.
    #[error("another key sealed it, or it was changed")]
    Refused,
    /// Written in a layout that this version does not know.
    #[error("it was sealed in format {0}, which this version of grantd does not know")]
    UnknownFormat(u8),
}

impl Seal {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, key);
        Self(cipher.expect("AES-256-GCM takes every key of 32 bytes"))
    }

    /// Seals `plain`, bound to `associated`. Sealing the same bytes twice gives different results.
    pub(super) fn seal(&self, plain: &[u8], associated: &[u8]) -> Vec<u8> {
        // Room for everything from the start: a vector that grows leaves a copy of the secret behind.
        let mut sealed = Vec::with_capacity(NONCE.end + plain.len() + TAG_LENGTH);
        sealed.push(VERSION);
        sealed.resize(NONCE.end, 0);
        sealed.extend_from_slice(plain);
        let (nonce, tag) = self
            .0
            .seal_in_place_separate_tag(Aad::from(associated), &mut sealed[NONCE.end..])
            .expect("AES-256-GCM seals everything shorter than 64 GiB");
        sealed[NONCE].copy_from_slice(nonce.as_ref());
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what [`Seal::seal`] made under the same key for the same `associated`.
    pub(super) fn open(&self, sealed: &[u8], associated: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let refused = || SealError::Refused;
        match sealed.first() {
            None => return Err(refused()),
            Some(&VERSION) => {}
            Some(&version) => return Err(SealError::UnknownFormat(version)),
        }
        let (head, body) = sealed.split_at_checked(NONCE.end).ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(&head[NONCE]).map_err(|_| refused())?;
        let mut plain = Zeroizing::new(body.to_vec());
        let opened = self.0.open_in_place(nonce, Aad::from(associated), &mut plain);
        let length = opened.map_err(|_| refused())?.len();
        plain.truncate(length);
        Ok(plain)
    }
}

/// Seals and opens private signing keys.
pub struct Sealer(Seal);

/// Why a sealed signing key does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsealable {
    /// Another key sealed them, they belong to another key id, or they were changed.
    #[error(
        "the signing key {0} does not open with this encryption key, because another one sealed it or its row was changed: start with the encryption key that this database was made with, or restore the row from a backup"
    )]
    Refused(Kid),
    /// Written in a layout that this version does not know.
    #[error(
        "the signing key {kid} was sealed in format {version}, which this version of grantd does not know: run the version that wrote it"
    )]
    UnknownFormat {
        /// Which key.
        kid: Kid,
        /// The format's number.
        version: u8,
    },
}

impl Sealer {
    /// A sealer under the key that `root` derives for signing keys.
    pub fn new(root: &RootKey) -> Self {
        Self(Seal::new(&root.derive(Purpose::SigningKeys)))
    }

    /// Seals `plain` for the row of `kid`. Sealing the same bytes twice gives different results.
    pub fn seal(&self, plain: &[u8], kid: &Kid) -> Vec<u8> {
        self.0.seal(plain, &associated(kid))
    }

    /// Opens what [`Sealer::seal`] made for the same `kid` under the same key.
    ///
    /// # Errors
    /// If anything about the bytes, the key or the key id is different.
    pub fn open(&self, sealed: &[u8], kid: &Kid) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
        self.0.open(sealed, &associated(kid)).map_err(|error| match error {
            SealError::Refused => Unsealable::Refused(kid.clone()),
            SealError::UnknownFormat(version) => Unsealable::UnknownFormat { kid: kid.clone(), version },
        })
    }
}

/// Binds sealed bytes to what they are and whose they are, so that a row that somebody moved to
/// another key id, or to another purpose, does not open. The part before the id has a fixed length.
fn associated(kid: &Kid) -> Vec<u8> {
    let mut associated = b"grantd signing key".to_vec();
    associated.push(VERSION);
    associated.extend_from_slice(kid.as_str().as_bytes());
    associated
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(&RootKey::from_bytes([byte; 32]))
    }

    fn kid(id: &str) -> Kid {
        Kid::new(id.to_owned())
    }

    #[test]
    fn what_was_sealed_opens_again_also_after_a_restart() {
        for plain in [b"".as_slice(), b"x", &[7; 5000]] {
            let sealed = sealer(1).seal(plain, &kid("a"));

            assert_eq!(sealer(1).open(&sealed, &kid("a")).expect("opens").as_slice(), plain);
            assert_eq!(sealed.len(), 1 + 12 + plain.len() + 16);
        }
    }

    #[test]
    fn sealed_bytes_do_not_contain_the_key_and_never_repeat() {
        let one = sealer(1).seal(b"private canary", &kid("a"));
        let two = sealer(1).seal(b"private canary", &kid("a"));

        assert!(!one.windows(6).any(|window| window == b"canary"));
        assert_ne!(one, two);
    }

    #[test]
    fn another_encryption_key_or_another_key_id_opens_nothing() {
        let sealed = sealer(1).seal(b"private", &kid("a"));

        assert_eq!(sealer(2).open(&sealed, &kid("a")), Err(Unsealable::Refused(kid("a"))));
        assert_eq!(sealer(1).open(&sealed, &kid("b")), Err(Unsealable::Refused(kid("b"))));
        assert_eq!(sealer(1).open(&sealed, &kid("")), Err(Unsealable::Refused(kid(""))));
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_seen() {
        let sealer = sealer(1);
        let sealed = sealer.seal(b"private", &kid("a"));

        for at in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(sealer.open(&changed, &kid("a")).is_err(), "bit {at}");
        }
        for length in 0..sealed.len() {
            assert!(sealer.open(&sealed[..length], &kid("a")).is_err(), "{length} bytes");
        }
        assert!(sealer.open(&[sealed.as_slice(), &[0]].concat(), &kid("a")).is_err());
    }

    #[test]
    fn a_newer_format_is_told_from_a_wrong_key() {
        let mut sealed = sealer(1).seal(b"private", &kid("a"));
        sealed[0] = 2;

        let refused = sealer(1).open(&sealed, &kid("a")).expect_err("unknown");

        assert_eq!(refused, Unsealable::UnknownFormat { kid: kid("a"), version: 2 });
    }

    #[test]
    fn debug_never_shows_the_key() {
        assert_eq!(format!("{:?}", sealer(1)), "Sealer(..)");
    }
}
