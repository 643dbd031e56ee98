//! One signing key: made, opened, named by its thumbprint, and used. Must not know which state it is in,
//! nor what the claims mean that it signs.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::error::KeyRejected;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::Serialize;
use zeroize::Zeroizing;

use super::algorithm::{self, PrivateKey};
use super::provider::{self, ForeignProvider, Registered};
use super::sealing::{Sealer, Unsealable};
use crate::model::key::{ACCESS_TOKEN_TYP, Kid, SigningAlgorithm, SigningKeyInfo};

/// Why a signing key could not be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// See [`install`](super::install).
    #[error(transparent)]
    ForeignProvider(#[from] ForeignProvider),
    /// The random source or the library failed.
    #[error("no {algorithm} key could be made, because the cryptographic library refused: try again")]
    Generate {
        /// Of which algorithm.
        algorithm: SigningAlgorithm,
    },
    /// The bytes are no such key.
    #[error(
        "the private key is no {algorithm} key in PKCS#8 ({source}): restore it from a backup, or retire it and rotate"
    )]
    Parse {
        /// Of which algorithm it should be.
        algorithm: SigningAlgorithm,
        /// What the library says about it.
        source: KeyRejected,
    },
    /// The sealed bytes do not open.
    #[error(transparent)]
    Unsealable(#[from] Unsealable),
    /// The sealed key is another one than its row says.
    #[error(
        "the row of the signing key {row} holds the key {found}, so it was changed: restore it from a backup, or retire it and rotate"
    )]
    WrongKid {
        /// The key id of the row.
        row: Kid,
        /// The thumbprint of what was in it.
        found: Kid,
    },
    /// jsonwebtoken could not make the token or the public key.
    #[error("jsonwebtoken could not work with the {algorithm} key: {source}")]
    Jwt {
        /// The key's algorithm.
        algorithm: SigningAlgorithm,
        /// What it says.
        source: jsonwebtoken::errors::Error,
    },
}

/// A private key, parsed once, with the public half that others verify its signatures by.
pub struct SigningKey {
    kid: Kid,
    algorithm: SigningAlgorithm,
    /// Keeps the private key where `handle` finds it.
    registered: Arc<Registered>,
    handle: EncodingKey,
    /// Of the tokens that it signs most.
    header: Header,
    public: DecodingKey,
    jwk: Jwk,
}

impl SigningKey {
    /// A new key, and its PKCS#8 document to be sealed and stored. ECDSA and Ed25519 keys take
    /// microseconds, RSA keys about a tenth of a second, so not on a thread that serves requests.
    ///
    /// # Errors
    /// If the library fails, or jsonwebtoken signs with somebody else's provider.
    pub fn generate(algorithm: SigningAlgorithm) -> Result<(Self, Zeroizing<Vec<u8>>), KeyError> {
        provider::install()?;
        let (private, pkcs8) =
            algorithm::row(algorithm).generate().map_err(|_| KeyError::Generate { algorithm })?;
        Ok((Self::new(algorithm, private)?, pkcs8))
    }

    /// The key in a PKCS#8 document.
    ///
    /// # Errors
    /// If it is no valid key of that algorithm, or jsonwebtoken signs with somebody else's provider.
    pub fn parse(algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        provider::install()?;
        let private =
            algorithm::row(algorithm).parse(pkcs8).map_err(|source| KeyError::Parse { algorithm, source })?;
        Self::new(algorithm, private)
    }

    /// The key in a stored row, which must be the one that the row names.
    ///
    /// # Errors
    /// If the row was sealed under another encryption key or was changed in any way.
    pub fn unseal(info: &SigningKeyInfo, sealed: &[u8], sealer: &Sealer) -> Result<Self, KeyError> {
        let key = Self::parse(info.algorithm, &sealer.open(sealed, &info.kid)?)?;
        if key.kid == info.kid {
            Ok(key)
        } else {
            Err(KeyError::WrongKid { row: info.kid.clone(), found: key.kid })
        }
    }

    fn new(algorithm: SigningAlgorithm, private: PrivateKey) -> Result<Self, KeyError> {
        let row = algorithm::row(algorithm);
        let public = private.public();
        let (jwk, kid) = published(&public, row.jwt).map_err(|source| KeyError::Jwt { algorithm, source })?;

        // One RSA key may serve RS256 and PS256 under one thumbprint; as a handle they are two.
        let handle = format!("{algorithm} {kid}").into_bytes();
        let mut header = Header::new(row.jwt);
        header.typ = Some(ACCESS_TOKEN_TYP.to_owned());
        header.kid = Some(kid.as_str().to_owned());
        Ok(Self {
            header,
            handle: row.encoding_key(&handle),
            registered: Registered::new(handle, row.jwt, private),
            algorithm,
            kid,
            public,
            jwk,
        })
    }

    /// Its id: the RFC 7638 thumbprint, SHA-256.
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// What it signs with.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// Signs `claims` as a JWT whose header holds `alg`, `typ`, `kid` and nothing else.
    ///
    /// # Errors
    /// If the claims do not serialize, or the library fails.
    pub fn sign<C: Serialize>(&self, typ: &str, claims: &C) -> Result<String, KeyError> {
        let header = match self.header.typ.as_deref() == Some(typ) {
            true => Cow::Borrowed(&self.header),
            false => Cow::Owned(Header { typ: Some(typ.to_owned()), ..self.header.clone() }),
        };
        jsonwebtoken::encode(&header, claims, &self.handle)
            .map_err(|source| KeyError::Jwt { algorithm: self.algorithm, source })
    }

    /// Whether `signature` (base64url) is this key's, by this key's algorithm, over `message`.
    pub(super) fn has_signed(&self, message: &[u8], signature: &str) -> bool {
        let algorithm = self.registered.algorithm();
        jsonwebtoken::crypto::verify(signature, message, &self.public, algorithm).unwrap_or(false)
    }

    /// The public half as RFC 7517 writes it, with `use`, `alg` and `kid`.
    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

fn published(public: &DecodingKey, algorithm: Algorithm) -> jsonwebtoken::errors::Result<(Jwk, Kid)> {
    let mut jwk = Jwk::from_decoding_key(public, Some(algorithm))?;
    let kid = jwk.thumbprint(ThumbprintHash::SHA256)?;
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    jwk.common.key_id = Some(kid.clone());
    Ok((jwk, Kid::new(kid)))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::Validation;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::keys::root_key::RootKey;
    use crate::model::key::KeyState;
    use crate::model::time::Timestamp;

    fn info(kid: &Kid, algorithm: SigningAlgorithm) -> SigningKeyInfo {
        let since = Timestamp::from_secs(0);
        SigningKeyInfo {
            kid: kid.clone(),
            algorithm,
            state: KeyState::Active { since },
            created_at: since,
            longest_ttl: crate::model::time::Ttl::ZERO,
        }
    }

    fn thumbprint(public: &DecodingKey, algorithm: Algorithm) -> String {
        provider::install().expect("ours");
        published(public, algorithm).expect("a public key").1.as_str().to_owned()
    }

    #[test]
    fn the_kid_of_an_rsa_key_is_that_of_rfc_7638_section_3_1() {
        let modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let public = DecodingKey::from_rsa_components(modulus, "AQAB").expect("components");

        assert_eq!(thumbprint(&public, Algorithm::RS256), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn the_kid_of_an_ed25519_key_is_that_of_rfc_8037_appendix_a_3() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let public = DecodingKey::from_ed_components(x).expect("components");

        assert_eq!(thumbprint(&public, Algorithm::EdDSA), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_signed_token_has_exactly_alg_typ_and_kid_and_verifies_with_the_public_jwk() {
        for algorithm in SigningAlgorithm::ALL {
            let (key, _) = SigningKey::generate(algorithm).expect("made");

            let token =
                key.sign("at+jwt", &json!({"sub": "someone", "exp": 4_102_444_800_u32})).expect("signed");

            let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
            let header: Value = serde_json::from_slice(&header.expect("base64url")).expect("json");
            let expected = json!({"alg": algorithm.as_str(), "typ": "at+jwt", "kid": key.kid().as_str()});
            assert_eq!(header, expected);
            let public = DecodingKey::from_jwk(key.jwk()).expect("a public key");
            let validation = Validation::new(algorithm.as_str().parse().expect("known"));
            let read = jsonwebtoken::decode::<Map<String, Value>>(&token, &public, &validation);
            assert_eq!(read.expect("verifies").claims["sub"], "someone");
        }
    }

    #[test]
    fn a_stored_key_is_the_same_key_again() {
        let sealer = Sealer::new(&RootKey::from_bytes([7; 32]));
        for algorithm in SigningAlgorithm::ALL {
            let (made, pkcs8) = SigningKey::generate(algorithm).expect("made");
            let sealed = sealer.seal(&pkcs8, made.kid());

            let opened = SigningKey::unseal(&info(made.kid(), algorithm), &sealed, &sealer).expect("opens");

            assert_eq!((opened.kid(), opened.jwk()), (made.kid(), made.jwk()));
            assert!(Arc::ptr_eq(&opened.registered, &made.registered), "parsed keys are shared");
            drop(made);
            assert!(opened.sign("at+jwt", &json!({})).is_ok(), "one copy outlives the other");
        }
    }

    #[test]
    fn a_row_whose_content_was_exchanged_does_not_open() {
        let sealer = Sealer::new(&RootKey::from_bytes([7; 32]));
        let (one, pkcs8) = SigningKey::generate(SigningAlgorithm::Es256).expect("made");
        let (two, _) = SigningKey::generate(SigningAlgorithm::Es256).expect("made");
        let row = info(two.kid(), SigningAlgorithm::Es256);

        let moved = SigningKey::unseal(&row, &sealer.seal(&pkcs8, one.kid()), &sealer);
        let resealed = SigningKey::unseal(&row, &sealer.seal(&pkcs8, two.kid()), &sealer);
        let garbage = SigningKey::unseal(&row, &sealer.seal(b"garbage", two.kid()), &sealer);

        assert!(matches!(moved, Err(KeyError::Unsealable(_))), "{moved:?}");
        assert!(matches!(resealed, Err(KeyError::WrongKid { .. })), "{resealed:?}");
        assert!(matches!(garbage, Err(KeyError::Parse { .. })), "{garbage:?}");
    }

    #[test]
    fn one_rsa_key_may_serve_two_algorithms_without_mixing_them() {
        let (rs256, pkcs8) = SigningKey::generate(SigningAlgorithm::Rs256).expect("made");
        let ps256 = SigningKey::parse(SigningAlgorithm::Ps256, &pkcs8).expect("the same key");
        assert_eq!(rs256.kid(), ps256.kid());

        for (key, other) in [(&rs256, &ps256), (&ps256, &rs256)] {
            let token = key.sign("at+jwt", &json!({})).expect("signed");
            let (message, signature) = token.rsplit_once('.').expect("three parts");

            assert!(key.has_signed(message.as_bytes(), signature));
            assert!(!other.has_signed(message.as_bytes(), signature));
        }
    }

    #[test]
    fn what_does_not_serialize_is_an_error() {
        let (key, _) = SigningKey::generate(SigningAlgorithm::EdDsa).expect("made");
        let not_json = std::collections::BTreeMap::from([((1, 2), 3)]);

        assert!(matches!(key.sign("at+jwt", &not_json), Err(KeyError::Jwt { .. })));
    }

    #[test]
    fn neither_debug_nor_the_jwk_shows_the_private_half() {
        for algorithm in SigningAlgorithm::ALL {
            let (key, _) = SigningKey::generate(algorithm).expect("made");

            let jwk = serde_json::to_value(key.jwk()).expect("json");

            for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
                assert!(jwk.get(private).is_none(), "{algorithm}: {private}");
            }
            assert!(format!("{key:?}").starts_with("SigningKey { kid: "));
        }
    }
}
