//! The compact form of a JWS, RFC 7515 §7.1, taken apart strictly. Must not know what it is for: nothing in it may be
//! believed before its signature holds.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::model::jwk::proof_algorithm;
use crate::model::key::SigningAlgorithm;
use crate::model::strict_json;

/// Why a text has not even the form of a JWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    TooLong,
    Form,
}

/// Header, claims and signature, decoded once: no padding, no stray bits.
pub(super) struct Parts<'a> {
    pub(super) header: Vec<u8>,
    pub(super) claims: Vec<u8>,
    pub(super) message: &'a [u8],
    pub(super) signature: &'a str,
}

impl<'a> Parts<'a> {
    /// Splits what is not longer than `longest` bytes; what is longer is not even decoded.
    pub(super) fn split(jwt: &'a str, longest: usize) -> Result<Self, Malformed> {
        if jwt.len() > longest {
            return Err(Malformed::TooLong);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed::Form);
        let (message, signature) = jwt.rsplit_once('.').ok_or(Malformed::Form)?;
        let (header, claims) = message.split_once('.').ok_or(Malformed::Form)?;
        decode(signature)?;
        Ok(Self { header: decode(header)?, claims: decode(claims)?, message: message.as_bytes(), signature })
    }
}

/// Why a JWS of somebody else is refused before anybody looks for its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAJws {
    /// Not worth decoding.
    TooLong,
    /// Not the compact form.
    Form,
    /// RFC 7515 §4: member names must be unique.
    Header,
    /// RFC 7519 §4: claim names must be unique.
    Claims,
    /// RFC 7515 §4.1.11: what is critical and not understood must be refused.
    Critical,
    /// `none`, a symmetric algorithm, or one that is not taken here.
    Algorithm,
}

impl NotAJws {
    /// The reason, for a log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "it is too long",
            Self::Form => "it is not three parts of base64url with dots between them",
            Self::Header => "its header is not one JSON object with each name once",
            Self::Claims => "its claims are not one JSON object with each name once",
            Self::Critical => "its header has crit, and no extension is understood here",
            Self::Algorithm => "its alg is not ES256, RS256, PS256, EdDSA or Ed25519",
        }
    }
}

/// A JWS that somebody else made, read and not verified: believe nothing of it but what a verified signature covers.
pub struct CompactJws<'a> {
    /// The header.
    pub header: Map<String, Value>,
    /// The claims.
    pub claims: Map<String, Value>,
    /// What the header says it is signed with; whether the key agrees is the key's word.
    pub(super) algorithm: SigningAlgorithm,
    pub(super) message: &'a [u8],
    pub(super) signature: &'a str,
}

impl<'a> CompactJws<'a> {
    /// Reads a JWS of `longest` bytes at most.
    ///
    /// # Errors
    /// If it is anything that two readers could read in two ways, or is not signed by a private key.
    pub fn read(text: &'a str, longest: usize) -> Result<Self, NotAJws> {
        let parts = Parts::split(text, longest).map_err(|why| match why {
            Malformed::TooLong => NotAJws::TooLong,
            Malformed::Form => NotAJws::Form,
        })?;
        let header = strict_json::object(&parts.header).ok_or(NotAJws::Header)?;
        if header.contains_key("crit") {
            return Err(NotAJws::Critical);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(proof_algorithm);
        let algorithm = algorithm.ok_or(NotAJws::Algorithm)?;
        let claims = strict_json::object(&parts.claims).ok_or(NotAJws::Claims)?;
        Ok(Self { header, claims, algorithm, message: parts.message, signature: parts.signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jws(header: &str, claims: &str) -> String {
        format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    fn refusal(text: &str) -> Option<NotAJws> {
        CompactJws::read(text, 1000).err()
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_read() {
        let good = r#"{"alg":"ES256"}"#;
        for (header, claims, why) in [
            (r#"{"alg":"none","alg":"ES256"}"#, "{}", NotAJws::Header),
            (r#"{"alg":"ES256","jwk":{"x":"a","x":"b"}}"#, "{}", NotAJws::Header),
            ("[]", "{}", NotAJws::Header),
            (good, r#"{"sub":"a","sub":"b"}"#, NotAJws::Claims),
            (good, "null", NotAJws::Claims),
            (r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, "{}", NotAJws::Critical),
            (r#"{"alg":"ES256","crit":[]}"#, "{}", NotAJws::Critical),
        ] {
            assert_eq!(refusal(&jws(header, claims)), Some(why), "{header} {claims}");
        }
        assert_eq!(refusal(&jws(good, "{}")), None);
    }

    #[test]
    fn only_signatures_of_private_keys_are_taken() {
        for alg in ["none", "None", "HS256", "HS512", "es256", "RS1", "RS512", "ES256K", "Ed448", ""] {
            let header = format!(r#"{{"alg":"{alg}"}}"#);
            assert_eq!(refusal(&jws(&header, "{}")), Some(NotAJws::Algorithm), "{alg}");
        }
        for header in ["{}", r#"{"alg":null}"#, r#"{"alg":["ES256"]}"#] {
            assert_eq!(refusal(&jws(header, "{}")), Some(NotAJws::Algorithm), "{header}");
        }
    }

    #[test]
    fn what_has_another_form_is_refused() {
        let good = jws(r#"{"alg":"ES256"}"#, "{}");
        for text in ["", ".", "..", "a.b", "a.b.c.d", &good[1..], &format!("{good}="), &format!(" {good}")] {
            assert!(refusal(text).is_some(), "{text}");
        }
        assert_eq!(CompactJws::read(&good, good.len() - 1).err(), Some(NotAJws::TooLong));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[A-Za-z0-9_.-]{0,80}", header in ".{0,40}", claims in ".{0,40}") {
            let _ = refusal(&text);
            let _ = refusal(&jws(&header, &claims));
        }
    }
}
