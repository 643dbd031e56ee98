//! Access tokens as strangers present them, looked at with the key ring of an issuer.
//!
//! The first byte says what the rest is: `t` a token's text, `m` changes to tokens that the issuer signed, `c` the
//! JSON of claims and `h` that of a header, both of which its key then signs, `d` the JSON of a claim that is put
//! before the good ones. Must not know of revocation or of HTTP.

use std::sync::{Arc, LazyLock};

use arbitrary::{Result, Unstructured};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use grantd::keys::{Expectations, KeyRing, Outcome, PublishedKey, SigningKey};
use grantd::model::key::{KeyState, SigningAlgorithm, SigningKeyInfo};
use grantd::model::time::{Timestamp, Ttl};
use serde_json::{Map, Value, json};

const ISSUER: &str = "https://auth.example.com";
const NOW: i64 = 1_700_000_000;
const SKEW: u32 = 5;
const REQUIRED: [&str; 7] = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"];

/// No token is valid but one that the issuer's key signed, of the right kind, for now.
pub(crate) fn holds(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind {
        b'm' => drop(check_changed(&mut Unstructured::new(rest))),
        b'c' => check_claims(rest),
        b'h' => check_header(rest),
        b'd' => check_doubled(rest),
        // Nobody who writes inputs has the key.
        _ => drop(std::str::from_utf8(rest).map(|text| assert!(inspect(text).is_none(), "forged: {text}"))),
    }
}

const EPOCH: Timestamp = Timestamp::from_secs(0);

struct World {
    ring: KeyRing,
    /// The Ed25519 key once more, to sign what grantd never would.
    pair: Ed25519KeyPair,
    header: String,
    claims: Map<String, Value>,
    tokens: [String; 2],
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    // RFC 8037 appendix A.1, inside the PKCS#8 frame of RFC 8410 §7.
    let mut pkcs8 = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    pkcs8.extend(seed.expect("base64url"));
    let ed25519 = SigningKey::parse(SigningAlgorithm::EdDsa, &pkcs8).expect("a key");
    let (p256, _) = SigningKey::generate(SigningAlgorithm::Es256).expect("a key");
    let claims = json!({
        "iss": ISSUER, "sub": "app", "aud": "https://api.example.com", "exp": NOW + 600, "iat": NOW,
        "jti": "1", "client_id": "app", "scope": "read",
    });

    let tokens = [&ed25519, &p256].map(|key| key.sign("at+jwt", &claims).expect("signed"));
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": ed25519.kid().as_str()}).to_string();
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).expect("a key");
    let Value::Object(claims) = claims else { unreachable!("it is an object") };
    World { ring: KeyRing::new([ed25519, p256].map(published).into()), pair, header, claims, tokens }
});

fn published(key: SigningKey) -> PublishedKey {
    let info = SigningKeyInfo {
        kid: key.kid().clone(),
        algorithm: key.algorithm(),
        state: KeyState::Active { since: EPOCH },
        created_at: EPOCH,
        longest_ttl: Ttl::ZERO,
    };
    PublishedKey { key: Arc::new(key), info, seen_at: EPOCH, signs_from: EPOCH }
}

/// The claims if all holds. Whatever fails is said in a sentence that a terminal can show.
fn inspect(jwt: &str) -> Option<Map<String, Value>> {
    let now = Timestamp::from_secs(NOW);
    let expected = Expectations { issuer: ISSUER, now, clock_skew: Ttl::from_secs(SKEW) };
    let inspection = WORLD.ring.inspect(jwt, &expected);

    for check in &inspection.checks {
        if let Outcome::Fails(why) = &check.outcome {
            let sentence = why.to_string();
            assert!(!sentence.contains(char::is_control) && sentence.len() < 1500, "{sentence:?}");
        }
    }
    if !inspection.holds() {
        return None;
    }
    let claims = WORLD.ring.verify(jwt, &expected).expect("all holds").claims;
    assert_eq!(inspection.claims.as_ref(), Some(&claims));
    Some(claims)
}

fn compact(header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = WORLD.pair.try_sign(message.as_bytes()).expect("signed");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// Any change to a token, also one that mixes two of them, is seen.
fn check_changed(u: &mut Unstructured<'_>) -> Result<()> {
    let mut bytes = u.choose(&WORLD.tokens)?.clone().into_bytes();
    for _ in 0..u.int_in_range(1..=4)? {
        let at = u.choose_index(bytes.len().max(1))?;
        match u.int_in_range(0..=6)? {
            0 | 1 if at < bytes.len() => bytes[at] = u.int_in_range(b'!'..=b'~')?,
            2 => bytes.insert(at, u.int_in_range(b'!'..=b'~')?),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            5 => {
                let other = u.choose(&WORLD.tokens)?.as_bytes();
                let part = u.int_in_range(0..=2)?;
                let mut parts: Vec<&[u8]> = bytes.split(|byte| *byte == b'.').collect();
                if parts.len() > part {
                    parts[part] = other.split(|byte| *byte == b'.').nth(part).unwrap_or_default();
                    bytes = parts.join(&b'.');
                }
            }
            _ => {
                let part = URL_SAFE_NO_PAD.encode(u.bytes(u.len().min(40))?);
                bytes.splice(at..at, part.into_bytes());
            }
        }
    }
    let text = String::from_utf8(bytes).expect("ASCII");
    assert_eq!(inspect(&text).is_some(), WORLD.tokens.contains(&text), "{text}");
    Ok(())
}

/// RFC 9068 §4: with the issuer's own signature, a token must still be one of its own and good now.
fn check_claims(json: &[u8]) {
    let Some(claims) = inspect(&compact(WORLD.header.as_bytes(), json)) else {
        let good: Option<Value> = serde_json::from_slice(json).ok();
        assert_ne!(good, Some(Value::Object(WORLD.claims.clone())), "a good token is refused");
        return;
    };
    let read: Value = serde_json::from_slice(json).expect("JSON");
    assert_eq!(read.as_object(), Some(&claims));
    let seconds = |name: &str| claims[name].as_i64().filter(|secs| *secs >= 0).expect("a NumericDate");
    assert_eq!(claims["iss"], ISSUER);
    assert!(seconds("exp") > NOW && seconds("iat") <= NOW + i64::from(SKEW));
    assert!(!claims.contains_key("nbf") || seconds("nbf") <= NOW + i64::from(SKEW));
    for name in ["sub", "jti", "client_id"] {
        assert!(claims[name].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
    let named = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let audience = &claims["aud"];
    assert!(
        named(audience) || audience.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(named))
    );
}

/// RFC 8725 §3.1: the header chooses nothing.
fn check_header(json: &[u8]) {
    let claims = serde_json::to_vec(&WORLD.claims).expect("JSON");
    if inspect(&compact(json, &claims)).is_some() {
        let header: Value = serde_json::from_slice(json).expect("JSON");
        let only: Value = serde_json::from_str(&WORLD.header).expect("JSON");
        assert_eq!(header, only, "a header that grantd never writes is taken");
    }
}

/// RFC 7519 §4: of two claims with one name some readers take the first, some the last.
fn check_doubled(value: &[u8]) {
    let Ok(value) = std::str::from_utf8(value) else { return };
    let good = serde_json::to_string(&WORLD.claims).expect("JSON");
    let name = REQUIRED[value.len() % REQUIRED.len()];
    // Only a whole value: another text could close the object and open one of its own.
    if serde_json::from_str::<Value>(value).is_ok() {
        let doubled = format!("{{\"{name}\":{value},{}", &good[1..]);
        assert!(inspect(&compact(WORLD.header.as_bytes(), doubled.as_bytes())).is_none(), "{doubled}");
    }
}
