//! The question before something is deleted. Knows nothing of what it is about.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use super::failure::Failure;
use super::output::printable;

/// The flag of every command that deletes.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct YesFlag {
    /// Delete without asking
    #[arg(long)]
    yes: bool,
}

impl YesFlag {
    /// Who will agree; fails before anything is opened if nobody can be asked.
    pub(super) fn consent(self) -> Result<Consent, Failure> {
        match (self.yes, io::stdin().is_terminal()) {
            (true, _) => Ok(Consent::Given),
            (false, true) => Ok(Consent::ToBeAsked),
            (false, false) => Err(Failure::because(
                "deleting needs a yes, and stdin is not a terminal to ask on: add --yes (nothing was deleted)",
            )),
        }
    }
}

/// Who agrees to a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    /// `--yes` did.
    Given,
    /// The person at the terminal has to.
    ToBeAsked,
}

impl Consent {
    /// Goes on only with a yes.
    pub(super) fn to(self, question: &str) -> Result<(), Failure> {
        if self == Self::Given {
            return Ok(());
        }
        let answer = ask(question).map_err(|error| {
            Failure::because(format!("the question cannot be asked ({error}): add --yes"))
        })?;
        match means_yes(&answer) {
            true => Ok(()),
            false => Err(Failure::because("not confirmed, so nothing was deleted: answer y, or add --yes")),
        }
    }
}

fn ask(question: &str) -> io::Result<String> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{} [y/N] ", printable(question))?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer)
}

fn means_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(["y", "Y\n", "yes\r\n", " YES "].into_iter().all(means_yes));
        assert!(!["", "\n", "n", "no", "yeah", "1"].into_iter().any(means_yes));
    }
}
