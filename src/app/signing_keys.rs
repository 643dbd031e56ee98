//! Signing keys through their life. The schedule says what is due; conditional statements make sure that it is done
//! once, whoever does it.

use std::sync::Arc;

use crate::keys::{KeyRing, PublishedKey, SigningKey};
use crate::model::audit::Act;
use crate::model::key::{KeyState, Kid, SigningAlgorithm, SigningKeyInfo};
use crate::model::time::{Timestamp, Ttl};
use crate::protocol::key_schedule::{
    KeyRules, Step, next_step, promote, seen_before_start, signs_from, soonest,
};
use crate::storage::signing_keys::{self, StoredKey};
use crate::storage::{StorageError, Tx};

use super::App;
use super::error::AdminError;

/// How soon a rotation is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// As soon as every verifier has seen the new key.
    Safe,
    /// At once, which verifiers that have not seen the new key will notice.
    Now,
}

/// What retiring a key did.
#[derive(Debug)]
pub struct Retired {
    /// The key that is gone.
    pub key: SigningKeyInfo,
    /// The key that signs in its place, if it was the one that signed.
    pub successor: Option<Kid>,
}

/// More steps than any start or rotation needs; a bound against a schedule that never settles.
const MOST_STEPS: usize = 64;

impl App {
    /// Does whatever the schedule says is due, until all is in order, and takes the keys as they then are.
    pub async fn keep_keys_in_order(&self) -> Result<(), AdminError> {
        for _ in 0..MOST_STEPS {
            let keys = self.keys_with_longest_ttl().await?;
            let Some(step) = next_step(&keys, &self.algorithms(), &self.key_rules(), self.clock.now()) else {
                break;
            };
            self.carry_out(step).await?;
        }
        self.reload_keys().await
    }

    /// Whether the schedule has something to do, by the keys in memory: costs no database read.
    pub(super) fn keys_need_care(&self) -> bool {
        let keys: Vec<_> = self.ring.load().published().cloned().collect();
        next_step(&keys, &self.algorithms(), &self.key_rules(), self.clock.now()).is_some()
    }

    /// Lets the pending key of every algorithm in use take over.
    pub async fn rotate_keys(&self, haste: Haste) -> Result<Vec<SigningKeyInfo>, AdminError> {
        self.keep_keys_in_order().await?;
        let now = self.clock.now();
        let keys = infos(&signing_keys::list(&self.db).await?);
        for pending in keys.iter().filter(|key| matches!(key.state, KeyState::Pending { .. })) {
            match haste {
                Haste::Safe => {
                    let mut tx = self.db.begin().await?;
                    let at = soonest(pending, &self.key_rules(), now);
                    match signing_keys::schedule(&mut tx, &pending.kid, at).await? {
                        true => self.commit(tx, &[Act::KeyScheduled(pending.kid.clone(), at)]).await?,
                        false => tx.rollback().await?,
                    }
                }
                Haste::Now => {
                    self.carry_out(promote(pending, active_of(&keys, pending), &self.key_rules(), now))
                        .await?;
                }
            }
        }
        self.keep_keys_in_order().await?;
        self.list_keys().await
    }

    /// Takes a compromised key out of the JWKS. If it signs, its successor signs at once.
    pub async fn retire_key(&self, kid: &Kid) -> Result<Retired, AdminError> {
        let keys = infos(&signing_keys::list(&self.db).await?);
        let missing = || AdminError::NotFound { kind: "key", name: kid.to_string() };
        let key = keys.iter().find(|key| key.kid == *kid).cloned().ok_or_else(missing)?;
        let active = matches!(key.state, KeyState::Active { .. });
        let pending = keys.iter().find(|other| {
            other.algorithm == key.algorithm && matches!(other.state, KeyState::Pending { .. })
        });

        let mut tx = self.db.begin().await?;
        if !signing_keys::delete(&mut tx, kid).await? {
            return Err(missing());
        }
        // In the same transaction, so that there is no moment without a key that signs.
        let pending = pending.filter(|_| active);
        if let Some(pending) = pending {
            signing_keys::activate(&mut tx, &pending.kid, self.clock.now()).await?;
        }
        let successor = pending.map(|pending| pending.kid.clone());
        self.commit(tx, &[Act::KeyRetired { kid: kid.clone(), state: key.state, successor }]).await?;
        self.keep_keys_in_order().await?;
        let successor = match active {
            true => self.signer(key.algorithm).map(|signer| signer.kid().clone()),
            false => None,
        };
        Ok(Retired { key, successor })
    }

    /// The key that this instance signs with now.
    pub fn signer(&self, algorithm: SigningAlgorithm) -> Option<Arc<SigningKey>> {
        self.ring.load().signer(algorithm, self.clock.steady()).cloned()
    }

    /// All keys, the oldest first.
    pub async fn list_keys(&self) -> Result<Vec<SigningKeyInfo>, AdminError> {
        Ok(infos(&signing_keys::list(&self.db).await?))
    }

    /// Takes the keys as the database has them; those that are known already are not parsed again.
    pub(super) async fn reload_keys(&self) -> Result<(), AdminError> {
        // Read and stored under one lock: an older reading must not overwrite a newer one, which nothing would notice.
        let _one_at_a_time = self.reloading_keys.lock().await;
        let known = self.ring.load_full();
        let starting = known.published().next().is_none();
        let mut keys = Vec::new();
        for stored in signing_keys::list(&self.db).await? {
            let known = known
                .find(stored.info.kid.as_str())
                .filter(|known| known.key.algorithm() == stored.info.algorithm);
            let seen_at = match known {
                Some(known) => known.seen_at,
                None if starting => self.clock.steady().min(seen_before_start(&stored.info)),
                None => self.clock.steady(),
            };
            let key = match known {
                Some(known) => Arc::clone(&known.key),
                None => match SigningKey::unseal(&stored.info, &stored.sealed, &self.sealer) {
                    Ok(key) => Arc::new(key),
                    // One damaged row must not keep all others, nor the command that removes it, from working.
                    Err(cause) => {
                        let kid = &stored.info.kid;
                        tracing::error!(%kid, %cause, "a signing key cannot be read: remove it with 'grantd key retire'");
                        continue;
                    }
                },
            };
            let signs_from = signs_from(&stored.info, seen_at, self.policy.publish_before);
            keys.push(PublishedKey { key, info: stored.info, seen_at, signs_from });
        }
        self.ring.store(Arc::new(KeyRing::new(keys)));
        Ok(())
    }

    /// All keys; those that may sign know the longest life of what they sign.
    async fn keys_with_longest_ttl(&self) -> Result<Vec<SigningKeyInfo>, AdminError> {
        let longest = self.key_rules().longest_access_ttl;
        let keys = infos(&signing_keys::list(&self.db).await?);
        let told = |key: &SigningKeyInfo| {
            key.longest_ttl >= longest || matches!(key.state, KeyState::Retired { .. })
        };
        if keys.iter().all(told) {
            return Ok(keys);
        }
        let mut tx = self.db.begin().await?;
        signing_keys::raise_longest_ttl(&mut tx, longest).await?;
        tx.commit().await?;
        Ok(infos(&signing_keys::list(&self.db).await?))
    }

    async fn carry_out(&self, step: Step) -> Result<(), AdminError> {
        match step {
            Step::MakeActive(algorithm) => {
                let key = self.make(algorithm, |now| KeyState::Active { since: now }).await?;
                insert(self, &key).await
            }
            Step::MakePending { algorithm, activates_at } => {
                let key = self.make(algorithm, |_| KeyState::Pending { activates_at }).await?;
                insert(self, &key).await
            }
            Step::Promote { pending, active, retires_at } => {
                self.check_readable(&pending).await?;
                let now = self.clock.now();
                let mut tx = self.db.begin().await?;
                if !take_over(&mut tx, &pending, active.as_ref(), now, retires_at).await? {
                    return Ok(tx.rollback().await?);
                }
                let replaced = active.map(|active| (active, retires_at));
                Ok(self.commit(tx, &[Act::KeyActivated { kid: pending, replaced }]).await?)
            }
            Step::Hasten { pending, activates_at } => {
                let mut tx = self.db.begin().await?;
                if !signing_keys::schedule(&mut tx, &pending, activates_at).await? {
                    return Ok(tx.rollback().await?);
                }
                tracing::info!(kid = %pending, "signing key waits no longer than the settings say");
                Ok(self.commit(tx, &[Act::KeyScheduled(pending, activates_at)]).await?)
            }
            Step::Remove(kid) => {
                let mut tx = self.db.begin().await?;
                if !signing_keys::delete(&mut tx, &kid).await? {
                    return Ok(tx.rollback().await?);
                }
                Ok(self.commit(tx, &[Act::KeyRemoved(kid)]).await?)
            }
        }
    }

    /// A key that nobody can read must not take over from one that signs.
    async fn check_readable(&self, kid: &Kid) -> Result<(), AdminError> {
        let keys = signing_keys::list(&self.db).await?;
        let Some(key) = keys.iter().find(|key| key.info.kid == *kid) else { return Ok(()) };
        match SigningKey::unseal(&key.info, &key.sealed, &self.sealer) {
            Ok(_) => Ok(()),
            Err(cause) => Err(AdminError::Key(format!("{kid}: {cause}; remove it with 'grantd key retire'"))),
        }
    }

    async fn make(
        &self,
        algorithm: SigningAlgorithm,
        state: impl FnOnce(Timestamp) -> KeyState,
    ) -> Result<StoredKey, AdminError> {
        // An RSA key takes a tenth of a second, which no other request should wait for.
        let made = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm)).await;
        let (key, private) = match made {
            Ok(Ok(made)) => made,
            Ok(Err(error)) => return Err(AdminError::Key(error.to_string())),
            Err(error) => return Err(AdminError::Key(error.to_string())),
        };
        let now = self.clock.now();
        Ok(StoredKey {
            sealed: self.sealer.seal(&private, key.kid()),
            info: SigningKeyInfo {
                kid: key.kid().clone(),
                algorithm,
                state: state(now),
                created_at: now,
                longest_ttl: self.key_rules().longest_access_ttl,
            },
        })
    }

    /// The longest life of any access token that is out, by the keys in memory.
    pub(super) fn longest_access_ttl(&self) -> Ttl {
        let signed = self.ring.load().published().map(|key| key.longest_ttl).max();
        self.key_rules().longest_access_ttl.max(signed.unwrap_or(Ttl::ZERO))
    }

    fn algorithms(&self) -> Vec<SigningAlgorithm> {
        self.directory.load().algorithms(self.policy.algorithm)
    }

    fn key_rules(&self) -> KeyRules {
        KeyRules {
            rotate_every: self.policy.rotate_every,
            publish_before: self.policy.publish_before,
            longest_access_ttl: self.directory.load().longest_access_ttl(self.policy.access_ttl),
        }
    }
}

/// Both statements or none: `false` if another instance was faster.
async fn take_over(
    tx: &mut Tx,
    pending: &Kid,
    active: Option<&Kid>,
    now: Timestamp,
    retires_at: Timestamp,
) -> Result<bool, StorageError> {
    if let Some(active) = active
        && !signing_keys::retire(tx, active, now, retires_at).await?
    {
        return Ok(false);
    }
    signing_keys::activate(tx, pending, now).await
}

/// `insert` does nothing where another instance was faster: then its key is the one.
async fn insert(app: &App, key: &StoredKey) -> Result<(), AdminError> {
    let mut tx = app.db.begin().await?;
    if !signing_keys::insert(&mut tx, key).await? {
        return Ok(tx.rollback().await?);
    }
    let SigningKeyInfo { kid, algorithm, state, .. } = &key.info;
    Ok(app.commit(tx, &[Act::KeyMade(kid.clone(), *algorithm, *state)]).await?)
}

fn active_of<'a>(keys: &'a [SigningKeyInfo], of: &SigningKeyInfo) -> Option<&'a SigningKeyInfo> {
    keys.iter().find(|key| key.algorithm == of.algorithm && matches!(key.state, KeyState::Active { .. }))
}

fn infos(keys: &[StoredKey]) -> Vec<SigningKeyInfo> {
    keys.iter().map(|key| key.info.clone()).collect()
}
