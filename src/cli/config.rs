//! `grantd config …`: the settings in force, or all that is wrong with them. Opens no database.

use std::path::Path;

use clap::Subcommand;
use serde::Serialize;

use crate::settings::{self, Mistake, SettingsErrors, Sources};

use super::failure::Failure;
use super::output::{self, Format, JsonFlag};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// List all mistakes in the settings at once; exit status 1 if there is any
    Check {
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Show every setting in force and where it came from, without secrets
    Show {
        #[command(flatten)]
        json: JsonFlag,
    },
}

pub(super) fn run(config: Option<&Path>, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { json } => {
            let loaded = settings::load(&Sources::of_process(config.map(Path::to_owned), Vec::new()));
            let mistakes = loaded.as_ref().err().map_or(&[][..], SettingsErrors::mistakes);
            match json.format() {
                Format::Json => output::write(&output::json(&CheckView::of(mistakes))?)?,
                Format::People if mistakes.is_empty() => {
                    output::write("ok: the settings have no mistakes\n")?
                }
                // They are what is wrong, and stand on stderr as when the server refuses to start.
                Format::People => {}
            }
            loaded.map(|_| ()).map_err(|errors| super::settings::refused(&errors))
        }
        ConfigCommand::Show { json } => {
            let loaded = super::settings::load(config, Vec::new())?;
            output::list(json.format(), &loaded.report, &["key", "value", "origin"], "There are no settings.")
        }
    }
}

#[derive(Serialize)]
struct CheckView<'a> {
    ok: bool,
    mistakes: Vec<MistakeView<'a>>,
}

#[derive(Serialize)]
struct MistakeView<'a> {
    key: Option<&'a str>,
    origin: &'a str,
    reason: &'a str,
}

impl<'a> CheckView<'a> {
    fn of(mistakes: &'a [Mistake]) -> Self {
        let view = |mistake: &'a Mistake| MistakeView {
            key: mistake.key(),
            origin: mistake.origin(),
            reason: mistake.reason(),
        };
        Self { ok: mistakes.is_empty(), mistakes: mistakes.iter().map(view).collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_mistakes_are_named_each_on_its_line() {
        let environment = [("GRANTD_SERVER__LISTEN", "nowhere"), ("GRANTD_SERVER__LISEN", "1")];
        let sources = Sources {
            environment: environment.map(|(name, value)| (name.into(), value.into())).to_vec(),
            ..Sources::default()
        };
        let errors = settings::load(&sources).expect_err("two mistakes");

        let Failure::CannotBeDone(text) = super::super::settings::refused(&errors) else {
            panic!("exit status 1");
        };
        let json = serde_json::to_value(CheckView::of(errors.mistakes())).expect("serializes");

        assert_eq!(text.lines().count(), 3, "{text}");
        assert_eq!((&json["ok"], json["mistakes"].as_array().map(Vec::len)), (&json!(false), Some(2)));
    }

    #[test]
    fn right_settings_have_no_mistakes() {
        assert_eq!(
            serde_json::to_value(CheckView::of(&[])).expect("serializes"),
            json!({"ok": true, "mistakes": []})
        );
    }
}
