//! Why a command was not done, as the shell and the person at the terminal are told. Knows no command.

use std::process::ExitCode;

use super::output;

/// What a command ends with if it did not do what was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Exit status 1 and a sentence: what, why, what to do.
    CannotBeDone(String),
    /// Exit status 2 and a sentence, for what no single flag can tell.
    WrongCommandLine(String),
    /// Exit status 1 without a sentence: stdout has the answer, and the answer is bad.
    BadAnswer,
    /// Exit status 3 without a sentence: stdout says what would be done, and nothing was.
    WouldChange,
    /// Whoever read stdout has seen enough, as in `grantd client list | head -1`. The work is done: exit status 0.
    NobodyReads,
}

impl Failure {
    /// It cannot be done, and this is why.
    pub(super) fn because(sentence: impl std::fmt::Display) -> Self {
        Self::CannotBeDone(sentence.to_string())
    }

    /// The sentence, if it has one.
    pub(super) fn into_sentence(self) -> String {
        match self {
            Self::CannotBeDone(sentence) | Self::WrongCommandLine(sentence) => sentence,
            Self::BadAnswer | Self::WouldChange | Self::NobodyReads => String::new(),
        }
    }

    /// Says it on stderr and gives the exit status.
    pub(super) fn report(&self) -> ExitCode {
        match self {
            Self::CannotBeDone(sentence) => {
                output::talk(&format!("grantd: {sentence}"));
                ExitCode::from(1)
            }
            Self::WrongCommandLine(sentence) => {
                output::talk(&format!("grantd: {sentence}"));
                ExitCode::from(2)
            }
            Self::BadAnswer => ExitCode::from(1),
            Self::WouldChange => ExitCode::from(3),
            Self::NobodyReads => ExitCode::SUCCESS,
        }
    }
}

/// Every error below the doors is one sentence already. `Failure` is itself no `Error`, as in `anyhow`, so that
/// this holds for all of them.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::because(error)
    }
}
