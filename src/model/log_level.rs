//! How much is logged and how a line looks, for whoever checks the setting and whoever obeys it.

use std::str::FromStr;

use super::id::excerpt;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people: time, level, target, message, `name=value` pairs.
    Pretty,
    /// One JSON object per line for programs: `timestamp`, `level`, `target`, `message` and all fields, flat.
    Json,
}

impl LogFormat {
    /// The name in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
        }
    }
}

/// How much one part of the program says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Nothing.
    Off,
    /// What broke.
    Error,
    /// What may break.
    Warn,
    /// What was decided.
    Info,
    /// What is asked all day.
    Debug,
    /// Everything.
    Trace,
}

/// `level`, or `level,target=level,…`; without a bare level grantd speaks at info.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevels {
    /// What grantd itself says.
    pub own: Verbosity,
    /// What the named targets say.
    pub named: Vec<(String, Verbosity)>,
}

/// Why a text is not a log level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{given}' is not a level: write off, error, warn, info, debug or trace, or by module such as \"info,sqlx=warn\""
)]
pub struct InvalidLogLevel {
    /// The part that was not understood.
    pub given: String,
}

impl FromStr for LogLevels {
    type Err = InvalidLogLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut own = None;
        let mut named = Vec::new();
        for part in text.split(',').map(str::trim) {
            let refused = || InvalidLogLevel { given: excerpt(part) };
            match part.split_once('=') {
                Some((target, level)) => {
                    let target = target.trim();
                    if target.is_empty() || !target.chars().all(is_of_target) {
                        return Err(refused());
                    }
                    named.push((target.to_owned(), verbosity(level.trim()).ok_or_else(refused)?));
                }
                None if own.is_some() => return Err(refused()),
                None => own = Some(verbosity(part).ok_or_else(refused)?),
            }
        }
        Ok(Self { own: own.unwrap_or(Verbosity::Info), named })
    }
}

fn verbosity(name: &str) -> Option<Verbosity> {
    match name.to_ascii_lowercase().as_str() {
        "off" => Some(Verbosity::Off),
        "error" => Some(Verbosity::Error),
        "warn" => Some(Verbosity::Warn),
        "info" => Some(Verbosity::Info),
        "debug" => Some(Verbosity::Debug),
        "trace" => Some(Verbosity::Trace),
        _ => None,
    }
}

const fn is_of_target(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-')
}
