//! Introspection: what a caller may learn of a token, RFC 7662. The use case behind `POST /introspect`.
//!
//! An access token is judged from memory alone, also while the database is away; a refresh token by its family's row.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::client::{Client, GrantType};
use crate::protocol::client_auth::Presented;
use crate::protocol::error::{ClientAuthFailure, TokenError};
use crate::protocol::introspection::{
    INACTIVE, SIGNED_TYP, SignedAnswer, active_refresh_token, may_learn_of,
};
use crate::protocol::refresh_family::{Presenter, Standing, standing};
use crate::protocol::refresh_token::PresentedRefreshToken;
use crate::storage::families::{self, Owned};
use crate::telemetry::metrics::count;

use super::App;
use super::authenticate_client::{AuthenticatedClient, FromClient, authenticate_client};
use super::exchange::in_time;
use super::issue::signer_for;

/// In which form an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON, RFC 7662 §2.2.
    Json,
    /// A signed JWT, RFC 9701 §5.
    Signed,
}

/// Answers a question: a JSON document, or a JWT. A form that is wanted is a form that is given.
pub async fn introspect(app: &Arc<App>, sent: FromClient<'_>, form: Form) -> Result<String, TokenError> {
    in_time(app, async {
        let authenticated = authenticate_caller(app, &sent.presented()?, sent.source).await?;
        // Whatever token_type_hint says: a token tells by itself what it is, and RFC 7662 §2.1 lets us look everywhere.
        let token = sent.params.value("token").ok_or(TokenError::Missing("token"))?;

        let answer = answer(app, authenticated.client(), token).await?;
        count("grantd_introspections_total", "active", if answer.is_some() { "true" } else { "false" });
        let answer = answer.unwrap_or_else(|| INACTIVE.to_owned());
        match form {
            Form::Json => Ok(answer),
            Form::Signed => sign(app, authenticated.client(), &answer),
        }
    })
    .await
}

/// RFC 7662 §2.1: "the endpoint MUST also require some form of authorization"; whoever needs none to act as a client
/// could scan for tokens.
async fn authenticate_caller(
    app: &Arc<App>,
    presented: &Presented,
    source: IpAddr,
) -> Result<AuthenticatedClient, TokenError> {
    let authenticated = authenticate_client(app, presented, source).await?;
    if authenticated.client().is_public() {
        let (cause, header_used) = (ClientAuthFailure::Public, presented.header_used());
        return Err(TokenError::Client { cause, header_used });
    }
    Ok(authenticated)
}

/// What `caller` may learn of an active token; `None` if that is nothing.
async fn answer(app: &App, caller: &Client, token: &str) -> Result<Option<String>, TokenError> {
    if let Some(presented) = PresentedRefreshToken::read(token) {
        return Box::pin(of_refresh_token(app, caller, &presented)).await;
    }
    match app.live_access_token(token) {
        Ok(live) if may_learn_of(caller, &live.client_id, &live.audience) => {
            Ok(Some(live.introspection.as_ref().to_owned()))
        }
        Ok(_) => {
            tracing::debug!("the token is not for the caller");
            Ok(None)
        }
        Err(cause) => {
            tracing::debug!(%cause, "the token is not active");
            Ok(None)
        }
    }
}

/// A refresh token is known to its own client only: a resource server that is shown one is shown a stolen or a
/// mistaken one, and must not take it for an access token. Only the live one is active; asking redeems nothing, nor is
/// it reuse.
async fn of_refresh_token(
    app: &App,
    caller: &Client,
    presented: &PresentedRefreshToken,
) -> Result<Option<String>, TokenError> {
    let found = families::find_with_user(&app.db, presented.family).await?;
    let Some(Owned { family, user, .. }) = found else { return Ok(None) };

    let genuine = app.refresh_key.vouches_for(presented, &family.secret);
    let its_own = family.client_id == caller.id && caller.allows(GrantType::RefreshToken);
    let rules = &app.policy.families;
    // Where it is asked from says something of a predecessor only, which is not active anyway.
    let presenter = Presenter::Confidential { source: &family.source };
    let standing = standing(&family, presented.generation, presenter, rules, app.clock.now());
    if !genuine || !its_own || !user.is_enabled() || standing != Standing::Live {
        return Ok(None);
    }
    let expires_at = family.rotated_at.plus(rules.idle_ttl).min(family.expires_at);
    Ok(Some(active_refresh_token(&app.policy.issuer, &family, &user.username, expires_at)))
}

/// With what the caller's own tokens are signed with, which is what it can verify (RFC 9701 §6 lets a client choose).
fn sign(app: &App, caller: &Client, answer: &str) -> Result<String, TokenError> {
    let claims = SignedAnswer::new(&app.policy.issuer, &caller.id, app.clock.now(), answer);
    let signed = signer_for(app, caller)?.sign(SIGNED_TYP, &claims);
    signed.map_err(|error| TokenError::Internal(error.to_string()))
}
