//! What is wrong with the settings: one sentence each, all of them gathered. Knows no key and no rule.

use std::fmt::{self, Write as _};

/// One mistake: where it stands, what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    key: Option<String>,
    origin: String,
    reason: String,
}

impl Mistake {
    /// The key or variable that is wrong; `None` if it is a whole file.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Where the wrong value was given.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What is wrong and what to do. Never contains the value of a secret.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match &self.key {
            Some(key) => format!("{key} ({}): {}", self.origin, self.reason),
            None => format!("{}: {}", self.origin, self.reason),
        };
        // Names and values are quoted as they were given; a line break or an ANSI escape in one must not
        // look like a mistake of its own.
        for character in line.chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// Every mistake of all sources; prints one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsErrors(Vec<Mistake>);

impl SettingsErrors {
    /// The mistakes, in the order of the sources and then of the keys; never empty.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsErrors {}

/// Proof that a mistake was written down: a value is missing only where one of these stands in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported(());

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Writes down a mistake in one key or variable.
    pub(super) fn at(&mut self, key: &str, origin: &str, reason: impl fmt::Display) -> Reported {
        self.push(Some(key), origin, &reason)
    }

    /// Writes down a mistake that concerns a whole source.
    pub(super) fn in_source(&mut self, origin: &str, reason: impl fmt::Display) -> Reported {
        self.push(None, origin, &reason)
    }

    /// The proof, if there is already a mistake in this key.
    pub(super) fn reported(&self, key: &str) -> Option<Reported> {
        self.0.iter().any(|mistake| mistake.key.as_deref() == Some(key)).then_some(Reported(()))
    }

    /// Everything found, or `value` if nothing was.
    pub(super) fn conclude<T>(self, value: Result<T, Reported>) -> Result<T, SettingsErrors> {
        match value {
            Ok(value) if self.0.is_empty() => Ok(value),
            Ok(_) | Err(Reported(())) => Err(SettingsErrors(self.0)),
        }
    }

    fn push(&mut self, key: Option<&str>, origin: &str, reason: &dyn fmt::Display) -> Reported {
        self.0.push(Mistake {
            key: key.map(str::to_owned),
            origin: origin.to_owned(),
            reason: reason.to_string(),
        });
        Reported(())
    }
}
