//! Seeds, lengths and figures of the tests that draw lots or measure. Knows nothing of what they test.
//!
//! - `GRANTD_TEST_ROUNDS=500` makes the tests of crashes, restarts and rotations as long as that; without it they are
//!   short. With it the tests that go through every possible moment go through all of them.
//! - `GRANTD_TEST_SEED=1234` repeats what was drawn: each test says its seed on stderr.

use std::hash::{BuildHasher as _, RandomState};
use std::str::FromStr;

/// How often to go round: what the switch says, else `short`.
pub(crate) fn rounds(short: u32) -> u32 {
    variable("GRANTD_TEST_ROUNDS").unwrap_or(short)
}

/// Whether the switch for long tests is on.
pub(crate) fn long() -> bool {
    variable::<u32>("GRANTD_TEST_ROUNDS").is_some()
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let value = text.parse().ok();
    assert!(value.is_some(), "{name}={text} is no number");
    value
}

/// Tells a figure to whoever runs the tests.
#[expect(clippy::print_stderr, reason = "the one place where a test says what it measured")]
pub(crate) fn say(figure: &str) {
    eprintln!("{figure}");
}

/// Lots that can be drawn again (SplitMix64).
pub(crate) struct Lots(u64);

impl Lots {
    /// Of the seed that `GRANTD_TEST_SEED` names, else of a new one; says which.
    pub(crate) fn of(test: &str) -> Self {
        let seed =
            variable("GRANTD_TEST_SEED").unwrap_or_else(|| RandomState::new().hash_one(test) % 1_000_000);
        say(&format!("{test}: GRANTD_TEST_SEED={seed}"));
        Self(seed)
    }

    /// Others, for one of several that draw at the same time.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of a list that is not empty.
    pub(crate) fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let index = self.below(list.len() as u64);
        &list[usize::try_from(index).expect("an index")]
    }

    /// A span of between `from` and `to` milliseconds.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> std::time::Duration {
        std::time::Duration::from_millis(from + self.below(to - from))
    }
}
