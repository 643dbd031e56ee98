//! The client credentials grant, RFC 6749 §4.4, through oxide-auth's machine.

use oxide_auth::code_grant::client_credentials::{ClientCredentials, Error, Input, Output};
use oxide_auth::primitives::grant::Extensions;
use oxide_auth::primitives::registrar::PreGrant;

use crate::model::client::{Client, GrantType};
use crate::model::scope::Scope;
use crate::protocol::error::{GrantFailure, TokenError};
use crate::protocol::oxide::{View, bound_client, from_oxide, refusal, to_oxide};
use crate::protocol::token_request::Wish;
use crate::protocol::{audience, scope_rules};

use super::Granted;

/// What `client`, which has proved who it is, is granted. Bound by its registration alone: no roles.
pub fn decide(wish: &Wish, client: &Client) -> Result<Granted, TokenError> {
    let view = View {
        grant_type: GrantType::ClientCredentials,
        client_id: &client.id,
        scope: wish.scope.as_ref(),
        refresh_token: None,
    };
    let mut machine = ClientCredentials::new(&view);
    let mut input = Input::None;
    let mut asked = Scope::empty();
    loop {
        input = match machine.advance(input) {
            Output::Authenticate { .. } => Input::Authenticated,
            Output::Binding { .. } => Input::Bound { bound_client: bound_client(&client.id) },
            Output::Extend => Input::Extended { extensions: Extensions::new() },
            Output::Negotiate { bound_client, scope } => {
                let sent = wish.scope.as_ref().unwrap_or(&asked);
                let named = scope.map(|scope| from_oxide(&scope, sent)).transpose()?;
                asked = scope_rules::ask(named.as_ref(), &client.registration.scope)?;
                let pre_grant = PreGrant {
                    client_id: bound_client.client_id.clone().into_owned(),
                    redirect_uri: bound_client.redirect_uri.clone().into_owned(),
                    scope: to_oxide(&asked),
                };
                Input::Negotiated { pre_grant }
            }
            Output::Ok { pre_grant, .. } => {
                let scope = from_oxide(&pre_grant.scope, &asked)?;
                let audience = audience::choose(&wish.resource, &client.registration.audience)?;
                return Ok(Granted { requested: scope.clone(), scope, audience });
            }
            Output::Err(mut error) => {
                let description = match &mut *error {
                    Error::Invalid(description) | Error::Unauthorized(description, _) => {
                        Some(description.description())
                    }
                    Error::Primitive(_) | Error::Ignore => None,
                };
                return Err(refusal(description, GrantFailure::UnknownToken));
            }
        };
    }
}
