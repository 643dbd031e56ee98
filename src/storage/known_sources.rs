//! Where users have lately logged in from; read with their passwords ([`super::users::find_password`]).

use crate::model::id::UserId;
use crate::model::time::Timestamp;

use super::db::{Tx, execute};
use super::error::StorageError;

/// Notes a successful login.
pub async fn record(tx: &mut Tx, user: UserId, source: &str, now: Timestamp) -> Result<(), StorageError> {
    execute!(
        tx,
        "insert into known_sources (user_id, source, last_success_at) values ($1, $2, $3)
         on conflict (user_id, source) do update set last_success_at = excluded.last_success_at",
        user.to_string(),
        source,
        now.as_secs()
    );
    Ok(())
}

/// Forgets all of a user's sources but `source` and the newest `others` beside it.
pub async fn keep_newest(tx: &mut Tx, user: UserId, source: &str, others: u32) -> Result<(), StorageError> {
    execute!(
        tx,
        "delete from known_sources where user_id = $1 and source <> $2 and source not in
         (select source from known_sources where user_id = $1 and source <> $2
          order by last_success_at desc, source limit $3)",
        user.to_string(),
        source,
        i64::from(others)
    );
    Ok(())
}

/// Forgets sources without a login since `before`; gives their number.
pub async fn purge(tx: &mut Tx, before: Timestamp) -> Result<u64, StorageError> {
    Ok(execute!(tx, "delete from known_sources where last_success_at < $1", before.as_secs()))
}
