//! Points in time and spans of it. Nothing here reads a clock: `now` is always an argument.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};

use super::id::excerpt;

/// A point in time, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since the Unix epoch; far-off values saturate.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down: RFC 7519 §2 NumericDate.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment `ttl` later; saturates instead of wrapping.
    pub const fn plus(self, ttl: Ttl) -> Self {
        Self(self.0.saturating_add(ttl.as_millis()))
    }

    /// This moment `ttl` earlier; saturates instead of wrapping.
    pub const fn minus(self, ttl: Ttl) -> Self {
        Self(self.0.saturating_sub(ttl.as_millis()))
    }

    /// How many times the clock's second changes from here to `end`, as claims of tokens count them; none if it is over.
    pub fn whole_secs_until(self, end: Self) -> Ttl {
        let secs = end.as_secs().saturating_sub(self.as_secs());
        Ttl(u32::try_from(secs.max(0)).unwrap_or(u32::MAX))
    }

    /// RFC 3339 in UTC with whole seconds, as `--json` prints it.
    pub fn rfc3339(self) -> String {
        DateTime::<Utc>::from_timestamp(self.as_secs(), 0)
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
            .to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// RFC 3339 in UTC with milliseconds, where the order of things within a second matters.
    pub fn rfc3339_millis(self) -> String {
        DateTime::<Utc>::from_timestamp_millis(self.0)
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
            .to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// Reads RFC 3339, in whatever offset.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|time| Self(time.timestamp_millis()))
    }
}

/// A length of time in whole seconds, written `10s`, `5m`, `24h` or `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u32);

impl Ttl {
    /// No time at all; switches a rule off where the setting says so.
    pub const ZERO: Self = Self(0);

    /// From whole seconds.
    pub const fn from_secs(secs: u32) -> Self {
        Self(secs)
    }

    /// Whole seconds.
    pub const fn as_secs(self) -> i64 {
        self.0 as i64
    }

    /// Milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0 as i64 * 1000
    }

    /// Both one after the other; saturates instead of wrapping.
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// For the standard library's timers.
    pub const fn as_duration(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0 as u64)
    }

    /// Whether this is `0s`.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// Why a text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a length of time: write a whole number and s, m, h or d, such as 10m (at most 100 years)"
)]
pub struct InvalidTtl(String);

impl FromStr for Ttl {
    type Err = InvalidTtl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidTtl(excerpt(text));
        let unit = match text.as_bytes().last() {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 60 * 60,
            Some(b'd') => 24 * 60 * 60,
            _ => return Err(invalid()),
        };
        let number = &text[..text.len() - 1];
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let seconds = number.parse::<u32>().ok().and_then(|n| n.checked_mul(unit));
        match seconds {
            Some(seconds) if seconds <= 100 * 366 * 24 * 60 * 60 => Ok(Self(seconds)),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0s"),
            n if n % 86_400 == 0 => write!(f, "{}d", n / 86_400),
            n if n % 3_600 == 0 => write!(f, "{}h", n / 3_600),
            n if n % 60 == 0 => write!(f, "{}m", n / 60),
            n => write!(f, "{n}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_reads_and_prints_its_four_units() {
        for (text, seconds, printed) in [
            ("10s", 10, "10s"),
            ("5m", 300, "5m"),
            ("24h", 86_400, "1d"),
            ("30d", 2_592_000, "30d"),
            ("0s", 0, "0s"),
        ] {
            let ttl: Ttl = text.parse().expect(text);

            assert_eq!((ttl.as_secs(), ttl.to_string()), (seconds, printed.to_owned()));
        }
    }

    #[test]
    fn what_is_no_ttl_is_refused() {
        for text in ["", "s", "10", "-1s", "+1s", "1.5h", "1w", "10 s", "99999999999d", "5000000000s", "1ä"]
        {
            assert!(text.parse::<Ttl>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_print_as_rfc_3339_and_never_wrap() {
        assert_eq!(Timestamp::from_secs(1_700_000_000).rfc3339(), "2023-11-14T22:13:20Z");
        assert_eq!(Timestamp::from_millis(1_700_000_000_007).rfc3339_millis(), "2023-11-14T22:13:20.007Z");
        assert_eq!(
            Timestamp::from_rfc3339("2023-11-14T23:13:20.007+01:00"),
            Some(Timestamp::from_millis(1_700_000_000_007))
        );
        assert_eq!(Timestamp::from_rfc3339("2023-11-14"), None);
        assert_eq!(Timestamp::from_millis(-1).as_secs(), -1);
        assert!(Timestamp::from_secs(i64::MAX).plus(Ttl::from_secs(1)) >= Timestamp::from_secs(i64::MAX));
    }
}
