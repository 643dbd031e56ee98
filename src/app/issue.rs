//! Signs the access token and puts the answer together.

use std::sync::Arc;

use crate::keys::SigningKey;
use crate::model::client::Client;
use crate::model::key::ACCESS_TOKEN_TYP;
use crate::model::secret::PlainSecret;
use crate::model::session::Family;
use crate::model::time::Ttl;
use crate::model::user::User;
use crate::protocol::access_token::{Claims, Facts, Subject};
use crate::protocol::error::TokenError;
use crate::protocol::grants::Granted;
use crate::protocol::token_id::token_id;
use crate::protocol::token_response::{TokenResponse, TokenType};

use super::{App, random};

/// What a token is issued on.
pub(super) struct Issue<'a> {
    /// The client, which has proved who it is.
    pub(super) client: &'a Client,
    /// The user and their session; `None` for client_credentials.
    pub(super) subject: Option<(&'a User, &'a Family)>,
    /// What was decided.
    pub(super) granted: Granted,
    /// The refresh token that goes along.
    pub(super) refresh_token: Option<PlainSecret>,
    /// The thumbprint of the key that the access token is bound to, proven and used up.
    pub(super) jkt: Option<&'a str>,
}

/// Makes the answer. Nobody may see it before everything that must be durable is so.
pub(super) fn issue(app: &App, issue: Issue<'_>) -> Result<TokenResponse, TokenError> {
    let Issue { client, subject, granted, refresh_token, jkt } = issue;
    let key = signer_for(app, client)?;
    let now = app.clock.now();
    let ttl = access_ttl(app, client);
    // What outlived its session could not be ended with it.
    let ttl = subject.map_or(ttl, |(_, family)| ttl.min(now.whole_secs_until(family.expires_at)));
    let status_index = subject.map_or(client.status_index, |(_, family)| family.status_index);
    let token_id = token_id(status_index, random::bytes());
    let claims = Claims::new(&Facts {
        issuer: &app.policy.issuer,
        client_id: &client.id,
        subject: subject.map(|(user, family)| Subject {
            id: user.id,
            username: user.username.as_str(),
            roles: &user.roles,
            auth_time: family.auth_time,
        }),
        audience: &granted.audience,
        default_audience: &app.policy.default_audience,
        scope: &granted.scope,
        token_id: &token_id,
        status: client.registration.status.then_some(status_index),
        issued_at: now,
        ttl,
        jkt,
    });

    let access_token =
        key.sign(ACCESS_TOKEN_TYP, &claims).map_err(|error| TokenError::Internal(error.to_string()))?;
    Ok(TokenResponse {
        access_token: PlainSecret::new(access_token),
        expires_in: ttl,
        refresh_token,
        scope: granted.scope,
        token_type: if jkt.is_some() { TokenType::Dpop } else { TokenType::Bearer },
    })
}

/// How long an access token of `client` lives at most.
pub(super) fn access_ttl(app: &App, client: &Client) -> Ttl {
    client.registration.access_ttl.unwrap_or(app.policy.access_ttl)
}

/// The key that signs tokens of `client` now.
pub(super) fn signer_for(app: &App, client: &Client) -> Result<Arc<SigningKey>, TokenError> {
    let algorithm = client.registration.alg.unwrap_or(app.policy.algorithm);
    let missing = || TokenError::Unavailable(format!("there is no active {algorithm} key yet"));
    app.signer(algorithm).ok_or_else(missing)
}
