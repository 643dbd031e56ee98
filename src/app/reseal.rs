//! The encryption key is exchanged: the root key is sealed under the new one, and nothing else changes. What was cut
//! off is finished by doing it again, or by the next start.

use std::path::{Path, PathBuf};

use crate::keys::{EncryptionKey, key_file};
use crate::model::audit::Act;
use crate::model::secret::PlainSecret;
use crate::model::time::{Timestamp, Ttl};
use crate::storage::root_keys::{self, SealedRootKey};

use super::audit::AuditError;
use super::open::{KeySource, StartError, encryption_key, staged, unseal};
use super::{App, random};

/// Where the new encryption key comes from.
#[derive(Debug)]
pub enum NewKey {
    /// It is made here; only where it is kept in a key file.
    Made,
    /// It was made elsewhere, in base64.
    Given(PlainSecret),
    /// It is in a file.
    File(PathBuf),
}

/// What a re-sealing did.
#[derive(Debug)]
pub struct Resealed {
    /// The key file that holds the new key now, if it is kept in one, and where the old one is kept.
    pub files: Option<(PathBuf, PathBuf)>,
    /// Until when the old key is still accepted.
    pub old_key_until: Option<Timestamp>,
}

/// Why an encryption key is not exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// The settings hold the key, and only the operator can change those.
    #[error(
        "keys.encryption_key is given by the settings, which grantd does not write: make a new key with 'openssl rand -base64 32' and give it with --new-key-file or --new-key-stdin"
    )]
    NoNewKey,
    /// The file with the new key is not there.
    #[error("there is no file {}: make one with '(umask 077; openssl rand -base64 32 > FILE)'", .0.display())]
    NoSuchFile(PathBuf),
    /// The new key is the old one.
    #[error(
        "the new encryption key is the one in use already: make another one with 'openssl rand -base64 32'"
    )]
    SameKey,
    /// Somebody else re-sealed meanwhile.
    #[error("the encryption key was replaced by somebody else at this moment: nothing was changed")]
    Raced,
    /// It cannot be written to the audit.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The present key does not open the database.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl App {
    /// Seals the root key under a new encryption key. The present one is accepted for `keep_old` longer, by servers
    /// that start; those that run need neither.
    pub async fn reseal(
        &self,
        source: &KeySource,
        new: NewKey,
        keep_old: Ttl,
    ) -> Result<Resealed, ResealError> {
        let now = self.clock.now();
        let present = encryption_key(&self.db, source).await?;
        let (present, root) = unseal(&self.db, source, present, now).await?;
        let key = match source {
            KeySource::Given(_) => from_outside(new)?.ok_or(ResealError::NoNewKey)?,
            KeySource::File(path) => stage(&staged(path), from_outside(new)?)?,
        };
        if key.has_fingerprint(&present.fingerprint()) {
            return Err(ResealError::SameKey);
        }

        if let KeySource::File(path) = source {
            key_file::keep(path, &kept(path)).map_err(StartError::from)?;
        }
        let sealed = SealedRootKey {
            fingerprint: key.fingerprint().to_vec(),
            sealed: root.seal(&key),
            created_at: now,
            expires_at: None,
        };
        let until = now.plus(keep_old);
        let mut tx = self.db.begin().await.map_err(StartError::from)?;
        let replaced = root_keys::expire(&mut tx, &present.fingerprint(), until, now).await;
        if !replaced.map_err(StartError::from)? {
            tx.rollback().await.map_err(StartError::from)?;
            return Err(ResealError::Raced);
        }
        root_keys::insert(&mut tx, &sealed).await.map_err(StartError::from)?;
        root_keys::purge(&mut tx, now).await.map_err(StartError::from)?;
        let old_key_until = (!keep_old.is_zero()).then_some(until);
        self.commit(tx, &[Act::KeyResealed { old_until: old_key_until }]).await?;

        let files = match source {
            KeySource::Given(_) => None,
            KeySource::File(path) => {
                key_file::replace(&staged(path), path).map_err(StartError::from)?;
                Some((path.clone(), kept(path)))
            }
        };
        Ok(Resealed { files, old_key_until })
    }
}

fn from_outside(new: NewKey) -> Result<Option<EncryptionKey>, ResealError> {
    match new {
        NewKey::Made => Ok(None),
        NewKey::Given(text) => Ok(Some(EncryptionKey::from_base64(text.expose()).map_err(StartError::from)?)),
        NewKey::File(path) => {
            let found = key_file::read(&path).map_err(StartError::from)?;
            found.map(Some).ok_or(ResealError::NoSuchFile(path))
        }
    }
}

/// Writes the next key file beside the present one. One that lies there is of a re-sealing that was cut off before the
/// database took its key, and as good as a new one.
fn stage(staged: &Path, given: Option<EncryptionKey>) -> Result<EncryptionKey, ResealError> {
    let found = key_file::read(staged).map_err(StartError::from)?;
    let key = match (found, given) {
        (Some(found), None) => return Ok(found),
        (Some(found), Some(given)) if found.has_fingerprint(&given.fingerprint()) => return Ok(found),
        (_, Some(given)) => given,
        (None, None) => EncryptionKey::from_bytes(random::bytes()),
    };
    key_file::discard(staged).map_err(StartError::from)?;
    key_file::create(staged, &key).map_err(StartError::from)?;
    Ok(key)
}

/// Where the replaced key file is kept: backups made before need it.
fn kept(path: &Path) -> PathBuf {
    path.with_added_extension("old")
}
