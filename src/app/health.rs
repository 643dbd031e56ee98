//! Whether this instance can do its work. Answers from memory: a stranger who asks a thousand times a second costs
//! the database nothing.

use super::App;

/// One thing that readiness depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// `database` or `keys`.
    pub name: &'static str,
    /// Whether it is well.
    pub ok: bool,
}

impl App {
    /// Everything that readiness depends on: as it was less than two seconds ago for reading the database, and less
    /// than four for writing it.
    pub fn check_health(&self) -> [Check; 2] {
        [
            Check { name: "database", ok: self.database.is_up() },
            Check { name: "keys", ok: self.signer(self.policy.algorithm).is_some() },
        ]
    }
}
