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
    let _how_many: Option<(i64,)> = match which {
        // One cannot be out of order.
        Which::Family(_) => None,
        Which::User(id) => row!(
            tx,
            (i64,),
            "select count(*) from (select 1 from families where user_id = $2 and revoked_at is null and expires_at > $1
                                   order by id for no key update) as locked",
            now.as_secs(),
            id.to_string()
        ),
        Which::Client(id) => row!(
            tx,
            (i64,),
            "select count(*) from (select 1 from families where client_id = $2 and revoked_at is null and expires_at > $1
                                   order by id for no key update) as locked",
            now.as_secs(),
            id.as_str()
        ),
        Which::BegunBefore(time) => row!(
            tx,
            (i64,),
            "select count(*) from (select 1 from families where auth_time < $2 and revoked_at is null and expires_at > $1
                                   order by id for no key update) as locked",
            now.as_secs(),
            second_after(time)
        ),
        Which::All => row!(
            tx,
            (i64,),
            "select count(*) from (select 1 from families where revoked_at is null and expires_at > $1
                                   order by id for no key update) as locked",
            now.as_secs()
        ),
    };
    Ok(())
}
