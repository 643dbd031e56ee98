//! Registered clients: the operator's use cases.

use crate::keys::public_keys::is_sound;
use crate::model::api_key::ApiKeyId;
use crate::model::audit::{Act, Change};
use crate::model::client::{Client, ClientSecret, Registration};
use crate::model::id::ClientId;
use crate::model::resource::Audience;
use crate::model::secret::{HashedSecret, PlainSecret};
use crate::model::session::RevocationReason;
use crate::model::status::StatusIndex;
use crate::model::time::Ttl;
use crate::storage::api_keys::{self, WhichKeys};
use crate::storage::clients::WhichClients;
use crate::storage::families::Which;
use crate::storage::revisions::{Subject, bump};
use crate::storage::{StorageError, Tx, clients, families};

use super::client_secrets::{generate, hash_foreign};
use super::error::AdminError;
use super::{App, random};

/// A client with its secret in the clear, which is shown once.
#[derive(Debug)]
pub struct WithSecret {
    /// The client.
    pub client: Client,
    /// Its secret; `None` for a client without one.
    pub secret: Option<PlainSecret>,
}

/// What is stored of a client's secrets, and the one in the clear.
pub(super) type NewSecrets = (Vec<ClientSecret>, Option<PlainSecret>);

impl App {
    /// Registers a client. Without an id it gets a random one, without a secret a generated one (none where no method
    /// uses one).
    pub async fn create_client(
        &self,
        id: Option<ClientId>,
        registration: Registration,
        secret: Option<PlainSecret>,
    ) -> Result<WithSecret, AdminError> {
        let registration = checked(registration)?;
        if let Some(id) = &id {
            check_id(id)?;
        }
        let id = match id {
            Some(id) => id,
            // Never with a dash first, which command lines take for a flag.
            None => format!("c{}", random::name()).parse().expect("a letter and base64url are a client id"),
        };
        let secrets = self.secret_for(&id, &registration, secret).await?;
        let mut tx = self.db.begin().await?;
        bump(&mut tx, Subject::Clients).await?;
        let (made, created) = self.register_in(&mut tx, id, registration, secrets).await?;
        self.commit(tx, &[created]).await?;
        self.after_client_change().await;
        Ok(made)
    }

    /// The same within a transaction that has bumped [`Subject::Clients`].
    pub(super) async fn register_in(
        &self,
        tx: &mut Tx,
        id: ClientId,
        registration: Registration,
        (secrets, secret): NewSecrets,
    ) -> Result<(WithSecret, Act), AdminError> {
        // Whichever way it comes.
        check_id(&id)?;
        let status_index = self.fresh_status_index(tx).await?;
        let created_at = self.clock.now();
        let client = Client { id, registration, secrets, disabled_at: None, created_at, status_index };
        clients::insert(tx, &client).await.map_err(|error| match error {
            StorageError::AlreadyExists => {
                AdminError::AlreadyExists { kind: "client", name: client.id.to_string() }
            }
            error => error.into(),
        })?;
        let created = Act::ClientCreated(client.id.clone(), Box::new(client.registration.clone()));
        Ok((WithSecret { client, secret }, created))
    }

    /// Changes what an operator decides about a client, and its secret where one is brought in: all of it or nothing.
    pub async fn update_client(
        &self,
        id: &ClientId,
        change: impl FnOnce(Registration) -> Registration,
        brought: Option<PlainSecret>,
    ) -> Result<WithSecret, AdminError> {
        // Hashed before the transaction begins, so that a slow hash holds nobody up.
        let hashed = match &brought {
            Some(secret) => Some(hash_foreign(&self.secrets, &self.pool, secret).await?),
            None => None,
        };
        let mut tx = self.db.begin().await?;
        // First of all, because its row lock lets one change at a time read and write: on Postgres the later of two
        // would otherwise write back what the earlier one took away.
        bump(&mut tx, Subject::Clients).await?;
        let (changed, acts) = self.update_in(&mut tx, id, change, hashed).await?;
        self.commit(tx, &acts).await?;
        self.after_client_change().await;
        Ok(changed)
    }

    /// The same within a transaction that has bumped [`Subject::Clients`].
    pub(super) async fn update_in(
        &self,
        tx: &mut Tx,
        id: &ClientId,
        change: impl FnOnce(Registration) -> Registration,
        hashed: Option<HashedSecret>,
    ) -> Result<(WithSecret, Vec<Act>), AdminError> {
        let mut client = clients::find(tx, id).await?.ok_or_else(|| not_found(id))?;
        let before = client.registration.clone();
        client.registration = checked(change(client.registration))?;
        let has_secret = client.registration.has_secret();
        if !has_secret && hashed.is_some() {
            return Err(AdminError::NoSecretMethod(id.to_string()));
        }
        clients::update(tx, id, &client.registration).await?;

        // A client that begins to use a secret needs one; one that ceases to must not keep an old one.
        let replaced = if let Some(hashed) = hashed {
            Some((vec![ClientSecret { hashed, created_at: self.clock.now(), expires_at: None }], None))
        } else if !has_secret && !client.secrets.is_empty() {
            Some((Vec::new(), None))
        } else if has_secret && client.secrets.is_empty() {
            Some(self.secret_for(id, &client.registration, None).await?)
        } else {
            None
        };

        let mut acts = Vec::new();
        // Also where nothing differs: an operator's command leaves a row.
        if before != client.registration || replaced.is_none() {
            let change = Change { before, after: client.registration.clone() };
            acts.push(Act::ClientUpdated(id.clone(), Box::new(change)));
        }
        let mut secret = None;
        if let Some(replaced) = replaced {
            (client.secrets, secret) = replaced;
            clients::set_secrets(tx, id, &client.secrets).await?;
            let live = client.secrets.len();
            acts.push(Act::ClientSecretRotated { client: id.clone(), live, old_until: None });
        }
        Ok((WithSecret { client, secret }, acts))
    }

    /// Gives a client a new secret; the old one works for `keep_old` more.
    pub async fn rotate_client_secret(
        &self,
        id: &ClientId,
        keep_old: Option<Ttl>,
        secret: Option<PlainSecret>,
    ) -> Result<PlainSecret, AdminError> {
        let now = self.clock.now();
        let known = self.find_client(id).await?;
        if !known.registration.has_secret() {
            return Err(AdminError::NoSecretMethod(id.to_string()));
        }
        // Hashed before the transaction begins, so that a slow hash holds nobody up.
        let (new, secret) = self.secret_for(id, &known.registration, secret).await?;

        let mut tx = self.db.begin().await?;
        bump(&mut tx, Subject::Clients).await?;
        let client = clients::find(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        if !client.registration.has_secret() {
            return Err(AdminError::NoSecretMethod(id.to_string()));
        }
        let expires_at = keep_old.filter(|keep| !keep.is_zero()).map(|keep| now.plus(keep));
        let old = client.secrets.into_iter().next().filter(|_| expires_at.is_some());
        let old = old.map(|old| ClientSecret { expires_at, ..old });
        let secrets: Vec<_> = new.into_iter().chain(old).collect();
        clients::set_secrets(&mut tx, id, &secrets).await?;
        let old_until = secrets.iter().find_map(|secret| secret.expires_at);
        let live = secrets.len();
        self.commit(tx, &[Act::ClientSecretRotated { client: id.clone(), live, old_until }]).await?;
        secret.ok_or_else(|| AdminError::NoSecretMethod(id.to_string()))
    }

    /// Switches a client off, which ends its sessions, or on again. Gives the number of sessions ended: none, and
    /// nothing is changed, where a client is switched on that is on.
    pub async fn set_client_enabled(&self, id: &ClientId, switch: Switch) -> Result<u64, AdminError> {
        let mut tx = self.db.begin().await?;
        bump(&mut tx, Subject::Clients).await?;
        if switch == Switch::Off {
            bump(&mut tx, Subject::ApiKeys).await?;
        }
        let Some((ended, act)) = self.switch_client_in(&mut tx, id, switch).await? else {
            let is_there = clients::find(&mut tx, id).await?.is_some();
            // Servers need not read again what is as it was.
            tx.rollback().await?;
            return if is_there { Ok(0) } else { Err(not_found(id)) };
        };
        self.commit(tx, &[act]).await?;
        Ok(ended)
    }

    /// The same within a transaction that has bumped [`Subject::Clients`] and, to switch off, [`Subject::ApiKeys`]; `None`
    /// where nothing was changed.
    pub(super) async fn switch_client_in(
        &self,
        tx: &mut Tx,
        id: &ClientId,
        switch: Switch,
    ) -> Result<Option<(u64, Act)>, AdminError> {
        let now = self.clock.now();
        let changed = match switch {
            Switch::On => clients::enable(tx, id).await?,
            Switch::Off => {
                self.cut_off_api_keys(tx, WhichKeys::Client(id), now).await?;
                // Before the sessions are ended: it waits for logins that are under way.
                let fresh = self.fresh_status_index(tx).await?;
                clients::cut_off(tx, WhichClients::One(id), [(id, fresh)], now).await?;
                clients::disable(tx, id, now).await?
            }
        };
        if !changed {
            return Ok(None);
        }
        // On switching on as well: a server of an older version may have let a login end after its client.
        let ended = families::revoke(tx, Which::Client(id), RevocationReason::ClientDisabled, now).await?;
        Ok(Some(match switch {
            Switch::On => (ended, Act::ClientEnabled(id.clone())),
            Switch::Off => (ended, Act::ClientDisabled(id.clone(), ended)),
        }))
    }

    /// Deletes a client with its sessions, whose tokens are revoked.
    pub async fn delete_client(&self, id: &ClientId) -> Result<(), AdminError> {
        let mut tx = self.db.begin().await?;
        bump(&mut tx, Subject::Clients).await?;
        bump(&mut tx, Subject::ApiKeys).await?;
        let deleted = self.delete_client_in(&mut tx, id).await?;
        self.commit(tx, &[deleted]).await?;
        Ok(())
    }

    /// The same within a transaction that has bumped [`Subject::Clients`] and [`Subject::ApiKeys`].
    pub(super) async fn delete_client_in(&self, tx: &mut Tx, id: &ClientId) -> Result<Act, AdminError> {
        let now = self.clock.now();
        // Before the rows go that say which tokens there are.
        let fresh = self.fresh_status_index(tx).await?;
        api_keys::revoke(tx, WhichKeys::Client(id), now).await?;
        clients::cut_off(tx, WhichClients::One(id), [(id, fresh)], now).await?;
        families::revoke(tx, Which::Client(id), RevocationReason::ClientDisabled, now).await?;
        if !clients::delete(tx, id).await? {
            return Err(not_found(id));
        }
        Ok(Act::ClientDeleted(id.clone()))
    }

    /// All clients, by id.
    pub async fn list_clients(&self) -> Result<Vec<Client>, AdminError> {
        Ok(clients::list(&self.db).await?)
    }

    /// One client.
    pub async fn find_client(&self, id: &ClientId) -> Result<Client, AdminError> {
        let mut tx = self.db.begin().await?;
        clients::find(&mut tx, id).await?.ok_or_else(|| not_found(id))
    }

    pub(super) async fn secret_for(
        &self,
        id: &ClientId,
        registration: &Registration,
        brought: Option<PlainSecret>,
    ) -> Result<NewSecrets, AdminError> {
        let has_secret = registration.has_secret();
        let (hashed, secret) = match brought {
            Some(_) if !has_secret => return Err(AdminError::NoSecretMethod(id.to_string())),
            None if !has_secret => return Ok((Vec::new(), None)),
            Some(secret) => (hash_foreign(&self.secrets, &self.pool, &secret).await?, secret),
            None => {
                let secret = generate();
                (HashedSecret::Hmac(self.secrets.hash(&secret)), secret)
            }
        };
        let stored = ClientSecret { hashed, created_at: self.clock.now(), expires_at: None };
        Ok((vec![stored], Some(secret)))
    }

    /// An index for a client, taken after [`Subject::Clients`] was bumped: whoever takes one holds the count until the
    /// transaction ends.
    pub(super) async fn fresh_status_index(&self, tx: &mut Tx) -> Result<StatusIndex, StorageError> {
        let taken = self.status_indexes.take_in(tx, 1).await?;
        Ok(taken[0])
    }

    /// A client may be the first to ask for an algorithm: its key is made at once. What fails here undoes nothing, and a
    /// secret that was just made is told only once; so it is for those who look again by themselves.
    pub(super) async fn after_client_change(&self) {
        let done = match self.reload().await {
            Ok(()) => self.keep_keys_in_order().await,
            failed => failed,
        };
        if let Err(cause) = done {
            tracing::warn!(%cause, "the client was written; servers see it, and make the key that it asks for, when they look again");
        }
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// May act.
    On,
    /// May not.
    Off,
}

/// RFC 9068 §2.2: `client_id` of a token that was made from a key without any client is the key's.
pub(super) fn check_id(id: &ClientId) -> Result<(), AdminError> {
    match ApiKeyId::of_client_id(id) {
        Some(_) => Err(AdminError::ReservedId(id.to_string())),
        None => Ok(()),
    }
}

/// What is sound, each thing once.
pub(super) fn checked(mut registration: Registration) -> Result<Registration, AdminError> {
    dedup(&mut registration.grant_types);
    dedup(&mut registration.auth_methods);
    dedup::<Audience>(&mut registration.audience);
    dedup::<Audience>(&mut registration.resource_servers);
    dedup::<Audience>(&mut registration.may_act_for);
    registration.check()?;
    let keys = registration.jwks.iter().flat_map(|set| set.keys()).enumerate();
    if let Some((index, _)) = keys.into_iter().find(|(_, jwk)| !is_sound(jwk.key())) {
        return Err(AdminError::UnsoundKey(index + 1));
    }
    Ok(registration)
}

fn dedup<T: PartialEq>(items: &mut Vec<T>) {
    let mut kept: Vec<T> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    *items = kept;
}

fn not_found(id: &ClientId) -> AdminError {
    AdminError::NotFound { kind: "client", name: id.to_string() }
}

/// Whether any of a client's secrets is a weak one behind a slow hash.
pub fn has_weak_secret(client: &Client) -> bool {
    client.secrets.iter().any(|secret| matches!(secret.hashed, HashedSecret::Argon2(_)))
}
