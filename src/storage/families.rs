//! Refresh-token families: one row each, whatever happens to it.

use crate::model::id::{ClientId, FamilyId, UserId};
use crate::model::session::{Family, FamilySecret, RevocationReason, StrangeRetry};
use crate::model::status::StatusIndex;
use crate::model::time::{Timestamp, Ttl};
use crate::model::user::User;

use super::clients::{audience_from, audience_json, parse, second_after};
use super::db::{Conn, Tx, execute, row, rows};
use super::error::StorageError;
use super::family_locks::lock_in_order;
use super::revisions::{Subject, bump};
use super::revocations::{KEEP, status_index, stored};
use super::users::UserColumns;

#[derive(sqlx::FromRow)]
struct FamilyRow {
    id: String,
    client_id: String,
    user_id: String,
    requested: String,
    granted: String,
    audience: String,
    secret: Vec<u8>,
    generation: i64,
    retries: i64,
    source: String,
    jkt: Option<String>,
    strange_generation: Option<i64>,
    strange_in_a_row: i64,
    auth_time: i64,
    rotated_at_ms: i64,
    expires_at: i64,
    status_index: Option<i64>,
    revoked_at: Option<i64>,
    revoked_reason: Option<String>,
}

/// Which families are meant.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// All of a user.
    User(UserId),
    /// All of a client.
    Client(&'a ClientId),
    /// One.
    Family(FamilyId),
    /// Those that began before.
    BegunBefore(Timestamp),
    /// All there are.
    All,
}

/// One family.
pub async fn find(on: impl Into<Conn<'_>>, id: FamilyId) -> Result<Option<Family>, StorageError> {
    let family: Option<FamilyRow> = row!(
        on,
        FamilyRow,
        "select id, client_id, user_id, requested, granted, audience, secret, generation, retries, source, jkt,
                strange_generation, strange_in_a_row, auth_time, rotated_at_ms, expires_at, status_index, revoked_at,
                revoked_reason
         from families where id = $1",
        id.to_string()
    );
    family.map(FamilyRow::into_model).transpose()
}

/// The family whose tokens carry this index.
pub async fn find_by_status_index(
    on: impl Into<Conn<'_>>,
    index: StatusIndex,
) -> Result<Option<FamilyId>, StorageError> {
    let found: Option<(String,)> =
        row!(on, (String,), "select id from families where status_index = $1", stored(index));
    found.map(|(id,)| parse(&id)).transpose()
}

#[derive(sqlx::FromRow)]
struct OwnedRow {
    #[sqlx(flatten)]
    family: FamilyRow,
    #[sqlx(flatten)]
    user: UserColumns,
    users_revision: i64,
}

/// A family and the user whose it is, as they were at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The family.
    pub family: Family,
    /// The user.
    pub user: User,
    /// The revision of all users, of [`Subject::Users`].
    pub users_revision: i64,
}

/// One family and the user whose it is.
pub async fn find_with_user(on: impl Into<Conn<'_>>, id: FamilyId) -> Result<Option<Owned>, StorageError> {
    let found: Option<OwnedRow> = row!(
        on,
        OwnedRow,
        "select families.id, client_id, user_id, requested, granted, audience, secret, generation, retries, source, jkt,
                strange_generation, strange_in_a_row, auth_time, rotated_at_ms, expires_at, status_index, revoked_at,
                revoked_reason, username, email, name, password_hash, disabled_at, created_at, last_login_at,
                (select string_agg(role, ' ') from user_roles where user_roles.user_id = users.id) as roles,
                (select value from revisions where subject = 'users') as users_revision
         from families join users on users.id = families.user_id where families.id = $1",
        id.to_string()
    );
    found
        .map(|OwnedRow { family, user, users_revision }| {
            let user = user.into_model(&family.user_id)?;
            Ok(Owned { family: family.into_model()?, user, users_revision })
        })
        .transpose()
}

/// The families that are meant and have not expired, the newest first.
pub async fn list(
    on: impl Into<Conn<'_>>,
    which: Which<'_>,
    now: Timestamp,
) -> Result<Vec<Family>, StorageError> {
    // One text for each, so that each has its index.
    macro_rules! listed {
        ($meant:literal $(, $bind:expr)?) => {
            rows!(
                on,
                FamilyRow,
                concat!(
                    "select id, client_id, user_id, requested, granted, audience, secret, generation, retries, source, jkt,
                    strange_generation, strange_in_a_row, auth_time, rotated_at_ms, expires_at, status_index, revoked_at,
                    revoked_reason
                     from families where ",
                    $meant,
                    " and expires_at > $1 order by auth_time desc, id"
                ),
                now.as_secs() $(, $bind)?
            )
        };
    }
    let families: Vec<FamilyRow> = match which {
        Which::User(id) => listed!("user_id = $2", id.to_string()),
        Which::Client(id) => listed!("client_id = $2", id.as_str()),
        Which::Family(id) => listed!("id = $2", id.to_string()),
        Which::BegunBefore(time) => listed!("auth_time < $2", second_after(time)),
        Which::All => listed!("true"),
    };
    families.into_iter().map(FamilyRow::into_model).collect()
}

/// Begins a family; `false` if its client was switched off or deleted meanwhile.
pub async fn insert(tx: &mut Tx, family: &Family) -> Result<bool, StorageError> {
    let inserted = execute!(
        &mut *tx,
        "insert into families (id, client_id, user_id, requested, granted, audience, secret, generation, retries,
                               source, strange_generation, strange_in_a_row, auth_time, rotated_at_ms, expires_at,
                               status_index, jkt)
         select $1, clients.id, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17
         from clients where clients.id = $2 and clients.disabled_at is null",
        family.id.to_string(),
        family.client_id.as_str(),
        family.user_id.to_string(),
        family.requested.to_string(),
        family.granted.to_string(),
        audience_json(&family.audience),
        &family.secret.0[..],
        i64::from(family.generation),
        i64::from(family.retries),
        family.source.as_str(),
        family.strange.map(|strange| i64::from(strange.generation)),
        family.strange.map_or(0, |strange| i64::from(strange.in_a_row)),
        family.auth_time.as_secs(),
        family.rotated_at.as_millis(),
        family.expires_at.as_secs(),
        family.status_index.map(stored),
        family.jkt.as_deref(),
    );
    if inserted != 1 || tx.is_the_only_one() {
        return Ok(inserted == 1);
    }
    // On Postgres the statement may have seen the client as it was before it was switched off. But then its foreign key
    // has waited for the change of the client's status index, and another statement sees what came of it.
    let enabled: Option<(i64,)> = row!(
        tx,
        (i64,),
        "select count(*) from clients where id = $1 and disabled_at is null",
        family.client_id.as_str()
    );
    Ok(enabled == Some((1,)))
}

/// Gives a family that has no status index this one; `false` if it has one, or there is none.
pub async fn number(tx: &mut Tx, id: FamilyId, fresh: StatusIndex) -> Result<bool, StorageError> {
    let changed = execute!(
        tx,
        "update families set status_index = $2 where id = $1 and status_index is null",
        id.to_string(),
        stored(fresh)
    );
    Ok(changed == 1)
}

/// What becomes of a family whose live token is redeemed.
#[derive(Clone, Copy, Debug)]
pub struct Moved<'a> {
    /// Where it is redeemed.
    pub source: &'a str,
    /// The key that its tokens are bound to from now on; must be the one that they are bound to, if they are.
    pub jkt: Option<&'a str>,
    /// How long a token may lie unused.
    pub idle_ttl: Ttl,
    /// Now.
    pub now: Timestamp,
    /// The revision of all users that the decision rests on, if it was not read just now.
    pub users_revision: Option<i64>,
}

/// Redeems the live token of `generation`: makes the next generation the live one. `false` if it is not the live
/// one any more, or the family has ended or was bound to another key, or users have changed meanwhile. This statement alone decides who wins.
pub async fn rotate(
    tx: &mut Tx,
    id: FamilyId,
    generation: u32,
    Moved { source, jkt, idle_ttl, now, users_revision }: Moved<'_>,
) -> Result<bool, StorageError> {
    let changed = execute!(
        tx,
        "update families set generation = generation + 1, retries = 0, source = $3, rotated_at_ms = $4,
                jkt = coalesce(jkt, $7)
         where id = $1 and generation = $2 and revoked_at is null and expires_at > $5 and rotated_at_ms > $6
           and (jkt is null or jkt = $7)
           and ($8 is null or $8 = (select value from revisions where subject = 'users'))",
        id.to_string(),
        i64::from(generation),
        source,
        now.as_millis(),
        now.as_secs(),
        now.minus(idle_ttl).as_millis(),
        jkt,
        users_revision,
    );
    Ok(changed == 1)
}

/// What is noted of a token that is handed out again.
#[derive(Clone, Copy, Debug)]
pub struct Retried<'a> {
    /// How often it may be.
    pub limit: Option<u32>,
    /// Whether to somebody elsewhere.
    pub strange: Option<StrangeRetry>,
    /// As in [`Moved`].
    pub jkt: Option<&'a str>,
}

/// Notes that the live token of `generation` is handed out again. `false` if the family moved on, ended or was bound to
/// another key meanwhile, or the limit is reached.
pub async fn record_retry(
    tx: &mut Tx,
    id: FamilyId,
    generation: u32,
    Retried { limit, strange, jkt }: Retried<'_>,
) -> Result<bool, StorageError> {
    let changed = execute!(
        tx,
        "update families set retries = retries + 1, strange_generation = coalesce($4, strange_generation),
                strange_in_a_row = coalesce($5, strange_in_a_row), jkt = coalesce(jkt, $6)
         where id = $1 and generation = $2 and revoked_at is null and retries < coalesce($3, retries + 1)
           and (jkt is null or jkt = $6)",
        id.to_string(),
        i64::from(generation),
        limit.map(i64::from),
        strange.map(|strange| i64::from(strange.generation)),
        strange.map(|strange| i64::from(strange.in_a_row)),
        jkt,
    );
    Ok(changed == 1)
}

/// Ends the families that are meant and not ended yet, and revokes their tokens; gives the number of families.
///
/// Its first statement bumps [`Subject::Revocations`]. Whoever locks rows that others lock after it, does so before.
pub async fn revoke(
    tx: &mut Tx,
    which: Which<'_>,
    reason: RevocationReason,
    now: Timestamp,
) -> Result<u64, StorageError> {
    bump(tx, Subject::Revocations).await?;
    if !tx.is_the_only_one() {
        lock_in_order(tx, which, now).await?;
    }
    macro_rules! ended {
        ($meant:literal $(, $bind:expr)?) => {
            execute!(
                &mut *tx,
                concat!(
                    "update families set revoked_at = $1, revoked_reason = $2 where ",
                    $meant,
                    " and revoked_at is null and expires_at > $1"
                ),
                now.as_secs(),
                reason.as_str() $(, $bind)?
            )
        };
    }
    let ended = match which {
        Which::User(id) => ended!("user_id = $3", id.to_string()),
        Which::Client(id) => ended!("client_id = $3", id.as_str()),
        Which::Family(id) => ended!("id = $3", id.to_string()),
        Which::BegunBefore(time) => ended!("auth_time < $3", second_after(time)),
        Which::All => ended!("true"),
    };
    if ended > 0 {
        revoke_tokens(tx, which, now).await?;
    }
    Ok(ended)
}

/// Revokes the status indexes of the families that are meant and ended at `now`.
async fn revoke_tokens(tx: &mut Tx, which: Which<'_>, now: Timestamp) -> Result<(), StorageError> {
    // A statement of its own, after the other: it sees every family that the other one has ended.
    macro_rules! revoked {
        ($meant:literal $(, $bind:expr)?) => {
            execute!(
                tx,
                concat!(
                    "insert into revocations (status_index, revision, expires_at)
                     select status_index, (select value from revisions where subject = 'revocations'),
                            $2 + (select coalesce(max(longest_ttl), 0) from signing_keys)
                     from families where ",
                    $meant,
                    " and revoked_at = $1 and status_index is not null
                     on conflict (status_index) do nothing"
                ),
                now.as_secs(),
                now.plus(KEEP).as_secs() $(, $bind)?
            )
        };
    }
    match which {
        Which::User(id) => revoked!("user_id = $3", id.to_string()),
        Which::Client(id) => revoked!("client_id = $3", id.as_str()),
        Which::Family(id) => revoked!("id = $3", id.to_string()),
        Which::BegunBefore(time) => revoked!("auth_time < $3", second_after(time)),
        Which::All => revoked!("true"),
    };
    Ok(())
}

/// Families that ended by reuse and are not in the audit yet, at most a hundred.
pub async fn unrecorded(on: impl Into<Conn<'_>>) -> Result<Vec<FamilyId>, StorageError> {
    let found: Vec<(String,)> = rows!(
        on,
        (String,),
        "select id from families where revoked_reason = 'reuse_unrecorded' order by id limit 100"
    );
    found.iter().map(|(id,)| parse(id)).collect()
}

/// Notes that the ending of a family is in the audit now; `false` if it was, or the family has not ended so.
pub async fn set_recorded(tx: &mut Tx, id: FamilyId) -> Result<bool, StorageError> {
    let changed = execute!(
        tx,
        "update families set revoked_reason = 'reuse' where id = $1 and revoked_reason = 'reuse_unrecorded'",
        id.to_string()
    );
    Ok(changed == 1)
}

/// Deletes families whose time was over before `before` or that nobody used since `unused_since`; gives their number.
pub async fn purge(tx: &mut Tx, before: Timestamp, unused_since: Timestamp) -> Result<u64, StorageError> {
    Ok(execute!(
        tx,
        "delete from families where expires_at < $1 or rotated_at_ms < $2",
        before.as_secs(),
        unused_since.as_millis(),
    ))
}

impl FamilyRow {
    fn into_model(self) -> Result<Family, StorageError> {
        let reason = |text: &str| RevocationReason::ALL.into_iter().find(|reason| reason.as_str() == text);
        let revoked = match (self.revoked_at, self.revoked_reason.as_deref()) {
            (None, _) => None,
            (Some(at), Some(text)) => Some((
                Timestamp::from_secs(at),
                reason(text).ok_or_else(|| StorageError::corrupt("an unknown reason of revocation"))?,
            )),
            (Some(_), None) => return Err(StorageError::corrupt("a revocation without a reason")),
        };
        Ok(Family {
            id: parse(&self.id)?,
            client_id: parse(&self.client_id)?,
            user_id: parse(&self.user_id)?,
            requested: parse(&self.requested)?,
            granted: parse(&self.granted)?,
            audience: audience_from(&self.audience)?,
            secret: FamilySecret(
                self.secret
                    .try_into()
                    .map_err(|_| StorageError::corrupt("a family secret of wrong length"))?,
            ),
            generation: u32::try_from(self.generation).map_err(StorageError::corrupt)?,
            retries: u32::try_from(self.retries).map_err(StorageError::corrupt)?,
            source: self.source,
            jkt: self.jkt,
            strange: match self.strange_generation {
                None => None,
                Some(generation) => Some(StrangeRetry {
                    generation: u32::try_from(generation).map_err(StorageError::corrupt)?,
                    in_a_row: u32::try_from(self.strange_in_a_row).map_err(StorageError::corrupt)?,
                }),
            },
            auth_time: Timestamp::from_secs(self.auth_time),
            rotated_at: Timestamp::from_millis(self.rotated_at_ms),
            expires_at: Timestamp::from_secs(self.expires_at),
            status_index: self.status_index.map(|index| status_index(Some(index))).transpose()?,
            revoked,
        })
    }
}
