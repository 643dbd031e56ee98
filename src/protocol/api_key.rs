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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::api_key::{ApiKeyHash, ApiKeyId, Terms};
    use crate::model::client::Registration;
    use crate::model::id::UserId;
    use crate::model::resource::Audience;
    use crate::model::role::Role;
    use crate::model::status::StatusIndex;

    const DEFAULT: &str = "urn:default";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn list(text: &str) -> Vec<Audience> {
        text.split_whitespace().map(|uri| uri.parse().expect("an audience")).collect()
    }

    fn key(owner: Owner, scope: &str, audience: &str) -> ApiKey {
        let (name, expires_at) = (None, Some(at(100)));
        let scope = scope.parse().expect("a scope");
        ApiKey {
            id: ApiKeyId::from_random([1; 12]),
            terms: Terms { owner, name, scope, audience: list(audience), expires_at },
            hash: ApiKeyHash([2; 32]),
            status_index: StatusIndex::new(7).expect("there"),
            created_at: at(0),
            revoked_at: None,
        }
    }

    fn alice(roles: &[&str]) -> Holder {
        let roles = roles.iter().map(|role| role.parse().expect("a role")).collect();
        Holder { username: "alice".parse().expect("a name"), roles, disabled_at: None }
    }

    fn of_alice(scope: &str) -> ApiKey {
        key(Owner::User(UserId::from_bytes([3; 16])), scope, "")
    }

    fn batch(scope: &str, audience: &str) -> Client {
        Client {
            id: "batch".parse().expect("an id"),
            registration: Registration {
                grant_types: vec![GrantType::ClientCredentials],
                scope: scope.parse().expect("a scope"),
                audience: list(audience),
                ..Registration::default()
            },
            secrets: Vec::new(),
            disabled_at: None,
            created_at: at(0),
            status_index: StatusIndex::new(0).expect("there"),
        }
    }

    fn of_batch(scope: &str, audience: &str) -> ApiKey {
        key(Owner::Client("batch".parse().expect("an id")), scope, audience)
    }

    fn table() -> RoleTable {
        let role = |name: &str, scope: &str| Role {
            name: name.parse().expect("a name"),
            scope: scope.parse().expect("a scope"),
            description: None,
            created_at: at(0),
        };
        RoleTable::new(&[role("clerk", "write"), role("boss", "pay")])
    }

    #[test]
    fn a_user_s_key_is_worth_what_its_user_may_now_and_no_more_than_it_says() {
        let table = table();
        for (scope, held, expected) in [
            ("read write", &["clerk"][..], Ok("read write")),
            ("read write", &[], Ok("read")),
            ("write", &["boss"], Err(ApiKeyFailure::Scope)),
            ("read", &["clerk", "boss"], Ok("read")),
            ("", &[], Ok("")),
        ] {
            let holder = alice(held);
            let worth = worth(&of_alice(scope), Whose::User(&holder, &table), DEFAULT, at(99));

            assert_eq!(
                worth.map(|it| it.scope),
                expected.map(|it| it.parse().expect("a scope")),
                "{scope} {held:?}"
            );
        }
        let holder = alice(&[]);
        let worth = worth(&of_alice("read"), Whose::User(&holder, &table), DEFAULT, at(99)).expect("live");
        assert_eq!((&*worth.audience[0], worth.expires_at, worth.jkt), (DEFAULT, at(100), None));
        assert_eq!(worth.issued_to, ApiKeyId::from_random([1; 12]).as_client_id());
    }

    #[test]
    fn a_client_s_key_is_worth_what_its_client_may_now_and_no_more_than_it_says() {
        for (scope, audience, registered, served, expected) in [
            ("read", "urn:a", "read write", "urn:a urn:b", Ok(("read", "urn:a"))),
            ("read write", "urn:a urn:b", "read", "urn:b", Ok(("read", "urn:b"))),
            ("write", "urn:a", "read", "urn:a", Err(ApiKeyFailure::Scope)),
            ("read", "urn:a", "read", "urn:b", Err(ApiKeyFailure::Audience)),
            ("read", "urn:a", "read", "", Err(ApiKeyFailure::Audience)),
            // What was for the default audience is for no other, whatever its client is registered for since.
            ("read", "", "read", "urn:a", Ok(("read", DEFAULT))),
            ("", "urn:a", "", "urn:a", Ok(("", "urn:a"))),
        ] {
            let client = batch(registered, served);
            let worth = worth(&of_batch(scope, audience), Whose::Client(&client), DEFAULT, at(0));

            let worth = worth.map(|it| (it.scope.to_string(), it.audience.join(" ")));
            let expected = expected.map(|(scope, audience)| (scope.to_owned(), audience.to_owned()));
            assert_eq!(worth, expected, "{scope} {audience} of {registered} {served}");
        }
    }

    #[test]
    fn a_key_that_is_over_or_whose_owner_may_not_act_is_worth_nothing() {
        let table = table();
        let (user, client) = (alice(&[]), batch("read", "urn:a"));
        let off = Holder { disabled_at: Some(at(1)), ..user.clone() };
        let revoked = ApiKey { revoked_at: Some(at(1)), ..of_alice("read") };
        let gone = Client { disabled_at: Some(at(1)), ..client.clone() };
        let mut person = client.clone();
        person.registration.grant_types = vec![GrantType::Password];
        let mut bound = client.clone();
        bound.registration.dpop_bound = true;
        let mut other = client.clone();
        other.id = "other".parse().expect("an id");
        let (of_user, of_client) = (of_alice("read"), of_batch("read", "urn:a"));
        for (key, whose, now, expected) in [
            (&of_user, Whose::User(&user, &table), 99, None),
            (&of_user, Whose::User(&user, &table), 100, Some(ApiKeyFailure::Expired)),
            (&revoked, Whose::User(&user, &table), 0, Some(ApiKeyFailure::Revoked)),
            (&of_user, Whose::User(&off, &table), 0, Some(ApiKeyFailure::UserDisabled)),
            (&of_user, Whose::Client(&client), 0, Some(ApiKeyFailure::Unknown)),
            (&of_client, Whose::Client(&client), 0, None),
            (&of_client, Whose::Client(&gone), 0, Some(ApiKeyFailure::ClientDisabled)),
            (&of_client, Whose::Client(&person), 0, Some(ApiKeyFailure::ClientMayNot)),
            (&of_client, Whose::Client(&bound), 0, Some(ApiKeyFailure::ClientMayNot)),
            (&of_client, Whose::Client(&other), 0, Some(ApiKeyFailure::Unknown)),
            (&of_client, Whose::User(&user, &table), 0, Some(ApiKeyFailure::Unknown)),
        ] {
            assert_eq!(worth(key, whose, DEFAULT, at(now)).err(), expected, "{whose:?} {now}");
        }
    }
}
