//! grantd: a standalone OAuth 2.0 authorization server.

pub mod model;
pub mod protocol;
pub mod storage;
