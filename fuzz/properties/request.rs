//! A request at `/token`: its content type, its Authorization headers and its body, as strangers write them.
//!
//! The input is `content type LF Authorization headers LF body`; a CR stands between several headers. Must not
//! know of sockets or of what becomes of a request.

use std::collections::BTreeSet;

use grantd::http::form::is_form;
use grantd::model::client::GrantType;
use grantd::model::scope::Scope;
use grantd::protocol::client_auth::Presented;
use grantd::protocol::error::TokenError;
use grantd::protocol::params::{InvalidForm, Params};
use grantd::protocol::token_request::{TokenRequest, Wish};
use url::form_urlencoded::{Serializer, parse};

type Pairs = Vec<(String, String)>;

/// Whatever comes is read as an independent reader reads it, or refused as the client's mistake.
pub(crate) fn holds(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (content_type, authorization, body) = (part(), part(), part());
    if let Ok(content_type) = std::str::from_utf8(content_type) {
        check_content_type(content_type);
    }
    // Lossy where the form is strict, and right wherever the form is taken.
    let pairs: Pairs = parse(body).into_owned().collect();
    let params = match Params::parse(body) {
        Ok(params) => params,
        Err(why) => return check_refusal(why, body, &pairs),
    };

    check_params(&params, &pairs);
    check_token_request(&params, &pairs);
    let headers: Vec<&[u8]> =
        authorization.split(|byte| *byte == b'\r').filter(|header| !header.is_empty()).collect();
    check_presented(&headers, &params);
}

/// RFC 6749 appendix B: this media type, and no other charset than UTF-8.
fn check_content_type(text: &str) {
    if !is_form(text) {
        return;
    }
    let lower = text.to_ascii_lowercase();
    let (essence, parameters) = lower.split_once(';').unwrap_or((&lower, ""));
    assert_eq!(essence.trim(), "application/x-www-form-urlencoded");
    for charset in parameters.split(';').filter_map(|one| one.trim().strip_prefix("charset=")) {
        assert_eq!(charset.trim_matches('"'), "utf-8");
    }
}

fn check_refusal(why: InvalidForm, body: &[u8], pairs: &Pairs) {
    let contains = |wanted: char| pairs.iter().any(|(name, value)| (name.clone() + value).contains(wanted));
    let reason_is_there = match why {
        InvalidForm::Repeated => repeated(pairs),
        InvalidForm::PercentEncoding => body.contains(&b'%'),
        InvalidForm::Utf8 => contains(char::REPLACEMENT_CHARACTER),
        InvalidForm::Nul => contains('\0'),
    };
    assert!(reason_is_there, "{why}");
    check_is_clients_mistake(&TokenError::Form(why));
}

/// RFC 6749 §3.2 and RFC 8707 §2: everything at most once, except `resource`.
fn repeated(pairs: &Pairs) -> bool {
    let mut seen = BTreeSet::new();
    pairs.iter().any(|(name, _)| !seen.insert(name) && name != "resource")
}

fn check_params(params: &Params, pairs: &Pairs) {
    assert!(!repeated(pairs), "a repeated parameter was taken");
    for (name, value) in pairs {
        assert!(!name.contains('\0') && !value.contains('\0'), "a NUL was taken");
        if name != "resource" {
            assert_eq!(params.value(name), Some(value.as_str()).filter(|value| !value.is_empty()));
        }
    }
    let of_pairs = |wanted: &str| -> Vec<String> {
        let wanted = pairs.iter().filter(|(name, value)| name == wanted && !value.is_empty());
        wanted.map(|(_, value)| value.clone()).collect()
    };
    assert_eq!(params.values("resource").collect::<Vec<_>>(), of_pairs("resource"));

    // The same form in its usual spelling is the same form, and what it prints does not depend on its values.
    let written = |value: fn(&str) -> &str| {
        let pairs = pairs.iter().map(|(name, text)| (name, value(text)));
        Serializer::new(String::new()).extend_pairs(pairs).finish()
    };
    let again = Params::parse(written(|value| value).as_bytes()).expect("a form");
    for (name, _) in pairs {
        assert!(again.values(name).eq(params.values(name)));
    }
    let empty = Params::parse(written(|_| "").as_bytes()).expect("a form");
    assert_eq!(format!("{params:?}"), format!("{empty:?}"), "a value is printed");
}

fn check_token_request(params: &Params, pairs: &Pairs) {
    let request = match TokenRequest::parse(params) {
        Ok(request) => request,
        Err(error) => return check_is_clients_mistake(&error),
    };
    assert_eq!(params.value("grant_type"), Some(request.grant_type().as_str()));
    match &request {
        TokenRequest::ClientCredentials(wish) => check_wish(wish, params),
        TokenRequest::Password { username, password, wish } => {
            assert!(!username.is_empty() && params.value("username") == Some(username));
            assert!(!password.expose().is_empty() && params.value("password") == Some(password.expose()));
            check_wish(wish, params);
        }
        TokenRequest::RefreshToken { token, wish } => {
            assert!(!token.expose().is_empty() && params.value("refresh_token") == Some(token.expose()));
            check_wish(wish, params);
        }
        TokenRequest::TokenExchange { token, given: _, wanted, wish } => {
            assert!(!token.expose().is_empty() && params.value("subject_token") == Some(token.expose()));
            assert!(params.value("requested_token_type").is_none_or(|named| named == wanted.as_str()));
            let named = params.values("resource").chain(params.values("audience")).collect();
            check_wish_for(wish, params, named);
        }
    }
    if request.grant_type() != GrantType::ClientCredentials {
        let other = pairs.iter().map(|(name, value)| match name.as_str() {
            "password" | "refresh_token" | "subject_token" => (name.as_str(), "another secret"),
            _ => (name.as_str(), value.as_str()),
        });
        let other = Serializer::new(String::new()).extend_pairs(other).finish();
        let other = TokenRequest::parse(&Params::parse(other.as_bytes()).expect("a form"));
        assert_eq!(format!("{request:?}"), format!("{:?}", other.expect("complete")), "a secret is printed");
    }
}

fn check_wish(wish: &Wish, params: &Params) {
    check_wish_for(wish, params, params.values("resource").collect());
}

fn check_wish_for(wish: &Wish, params: &Params, named: Vec<&str>) {
    // RFC 6749 §3.2: an empty scope is one that was left out; only that asks for everything.
    assert_eq!(wish.scope.is_some(), params.value("scope").is_some());
    if let Some(scope) = &wish.scope {
        assert!(!scope.is_empty());
        assert_eq!(scope.to_string().parse::<Scope>().as_ref(), Ok(scope));
    }
    let resource: Vec<&str> = wish.resource.iter().map(|audience| audience.as_str()).collect();
    assert_eq!(resource, named);
    for uri in resource {
        let visible = uri.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(visible && uri.contains(':') && !uri.contains('#'), "{uri}");
    }
}

fn check_presented(headers: &[&[u8]], params: &Params) {
    let presented = match Presented::read(headers, params) {
        Ok(presented) => presented,
        Err(error) => {
            if let TokenError::Client { header_used, .. } = error {
                assert_eq!(header_used, !headers.is_empty());
            }
            return check_is_clients_mistake(&error);
        }
    };
    // RFC 6749 §2.3: one method in each request. A second one must never decide who the client is.
    let (id, secret) = (params.value("client_id"), params.value("client_secret"));
    let asserts =
        params.value("client_assertion").is_some() && params.value("client_assertion_type").is_some();
    assert_eq!(asserts, matches!(presented, Presented::Assertion { .. }));
    assert_eq!(presented.header_used(), headers.len() == 1);
    match &presented {
        Presented::Basic { decoded, raw } => {
            assert_eq!(secret, None);
            let raw = raw.as_ref().map(|raw| raw.client_id.as_str());
            assert!(id.is_none_or(|id| id == decoded.client_id || Some(id) == raw), "two clients at once");
        }
        Presented::Post(pair) => {
            assert!(headers.is_empty());
            assert_eq!((id, secret), (Some(pair.client_id.as_str()), Some(pair.secret.expose())));
        }
        Presented::Assertion { client_id, .. } => {
            assert!(headers.is_empty());
            assert_eq!((id, secret), (client_id.as_deref(), None));
        }
        Presented::Public { client_id } => {
            assert!(headers.is_empty());
            assert_eq!((id, secret), (Some(client_id.as_str()), None));
        }
    }
}

fn check_is_clients_mistake(error: &TokenError) {
    let (_, status, _) = error.answer();
    assert!((400..500).contains(&status), "{error:?} is answered {status}");
}
