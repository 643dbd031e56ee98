//! Signs the access token and puts the answer together.

use std::sync::Arc;

use crate::keys::SigningKey;
use crate::model::client::Client;
use crate::model::id::ClientId;
use crate::model::key::{ACCESS_TOKEN_TYP, SigningAlgorithm};
use crate::model::resource::Audience;
use crate::model::scope::Scope;
use crate::model::secret::PlainSecret;
use crate::model::session::Family;
use crate::model::status::StatusIndex;
use crate::model::time::{Timestamp, Ttl};
use crate::model::user::User;
use crate::protocol::access_token::{Claims, Facts, Subject, UserClaims};
use crate::protocol::error::TokenError;
use crate::protocol::grants::Granted;
use crate::protocol::subject_token::{Actor, SubjectToken};
use crate::protocol::token_id::token_id;
use crate::protocol::token_response::{TokenResponse, TokenType};

use super::{App, random};

/// What a token is issued on.
pub(super) struct Issue<'a> {
    /// The client, which has proved who it is.
    pub(super) client: &'a Client,
    /// Who it stands for.
    pub(super) on_behalf_of: OnBehalfOf<'a>,
    /// What was decided.
    pub(super) granted: Granted,
    /// The refresh token that goes along.
    pub(super) refresh_token: Option<PlainSecret>,
    /// The thumbprint of the key that the access token is bound to, proven and used up.
    pub(super) jkt: Option<&'a str>,
}

/// Who a token stands for, and what it ends with.
#[derive(Clone, Copy)]
pub(super) enum OnBehalfOf<'a> {
    /// The client, for client_credentials.
    Itself,
    /// A user in their session.
    User(&'a User, &'a Family),
    /// Whoever this token stands for, for whom the client acts from now on.
    Exchanged(&'a SubjectToken, &'a Actor),
}

/// Makes the answer. Nobody may see it before everything that must be durable is so.
pub(super) fn issue(app: &App, issue: Issue<'_>) -> Result<TokenResponse, TokenError> {
    let Issue { client, on_behalf_of, granted, refresh_token, jkt } = issue;
    let key = signer_for(app, client)?;
    let now = app.clock.now();
    let ttl = access_ttl(app, client);
    // An exchanged token ends with the one it came from, and with whoever acts with it.
    let mut actors = Vec::new();
    let (subject, actor, status_index, ends) = match on_behalf_of {
        OnBehalfOf::Itself => (Subject::Client(&client.id), None, client.status_index, None),
        OnBehalfOf::User(user, family) => {
            let claims = UserClaims {
                id: user.id,
                username: user.username.as_str(),
                roles: &user.roles,
                auth_time: Some(family.auth_time),
            };
            let without = || TokenError::Unavailable("the session has no status index yet".into());
            let status_index = family.status_index.ok_or_else(without)?;
            (Subject::User(claims), None, status_index, Some(family.expires_at))
        }
        OnBehalfOf::Exchanged(token, actor) => {
            actors.extend(token.actor_indexes.iter().copied().chain([client.status_index]));
            (token.stands_for.subject(), Some(actor), token.status_index, Some(token.expires_at))
        }
    };
    // What outlived its session could not be ended with it; and an exchange is no way to a longer life.
    let ttl = ends.map_or(ttl, |ends| ttl.min(now.whole_secs_until(ends)));
    let access_token = mint(
        app,
        &Mint {
            key: &key,
            client_id: &client.id,
            subject,
            actor,
            audience: &granted.audience,
            scope: &granted.scope,
            status_index,
            actor_indexes: &actors,
            says_status: client.registration.status,
            now,
            ttl,
            jkt,
        },
    )?;
    Ok(TokenResponse {
        access_token,
        expires_in: ttl,
        refresh_token,
        scope: granted.scope,
        token_type: if jkt.is_some() { TokenType::Dpop } else { TokenType::Bearer },
        issued_token_type: None,
    })
}

/// What an access token is made of.
pub(super) struct Mint<'a> {
    /// What it is signed with.
    pub(super) key: &'a SigningKey,
    /// Who it is issued to.
    pub(super) client_id: &'a ClientId,
    /// Who it stands for.
    pub(super) subject: Subject<'a>,
    /// Who acts for them.
    pub(super) actor: Option<&'a Actor>,
    /// Who it is for; empty means the server's default audience.
    pub(super) audience: &'a [Audience],
    /// What it allows.
    pub(super) scope: &'a Scope,
    /// What it is revoked by.
    pub(super) status_index: StatusIndex,
    /// By these too: those of the clients that act with it.
    pub(super) actor_indexes: &'a [StatusIndex],
    /// Whether it says where its status is.
    pub(super) says_status: bool,
    /// Now.
    pub(super) now: Timestamp,
    /// How long it lives.
    pub(super) ttl: Ttl,
    /// The thumbprint of the key that it is bound to.
    pub(super) jkt: Option<&'a str>,
}

/// Signs an access token: the one place where they are made.
pub(super) fn mint(app: &App, mint: &Mint<'_>) -> Result<String, TokenError> {
    let token_id = token_id(mint.status_index, mint.actor_indexes, random::name_bytes());
    let claims = Claims::new(&Facts {
        issuer: &app.policy.issuer,
        client_id: mint.client_id,
        subject: mint.subject,
        actor: mint.actor,
        audience: mint.audience,
        default_audience: &app.policy.default_audience,
        scope: mint.scope,
        token_id: &token_id,
        status: mint.says_status.then_some(mint.status_index),
        issued_at: mint.now,
        ttl: mint.ttl,
        jkt: mint.jkt,
    });
    mint.key.sign(ACCESS_TOKEN_TYP, &claims).map_err(|error| TokenError::Internal(error.to_string()))
}

/// How long an access token of `client` lives at most.
pub(super) fn access_ttl(app: &App, client: &Client) -> Ttl {
    client.registration.access_ttl.unwrap_or(app.policy.access_ttl)
}

/// The key that signs tokens of `client` now.
pub(super) fn signer_for(app: &App, client: &Client) -> Result<Arc<SigningKey>, TokenError> {
    signer(app, client.registration.alg)
}

/// The key that signs now where this algorithm is asked for, or none.
pub(super) fn signer(app: &App, asked: Option<SigningAlgorithm>) -> Result<Arc<SigningKey>, TokenError> {
    let algorithm = asked.unwrap_or(app.policy.algorithm);
    let missing = || TokenError::Unavailable(format!("there is no active {algorithm} key yet"));
    app.signer(algorithm).ok_or_else(missing)
}
