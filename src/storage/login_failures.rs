//! Failed logins by account and source. The account is a keyed hash, for strangers type passwords into the wrong
//! field.

use crate::model::login_failures::Failures;
use crate::model::time::Timestamp;

use super::db::{Conn, Tx, execute, row};
use super::error::StorageError;

/// What is remembered of `account` and `source`.
pub async fn find(
    on: impl Into<Conn<'_>>,
    account: &[u8; 32],
    source: &str,
) -> Result<Option<Failures>, StorageError> {
    let found: Option<(i64, i64, i64)> = row!(
        on,
        (i64, i64, i64),
        "select count, first_at, last_at from login_failures where account = $1 and source = $2",
        &account[..],
        source
    );
    Ok(found.map(|(count, first_at, last_at)| Failures {
        count: u32::try_from(count).unwrap_or(u32::MAX),
        first_at: Timestamp::from_secs(first_at),
        last_at: Timestamp::from_secs(last_at),
    }))
}

/// Counts one more attempt, if nobody counted one since `seen`; `false` if somebody did. `first_at` begins a new
/// day.
pub async fn count(
    tx: &mut Tx,
    account: &[u8; 32],
    source: &str,
    seen: Option<&Failures>,
    new: &Failures,
) -> Result<bool, StorageError> {
    let changed = match seen {
        None => execute!(
            tx,
            "insert into login_failures (account, source, count, first_at, last_at)
             values ($1, $2, $3, $4, $5) on conflict (account, source) do nothing",
            &account[..],
            source,
            i64::from(new.count),
            new.first_at.as_secs(),
            new.last_at.as_secs(),
        ),
        Some(seen) => execute!(
            tx,
            "update login_failures set count = $3, first_at = $4, last_at = $5
             where account = $1 and source = $2 and count = $6 and first_at = $7",
            &account[..],
            source,
            i64::from(new.count),
            new.first_at.as_secs(),
            new.last_at.as_secs(),
            i64::from(seen.count),
            seen.first_at.as_secs(),
        ),
    };
    Ok(changed == 1)
}

/// Forgets the failures of `account` from `source`: the right password was given.
pub async fn forget(tx: &mut Tx, account: &[u8; 32], source: &str) -> Result<(), StorageError> {
    execute!(tx, "delete from login_failures where account = $1 and source = $2", &account[..], source);
    Ok(())
}

/// Deletes what began before `before`; gives its number.
pub async fn purge(tx: &mut Tx, before: Timestamp) -> Result<u64, StorageError> {
    Ok(execute!(tx, "delete from login_failures where first_at < $1", before.as_secs()))
}
