//! API keys.

use crate::model::api_key::{ApiKey, ApiKeyHash, ApiKeyId, Held, Holder, Owner, Terms};
use crate::model::id::{ClientId, UserId};
use crate::model::role::RoleName;
use crate::model::status::StatusIndex;
use crate::model::time::Timestamp;

use super::clients::{audience_from, audience_json, parse, second_after};
use super::db::{Conn, Db, Tx, execute, row, rows};
use super::error::StorageError;
use super::revisions::{Subject, bump};
use super::revocations::{KEEP, revoke_index, status_index, stored};

#[derive(sqlx::FromRow)]
struct KeyRow {
    id: String,
    user_id: Option<String>,
    client_id: Option<String>,
    name: Option<String>,
    scope: String,
    audience: String,
    hash: Vec<u8>,
    status_index: i64,
    created_at: i64,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    username: Option<String>,
    user_disabled_at: Option<i64>,
    roles: Option<String>,
}

/// WhichKeys keys are meant.
#[derive(Clone, Copy, Debug)]
pub enum WhichKeys<'a> {
    /// One.
    One(ApiKeyId),
    /// All of a user.
    User(UserId),
    /// All of a client.
    Client(&'a ClientId),
    /// Those that were made before.
    MadeBefore(Timestamp),
    /// All there are.
    All,
}

/// What the columns must be; those that are null may be anything.
#[derive(Default)]
struct Named {
    id: Option<String>,
    user_id: Option<String>,
    client_id: Option<String>,
    before: Option<i64>,
}

impl WhichKeys<'_> {
    fn named(self) -> Named {
        match self {
            Self::One(id) => Named { id: Some(id.to_string()), ..Named::default() },
            Self::User(id) => Named { user_id: Some(id.to_string()), ..Named::default() },
            Self::Client(id) => Named { client_id: Some(id.to_string()), ..Named::default() },
            Self::MadeBefore(time) => Named { before: Some(second_after(time)), ..Named::default() },
            Self::All => Named::default(),
        }
    }
}

/// One text, with what is meant after it.
macro_rules! held {
    ($meant:literal) => {
        concat!(
            "select api_keys.id, user_id, client_id, api_keys.name, scope, audience, hash, status_index,
                    api_keys.created_at, expires_at, revoked_at, username, disabled_at as user_disabled_at,
                    (select string_agg(role, ' ') from user_roles where user_roles.user_id = users.id) as roles
             from api_keys left join users on users.id = api_keys.user_id ",
            $meant
        )
    };
}

/// The keys that are meant, revoked or not, the newest first.
pub async fn list(on: impl Into<Conn<'_>>, which: WhichKeys<'_>) -> Result<Vec<Held>, StorageError> {
    let named = which.named();
    let keys: Vec<KeyRow> = rows!(
        on,
        KeyRow,
        held!(
            "where ($1 is null or api_keys.id = $1) and ($2 is null or user_id = $2) and ($3 is null or client_id = $3)
               and ($4 is null or api_keys.created_at < $4)
             order by api_keys.created_at desc, api_keys.id"
        ),
        named.id,
        named.user_id,
        named.client_id,
        named.before
    );
    keys.into_iter().map(KeyRow::into_model).collect()
}

/// The keys that nobody has ended, in no order. Those that have expired go when they are purged: whoever reads them here
/// may have a clock that is ahead for a moment.
pub async fn list_unrevoked(db: &Db) -> Result<Vec<Held>, StorageError> {
    let keys: Vec<KeyRow> = rows!(db, KeyRow, held!("where revoked_at is null"));
    keys.into_iter().map(KeyRow::into_model).collect()
}

/// The index that the tokens carry which are made from a key; `None` if there is no such key.
pub async fn find_status_index(
    on: impl Into<Conn<'_>>,
    id: ApiKeyId,
) -> Result<Option<StatusIndex>, StorageError> {
    let found: Option<(i64,)> =
        row!(on, (i64,), "select status_index from api_keys where id = $1", id.to_string());
    found.map(|(index,)| status_index(Some(index))).transpose()
}

/// The key whose tokens carry this index.
pub async fn find_by_status_index(
    on: impl Into<Conn<'_>>,
    index: StatusIndex,
) -> Result<Option<ApiKeyId>, StorageError> {
    let found: Option<(String,)> =
        row!(on, (String,), "select id from api_keys where status_index = $1", stored(index));
    found.map(|(id,)| parse(&id)).transpose()
}

/// Adds a key; [`StorageError::Dangling`] if there is nobody whose it could be.
pub async fn insert(tx: &mut Tx, key: &ApiKey) -> Result<(), StorageError> {
    bump(tx, Subject::ApiKeys).await?;
    let (user, client) = match &key.terms.owner {
        Owner::User(id) => (Some(id.to_string()), None),
        Owner::Client(id) => (None, Some(id.as_str())),
    };
    execute!(
        tx,
        "insert into api_keys (id, user_id, client_id, name, scope, audience, hash, status_index, created_at,
                               expires_at, revoked_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        key.id.to_string(),
        user,
        client,
        key.terms.name.as_deref(),
        key.terms.scope.to_string(),
        audience_json(&key.terms.audience),
        &key.hash.0[..],
        stored(key.status_index),
        key.created_at.as_secs(),
        key.terms.expires_at.map(Timestamp::as_secs),
        key.revoked_at.map(Timestamp::as_secs),
    );
    Ok(())
}

/// Ends the keys that are meant, and revokes the tokens that were made from them; gives the number. Bumps
/// [`Subject::ApiKeys`] and [`Subject::Revocations`] first.
pub async fn revoke(tx: &mut Tx, which: WhichKeys<'_>, now: Timestamp) -> Result<u64, StorageError> {
    revoke_tokens(tx, which, now).await?;
    let named = which.named();
    Ok(execute!(
        tx,
        "update api_keys set revoked_at = $5
         where ($1 is null or id = $1) and ($2 is null or user_id = $2) and ($3 is null or client_id = $3)
           and ($4 is null or created_at < $4) and revoked_at is null",
        named.id,
        named.user_id,
        named.client_id,
        named.before,
        now.as_secs()
    ))
}

/// Revokes the tokens that were made from the keys that are meant and live at `now`, and gives these the indexes `fresh`
/// for those to come; gives how many there are. Bumps [`Subject::ApiKeys`] and [`Subject::Revocations`] first.
pub async fn cut_off(
    tx: &mut Tx,
    which: WhichKeys<'_>,
    fresh: impl IntoIterator<Item = (ApiKeyId, StatusIndex)>,
    now: Timestamp,
) -> Result<u64, StorageError> {
    revoke_tokens(tx, which, now).await?;
    let mut changed = 0;
    for (id, fresh) in fresh {
        changed += execute!(
            &mut *tx,
            "update api_keys set status_index = $2
             where id = $1 and revoked_at is null and (expires_at is null or expires_at > $3)",
            id.to_string(),
            stored(fresh),
            now.as_secs()
        );
    }
    Ok(changed)
}

/// The same for one key that still has the index `old`; `false` if it has another or has ended, or there is none. Bumps
/// [`Subject::Revocations`] alone: whoever sees that the index of a key was revoked asks for the one that followed.
pub async fn renew_status_index(
    tx: &mut Tx,
    id: ApiKeyId,
    (old, fresh): (StatusIndex, StatusIndex),
    now: Timestamp,
) -> Result<bool, StorageError> {
    bump(tx, Subject::Revocations).await?;
    let changed = execute!(
        &mut *tx,
        "update api_keys set status_index = $3
         where id = $1 and status_index = $2 and revoked_at is null and (expires_at is null or expires_at > $4)",
        id.to_string(),
        stored(old),
        stored(fresh),
        now.as_secs()
    );
    if changed != 1 {
        return Ok(false);
    }
    revoke_index(tx, old, now).await?;
    Ok(true)
}

/// No token lives longer than the key that it was made from, so that those of expired keys need no revocation.
async fn revoke_tokens(tx: &mut Tx, which: WhichKeys<'_>, now: Timestamp) -> Result<(), StorageError> {
    bump(tx, Subject::ApiKeys).await?;
    bump(tx, Subject::Revocations).await?;
    let named = which.named();
    execute!(
        tx,
        "insert into revocations (status_index, revision, expires_at)
         select status_index, (select value from revisions where subject = 'revocations'),
                $5 + (select coalesce(max(longest_ttl), 0) from signing_keys)
         from api_keys
         where ($1 is null or id = $1) and ($2 is null or user_id = $2) and ($3 is null or client_id = $3)
           and ($4 is null or created_at < $4) and revoked_at is null and (expires_at is null or expires_at > $6)
         on conflict (status_index) do nothing",
        named.id,
        named.user_id,
        named.client_id,
        named.before,
        now.plus(KEEP).as_secs(),
        now.as_secs()
    );
    Ok(())
}

/// Deletes what had ended before `time`; gives the number.
pub async fn purge(tx: &mut Tx, time: Timestamp) -> Result<u64, StorageError> {
    Ok(execute!(tx, "delete from api_keys where revoked_at <= $1 or expires_at <= $1", time.as_secs()))
}

impl KeyRow {
    fn into_model(self) -> Result<Held, StorageError> {
        let owner = match (&self.user_id, &self.client_id) {
            (Some(id), None) => Owner::User(parse(id)?),
            (None, Some(id)) => Owner::Client(parse(id)?),
            _ => return Err(StorageError::corrupt("an API key that is nobody's")),
        };
        let mut roles: Vec<RoleName> = self
            .roles
            .iter()
            .flat_map(|roles| roles.split_ascii_whitespace())
            .map(parse)
            .collect::<Result<_, _>>()?;
        roles.sort();
        let disabled_at = self.user_disabled_at.map(Timestamp::from_secs);
        let holder = self
            .username
            .as_deref()
            .map(|username| Ok::<_, StorageError>(Holder { username: parse(username)?, roles, disabled_at }));
        Ok(Held {
            holder: holder.transpose()?,
            key: ApiKey {
                id: parse(&self.id)?,
                terms: Terms {
                    owner,
                    name: self.name,
                    scope: parse(&self.scope)?,
                    audience: audience_from(&self.audience)?,
                    expires_at: self.expires_at.map(Timestamp::from_secs),
                },
                hash: ApiKeyHash(
                    self.hash
                        .try_into()
                        .map_err(|_| StorageError::corrupt("an API key's hash of wrong length"))?,
                ),
                status_index: status_index(Some(self.status_index))?,
                created_at: Timestamp::from_secs(self.created_at),
                revoked_at: self.revoked_at.map(Timestamp::from_secs),
            },
        })
    }
}
