//! What can go wrong with an administrative use case: one sentence each, that says what to do.

use crate::model::client::InvalidRegistration;
use crate::model::secret::UnusableSecret;
use crate::passwords::{PoolError, RefusedPassword, UnusableHash};
use crate::storage::StorageError;

use super::audit::AuditError;

/// A refused or failed change. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// There is none of that name.
    #[error("there is no {kind} '{name}': 'grantd {kind} list' shows those that exist")]
    NotFound {
        /// `client`, `user`, `role`, `session`, `key` or `apikey`.
        kind: &'static str,
        /// As it was given.
        name: String,
    },
    /// There is one of that name.
    #[error(
        "the {kind} '{name}' exists already: choose another name, or change it with 'grantd {kind} update'"
    )]
    AlreadyExists {
        /// `client`, `user` or `role`.
        kind: &'static str,
        /// As it was given.
        name: String,
    },
    /// A role that the change names does not exist.
    #[error("there is no role '{0}': make it first with 'grantd role create', then give it")]
    NoSuchRole(String),
    /// The registration makes no sense.
    #[error(transparent)]
    Registration(#[from] InvalidRegistration),
    /// A secret for a client that has none.
    #[error(
        "the client '{0}' authenticates without a secret (its methods are none or private_key_jwt): leave the secret out, or add --auth-method client_secret_basic"
    )]
    NoSecretMethod(String),
    /// A public key that could never verify anything.
    #[error(
        "usable key {0} of the JWK Set is a point that is not on its curve, so it was damaged on its way: export the client's public key again"
    )]
    UnsoundKey(usize),
    /// The secret cannot be used.
    #[error(transparent)]
    Secret(#[from] UnusableSecret),
    /// The password cannot be used.
    #[error(transparent)]
    Password(#[from] RefusedPassword),
    /// The password hash cannot be used.
    #[error(transparent)]
    PasswordHash(#[from] UnusableHash),
    /// Hashing failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A key could not be made or read.
    #[error("a signing key cannot be made or read: {0}")]
    Key(String),
    /// The key cannot change like that.
    #[error(
        "the key '{kid}' is {state} and cannot be {attempt}: 'grantd key list' shows where each key stands"
    )]
    KeyState {
        /// Which key.
        kid: String,
        /// Where it stands.
        state: &'static str,
        /// What was tried.
        attempt: &'static str,
    },
    /// The key could never be used as it is asked for.
    #[error("the API key cannot be made: {0}")]
    ApiKey(&'static str),
    /// The id would be taken for that of an API key.
    #[error(
        "'{0}' has the form of an API key's id, with which tokens name keys: choose another client id, or leave it out"
    )]
    ReservedId(String),
    /// A token that is not ours to revoke.
    #[error("this token cannot be revoked here: {0}; 'grantd token inspect' says more of an access token")]
    ForeignToken(String),
    /// The change cannot be written to the audit.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
