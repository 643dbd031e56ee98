//! The refresh token grant, RFC 6749 §6, through oxide-auth's machine; rotation by RFC 9700 §4.14.2.

use chrono::{DateTime, Utc};
use oxide_auth::code_grant::refresh::{Input, Output, Refresh};
use oxide_auth::primitives::grant::{Extensions, Grant};

use crate::model::client::{Client, GrantType};
use crate::model::role::RoleTable;
use crate::model::secret::PlainSecret;
use crate::model::session::{Family, StrangeRetry};
use crate::model::time::Timestamp;
use crate::model::user::User;
use crate::protocol::dpop::InvalidProof;
use crate::protocol::error::{GrantFailure, TokenError};
use crate::protocol::oxide::{View, from_oxide, nowhere, refusal, to_oxide};
use crate::protocol::refresh_family::{FamilyRules, Presenter, Standing, standing};
use crate::protocol::token_request::Wish;
use crate::protocol::{audience, scope_rules};

use super::Granted;

/// Everything the decision rests on.
pub struct Evidence<'a> {
    /// The token as it was sent.
    pub token: &'a PlainSecret,
    /// What is asked for.
    pub wish: &'a Wish,
    /// The client, which has proved who it is (or is public).
    pub client: &'a Client,
    /// The family and generation that the token is genuinely of, with the family's user; `None` if the token is
    /// not one of ours.
    pub family: Option<(&'a Family, u32, &'a User)>,
    /// Which scopes reach whom.
    pub roles: &'a RoleTable,
    /// Who presents it.
    pub presenter: Presenter<'a>,
    /// The thumbprint of the key that they prove to have, RFC 9449 §5.
    pub jkt: Option<&'a str>,
    /// The settings that matter.
    pub rules: &'a FamilyRules,
    /// Now.
    pub now: Timestamp,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Make the next generation the live one and hand it out.
    Rotate(Granted),
    /// Hand the live one out again: the answer that brought it was lost. Remember where it was asked for from, if
    /// that is somewhere else.
    Retry(Granted, Option<StrangeRetry>),
    /// End the family: a replaced token came back.
    EndFamily,
}

/// RFC 9449 §5: a bound refresh token is good with a proof by its key only.
fn check_key(family: &Family, jkt: Option<&str>) -> Result<(), TokenError> {
    match (&family.jkt, jkt) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(InvalidProof::Missing.into()),
        (Some(bound), Some(jkt)) if bound == jkt => Ok(()),
        (Some(_), Some(_)) => Err(GrantFailure::OtherKey.into()),
    }
}

/// What the evidence leads to. Every check is made here, before anything is written.
pub fn decide(evidence: &Evidence<'_>) -> Result<Decision, TokenError> {
    let Evidence { wish, client, .. } = evidence;
    let view = View {
        grant_type: GrantType::RefreshToken,
        client_id: &client.id,
        scope: wish.scope.as_ref(),
        refresh_token: Some(evidence.token.expose()),
    };
    let mut machine = Refresh::new(&view);
    let mut input = Input::None;
    let mut retry = None;
    loop {
        // Never `Input::None` again: it would destroy the machine's state.
        input = match machine.advance(input) {
            Output::Unauthenticated { .. } => Input::Authenticated { scope: view.scope_text() },
            Output::RecoverRefresh { .. } => {
                let grant = match evidence.family {
                    Some((family, generation, user)) if family.client_id == client.id => {
                        // Before anything is made of it: who has a token and not its key can do nothing with it, not
                        // even end the family.
                        check_key(family, evidence.jkt)?;
                        match standing(family, generation, evidence.presenter, evidence.rules, evidence.now) {
                            Standing::Live => retry = None,
                            Standing::Retry { strange } => retry = Some(strange),
                            // Before the scope is looked at: a thief must not escape by a bad scope.
                            Standing::Reused => return Ok(Decision::EndFamily),
                            Standing::Worthless(failure) => return Err(failure.into()),
                        }
                        if !user.is_enabled() {
                            return Err(GrantFailure::UserDisabled.into());
                        }
                        Some(grant_of(family))
                    }
                    // The machine refuses both: another client's token, and none of ours.
                    Some((family, ..)) => Some(grant_of(family)),
                    None => None,
                };
                Input::Recovered { scope: view.scope_text(), grant }
            }
            Output::Refresh { grant, .. } => {
                let Some((family, _, user)) = evidence.family else {
                    return Err(TokenError::Internal(
                        "the refresh machine recovered what is not there".into(),
                    ));
                };
                let granted = grant_again(
                    evidence,
                    &from_oxide(&grant.scope, wish.scope.as_ref().unwrap_or(&family.requested))?,
                    family,
                    user,
                )?;
                return Ok(match retry {
                    None => Decision::Rotate(granted),
                    Some(strange) => Decision::Retry(granted, strange),
                });
            }
            Output::Ok(_) => return Err(TokenError::Internal("the refresh machine issued by itself".into())),
            Output::Err(mut error) => {
                let cause = if evidence.family.is_some() {
                    GrantFailure::OtherClient
                } else {
                    GrantFailure::UnknownToken
                };
                return Err(refusal(error.description(), cause));
            }
        };
    }
}

/// The family as the machine knows it. Its clock is not ours, so it is told "for ever": our rules have judged the
/// time already. Its scope is what the first request asked for, of which a refresh may name any part.
fn grant_of(family: &Family) -> Box<Grant> {
    Box::new(Grant {
        owner_id: family.user_id.to_string(),
        client_id: family.client_id.to_string(),
        scope: to_oxide(&family.requested),
        redirect_uri: nowhere(),
        until: DateTime::<Utc>::MAX_UTC,
        extensions: Extensions::new(),
    })
}

fn grant_again(
    evidence: &Evidence<'_>,
    named: &crate::model::scope::Scope,
    family: &Family,
    user: &User,
) -> Result<Granted, TokenError> {
    let registration = &evidence.client.registration;
    let asked = scope_rules::ask_again(Some(named), &family.requested, &family.granted, &registration.scope)?;
    let scope = scope_rules::reach(&asked, evidence.roles, &user.roles)?;
    let audience = audience::choose_again(&evidence.wish.resource, &family.audience, &registration.audience)?;
    Ok(Granted { requested: asked, scope, audience })
}
