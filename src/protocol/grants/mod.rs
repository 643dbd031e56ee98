//! One file a grant: what it decides once its rows are at hand.

pub mod client_credentials;
pub mod password;
pub mod refresh_token;
pub mod token_exchange;

use crate::model::resource::Audience;
use crate::model::scope::Scope;

/// What a request is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The scopes it asked for, before roles left some out.
    pub requested: Scope,
    /// The scopes it gets.
    pub scope: Scope,
    /// The audiences it gets; empty means the server's default.
    pub audience: Vec<Audience>,
}
