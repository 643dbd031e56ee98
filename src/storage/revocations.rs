//! Status indexes whose tokens are no good any more. What revokes them stands beside what it ends: [`super::families`],
//! [`super::clients`].

use crate::model::status::StatusIndex;
use crate::model::time::{Timestamp, Ttl};

use super::db::{Conn, Tx, execute, rows};
use super::error::StorageError;

/// How much longer a revocation stays than its tokens can live: an instance that was cut off from the database went on
/// issuing tokens to clients.
pub(super) const KEEP: Ttl = Ttl::from_secs(24 * 60 * 60);

/// A revoked index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Which.
    pub status_index: StatusIndex,
    /// When no token that carries it can live.
    pub expires_at: Timestamp,
}

/// What was revoked after `revision` of the subject; all of it after -1. Whoever has read the revision `n` and then this
/// misses nothing up to `n`, because revisions are bumped in the order in which they are committed.
pub async fn since(on: impl Into<Conn<'_>>, revision: i64) -> Result<Vec<Revocation>, StorageError> {
    let found: Vec<(i64, i64)> = rows!(
        on,
        (i64, i64),
        "select status_index, expires_at from revocations where revision > $1 order by status_index",
        revision
    );
    let revocation = |(index, expires_at): (i64, i64)| {
        let expires_at = Timestamp::from_secs(expires_at);
        Ok(Revocation { status_index: status_index(Some(index))?, expires_at })
    };
    found.into_iter().map(revocation).collect()
}

/// Revokes one index. To be called where [`Subject::Revocations`](super::revisions::Subject::Revocations) was bumped.
pub(super) async fn revoke_index(
    tx: &mut Tx,
    index: StatusIndex,
    now: Timestamp,
) -> Result<(), StorageError> {
    execute!(
        tx,
        "insert into revocations (status_index, revision, expires_at)
         values ($1, (select value from revisions where subject = 'revocations'),
                 $2 + (select coalesce(max(longest_ttl), 0) from signing_keys))
         on conflict (status_index) do nothing",
        stored(index),
        now.plus(KEEP).as_secs(),
    );
    Ok(())
}

/// Deletes what was over at `now`; gives the number.
pub async fn purge(tx: &mut Tx, now: Timestamp) -> Result<u64, StorageError> {
    Ok(execute!(tx, "delete from revocations where expires_at <= $1", now.as_secs()))
}

/// Reads an index as a session or a client has it.
pub(super) fn status_index(stored: Option<i64>) -> Result<StatusIndex, StorageError> {
    let number = stored.and_then(|number| u64::try_from(number).ok());
    number.and_then(StatusIndex::new).ok_or_else(|| StorageError::corrupt("a status index that is none"))
}

/// What is stored of an index.
pub(super) const fn stored(index: StatusIndex) -> i64 {
    index.as_u64() as i64
}
