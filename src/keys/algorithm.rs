//! One row per signature algorithm: how its keys are made, read and used. Must not know of key ids,
//! claims, or where keys are kept. To add an algorithm, add its variant to the model and a row to [`row`].

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    RsaPublicKeyComponents,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey};
use zeroize::Zeroizing;

use crate::model::key::SigningAlgorithm;

/// The size of RSA keys made here. RFC 7518 §3.3 demands 2048 bits or more; NIST SP 800-57 part 1 and
/// SP 800-131A accept 2048 through 2030, which is longer than a key lives that is replaced every month
/// and whose signatures matter for minutes. 3072 bits would make each signature three times as dear
/// and half as long again, in a header that every request carries; who wants more strength has ES256.
const RSA_SIZE: KeySize = KeySize::Rsa2048;

/// What jsonwebtoken calls an algorithm, and how its keys work.
pub(super) struct Row {
    /// Its name to jsonwebtoken.
    pub(super) jwt: Algorithm,
    scheme: Scheme,
}

enum Scheme {
    Ecdsa(&'static EcdsaSigningAlgorithm),
    Rsa(&'static dyn RsaEncoding),
    Ed25519,
}

/// The row of `algorithm`.
pub(super) fn row(algorithm: SigningAlgorithm) -> Row {
    let (jwt, scheme) = match algorithm {
        SigningAlgorithm::Es256 => (Algorithm::ES256, Scheme::Ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)),
        SigningAlgorithm::Es384 => (Algorithm::ES384, Scheme::Ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)),
        SigningAlgorithm::Rs256 => (Algorithm::RS256, Scheme::Rsa(&RSA_PKCS1_SHA256)),
        SigningAlgorithm::Ps256 => (Algorithm::PS256, Scheme::Rsa(&RSA_PSS_SHA256)),
        SigningAlgorithm::EdDsa => (Algorithm::EdDSA, Scheme::Ed25519),
    };
    Row { jwt, scheme }
}

/// A private key that was parsed and checked once. Wiped by aws-lc when dropped.
pub(super) enum PrivateKey {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ed25519(Ed25519KeyPair),
}

impl Row {
    /// A new key and its PKCS#8 document.
    pub(super) fn generate(&self) -> Result<(PrivateKey, Zeroizing<Vec<u8>>), Unspecified> {
        match self.scheme {
            Scheme::Ecdsa(curve) => {
                let pair = EcdsaKeyPair::generate(curve)?;
                let pkcs8 = Zeroizing::new(pair.to_pkcs8v1()?.as_ref().to_vec());
                Ok((PrivateKey::Ecdsa(pair), pkcs8))
            }
            Scheme::Rsa(padding) => {
                let pair = RsaKeyPair::generate(RSA_SIZE)?;
                let document: Pkcs8V1Der<'_> = pair.as_der()?;
                let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
                Ok((PrivateKey::Rsa(pair, padding), pkcs8))
            }
            Scheme::Ed25519 => {
                let pair = Ed25519KeyPair::generate()?;
                let pkcs8 = Zeroizing::new(pair.to_pkcs8v1()?.as_ref().to_vec());
                Ok((PrivateKey::Ed25519(pair), pkcs8))
            }
        }
    }

    /// The key in a PKCS#8 document; refused if it is of another kind or its halves do not fit.
    pub(super) fn parse(&self, pkcs8: &[u8]) -> Result<PrivateKey, KeyRejected> {
        Ok(match self.scheme {
            Scheme::Ecdsa(curve) => PrivateKey::Ecdsa(EcdsaKeyPair::from_pkcs8(curve, pkcs8)?),
            Scheme::Rsa(padding) => PrivateKey::Rsa(RsaKeyPair::from_pkcs8(pkcs8)?, padding),
            Scheme::Ed25519 => PrivateKey::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8)?),
        })
    }

    /// What `jsonwebtoken::encode` is given in place of a key: of the right family, with `handle` inside.
    pub(super) fn encoding_key(&self, handle: &[u8]) -> EncodingKey {
        match self.jwt.family() {
            AlgorithmFamily::Ec => EncodingKey::from_ec_der(handle),
            AlgorithmFamily::Rsa => EncodingKey::from_rsa_der(handle),
            AlgorithmFamily::Ed => EncodingKey::from_ed_der(handle),
            AlgorithmFamily::Hmac => EncodingKey::from_secret(handle),
        }
    }
}

impl PrivateKey {
    /// Signs `message` in the form that RFC 7518 §3 and RFC 8037 §3.1 give a JWS.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        match self {
            Self::Ecdsa(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Self::Rsa(pair, padding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*padding, &random, message, &mut signature)?;
                Ok(signature)
            }
            Self::Ed25519(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
        }
    }

    /// The public half.
    pub(super) fn public(&self) -> DecodingKey {
        match self {
            Self::Ecdsa(pair) => DecodingKey::from_ec_der(pair.public_key().as_ref()),
            Self::Rsa(pair, _) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                DecodingKey::from_rsa_raw_components(&public.n, &public.e)
            }
            Self::Ed25519(pair) => DecodingKey::from_ed_der(pair.public_key().as_ref()),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::DecodingKeyKind;

    use super::*;

    /// RFC 8037 appendix A.1, `d`, inside the PKCS#8 frame of RFC 8410 §7.
    fn rfc_8037_pkcs8() -> Vec<u8> {
        let mut pkcs8 = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
        pkcs8.extend(seed.expect("base64url"));
        pkcs8
    }

    #[test]
    fn ed25519_signs_as_rfc_8037_appendix_a_4_says() {
        let key = row(SigningAlgorithm::EdDsa).parse(&rfc_8037_pkcs8()).expect("parses");

        let signature = key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc").expect("signs");

        assert_eq!(
            URL_SAFE_NO_PAD.encode(signature),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
    }

    #[test]
    fn the_names_agree_with_those_of_jsonwebtoken() {
        for algorithm in SigningAlgorithm::ALL {
            let named: Algorithm = algorithm.as_str().parse().expect("known");

            assert_eq!(row(algorithm).jwt, named);
        }
    }

    #[test]
    fn a_document_is_read_by_its_own_algorithm_only() {
        for made in SigningAlgorithm::ALL {
            let (_, pkcs8) = row(made).generate().expect("made");
            for read in SigningAlgorithm::ALL {
                let same_kind = made == read || (is_rsa(made) && is_rsa(read));

                assert_eq!(row(read).parse(&pkcs8).is_ok(), same_kind, "{made} as {read}");
            }
        }
    }

    #[test]
    fn a_damaged_document_is_refused() {
        for algorithm in SigningAlgorithm::ALL {
            let (_, pkcs8) = row(algorithm).generate().expect("made");

            for length in [0, 1, 20, pkcs8.len() / 2, pkcs8.len() - 1] {
                assert!(row(algorithm).parse(&pkcs8[..length]).is_err(), "{algorithm}, {length} bytes");
            }
            assert!(row(algorithm).parse(&[0xff; 200]).is_err());
        }
    }

    #[test]
    fn rsa_keys_are_of_2048_bits_with_the_usual_exponent() {
        let (key, _) = row(SigningAlgorithm::Rs256).generate().expect("made");

        let public = key.public();

        let DecodingKeyKind::RsaModulusExponent { n, e } = public.kind() else { panic!("not RSA") };
        assert_eq!((n.len(), n[0] >> 7, e.as_slice()), (256, 1, [1, 0, 1].as_slice()));
    }

    fn is_rsa(algorithm: SigningAlgorithm) -> bool {
        matches!(algorithm, SigningAlgorithm::Rs256 | SigningAlgorithm::Ps256)
    }
}
