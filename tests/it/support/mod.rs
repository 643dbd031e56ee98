//! What the tests stand on: the runner, the databases, the server, and other people's tools.

pub(crate) mod browser;
pub(crate) mod cluster;
pub(crate) mod database;
pub(crate) mod figures;
pub(crate) mod jose;
pub(crate) mod nginx;
pub(crate) mod postgres;
pub(crate) mod program;
pub(crate) mod python;
pub(crate) mod refusal;
pub(crate) mod relay;
pub(crate) mod runner;
pub(crate) mod server;
pub(crate) mod services;
pub(crate) mod strace;
pub(crate) mod switchboard;
pub(crate) mod wire;
