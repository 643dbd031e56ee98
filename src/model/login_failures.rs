//! What is remembered of failed logins.

use super::time::Timestamp;

/// An account's failed logins from one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many, in the current day.
    pub count: u32,
    /// When the first of them was.
    pub first_at: Timestamp,
    /// When the last of them was.
    pub last_at: Timestamp,
}
