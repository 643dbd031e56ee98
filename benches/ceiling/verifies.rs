//! The ceiling of introspection: ES256 verified by the library, and nothing else.

use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
};

/// A public key that was parsed once, and something that is signed.
pub(crate) struct RawVerifies {
    key: ParsedPublicKey,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl RawVerifies {
    /// For a message as long as that of one of grantd's tokens.
    pub(crate) fn of_length(length: usize) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let message = vec![b'x'; length];
        let signature = pair.sign(&SystemRandom::new(), &message).expect("signed").as_ref().to_vec();
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
        Self { key: key.expect("a public key"), message, signature }
    }

    /// Verifications per second.
    pub(crate) fn rate(&self, window: Duration) -> f64 {
        let (begin, mut count) = (Instant::now(), 0);
        while begin.elapsed() < window {
            self.key.verify_sig(&self.message, &self.signature).expect("the right signature");
            count += 1;
        }
        f64::from(count) / begin.elapsed().as_secs_f64()
    }
}
