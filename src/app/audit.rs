//! The audit: whatever changes who may do what commits through here, so that the change and its row are one
//! transaction, and the row is its last statement.
//!
//! A transaction takes the locks of what it changes first and the head of the audit last. It keeps the latter for two
//! statements and the commit, so that nobody who waits for the head holds up whoever has it. `commit` takes the
//! transaction away, so that nothing can come after.

use crate::model::audit::{Act, Actor, AuditRow, Entry, Head, hex};
use crate::model::time::Timestamp;
use crate::protocol::error::TokenError;
use crate::storage::{StorageError, Tx, audit};

use super::App;
use super::audit_chain::{Misfit, Walk};
use super::error::AdminError;

/// How many rows are in memory at a time, however long the chain.
const PAGE: u32 = 500;

/// Why a change was not made, though it could have been.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The database is there, and takes no row.
    #[error(
        "nothing was changed, because it cannot be written to the audit ({0}): 'grantd audit verify' says what is wrong with it, restore it from a backup"
    )]
    Unwritable(StorageError),
    /// The database fails.
    #[error(transparent)]
    Storage(StorageError),
}

/// Why an audit does not hold, or cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It does not hold.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// The database fails, or has lost part of the audit.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl App {
    /// Writes these acts as the last statements of `tx` and commits it; or undoes all of it.
    pub(super) async fn commit(&self, tx: Tx, acts: &[Act]) -> Result<(), AuditError> {
        self.commit_as(&self.actor, tx, acts).await
    }

    /// The same, done by somebody else than this process.
    pub(super) async fn commit_as(&self, actor: &Actor, mut tx: Tx, acts: &[Act]) -> Result<(), AuditError> {
        let rows = match self.append(&mut tx, actor, acts).await {
            Ok(rows) => rows,
            Err(cause) => {
                // Now, not when the connection is next looked at: its locks would hold up whoever comes next.
                let _what_failed_is_the_cause = tx.rollback().await;
                return Err(match cause {
                    StorageError::Unavailable(_) => AuditError::Storage(cause),
                    StorageError::AlreadyExists
                    | StorageError::Dangling
                    | StorageError::Corrupt(_)
                    | StorageError::Refused(_) => AuditError::Unwritable(cause),
                });
            }
        };
        tx.commit().await.map_err(AuditError::Storage)?;
        // An anchor outside the database: what was cut off there is missing against the log.
        for AuditRow { seq, actor, act, subject_kind, subject, hash, .. } in &rows {
            tracing::info!(audit_seq = seq, hash = hex(hash), actor, act, subject_kind, subject, "audited");
        }
        Ok(())
    }

    async fn append(&self, tx: &mut Tx, actor: &Actor, acts: &[Act]) -> Result<Vec<AuditRow>, StorageError> {
        let mut head = audit::lock_head(tx).await?;
        let mut rows = Vec::with_capacity(acts.len());
        for act in acts {
            let Entry { act, subject_kind, subject, details } = act.entry();
            let mut row = AuditRow {
                seq: head.seq.saturating_add(1),
                at: self.clock.now(),
                actor: actor.to_string(),
                act: act.to_owned(),
                subject_kind: subject_kind.to_owned(),
                subject,
                details,
                hash: Vec::new(),
            };
            head = Head { seq: row.seq, hash: self.chain.link(&head, &row) };
            row.hash = head.hash.to_vec();
            audit::append(tx, &row).await?;
            rows.push(row);
        }
        Ok(rows)
    }

    /// The last `limit` rows not older than `since` whose act begins with `prefix`, the newest last.
    pub async fn list_audit(
        &self,
        since: Timestamp,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<AuditRow>, AdminError> {
        Ok(audit::latest(&self.db, since, prefix, limit).await?)
    }

    /// Some of the rows from number `from` on, the oldest first; none at the end.
    pub async fn audit_page(&self, from: i64) -> Result<Vec<AuditRow>, AdminError> {
        Ok(audit::page(&self.db, from, PAGE).await?)
    }

    /// Goes along the whole chain; gives its head, or the first row that does not fit. `expected` is a head that was
    /// noted earlier and must be one of the rows still.
    pub async fn verify_audit(&self, expected: Option<&Head>) -> Result<Head, VerifyError> {
        // Read before the rows, because others append meanwhile: whatever it names must be there.
        let head = audit::head(&self.db).await?;
        let fits = |at: Head| {
            check(at, head, Misfit::Head)?;
            expected.map_or(Ok(()), |expected| check(at, *expected, Misfit::Expected))
        };
        let mut walk = Walk::new(&self.chain);
        fits(walk.at())?;
        let mut from = i64::MIN;
        loop {
            let rows = audit::page(&self.db, from, PAGE).await?;
            let Some(last) = rows.last() else { break };
            from = last.seq.saturating_add(1);
            for row in &rows {
                walk.step(row)?;
                fits(walk.at())?;
            }
        }

        let end = walk.at();
        if end.seq < head.seq {
            return Err(Misfit::Missing(end.seq.saturating_add(1)).into());
        }
        // Rows beyond the head that nobody appended meanwhile: the head was put back.
        if audit::head(&self.db).await?.seq < end.seq {
            return Err(Misfit::Head(end.seq).into());
        }
        match expected {
            Some(expected) if expected.seq > end.seq => Err(Misfit::Expected(expected.seq).into()),
            _ => Ok(end),
        }
    }
}

/// Two heads of one number are one.
fn check(at: Head, other: Head, misfit: fn(i64) -> Misfit) -> Result<(), Misfit> {
    if at.seq == other.seq && at.hash != other.hash { Err(misfit(at.seq)) } else { Ok(()) }
}

impl From<AuditError> for TokenError {
    /// Never an error of the client's, nor a 500: the same request may succeed later.
    fn from(error: AuditError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
