//! The hands that hold the database: one file a table, plain functions, one SQL text for SQLite and Postgres.
//!
//! Decides nothing and knows nothing of HTTP. Every single-use thing is consumed by one conditional statement,
//! whose count of changed rows is the answer.

pub mod api_keys;
pub mod audit;
pub mod clients;
pub mod db;
pub mod error;
pub mod families;
pub mod family_locks;
pub mod foreign_table;
pub mod group_commit;
pub mod health;
pub mod installation;
pub mod known_sources;
pub mod lasting;
pub mod lending;
pub mod login_attempts;
pub mod migrate;
pub mod private_file;
pub mod readers;
pub mod revisions;
pub mod revocations;
pub mod roles;
pub mod root_keys;
pub mod rotations;
mod shelf;
pub mod signing_keys;
pub mod sqlite_file;
pub mod used_ids;
pub mod user_import;
pub mod users;

pub use db::{Db, Tx};
pub use error::StorageError;
