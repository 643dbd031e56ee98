//! Bearer tokens where this server is the resource server itself: RFC 6750. Says what was presented, and how a refusal
//! reads.

use crate::model::secret::PlainSecret;

use super::dpop::{Refused, challenge_algorithms};
use super::error::TokenError;
use super::params::Params;

/// How an access token is presented, RFC 6750 §2.1 and RFC 9449 §7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `Authorization: Bearer`.
    Bearer,
    /// `Authorization: DPoP`.
    Dpop,
}

/// Why a request with, or without, an access token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    /// No token at all.
    #[error("no bearer token in the request")]
    Missing,
    /// RFC 6750 §2: "Clients MUST NOT use more than one method to transmit the token in each request."
    #[error("the token is in the Authorization header and in the body")]
    TwoWays,
    /// Neither GET nor POST.
    #[error("the method is neither GET nor POST")]
    Method,
    /// The token is no live one of ours, for this reason, which the caller is not told.
    #[error("{0}")]
    Invalid(String),
    /// The token stands for a client, and there is no user to tell of.
    #[error("the token stands for its client, not for a user")]
    NoUser,
    /// Its sender does not prove to have the key that the token is bound to.
    #[error(transparent)]
    Possession(Refused),
    /// Whatever else may go wrong with a request.
    #[error(transparent)]
    Request(#[from] TokenError),
}

impl BearerError {
    /// The code, the status and the sentence of the answer. RFC 6750 §3.1: who sent no token is told no error.
    pub const fn answer(&self) -> (Option<&'static str>, u16, &'static str) {
        match self {
            Self::Missing => (None, 401, ""),
            Self::TwoWays => (
                Some("invalid_request"),
                400,
                "The request has an access token in its Authorization header and in its body; send it once.",
            ),
            Self::Method => (Some("invalid_request"), 405, "This endpoint takes GET and POST requests only."),
            Self::Invalid(_) => (
                Some("invalid_token"),
                401,
                "The access token is malformed, expired, revoked or not of this server.",
            ),
            Self::NoUser => (
                Some("insufficient_scope"),
                403,
                "The access token stands for a client; ask with the token of a user.",
            ),
            Self::Possession(refused) => match refused.answer() {
                Some((code, sentence)) => (Some(code), 401, sentence),
                None => (None, 503, ""),
            },
            Self::Request(error) => {
                let (code, status, sentence) = error.answer();
                (Some(code.as_str()), status, sentence)
            }
        }
    }

    /// The values of `WWW-Authenticate` that belong to the answer, RFC 6750 §3 and RFC 9449 §7.1: where another token or
    /// another way to send it would have helped.
    pub fn challenges(&self, realm: &str) -> Vec<String> {
        let (error, status, description) = self.answer();
        let told = error.map(|error| format!(r#"error="{error}", error_description="{description}""#));
        let with = |scheme: String, more: Option<String>| match more {
            Some(more) => format!("{scheme}, {more}"),
            None => scheme,
        };
        let bearer = format!(r#"Bearer realm="{realm}""#);
        let dpop = format!(r#"DPoP realm="{realm}", {}"#, challenge_algorithms());
        match (self, status) {
            (Self::Possession(_), 401) => vec![with(dpop, told)],
            // RFC 9449 §7.2: both are taken.
            (Self::Missing, _) => vec![bearer, dpop],
            (_, 400 | 401 | 403) => vec![with(bearer, told)],
            _ => Vec::new(),
        }
    }
}

impl From<Refused> for BearerError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unavailable(cause) => Self::Request(TokenError::Unavailable(cause)),
            refused => Self::Possession(refused),
        }
    }
}

/// The token of a request: from the Authorization header (RFC 6750 §2.1) or, with POST, from the form (§2.2). Never
/// from the query (§2.3), which ends up in logs and histories.
pub fn presented(
    authorization: &[&[u8]],
    form: Option<&Params>,
) -> Result<(Scheme, PlainSecret), BearerError> {
    let in_header = match authorization {
        [] => None,
        [header] => in_header(header),
        [_, _, ..] => return Err(TokenError::TwoAuthorizationHeaders.into()),
    };
    match (in_header, form.and_then(|form| form.secret("access_token"))) {
        (Some(_), Some(_)) => Err(BearerError::TwoWays),
        (Some(presented), None) => Ok(presented),
        (None, Some(token)) => Ok((Scheme::Bearer, token)),
        (None, None) => Err(BearerError::Missing),
    }
}

/// RFC 9110 §11.1: the scheme is case-insensitive. Another scheme is none of ours.
fn in_header(header: &[u8]) -> Option<(Scheme, PlainSecret)> {
    let at = header.iter().position(|byte| *byte == b' ')?;
    let (name, rest) = header.split_at(at);
    let scheme = match name {
        name if name.eq_ignore_ascii_case(b"Bearer") => Scheme::Bearer,
        name if name.eq_ignore_ascii_case(b"DPoP") => Scheme::Dpop,
        _ => return None,
    };
    let token = std::str::from_utf8(rest.trim_ascii()).ok().filter(|token| !token.is_empty())?;
    Some((scheme, PlainSecret::new(token.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::dpop::InvalidProof;

    fn read(headers: &[&str], form: Option<&str>) -> Result<(Scheme, String), BearerError> {
        let headers: Vec<&[u8]> = headers.iter().map(|header| header.as_bytes()).collect();
        let form = form.map(|body| Params::parse(body.as_bytes()).expect("a form"));
        presented(&headers, form.as_ref()).map(|(scheme, token)| (scheme, token.expose().to_owned()))
    }

    #[test]
    fn a_token_is_taken_from_the_header_or_the_form_and_only_once() {
        for (headers, form, expected) in [
            (&["Bearer a.b.c"][..], None, Ok("a.b.c")),
            (&["bEARER  a.b.c "], Some("x=y"), Ok("a.b.c")),
            (&[], Some("access_token=t"), Ok("t")),
            (&["Basic eA=="], Some("access_token=t"), Ok("t")),
            (&["Bearer t"], Some("access_token=t"), Err(BearerError::TwoWays)),
            (&["Bearer t"], Some("access_token="), Ok("t")),
            (&["Bearer t", "Bearer t"], None, Err(TokenError::TwoAuthorizationHeaders.into())),
            (&[], None, Err(BearerError::Missing)),
            (&["Bearer"], None, Err(BearerError::Missing)),
            (&["Bearer "], None, Err(BearerError::Missing)),
            (&["Bearert"], None, Err(BearerError::Missing)),
            (&["DPoP t"], None, Ok("dpop t")),
            (&["dpop  t"], Some("x=y"), Ok("dpop t")),
            (&["DPoP t"], Some("access_token=t"), Err(BearerError::TwoWays)),
            (&["DPoPt"], None, Err(BearerError::Missing)),
            (&[""], Some("token=t"), Err(BearerError::Missing)),
        ] {
            let expected = expected.map(|token: &str| match token.strip_prefix("dpop ") {
                Some(token) => (Scheme::Dpop, token.to_owned()),
                None => (Scheme::Bearer, token.to_owned()),
            });
            assert_eq!(read(headers, form), expected, "{headers:?} {form:?}");
        }
    }

    #[test]
    fn a_challenge_says_what_is_wrong_unless_no_token_was_sent() {
        let invalid = BearerError::Invalid("it was revoked".into());
        let (algs, proof) = (challenge_algorithms(), InvalidProof::Missing);
        let dpop = format!(r#"DPoP realm="r", {algs}"#);
        for (error, expected) in [
            (BearerError::Missing, vec![r#"Bearer realm="r""#.to_owned(), dpop.clone()]),
            (
                invalid,
                vec![r#"Bearer realm="r", error="invalid_token", error_description="The access token is malformed, expired, revoked or not of this server.""#.to_owned()],
            ),
            (
                Refused::Proof(proof).into(),
                vec![format!(r#"{dpop}, error="invalid_dpop_proof", error_description="The DPoP proof is missing, invalid or used already.""#)],
            ),
            (Refused::Unavailable(String::new()).into(), vec![]),
            (TokenError::Unavailable(String::new()).into(), vec![]),
            (BearerError::Method, vec![]),
        ] {
            assert_eq!(error.challenges("r"), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_sent_is_a_token_or_a_refusal_that_can_be_written(
            headers in proptest::collection::vec(".{0,60}|(?i)(bearer|dpop) .{0,60}", 0..3),
            form in ".{0,60}|access_token=.{0,60}",
        ) {
            let headers: Vec<&[u8]> = headers.iter().map(String::as_bytes).collect();
            let form = Params::parse(form.as_bytes()).ok();
            if let Err(error) = presented(&headers, form.as_ref()) {
                proptest::prop_assert!(error.answer().1 < 500);
                proptest::prop_assert!(error.challenges("r").concat().bytes().all(|b| (0x20..=0x7e).contains(&b)));
            }
        }
    }
}
