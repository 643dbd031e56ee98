//! Puts an [`App`] together: schema, encryption key, first signing keys. Several may do this at once on one empty
//! database and end up with one schema, one key file and one active key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::keys::{
    EncryptionKey, InvalidEncryptionKey, KeyFileError, KeyRing, Purpose, RootKey, SealError, Sealer, key_file,
};
use crate::model::audit::Actor;
use crate::model::time::Timestamp;
use crate::passwords::{PasswordPool, PoolSettings};
use crate::protocol::dpop_nonce::NonceKey;
use crate::protocol::refresh_token::RefreshTokenKey;
use crate::storage::db::{Location, OpenError};
use crate::storage::migrate::{SchemaError, current, migrate};
use crate::storage::root_keys::SealedRootKey;
use crate::storage::{Db, StorageError, installation, revisions, root_keys};

use super::audit_chain::ChainKey;
use super::client_secrets::SecretHasher;
use super::clock::Clock;
use super::database_health::DatabaseHealth;
use super::directory::Directory;
use super::error::AdminError;
use super::known_api_keys::KnownApiKeys;
use super::known_families::KnownFamilies;
use super::lately::Lately;
use super::login_line::Lines;
use super::revocations::Revocations;
use super::rotations::Rotations;
use super::status_indexes::StatusIndexes;
use super::status_lists::StatusLists;
use super::throttle::AccountHasher;
use super::to_its_end::LoginShare;
use super::{App, Policy, random};

/// Where the encryption key is.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// Given by the settings, in base64.
    Given(crate::model::secret::PlainSecret),
    /// In a file, which is made with the database and never later.
    File(PathBuf),
}

/// What an app is made from.
pub struct Parts {
    /// Where the database is.
    pub location: Location,
    /// How many connections it may take.
    pub max_connections: Option<u32>,
    /// Whether the schema is brought up to date, or only looked at.
    pub migrate: bool,
    /// Where the encryption key is.
    pub key: KeySource,
    /// The hashing pool.
    pub pool: PoolSettings,
    /// What the operator decided.
    pub policy: Policy,
    /// The clock.
    pub clock: Clock,
    /// Who acts, as the audit names them.
    pub actor: Actor,
}

/// Why an app cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its schema is not right.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The database fails.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The key in the settings is none.
    #[error("keys.encryption_key: {0}")]
    EncryptionKey(#[from] InvalidEncryptionKey),
    /// The key file is no good.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The key file is gone.
    #[error(
        "the key file {0} is missing, and the database was made with it: restore it from a backup (a new one could read nothing in the database, so none is made)"
    )]
    KeyFileMissing(PathBuf),
    /// The key is another database's.
    #[error(
        "the encryption key is not the one this database was made with or last re-sealed under: give the right one in keys.encryption_key or in the key file (nothing was changed)"
    )]
    WrongKey,
    /// The root key does not open under the encryption key that it was sealed under.
    #[error("the root key in the database does not open ({0}): restore the table root_keys from a backup")]
    RootKey(SealError),
    /// Keys or clients cannot be read.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The hashing threads cannot be started.
    #[error("the password hashing threads cannot be started: {0}")]
    Pool(std::io::Error),
}

/// Opens the database alone, with its schema brought up to date or looked at.
pub async fn open_database(
    location: &Location,
    max_connections: Option<u32>,
    migrated: bool,
) -> Result<Db, StartError> {
    let db = Db::open(location, max_connections).await?;
    if migrated {
        migrate(&db).await?;
    } else {
        let status = current(&db).await?;
        if status.applied < status.known {
            return Err(SchemaError::Behind { applied: status.applied, known: status.known }.into());
        }
    }
    Ok(db)
}

impl App {
    /// Puts an app together; on an empty database this makes the schema, the key file and the first signing keys.
    pub async fn open(parts: Parts) -> Result<Arc<Self>, StartError> {
        let db = open_database(&parts.location, parts.max_connections, parts.migrate).await?;
        let key = root_key(&db, &parts.key, parts.clock.now()).await?;

        let status_indexes = StatusIndexes::new(&key.derive(Purpose::StatusIndexes));
        status_indexes.number_clients(&db).await?;
        let revisions = revisions::read(&db).await?;
        let app = Arc::new(Self {
            sealer: Sealer::new(&key),
            secrets: SecretHasher::new(&key.derive(Purpose::ClientSecrets)),
            api_key_hasher: SecretHasher::new(&key.derive(Purpose::ApiKeys)),
            accounts: AccountHasher::new(&key.derive(Purpose::LoginFailures)),
            lines: Lines::default(),
            chain: ChainKey::new(&key.derive(Purpose::Audit)),
            actor: parts.actor,
            refresh_key: RefreshTokenKey::new(&key.derive(Purpose::RefreshTokens)),
            dpop_nonces: NonceKey::new(&key.derive(Purpose::DpopNonces)),
            directory: ArcSwap::from_pointee(Directory::load(&db, revisions).await?),
            api_keys: ArcSwap::from_pointee(KnownApiKeys::load(&db, revisions).await?),
            ring: ArcSwap::from_pointee(KeyRing::new(Vec::new())),
            revocations: ArcSwap::from_pointee(Revocations::load(&db, revisions.revocations).await?),
            status_lists: StatusLists::default(),
            status_indexes,
            known_families: KnownFamilies::default(),
            verified_tokens: Lately::default(),
            rotations: Rotations::default(),
            reloading: Mutex::default(),
            reloading_keys: Mutex::default(),
            reloading_revocations: Mutex::default(),
            database: DatabaseHealth::default(),
            login_share: LoginShare::for_threads(parts.pool.threads),
            pool: PasswordPool::start(parts.pool).map_err(StartError::Pool)?,
            policy: parts.policy,
            clock: parts.clock,
            db,
        });
        app.keep_keys_in_order().await?;
        Ok(app)
    }
}

/// The root key, which the encryption key opens; on an empty database both are made.
async fn root_key(db: &Db, source: &KeySource, now: Timestamp) -> Result<RootKey, StartError> {
    let key = encryption_key(db, source).await?;
    install(db, &key, now).await?;
    let (_, root) = unseal(db, source, key, now).await?;
    Ok(root)
}

/// The encryption key as it is given, and the root key that it opens.
pub(super) async fn unseal(
    db: &Db,
    source: &KeySource,
    key: EncryptionKey,
    now: Timestamp,
) -> Result<(EncryptionKey, RootKey), StartError> {
    let rows = root_keys::list(db).await?;
    let accepted = |row: &&SealedRootKey| row.expires_at.is_none_or(|end| now < end);
    let opened_by = |key: &EncryptionKey| {
        let row = rows.iter().filter(accepted).find(|row| key.has_fingerprint(&row.fingerprint));
        row.map(|row| RootKey::open(&row.sealed, key).map_err(StartError::RootKey)).transpose()
    };
    if let Some(root) = opened_by(&key)? {
        return Ok((key, root));
    }
    // A re-sealing that was cut off after the database took the new key and before the file did?
    let KeySource::File(path) = source else { return Err(StartError::WrongKey) };
    let staged = staged(path);
    let key = key_file::read(&staged)?.ok_or(StartError::WrongKey)?;
    let root = opened_by(&key)?.ok_or(StartError::WrongKey)?;
    key_file::replace(&staged, path)?;
    let file = path.display();
    tracing::warn!(%file, "finished a re-sealing that was cut off: the file holds the new encryption key");
    Ok((key, root))
}

/// Where the next key file lies until the database has taken its key.
pub(super) fn staged(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

/// The encryption key as it is given; made with an empty database where it is a file.
pub(super) async fn encryption_key(db: &Db, source: &KeySource) -> Result<EncryptionKey, StartError> {
    let path = match source {
        KeySource::Given(text) => return Ok(EncryptionKey::from_base64(text.expose())?),
        KeySource::File(path) => path,
    };
    if let Some(key) = key_file::read(path)? {
        return Ok(key);
    }
    if installation::read(db, FINGERPRINT).await?.is_some() {
        return Err(StartError::KeyFileMissing(path.clone()));
    }
    match key_file::create(path, &EncryptionKey::from_bytes(random::bytes())) {
        Ok(()) | Err(KeyFileError::AlreadyExists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    // Whoever made it: the file is complete.
    key_file::read(path)?.ok_or_else(|| StartError::KeyFileMissing(path.clone()))
}

/// Says that the database is somebody's, and whose it was first.
const FINGERPRINT: &str = "encryption_key_fingerprint";

/// Seals a root key, if there is none yet. Of several first starts, also with different keys, one wins.
async fn install(db: &Db, key: &EncryptionKey, now: Timestamp) -> Result<(), StartError> {
    if !root_keys::list(db).await?.is_empty() {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    let root = match installation::set_once(&mut tx, FINGERPRINT, &key.fingerprint()).await? {
        true => RootKey::from_bytes(random::bytes()),
        // The loser of a race finds the winner's root key; a database of the first schema has none.
        false => {
            let first = installation::read(&mut tx, FINGERPRINT).await?.unwrap_or_default();
            if !root_keys::list(&mut tx).await?.is_empty() {
                return Ok(tx.rollback().await?);
            }
            if !key.has_fingerprint(&first) {
                tx.rollback().await?;
                return Err(StartError::WrongKey);
            }
            RootKey::of_first_schema(key)
        }
    };
    let (fingerprint, sealed) = (key.fingerprint().to_vec(), root.seal(key));
    root_keys::insert(&mut tx, &SealedRootKey { fingerprint, sealed, created_at: now, expires_at: None })
        .await?;
    Ok(tx.commit().await?)
}
