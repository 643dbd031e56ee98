//! API keys in memory, so that a request with one costs no database read, and goes on while the database is away. Who may
//! use a key is judged anew each time.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::model::api_key::{ApiKeyId, Held, Owner, id_in};
use crate::model::secret::PlainSecret;
use crate::model::status::StatusIndex;
use crate::model::time::Timestamp;
use crate::protocol::api_key::{ApiKeyFailure, Whose, check_live, worth};
use crate::protocol::subject_token::SubjectToken;
use crate::storage::revisions::Revisions;
use crate::storage::{Db, StorageError, api_keys};

use super::App;
use super::client_secrets::SecretHasher;
use super::error::AdminError;
use super::revocations::Revocations;

/// The keys that nobody has ended, with what their users hold, as they stood at one revision.
#[derive(Debug, Default)]
pub(crate) struct KnownApiKeys {
    /// Of keys and of users.
    seen: (i64, i64),
    /// Each replaced in its place when only its status index changes.
    keys: HashMap<ApiKeyId, ArcSwap<Held>>,
}

impl KnownApiKeys {
    /// Reads everything.
    pub(super) async fn load(db: &Db, revisions: Revisions) -> Result<Self, StorageError> {
        let keys = api_keys::list_unrevoked(db).await?.into_iter();
        let keys = keys.map(|held| (held.key.id, ArcSwap::from_pointee(held)));
        Ok(Self { seen: seen(revisions), keys: keys.collect() })
    }

    /// Whether this key has not ended, and its user is not switched off.
    pub(super) fn is_live(&self, id: ApiKeyId, now: Timestamp) -> bool {
        self.keys.get(&id).is_some_and(|held| {
            let Held { key, holder } = &**held.load();
            let enabled = holder.as_ref().is_none_or(|holder| holder.disabled_at.is_none());
            enabled && check_live(key, now).is_ok()
        })
    }

    /// Gives a key the status index that follows `old`, if it has that still.
    pub(super) fn renew(&self, id: ApiKeyId, old: StatusIndex, fresh: StatusIndex) {
        let Some(held) = self.keys.get(&id) else { return };
        held.rcu(|held| match held.key.status_index == old {
            true => {
                let mut renewed = Held::clone(held);
                renewed.key.status_index = fresh;
                Arc::new(renewed)
            }
            false => Arc::clone(held),
        });
    }

    /// Asks for the indexes that keys have now whose own ones were revoked.
    async fn renew_status_indexes(&self, db: &Db, revocations: &Revocations) -> Result<(), StorageError> {
        for (id, held) in &self.keys {
            let old = held.load().key.status_index;
            // One that was deleted or ended goes with the next look at all keys.
            if revocations.is_revoked(old)
                && let Some(fresh) = api_keys::find_status_index(db, *id).await?
            {
                self.renew(*id, old, fresh);
            }
        }
        Ok(())
    }
}

const fn seen(revisions: Revisions) -> (i64, i64) {
    (revisions.api_keys, revisions.users)
}

impl App {
    /// What an API key is worth at this moment.
    pub(super) fn live_api_key(&self, text: &PlainSecret) -> Result<SubjectToken, ApiKeyFailure> {
        let id = id_in(text.expose()).ok_or(ApiKeyFailure::Unknown)?;
        let known = self.api_keys.load();
        let held = known.keys.get(&id).map(ArcSwap::load_full);
        // The same work where there is no such key: a guess costs us one HMAC, and tells by no time which ids there are.
        let digest = self.api_key_hasher.hash(text);
        if !SecretHasher::is_among(&digest, held.iter().map(|held| &held.key.hash.0)) {
            return Err(ApiKeyFailure::Unknown);
        }
        let Some(Held { key, holder }) = held.as_deref() else { return Err(ApiKeyFailure::Unknown) };

        let (directory, now) = (self.directory.load(), self.clock.now());
        let client;
        let whose = match (&key.terms.owner, holder) {
            (Owner::User(_), Some(holder)) => Whose::User(holder, directory.role_table()),
            (Owner::Client(id), _) => {
                client = directory.client(id).ok_or(ApiKeyFailure::ClientDisabled)?;
                Whose::Client(&client)
            }
            (Owner::User(_), None) => return Err(ApiKeyFailure::Unknown),
        };
        let subject = worth(key, whose, &self.policy.default_audience, now)?;
        // Revocations are learnt first, and by themselves: whatever is made of the key now would be worth nothing.
        if self.revocations.load().is_revoked(key.status_index) {
            return Err(ApiKeyFailure::Unsettled);
        }
        Ok(subject)
    }

    /// Takes the keys as the database has them at `now`, all if they or what users hold have changed since `before`. Where
    /// nothing but revocations has, one statement for each key whose tokens were revoked is enough.
    pub(super) async fn reload_api_keys(&self, before: Revisions, now: Revisions) -> Result<(), AdminError> {
        let known = self.api_keys.load_full();
        if known.seen != seen(now) {
            self.api_keys.store(Arc::new(KnownApiKeys::load(&self.db, now).await?));
        } else if before.revocations != now.revocations {
            known.renew_status_indexes(&self.db, &self.revocations.load_full()).await?;
        }
        Ok(())
    }
}
