//! What every refusal of an OAuth endpoint looks like: RFC 6749 §5.2, by the letter. Knows no endpoint.

use super::server::{Answer, ISSUER};

/// Whether a 401 asks for HTTP Basic: RFC 6749 §5.2 wants it where the Authorization header was used, and only there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Given,
    Absent,
}

/// Fails unless `answer` is this refusal, with the headers that belong to it and none that do not.
pub(crate) fn assert_refusal(answer: &Answer, status: u16, code: &str, challenge: Challenge) {
    assert_eq!(answer.refusal(), (status, code.to_owned()), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json", "{answer:?}");
    let body = answer.json();
    let members: Vec<_> = body.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(members, ["error", "error_description"], "{answer:?}");
    // RFC 6749 §5.2: "MUST NOT include characters outside the set %x20-21 / %x23-5B / %x5D-7E."
    let sentence = answer.text("error_description");
    assert!(sentence.bytes().all(|b| (0x20..=0x7e).contains(&b) && b != b'"' && b != b'\\'), "{sentence}");
    assert!(sentence.ends_with('.') && sentence.len() > 20, "{sentence}");
    assert_refusal_headers(answer, challenge);
}

/// The headers alone, which are all that an answer to HEAD has.
pub(crate) fn assert_refusal_headers(answer: &Answer, challenge: Challenge) {
    assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
    assert_eq!(answer.header("pragma"), "no-cache", "{answer:?}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer:?}");
    assert_eq!(answer.header("x-request-id").len(), 36, "{answer:?}");
    let expected = match challenge {
        Challenge::Given => format!(r#"Basic realm="{ISSUER}", charset="UTF-8""#),
        Challenge::Absent => String::new(),
    };
    assert_eq!(answer.header("www-authenticate"), expected, "{answer:?}");
    assert_eq!(answer.headers.contains_key("allow"), answer.status == 405, "{answer:?}");
    let retry_after = answer.headers.contains_key("retry-after");
    assert_eq!(retry_after, matches!(answer.status, 429 | 503), "{answer:?}");
}
