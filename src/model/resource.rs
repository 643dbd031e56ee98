//! Audiences: the resource servers a token is meant for, RFC 8707 §2 and RFC 9068 §3.

use std::fmt;
use std::str::FromStr;

use url::Url;

use super::id::excerpt;

/// An absolute URI without a fragment, compared character by character.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Audience(String);

/// Why a text is not an audience.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an audience: use an absolute URI without a fragment, such as https://api.example.com")]
pub struct InvalidAudience(String);

impl Audience {
    /// The URI as it was registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Audience {
    type Err = InvalidAudience;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let visible = text.bytes().all(|b| b.is_ascii_graphic()) && text.len() <= 2000;
        match Url::parse(text) {
            // RFC 8707 §2: "an absolute URI … MUST NOT include a fragment component"
            Ok(uri) if visible && uri.fragment().is_none() => Ok(Self(text.to_owned())),
            _ => Err(InvalidAudience(excerpt(text))),
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_is_an_absolute_uri_without_fragment() {
        for good in ["https://api.example.com", "urn:example:orders", "https://api.example.com/v1?x=1"] {
            assert_eq!(good.parse::<Audience>().map(|a| a.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "api", "/v1", "https://api.example.com/#x", "https://a b", "https://ä.example"] {
            assert!(bad.parse::<Audience>().is_err(), "{bad}");
        }
    }
}
