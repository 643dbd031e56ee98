//! The nouns that requests, commands and settings name: scopes, ids, users, audiences, times, keys.
//!
//! The input is one text, read as each of them. Must not know where a text comes from.

use std::fmt::Display;
use std::str::FromStr;

use grantd::keys::EncryptionKey;
use grantd::model::id::{ClientId, FamilyId, UserId};
use grantd::model::log_level::LogLevels;
use grantd::model::resource::Audience;
use grantd::model::role::RoleName;
use grantd::model::scope::Scope;
use grantd::model::time::Ttl;
use grantd::model::user::Username;
use grantd::settings::{DatabaseUrl, Issuer};

/// What is taken prints as a text that is taken for the same; what is refused is said on one line.
pub(crate) fn holds(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };

    if let Some(scope) = read::<Scope>(text) {
        assert!(scope.iter().all(|token| text.split(' ').any(|part| part == token)));
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\'));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    for name in
        [read::<ClientId>(text).map(|id| id.to_string()), read::<RoleName>(text).map(|name| name.to_string())]
    {
        assert!(name.is_none_or(|name| name == text && text.bytes().all(plain)));
    }
    // RFC 9068 §5: the subject of a client is never taken for a user's.
    assert!(read::<UserId>(text).is_none() || read::<ClientId>(text).is_none());
    read::<FamilyId>(text);
    if let Some(user) = read::<Username>(text) {
        let name = user.as_str();
        assert!(
            !name.contains(|c: char| c.is_control() || c.is_whitespace() || c.is_uppercase()),
            "{name:?}"
        );
        assert!((1..=255).contains(&name.len()));
    }
    if let Some(audience) = read::<Audience>(text) {
        assert!(audience.as_str() == text && text.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let Some(ttl) = read::<Ttl>(text) {
        assert!(ttl.as_secs() <= 100 * 366 * 24 * 60 * 60);
    }
    let _ = text.parse::<LogLevels>();
    check_issuer(text);
    check_database_url(text);
    check_encryption_key(text);
}

fn read<T: FromStr<Err: Display> + Display + PartialEq>(text: &str) -> Option<T> {
    match text.parse::<T>() {
        Ok(value) => {
            let printed = value.to_string();
            assert!(printed.parse::<T>().is_ok_and(|again| again == value), "{printed:?}");
            Some(value)
        }
        Err(why) => {
            let sentence = why.to_string();
            assert!(!sentence.contains(char::is_control), "{sentence:?}");
            None
        }
    }
}

/// RFC 8414 §2: clients compare it exactly, so there is one spelling.
fn check_issuer(text: &str) {
    let Ok(issuer) = Issuer::parse(text) else { return };
    assert_eq!(issuer.as_str(), text);
    assert!(text.ends_with(issuer.path()) && !text.ends_with('/') && text.is_ascii());
    assert!(text.starts_with("https://") || (text.starts_with("http://") && issuer.is_loopback()));
    // It stands in a quoted string of WWW-Authenticate, RFC 7617 §2, and RFC 3986 §2 says what a URI is made of.
    let of_a_uri = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]!$&'()*+,;=%".contains(&byte);
    assert!(text.bytes().all(of_a_uri), "{text}");
}

fn check_database_url(text: &str) {
    let Ok(url) = DatabaseUrl::parse(text) else { return };
    if let DatabaseUrl::Sqlite(path) = &url {
        assert!(!path.as_os_str().is_empty() && !url.to_string().contains('\0'));
    }
    assert!(format!("{url:?}").contains(&url.to_string()));
}

fn check_encryption_key(text: &str) {
    let Ok(key) = EncryptionKey::from_base64(text) else { return };
    assert_eq!(format!("{key:?}"), "EncryptionKey(..)");
    let again = EncryptionKey::from_base64(&key.to_base64()).expect("its own spelling");
    assert!(key.has_fingerprint(&again.fingerprint()));
}
