//! The time of a log line as text. Knows nothing of what is logged.
//!
//! A busy server writes thousands of lines a second, and all but their microseconds is the same in each.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::DateTime;

/// Up to the seconds: `2026-01-31T23:59:59`.
const SECOND: &str = "%Y-%m-%dT%H:%M:%S";

#[derive(Default)]
struct Second {
    /// Which one it is, in Unix time, and how long its text is.
    known: Option<(u64, usize)>,
    text: String,
}

thread_local! {
    static SECOND_OF_THREAD: RefCell<Second> = RefCell::default();
}

/// Gives the time now, by RFC 3339 in UTC with six digits of a second.
#[expect(
    clippy::disallowed_methods,
    reason = "logs tell the time of the machine, also where a test moves the clock"
)]
pub(super) fn with_now<T>(write: impl FnOnce(&str) -> T) -> T {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut second = SECOND_OF_THREAD.take();
    second.move_to(now.as_secs(), now.subsec_micros());
    let written = write(&second.text);
    SECOND_OF_THREAD.set(second);
    written
}

impl Second {
    fn move_to(&mut self, second: u64, microseconds: u32) {
        let length = match self.known {
            Some((known, length)) if known == second => length,
            _ => {
                self.text.clear();
                let date = i64::try_from(second).ok().and_then(|second| DateTime::from_timestamp(second, 0));
                // Writing into a String cannot fail.
                let _ = write!(self.text, "{}", date.unwrap_or_default().format(SECOND));
                self.known = Some((second, self.text.len()));
                self.text.len()
            }
        };
        self.text.truncate(length);
        let _ = write!(self.text, ".{microseconds:06}Z");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_second_and_of_the_next_have_their_own_times() {
        let mut second = Second::default();
        let mut at = |seconds, microseconds| {
            second.move_to(seconds, microseconds);
            second.text.clone()
        };

        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(0, 7), "1970-01-01T00:00:00.000007Z");
        assert_eq!(at(951_782_399, 999_999), "2000-02-28T23:59:59.999999Z");
        assert_eq!(at(951_782_400, 123_456), "2000-02-29T00:00:00.123456Z");
    }
}
