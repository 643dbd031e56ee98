//! Client credentials as they stand on the wire: RFC 6749 §2.3.1. Says what was presented, not whether it
//! is right.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::model::client::AuthMethod;
use crate::model::secret::PlainSecret;

use super::client_assertion::ASSERTION_TYPE;
use super::error::{ClientAuthFailure, TokenError};
use super::params::{Params, decode};

/// A client id and secret as one reading of the request gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The client id, not yet looked at.
    pub client_id: String,
    /// The secret, not yet looked at; may be empty with HTTP Basic.
    pub secret: PlainSecret,
}

/// What a request presents to say who its client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// HTTP Basic. RFC 6749 §2.3.1 form-encodes both parts, many clients do not: `raw` is the second reading
    /// where it differs.
    Basic {
        /// The pair with its form-encoding undone.
        decoded: Pair,
        /// The pair as it stands, if that is another one.
        raw: Option<Pair>,
    },
    /// `client_id` and `client_secret` in the body.
    Post(Pair),
    /// `client_id` alone.
    Public {
        /// The client id, not yet looked at.
        client_id: String,
    },
    /// A JWT that the client signed, RFC 7521 §4.2.
    Assertion {
        /// The JWT. As good as a secret until it is used.
        assertion: PlainSecret,
        /// The client id in the body, if there is one; it must be the one that the assertion proves.
        client_id: Option<String>,
    },
}

impl Presented {
    /// Reads the Authorization headers and the body of a request.
    pub fn read(authorization: &[&[u8]], params: &Params) -> Result<Self, TokenError> {
        // Before any other way to authenticate: none must be fallen back to silently, least of all a weaker one.
        match (params.secret("client_assertion"), params.value("client_assertion_type")) {
            (None, None) => {}
            (Some(assertion), Some(ASSERTION_TYPE)) => {
                return Self::read_assertion(assertion, authorization, params);
            }
            (_, _) => return Err(failure(ClientAuthFailure::Assertion, !authorization.is_empty())),
        }
        match authorization {
            [] => Self::read_body(params),
            [header] => Self::read_basic(header, params),
            [_, _, ..] => Err(TokenError::TwoAuthorizationHeaders),
        }
    }

    /// The method this counts as; an empty secret in Basic is the method `none` (RFC 6749 §2.3.1 lets the
    /// secret be left out if it is empty, and real clients send it so).
    pub fn method(&self) -> AuthMethod {
        match self {
            Self::Basic { decoded, .. } if decoded.secret.expose().is_empty() => AuthMethod::None,
            Self::Basic { .. } => AuthMethod::ClientSecretBasic,
            Self::Post(_) => AuthMethod::ClientSecretPost,
            Self::Public { .. } => AuthMethod::None,
            Self::Assertion { .. } => AuthMethod::PrivateKeyJwt,
        }
    }

    /// Whether the Authorization header was used, which asks for a challenge in a 401 answer.
    pub const fn header_used(&self) -> bool {
        matches!(self, Self::Basic { .. })
    }

    fn read_assertion(
        assertion: PlainSecret,
        authorization: &[&[u8]],
        params: &Params,
    ) -> Result<Self, TokenError> {
        if !authorization.is_empty() || params.value("client_secret").is_some() {
            return Err(TokenError::TwoMethods);
        }
        Ok(Self::Assertion { assertion, client_id: params.value("client_id").map(str::to_owned) })
    }

    fn read_body(params: &Params) -> Result<Self, TokenError> {
        match (params.value("client_id"), params.secret("client_secret")) {
            (Some(client_id), Some(secret)) => {
                Ok(Self::Post(Pair { client_id: client_id.to_owned(), secret }))
            }
            (Some(client_id), None) => Ok(Self::Public { client_id: client_id.to_owned() }),
            (None, _) => Err(failure(ClientAuthFailure::Missing, false)),
        }
    }

    fn read_basic(header: &[u8], params: &Params) -> Result<Self, TokenError> {
        let credentials = match header.split_first_chunk::<6>() {
            // RFC 9110 §11.1: the scheme is case-insensitive.
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"Basic ") => rest.trim_ascii(),
            _ => return Err(failure(ClientAuthFailure::Scheme, true)),
        };
        let unreadable = || failure(ClientAuthFailure::Encoding, true);
        let text = Zeroizing::new(BASE64.decode(credentials).map_err(|_| unreadable())?);
        let colon = text.iter().position(|byte| *byte == b':').ok_or_else(unreadable)?;
        let (id, secret) = (&text[..colon], &text[colon + 1..]);
        let decoded = pair(decode(id), decode(secret));
        // As nearly all are: generated ids and secrets read the same either way.
        if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
            let decoded = decoded.ok_or_else(unreadable)?;
            return Self::Basic { decoded, raw: None }.agree_with_body(params);
        }

        let raw =
            pair(std::str::from_utf8(id).map(str::to_owned), std::str::from_utf8(secret).map(str::to_owned));
        let presented = match (decoded, raw) {
            (Some(decoded), Some(raw)) if decoded == raw => Self::Basic { decoded, raw: None },
            (Some(decoded), raw) => Self::Basic { decoded, raw },
            (None, Some(raw)) => Self::Basic { decoded: raw, raw: None },
            (None, None) => return Err(unreadable()),
        };
        presented.agree_with_body(params)
    }

    /// Basic may stand beside the same `client_id` in the body, and beside nothing else.
    fn agree_with_body(self, params: &Params) -> Result<Self, TokenError> {
        if params.value("client_secret").is_some() {
            return Err(TokenError::TwoMethods);
        }
        let Self::Basic { decoded, raw } = &self else { return Ok(self) };
        let names = |id: &str| decoded.client_id == id || raw.as_ref().is_some_and(|raw| raw.client_id == id);
        match params.value("client_id") {
            Some(id) if !names(id) => Err(TokenError::TwoMethods),
            _ => Ok(self),
        }
    }
}

/// Base64 with or without padding: both are sent.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn pair<E>(id: Result<String, E>, secret: Result<String, E>) -> Option<Pair> {
    let (client_id, secret) = (id.ok()?, PlainSecret::new(secret.ok()?));
    (!client_id.contains('\0') && !secret.expose().contains('\0')).then_some(Pair { client_id, secret })
}

const fn failure(cause: ClientAuthFailure, header_used: bool) -> TokenError {
    TokenError::Client { cause, header_used }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn read(headers: &[&str], body: &str) -> Result<Presented, TokenError> {
        let headers: Vec<&[u8]> = headers.iter().map(|header| header.as_bytes()).collect();
        Presented::read(&headers, &Params::parse(body.as_bytes()).expect("a form"))
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    fn a_pair(id: &str, secret: &str) -> Pair {
        Pair { client_id: id.into(), secret: PlainSecret::new(secret.into()) }
    }

    #[test]
    fn basic_reads_alike_raw_and_percent_encoded() {
        let raw = read(&[&basic("app:a-b_c.d~e")], "").expect("readable");
        let encoded = read(&[&basic("app:a%2Db%5Fc%2Ed%7Ee")], "").expect("readable");

        assert_eq!(raw, Presented::Basic { decoded: a_pair("app", "a-b_c.d~e"), raw: None });
        let Presented::Basic { decoded, .. } = encoded else { panic!("Basic") };
        assert_eq!(decoded, a_pair("app", "a-b_c.d~e"));
    }

    #[test]
    fn a_secret_with_a_percent_sign_is_tried_raw_too() {
        let presented = read(&[&basic("app:50%25off")], "").expect("readable");

        assert_eq!(
            presented,
            Presented::Basic { decoded: a_pair("app", "50%off"), raw: Some(a_pair("app", "50%25off")) }
        );
        let unencodable = read(&[&basic("app:50%off")], "").expect("readable");
        assert_eq!(unencodable, Presented::Basic { decoded: a_pair("app", "50%off"), raw: None });
    }

    #[test]
    fn basic_with_an_empty_secret_is_the_method_none() {
        assert_eq!(read(&[&basic("app:")], "").map(|p| p.method()), Ok(AuthMethod::None));
        assert_eq!(read(&[], "client_id=app").map(|p| p.method()), Ok(AuthMethod::None));
        assert_eq!(read(&[], "client_id=app&client_secret=").map(|p| p.method()), Ok(AuthMethod::None));
        assert_eq!(
            read(&[], "client_id=app&client_secret=s").map(|p| p.method()),
            Ok(AuthMethod::ClientSecretPost)
        );
    }

    #[test]
    fn two_methods_in_one_request_are_refused() {
        let header = basic("app:secret");

        assert_eq!(read(&[&header], "client_secret=secret"), Err(TokenError::TwoMethods));
        assert_eq!(read(&[&header], "client_id=other"), Err(TokenError::TwoMethods));
        assert_eq!(read(&[&header, &header], ""), Err(TokenError::TwoAuthorizationHeaders));
        assert!(read(&[&header], "client_id=app").is_ok());
    }

    #[test]
    fn what_is_no_client_authentication_is_invalid_client() {
        for (headers, body, cause, header_used) in [
            (&[][..], "", ClientAuthFailure::Missing, false),
            (&[], "client_secret=x", ClientAuthFailure::Missing, false),
            (&["Bearer abc"], "", ClientAuthFailure::Scheme, true),
            (&["Basic"], "", ClientAuthFailure::Scheme, true),
            (&["Basic !!!"], "", ClientAuthFailure::Encoding, true),
            (&["Basic YWJj"], "", ClientAuthFailure::Encoding, true),
            (&[], "client_id=app&client_assertion=x", ClientAuthFailure::Assertion, false),
            (&[], "client_id=app&client_assertion_type=x", ClientAuthFailure::Assertion, false),
            (&[], "client_assertion=x&client_assertion_type=y", ClientAuthFailure::Assertion, false),
            (&["Basic YTpi"], "client_assertion=x", ClientAuthFailure::Assertion, true),
        ] {
            assert_eq!(
                read(headers, body),
                Err(TokenError::Client { cause, header_used }),
                "{headers:?} {body}"
            );
        }
    }

    #[test]
    fn rfc_7521_section_4_2_an_assertion_stands_alone_and_may_name_its_client() {
        let body = format!("client_assertion=a.b.c&client_assertion_type={ASSERTION_TYPE}");
        let assertion = |client_id: Option<&str>| Presented::Assertion {
            assertion: PlainSecret::new("a.b.c".into()),
            client_id: client_id.map(str::to_owned),
        };

        assert_eq!(read(&[], &body), Ok(assertion(None)));
        assert_eq!(read(&[], &format!("{body}&client_id=app")), Ok(assertion(Some("app"))));
        assert_eq!(read(&[], &body).map(|p| p.method()), Ok(AuthMethod::PrivateKeyJwt));
        for (headers, body) in [
            (&[basic("app:secret")][..], body.clone()),
            (&["Bearer x".to_owned()], body.clone()),
            (&[], format!("{body}&client_secret=s&client_id=app")),
        ] {
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            assert_eq!(read(&headers, &body), Err(TokenError::TwoMethods), "{headers:?} {body}");
        }
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_without_padding() {
        let header = format!("bAsIc  {}", STANDARD.encode("app:secre").trim_end_matches('='));

        assert_eq!(read(&[&header], "").map(|p| p.method()), Ok(AuthMethod::ClientSecretBasic));
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(header in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let params = Params::parse(b"").expect("a form");
            let _ = Presented::read(&[&header], &params);
            let encoded = format!("Basic {}", STANDARD.encode(&header));
            let _ = Presented::read(&[encoded.as_bytes()], &params);
        }

        #[test]
        fn every_generated_pair_reads_back(id in "[A-Za-z0-9._~-]{1,40}", secret in "[A-Za-z0-9._~-]{1,60}") {
            let presented = read(&[&basic(&format!("{id}:{secret}"))], "").expect("readable");
            proptest::prop_assert_eq!(presented, Presented::Basic { decoded: a_pair(&id, &secret), raw: None });
        }

        #[test]
        fn every_pair_that_is_form_encoded_reads_back(id in "[^\0]{1,20}", secret in "[^\0]{1,20}") {
            let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let header = basic(&format!("{}:{}", encode(&id), encode(&secret)));
            let Presented::Basic { decoded, .. } = read(&[&header], "").expect("readable") else { panic!("Basic") };
            proptest::prop_assert_eq!(decoded, a_pair(&id, &secret));
        }
    }
}
