//! Client secrets: made here, stored as a keyed hash, checked in a microsecond.

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq as _;

use crate::model::secret::{
    CLIENT_SECRET_PREFIX, HashedSecret, PlainSecret, Strength, encode_checked, judge_foreign_secret,
};
use crate::passwords::PasswordPool;

use super::error::AdminError;
use super::random;

/// Hashes client secrets under a key of the server's: not recoverable from a stolen database, and cheap to check,
/// because a secret of 256 random bits needs no slow hash.
pub(crate) struct SecretHasher(hmac::Key);

impl SecretHasher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    pub(crate) fn hash(&self, secret: &PlainSecret) -> [u8; 32] {
        let tag = hmac::sign(&self.0, secret.expose().as_bytes());
        tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }

    /// Whether `digest` is one of `stored`; compares each in constant time, at least one even if there is none.
    pub(crate) fn is_among<'a>(digest: &[u8; 32], stored: impl Iterator<Item = &'a [u8; 32]>) -> bool {
        let nobody = digest.ct_eq(&[0; 32]) & subtle::Choice::from(0);
        stored.fold(nobody, |found, hash| found | digest.ct_eq(hash)).into()
    }
}

/// A secret of 256 random bits.
pub(crate) fn generate() -> PlainSecret {
    encode_checked(CLIENT_SECRET_PREFIX, &random::bytes::<32>())
}

/// What is stored of a secret that was brought in from elsewhere: a weak one gets a slow hash.
pub(crate) async fn hash_foreign(
    hasher: &SecretHasher,
    pool: &PasswordPool,
    secret: &PlainSecret,
) -> Result<HashedSecret, AdminError> {
    Ok(match judge_foreign_secret(secret.expose())? {
        Strength::Strong => HashedSecret::Hmac(hasher.hash(secret)),
        Strength::Weak => HashedSecret::Argon2(pool.hash(secret.clone()).await?),
    })
}
