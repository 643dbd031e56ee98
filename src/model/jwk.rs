//! Public keys of others as they write them, RFC 7517: read strictly, once. Knows no cryptography; whether numbers are a
//! point of a curve is not seen here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::id::excerpt;
use super::key::SigningAlgorithm;
use super::strict_json;

/// What others may sign with, by the names that stand in `alg`. All are asymmetric. `Ed25519` is what RFC 9864 §2.2 calls
/// the `EdDSA` of RFC 8037 with this curve, and what newer libraries write.
pub const PROOF_ALGORITHMS: [(&str, SigningAlgorithm); 5] = [
    ("ES256", SigningAlgorithm::Es256),
    ("RS256", SigningAlgorithm::Rs256),
    ("PS256", SigningAlgorithm::Ps256),
    ("EdDSA", SigningAlgorithm::EdDsa),
    ("Ed25519", SigningAlgorithm::EdDsa),
];

/// The algorithm that others call `name`, if they may sign with it.
pub fn proof_algorithm(name: &str) -> Option<SigningAlgorithm> {
    PROOF_ALGORITHMS.into_iter().find(|(known, _)| *known == name).map(|(_, algorithm)| algorithm)
}

/// Bytes of a file of keys; larger than any that a client needs.
pub const LONGEST_SET: usize = 32 * 1024;
/// Keys of one client: enough for an old and a new one of every kind.
pub const MOST_KEYS: usize = 16;
/// Characters of a key id.
const LONGEST_KID: usize = 256;
/// RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used". A check takes four times as long for twice the bits,
/// and strangers bring keys of their own (RFC 9449 §4.2).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// 65537, which everybody uses: FIPS 186-5 §A.1.1 allows nothing below 2^16, where forgeries of sloppy padding begin, and
/// what is longer costs us time.
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// Members that only a private key (RFC 7518 §6.2.2, §6.3.2, RFC 8037 §2) or a symmetric one (§6.4) has.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The numbers of a public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// A point of the curve P-256, if it is one.
    P256 {
        /// Its first coordinate, big-endian.
        x: [u8; 32],
        /// Its second coordinate, big-endian.
        y: [u8; 32],
    },
    /// RSA with 2048 to 4096 bits.
    Rsa {
        /// The modulus, big-endian, without leading zeros.
        n: Vec<u8>,
        /// The exponent 65537, big-endian, without leading zeros.
        e: Vec<u8>,
    },
    /// An Ed25519 key, if it is one.
    Ed25519 {
        /// As RFC 8032 writes it.
        x: [u8; 32],
    },
}

/// Why a JWK is refused. None repeats anything of it but its names, for a private key may be among what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJwk {
    /// Somebody gives away a secret.
    #[error(
        "it has the member '{0}', which only a private or a symmetric key has: give the public half alone, and replace the key if anybody else could read it"
    )]
    Private(&'static str),
    /// RFC 7518 §6.4: a shared secret.
    #[error(
        "it is a symmetric key (kty \"oct\"): use an EC, OKP or RSA key, whose public half proves nothing"
    )]
    Symmetric,
    /// A member that keys of its kind have is missing or is not what it should be.
    #[error("its member '{0}' is missing or malformed (RFC 7518 §6, RFC 8037 §2)")]
    Member(&'static str),
    /// Too small to be safe, or too large to be checked for strangers.
    #[error("it is an RSA key of {0} bits: use 2048 to 4096 (RFC 7518 §3.3)")]
    RsaSize(usize),
    /// Unsafe, or slow to check for strangers.
    #[error(
        "it is an RSA key whose exponent is not 65537: make one with that exponent, as all tools do by default"
    )]
    RsaExponent,
    /// A key of a kind, curve, algorithm or use that signs nothing here.
    #[error(
        "it cannot be used here: ES256 (EC, P-256), EdDSA (OKP, Ed25519), RS256 and PS256 (RSA) are taken, with `use` \"sig\" and `key_ops` \"verify\" where they are named"
    )]
    Unusable,
}

/// A public key that others sign with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicJwk {
    kid: Option<String>,
    alg: Option<SigningAlgorithm>,
    key: PublicKey,
}

impl PublicJwk {
    /// Reads a JWK.
    pub fn parse(jwk: &Map<String, Value>) -> Result<Self, InvalidJwk> {
        if let Some(name) = PRIVATE.into_iter().find(|name| jwk.contains_key(*name)) {
            return Err(InvalidJwk::Private(name));
        }
        let text = |name: &'static str| match jwk.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(InvalidJwk::Member(name)),
        };
        let kid = text("kid")?.map(str::to_owned);
        if kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > LONGEST_KID) {
            return Err(InvalidJwk::Member("kid"));
        }
        let kty = text("kty")?.ok_or(InvalidJwk::Member("kty"))?;
        if kty == "oct" {
            return Err(InvalidJwk::Symmetric);
        }
        // RFC 7517 §4.2 and §4.3: what a key is for is its owner's word.
        if text("use")?.is_some_and(|used| used != "sig") || !may_verify(jwk.get("key_ops"))? {
            return Err(InvalidJwk::Unusable);
        }
        let alg = text("alg")?.map(|name| proof_algorithm(name).ok_or(InvalidJwk::Unusable)).transpose()?;

        let bytes = |name| decoded(text(name)?, name);
        let key = match (kty, text("crv")?) {
            ("EC", Some("P-256")) => {
                PublicKey::P256 { x: fixed(bytes("x")?, "x")?, y: fixed(bytes("y")?, "y")? }
            }
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519 { x: fixed(bytes("x")?, "x")? },
            ("RSA", _) => rsa(bytes("n")?, bytes("e")?)?,
            ("EC" | "OKP", None) => return Err(InvalidJwk::Member("crv")),
            _ => return Err(InvalidJwk::Unusable),
        };
        let jwk = Self { kid, alg, key };
        // RFC 7517 §4.4: the algorithm that the key is meant for, which must be one of its kind.
        if alg.is_some_and(|alg| !jwk.key.signs(alg)) { Err(InvalidJwk::Member("alg")) } else { Ok(jwk) }
    }

    /// Its id, as its owner calls it.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Its numbers.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether it may be asked about a signature of `algorithm`: the key says so, not the message (RFC 8725 §3.1).
    pub fn signs(&self, algorithm: SigningAlgorithm) -> bool {
        self.alg.is_none_or(|alg| alg == algorithm) && self.key.signs(algorithm)
    }

    fn to_value(&self) -> Value {
        let required = self.key.thumbprint_input();
        let mut jwk = strict_json::object(required.as_bytes()).expect("it was just written");
        if let Some(kid) = &self.kid {
            jwk.insert("kid".into(), json!(kid));
        }
        if let Some(alg) = self.alg {
            jwk.insert("alg".into(), json!(alg.as_str()));
        }
        Value::Object(jwk)
    }
}

impl PublicKey {
    fn signs(&self, algorithm: SigningAlgorithm) -> bool {
        match self {
            Self::P256 { .. } => algorithm == SigningAlgorithm::Es256,
            Self::Rsa { .. } => matches!(algorithm, SigningAlgorithm::Rs256 | SigningAlgorithm::Ps256),
            Self::Ed25519 { .. } => algorithm == SigningAlgorithm::EdDsa,
        }
    }

    /// What RFC 7638 §3 hashes: the required members alone, sorted, without a space.
    pub fn thumbprint_input(&self) -> String {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::P256 { x, y } => {
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y))
            }
            Self::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n)),
            Self::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(x)),
        }
    }
}

fn may_verify(key_ops: Option<&Value>) -> Result<bool, InvalidJwk> {
    match key_ops {
        None => Ok(true),
        Some(Value::Array(ops)) => Ok(ops.iter().any(|op| op == "verify")),
        Some(_) => Err(InvalidJwk::Member("key_ops")),
    }
}

fn decoded(text: Option<&str>, name: &'static str) -> Result<Vec<u8>, InvalidJwk> {
    let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes.ok_or(InvalidJwk::Member(name))
}

fn fixed(bytes: Vec<u8>, name: &'static str) -> Result<[u8; 32], InvalidJwk> {
    bytes.try_into().map_err(|_| InvalidJwk::Member(name))
}

fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<PublicKey, InvalidJwk> {
    // RFC 7518 §2, Base64urlUInt: "the minimum number of octets", so that one key has one thumbprint.
    let first = |bytes: &[u8], name| match bytes.first() {
        Some(0) | None => Err(InvalidJwk::Member(name)),
        Some(first) => Ok(*first),
    };
    let bits = n.len() * 8 - first(&n, "n")?.leading_zeros() as usize;
    first(&e, "e")?;
    if !RSA_BITS.contains(&bits) {
        return Err(InvalidJwk::RsaSize(bits));
    }
    if e != RSA_EXPONENT {
        return Err(InvalidJwk::RsaExponent);
    }
    // An even modulus is no key.
    match n.last() {
        Some(last) if last % 2 == 1 => Ok(PublicKey::Rsa { n, e }),
        _ => Err(InvalidJwk::Member("n")),
    }
}

/// The public keys of a client: no two of one name, and at least one when they are registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwkSet(Vec<PublicJwk>);

/// Why a text is no JWK Set that a client can be registered with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJwkSet {
    /// Not worth reading.
    #[error("the JWK Set is larger than {LONGEST_SET} bytes: give the client's signing keys alone")]
    TooLong,
    /// No JSON object, or one that two readers read differently.
    #[error("the JWK Set is not one JSON object with each name once: it looks like {{\"keys\": [{{…}}]}}")]
    Json,
    /// RFC 7517 §5.
    #[error(
        "the JWK Set has no member `keys` that is an array of objects: it looks like {{\"keys\": [{{…}}]}}"
    )]
    NoKeys,
    /// One of the keys is no good.
    #[error("key {number} of the JWK Set is refused: {why}")]
    Key {
        /// Its place, from 1.
        number: usize,
        /// Why.
        why: InvalidJwk,
    },
    /// Which of the two signed?
    #[error("two keys of the JWK Set have the kid '{0}': give each its own")]
    KidTwice(String),
    /// Nothing that could ever sign.
    #[error(
        "no key of the JWK Set can be used here: give at least one for ES256 (EC, P-256), EdDSA (OKP, Ed25519), RS256 or PS256 (RSA)"
    )]
    NoneUsable,
    /// More than anybody needs.
    #[error("the JWK Set has more than {MOST_KEYS} keys: leave out those that sign no more")]
    TooMany,
}

impl JwkSet {
    /// Reads a JWK Set. Keys that cannot be used here are left out (RFC 7517 §5), but what is secret, small or malformed
    /// is a mistake that somebody must hear of.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidJwkSet> {
        let set = Self::read(json, |why| matches!(why, InvalidJwk::Unusable))?;
        if set.0.is_empty() { Err(InvalidJwkSet::NoneUsable) } else { Ok(set) }
    }

    /// Reads a set as [`JwkSet::to_json`] wrote it, maybe long ago: RSA keys that were taken then and are not any more are
    /// left out, though it be all of them.
    pub fn parse_stored(json: &[u8]) -> Result<Self, InvalidJwkSet> {
        Self::read(json, |why| matches!(why, InvalidJwk::RsaSize(_) | InvalidJwk::RsaExponent))
    }

    fn read(json: &[u8], is_left_out: fn(&InvalidJwk) -> bool) -> Result<Self, InvalidJwkSet> {
        if json.len() > LONGEST_SET {
            return Err(InvalidJwkSet::TooLong);
        }
        let set = strict_json::object(json).ok_or(InvalidJwkSet::Json)?;
        let listed = set.get("keys").and_then(Value::as_array).ok_or(InvalidJwkSet::NoKeys)?;
        let mut keys: Vec<PublicJwk> = Vec::new();
        for (index, jwk) in listed.iter().enumerate() {
            let jwk = match PublicJwk::parse(jwk.as_object().ok_or(InvalidJwkSet::NoKeys)?) {
                Ok(jwk) => jwk,
                Err(why) if is_left_out(&why) => continue,
                Err(why) => return Err(InvalidJwkSet::Key { number: index + 1, why }),
            };
            if jwk.kid().is_some_and(|kid| keys.iter().any(|known| known.kid() == Some(kid))) {
                return Err(InvalidJwkSet::KidTwice(excerpt(jwk.kid().unwrap_or_default())));
            }
            keys.push(jwk);
        }
        if keys.len() > MOST_KEYS { Err(InvalidJwkSet::TooMany) } else { Ok(Self(keys)) }
    }

    /// The keys, in their order.
    pub fn keys(&self) -> &[PublicJwk] {
        &self.0
    }

    /// The set with what grantd knows of each key, as it is stored: [`JwkSet::parse_stored`] reads it back.
    pub fn to_json(&self) -> String {
        json!({"keys": self.0.iter().map(PublicJwk::to_value).collect::<Vec<_>>()}).to_string()
    }
}

#[cfg(test)]
mod tests;
