//! Signing keys, their private halves sealed. Each change of state is one conditional statement.

use crate::model::key::{KeyState, Kid, SigningKeyInfo};
use crate::model::time::{Timestamp, Ttl};

use super::clients::{parse, ttl};
use super::db::{Conn, Tx, execute, rows};
use super::error::StorageError;
use super::revisions::{Subject, bump};

#[derive(sqlx::FromRow)]
struct KeyRow {
    kid: String,
    algorithm: String,
    state: String,
    sealed: Vec<u8>,
    created_at: i64,
    longest_ttl: i64,
    activates_at: i64,
    retired_at: Option<i64>,
    retires_at: Option<i64>,
}

/// A key with its sealed private half.
#[derive(Clone)]
pub struct StoredKey {
    /// What is known of it.
    pub info: SigningKeyInfo,
    /// Its private half, sealed.
    pub sealed: Vec<u8>,
}

/// All keys, the oldest first.
pub async fn list(on: impl Into<Conn<'_>>) -> Result<Vec<StoredKey>, StorageError> {
    let keys: Vec<KeyRow> = rows!(
        on,
        KeyRow,
        "select kid, algorithm, state, sealed, created_at, longest_ttl, activates_at, retired_at, retires_at
         from signing_keys order by created_at, kid"
    );
    keys.into_iter().map(KeyRow::into_model).collect()
}

/// Adds a pending or an active key; `false` if its algorithm has one in that state already.
pub async fn insert(tx: &mut Tx, key: &StoredKey) -> Result<bool, StorageError> {
    bump(tx, Subject::Keys).await?;
    let activates_at = match key.info.state {
        KeyState::Pending { activates_at } => activates_at,
        KeyState::Active { since } | KeyState::Retired { since, .. } => since,
    };
    let inserted = execute!(
        &mut *tx,
        "insert into signing_keys (kid, algorithm, state, sealed, created_at, longest_ttl, activates_at)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
        key.info.kid.as_str(),
        key.info.algorithm.as_str(),
        key.info.state.name(),
        &key.sealed[..],
        key.info.created_at.as_secs(),
        key.info.longest_ttl.as_secs(),
        activates_at.as_secs(),
    );
    Ok(inserted == 1)
}

/// Notes that keys which sign, or will, may sign tokens that live for `ttl`.
pub async fn raise_longest_ttl(tx: &mut Tx, ttl: Ttl) -> Result<(), StorageError> {
    bump(tx, Subject::Keys).await?;
    execute!(
        tx,
        "update signing_keys set longest_ttl = $1 where state <> 'retired' and longest_ttl < $1",
        ttl.as_secs()
    );
    Ok(())
}

/// Ends the signing of an active key; `false` if it is not active.
pub async fn retire(
    tx: &mut Tx,
    kid: &Kid,
    now: Timestamp,
    retires_at: Timestamp,
) -> Result<bool, StorageError> {
    bump(tx, Subject::Keys).await?;
    let changed = execute!(
        &mut *tx,
        "update signing_keys set state = 'retired', retired_at = $2, retires_at = $3
         where kid = $1 and state = 'active'",
        kid.as_str(),
        now.as_secs(),
        retires_at.as_secs(),
    );
    Ok(changed == 1)
}

/// Lets a pending key sign; `false` if it is not pending.
pub async fn activate(tx: &mut Tx, kid: &Kid, now: Timestamp) -> Result<bool, StorageError> {
    bump(tx, Subject::Keys).await?;
    let changed = execute!(
        &mut *tx,
        "update signing_keys set state = 'active', activates_at = $2 where kid = $1 and state = 'pending'",
        kid.as_str(),
        now.as_secs(),
    );
    Ok(changed == 1)
}

/// Moves the time at which a pending key may sign; `false` if it is not pending.
pub async fn schedule(tx: &mut Tx, kid: &Kid, activates_at: Timestamp) -> Result<bool, StorageError> {
    bump(tx, Subject::Keys).await?;
    let changed = execute!(
        &mut *tx,
        "update signing_keys set activates_at = $2 where kid = $1 and state = 'pending'",
        kid.as_str(),
        activates_at.as_secs(),
    );
    Ok(changed == 1)
}

/// Deletes a key in whatever state; `false` if there is none.
pub async fn delete(tx: &mut Tx, kid: &Kid) -> Result<bool, StorageError> {
    bump(tx, Subject::Keys).await?;
    let changed = execute!(&mut *tx, "delete from signing_keys where kid = $1", kid.as_str());
    Ok(changed == 1)
}

impl KeyRow {
    fn into_model(self) -> Result<StoredKey, StorageError> {
        let time = |secs: Option<i64>| {
            secs.map(Timestamp::from_secs)
                .ok_or_else(|| StorageError::corrupt("a retired key without its times"))
        };
        let activates_at = Timestamp::from_secs(self.activates_at);
        let state = match self.state.as_str() {
            "pending" => KeyState::Pending { activates_at },
            "active" => KeyState::Active { since: activates_at },
            "retired" => KeyState::Retired { since: time(self.retired_at)?, until: time(self.retires_at)? },
            _ => return Err(StorageError::corrupt("a signing key in an unknown state")),
        };
        Ok(StoredKey {
            info: SigningKeyInfo {
                kid: Kid::new(self.kid),
                algorithm: parse(&self.algorithm)?,
                state,
                created_at: Timestamp::from_secs(self.created_at),
                longest_ttl: ttl(self.longest_ttl)?,
            },
            sealed: self.sealed,
        })
    }
}
