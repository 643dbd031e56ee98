//! Which kind of answer a caller prefers: RFC 9110 §12.5.1. Must not know what the kinds are for.

use actix_web::HttpRequest;
use actix_web::http::header::{ACCEPT, HeaderMap};

/// How much a caller wants a media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wish {
    /// The quality in thousandths; 0 is "not at all".
    pub(super) quality: u16,
    /// Whether the type is named itself, not only among others by a `*`.
    pub(super) named: bool,
}

impl Wish {
    /// What `request` wishes of `media`, such as `text/html`. A caller that says nothing takes everything, and one
    /// whose wishes cannot be read as well.
    pub(super) fn of(request: &HttpRequest, media: &str) -> Self {
        Self::among(request.headers(), media)
    }

    /// The same of a request of which only the headers are there.
    pub(super) fn among(headers: &HeaderMap, media: &str) -> Self {
        let lines = headers.get_all(ACCEPT).map(|line| line.to_str().unwrap_or_default());
        Self::read(lines, media)
    }

    fn read<'a>(lines: impl Iterator<Item = &'a str>, media: &str) -> Self {
        let all = format!("{}/*", media.split('/').next().unwrap_or_default());
        // RFC 9110 §12.5.1: "the most specific reference has precedence"; of two alike, what wishes more.
        let mut best: Option<(u8, u16)> = None;
        let mut anything = false;
        for range in lines.flat_map(|line| line.split(',')).map(str::trim).filter(|range| !range.is_empty()) {
            anything = true;
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let specific = if name.eq_ignore_ascii_case(media) {
                2
            } else if name.eq_ignore_ascii_case(&all) {
                1
            } else if name == "*/*" {
                0
            } else {
                continue;
            };
            best = best.max(Some((specific, quality(parts))));
        }
        match best {
            Some((specific, quality)) => Self { quality, named: specific == 2 },
            None => Self { quality: if anything { 0 } else { 1000 }, named: false },
        }
    }
}

/// RFC 9110 §12.4.2: `q`, from 0 to 1 with at most three decimals. What is none counts as not given, which is 1.
fn quality<'a>(mut parameters: impl Iterator<Item = &'a str>) -> u16 {
    let q = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim_end().eq_ignore_ascii_case("q").then(|| value.trim_start())
    });
    q.and_then(thousandths).unwrap_or(1000)
}

fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(lines: &[&str]) -> (u16, bool) {
        let Wish { quality, named } = Wish::read(lines.iter().copied(), "text/html");
        (quality, named)
    }

    #[test]
    fn the_most_specific_range_says_how_much_a_type_is_wanted() {
        for (lines, expected) in [
            (&[][..], (1000, false)),
            (&[""], (1000, false)),
            (&["text/html"], (1000, true)),
            (&["Text/HTML"], (1000, true)),
            (&["*/*"], (1000, false)),
            (&["text/*;q=0.5, */*"], (500, false)),
            (&["*/*;q=0.9, text/html;q=0.1"], (100, true)),
            (&["*/*;q=0.9", "text/html; q=0.25"], (250, true)),
            (&["text/html;level=1;q=0.4"], (400, true)),
            (&["text/html;q=0"], (0, true)),
            (&["text/html;Q=0.000 , */*"], (0, true)),
            (&["application/json"], (0, false)),
            (&["text/html;q=1.000"], (1000, true)),
        ] {
            assert_eq!(wish(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_quality_that_is_none_counts_as_not_given() {
        for odd in ["q=2", "q=1.1", "q=0.0001", "q=x", "q=", "q", "q=-1", "q=0.é"] {
            assert_eq!(wish(&[&format!("text/html;{odd}")]).0, 1000, "{odd}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(lines in proptest::collection::vec(".{0,40}|[a-z*/;=,q0-9. ]{0,40}", 0..4)) {
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            proptest::prop_assert!(wish(&lines).0 <= 1000);
        }
    }
}
