//! Hands out status indexes. A server takes them from the database by the thousand, so that a login waits for no
//! statement because of its index; what is left of a block when the process ends is lost, of which there is plenty.

use std::ops::Range;

use tokio::sync::Mutex;

use crate::model::id::FamilyId;
use crate::model::status::StatusIndex;
use crate::protocol::status_order::StatusOrder;
use crate::storage::{Db, StorageError, Tx, clients, families, revisions};

/// How many are taken at once. A list has a thousand blocks.
const BLOCK: u32 = 1024;

/// What this instance may hand out.
pub(crate) struct StatusIndexes {
    order: StatusOrder,
    /// What is left of the block.
    left: Mutex<Range<u64>>,
}

impl StatusIndexes {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self { order: StatusOrder::new(key), left: Mutex::new(0..0) }
    }

    /// One that nobody has, nor ever had.
    pub(super) async fn next(&self, db: &Db) -> Result<StatusIndex, StorageError> {
        let mut left = self.left.lock().await;
        if left.is_empty() {
            let mut tx = db.begin().await?;
            let block = take(&mut tx, BLOCK).await?;
            tx.commit().await?;
            *left = block;
        }
        let number = left.next().ok_or_else(used_up)?;
        self.order.place(number).ok_or_else(used_up)
    }

    /// Gives one to a family that has none.
    pub(super) async fn number_family(&self, db: &Db, id: FamilyId) -> Result<(), StorageError> {
        let fresh = self.next(db).await?;
        let mut tx = db.begin().await?;
        // Of two who do so at once one does.
        families::number(&mut tx, id, fresh).await?;
        tx.commit().await
    }

    /// Gives one to each client that has none: those that a server of a version without indexes has registered beside one
    /// that had migrated the database.
    pub(super) async fn number_clients(&self, db: &Db) -> Result<(), StorageError> {
        for id in clients::unnumbered(db).await? {
            let fresh = self.next(db).await?;
            let mut tx = db.begin().await?;
            clients::number(&mut tx, &id, fresh).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// So many that nobody has, for a transaction that wants them.
    pub(super) async fn take_in(&self, tx: &mut Tx, count: u32) -> Result<Vec<StatusIndex>, StorageError> {
        let block = take(tx, count).await?;
        block.map(|number| self.order.place(number).ok_or_else(used_up)).collect()
    }
}

async fn take(tx: &mut Tx, count: u32) -> Result<Range<u64>, StorageError> {
    let first = revisions::take_status_indexes(tx, count).await?.ok_or_else(used_up)?;
    Ok(first..first + u64::from(count))
}

/// After 2^40 logins.
fn used_up() -> StorageError {
    StorageError::Corrupt("all status indexes are used up".to_owned())
}
