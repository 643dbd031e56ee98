//! What is true of the database as a whole.

use super::db::{Conn, Tx, execute, row};
use super::error::StorageError;

/// The value of `name`, if it was ever set.
pub async fn read(on: impl Into<Conn<'_>>, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
    let found: Option<(Vec<u8>,)> =
        row!(on, (Vec<u8>,), "select value from installation where name = $1", name);
    Ok(found.map(|(value,)| value))
}

/// Sets `name` once; `false` if somebody was faster.
pub async fn set_once(tx: &mut Tx, name: &str, value: &[u8]) -> Result<bool, StorageError> {
    let rows = execute!(
        tx,
        "insert into installation (name, value) values ($1, $2) on conflict (name) do nothing",
        name,
        value
    );
    Ok(rows == 1)
}

/// Sets `name`, whatever it was before.
pub async fn set(tx: &mut Tx, name: &str, value: &[u8]) -> Result<(), StorageError> {
    execute!(
        tx,
        "insert into installation (name, value) values ($1, $2)
         on conflict (name) do update set value = excluded.value",
        name,
        value
    );
    Ok(())
}
