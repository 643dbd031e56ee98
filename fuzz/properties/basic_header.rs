//! The Authorization header, as bytes and as what stands inside its base64.
//!
//! The input is a whole header if it begins with `Basic ` in any case, else the credentials before base64. Must
//! not know of bodies beyond an empty one, or of registered clients.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use grantd::model::client::AuthMethod;
use grantd::model::id::ClientId;
use grantd::protocol::client_auth::{Pair, Presented};
use grantd::protocol::error::TokenError;
use grantd::protocol::params::Params;
use url::form_urlencoded::byte_serialize;

/// A header is read as the one pair that it says, raw and with its form-encoding undone, or refused.
pub(crate) fn holds(data: &[u8]) {
    if data.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Basic ")) {
        let rest = data[6..].trim_ascii();
        // Base64 with its padding or without; with half of it, it may be refused, but never read as something else.
        let unpadded = rest.iter().rposition(|byte| *byte != b'=').map_or(&[][..], |last| &rest[..=last]);
        let padding = rest.len() - unpadded.len();
        match STANDARD_NO_PAD.decode(unpadded) {
            Ok(credentials) if padding == 0 || rest.len().is_multiple_of(4) && padding <= 2 => {
                check(data, &credentials)
            }
            Ok(credentials) if padding < 2 && read(&[data]).is_ok() => check(data, &credentials),
            _ => assert!(read(&[data]).is_err(), "what is no base64 was taken"),
        }
        return;
    }
    assert!(read(&[data]).is_err(), "another scheme was taken");
    for scheme in ["Basic ", "bASIC  "] {
        let padded = format!("{scheme}{}", STANDARD.encode(data));
        check(padded.as_bytes(), data);
        check(padded.trim_end_matches('=').as_bytes(), data);
    }
    check_every_encoding(data);
}

fn read(headers: &[&[u8]]) -> Result<Presented, TokenError> {
    Presented::read(headers, &Params::parse(b"").expect("the empty form"))
}

/// `header` holds `credentials` in base64.
fn check(header: &[u8], credentials: &[u8]) {
    assert_eq!(read(&[header, header]), Err(TokenError::TwoAuthorizationHeaders));
    let (decoded, raw) = match read(&[header]) {
        Ok(Presented::Basic { decoded, raw }) => (decoded, raw),
        Ok(other) => panic!("{other:?}"),
        Err(error) => {
            assert_eq!(error.answer().1, 401, "RFC 6749 §5.2: {error}");
            // RFC 7617 §2: what has a colon, and no NUL, is a pair if it is text.
            let text = std::str::from_utf8(credentials).ok();
            assert!(
                !text.is_some_and(|text| text.contains(':') && !text.contains('\0')),
                "refused: {text:?}"
            );
            return;
        }
    };

    // RFC 7617 §2: the first colon ends the id; what stands behind it, colons too, is the secret.
    let colon = credentials.iter().position(|byte| *byte == b':').expect("a colon");
    let (id, secret) = (&credentials[..colon], &credentials[colon + 1..]);
    let literal = |pair: &Pair| pair.client_id.as_bytes() == id && pair.secret.expose().as_bytes() == secret;
    let encoded = [id, secret].concat().iter().any(|byte| matches!(byte, b'%' | b'+'));
    match &raw {
        Some(raw) => assert!(literal(raw) && encoded && *raw != decoded),
        None => assert!(encoded || literal(&decoded)),
    }
    for pair in [Some(&decoded), raw.as_ref()].into_iter().flatten() {
        assert!(!pair.client_id.contains('\0') && !pair.secret.expose().contains('\0'), "a NUL was taken");
        // RFC 6749 §2.3.1 lets an empty secret be left out: both readings must agree on who is public.
        assert_eq!(pair.secret.expose().is_empty(), secret.is_empty());
        let shown = format!("{pair:?}");
        assert!(shown.ends_with("secret: PlainSecret(..) }"), "a secret is printed");
        // RFC 7617 §2 forbids control characters; no id that is looked up contains one.
        if pair.client_id.parse::<ClientId>().is_ok() {
            assert!(pair.client_id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'));
        }
    }
    let presented = Presented::Basic { decoded, raw };
    let method = if secret.is_empty() { AuthMethod::None } else { AuthMethod::ClientSecretBasic };
    assert_eq!(presented.method(), method);
    assert!(presented.header_used());
}

/// A client that follows RFC 6749 §2.3.1 and one that does not are both understood, whatever their secret is.
fn check_every_encoding(credentials: &[u8]) {
    let Ok(text) = std::str::from_utf8(credentials) else { return };
    let Some((id, secret)) = text.split_once(':').filter(|_| !text.contains('\0')) else { return };
    let header = |id: &str, secret: &str| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let is = |pair: &Pair| pair.client_id == id && pair.secret.expose() == secret;

    let form_encoded = header(&encode(id), &encode(secret));
    let Ok(Presented::Basic { decoded, .. }) = read(&[form_encoded.as_bytes()]) else { panic!("not read") };
    assert!(is(&decoded), "form-encoded credentials are read as others");

    let as_it_stands = header(id, secret);
    let Ok(Presented::Basic { decoded, raw }) = read(&[as_it_stands.as_bytes()]) else { panic!("not read") };
    assert!(is(&decoded) || raw.as_ref().is_some_and(is), "raw credentials are read as others");

    // What grantd makes and takes itself reads the same either way.
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    if id.bytes().chain(secret.bytes()).all(unreserved) {
        assert!(is(&decoded) && raw.is_none());
    }
}
