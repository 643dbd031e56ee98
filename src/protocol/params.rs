//! The form body of a request, read to the letter: `application/x-www-form-urlencoded` in UTF-8.
//!
//! Forgiving readers are how parameters get smuggled: of two `scope` parameters some take the first, some
//! the last, some none. Here each repeated parameter is refused, whatever it is.

use zeroize::Zeroizing;

use crate::model::secret::PlainSecret;

/// Parameters that a request may name several times (RFC 8707 §2: `resource`; RFC 8693 §2.1: `audience`).
const REPEATABLE: [&str; 2] = ["audience", "resource"];

/// The parameters of one request, each decoded once. Wiped from memory when dropped.
pub struct Params(Vec<(String, Zeroizing<String>)>);

/// Why a body is not a form. Names nothing of its content, for it may hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidForm {
    /// RFC 6749 §3.2: "Request and response parameters MUST NOT be included more than once."
    #[error(
        "a parameter is included more than once: send each parameter at most once (RFC 6749 section 3.2)"
    )]
    Repeated,
    /// `%` without two hexadecimal digits.
    #[error("a '%' in the body is not followed by two hexadecimal digits: percent-encode the body")]
    PercentEncoding,
    /// Not UTF-8, RFC 6749 appendix B.
    #[error("the body is not UTF-8: encode it as UTF-8 before percent-encoding it (RFC 6749 appendix B)")]
    Utf8,
    /// A NUL byte, which no parameter of OAuth contains and some databases refuse.
    #[error("the body contains a NUL byte: no OAuth parameter may contain one")]
    Nul,
}

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Params {
    /// Reads a body. An empty value counts as left out, RFC 6749 §3.2, but not as absent when repeated.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidForm> {
        let mut params = Vec::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            params.push((decode(name)?, Zeroizing::new(decode(value)?)));
        }
        // Of one name in the order in which they came.
        params.sort_by(|(one, _), (other, _)| one.cmp(other));
        let repeated =
            |pair: &[(String, _)]| pair[0].0 == pair[1].0 && !REPEATABLE.contains(&pair[0].0.as_str());
        if params.windows(2).any(repeated) {
            return Err(InvalidForm::Repeated);
        }
        Ok(Self(params))
    }

    /// The value of a parameter; `None` when it is left out or empty.
    pub fn value<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// All values of a repeatable parameter that are not empty.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let first = self.0.partition_point(|(known, _)| known.as_str() < name);
        let of_name = self.0[first..].iter().take_while(move |(known, _)| known == name);
        of_name.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The names of all parameters, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The value of a parameter that is a secret.
    pub fn secret(&self, name: &str) -> Option<PlainSecret> {
        self.value(name).map(|value| PlainSecret::new(value.to_owned()))
    }
}

/// Undoes `application/x-www-form-urlencoded`: `+` is a space, `%XX` a byte, the bytes are UTF-8.
pub(super) fn decode(encoded: &[u8]) -> Result<String, InvalidForm> {
    if !encoded.iter().any(|byte| matches!(byte, b'+' | b'%' | 0)) {
        return std::str::from_utf8(encoded).map(str::to_owned).map_err(|_| InvalidForm::Utf8);
    }
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(*b).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err(InvalidForm::PercentEncoding),
                }
            }
            other => *other,
        });
    }
    if bytes.contains(&0) {
        return Err(InvalidForm::Nul);
    }
    String::from_utf8(bytes).map_err(|_| InvalidForm::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_with_its_encoding_undone() {
        let params = Params::parse(b"a=1+2&b=%C3%A4%26&c=&d&&e=x=y").expect("a form");

        assert_eq!(params.value("a"), Some("1 2"));
        assert_eq!(params.value("b"), Some("\u{e4}&"));
        assert_eq!(params.value("c"), None);
        assert_eq!(params.value("d"), None);
        assert_eq!(params.value("e"), Some("x=y"));
        assert_eq!(params.value("f"), None);
    }

    #[test]
    fn a_repeated_parameter_is_refused_even_when_empty_or_unknown() {
        for body in ["scope=a&scope=b", "scope=&scope=admin", "scope&scope", "x=1&x=1", "sc%6Fpe=a&scope=b"] {
            assert_eq!(Params::parse(body.as_bytes()).err(), Some(InvalidForm::Repeated), "{body}");
        }
    }

    #[test]
    fn targets_may_be_repeated() {
        for name in ["resource", "audience"] {
            let form = format!("{name}=https://a&{name}=&{name}=https://b");
            let params = Params::parse(form.as_bytes()).expect("a form");

            assert_eq!(params.values(name).collect::<Vec<_>>(), ["https://a", "https://b"]);
        }
    }

    #[test]
    fn broken_encodings_are_told_apart() {
        for (body, reason) in [
            (&b"a=%"[..], InvalidForm::PercentEncoding),
            (b"a=%4", InvalidForm::PercentEncoding),
            (b"a=%zz", InvalidForm::PercentEncoding),
            (b"a=%ff", InvalidForm::Utf8),
            (b"a=\xff", InvalidForm::Utf8),
            (b"a=%00", InvalidForm::Nul),
            (b"a\0=1", InvalidForm::Nul),
        ] {
            assert_eq!(Params::parse(body).err(), Some(reason), "{body:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = Params::parse(&body);
        }

        #[test]
        fn what_a_serializer_writes_is_read_back(
            pairs in proptest::collection::btree_map("[a-z_]{1,8}", "[^\0]{1,20}", 0..6)
        ) {
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
            let params = Params::parse(body.as_bytes()).expect("a form");
            for (name, value) in &pairs {
                proptest::prop_assert_eq!(params.value(name), Some(value.as_str()));
            }
        }
    }
}
