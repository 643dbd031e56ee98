//! Token exchange, RFC 8693: a service swaps a token that it was called with for one to the next service. Everything is at
//! hand when it is asked for, so that there is no machine to drive; oxide-auth has none for it.
//!
//! It is always delegation and never impersonation (RFC 8693 §1.1): the new token stands for the same subject and names
//! the client as the one who acts.

use crate::model::client::{Client, GrantType};
use crate::model::resource::Audience;
use crate::model::scope::Scope;
use crate::protocol::dpop::InvalidProof;
use crate::protocol::error::{SubjectTokenFailure, TokenError};
use crate::protocol::subject_token::{Actor, SubjectToken};
use crate::protocol::token_request::Wish;
use crate::protocol::{audience, scope_rules};

use super::Granted;

/// What `client`, which has proved who it is, is granted for a live `subject`; and who acts from now on. `jkt` is the
/// thumbprint of the key that the client proves to have.
pub fn decide(
    wish: &Wish,
    client: &Client,
    subject: &SubjectToken,
    jkt: Option<&str>,
) -> Result<(Granted, Actor), TokenError> {
    // RFC 8693 §2.1: else anybody who has come by a token could make other tokens of it.
    if client.is_public() {
        return Err(TokenError::UnauthorizedClient(GrantType::TokenExchange));
    }
    // The confused deputy: a service that was tricked into presenting somebody else's token must gain nothing by it.
    if !subject.is_for(client) {
        return Err(SubjectTokenFailure::NotForClient.into());
    }
    check_key(client, subject, jkt)?;
    let actor = Actor::after(subject.actor.as_ref(), &client.id).ok_or(TokenError::TooManyActors)?;

    let scope = narrow(wish.scope.as_ref(), &subject.scope, &client.registration.scope)?;
    let audience = target(&wish.resource, &client.registration.may_act_for)?;
    Ok((Granted { requested: scope.clone(), scope, audience }, actor))
}

/// A resource server has no key of the client that called it, and has checked the proof of it (RFC 9449 §7). The client
/// itself has the key: it must not get rid of the binding by an exchange.
fn check_key(client: &Client, subject: &SubjectToken, jkt: Option<&str>) -> Result<(), TokenError> {
    match (&subject.jkt, jkt) {
        (Some(_), None) if subject.issued_to == client.id => Err(InvalidProof::Missing.into()),
        (Some(bound), Some(jkt)) if subject.issued_to == client.id && bound != jkt => {
            Err(InvalidProof::OtherKey.into())
        }
        _ => Ok(()),
    }
}

/// Never more than the subject token allows, and never more than the client is registered for. What is named must be in
/// both; where nothing is named, what is in both. RFC 8693 §5 advises scope against the abuse of what is delegated.
fn narrow(named: Option<&Scope>, subject: &Scope, registered: &Scope) -> Result<Scope, TokenError> {
    let Some(named) = named else {
        let common = subject.intersection(registered);
        let nothing_left = common.is_empty() && !subject.is_empty();
        return if nothing_left { Err(TokenError::NothingGranted) } else { Ok(common) };
    };
    let asked = scope_rules::ask(Some(named), registered)?;
    if asked.is_subset_of(subject) { Ok(asked) } else { Err(TokenError::ScopeBeyondSubject) }
}

/// RFC 8707 §2 calls a target that is missing `invalid_target`: a token for everywhere is what exchange is to avoid.
fn target(named: &[Audience], may_act_for: &[Audience]) -> Result<Vec<Audience>, TokenError> {
    match (named, may_act_for) {
        // None at all is in the database of somebody who has written it by hand.
        (_, []) => Err(TokenError::Target),
        ([], [_, _, ..]) => Err(TokenError::TargetMissing),
        _ => audience::choose(named, may_act_for),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::client::{AuthMethod, Registration};
    use crate::model::status::StatusIndex;
    use crate::model::time::Timestamp;
    use crate::protocol::subject_token::StandsFor;

    fn list(text: &str) -> Vec<Audience> {
        text.split_whitespace().map(|uri| uri.parse().expect("an audience")).collect()
    }

    fn scope(text: &str) -> Scope {
        text.parse().expect("a scope")
    }

    fn orders(may_act_for: &str) -> Client {
        Client {
            id: "orders".parse().expect("an id"),
            registration: Registration {
                scope: scope("a b"),
                resource_servers: list("urn:orders"),
                may_act_for: list(may_act_for),
                ..Registration::default()
            },
            secrets: Vec::new(),
            disabled_at: None,
            created_at: Timestamp::from_secs(0),
            status_index: StatusIndex::new(0).expect("there"),
        }
    }

    fn subject(issued_to: &str, aud: &str) -> SubjectToken {
        SubjectToken {
            issued_to: issued_to.parse().expect("an id"),
            audience: [aud.into()].into(),
            scope: scope("a"),
            stands_for: StandsFor::Client("app".parse().expect("an id")),
            jkt: None,
            actor: None,
            expires_at: Timestamp::from_secs(9),
            status_index: StatusIndex::new(0).expect("there"),
            actor_indexes: Vec::new(),
        }
    }

    fn wish() -> Wish {
        Wish { scope: None, resource: Vec::new() }
    }

    #[test]
    fn only_a_token_that_was_meant_for_the_client_is_exchanged() {
        let client = orders("urn:billing");
        for (issued_to, aud, good) in [
            ("app", "urn:orders", true),
            ("orders", "urn:elsewhere", true),
            ("app", "urn:elsewhere", false),
            ("app", "urn:orders/", false),
            // What it may act for is not what it serves.
            ("app", "urn:billing", false),
        ] {
            let decided = decide(&wish(), &client, &subject(issued_to, aud), None);

            let expected = if good { Ok(()) } else { Err(SubjectTokenFailure::NotForClient.into()) };
            assert_eq!(decided.map(drop), expected, "{issued_to} {aud}");
        }
        let mut public = client;
        public.registration.auth_methods = vec![AuthMethod::None];
        let decided = decide(&wish(), &public, &subject("orders", "urn:orders"), None);
        assert_eq!(decided, Err(TokenError::UnauthorizedClient(GrantType::TokenExchange)));
    }

    #[test]
    fn a_scope_is_in_the_token_and_in_the_registration_or_it_is_not_granted() {
        use TokenError::{NothingGranted, ScopeBeyondSubject, ScopeNotAllowed};
        for (named, subject, registered, expected) in [
            (None, "a b c", "b c d", Ok("b c")),
            (Some("b"), "a b c", "b c d", Ok("b")),
            (Some("a"), "a b c", "b c d", Err(ScopeNotAllowed)),
            (Some("b d"), "a b c", "b c d", Err(ScopeBeyondSubject)),
            (None, "a", "b", Err(NothingGranted)),
            (None, "a", "", Err(NothingGranted)),
            (None, "", "b", Ok("")),
            (Some("b"), "", "b", Err(ScopeBeyondSubject)),
        ] {
            let narrowed = narrow(named.map(scope).as_ref(), &scope(subject), &scope(registered));

            assert_eq!(narrowed, expected.map(scope), "{named:?} of {subject} and {registered}");
        }
    }

    #[test]
    fn a_target_is_one_that_the_client_may_act_for_and_has_to_be_named_among_several() {
        use TokenError::{Target, TargetMissing};
        for (named, may_act_for, expected) in [
            ("", "urn:a", Ok("urn:a")),
            ("urn:b urn:b", "urn:a urn:b", Ok("urn:b")),
            ("urn:b urn:a", "urn:a urn:b", Ok("urn:a urn:b")),
            ("", "urn:a urn:b", Err(TargetMissing)),
            ("urn:c", "urn:a", Err(Target)),
            ("urn:a urn:c", "urn:a", Err(Target)),
            ("urn:a", "", Err(Target)),
            ("", "", Err(Target)),
        ] {
            let chosen = target(&list(named), &list(may_act_for));

            assert_eq!(chosen, expected.map(list), "{named} of {may_act_for}");
        }
    }

    #[test]
    fn a_client_does_not_lose_the_key_of_its_own_token_by_an_exchange() {
        let client = orders("urn:billing");
        let bound = |issued_to| SubjectToken { jkt: Some("k".into()), ..subject(issued_to, "urn:orders") };
        for (issued_to, jkt, expected) in [
            ("orders", None, Err(InvalidProof::Missing.into())),
            ("orders", Some("other"), Err(InvalidProof::OtherKey.into())),
            ("orders", Some("k"), Ok(())),
            ("app", None, Ok(())),
            ("app", Some("other"), Ok(())),
        ] {
            let decided = decide(&wish(), &client, &bound(issued_to), jkt);

            assert_eq!(decided.map(drop), expected, "{issued_to} {jkt:?}");
        }
    }
}
