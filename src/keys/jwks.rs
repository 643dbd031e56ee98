//! The JWK set as it is served, rendered once for every state of the ring. Must not know of HTTP beyond
//! the text of an entity tag, nor see private keys.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jsonwebtoken::jwk::{Jwk, JwkSet};

/// The bytes of `/.well-known/jwks.json` (RFC 7517 §5) and their entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksDocument {
    /// The JSON.
    pub body: Bytes,
    /// A strong entity tag with its quotes (RFC 9110 §8.8.3); equal keys in equal order have equal tags,
    /// so that all instances answer alike.
    pub etag: Bytes,
}

impl JwksDocument {
    /// Renders public keys in the order given.
    pub(super) fn render<'a>(keys: impl Iterator<Item = &'a Jwk>) -> Self {
        let set = JwkSet { keys: keys.cloned().collect() };
        let body = serde_json::to_vec(&set).expect("public keys are strings under string names");
        let tag = URL_SAFE_NO_PAD.encode(&digest(&SHA256, &body).as_ref()[..16]);
        Self { body: body.into(), etag: format!("\"{tag}\"").into() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::keys::signing::SigningKey;
    use crate::model::key::SigningAlgorithm;

    fn key(algorithm: SigningAlgorithm) -> SigningKey {
        SigningKey::generate(algorithm).expect("made").0
    }

    #[test]
    fn each_kind_of_key_is_published_with_its_public_members_and_nothing_else() {
        for (algorithm, kty, members) in [
            (SigningAlgorithm::Es256, "EC", vec!["crv", "x", "y"]),
            (SigningAlgorithm::Es384, "EC", vec!["crv", "x", "y"]),
            (SigningAlgorithm::Rs256, "RSA", vec!["n", "e"]),
            (SigningAlgorithm::Ps256, "RSA", vec!["n", "e"]),
            (SigningAlgorithm::EdDsa, "OKP", vec!["crv", "x"]),
        ] {
            let key = key(algorithm);

            let document = JwksDocument::render([key.jwk()].into_iter());

            let set: Value = serde_json::from_slice(&document.body).expect("json");
            let jwk = set["keys"][0].as_object().expect("one key");
            let found: BTreeSet<_> = jwk.keys().map(String::as_str).collect();
            let expected: BTreeSet<_> = members.into_iter().chain(["kty", "use", "alg", "kid"]).collect();
            assert_eq!(found, expected);
            assert_eq!(jwk["kty"], kty);
            assert_eq!(jwk["use"], "sig");
            assert_eq!(jwk["alg"], algorithm.as_str());
            assert_eq!(jwk["kid"], key.kid().as_str());
        }
    }

    #[test]
    fn the_tag_follows_the_keys() {
        let (one, two) = (key(SigningAlgorithm::Es256), key(SigningAlgorithm::EdDsa));

        let document = JwksDocument::render([one.jwk(), two.jwk()].into_iter());

        assert_eq!(document, JwksDocument::render([one.jwk(), two.jwk()].into_iter()));
        assert_ne!(document.etag, JwksDocument::render([one.jwk()].into_iter()).etag);
        assert!(document.etag.starts_with(b"\"") && document.etag.ends_with(b"\""));
    }

    #[test]
    fn no_keys_are_an_empty_set() {
        assert_eq!(&*JwksDocument::render([].into_iter()).body, br#"{"keys":[]}"#);
    }
}
