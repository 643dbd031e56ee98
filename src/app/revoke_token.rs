//! The end of one token that an operator has at hand, such as one that was found in a log: of its session, or of all
//! that its client got for itself. That it has expired does not matter, for its session may go on.

use crate::keys::{Expectations, NotValid, Outcome};
use crate::model::api_key::{API_KEY_PREFIX, ApiKeyId};
use crate::model::audit::{Act, Actor, SessionsOf};
use crate::model::id::{ClientId, FamilyId};
use crate::model::secret::PlainSecret;
use crate::model::session::RevocationReason;
use crate::model::status::StatusIndex;
use crate::model::time::Ttl;
use crate::protocol::refresh_token::PresentedRefreshToken;
use crate::protocol::token_id::status_index_of;
use crate::storage::families::Which;
use crate::storage::{StorageError, clients, families};

use super::App;
use super::api_keys::KeysOf;
use super::audit::AuditError;
use super::error::AdminError;

/// What a token stood for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokedToken {
    /// A session, which has ended now.
    Session(FamilyId),
    /// A client by itself, whose tokens are all revoked now.
    Client(ClientId),
    /// An API key, which has ended now with all tokens that were made from it.
    ApiKey(ApiKeyId),
    /// An API key whose tokens are all revoked now; it goes on, for it was not the key that was found.
    TokensOfApiKey(ApiKeyId),
    /// Something that had ended before: nothing was changed.
    Over,
}

impl App {
    /// Ends what `token` stands for: an access token, a refresh token or an API key, of whatever age.
    pub async fn revoke_token(&self, token: &PlainSecret) -> Result<RevokedToken, AdminError> {
        if let Some(presented) = PresentedRefreshToken::read(token.expose()) {
            let found = families::find(&self.db, presented.family).await?;
            // Any generation: whoever holds a replaced one holds what is left of the session.
            let genuine = found.filter(|family| self.refresh_key.vouches_for(&presented, &family.secret));
            let why =
                "no session of this server has such a refresh token (or it was deleted a day after its end)";
            let family = genuine.ok_or_else(|| AdminError::ForeignToken(why.to_owned()))?;
            return self.end_session(family.id, RevocationReason::Operator, &self.actor).await;
        }
        if token.expose().starts_with(API_KEY_PREFIX) {
            let id = self.identify_api_key(token).await?;
            let ended = self.revoke_api_keys(&KeysOf::One(id)).await?;
            return Ok(if ended == 0 { RevokedToken::Over } else { RevokedToken::ApiKey(id) });
        }
        let (index, client) = self.index_of_access_token(token.expose())?;
        let of_key: Result<_, AdminError> = self.end_tokens_of_api_key(index, &self.actor).await;
        if let Some(key) = of_key? {
            return Ok(RevokedToken::TokensOfApiKey(key));
        }
        match families::find_by_status_index(&self.db, index).await? {
            Some(family) => self.end_session(family, RevocationReason::Operator, &self.actor).await,
            None => self.end_client_tokens(index, client, &self.actor).await,
        }
    }

    /// The index of a token that this server has signed, and the client whose index it is unless it is a session's.
    fn index_of_access_token(&self, jwt: &str) -> Result<(StatusIndex, ClientId), AdminError> {
        let (issuer, now) = (&self.policy.issuer, self.clock.now());
        let expectations = Expectations { issuer, now, clock_skew: CLOCK_SLACK };
        let inspection = self.ring.load().inspect(jwt, &expectations);
        for check in &inspection.checks {
            match &check.outcome {
                Outcome::Holds | Outcome::Fails(NotValid::Expired(_)) => {}
                Outcome::Fails(why) => return Err(AdminError::ForeignToken(why.to_string())),
            }
        }
        let claim = |name| inspection.claims.as_ref()?.get(name)?.as_str();
        let without_index =
            || AdminError::ForeignToken("it has no status index: it is of an older version".into());
        let index = claim("jti").and_then(status_index_of).ok_or_else(without_index)?;
        // Where a client's own token was exchanged, `client_id` is whoever acts for it. A user's id is never a client's.
        let client = ["sub", "client_id"].into_iter().filter_map(claim).find_map(|id| id.parse().ok());
        Ok((index, client.ok_or_else(|| AdminError::ForeignToken("its client_id is none".into()))?))
    }

    /// Ends a session; who comes second finds it over, and nothing to write down.
    pub(super) async fn end_session<E: From<StorageError> + From<AuditError>>(
        &self,
        id: FamilyId,
        reason: RevocationReason,
        actor: &Actor,
    ) -> Result<RevokedToken, E> {
        let mut tx = self.db.begin().await?;
        if families::revoke(&mut tx, Which::Family(id), reason, self.clock.now()).await? == 0 {
            tx.rollback().await?;
            return Ok(RevokedToken::Over);
        }
        self.commit_as(actor, tx, &[Act::SessionRevoked(SessionsOf::One(id), 1, reason)]).await?;
        Ok(RevokedToken::Session(id))
    }

    /// Retires the index that all tokens carry which a client got for itself, if it is still the client's.
    pub(super) async fn end_client_tokens<E: From<StorageError> + From<AuditError>>(
        &self,
        index: StatusIndex,
        id: ClientId,
        actor: &Actor,
    ) -> Result<RevokedToken, E> {
        let fresh = self.status_indexes.next(&self.db).await?;
        let mut tx = self.db.begin().await?;
        // Neither a session's nor a client's any more: whatever took the index away has revoked it.
        if !clients::renew_status_index(&mut tx, &id, (index, fresh), self.clock.now()).await? {
            tx.rollback().await?;
            return Ok(RevokedToken::Over);
        }
        self.commit_as(actor, tx, &[Act::ClientTokensRevoked(id.clone())]).await?;
        self.directory.load().renew(&id, index, fresh);
        Ok(RevokedToken::Client(id))
    }
}

/// A token may have been issued by another instance, whose clock is ahead of this one's.
const CLOCK_SLACK: Ttl = Ttl::from_secs(60);
