//! `grantd serve`: settings in, a server that runs until it is told to stop. Knows no request.

use std::path::Path;

use crate::settings::Settings;
use crate::startup::Server;

use super::failure::Failure;
use super::settings;

pub(super) async fn run(config: Option<&Path>) -> Result<(), Failure> {
    let loaded = settings::load(config, Vec::new())?;
    let _logs = settings::log_as_server(&loaded)?;
    let server = listen(loaded.settings).await?;
    until_stopped(server).await
}

/// A server that listens.
pub(super) async fn listen(settings: Settings) -> Result<Server, Failure> {
    Ok(Server::build(&settings).await?)
}

/// Comes back when the server was told to stop and has finished what it had begun.
pub(super) async fn until_stopped(server: Server) -> Result<(), Failure> {
    Ok(server.run_until_stopped().await?)
}
