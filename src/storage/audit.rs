//! The rows of the audit and the head of their chain. Only adds; does not know how a hash is made.

use crate::model::audit::{AuditRow, Head};
use crate::model::time::Timestamp;

use super::db::{Conn, Tx, execute, row, rows};
use super::error::StorageError;

#[derive(sqlx::FromRow)]
struct StoredRow {
    seq: i64,
    at_ms: i64,
    actor: String,
    act: String,
    subject_kind: String,
    subject: String,
    details: String,
    hash: Vec<u8>,
}

/// The head, before anything is appended; from here to the end of the transaction nobody else appends.
///
/// To be asked for after every other lock of the transaction: then no two transactions wait for each other.
pub async fn lock_head(tx: &mut Tx) -> Result<Head, StorageError> {
    let found: Option<(i64, Vec<u8>)> =
        row!(tx, (i64, Vec<u8>), "update audit_head set seq = seq where id = 1 returning seq, hash");
    head_of(found)
}

/// The head as it was committed last.
pub async fn head(on: impl Into<Conn<'_>>) -> Result<Head, StorageError> {
    head_of(row!(on, (i64, Vec<u8>), "select seq, hash from audit_head where id = 1"))
}

fn head_of(found: Option<(i64, Vec<u8>)>) -> Result<Head, StorageError> {
    let (seq, hash) = found.ok_or_else(|| StorageError::corrupt("the audit has lost its head"))?;
    let hash = hash.try_into().map_err(|_| StorageError::corrupt("the audit's head has no hash"))?;
    Ok(Head { seq, hash })
}

/// Adds a row and makes it the head; [`StorageError::AlreadyExists`] if there is one of its number.
pub async fn append(tx: &mut Tx, row: &AuditRow) -> Result<(), StorageError> {
    execute!(
        &mut *tx,
        "insert into audit (seq, at_ms, actor, act, subject_kind, subject, details, hash)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        row.seq,
        row.at.as_millis(),
        row.actor.as_str(),
        row.act.as_str(),
        row.subject_kind.as_str(),
        row.subject.as_str(),
        row.details.as_str(),
        &row.hash[..],
    );
    execute!(&mut *tx, "update audit_head set seq = $1, hash = $2 where id = 1", row.seq, &row.hash[..]);
    Ok(())
}

/// The first `limit` rows from number `from` on, in order.
pub async fn page(on: impl Into<Conn<'_>>, from: i64, limit: u32) -> Result<Vec<AuditRow>, StorageError> {
    let found: Vec<StoredRow> = rows!(
        on,
        StoredRow,
        "select seq, at_ms, actor, act, subject_kind, subject, details, hash
         from audit where seq >= $1 order by seq limit $2",
        from,
        i64::from(limit)
    );
    Ok(found.into_iter().map(StoredRow::into_model).collect())
}

/// The last `limit` rows that are not older than `since` and whose act begins with `prefix`, in order.
pub async fn latest(
    on: impl Into<Conn<'_>>,
    since: Timestamp,
    prefix: &str,
    limit: u32,
) -> Result<Vec<AuditRow>, StorageError> {
    // Not `like`: an underline in the prefix would match any character.
    let found: Vec<StoredRow> = rows!(
        on,
        StoredRow,
        "select seq, at_ms, actor, act, subject_kind, subject, details, hash
         from audit where at_ms >= $1 and substr(act, 1, length($2)) = $2 order by seq desc limit $3",
        since.as_millis(),
        prefix,
        i64::from(limit)
    );
    Ok(found.into_iter().rev().map(StoredRow::into_model).collect())
}

impl StoredRow {
    fn into_model(self) -> AuditRow {
        AuditRow {
            seq: self.seq,
            at: Timestamp::from_millis(self.at_ms),
            actor: self.actor,
            act: self.act,
            subject_kind: self.subject_kind,
            subject: self.subject,
            details: self.details,
            hash: self.hash,
        }
    }
}
