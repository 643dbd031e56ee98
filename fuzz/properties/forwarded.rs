//! `Forwarded` and `X-Forwarded-For`: the caller writes what he likes, the proxy appends where he called from.
//!
//! The input is header lines, `f` or `x` and the line's content, with LF between them. Must not know of sockets.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use grantd::http::client_address::resolve;
use ipnet::{IpNet, Ipv4Net};

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
/// Where the proxy was called from; stands in no input.
const CALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 77));

/// How proxies append their element to a `Forwarded` line.
const ELEMENTS: [&str; 5] = [
    "for=198.51.100.77",
    "for=\"198.51.100.77\"",
    "for=\"198.51.100.77:80\";proto=https",
    "proto=https;by=\"_x\";for=\"198.51.100.77\"",
    "by=\"_x\";for=198.51.100.77;host=\"h\"",
];

/// The caller never chooses the address that his logins are counted under.
pub(crate) fn holds(data: &[u8]) {
    if data.windows(7).any(|window| window == b"198.51.") {
        return;
    }
    let lines: Vec<(HeaderName, HeaderValue)> =
        data.split(|byte| *byte == b'\n').take(6).filter_map(line).collect();
    let of = |wanted: HeaderName| -> Vec<HeaderValue> {
        lines.iter().filter(|(name, _)| *name == wanted).map(|(_, value)| value.clone()).collect()
    };
    let (forwarded, x_forwarded_for) = (of(FORWARDED), of(X_FORWARDED_FOR));

    let found = ask(PROXY, &forwarded, &x_forwarded_for);
    assert_eq!(found, found.to_canonical());
    assert_eq!(ask(STRANGER, &forwarded, &x_forwarded_for), STRANGER, "a stranger was believed");
    if !forwarded.is_empty() && !x_forwarded_for.is_empty() {
        let alone = [ask(PROXY, &forwarded, &[]), ask(PROXY, &[], &x_forwarded_for)];
        assert_eq!(found, if alone[0] == alone[1] { alone[0] } else { PROXY });
    }

    let element = ELEMENTS[data.len() % ELEMENTS.len()];
    check_line_of_its_own(&forwarded, &x_forwarded_for, element);
    check_same_line(&forwarded, &x_forwarded_for, element);
}

fn line(text: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let (kind, content) = text.split_first()?;
    let name = match kind {
        b'f' => FORWARDED,
        b'x' => X_FORWARDED_FOR,
        _ => return None,
    };
    Some((name, HeaderValue::from_bytes(content).ok()?))
}

fn ask(peer: IpAddr, forwarded: &[HeaderValue], x_forwarded_for: &[HeaderValue]) -> IpAddr {
    let trusted = [IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8))];
    let mut headers = HeaderMap::new();
    for value in forwarded {
        headers.append(FORWARDED, value.clone());
    }
    for value in x_forwarded_for {
        headers.append(X_FORWARDED_FOR, value.clone());
    }
    resolve(peer, &trusted, &headers)
}

/// RFC 9110 §5.3: a proxy may append a line. Nothing in the caller's lines can swallow it.
fn check_line_of_its_own(forwarded: &[HeaderValue], x_forwarded_for: &[HeaderValue], element: &'static str) {
    let with = |lines: &[HeaderValue], own: &'static str| [lines, &[HeaderValue::from_static(own)]].concat();
    assert_eq!(ask(PROXY, &with(forwarded, element), &[]), CALLER, "{element}");
    assert_eq!(ask(PROXY, &[], &with(x_forwarded_for, "198.51.100.77")), CALLER);
}

/// Appended to the caller's own line: a quote that he left open may hide the address, never put another in its
/// place.
fn check_same_line(forwarded: &[HeaderValue], x_forwarded_for: &[HeaderValue], element: &str) {
    let appended = |lines: &[HeaderValue], element: &str| -> Option<Vec<HeaderValue>> {
        let (last, before) = lines.split_last()?;
        let line = [last.as_bytes(), b", ", element.as_bytes()].concat();
        Some([before, &[HeaderValue::from_bytes(&line).ok()?]].concat())
    };
    if let Some(lines) = appended(forwarded, element) {
        let found = ask(PROXY, &lines, &[]);
        assert!(found == CALLER || found == PROXY, "{lines:?} is taken for {found}");
    }
    if let Some(lines) = appended(x_forwarded_for, "198.51.100.77") {
        let found = ask(PROXY, &[], &lines);
        // A line that is not ASCII names nobody.
        let named = lines.last().is_some_and(|line| line.to_str().is_ok());
        assert_eq!(found, if named { CALLER } else { PROXY }, "{lines:?}");
    }
}
