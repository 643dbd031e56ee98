//! The issuer identifier of RFC 8414 §2: the exact text in `iss`. Knows nothing of where the server listens.

use std::fmt;

use url::{Host, Url};

/// The URL that names this server, character by character as every client compares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    text: String,
    path: String,
    loopback: bool,
}

/// Why a text is not an issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIssuer {
    /// No URL with a host at all.
    #[error(
        "'{0}' is not a URL with a host, made of the characters of RFC 3986: write one such as https://auth.example.com"
    )]
    Url(String),
    /// Tokens would cross a network in the clear.
    #[error(
        "'{0}' is not https, which is required unless the host is loopback: write https://, and let a proxy or server.tls provide it"
    )]
    Insecure(String),
    /// RFC 8414 §2: "no query or fragment components".
    #[error("'{0}' has a query, a fragment or a user: write scheme, host, port and path only")]
    Parts(String),
    /// Some clients add a slash to build addresses, others compare exactly.
    #[error("'{0}' ends in a slash, which clients compare in different ways: leave it off")]
    TrailingSlash(String),
    /// A client that normalizes URLs would compare another text.
    #[error("'{given}' is not how clients write this URL: write {canonical}")]
    NotCanonical {
        /// The text.
        given: String,
        /// What it should have been.
        canonical: String,
    },
}

impl Issuer {
    /// Reads an issuer; it must already be written as URL parsers print it.
    pub fn parse(text: &str) -> Result<Self, InvalidIssuer> {
        let given = || text.chars().take(200).collect::<String>();
        let url = Url::parse(text).map_err(|_| InvalidIssuer::Url(given()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidIssuer::Insecure(given()));
        }
        let loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return Err(InvalidIssuer::Url(given())),
        };
        if text.contains(['?', '#', '@']) {
            return Err(InvalidIssuer::Parts(given()));
        }
        if url.scheme() == "http" && !loopback {
            return Err(InvalidIssuer::Insecure(given()));
        }
        if text.ends_with('/') {
            return Err(InvalidIssuer::TrailingSlash(given()));
        }
        let path = if url.path() == "/" { "" } else { url.path() };
        let canonical = url.as_str().trim_end_matches('/');
        if text != canonical {
            return Err(InvalidIssuer::NotCanonical { given: given(), canonical: canonical.to_owned() });
        }
        // The URL parser lets signs stand in a host that RFC 3986 §2 has in no URI. A quote would end the realm
        // of WWW-Authenticate, which the issuer is.
        let of_a_uri = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]!$&'()*+,;=%".contains(&byte);
        if !text.bytes().all(of_a_uri) {
            return Err(InvalidIssuer::Url(given()));
        }
        Ok(Self { text: text.to_owned(), path: path.to_owned(), loopback })
    }

    /// The text of `iss`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path, such as `/tenant`; empty if there is none.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether only this machine can reach it, so that nothing real is protected by it.
    pub const fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_kept_as_it_was_written() {
        for (text, path, loopback) in [
            ("https://auth.example.com", "", false),
            ("https://auth.example.com:8443/tenant/one", "/tenant/one", false),
            ("https://[2001:db8::1]", "", false),
            ("http://127.0.0.1:8080", "", true),
            ("http://127.9.9.9", "", true),
            ("http://[::1]:8080/x", "/x", true),
            ("http://localhost:8080", "", true),
            ("https://localhost", "", true),
        ] {
            let issuer = Issuer::parse(text).expect(text);

            assert_eq!((issuer.as_str(), issuer.path(), issuer.is_loopback()), (text, path, loopback));
        }
    }

    #[test]
    fn tokens_never_cross_a_network_in_the_clear() {
        for text in [
            "http://auth.example.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://0.0.0.0:8080",
            "http://[::]",
            "ftp://localhost",
        ] {
            assert_eq!(Issuer::parse(text), Err(InvalidIssuer::Insecure(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn an_issuer_that_clients_would_compare_in_two_ways_is_refused() {
        for text in ["https://a.example/", "https://a.example/x/"] {
            assert_eq!(Issuer::parse(text), Err(InvalidIssuer::TrailingSlash(text.to_owned())), "{text}");
        }
        for text in
            ["https://a.example?x", "https://a.example#", "https://u@a.example", "https://u:p@a.example"]
        {
            assert_eq!(Issuer::parse(text), Err(InvalidIssuer::Parts(text.to_owned())), "{text}");
        }
        for (text, expected) in [
            ("https://A.example", "https://a.example"),
            ("HTTPS://a.example", "https://a.example"),
            ("https://a.example:443", "https://a.example"),
            ("https://a.example/x/../y", "https://a.example/y"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            (" https://a.example", "https://a.example"),
            ("http://127.1", "http://127.0.0.1"),
            ("https:a.example", "https://a.example"),
        ] {
            let refused = Issuer::parse(text).expect_err(text);

            let expected =
                InvalidIssuer::NotCanonical { given: text.to_owned(), canonical: expected.to_owned() };
            assert_eq!(refused, expected);
        }
        for text in ["", "auth.example.com", "https://", "localhost:8080"] {
            assert!(Issuer::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_quote_in_the_host_cannot_end_the_realm_of_a_challenge() {
        for text in
            ["https://a\"b", "https://a\", charset=\"x", "https://a`b", "https://{a}", "https://a/b|c"]
        {
            assert!(Issuer::parse(text).is_err(), "{text}");
        }
        assert_eq!(Issuer::parse("https://a\"b"), Err(InvalidIssuer::Url("https://a\"b".to_owned())));
    }
}
