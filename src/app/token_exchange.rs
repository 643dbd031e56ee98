//! Token exchange, RFC 8693: from memory alone, so that it goes on without the database.

use crate::model::client::Client;
use crate::model::secret::PlainSecret;
use crate::protocol::error::{SubjectTokenFailure, TokenError};
use crate::protocol::grants::token_exchange::decide;
use crate::protocol::subject_token::SubjectToken;
use crate::protocol::token_request::{Given, TokenKind, Wish};
use crate::protocol::token_response::TokenResponse;

use super::App;
use super::dpop::Proven;
use super::issue::{Issue, OnBehalfOf, issue};

/// A request to exchange a token, of a client that has proved who it is.
pub(super) struct Swap<'a> {
    /// The client.
    pub(super) client: &'a Client,
    /// The token that it gives.
    pub(super) token: &'a PlainSecret,
    /// What it says that this is.
    pub(super) given: Given,
    /// What the answer is to call the token that it gets.
    pub(super) wanted: TokenKind,
    /// What it asks for.
    pub(super) wish: &'a Wish,
    /// The key that it proves to have.
    pub(super) proof: Option<&'a Proven>,
}

/// Answers a token exchange.
pub(super) async fn swap(app: &App, swap: Swap<'_>) -> Result<TokenResponse, TokenError> {
    let Swap { client, token, given, wanted, wish, proof } = swap;
    let subject = match given {
        Given::AccessToken => subject_of(app, token)?,
        Given::ApiKey => app.live_api_key(token)?,
    };
    let jkt = proof.map(|proof| proof.jkt.as_str());

    let (granted, actor) = decide(wish, client, &subject, jkt)?;

    if let Some(id) = subject.stands_for.user() {
        tracing::Span::current().record("user_id", id.to_string());
    }
    if let Some(proof) = proof {
        proof.use_up(app).await?;
    }
    let on_behalf_of = OnBehalfOf::Exchanged(&subject, &actor);
    let answer = issue(app, Issue { client, on_behalf_of, granted, refresh_token: None, jkt })?;
    Ok(TokenResponse { issued_token_type: Some(wanted.as_str()), ..answer })
}

fn subject_of(app: &App, token: &PlainSecret) -> Result<SubjectToken, TokenError> {
    let live = app.live_access_token(token.expose());
    let live = live.map_err(|cause| SubjectTokenFailure::NotLive(cause.to_string()))?;
    SubjectToken::read(&live.introspection)
        .ok_or_else(|| TokenError::Internal("a live access token that introspection cannot tell".into()))
}
