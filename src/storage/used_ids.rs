//! What may be used once and was used: over all instances, and after a crash too.

use crate::model::time::Timestamp;

use super::db::{Tx, execute};
use super::error::StorageError;

/// Uses an id up; `false` if it was used before. Of several at once, whoever inserts the row has used it. It is
/// remembered until it is purged after `expires_at`.
pub async fn use_up(tx: &mut Tx, id: &[u8; 32], expires_at: Timestamp) -> Result<bool, StorageError> {
    let inserted = execute!(
        tx,
        "insert into used_ids (id, expires_at) values ($1, $2) on conflict (id) do nothing",
        id.to_vec(),
        expires_at.as_secs()
    );
    Ok(inserted == 1)
}

/// Forgets what expired before `before`, `most` at a time; gives their number.
pub async fn purge(tx: &mut Tx, before: Timestamp, most: u32) -> Result<u64, StorageError> {
    Ok(execute!(
        tx,
        "delete from used_ids where id in (select id from used_ids where expires_at < $1 limit $2)",
        before.as_secs(),
        i64::from(most)
    ))
}
