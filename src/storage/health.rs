//! Whether the database would take a write, found out as cheaply as can be.
//!
//! A database that can be read can often not be written: a full disk, a mount that turned read-only, a replica after a
//! failover, another process that holds the lock. [`look`] sees most of these without writing, so that an idle
//! machine's disk may sleep; [`try_write`] is sure, for the times when there is doubt.

use super::db::{Db, row};
use super::error::StorageError;
use super::installation;
use super::sqlite_file::Room;

/// What was seen without writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// A write would be taken.
    Fair,
    /// Only a write will tell.
    Doubtful,
}

/// Looks without writing. `seen_commits` is what the last look left there: where this process has committed since
/// then, nothing need be asked.
pub async fn look(db: &Db, seen_commits: &mut u64) -> Result<Outlook, StorageError> {
    match db {
        Db::Sqlite { file, .. } => {
            file.check_in_place()?;
            let outlook = match file.room()? {
                Room::Enough => Outlook::Fair,
                Room::Little => Outlook::Doubtful,
            };
            let before = std::mem::replace(seen_commits, file.commits());
            if *seen_commits == before {
                // Takes the lock and gives it back; nothing reaches the disk.
                db.begin().await?.rollback().await?;
            }
            Ok(outlook)
        }
        Db::Postgres(_) => {
            // "on" also on a replica; nothing is written, so that no transaction number is used up.
            let read_only: Option<(String,)> =
                row!(db, (String,), "select current_setting('transaction_read_only')");
            match read_only {
                Some((setting,)) if setting == "off" => Ok(Outlook::Fair),
                _ => Err(StorageError::unavailable("the database is read-only")),
            }
        }
    }
}

/// Writes and commits. `filler` should be too large to find room where the last one was, and impossible to compress.
pub async fn try_write(db: &Db, filler: &[u8]) -> Result<(), StorageError> {
    let mut tx = db.begin().await?;
    installation::set(&mut tx, "write_trial", filler).await?;
    tx.commit().await
}
