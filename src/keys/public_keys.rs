//! Public keys of others, ready to verify by. Must not know whose they are or what was signed.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::Value;

use super::algorithm::row;
use super::jws::CompactJws;
use crate::model::jwk::{JwkSet, PublicJwk, PublicKey};

/// Why a signature is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotVerified {
    /// The header names a key that is not among them.
    UnknownKey,
    /// The header names no key, and several could have made the signature.
    Ambiguous,
    /// The classic confusion: the key says which algorithm verifies, RFC 8725 §3.1.
    Algorithm,
    /// Forged, changed, or by another key.
    Signature,
}

impl NotVerified {
    /// The reason, for a log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownKey => "no registered key has its kid",
            Self::Ambiguous => "it names no kid, and more than one registered key could have signed it",
            Self::Algorithm => "its alg is not one that its key signs with",
            Self::Signature => "its signature does not fit",
        }
    }
}

/// One public key.
pub struct VerifyingKey {
    jwk: PublicJwk,
    key: DecodingKey,
}

impl VerifyingKey {
    /// Prepares a key. One whose numbers are no point of its curve verifies nothing.
    pub fn new(jwk: PublicJwk) -> Self {
        let key = match jwk.key() {
            PublicKey::P256 { x, y } => DecodingKey::from_ec_der(&uncompressed(x, y)),
            PublicKey::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            PublicKey::Ed25519 { x } => DecodingKey::from_ed_der(x),
        };
        Self { jwk, key }
    }

    /// Whether this key signed `jws`.
    ///
    /// # Errors
    /// If it did not, or signs with other algorithms.
    pub fn verify(&self, jws: &CompactJws<'_>) -> Result<(), NotVerified> {
        if !self.jwk.signs(jws.algorithm) {
            return Err(NotVerified::Algorithm);
        }
        let algorithm = row(jws.algorithm).jwt;
        let fits = jsonwebtoken::crypto::verify(jws.signature, jws.message, &self.key, algorithm);
        if fits.unwrap_or(false) { Ok(()) } else { Err(NotVerified::Signature) }
    }
}

/// The RFC 7638 thumbprint of a key: SHA-256 in base64url.
pub fn thumbprint(key: &PublicKey) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, key.thumbprint_input().as_bytes()))
}

/// Whether the numbers of a key are a key: a point that is on no curve verifies nothing, and should be found when it is
/// registered.
pub fn is_sound(key: &PublicKey) -> bool {
    match key {
        PublicKey::P256 { x, y } => {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, uncompressed(x, y)).is_ok()
        }
        PublicKey::Ed25519 { x } => ParsedPublicKey::new(&ED25519, x).is_ok(),
        PublicKey::Rsa { .. } => true,
    }
}

/// The keys that one client signs with, prepared once.
pub struct ClientKeys(Vec<VerifyingKey>);

impl ClientKeys {
    /// Prepares the keys of a set.
    pub fn new(set: &JwkSet) -> Self {
        Self(set.keys().iter().cloned().map(VerifyingKey::new).collect())
    }

    /// Whether one of these keys signed `jws`: the one that its header names. Without a name, the only one that could
    /// have (OpenID Connect Core §10.1: with several keys "a kid value MUST be provided").
    ///
    /// # Errors
    /// If it did not, or it is not clear which.
    pub fn verify(&self, jws: &CompactJws<'_>) -> Result<(), NotVerified> {
        let key = match jws.header.get("kid") {
            Some(Value::String(kid)) => self.0.iter().find(|key| key.jwk.kid() == Some(kid)),
            Some(_) => None,
            None => {
                let mut fitting = self.0.iter().filter(|key| key.jwk.signs(jws.algorithm));
                match (fitting.next(), fitting.next()) {
                    (None, _) => return Err(NotVerified::Algorithm),
                    (key, None) => key,
                    (_, Some(_)) => return Err(NotVerified::Ambiguous),
                }
            }
        };
        key.ok_or(NotVerified::UnknownKey)?.verify(jws)
    }
}

impl std::fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.jwk)).finish()
    }
}

/// SEC 1 §2.3.3.
fn uncompressed(x: &[u8; 32], y: &[u8; 32]) -> Vec<u8> {
    [&[4], &x[..], &y[..]].concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::keys::signing::SigningKey;
    use crate::model::key::SigningAlgorithm;

    fn public(key: &SigningKey, kid: Option<&str>) -> Value {
        let mut jwk = serde_json::to_value(key.jwk()).expect("json");
        let members = jwk.as_object_mut().expect("an object");
        members.remove("kid");
        if let Some(kid) = kid {
            members.insert("kid".into(), json!(kid));
        }
        jwk
    }

    fn keys(jwks: &[Value]) -> ClientKeys {
        ClientKeys::new(&JwkSet::parse(json!({"keys": jwks}).to_string().as_bytes()).expect("a set"))
    }

    fn made(algorithm: SigningAlgorithm) -> SigningKey {
        SigningKey::generate(algorithm).expect("made").0
    }

    #[test]
    fn each_algorithm_verifies_under_its_own_key_and_no_other() {
        use SigningAlgorithm::{EdDsa, Es256, Ps256, Rs256};
        let signers: Vec<_> = [Es256, Rs256, Ps256, EdDsa].into_iter().map(made).collect();

        for signer in &signers {
            let token = signer.sign("JWT", &json!({"a": 1})).expect("signed");
            let jws = CompactJws::read(&token, 4096).expect("readable");
            for other in &signers {
                let set = keys(&[public(other, Some(signer.kid().as_str()))]);
                let same = std::ptr::eq(signer, other);
                assert_eq!(set.verify(&jws).is_ok(), same, "{} {}", signer.algorithm(), other.algorithm());
            }
            let thumbprint = thumbprint(keys(&[public(signer, None)]).0[0].jwk.key());
            assert_eq!(thumbprint, signer.kid().as_str(), "as jsonwebtoken computes it");
        }
    }

    #[test]
    fn an_rsa_key_without_alg_signs_with_both_paddings_and_one_with_alg_with_that_one() {
        let signer = made(SigningAlgorithm::Ps256);
        let token = signer.sign("JWT", &json!({})).expect("signed");
        let jws = CompactJws::read(&token, 4096).expect("readable");
        let kid = Some(signer.kid().as_str());
        let mut jwk = public(&signer, kid);

        for (alg, expected) in
            [(None, Ok(())), (Some("PS256"), Ok(())), (Some("RS256"), Err(NotVerified::Algorithm))]
        {
            jwk.as_object_mut().expect("an object").remove("alg");
            if let Some(alg) = alg {
                jwk["alg"] = json!(alg);
            }
            assert_eq!(keys(std::slice::from_ref(&jwk)).verify(&jws), expected, "{alg:?}");
        }
    }

    #[test]
    fn the_header_names_the_key_wherever_several_could_have_signed() {
        let (one, two, rsa) =
            (made(SigningAlgorithm::Es256), made(SigningAlgorithm::Es256), made(SigningAlgorithm::Rs256));
        let token = one.sign("JWT", &json!({})).expect("signed");
        let mut jws = CompactJws::read(&token, 4096).expect("readable");
        let both = keys(&[public(&one, Some(one.kid().as_str())), public(&two, None), public(&rsa, None)]);

        assert_eq!(both.verify(&jws), Ok(()));
        jws.header.insert("kid".into(), json!("another"));
        assert_eq!(both.verify(&jws), Err(NotVerified::UnknownKey));
        jws.header.insert("kid".into(), json!(1));
        assert_eq!(both.verify(&jws), Err(NotVerified::UnknownKey));
        jws.header.remove("kid");
        assert_eq!(both.verify(&jws), Err(NotVerified::Ambiguous));
        assert_eq!(keys(&[public(&rsa, None), public(&one, None)]).verify(&jws), Ok(()));
        assert_eq!(keys(&[public(&two, None)]).verify(&jws), Err(NotVerified::Signature));
        assert_eq!(keys(&[public(&rsa, None)]).verify(&jws), Err(NotVerified::Algorithm));
    }

    #[test]
    fn a_point_that_is_on_no_curve_is_not_sound_and_verifies_nothing() {
        let signer = made(SigningAlgorithm::Es256);
        let token = signer.sign("JWT", &json!({})).expect("signed");
        let jws = CompactJws::read(&token, 4096).expect("readable");
        let mut jwk = public(&signer, Some(signer.kid().as_str()));
        jwk["x"] = jwk["y"].clone();

        let broken = keys(&[jwk]);

        assert!(!is_sound(broken.0[0].jwk.key()));
        assert_eq!(broken.verify(&jws), Err(NotVerified::Signature));
        assert!(is_sound(keys(&[public(&signer, None)]).0[0].jwk.key()));
    }
}
