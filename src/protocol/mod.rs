//! The rules: what OAuth 2.0 says about a request once its bytes are read and its rows are at hand.
//!
//! Pure and synchronous. Knows nothing of sockets, SQL, JWT libraries, clocks or random sources: `now`
//! and randomness are arguments, rows are handed in, and what comes out is a decision.

pub mod access_token;
pub mod api_key;
pub mod audience;
pub mod bearer;
pub mod client_assertion;
pub mod client_auth;
pub mod dpop;
pub mod dpop_nonce;
pub mod error;
pub mod grants;
pub mod introspection;
pub mod key_schedule;
pub mod metadata;
pub mod openapi;
pub mod oxide;
pub mod params;
pub mod refresh_family;
pub mod refresh_token;
pub mod scope_rules;
pub mod status_list;
pub mod status_order;
pub mod subject_token;
pub mod throttle;
pub mod token_id;
pub mod token_request;
pub mod token_response;
pub mod user_address;
pub mod userinfo;
pub mod verify;
