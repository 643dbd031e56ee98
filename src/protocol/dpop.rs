//! DPoP, RFC 9449: what a proof must say. Knows no signature; that of the proof's own key is checked before its claims are
//! believed, and tells only that whoever made the proof has that key.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use url::Url;

use crate::model::jwk::{PROOF_ALGORITHMS, PublicJwk};
use crate::model::time::{Timestamp, Ttl};

/// The name of the request header, RFC 9449 §4.1.
pub const HEADER: &str = "dpop";
/// The name of the response header, RFC 9449 §8.
pub const NONCE_HEADER: &str = "dpop-nonce";

/// Several times what the largest key makes of a proof; what is longer is not decoded.
pub const LONGEST: usize = 8 * 1024;

/// How old a proof without a nonce may be, RFC 9449 §11.1.
pub const OLDEST: Ttl = Ttl::from_secs(5 * 60);
/// How far the clock of whoever made it may be ahead.
pub const SKEW: Ttl = Ttl::from_secs(60);

/// Why a proof is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    /// There must be one: the client is registered so, or the token is bound to a key.
    #[error("there is no DPoP proof")]
    Missing,
    /// RFC 9449 §4.3 item 1.
    #[error("there is more than one DPoP header")]
    Several,
    /// RFC 9449 §4.3 items 2, 3 and 5.
    #[error("the DPoP proof cannot be read: {0}")]
    Unreadable(&'static str),
    /// RFC 9449 §4.3 item 4.
    #[error("the typ of the DPoP proof is not dpop+jwt")]
    Type,
    /// RFC 9449 §4.3 items 5 and 7.
    #[error("the DPoP proof has no public key of a supported kind in its jwk")]
    Key,
    /// RFC 9449 §4.3 item 6.
    #[error("the signature of the DPoP proof is refused: {0}")]
    Signature(&'static str),
    /// RFC 9449 §4.3 item 3.
    #[error("the claim {0} of the DPoP proof is missing or malformed")]
    Claim(&'static str),
    /// RFC 9449 §4.3 item 8.
    #[error("the DPoP proof is for another method")]
    Method,
    /// RFC 9449 §4.3 item 9.
    #[error("the DPoP proof is for another address")]
    Uri,
    /// RFC 9449 §4.3 item 10.
    #[error("the DPoP proof has no nonce of this server, or an old one")]
    Nonce,
    /// RFC 9449 §4.3 item 11.
    #[error("the DPoP proof is too old, or from the future")]
    Time,
    /// RFC 9449 §4.3 item 12.
    #[error("the DPoP proof is for another access token")]
    Token,
    /// RFC 9449 §4.3 item 12: "the public key to which the access token is bound".
    #[error("the DPoP proof is by another key than the access token's")]
    OtherKey,
    /// RFC 9449 §11.1.
    #[error("the DPoP proof was used before: its jti must be new each time")]
    Replayed,
}

/// What a proof is held against.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// The address of the request as clients know it, without query and fragment.
    pub uri: &'a str,
    /// The access token that comes with the request, if there is one.
    pub access_token: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

/// The nonce of a proof, as far as it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonce {
    /// It has one that this server gave out lately.
    Fresh,
    /// It has none, and needs none.
    None,
}

/// The one proof of a request: the values of its `DPoP` headers.
pub fn single<'a>(headers: &[&'a [u8]]) -> Result<Option<&'a str>, InvalidProof> {
    match headers {
        [] => Ok(None),
        [proof] => std::str::from_utf8(proof).map(Some).map_err(|_| {
            InvalidProof::Unreadable("it is not three parts of base64url with dots between them")
        }),
        [_, _, ..] => Err(InvalidProof::Several),
    }
}

/// The key in the header of a proof, which its signature is to be checked by.
pub fn key(header: &Map<String, Value>) -> Result<PublicJwk, InvalidProof> {
    // RFC 8725 §3.11: nothing else that somebody signed may be taken for a proof.
    if header.get("typ").and_then(Value::as_str) != Some("dpop+jwt") {
        return Err(InvalidProof::Type);
    }
    let jwk = header.get("jwk").and_then(Value::as_object).ok_or(InvalidProof::Key)?;
    PublicJwk::parse(jwk).map_err(|_| InvalidProof::Key)
}

/// The nonce that a proof says it was made with, still to be checked.
pub fn nonce(claims: &Map<String, Value>) -> Result<Option<&str>, InvalidProof> {
    match claims.get("nonce") {
        None => Ok(None),
        Some(Value::String(nonce)) => Ok(Some(nonce)),
        Some(_) => Err(InvalidProof::Claim("nonce")),
    }
}

/// Judges the claims of a proof whose signature holds; gives its `jti`, which must not have been seen before.
pub fn judge<'a>(
    claims: &'a Map<String, Value>,
    nonce: Nonce,
    expected: &Expected<'_>,
) -> Result<&'a str, InvalidProof> {
    let text = |name| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let required = |name| text(name).ok_or(InvalidProof::Claim(name));
    let jti = required("jti")?;
    // RFC 9110 §9.1: methods are case-sensitive.
    if required("htm")? != expected.method {
        return Err(InvalidProof::Method);
    }
    if !is_same_target(required("htu")?, expected.uri) {
        return Err(InvalidProof::Uri);
    }
    let made = super::client_assertion::numeric_date(claims, "iat");
    let made = made.ok().flatten().ok_or(InvalidProof::Claim("iat"))?;
    // RFC 9449 §4.3 item 11: the time is told by iat "or a server managed timestamp via the nonce claim", so that a fresh
    // nonce lets a client in whose clock is wrong.
    let is_now = made > expected.now.minus(OLDEST) && made <= expected.now.plus(SKEW);
    if nonce == Nonce::None && !is_now {
        return Err(InvalidProof::Time);
    }
    if let Some(token) = expected.access_token
        && text("ath") != Some(token_hash(token).as_str())
    {
        return Err(InvalidProof::Token);
    }
    Ok(jti)
}

/// RFC 9449 §4.2, `ath`: SHA-256 of the access token in base64url.
pub fn token_hash(access_token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, access_token.as_bytes()))
}

/// RFC 9449 §4.3 item 9: the same address "ignoring any query and fragment parts", after the normalization of RFC 3986
/// §6.2.2 and §6.2.3.
fn is_same_target(htu: &str, expected: &str) -> bool {
    match (normalized(htu), normalized(expected)) {
        (Some(htu), Some(expected)) => htu == expected,
        (None, _) | (_, None) => false,
    }
}

/// Lower-case scheme and host, no default port, no dot segments (all by `url`), and escapes in one spelling.
fn normalized(uri: &str) -> Option<String> {
    // What `url` would mend or drop silently, as browsers do: spaces, tabs, new lines, backslashes.
    if !uri.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return None;
    }
    let mut url = Url::parse(uri).ok()?;
    let is_plain =
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    if !is_plain {
        return None;
    }
    url.set_query(None);
    url.set_fragment(None);
    let mut text = String::with_capacity(uri.len());
    let mut rest = url.as_str();
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let digits = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match digits {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => text.push(byte.into()),
            Some(byte) => text.push_str(&format!("%{byte:02X}")),
            None => return None,
        }
        rest = &after[2..];
    }
    text.push_str(rest);
    Some(text)
}

/// Why a request with an access token is refused, as far as DPoP is concerned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The token is bound to a key and presented as if it were not, or the other way round.
    #[error("the access token is presented by the wrong scheme for what it is bound to")]
    Scheme,
    /// The proof.
    #[error(transparent)]
    Proof(#[from] InvalidProof),
    /// Whether the proof was used before cannot be known now: 503, and no challenge.
    #[error("the database is not available: {0}")]
    Unavailable(String),
}

impl Refused {
    /// The code and the sentence of the 401, RFC 9449 §7.1; `None` where the answer is 503.
    pub const fn answer(&self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::Scheme => (
                "invalid_token",
                "Present a token that is bound to a key as DPoP with a proof, and any other as Bearer.",
            ),
            Self::Proof(InvalidProof::Nonce) => {
                ("use_dpop_nonce", "Send a new proof with the nonce in the DPoP-Nonce header.")
            }
            Self::Proof(InvalidProof::OtherKey) => {
                ("invalid_token", "The proof is by another key than the access token is bound to.")
            }
            Self::Proof(_) => ("invalid_dpop_proof", "The DPoP proof is missing, invalid or used already."),
            Self::Unavailable(_) => return None,
        })
    }
}

/// What proofs may be signed with, as a challenge says it (RFC 9449 §7.1).
pub fn challenge_algorithms() -> String {
    format!(r#"algs="{}""#, PROOF_ALGORITHMS.map(|(name, _)| name).join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const URI: &str = "https://auth.example/token";

    fn expected(access_token: Option<&str>) -> Expected<'_> {
        Expected { method: "POST", uri: URI, access_token, now: Timestamp::from_secs(NOW) }
    }

    fn judged(name: &str, value: Value, nonce: Nonce) -> Result<String, InvalidProof> {
        let mut claims = json!({"jti": "1", "htm": "POST", "htu": URI, "iat": NOW});
        if value.is_null() {
            claims.as_object_mut().expect("an object").remove(name);
        } else {
            claims[name] = value;
        }
        judge(claims.as_object().expect("an object"), nonce, &expected(None)).map(str::to_owned)
    }

    #[test]
    fn rfc_9449_section_4_3_each_claim_is_there_and_fits() {
        assert_eq!(judged("x", json!(1), Nonce::None), Ok("1".to_owned()));
        for (name, value, why) in [
            ("jti", Value::Null, InvalidProof::Claim("jti")),
            ("jti", json!(""), InvalidProof::Claim("jti")),
            ("jti", json!(1), InvalidProof::Claim("jti")),
            ("htm", Value::Null, InvalidProof::Claim("htm")),
            ("htm", json!("post"), InvalidProof::Method),
            ("htm", json!("GET"), InvalidProof::Method),
            ("htu", Value::Null, InvalidProof::Claim("htu")),
            ("htu", json!("https://auth.example/userinfo"), InvalidProof::Uri),
            ("iat", Value::Null, InvalidProof::Claim("iat")),
            ("iat", json!("1800000000"), InvalidProof::Claim("iat")),
            ("iat", json!(NOW - 300), InvalidProof::Time),
            ("iat", json!(NOW + 61), InvalidProof::Time),
        ] {
            assert_eq!(judged(name, value.clone(), Nonce::None), Err(why), "{name} {value}");
        }
        for iat in [NOW - 299, NOW + 60] {
            assert!(judged("iat", json!(iat), Nonce::None).is_ok(), "{iat}");
        }
    }

    #[test]
    fn rfc_9449_section_4_3_item_11_a_fresh_nonce_tells_the_time_instead() {
        assert!(judged("iat", json!(1), Nonce::Fresh).is_ok());
        assert_eq!(judged("iat", Value::Null, Nonce::Fresh), Err(InvalidProof::Claim("iat")));
    }

    #[test]
    fn rfc_9449_section_4_3_item_9_addresses_are_compared_as_rfc_3986_normalizes_them() {
        for same in [
            "https://auth.example/token",
            "HTTPS://AUTH.Example:443/token",
            "https://auth.example/./x/../token",
            "https://auth.example/%74oken",
            "https://auth.example/token?a=b",
            "https://auth.example/token#c",
            "https://auth.example/token?",
        ] {
            assert!(is_same_target(same, URI), "{same}");
        }
        for other in [
            "",
            "/token",
            "token",
            "http://auth.example/token",
            "https://auth.example:444/token",
            "https://auth.example/token/",
            "https://auth.example/Token",
            "https://auth.example//token",
            "https://auth.example.evil.example/token",
            "https://auth.example@evil.example/token",
            "https://user@auth.example/token",
            "https:\\\\auth.example\\token",
            "https://auth.example/to\nken",
            " https://auth.example/token",
            "https://auth.example/%2Ftoken",
            "https://auth.example/%zz",
            "https://auth.example/token%",
            "data:text/plain,x",
        ] {
            assert!(!is_same_target(other, URI), "{other}");
        }
        assert!(is_same_target("https://a.example/%c3%a4", "https://a.example/%C3%A4"));
        assert!(is_same_target("http://[::1]:80/token", "http://[0:0::1]/token"));
    }

    #[test]
    fn rfc_9449_section_4_2_a_proof_beside_an_access_token_holds_its_hash() {
        // RFC 9449 §7.1, figure 12 and its proof in figure 13.
        let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
        let ath = "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo";
        assert_eq!(token_hash(token), ath);

        let claims = |ath: Value| json!({"jti": "1", "htm": "POST", "htu": URI, "iat": NOW, "ath": ath});
        for (ath, verdict) in [
            (json!(ath), Ok("1")),
            (json!(format!("{ath}=")), Err(InvalidProof::Token)),
            (json!(token), Err(InvalidProof::Token)),
            (json!(null), Err(InvalidProof::Token)),
        ] {
            let claims = claims(ath);
            let claims = claims.as_object().expect("an object");
            assert_eq!(judge(claims, Nonce::None, &expected(Some(token))), verdict);
        }
    }

    #[test]
    fn rfc_9449_section_4_3_a_proof_says_what_it_is_and_shows_a_public_key_alone() {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let key = |header: Value| key(header.as_object().expect("an object")).map(drop);
        let with = |name: &str, value: Value| {
            let mut jwk = jwk.clone();
            jwk[name] = value;
            key(json!({"typ": "dpop+jwt", "jwk": jwk}))
        };

        assert_eq!(key(json!({"typ": "dpop+jwt", "jwk": jwk})), Ok(()));
        for typ in [json!("JWT"), json!("at+jwt"), json!("DPOP+JWT"), json!(null), json!(1)] {
            assert_eq!(key(json!({"typ": typ, "jwk": jwk})), Err(InvalidProof::Type), "{typ}");
        }
        assert_eq!(key(json!({"typ": "dpop+jwt"})), Err(InvalidProof::Key));
        assert_eq!(key(json!({"typ": "dpop+jwt", "jwk": [jwk]})), Err(InvalidProof::Key));
        assert_eq!(with("d", json!("AA")), Err(InvalidProof::Key));
        assert_eq!(with("k", json!("AA")), Err(InvalidProof::Key));
        assert_eq!(with("kty", json!("oct")), Err(InvalidProof::Key));
        assert_eq!(with("use", json!("enc")), Err(InvalidProof::Key));
    }

    #[test]
    fn rfc_9449_section_4_3_item_1_there_is_one_header() {
        assert_eq!(single(&[]), Ok(None));
        assert_eq!(single(&[b"a.b.c"]), Ok(Some("a.b.c")));
        assert_eq!(single(&[b"a", b"a"]), Err(InvalidProof::Several));
        assert!(matches!(single(&[b"\xff"]), Err(InvalidProof::Unreadable(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_address_panics_and_each_is_the_same_as_itself(path in "[!-~]{0,30}", any in "\\PC{0,30}") {
            let _ = is_same_target(&any, URI);
            let uri = format!("https://auth.example/{path}");
            if let Some(once) = normalized(&uri) {
                proptest::prop_assert!(is_same_target(&uri, &uri));
                proptest::prop_assert!(!once.contains(['?', '#']));
            }
        }
    }
}
