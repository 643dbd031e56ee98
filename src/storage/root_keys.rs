//! The root key, sealed under each encryption key that opens the database.

use crate::model::time::Timestamp;

use super::db::{Conn, Tx, execute, rows};
use super::error::StorageError;

#[derive(sqlx::FromRow)]
struct RootKeyRow {
    fingerprint: Vec<u8>,
    sealed: Vec<u8>,
    created_at: i64,
    expires_at: Option<i64>,
}

/// The root key under one encryption key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRootKey {
    /// Tells the encryption key.
    pub fingerprint: Vec<u8>,
    /// The root key, which only that encryption key opens.
    pub sealed: Vec<u8>,
    /// When it was sealed.
    pub created_at: Timestamp,
    /// From when on the encryption key opens nothing any more.
    pub expires_at: Option<Timestamp>,
}

/// All of them, the oldest first.
pub async fn list(on: impl Into<Conn<'_>>) -> Result<Vec<SealedRootKey>, StorageError> {
    let rows: Vec<RootKeyRow> = rows!(
        on,
        RootKeyRow,
        "select fingerprint, sealed, created_at, expires_at from root_keys order by created_at, fingerprint"
    );
    Ok(rows
        .into_iter()
        .map(|row| SealedRootKey {
            fingerprint: row.fingerprint,
            sealed: row.sealed,
            created_at: Timestamp::from_secs(row.created_at),
            expires_at: row.expires_at.map(Timestamp::from_secs),
        })
        .collect())
}

/// Adds one; an encryption key that is there already is accepted for good again.
pub async fn insert(tx: &mut Tx, key: &SealedRootKey) -> Result<(), StorageError> {
    execute!(
        tx,
        "insert into root_keys (fingerprint, sealed, created_at, expires_at) values ($1, $2, $3, $4)
         on conflict (fingerprint) do update set expires_at = null",
        &key.fingerprint[..],
        &key.sealed[..],
        key.created_at.as_secs(),
        key.expires_at.map(Timestamp::as_secs),
    );
    Ok(())
}

/// Sets the end of an encryption key that is accepted at `now`; `false` if it is not.
pub async fn expire(
    tx: &mut Tx,
    fingerprint: &[u8],
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let changed = execute!(
        tx,
        "update root_keys set expires_at = $2
         where fingerprint = $1 and (expires_at is null or expires_at > $3)",
        fingerprint,
        expires_at.as_secs(),
        now.as_secs(),
    );
    Ok(changed == 1)
}

/// Deletes what is not accepted at `now` any more; gives its number.
pub async fn purge(tx: &mut Tx, now: Timestamp) -> Result<u64, StorageError> {
    Ok(execute!(tx, "delete from root_keys where expires_at <= $1", now.as_secs()))
}
