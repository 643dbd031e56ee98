//! Locks on many rows at once, above all on refresh-token families, where others change them at the same time.
//!
//! Refreshes are written several at a time, each statement holding up to eight rows. Whoever ends a million sessions would
//! lock them in the order in which they lie on disk, meet such a statement on its way, and one of the two would be killed
//! as a deadlock: mostly the one that has done more. So both lock in the order of ids. The words that do so are Postgres's
//! alone; on SQLite nobody else writes.

use std::fmt::Display;

use crate::model::id::ClientId;
use crate::model::time::Timestamp;
use crate::model::user::Username;

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

/// Whom one transaction changes.
#[derive(Clone, Debug, Default)]
pub struct Many<'a> {
    /// Users in whatever way.
    pub users: Vec<&'a Username>,
    /// Those of them who are switched off or deleted.
    pub ended_users: Vec<&'a Username>,
    /// Clients that are switched off or on, or deleted.
    pub ended_clients: Vec<&'a ClientId>,
}

/// Locks what a transaction changes of many before it changes anything, in the order that [`super::revisions`] says.
/// Logins of these that are under way are waited for, and none begins, so that nothing is left to be locked later.
pub async fn lock_many(tx: &mut Tx, many: &Many<'_>, now: Timestamp) -> Result<(), StorageError> {
    if tx.is_the_only_one() {
        return Ok(());
    }
    let (ended_users, ended_clients) = (names(&many.ended_users), names(&many.ended_clients));
    let _how_many: Option<(i64,)> = row!(
        &mut *tx,
        (i64,),
        "select count(*) from (select 1 from users where username in (select json_array_elements_text($1::json))
                               order by username for no key update) as locked",
        names(&many.users)
    );
    // Against whoever begins a session with one of them, whose foreign key takes the weakest of all locks.
    let _how_many: Option<(i64,)> = row!(
        &mut *tx,
        (i64,),
        "select count(*) from (select 1 from clients where id in (select json_array_elements_text($1::json))
                               order by id for update) as locked",
        ended_clients.as_str()
    );
    let _how_many: Option<(i64,)> = row!(
        tx,
        (i64,),
        "select count(*) from
            (select 1 from families
             where id in (select families.id from families join users on users.id = families.user_id
                          where users.username in (select json_array_elements_text($1::json))
                          union
                          select id from families
                          where client_id in (select json_array_elements_text($2::json)))
               and revoked_at is null and expires_at > $3
             order by id for no key update) as locked",
        ended_users,
        ended_clients,
        now.as_secs()
    );
    Ok(())
}

/// A list for a statement that takes only texts.
fn names<T: Display>(names: &[T]) -> String {
    serde_json::Value::from_iter(names.iter().map(T::to_string)).to_string()
}
