//! API keys: the operator's use cases.

use crate::model::api_key::{ApiKey, ApiKeyHash, ApiKeyId, Held, Owner, Terms, api_key, id_in};
use crate::model::audit::{Act, Actor, ApiKeysOf};
use crate::model::id::ClientId;
use crate::model::resource::Audience;
use crate::model::scope::Scope;
use crate::model::secret::PlainSecret;
use crate::model::status::StatusIndex;
use crate::model::time::{Timestamp, Ttl};
use crate::model::user::Username;
use crate::protocol::api_key::{check_live, may_have_keys};
use crate::protocol::{audience, scope_rules};
use crate::storage::api_keys::{self, WhichKeys};
use crate::storage::revisions::{Subject, bump};
use crate::storage::{StorageError, Tx, clients, users};

use super::audit::AuditError;
use super::client_secrets::SecretHasher;
use super::error::AdminError;
use super::{App, random};

/// How long a key that has ended stays, so that `apikey list` says why it is no good any more.
pub(super) const KEEP_ENDED_KEYS: Ttl = Ttl::from_secs(30 * 24 * 60 * 60);

/// Whose keys are meant, by the names that operators use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysOf {
    /// All of a user.
    User(Username),
    /// All of a client.
    Client(ClientId),
    /// One.
    One(ApiKeyId),
    /// All there are.
    All,
}

/// Whose a new key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewOwner {
    /// A user's.
    User(Username),
    /// A client's.
    Client(ClientId),
}

/// What a new key is to be like.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Whose it is.
    pub owner: NewOwner,
    /// What it is for, in the operator's words.
    pub name: Option<String>,
    /// The most that it may ever be used for.
    pub scope: Scope,
    /// Where it may be used; empty means all audiences of the client, or for a user the server's default audience.
    pub audience: Vec<Audience>,
    /// When it ends by itself.
    pub expires: Option<Ttl>,
}

impl App {
    /// Makes a key. It is told this once and is not in the database.
    pub async fn create_api_key(&self, new: NewApiKey) -> Result<(Held, PlainSecret), AdminError> {
        if new.expires.is_some_and(Ttl::is_zero) {
            return Err(AdminError::ApiKey("it would end at once: give it at least 1s with --expires"));
        }
        let id = ApiKeyId::from_random(random::bytes());
        let secret = api_key(id, &random::bytes());
        let now = self.clock.now();

        let mut tx = self.db.begin().await?;
        // First, so that whoever switches the owner off comes before us or sees the key.
        bump(&mut tx, Subject::ApiKeys).await?;
        let (owner, audience) = self.owner_of(&mut tx, &new).await?;
        let key = ApiKey {
            id,
            terms: Terms {
                owner,
                name: new.name.filter(|name| !name.is_empty()),
                scope: new.scope,
                audience,
                expires_at: new.expires.map(|ttl| now.plus(ttl)),
            },
            hash: ApiKeyHash(self.api_key_hasher.hash(&secret)),
            status_index: self.fresh_status_index(&mut tx).await?,
            created_at: now,
            revoked_at: None,
        };
        api_keys::insert(&mut tx, &key).await?;
        let made = api_keys::list(&mut tx, WhichKeys::One(id)).await?.pop();
        let made = made
            .ok_or_else(|| StorageError::Corrupt("an API key that was just written is not there".into()))?;
        self.commit(tx, &[Act::ApiKeyCreated(id, Box::new(key.terms))]).await?;
        Ok((made, secret))
    }

    /// Who is meant, and what the key is for. A client's key that goes beyond its registration is refused, for it would
    /// silently be worth less than it says.
    async fn owner_of(&self, tx: &mut Tx, new: &NewApiKey) -> Result<(Owner, Vec<Audience>), AdminError> {
        match &new.owner {
            NewOwner::User(username) => {
                let user = users::find_by_username(tx, username).await?;
                let user = user.ok_or_else(|| no_such("user", username))?;
                let mut audience: Vec<Audience> = Vec::new();
                for uri in &new.audience {
                    if !audience.contains(uri) {
                        audience.push(uri.clone());
                    }
                }
                Ok((Owner::User(user.id), audience))
            }
            NewOwner::Client(id) => {
                let client = clients::find(tx, id).await?.ok_or_else(|| no_such("client", id))?;
                may_have_keys(&client).map_err(|_| {
                    AdminError::ApiKey(
                        "its client must be enabled, be registered for client_credentials and not have to bind its tokens: 'grantd client show' says what it is",
                    )
                })?;
                let registered = &client.registration;
                scope_rules::ask(Some(&new.scope), &registered.scope).map_err(|_| {
                    AdminError::ApiKey(
                        "its scope goes beyond that of its client: name less with --scope, or register more with 'grantd client update'",
                    )
                })?;
                let audience = audience::choose(&new.audience, &registered.audience).map_err(|_| {
                    AdminError::ApiKey(
                        "its client is not registered for that audience: name another with --audience, or register it with 'grantd client update'",
                    )
                })?;
                Ok((Owner::Client(id.clone()), audience))
            }
        }
    }

    /// The keys that are meant, the newest first, with those that ended lately.
    pub async fn list_api_keys(&self, of: &KeysOf) -> Result<Vec<Held>, AdminError> {
        Ok(api_keys::list(&self.db, self.which_keys(of).await?).await?)
    }

    /// One key.
    pub async fn find_api_key(&self, id: ApiKeyId) -> Result<Held, AdminError> {
        let found = api_keys::list(&self.db, WhichKeys::One(id)).await?.pop();
        found.ok_or_else(|| no_such("apikey", &id))
    }

    /// Ends the keys that are meant, with all tokens that were made from them. Gives the number of those that had not
    /// ended before.
    pub async fn revoke_api_keys(&self, of: &KeysOf) -> Result<u64, AdminError> {
        if let KeysOf::One(id) = of {
            self.find_api_key(*id).await?;
        }
        let which = self.which_keys(of).await?;
        let mut tx = self.db.begin().await?;
        let ended = api_keys::revoke(&mut tx, which, self.clock.now()).await?;
        if ended == 0 && matches!(of, KeysOf::One(_)) {
            tx.rollback().await?;
            return Ok(0);
        }
        let of = match which {
            WhichKeys::One(id) => ApiKeysOf::One(id),
            WhichKeys::User(id) => ApiKeysOf::User(id),
            WhichKeys::Client(id) => ApiKeysOf::Client(id.clone()),
            WhichKeys::MadeBefore(time) => ApiKeysOf::MadeBefore(time),
            WhichKeys::All => ApiKeysOf::All,
        };
        self.commit(tx, &[Act::ApiKeyRevoked(of, ended)]).await?;
        Ok(ended)
    }

    /// WhichKeys key this is, if it is one: whoever finds a key wants it ended.
    pub async fn identify_api_key(&self, text: &PlainSecret) -> Result<ApiKeyId, AdminError> {
        let foreign = || AdminError::ForeignToken("no API key of this server is like this".to_owned());
        let id = id_in(text.expose()).ok_or_else(foreign)?;
        let found = api_keys::list(&self.db, WhichKeys::One(id)).await?.pop().ok_or_else(foreign)?;
        // Else anybody could have a key ended whose id they have seen, by writing a checksum.
        let digest = self.api_key_hasher.hash(text);
        match SecretHasher::is_among(&digest, std::iter::once(&found.key.hash.0)) {
            true => Ok(id),
            false => Err(foreign()),
        }
    }

    /// Revokes the tokens that were made from the keys that are meant and have not ended; the keys go on, with new indexes. To be
    /// called where [`Subject::ApiKeys`] was bumped and [`Subject::Revocations`] was not. Gives the number of keys.
    pub(super) async fn cut_off_api_keys(
        &self,
        tx: &mut Tx,
        which: WhichKeys<'_>,
        now: Timestamp,
    ) -> Result<u64, StorageError> {
        let found = api_keys::list(&mut *tx, which).await?;
        let live = found.iter().map(|held| &held.key).filter(|key| check_live(key, now).is_ok());
        let live: Vec<ApiKeyId> = live.map(|key| key.id).collect();
        if live.is_empty() {
            return Ok(0);
        }
        let count = u32::try_from(live.len()).unwrap_or(u32::MAX);
        let fresh = self.status_indexes.take_in(tx, count).await?;
        api_keys::cut_off(tx, which, live.into_iter().zip(fresh), now).await
    }

    /// Revokes the tokens that were made from the key whose index this is; `None` if it is no key's, or no more.
    pub(super) async fn end_tokens_of_api_key<E: From<StorageError> + From<AuditError>>(
        &self,
        index: StatusIndex,
        actor: &Actor,
    ) -> Result<Option<ApiKeyId>, E> {
        let Some(id) = api_keys::find_by_status_index(&self.db, index).await? else { return Ok(None) };
        let fresh = self.status_indexes.next(&self.db).await?;
        let mut tx = self.db.begin().await?;
        // Of two who do this at once the second finds it done.
        if !api_keys::renew_status_index(&mut tx, id, (index, fresh), self.clock.now()).await? {
            tx.rollback().await?;
            return Ok(None);
        }
        self.commit_as(actor, tx, &[Act::ApiKeyTokensRevoked(ApiKeysOf::One(id), 1)]).await?;
        self.api_keys.load().renew(id, index, fresh);
        Ok(Some(id))
    }

    async fn which_keys<'a>(&self, of: &'a KeysOf) -> Result<WhichKeys<'a>, AdminError> {
        Ok(match of {
            KeysOf::User(username) => WhichKeys::User(self.find_user(username).await?.id),
            KeysOf::Client(id) => {
                self.find_client(id).await?;
                WhichKeys::Client(id)
            }
            KeysOf::One(id) => WhichKeys::One(*id),
            KeysOf::All => WhichKeys::All,
        })
    }
}

fn no_such(kind: &'static str, name: &impl ToString) -> AdminError {
    AdminError::NotFound { kind, name: name.to_string() }
}
