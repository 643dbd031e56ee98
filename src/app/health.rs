//! Whether this instance can do its work. Answers from memory: a stranger who asks a thousand times a second costs
//! the database nothing.

use std::sync::atomic::Ordering;

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
    /// Everything that readiness depends on, as it was less than two seconds ago.
    pub fn check_health(&self) -> [Check; 2] {
        [
            Check { name: "database", ok: self.database_up.load(Ordering::Relaxed) },
            Check { name: "keys", ok: self.signer(self.policy.algorithm).is_some() },
        ]
    }
}
