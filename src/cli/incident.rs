//! What commands that end tokens say of it: how much, and by when everybody knows. Knows no use case.

use crate::app::App;

use super::output::talk;

/// What was ended, for people; and the time by which services that check tokens offline know, for programs.
pub(super) fn tell(app: &App, what: &str) -> String {
    let by = app.revocations_seen_by().rfc3339();
    talk(&format!(
        "{what} Introspection refuses the tokens within a second, services that read status lists by {by}; tokens of clients with --no-status, and those that a client that was cut off got by token exchange, are good for services that check them offline until they expire."
    ));
    by
}

/// `one session`, `2 sessions`.
pub(super) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}
