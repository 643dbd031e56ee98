//! Reads the form body of an OAuth request: type, coding and size are judged here, before a byte is parsed; time, by the
//! stream of the connection.

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{BytesMut, Payload};
use futures_util::StreamExt as _;

use crate::protocol::error::TokenError;
use crate::protocol::params::Params;

use super::connection::was_body_late;

/// The largest body that is read, 16 KiB.
pub(super) const LIMIT: usize = 16 * 1024;

/// Reads and parses the body.
pub(super) async fn read(request: &HttpRequest, body: Payload) -> Result<Params, TokenError> {
    check_headers(request)?;
    let body = collect(body).await.map_err(|error| match error {
        TokenError::BodyBroken if was_body_late(request) => TokenError::BodyTimeout,
        other => other,
    })?;
    Ok(Params::parse(&body)?)
}

fn check_headers(request: &HttpRequest) -> Result<(), TokenError> {
    let headers = request.headers();
    // A coded body can grow a thousandfold when it is decoded, and no OAuth client codes one.
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(TokenError::ContentEncoding);
    }
    let mut types = headers.get_all(CONTENT_TYPE);
    let (Some(one), None) = (types.next(), types.next()) else { return Err(TokenError::ContentType) };
    if !one.to_str().is_ok_and(is_form) {
        return Err(TokenError::ContentType);
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if announced.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > LIMIT as u64) {
        return Err(TokenError::TooLarge);
    }
    Ok(())
}

/// RFC 6749 appendix B: the media type in UTF-8. Real clients add the charset as a parameter.
pub fn is_form(content_type: &str) -> bool {
    const FORM: &str = "application/x-www-form-urlencoded";
    // As nearly all say it.
    if content_type == FORM {
        return true;
    }
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case(FORM)
        && parts.filter(|part| !part.is_empty()).all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

async fn collect(mut body: Payload) -> Result<BytesMut, TokenError> {
    let mut collected = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| TokenError::BodyBroken)?;
        if collected.len() + chunk.len() > LIMIT {
            return Err(TokenError::TooLarge);
        }
        collected.extend_from_slice(&chunk);
    }
    Ok(collected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_type_is_known_with_and_without_its_charset() {
        for good in [
            "application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded; charset=UTF-8",
            "application/x-www-form-urlencoded;charset=\"utf-8\"",
            "Application/X-WWW-Form-Urlencoded;",
        ] {
            assert!(is_form(good), "{good}");
        }
        for bad in [
            "",
            "application/json",
            "multipart/form-data; boundary=x",
            "text/plain",
            "application/x-www-form-urlencoded; charset=latin1",
            "application/x-www-form-urlencoded2",
        ] {
            assert!(!is_form(bad), "{bad}");
        }
    }
}
