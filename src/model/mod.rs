//! The nouns: values that are parsed once and are right from then on.
//!
//! Knows nothing of async, SQL, HTTP, clocks or random sources; those hand their results in.

pub mod api_key;
pub mod audit;
pub mod client;
pub mod declared;
pub mod encryption_key;
pub mod id;
pub mod json;
pub mod jwk;
pub mod key;
pub mod log_level;
pub mod login_attempts;
pub mod nearest;
pub mod resource;
pub mod role;
pub mod scope;
pub mod secret;
pub mod session;
pub mod status;
pub mod strict_json;
pub mod time;
pub mod user;
