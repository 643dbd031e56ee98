//! Locks on many refresh-token families at once, where others change them at the same time.
//!
//! Refreshes are written several at a time, each statement holding up to eight rows. Whoever ends a million sessions would
//! lock them in the order in which they lie on disk, meet such a statement on its way, and one of the two would be killed
//! as a deadlock: mostly the one that has done more. So both lock in the order of ids. The words that do so are Postgres's
//! alone; on SQLite nobody else writes.

use crate::model::time::Timestamp;

use super::clients::second_after;
use super::db::{Tx, row};
use super::error::StorageError;
use super::families::Which;

/// Locks the families that are meant and not ended yet, in the order of their ids, for a transaction that ends them.
pub(super) async fn lock_in_order(tx: &mut Tx, which: Which<'_>, now: Timestamp) -> Result<(), StorageError> {
    macro_rules! locked {
        ($meant:literal $(, $bind:expr)?) => {
            row!(
                tx,
                (i64,),
                concat!(
                    "select count(*) from (select 1 from families where ",
                    $meant,
                    " and revoked_at is null and expires_at > $1 order by id for no key update) as locked"
                ),
                now.as_secs() $(, $bind)?
            )
        };
    }
    let _how_many: Option<(i64,)> = match which {
        // One cannot be out of order.
        Which::Family(_) => None,
        Which::User(id) => locked!("user_id = $2", id.to_string()),
        Which::Client(id) => locked!("client_id = $2", id.as_str()),
        Which::BegunBefore(time) => locked!("auth_time < $2", second_after(time)),
        Which::All => locked!("true"),
    };
    Ok(())
}
