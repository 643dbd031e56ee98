//! grantd: a standalone OAuth 2.0 authorization server.

pub mod app;
pub mod http;
pub mod keys;
pub mod model;
pub mod passwords;
pub mod protocol;
pub mod settings;
pub mod startup;
pub mod storage;
pub mod telemetry;
