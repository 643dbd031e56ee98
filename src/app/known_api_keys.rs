//! API keys in memory, so that a request with one costs no database read, and goes on while the database is away. Who may
//! use a key is judged anew each time.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::api_key::{ApiKeyId, Held, Owner, id_in};
use crate::model::secret::PlainSecret;
use crate::model::time::Timestamp;
use crate::protocol::api_key::{ApiKeyFailure, Whose, check_live, worth};
use crate::protocol::subject_token::SubjectToken;
use crate::storage::api_keys::{self, WhichKeys};
use crate::storage::revisions::Revisions;
use crate::storage::{Db, StorageError};

use super::App;
use super::client_secrets::SecretHasher;
use super::error::AdminError;

/// The keys that nobody has ended, with what their users hold, as they stood at one revision.
#[derive(Debug, Default)]
pub(crate) struct KnownApiKeys {
    /// Of keys and of users.
    seen: (i64, i64),
    keys: HashMap<ApiKeyId, Held>,
}

impl KnownApiKeys {
    /// Reads everything.
    pub(super) async fn load(db: &Db, revisions: Revisions) -> Result<Self, StorageError> {
        let all = api_keys::list(db, WhichKeys::All).await?;
        let live = all.into_iter().filter(|held| held.key.revoked_at.is_none());
        Ok(Self { seen: seen(revisions), keys: live.map(|held| (held.key.id, held)).collect() })
    }

    /// Whether this key has not ended, and its user is not switched off.
    pub(super) fn is_live(&self, id: ApiKeyId, now: Timestamp) -> bool {
        self.keys.get(&id).is_some_and(|Held { key, holder }| {
            let enabled = holder.as_ref().is_none_or(|holder| holder.disabled_at.is_none());
            enabled && check_live(key, now).is_ok()
        })
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
        let held = known.keys.get(&id);
        // The same work where there is no such key: a guess costs us one HMAC, and tells by no time which ids there are.
        let digest = self.api_key_hasher.hash(text);
        if !SecretHasher::is_among(&digest, held.iter().map(|held| &held.key.hash.0)) {
            return Err(ApiKeyFailure::Unknown);
        }
        let Some(Held { key, holder }) = held else { return Err(ApiKeyFailure::Unknown) };

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

    /// Takes the keys as the database has them at `revisions`, if they or what users hold have changed.
    pub(super) async fn reload_api_keys(&self, revisions: Revisions) -> Result<(), AdminError> {
        if self.api_keys.load().seen != seen(revisions) {
            self.api_keys.store(Arc::new(KnownApiKeys::load(&self.db, revisions).await?));
        }
        Ok(())
    }
}
