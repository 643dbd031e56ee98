//! Refresh tokens on the wire: computed from a family and a generation, never stored.
//!
//! `grt_` + base64url(family id, 16 bytes | generation, 4 bytes | HMAC-SHA-256, 32 bytes) + checksum. The HMAC's
//! key is the server's, its message holds the family's secret: a stolen database forges nothing, nor does a
//! stolen key.

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq as _;

use crate::model::id::FamilyId;
use crate::model::secret::{PlainSecret, REFRESH_TOKEN_PREFIX, decode_checked, encode_checked};
use crate::model::session::FamilySecret;

const LENGTH: usize = 16 + 4 + 32;

/// The server's half of every refresh token.
pub struct RefreshTokenKey(hmac::Key);

impl RefreshTokenKey {
    /// Takes a key derived for this purpose alone.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The token of `generation` of a family; the same inputs give the same token.
    pub fn token(&self, family: FamilyId, secret: &FamilySecret, generation: u32) -> PlainSecret {
        let mut body = [0; LENGTH];
        body[..16].copy_from_slice(family.as_bytes());
        body[16..20].copy_from_slice(&generation.to_be_bytes());
        body[20..].copy_from_slice(self.tag(family, secret, generation).as_ref());
        encode_checked(REFRESH_TOKEN_PREFIX, &body)
    }

    /// Whether `claim` was made by this server for the family with this secret. In constant time.
    pub fn vouches_for(&self, claim: &PresentedRefreshToken, secret: &FamilySecret) -> bool {
        let tag = self.tag(claim.family, secret, claim.generation);
        tag.as_ref().ct_eq(&claim.tag).into()
    }

    fn tag(&self, family: FamilyId, secret: &FamilySecret, generation: u32) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&secret.0);
        context.update(family.as_bytes());
        context.update(&generation.to_be_bytes());
        context.sign()
    }
}

/// A refresh token as it was presented: well-formed, nothing more.
#[derive(Clone, Copy)]
pub struct PresentedRefreshToken {
    /// The family it claims to be of.
    pub family: FamilyId,
    /// The generation it claims to be.
    pub generation: u32,
    tag: [u8; 32],
}

impl PresentedRefreshToken {
    /// Reads a token; `None` if it cannot be one of this server's.
    pub fn read(text: &str) -> Option<Self> {
        let body = decode_checked::<LENGTH>(REFRESH_TOKEN_PREFIX, text)?;
        let (family, rest) = body.split_first_chunk::<16>()?;
        let (generation, rest) = rest.split_first_chunk::<4>()?;
        let (tag, _) = rest.split_first_chunk::<32>()?;
        Some(Self {
            family: FamilyId::from_bytes(*family),
            generation: u32::from_be_bytes(*generation),
            tag: *tag,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_is_vouched_for_by_its_own_family_and_key_only() {
        let key = RefreshTokenKey::new(&[1; 32]);
        let (family, secret) = (FamilyId::from_random([2; 16]), FamilySecret([3; 32]));
        let token = key.token(family, &secret, 7);

        let presented = PresentedRefreshToken::read(token.expose()).expect("well-formed");
        assert_eq!((presented.family, presented.generation), (family, 7));
        assert!(key.vouches_for(&presented, &secret));
        assert!(!key.vouches_for(&presented, &FamilySecret([4; 32])), "a stolen key forges nothing");
        assert!(
            !RefreshTokenKey::new(&[9; 32]).vouches_for(&presented, &secret),
            "a stolen database forges nothing"
        );
        assert_eq!(token.expose(), key.token(family, &secret, 7).expose());
        assert_ne!(token.expose(), key.token(family, &secret, 8).expose());
    }

    #[test]
    fn another_generation_cannot_be_written_into_a_token() {
        let key = RefreshTokenKey::new(&[1; 32]);
        let (family, secret) = (FamilyId::from_random([2; 16]), FamilySecret([3; 32]));
        let token = key.token(family, &secret, 7);
        let mut body = *decode_checked::<LENGTH>(REFRESH_TOKEN_PREFIX, token.expose()).expect("well-formed");
        body[19] = 8;

        let forged = encode_checked(REFRESH_TOKEN_PREFIX, &body);

        let presented = PresentedRefreshToken::read(forged.expose()).expect("well-formed");
        assert!(!key.vouches_for(&presented, &secret));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "grt_.{0,90}|.{0,90}") {
            proptest::prop_assert!(PresentedRefreshToken::read(&text).is_none());
        }
    }
}
