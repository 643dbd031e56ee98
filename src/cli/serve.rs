//! `grantd serve`: settings in, a server that runs until it is told to stop. Knows no request.

use std::path::Path;

use crate::app::clock::Clock;
use crate::startup::Server;

use super::failure::Failure;
use super::settings;

pub(super) async fn run(config: Option<&Path>) -> Result<(), Failure> {
    let loaded = settings::load(config, Vec::new())?;
    let _logs = settings::log_as_server(&loaded)?;
    // A clock that nobody can move.
    let server = Server::build(&loaded.settings, Clock::System).await?;
    Ok(server.run_until_stopped_or(std::future::pending()).await?)
}
