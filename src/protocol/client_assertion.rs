//! `private_key_jwt`: what a client assertion must say, RFC 7523 §3 as RFC 10070 (the former rfc7523bis) changes it. Knows
//! no key; its signature is checked before any of this is believed.

use serde_json::{Map, Value};

use crate::model::id::ClientId;
use crate::model::time::{Timestamp, Ttl};

/// The one value of `client_assertion_type`, RFC 7523 §2.2.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The explicit type that RFC 10070 §4 gives an assertion.
const TYP: &str = "client-authentication+jwt";

/// No longer than a body may be; what is longer is not decoded.
pub const LONGEST: usize = 16 * 1024;

/// How far a client's clock may be ahead of ours.
pub const SKEW: Ttl = Ttl::from_secs(60);

/// How far ahead `exp` may be, besides a clock that is ahead. RFC 7523 §3 lets a server refuse what is "unreasonably far
/// in the future": as long as it lives, an assertion that was caught on its way can be used, and its id is kept. An hour
/// is what Authlib writes where nobody says otherwise.
pub const LONGEST_LIFE: Ttl = Ttl::from_secs(60 * 60);

/// Why an assertion with a good signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAssertion {
    /// Another kind of JWT that the client signs, such as a DPoP proof.
    #[error("its typ says that it is something else than a client assertion")]
    Type,
    /// RFC 7523 §3 item 1: for client authentication, the issuer is the client.
    #[error("its iss is not the client")]
    Issuer,
    /// RFC 7523 §3 item 2.
    #[error("its sub is not the client")]
    Subject,
    /// RFC 10070 §4: nothing but the issuer, so that no other server can pass an assertion on.
    #[error("its aud is not this issuer alone")]
    Audience,
    /// A claim is missing or not of its kind.
    #[error("its claim {0} is missing or malformed")]
    Claim(&'static str),
    /// RFC 7523 §3 item 4.
    #[error("it has expired")]
    Expired,
    /// RFC 7523 §3 item 4.
    #[error("its exp is more than an hour ahead")]
    LivesTooLong,
    /// RFC 7523 §3 items 5 and 6.
    #[error("its nbf or iat is in the future")]
    NotYet,
}

/// What an assertion is held against.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The exact issuer.
    pub issuer: &'a str,
    /// The client whose key signed it.
    pub client: &'a ClientId,
    /// The time.
    pub now: Timestamp,
}

/// An assertion that proves who its client is, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof<'a> {
    /// Its id, which must not have been seen before.
    pub jti: &'a str,
    /// Until when it would be taken.
    pub expires_at: Timestamp,
}

/// The client that an assertion claims to be of: only for finding the key that it must be signed with.
pub fn claimed_client(claims: &Map<String, Value>) -> Option<&str> {
    claims.get("sub").and_then(Value::as_str)
}

/// Judges the header and the claims of an assertion whose signature holds.
pub fn judge<'a>(
    header: &Map<String, Value>,
    claims: &'a Map<String, Value>,
    expected: &Expected<'_>,
) -> Result<Proof<'a>, InvalidAssertion> {
    // RFC 8725 §3.11: no other JWT of the client's may be taken for this one. Most clients still write JWT or nothing.
    let typ = header.get("typ");
    if typ.is_some_and(|typ| !typ.as_str().is_some_and(|typ| is_typ(typ, TYP) || is_typ(typ, "jwt"))) {
        return Err(InvalidAssertion::Type);
    }
    let client = expected.client.as_str();
    if claims.get("iss").and_then(Value::as_str) != Some(client) {
        return Err(InvalidAssertion::Issuer);
    }
    if claimed_client(claims) != Some(client) {
        return Err(InvalidAssertion::Subject);
    }
    if !is_sole_audience(claims.get("aud"), expected.issuer) {
        return Err(InvalidAssertion::Audience);
    }
    let jti = claims.get("jti").and_then(Value::as_str).filter(|jti| !jti.is_empty());
    let jti = jti.ok_or(InvalidAssertion::Claim("jti"))?;

    let expires_at = numeric_date(claims, "exp")?.ok_or(InvalidAssertion::Claim("exp"))?;
    if expires_at <= expected.now {
        return Err(InvalidAssertion::Expired);
    }
    if expires_at > expected.now.plus(LONGEST_LIFE).plus(SKEW) {
        return Err(InvalidAssertion::LivesTooLong);
    }
    let latest = expected.now.plus(SKEW);
    for name in ["nbf", "iat"] {
        if numeric_date(claims, name)?.is_some_and(|time| time > latest) {
            return Err(InvalidAssertion::NotYet);
        }
    }
    Ok(Proof { jti, expires_at })
}

/// RFC 10070 §4: the issuer "as its sole audience value", a string or an array with nothing else in it, compared as
/// strings. Not the token endpoint: a server that names ours as its own would get assertions that are good here.
fn is_sole_audience(aud: Option<&Value>, issuer: &str) -> bool {
    match aud {
        Some(Value::String(aud)) => aud == issuer,
        Some(Value::Array(all)) => matches!(all.as_slice(), [Value::String(aud)] if aud == issuer),
        _ => false,
    }
}

/// RFC 7515 §4.1.9: media types are compared without case, and `application/` may be left out.
pub(super) fn is_typ(typ: &str, expected: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").unwrap_or(&typ) == expected
}

/// A NumericDate of RFC 7519 §2, which may have a fraction: it is cut off, so that nothing lives longer by it.
pub(super) fn numeric_date(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<Timestamp>, InvalidAssertion> {
    /// Beyond any date, and exact in a double.
    const LATEST: f64 = 9_007_199_254_740_991.0;
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|secs| (0.0..=LATEST).contains(secs));
    match seconds {
        Some(seconds) => Ok(Some(Timestamp::from_secs(seconds as i64))),
        None => Err(InvalidAssertion::Claim(name)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://auth.example";
    const NOW: i64 = 1_800_000_000;

    fn claims() -> Value {
        json!({"iss": "app", "sub": "app", "aud": ISSUER, "exp": NOW + 60, "iat": NOW, "jti": "1"})
    }

    fn judged(header: Value, claims: &Value) -> Result<i64, InvalidAssertion> {
        let client = "app".parse().expect("an id");
        let expected = Expected { issuer: ISSUER, client: &client, now: Timestamp::from_secs(NOW) };
        let header = header.as_object().expect("an object");
        let proof = judge(header, claims.as_object().expect("an object"), &expected)?;
        assert_eq!(proof.jti, "1");
        Ok(proof.expires_at.as_secs())
    }

    fn with(name: &str, value: Value) -> Result<i64, InvalidAssertion> {
        let mut claims = claims();
        if value.is_null() {
            claims.as_object_mut().expect("an object").remove(name);
        } else {
            claims[name] = value;
        }
        judged(json!({}), &claims)
    }

    #[test]
    fn rfc_7523_section_3_what_says_everything_is_taken() {
        assert_eq!(judged(json!({}), &claims()), Ok(NOW + 60));
    }

    #[test]
    fn rfc_7523_section_3_issuer_and_subject_are_the_client() {
        for value in [Value::Null, json!("other"), json!("APP"), json!(["app"]), json!(1)] {
            assert_eq!(with("iss", value.clone()), Err(InvalidAssertion::Issuer), "{value}");
            assert_eq!(with("sub", value.clone()), Err(InvalidAssertion::Subject), "{value}");
        }
    }

    #[test]
    fn rfc_10070_section_4_the_audience_is_the_issuer_and_nothing_else() {
        for value in [
            Value::Null,
            json!("https://auth.example/"),
            json!("https://auth.example/token"),
            json!("https://AUTH.example"),
            json!([]),
            json!([ISSUER, "https://auth.example/token"]),
            json!([ISSUER, ISSUER]),
            json!([[ISSUER]]),
            json!({"aud": ISSUER}),
        ] {
            assert_eq!(with("aud", value.clone()), Err(InvalidAssertion::Audience), "{value}");
        }
        assert!(with("aud", json!([ISSUER])).is_ok());
    }

    #[test]
    fn rfc_10070_section_4_another_type_of_jwt_is_refused() {
        for typ in ["JWT", "jwt", "client-authentication+jwt", "application/Client-Authentication+JWT"] {
            assert!(judged(json!({"typ": typ}), &claims()).is_ok(), "{typ}");
        }
        for typ in [json!("dpop+jwt"), json!("at+jwt"), json!(""), json!(null), json!(["JWT"])] {
            assert_eq!(judged(json!({"typ": typ}), &claims()), Err(InvalidAssertion::Type), "{typ}");
        }
    }

    #[test]
    fn rfc_7523_section_3_an_assertion_has_an_id_and_an_end_that_is_near() {
        for (name, value) in [
            ("jti", Value::Null),
            ("jti", json!("")),
            ("jti", json!(7)),
            ("exp", Value::Null),
            ("exp", json!("1800000060")),
            ("exp", json!(-1)),
            ("exp", json!(1e300)),
            ("iat", json!("now")),
            ("nbf", json!(null)),
            ("nbf", json!([1])),
        ] {
            let mut claims = claims();
            claims[name] = value.clone();
            if value.is_null() && name != "nbf" {
                claims.as_object_mut().expect("an object").remove(name);
            }
            assert_eq!(judged(json!({}), &claims), Err(InvalidAssertion::Claim(name)), "{name} {value}");
        }
        assert_eq!(with("exp", json!(NOW)), Err(InvalidAssertion::Expired));
        assert_eq!(with("exp", json!(NOW as f64 + 0.9)), Err(InvalidAssertion::Expired));
        assert_eq!(with("exp", json!(NOW + 1)), Ok(NOW + 1));
        assert_eq!(with("exp", json!(NOW + 3660)), Ok(NOW + 3660));
        assert_eq!(with("exp", json!(NOW + 3661)), Err(InvalidAssertion::LivesTooLong));
    }

    #[test]
    fn rfc_7523_section_3_a_clock_may_be_a_minute_ahead() {
        for name in ["nbf", "iat"] {
            assert!(with(name, json!(NOW + 60)).is_ok(), "{name}");
            assert_eq!(with(name, json!(NOW + 61)), Err(InvalidAssertion::NotYet), "{name}");
            assert!(with(name, Value::Null).is_ok(), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_claims_panic(json in "\\{(\"(iss|sub|aud|exp|iat|nbf|jti)\":(-?[0-9]{1,25}(\\.[0-9])?|\"[a-z]{0,5}\"|\\[\\]|null),?){0,5}") {
            let json = format!("{}}}", json.trim_end_matches(','));
            if let Ok(Value::Object(claims)) = serde_json::from_str(&json) {
                let judged = judged(json!({}), &Value::Object(claims));
                proptest::prop_assert!(judged.is_err(), "no such claims are right by chance");
            }
        }
    }
}
