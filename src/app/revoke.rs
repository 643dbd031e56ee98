//! Revocation: a client gives a token back, RFC 7009. The use case behind `POST /revoke`.
//!
//! A refresh token and a user's access token end their session, with all that was issued in it (RFC 7009 §2.1). What a
//! client got for itself ends together, with the client's status index. It is done when it is durable, known to this
//! instance and in the audit, also when nobody waits for the answer any more.

use std::sync::Arc;

use crate::model::api_key::API_KEY_PREFIX;
use crate::model::audit::Actor;
use crate::model::client::Client;
use crate::model::id::FamilyId;
use crate::model::session::RevocationReason;
use crate::model::status::StatusIndex;
use crate::protocol::error::TokenError;
use crate::protocol::refresh_token::PresentedRefreshToken;
use crate::storage::families;

use super::App;
use super::authenticate_client::{FromClient, authenticate_client};
use super::exchange::{PATIENCE, in_time};
use super::to_its_end::to_its_end;

/// Ends what a client gives back. A token that is worth nothing is no error (RFC 7009 §2.2): it is as the client wants.
pub async fn revoke(app: &Arc<App>, sent: FromClient<'_>) -> Result<(), TokenError> {
    in_time(app, async {
        let authenticated = authenticate_client(app, &sent.presented()?, sent.source).await?;
        // Whatever token_type_hint says (RFC 7009 §2.1 lets us look everywhere): a token tells by itself what it is.
        let token = sent.params.secret("token").ok_or(TokenError::Missing("token"))?;

        let app = Arc::clone(app);
        to_its_end(async move |_| {
            let client = authenticated.client();
            // A connection that leads nowhere must not be held for ever.
            let ended = tokio::time::timeout(PATIENCE, end(&app, client, token.expose())).await;
            ended.unwrap_or_else(|_| Err(TokenError::Unavailable("no answer in time".into())))
        })
        .await
    })
    .await
}

async fn end(app: &App, client: &Client, token: &str) -> Result<(), TokenError> {
    // Said in plain words, for whoever gives back a key that was found would else believe that it has ended.
    if token.starts_with(API_KEY_PREFIX) {
        return Err(TokenError::ApiKeyGivenBack);
    }
    if let Some(presented) = PresentedRefreshToken::read(token) {
        return end_by_refresh_token(app, client, &presented).await;
    }
    let live = match app.live_access_token(token) {
        Ok(live) => live,
        Err(cause) => {
            tracing::debug!(%cause, "there is nothing to revoke");
            return Ok(());
        }
    };
    if live.client_id != client.id {
        return Err(TokenError::OtherClientsToken);
    }
    // It has the index of the token that was exchanged: a service that tidies up would log its caller's user out.
    if live.is_exchanged {
        return Err(TokenError::ExchangedToken);
    }
    match live.user_id {
        Some(user) => {
            tracing::Span::current().record("user_id", user.to_string());
            match families::find_by_status_index(&app.db, live.status_index).await? {
                Some(family) => end_session(app, client, (family, Some(live.status_index))).await,
                // Deleted with its user or its client, which revoked it.
                None => Ok(()),
            }
        }
        None => end_own_tokens(app, client, live.status_index).await,
    }
}

/// Any generation will do: whoever holds a replaced one holds what is left of the session.
async fn end_by_refresh_token(
    app: &App,
    client: &Client,
    presented: &PresentedRefreshToken,
) -> Result<(), TokenError> {
    let found = families::find(&app.db, presented.family).await?;
    let genuine = found.filter(|family| app.refresh_key.vouches_for(presented, &family.secret));
    let Some(family) = genuine else { return Ok(()) };
    if family.client_id != client.id {
        return Err(TokenError::OtherClientsToken);
    }
    tracing::Span::current().record("user_id", family.user_id.to_string());
    // Over already: nobody shall hold up those who end something by asking again and again for what has ended.
    if family.revoked.is_some() || app.clock.now() >= family.expires_at {
        return Ok(());
    }
    end_session(app, client, (family.id, family.status_index)).await
}

/// Over already is as good: a client may say so as often as it likes.
async fn end_session(
    app: &App,
    client: &Client,
    (id, index): (FamilyId, Option<StatusIndex>),
) -> Result<(), TokenError> {
    let actor = Actor::Client(client.id.clone());
    let ended: Result<_, TokenError> = app.end_session(id, RevocationReason::Client, &actor).await;
    ended?;
    app.learn_what_was_revoked(index).await;
    Ok(())
}

async fn end_own_tokens(app: &App, client: &Client, index: StatusIndex) -> Result<(), TokenError> {
    let actor = Actor::Client(client.id.clone());
    // Made from an API key of the client's, at `/verify`.
    let of_key: Result<_, TokenError> = app.end_tokens_of_api_key(index, &actor).await;
    if of_key?.is_some() {
        app.learn_what_was_revoked(Some(index)).await;
        return Ok(());
    }
    let ended: Result<_, TokenError> = app.end_client_tokens(index, client.id.clone(), &actor).await;
    ended?;
    app.learn_what_was_revoked(Some(index)).await;
    Ok(())
}
