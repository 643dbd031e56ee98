//! Nonces that the server gives out for DPoP proofs, RFC 9449 §8: computed from the time under a key of the server's, so
//! that every instance takes those of every other and nothing is stored. Knows neither clock nor key file.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use crate::model::time::Timestamp;

/// How long one nonce is given out, in seconds.
const STEP: i64 = 150;

/// What nonces are computed with.
pub struct NonceKey(hmac::Key);

impl NonceKey {
    /// Takes a key derived for this purpose alone.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The nonce that is given out at `now`. RFC 9449 §8: unpredictable to whoever lacks the key.
    pub fn at(&self, now: Timestamp) -> String {
        self.of_step(step(now))
    }

    /// Whether `nonce` was given out lately: for two and a half to five minutes each, and by an instance whose clock is up
    /// to as much ahead of ours.
    pub fn is_fresh(&self, nonce: &str, now: Timestamp) -> bool {
        let newest = step(now).saturating_add(1);
        let of = |back: i64| self.of_step(newest.saturating_sub(back));
        (0..3).any(|back| of(back).as_bytes().ct_eq(nonce.as_bytes()).into())
    }

    fn of_step(&self, step: i64) -> String {
        let tag = hmac::sign(&self.0, &step.to_be_bytes());
        URL_SAFE_NO_PAD.encode(&tag.as_ref()[..16])
    }
}

fn step(now: Timestamp) -> i64 {
    now.as_secs().div_euclid(STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_fresh_for_one_to_two_steps_and_under_its_key_alone() {
        let key = NonceKey::new(&[1; 32]);
        let at = |secs: i64| Timestamp::from_secs(1_500_000_000 + secs);
        let nonce = key.at(at(0));

        assert_eq!(nonce, key.at(at(149)), "one for all in a step");
        assert_ne!(nonce, key.at(at(150)), "then another");
        for (secs, fresh) in
            [(-151, false), (-150, true), (0, true), (299, true), (300, false), (9000, false)]
        {
            assert_eq!(key.is_fresh(&nonce, at(secs)), fresh, "{secs}");
        }
        assert!(!NonceKey::new(&[2; 32]).is_fresh(&nonce, at(0)));
        for other in ["", "x", &nonce[1..], &format!("{nonce}A")] {
            assert!(!key.is_fresh(other, at(0)), "{other}");
        }
        // RFC 9449 §8.1: NQCHAR.
        assert!(nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'));
    }
}
