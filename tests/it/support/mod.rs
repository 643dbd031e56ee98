//! What the tests stand on: the runner, the databases, and other people's tools. Knows no rule of grantd.

pub(crate) mod database;
pub(crate) mod postgres;
pub(crate) mod python;
pub(crate) mod runner;
