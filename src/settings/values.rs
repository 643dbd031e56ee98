//! Small values: a text in, a value or one clear sentence out. Knows no key and no other value.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use url::Url;

use super::LogFormat;
use crate::model::encryption_key;
use crate::model::log_level::LogLevels;
use crate::model::secret::PlainSecret;

/// An address and a port to listen on.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("'{}' is not an address and a port: write one such as 127.0.0.1:8080 or [::]:8080", cut(text))
    })
}

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("'{}' is neither true nor false: write one of them", cut(text)))
}

/// A whole number within bounds.
pub(super) fn count<T>(least: T, most: T) -> impl Fn(&str) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    move |text| match text.parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!("'{}' is not a whole number from {least} to {most}: write one", cut(text))),
    }
}

/// An address or a network, such as `10.0.0.0/8`.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| {
        format!(
            "'{}' is neither an address nor a network: write one such as 10.0.0.7 or 10.0.0.0/8",
            cut(text)
        )
    })?;
    if network.addr() != network.network() {
        return Err(format!(
            "'{network}' is an address inside a network: write {} for the network or {} for the address",
            network.trunc(),
            network.addr()
        ));
    }
    // Whoever may name the source address of a request picks it anew for each guess at a password.
    if network.prefix_len() == 0 {
        return Err(format!(
            "'{network}' trusts everybody, so that anyone could forge the source of a request: name the proxies' own networks"
        ));
    }
    Ok(network)
}

/// The origin of a page, exactly as browsers send it (RFC 6454 §7).
pub(super) fn origin(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err(format!(
            "'{}' stands for pages that nobody has listed, and each could call this server: list the exact origins",
            cut(text)
        ));
    }
    let url = Url::parse(text).ok();
    let canonical = url.as_ref().and_then(|url| {
        let host = url.host_str().filter(|host| !host.is_empty())?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}://{host}{port}", url.scheme()))
    });
    match canonical {
        Some(canonical) if canonical == text => Ok(canonical),
        Some(canonical) => {
            Err(format!("'{}' is not an origin as browsers send it: write {canonical}", cut(text)))
        }
        None => Err(format!(
            "'{}' is not an origin: write scheme, host and port, such as https://app.example.com",
            cut(text)
        )),
    }
}

/// A resource indicator of RFC 8707 §2: "an absolute URI" that "MUST NOT include a fragment component".
pub(super) fn audience(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(_) if !text.contains('#') && !text.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            Ok(text.to_owned())
        }
        _ => Err(format!(
            "'{}' is not an absolute URI without fragment: write one such as https://api.example.com",
            cut(text)
        )),
    }
}

/// Where traces are sent to.
pub(super) fn endpoint(text: &str) -> Result<Url, String> {
    let wrong = |why: &str| Err(format!("this {why}: write one such as http://127.0.0.1:4318"));
    match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() => {
            wrong("is not an http or https URL")
        }
        // It is shown by `config show` and named in logs.
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            wrong("holds a user or password")
        }
        Ok(url) => Ok(url),
        Err(_) => wrong("is not a URL"),
    }
}

/// `pretty` or `json`.
pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("'{}' is not a log format: write pretty or json", cut(text))),
    }
}

/// A level, or levels by module.
pub(super) fn log_level(text: &str) -> Result<String, String> {
    match text.parse::<LogLevels>() {
        Ok(_) => Ok(text.to_owned()),
        Err(invalid) => Err(invalid.to_string()),
    }
}

/// 32 random bytes in base64, as a server will read them. Never quotes the text.
pub(super) fn encryption_key(text: &str) -> Result<PlainSecret, String> {
    match encryption_key::read(text) {
        Ok(_) => Ok(PlainSecret::new(text.to_owned())),
        Err(invalid) => Err(invalid.to_string()),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_taken_only_as_browsers_send_it() {
        for origin_text in [
            "https://app.example.com",
            "http://localhost:3000",
            "https://[::1]:8443",
            "capacitor://localhost",
            "https://xn--bcher-kva.example",
        ] {
            assert_eq!(origin(origin_text).as_deref(), Ok(origin_text));
        }
        for (wrong, right) in [
            ("https://app.example.com/", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("https://APP.example.com", "https://app.example.com"),
            ("https://app.example.com/path?x#y", "https://app.example.com"),
            ("https://u:p@app.example.com", "https://app.example.com"),
        ] {
            assert!(origin(wrong).is_err_and(|why| why.ends_with(&format!("write {right}"))), "{wrong}");
        }
        for wrong in ["*", "null", "app.example.com", "file:///x", "data:x", "https://*.example.com:x"] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_proxy_is_an_address_or_a_whole_network() {
        for text in ["10.0.0.7", "10.0.0.0/8", "::1", "fd00::/8", "192.168.1.1/32"] {
            assert!(network(text).is_ok(), "{text}");
        }
        for text in ["10.0.0.7/8", "0.0.0.0/0", "::/0", "10.0.0.0/33", "proxy.internal", "10.0.0.7:80", ""] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_misspelt_level_does_not_silence_the_log() {
        for text in ["info", "INFO", "off", "info,sqlx=warn", "warn,grantd::http=debug", "warn, sqlx=info"] {
            assert!(log_level(text).is_ok(), "{text}");
        }
        for text in
            ["inof", "info,sqlx", "sqlx=wran", "info,,", "=", "3", "info;debug", "grantd[span{id=1}]=trace"]
        {
            assert!(log_level(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_encryption_key_is_32_random_bytes() {
        let good = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=";
        assert_eq!(encryption_key(good).map(|key| key.expose().to_owned()).as_deref(), Ok(good));
        assert!(encryption_key(good.trim_end_matches('=')).is_ok());
        assert!(encryption_key(&good.replace('+', "-").replace('/', "_")).is_ok());

        // The last but one is 32 bytes of eight kinds, which no random source gives.
        let few = "AAECAwQFBgcAAQIDBAUGBwABAgMEBQYHAAECAwQFBgc=";
        for bad in ["canary!", "3q2+7w==", &format!("{}=", "A".repeat(43)), few, "0012345"] {
            let why = encryption_key(bad).expect_err(bad);

            assert!(!why.contains(bad) && why.contains("openssl rand -base64 32"), "{why}");
        }
    }

    #[test]
    fn an_audience_is_an_absolute_uri_without_fragment() {
        for text in ["https://api.example.com", "https://api.example.com/v1?x=1", "urn:example:api"] {
            assert_eq!(audience(text).as_deref(), Ok(text));
        }
        for text in
            ["api", "/api", "https://api.example.com#x", "https://api.example.com/a b", "api.example.com"]
        {
            assert!(audience(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_trace_collector_is_an_http_address_without_credentials() {
        assert!(endpoint("http://127.0.0.1:4317").is_ok());
        for text in ["127.0.0.1:4317", "grpc://h:4317", "http://user:canary@h:4317"] {
            assert!(endpoint(text).is_err_and(|why| !why.contains("canary")), "{text}");
        }
    }
}
