//! Who is the caller: the peer of the connection, or the address a trusted proxy names. Must not know what the address is used for.
//!
//! The address bounds login attempts, so a caller must not be able to choose it. `Forwarded` and
//! `X-Forwarded-For` are believed only as far as trusted proxies wrote them: each proxy appends the address it
//! was called from, so the list is read from its right end, and the first address that is not a trusted proxy
//! is the caller. What stands further left, the caller wrote himself.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use ipnet::IpNet;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The caller's address, IPv4-mapped IPv6 written as IPv4. [`find_client_address`] puts it into the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The address that was found, else the peer's; none where there is no peer, as in some tests.
    pub fn of(request: &HttpRequest) -> Option<IpAddr> {
        let resolved = request.extensions().get::<Self>().copied();
        resolved.map(|Self(address)| address).or_else(|| Some(request.peer_addr()?.ip().to_canonical()))
    }
}

/// Where nothing was found and there is no peer (only in tests) this is 0.0.0.0.
impl FromRequest for ClientAddress {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(Self::of(request).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))))
    }
}

/// `server.trusted_proxies`, for `App::app_data`. Without it, nobody is trusted.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// The networks whose members may name the caller.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// Puts [`ClientAddress`] into the request's extensions, before its span is made.
pub fn find_client_address(request: &ServiceRequest) {
    if let Some(peer) = request.peer_addr() {
        let trusted = request.app_data::<TrustedProxies>().map_or(&[][..], |proxies| &proxies.0);
        let address = resolve(peer.ip(), trusted, request.headers());
        request.extensions_mut().insert(ClientAddress(address));
    }
}

/// The caller's address, from the `peer` of the connection, the networks of `trusted` proxies and the request's headers.
///
/// Where both headers are sent and disagree, the answer is the peer: a proxy that maintains one of them usually
/// passes the other one on as the caller wrote it, and nothing here can tell which is which.
pub fn resolve(peer: IpAddr, trusted: &[IpNet], headers: &HeaderMap) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let forwarded = headers.contains_key(FORWARDED);
    let x_forwarded_for = headers.contains_key(X_FORWARDED_FOR);
    let by_forwarded = || nearest_untrusted(peer, trusted, hops(headers, FORWARDED, forwarded_line));
    let by_x_forwarded_for =
        || nearest_untrusted(peer, trusted, hops(headers, X_FORWARDED_FOR, x_forwarded_for_line));
    match (forwarded, x_forwarded_for) {
        (false, false) => peer,
        (true, false) => by_forwarded(),
        (false, true) => by_x_forwarded_for(),
        (true, true) => {
            let address = by_forwarded();
            if address == by_x_forwarded_for() { address } else { peer }
        }
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Walks from the peer towards the caller while the hops are trusted proxies. At a hop that names no address,
/// the last proxy that did is the best that is known.
fn nearest_untrusted(peer: IpAddr, trusted: &[IpNet], hops: Vec<Option<IpAddr>>) -> IpAddr {
    let mut nearest = peer;
    for hop in hops.into_iter().rev() {
        let Some(address) = hop else { break };
        nearest = address;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    nearest
}

/// The hops of all lines of a header, in order (RFC 9110 §5.3: several lines are one list); none for a hop
/// without a usable address.
fn hops(headers: &HeaderMap, name: HeaderName, read: fn(&str) -> Vec<Option<IpAddr>>) -> Vec<Option<IpAddr>> {
    // Line by line, so that a quote left open in the caller's line cannot swallow the proxy's.
    let read_line = |line: &HeaderValue| line.to_str().map_or_else(|_| vec![None], read);
    headers.get_all(name).flat_map(read_line).collect()
}

/// `X-Forwarded-For: 192.0.2.1, "[2001:db8::1]:4711", …`. Empty elements do not count (RFC 9110 §5.6.1.2).
fn x_forwarded_for_line(line: &str) -> Vec<Option<IpAddr>> {
    line.split(',')
        .map(trim)
        .filter(|element| !element.is_empty())
        .map(|element| node(unquoted(element)))
        .collect()
}

fn unquoted(element: &str) -> &str {
    element.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(element)
}

/// `Forwarded: for=192.0.2.1;proto=https, for="[2001:db8::1]:4711", …` (RFC 7239 §4).
fn forwarded_line(line: &str) -> Vec<Option<IpAddr>> {
    let mut hops = Vec::new();
    let mut rest = line;
    loop {
        rest = trim(rest);
        if rest.is_empty() {
            return hops;
        }
        if let Some(after) = rest.strip_prefix(',') {
            rest = after;
            continue;
        }
        match forwarded_element(rest) {
            Some((hop, after)) => {
                hops.push(hop);
                rest = after;
            }
            // Malformed: skip to the next comma. A quote that hides commas is then closed somewhere else, which
            // is malformed again, so that the rightmost hop can be lost but not replaced by the caller's words.
            None => {
                hops.push(None);
                rest = rest.find(',').map_or("", |comma| &rest[comma..]);
            }
        }
    }
}

/// One element, up to its comma or the end; the address in its `for`, and what follows.
fn forwarded_element(element: &str) -> Option<(Option<IpAddr>, &str)> {
    let mut named: Option<Option<IpAddr>> = None;
    let mut rest = element;
    loop {
        rest = trim(rest);
        if !rest.starts_with([';', ',']) && !rest.is_empty() {
            let (name, after) = token(rest)?;
            let (value, after) = value(after.strip_prefix('=')?)?;
            rest = trim(after);
            // RFC 7239 §4: each parameter at most once per element.
            if name.eq_ignore_ascii_case("for") && named.replace(node(&value)).is_some() {
                return None;
            }
        }
        match rest.strip_prefix(';') {
            Some(after) => rest = after,
            None if rest.is_empty() || rest.starts_with(',') => return Some((named.flatten(), rest)),
            None => return None,
        }
    }
}

fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        // More than RFC 9110's token: senders forget the quotes around ports and IPv6 addresses.
        let end = text.find(|c: char| !(is_token(c) || matches!(c, ':' | '[' | ']'))).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            c => value.push(c),
        }
    }
    None
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// RFC 9110 §5.6.2
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The address of a node (RFC 7239 §6) with or without a port; none for `unknown`, `_obfuscated` and nonsense.
fn node(node: &str) -> Option<IpAddr> {
    let address = match node.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => with_port(node)?,
    };
    Some(address.to_canonical())
}

fn with_port(node: &str) -> Option<IpAddr> {
    if let Ok(address) = node.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    if let Some(bracketed) = node.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return port_fits.then(|| address.parse().ok().map(IpAddr::V6))?;
    }
    let (address, port) = node.split_once(':')?;
    is_port(port).then(|| address.parse().ok().map(IpAddr::V4))?
}

/// RFC 7239 §6: digits, or an obfuscated port.
fn is_port(port: &str) -> bool {
    let obfuscated =
        |rest: &str| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    port.parse::<u16>().is_ok() || port.strip_prefix('_').is_some_and(obfuscated)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use actix_web::middleware::{Next, from_fn};
    use actix_web::test::{TestRequest, call_and_read_body, init_service};
    use actix_web::{App, web};

    use super::*;

    const PROXY: &str = "10.0.0.1";

    /// Resolves a request of `peer` with header lines as they came in; 10/8 and fd00::/8 are trusted.
    fn caller(peer: &str, lines: &[(HeaderName, &str)]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(name.clone(), HeaderValue::from_bytes(line.as_bytes()).expect("a header value"));
        }
        resolve(peer.parse().expect("an address"), &trusted, &headers).to_string()
    }

    fn caller_by_x_forwarded_for(line: &str) -> String {
        caller(PROXY, &[(X_FORWARDED_FOR, line)])
    }

    fn caller_by_forwarded(line: &str) -> String {
        caller(PROXY, &[(FORWARDED, line)])
    }

    #[test]
    fn a_peer_that_is_no_trusted_proxy_is_the_caller_whatever_it_claims() {
        for name in [FORWARDED, X_FORWARDED_FOR] {
            for claim in ["10.0.0.9", "for=10.0.0.9", "192.0.2.1", "for=192.0.2.1"] {
                assert_eq!(caller("203.0.113.9", &[(name.clone(), claim)]), "203.0.113.9");
            }
        }
        assert_eq!(caller("2001:db8::9", &[]), "2001:db8::9");
    }

    #[test]
    fn a_trusted_proxy_without_headers_is_the_caller_itself() {
        assert_eq!(caller(PROXY, &[]), PROXY);
        assert_eq!(caller_by_x_forwarded_for(""), PROXY);
        assert_eq!(caller_by_forwarded(" , ,"), PROXY);
    }

    #[test]
    fn x_forwarded_for_names_the_rightmost_address_that_is_not_a_proxy() {
        for (line, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("  192.0.2.1\t", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("192.0.2.1:_port", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
            ("192.0.2.1, 10.0.0.2, 10.0.0.3", "192.0.2.1"),
            ("192.0.2.1, fd00::2", "192.0.2.1"),
            ("192.0.2.1,,", "192.0.2.1"),
            // Only proxies: the outermost of them asks.
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ] {
            assert_eq!(caller_by_x_forwarded_for(line), expected, "{line}");
        }
    }

    #[test]
    fn forwarded_names_the_rightmost_address_that_is_not_a_proxy() {
        for (line, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1"),
            ("proto=https; for=192.0.2.1", "192.0.2.1"),
            ("for=\"192.0.2.1:4711\"", "192.0.2.1"),
            ("for=192.0.2.1:4711", "192.0.2.1"),
            ("for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=\"[2001:db8::1]\"", "2001:db8::1"),
            ("for=[2001:db8::1]", "2001:db8::1"),
            ("for=\"[2001:db8::1]:_obf\"", "2001:db8::1"),
            ("for=\"\\1\\9\\2.0.2.1\"", "192.0.2.1"),
            ("for=\"::ffff:192.0.2.1\"", "192.0.2.1"),
            ("for=192.0.2.1, for=10.0.0.2;by=\"a,b;c\", for=10.0.0.3", "192.0.2.1"),
            ("for=192.0.2.1;;,", "192.0.2.1"),
            ("for=10.0.0.3, for=10.0.0.2", "10.0.0.3"),
        ] {
            assert_eq!(caller_by_forwarded(line), expected, "{line}");
        }
    }

    #[test]
    fn what_stands_left_of_the_proxys_entry_is_the_callers_invention() {
        for line in [
            "127.0.0.1, 192.0.2.1",
            "10.0.0.1, 192.0.2.1",
            "6.6.6.6, 10.0.0.5, 192.0.2.1, 10.0.0.2",
            "garbage, 192.0.2.1",
            "unknown, 192.0.2.1",
            "\", 192.0.2.1",
        ] {
            assert_eq!(caller_by_x_forwarded_for(line), "192.0.2.1", "{line}");
        }
        for line in [
            "for=127.0.0.1, for=192.0.2.1",
            "for=6.6.6.6, for=10.0.0.5, for=192.0.2.1, for=10.0.0.2",
            "for=@@@, for=192.0.2.1",
            "=;=, for=192.0.2.1",
            "for=\"unknown\", for=192.0.2.1",
            "for=\"6.6.6.6, for=6.6.6.6\", for=192.0.2.1",
        ] {
            assert_eq!(caller_by_forwarded(line), "192.0.2.1", "{line}");
        }
    }

    #[test]
    fn a_quote_left_open_by_the_caller_never_makes_his_words_the_answer() {
        // The proxy appends its entry to the caller's line, in every style of quoting.
        let opened = [
            "for=\"6.6.6.6",
            "for=6.6.6.6;by=\"",
            "for=6.6.6.6, by=\"",
            "for=6.6.6.6;by=\"\\",
            "for=6.6.6.6, for=6.6.6.6;x=\"y",
            "for=\"x\", for=6.6.6.6;x=\"",
        ];
        let appended = [
            "for=192.0.2.1",
            "for=\"192.0.2.1\"",
            "for=\"192.0.2.1:80\";proto=https",
            "proto=https;by=\"_x\";for=\"192.0.2.1\"",
            "by=\"_x\";for=192.0.2.1;host=\"h\"",
        ];
        for opened in opened {
            for appended in appended {
                let line = format!("{opened}, {appended}");
                let found = caller_by_forwarded(&line);
                assert!(found == "192.0.2.1" || found == PROXY, "{line}: {found}");
                // With a line of its own the proxy is always heard.
                let found = caller(PROXY, &[(FORWARDED, opened), (FORWARDED, appended)]);
                assert_eq!(found, "192.0.2.1", "{opened} / {appended}");
            }
        }
    }

    #[test]
    fn a_hop_without_an_address_ends_the_walk_at_the_last_good_one() {
        for (line, expected) in [
            ("192.0.2.1, unknown", PROXY),
            ("192.0.2.1, _hidden, 10.0.0.2", "10.0.0.2"),
            ("192.0.2.1, 10.0.0.256", PROXY),
            ("192.0.2.1, 10.0.0.2:99999", PROXY),
            ("192.0.2.1, 010.0.0.2", PROXY),
            ("192.0.2.1, fe80::1%eth0", PROXY),
            ("192.0.2.1, [2001:db8::1", PROXY),
            ("192.0.2.1, [192.0.2.7]", PROXY),
            ("192.0.2.1 10.0.0.2", PROXY),
            ("192.0.2.1, caf\u{e9}", PROXY),
        ] {
            assert_eq!(caller_by_x_forwarded_for(line), expected, "{line}");
        }
        for (line, expected) in [
            ("for=192.0.2.1, for=unknown", PROXY),
            ("for=192.0.2.1, for=\"_gazonk\", for=10.0.0.2", "10.0.0.2"),
            ("for=192.0.2.1, proto=https", PROXY),
            ("for=192.0.2.1;for=192.0.2.2", PROXY),
            ("for=192.0.2.1, for=", PROXY),
            ("for = 192.0.2.1", PROXY),
            ("for=192.0.2.1 for=192.0.2.2", PROXY),
            ("192.0.2.1", PROXY),
            ("for=\"192.0.2.1\\", PROXY),
        ] {
            assert_eq!(caller_by_forwarded(line), expected, "{line}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = [
            (X_FORWARDED_FOR, "6.6.6.6"),
            (X_FORWARDED_FOR, "192.0.2.1, 10.0.0.3"),
            (X_FORWARDED_FOR, "10.0.0.2"),
        ];
        assert_eq!(caller(PROXY, &lines), "192.0.2.1");
    }

    #[test]
    fn a_header_that_the_proxy_does_not_maintain_cannot_be_used_to_choose_an_address() {
        // The proxy appends to X-Forwarded-For and passes the caller's Forwarded on, or the other way round.
        let forged_forwarded = [(FORWARDED, "for=6.6.6.6"), (X_FORWARDED_FOR, "192.0.2.1")];
        let forged_x_forwarded_for = [(FORWARDED, "for=192.0.2.1"), (X_FORWARDED_FOR, "6.6.6.6")];
        assert_eq!(caller(PROXY, &forged_forwarded), PROXY);
        assert_eq!(caller(PROXY, &forged_x_forwarded_for), PROXY);

        let both_maintained = [(FORWARDED, "for=6.6.6.6, for=192.0.2.1"), (X_FORWARDED_FOR, "192.0.2.1")];
        assert_eq!(caller(PROXY, &both_maintained), "192.0.2.1");
    }

    #[test]
    fn ipv4_in_ipv6_clothes_is_ipv4() {
        assert_eq!(caller("::ffff:203.0.113.9", &[]), "203.0.113.9");
        assert_eq!(caller("::ffff:10.0.0.1", &[(X_FORWARDED_FOR, "192.0.2.1")]), "192.0.2.1");
    }

    #[actix_web::test]
    async fn the_middleware_hands_the_address_to_handlers_and_trusts_nobody_by_default() {
        async fn who(ClientAddress(address): ClientAddress) -> String {
            address.to_string()
        }
        let request = || {
            let peer = format!("{PROXY}:4711").parse().expect("an address");
            TestRequest::get().peer_addr(peer).insert_header((X_FORWARDED_FOR, "192.0.2.1")).to_request()
        };
        let open = App::new()
            .wrap(from_fn(async |request, next: Next<_>| {
                find_client_address(&request);
                next.call(request).await
            }))
            .route("/", web::get().to(who));
        let behind_proxy = App::new()
            .app_data(TrustedProxies::new(["10.0.0.1/32".parse().expect("a network")]))
            .wrap(from_fn(async |request, next: Next<_>| {
                find_client_address(&request);
                next.call(request).await
            }))
            .route("/", web::get().to(who));

        assert_eq!(call_and_read_body(&init_service(open).await, request()).await, PROXY);
        assert_eq!(call_and_read_body(&init_service(behind_proxy).await, request()).await, "192.0.2.1");
    }
}
