//! What every command begins with: settings, logs, and the app that works on the database. Knows no command.

use std::path::Path;

use tempfile::TempDir;
use url::Url;

use crate::app::App;
use crate::app::clock::Clock;
use crate::settings::{self, Flag, Loaded, SettingsErrors, Sources};
use crate::startup::{self, Purpose};
use crate::telemetry::{self, Haste, Logs};

use super::failure::Failure;

/// The settings of this process, or all that is wrong with them.
pub(super) fn load(config: Option<&Path>, flags: Vec<Flag>) -> Result<Loaded, Failure> {
    let sources = Sources::of_process(config.map(Path::to_owned), flags);
    settings::load(&sources).map_err(|errors| refused(&errors))
}

/// All mistakes, one on each line.
pub(super) fn refused(errors: &SettingsErrors) -> Failure {
    Failure::because(match errors.mistakes() {
        [only] => format!("there is a mistake in the settings: {only}"),
        many => format!("there are {} mistakes in the settings:\n{errors}", many.len()),
    })
}

/// Logs of a server, as the settings say.
///
/// Lines are written and traces sent until the value that is given back is dropped.
pub(super) fn log_as_server(loaded: &Loaded) -> Result<Logs, Failure> {
    let settings = &loaded.settings;
    start_logs(loaded, &settings.log.level, settings.telemetry.otlp_endpoint.as_ref(), Haste::Soon)
}

/// Logs of a command, which says on its own what it did: warnings only, unless somebody set a level.
pub(super) fn log_as_command(loaded: &Loaded) -> Result<(), Failure> {
    start_logs(loaded, level_of_command(loaded), None, Haste::Now).map(drop)
}

fn level_of_command(loaded: &Loaded) -> &str {
    let untouched = loaded.report.iter().any(|shown| shown.key == "log.level" && shown.origin == "default");
    if untouched { "warn" } else { &loaded.settings.log.level }
}

fn start_logs(loaded: &Loaded, level: &str, collector: Option<&Url>, haste: Haste) -> Result<Logs, Failure> {
    Ok(telemetry::init(loaded.settings.log.format, level, collector, haste)?)
}

/// Opens the app of the settings, does the work and closes it in good order, whatever came of the work.
pub(super) async fn with_app<T>(
    config: Option<&Path>,
    work: impl AsyncFnOnce(&App) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let loaded = load(config, Vec::new())?;
    log_as_command(&loaded)?;
    let app = startup::open_app(&loaded.settings, Purpose::Administer, Clock::default()).await?;

    let outcome = work(&app).await;

    app.close().await;
    outcome
}

/// A directory for this user alone, as the database wants it; deleted when it is dropped.
pub(super) fn throwaway_directory() -> std::io::Result<TempDir> {
    use std::os::unix::fs::PermissionsExt as _;
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_logs_warnings_unless_somebody_set_a_level() {
        let loaded = |environment: &[(&str, &str)]| {
            let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            let sources = Sources { environment: environment.collect(), ..Sources::default() };
            settings::load(&sources).expect("right settings")
        };

        assert_eq!(level_of_command(&loaded(&[])), "warn");
        assert_eq!(level_of_command(&loaded(&[("GRANTD_LOG__LEVEL", "debug")])), "debug");
        assert_eq!(level_of_command(&loaded(&[("GRANTD_LOG__LEVEL", "info")])), "info");
    }
}
