//! Whether an access token is one that this issuer made and that is still good, and everything that
//! speaks against it. Must not know of revocation, clients or users, and trusts nothing in a token
//! before its signature holds.

use serde_json::{Map, Value};

use super::jws::{Malformed, Parts};
use super::signing::SigningKey;
use crate::model::key::{ACCESS_TOKEN_TYP, Kid, SigningAlgorithm};
use crate::model::strict_json;
use crate::model::time::{Timestamp, Ttl};

/// RFC 9068 §2.2: what every access token says. `exp` and `iat` are seconds; `aud` is one or more names.
const REQUIRED: [&str; 7] = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"];

/// Nothing that grantd signs comes near this; what is longer is not even decoded.
const LONGEST: usize = 64 * 1024;

/// What a token is held against.
#[derive(Clone, Copy, Debug)]
pub struct Expectations<'a> {
    /// The exact `iss`.
    pub issuer: &'a str,
    /// The time.
    pub now: Timestamp,
    /// How far the clock of another instance may be ahead of this one. It lets a token in early, by
    /// `iat` and `nbf`; it never lets one live past its `exp`.
    pub clock_skew: Ttl,
}

/// Why a token is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotValid {
    /// Not worth decoding.
    #[error("the token is longer than 64 KiB, which no token of this issuer is")]
    TooLong,
    /// Not a JWS in compact form.
    #[error("this is no signed JWT, which is three parts of base64url with dots between them")]
    NotAJwt,
    /// RFC 7515 §4: member names must be unique, or two readers see two different tokens.
    #[error("the header is not one JSON object with each name once (RFC 7515 §4)")]
    Header,
    /// RFC 7519 §4, for the same reason.
    #[error("the claims are not one JSON object with each name once (RFC 7519 §4)")]
    Claims,
    /// RFC 7515 §4.1.11: what is critical and not understood must be refused.
    #[error(
        "the header has `crit`, which demands extensions that this issuer does not use (RFC 7515 §4.1.11)"
    )]
    Critical,
    /// A key or an address that the sender wants to be believed.
    #[error("the header has {0}, which this issuer never writes: only alg, typ and kid")]
    ForeignHeader(Shown),
    /// Not an access token, or none that says so.
    #[error("typ is {0} instead of \"at+jwt\", so this is no access token (RFC 9068 §4)")]
    Type(Shown),
    /// No key is named.
    #[error("the header names no key (kid), so it is not by this issuer")]
    NoKid,
    /// The key is not, or no longer, one of this issuer's.
    #[error("no published key has the kid {0}: the token is by another issuer, or its key was retired")]
    UnknownKey(Shown),
    /// The classic confusion: a token must not choose how it is verified.
    #[error("alg is {found}, but the key that the token names signs with {key} only")]
    Algorithm {
        /// What the token says.
        found: Shown,
        /// What the key says.
        key: SigningAlgorithm,
    },
    /// `none`, a symmetric algorithm or an unknown one.
    #[error("alg is {0}, which this issuer never signs with")]
    ForeignAlgorithm(Shown),
    /// There is no key to check it by.
    #[error("the signature cannot be checked without a key of this issuer and its own algorithm")]
    SignatureUnchecked,
    /// Forged or changed.
    #[error("the signature does not fit: the token was changed, or is not by this issuer")]
    Signature,
    /// A claim that every access token has is not there.
    #[error("the claim {0} is missing, which every access token has (RFC 9068 §2.2)")]
    Missing(&'static str),
    /// A claim has the wrong JSON type or is empty.
    #[error("the claim {0} is empty or of the wrong kind")]
    Malformed(&'static str),
    /// By somebody else.
    #[error("iss is {0}, which is not exactly this issuer")]
    Issuer(Shown),
    /// RFC 7519 §4.1.4.
    #[error("it expired at {}", .0.rfc3339())]
    Expired(Timestamp),
    /// Made by a clock that is wrong.
    #[error("it was issued at {}, which is in the future: compare the clocks", .0.rfc3339())]
    IssuedInTheFuture(Timestamp),
    /// RFC 7519 §4.1.5.
    #[error("it is not good before {}", .0.rfc3339())]
    NotYet(Timestamp),
}

/// A value out of an unverified token, fit to be printed on a terminal: quoted, short, no control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    fn text(text: &str) -> Self {
        const MOST: usize = 64;
        let short: String = text.chars().take(MOST).collect();
        let dots = if short.len() < text.len() { "…" } else { "" };
        Self(format!("{short:?}{dots}"))
    }

    fn value(value: Option<&Value>) -> Self {
        match value {
            None => Self("missing".to_owned()),
            Some(Value::String(text)) => Self::text(text),
            Some(_) => Self("not a string".to_owned()),
        }
    }
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// An access token about which everything held when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genuine {
    /// The claims; those of RFC 9068 §2.2 are all there.
    pub claims: Map<String, Value>,
    /// What to ask again where the token is kept.
    pub proof: Proof,
}

/// What of a genuine token changes with time, to be kept in place of a second look at its signature: whether
/// [its time is now](Proof::is_current), and whether [the keys of now](super::KeyRing::stands_by) stand by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub(super) kid: Kid,
    pub(super) algorithm: SigningAlgorithm,
    expires_at: Timestamp,
    not_before: Option<Timestamp>,
}

impl Genuine {
    /// Claims that hold, of a token that `key` has signed.
    pub(super) fn new(claims: Map<String, Value>, key: &SigningKey) -> Result<Self, NotValid> {
        let proof = Proof {
            kid: key.kid().clone(),
            algorithm: key.algorithm(),
            expires_at: time(&claims, "exp").ok_or(NotValid::Malformed("exp"))?,
            not_before: time(&claims, "nbf"),
        };
        Ok(Self { claims, proof })
    }
}

impl Proof {
    /// Whether the token is good at `now`, by this clock and no other.
    ///
    /// # Errors
    /// If its time is over, or has not come.
    pub fn is_current(&self, now: Timestamp) -> Result<(), NotValid> {
        if now >= self.expires_at {
            return Err(NotValid::Expired(self.expires_at));
        }
        match self.not_before {
            Some(nbf) if now < nbf => Err(NotValid::NotYet(nbf)),
            _ => Ok(()),
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in a word or two.
    pub name: &'static str,
    /// What was found.
    pub outcome: Outcome,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Holds,
    /// Not so, for this reason.
    Fails(NotValid),
}

/// A token taken apart. Header and claims are the token's own words: believe them only if all
/// [holds](Inspection::holds), and escape them before they reach a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The header, if it could be read.
    pub header: Option<Map<String, Value>>,
    /// The claims, if they could be read.
    pub claims: Option<Map<String, Value>>,
    /// Every check that could be made, in the order in which [`verify`](super::KeyRing::verify) makes them.
    pub checks: Vec<Check>,
}

impl Inspection {
    /// Whether every check holds.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.outcome == Outcome::Holds)
    }

    pub(super) fn into_claims(self) -> Result<Map<String, Value>, NotValid> {
        for check in self.checks {
            if let Outcome::Fails(why) = check.outcome {
                return Err(why);
            }
        }
        self.claims.ok_or(NotValid::Claims)
    }

    fn check(&mut self, name: &'static str, result: Result<(), NotValid>) {
        let outcome = result.map_or_else(Outcome::Fails, |()| Outcome::Holds);
        self.checks.push(Check { name, outcome });
    }
}

/// Looks at everything in `jwt`; `find` gives the published key of an id.
pub(super) fn inspect<'k>(
    jwt: &str,
    expected: &Expectations<'_>,
    find: impl FnOnce(&str) -> Option<&'k SigningKey>,
) -> Inspection {
    let mut inspection = Inspection { header: None, claims: None, checks: Vec::new() };
    let parts = match Parts::split(jwt, LONGEST) {
        Ok(parts) => parts,
        Err(why) => {
            let why = match why {
                Malformed::TooLong => NotValid::TooLong,
                Malformed::Form => NotValid::NotAJwt,
            };
            inspection.check("form", Err(why));
            return inspection;
        }
    };
    inspection.check("form", Ok(()));
    let header = strict_json::object(&parts.header);
    let claims = strict_json::object(&parts.claims);

    match &header {
        Some(header) => check_header(&mut inspection, header, &parts, find),
        None => inspection.check("header", Err(NotValid::Header)),
    }
    match &claims {
        Some(claims) => check_claims(&mut inspection, claims, expected),
        None => inspection.check("claims", Err(NotValid::Claims)),
    }

    Inspection { header, claims, ..inspection }
}

fn check_header<'k>(
    inspection: &mut Inspection,
    header: &Map<String, Value>,
    parts: &Parts<'_>,
    find: impl FnOnce(&str) -> Option<&'k SigningKey>,
) {
    let text = |name| header.get(name).and_then(Value::as_str);
    let foreign = header.keys().find(|name| !["alg", "typ", "kid"].contains(&name.as_str()));
    let kid = text("kid");
    let key = kid.and_then(find);
    // RFC 8725 §3.1: the key says which algorithm verifies; the token may only agree.
    let algorithm = match key {
        Some(key) if text("alg") == Some(key.algorithm().as_str()) => Ok(()),
        Some(key) => {
            Err(NotValid::Algorithm { found: Shown::value(header.get("alg")), key: key.algorithm() })
        }
        None if text("alg").is_some_and(|alg| alg.parse::<SigningAlgorithm>().is_ok()) => Ok(()),
        None => Err(NotValid::ForeignAlgorithm(Shown::value(header.get("alg")))),
    };
    let signature = match key {
        Some(key) if algorithm.is_ok() && key.has_signed(parts.message, parts.signature) => Ok(()),
        Some(_) if algorithm.is_ok() => Err(NotValid::Signature),
        _ => Err(NotValid::SignatureUnchecked),
    };

    inspection.check(
        "header",
        match foreign {
            _ if header.contains_key("crit") => Err(NotValid::Critical),
            Some(name) => Err(NotValid::ForeignHeader(Shown::text(name))),
            None => Ok(()),
        },
    );
    inspection.check(
        "type",
        if text("typ") == Some(ACCESS_TOKEN_TYP) {
            Ok(())
        } else {
            Err(NotValid::Type(Shown::value(header.get("typ"))))
        },
    );
    inspection.check(
        "key",
        match (kid, key) {
            (_, Some(_)) => Ok(()),
            (Some(kid), None) => Err(NotValid::UnknownKey(Shown::text(kid))),
            (None, None) => Err(NotValid::NoKid),
        },
    );
    inspection.check("algorithm", algorithm);
    inspection.check("signature", signature);
}

fn check_claims(inspection: &mut Inspection, claims: &Map<String, Value>, expected: &Expectations<'_>) {
    let faults: Vec<_> = REQUIRED.into_iter().filter_map(|name| fault(claims, name)).collect();
    if faults.is_empty() {
        inspection.check("required claims", Ok(()));
    }
    for fault in faults {
        inspection.check("required claims", Err(fault));
    }

    // RFC 8414 §2 and RFC 9068 §4: compared as exact strings, never as URLs.
    if let Some(issuer) = claims.get("iss") {
        let same = issuer.as_str() == Some(expected.issuer);
        let why = || NotValid::Issuer(Shown::value(Some(issuer)));
        inspection.check("issuer", if same { Ok(()) } else { Err(why()) });
    }
    // jsonwebtoken would read a clock of its own here; these take the one that was handed in.
    if let Some(exp) = time(claims, "exp") {
        // RFC 7519 §4.1.4: "on or after which the JWT MUST NOT be accepted".
        let alive = expected.now < exp;
        inspection.check("not expired", if alive { Ok(()) } else { Err(NotValid::Expired(exp)) });
    }
    let latest = expected.now.plus(expected.clock_skew);
    if let Some(iat) = time(claims, "iat") {
        let past = iat <= latest;
        inspection.check("issued", if past { Ok(()) } else { Err(NotValid::IssuedInTheFuture(iat)) });
    }
    if claims.contains_key("nbf") {
        inspection.check(
            "not before",
            match time(claims, "nbf") {
                Some(nbf) if nbf <= latest => Ok(()),
                Some(nbf) => Err(NotValid::NotYet(nbf)),
                None => Err(NotValid::Malformed("nbf")),
            },
        );
    }
}

fn fault(claims: &Map<String, Value>, name: &'static str) -> Option<NotValid> {
    let Some(value) = claims.get(name) else { return Some(NotValid::Missing(name)) };
    let is_name = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let sound = match name {
        "exp" | "iat" => time(claims, name).is_some(),
        // RFC 7519 §4.1.3: one string, or an array of them.
        "aud" => match value.as_array() {
            Some(names) => !names.is_empty() && names.iter().all(is_name),
            None => is_name(value),
        },
        _ => is_name(value),
    };
    (!sound).then_some(NotValid::Malformed(name))
}

/// A NumericDate. Only whole seconds: that is what grantd writes, and a string or a fraction that one
/// reader rounds and another ignores is how expired tokens live on (CVE-2026-25537).
fn time(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    claims.get(name)?.as_i64().filter(|secs| *secs >= 0).map(Timestamp::from_secs)
}

#[cfg(test)]
mod tests;
