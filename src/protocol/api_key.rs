//! What an API key is worth at this moment: never more than it says itself, and never more than whose it is has now. Must
//! not know how keys are kept or found.

use crate::model::api_key::{ApiKey, Holder, Owner};
use crate::model::client::{Client, GrantType};
use crate::model::role::RoleTable;
use crate::model::time::Timestamp;

use super::error::{SubjectTokenFailure, TokenError};
use super::subject_token::{StandsFor, SubjectToken};
use super::{audience, scope_rules};

/// Why a text is worth nothing as an API key. Whoever presents it learns none of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyFailure {
    /// Not formed like a key, not known or not the key of its id.
    #[error("not an API key of this server")]
    Unknown,
    /// An operator ended it.
    #[error("the API key is revoked")]
    Revoked,
    /// Its time is over.
    #[error("the API key has expired")]
    Expired,
    /// Its user is switched off.
    #[error("the user of the API key is disabled")]
    UserDisabled,
    /// Its client is switched off or deleted.
    #[error("the client of the API key is disabled or gone")]
    ClientDisabled,
    /// Its client may not get tokens for itself, or only such as are bound to a key.
    #[error(
        "the client of the API key may not use client_credentials, or must bind its tokens to a key (DPoP)"
    )]
    ClientMayNot,
    /// Nothing of what it is for is its client's any more.
    #[error("none of the audiences of the API key is its client's any more")]
    Audience,
    /// Nothing of what it allows is whose it is any more.
    #[error("nothing of the scope of the API key is left to whose it is")]
    Scope,
    /// Its tokens were revoked this moment, and with what it goes on is not known yet.
    #[error("the tokens of the API key were revoked this moment")]
    Unsettled,
}

/// Whose a key is, as they are now.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// A user's, and which scopes reach whom.
    User(&'a Holder, &'a RoleTable),
    /// A client's.
    Client(&'a Client),
}

/// Whether `key` is over by itself or because somebody ended it.
pub fn check_live(key: &ApiKey, now: Timestamp) -> Result<(), ApiKeyFailure> {
    if key.revoked_at.is_some() {
        return Err(ApiKeyFailure::Revoked);
    }
    if key.terms.expires_at.is_some_and(|end| end <= now) {
        return Err(ApiKeyFailure::Expired);
    }
    Ok(())
}

/// What a live key stands for: as a token would that was made from it just now.
pub fn worth(
    key: &ApiKey,
    whose: Whose<'_>,
    default_audience: &str,
    now: Timestamp,
) -> Result<SubjectToken, ApiKeyFailure> {
    check_live(key, now)?;
    let nothing_left = |_| ApiKeyFailure::Scope;
    let (stands_for, issued_to, scope, audience) = match (&key.terms.owner, whose) {
        (Owner::User(id), Whose::User(holder, roles)) => {
            if holder.disabled_at.is_some() {
                return Err(ApiKeyFailure::UserDisabled);
            }
            let scope = scope_rules::reach(&key.terms.scope, roles, &holder.roles).map_err(nothing_left)?;
            let stands_for = StandsFor::User {
                id: *id,
                username: holder.username.to_string(),
                roles: holder.roles.clone(),
                auth_time: None,
            };
            (stands_for, key.id.as_client_id(), scope, key.terms.audience.clone())
        }
        (Owner::Client(id), Whose::Client(client)) if client.id == *id => {
            may_have_keys(client)?;
            let registered = &client.registration;
            let scope = scope_rules::ask_again(None, &key.terms.scope, &key.terms.scope, &registered.scope);
            let audience = audience::choose_again(&[], &key.terms.audience, &registered.audience);
            let audience = audience.map_err(|_| ApiKeyFailure::Audience)?;
            (StandsFor::Client(id.clone()), id.clone(), scope.map_err(nothing_left)?, audience)
        }
        _ => return Err(ApiKeyFailure::Unknown),
    };
    let audience: Vec<Box<str>> = match audience.as_slice() {
        [] => vec![default_audience.into()],
        named => named.iter().map(|uri| uri.as_str().into()).collect(),
    };
    Ok(SubjectToken {
        issued_to,
        audience: audience.into(),
        scope,
        stands_for,
        jkt: None,
        actor: None,
        expires_at: key.terms.expires_at.unwrap_or(Timestamp::from_secs(i64::MAX)),
        status_index: key.status_index,
        actor_indexes: Vec::new(),
    })
}

/// A key stands for its client as a token by client_credentials does, which whoever has it may use (RFC 6749 §4.4).
pub fn may_have_keys(client: &Client) -> Result<(), ApiKeyFailure> {
    if !client.is_enabled() {
        return Err(ApiKeyFailure::ClientDisabled);
    }
    match client.allows(GrantType::ClientCredentials) && !client.registration.dpop_bound {
        true => Ok(()),
        false => Err(ApiKeyFailure::ClientMayNot),
    }
}

impl From<ApiKeyFailure> for TokenError {
    fn from(failure: ApiKeyFailure) -> Self {
        match failure {
            ApiKeyFailure::Unsettled => Self::Unavailable(failure.to_string()),
            ApiKeyFailure::Scope => Self::NothingGranted,
            failure @ (ApiKeyFailure::Unknown
            | ApiKeyFailure::Revoked
            | ApiKeyFailure::Expired
            | ApiKeyFailure::UserDisabled
            | ApiKeyFailure::ClientDisabled
            | ApiKeyFailure::ClientMayNot
            | ApiKeyFailure::Audience) => SubjectTokenFailure::NotLive(failure.to_string()).into(),
        }
    }
}
