//! What is remembered of password guesses: who is counted, and how many there were.

use super::time::Timestamp;

/// What a counter counts the guesses of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CounterKind {
    /// One account from one source.
    Pair,
    /// One account from all sources that are not known for it.
    Account,
    /// All accounts from one source that is not known for them.
    Source,
}

impl CounterKind {
    /// Every kind, in the order in which their rows are locked.
    pub const ALL: [Self; 3] = [Self::Pair, Self::Account, Self::Source];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Account => "account",
            Self::Source => "source",
        }
    }
}

/// Which counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CounterKey {
    /// What it counts.
    pub kind: CounterKind,
    /// A keyed hash of the login name, which need not exist; `None` for all accounts.
    pub account: Option<[u8; 32]>,
    /// Where the guesses come from; empty for everywhere.
    pub source: String,
}

/// The guesses of one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// How many failed, in the day that began at `first_at`.
    pub count: u32,
    /// When the first of them was.
    pub first_at: Timestamp,
    /// When the last of them was.
    pub last_at: Timestamp,
    /// When each of those that are being judged right now was let in.
    pub pending: Vec<Timestamp>,
}

impl Counter {
    /// One that has counted nothing yet.
    pub const fn new(now: Timestamp) -> Self {
        Self { count: 0, first_at: now, last_at: now, pending: Vec::new() }
    }

    /// Whether there is nothing to remember.
    pub const fn is_empty(&self) -> bool {
        self.count == 0 && self.pending.is_empty()
    }
}
