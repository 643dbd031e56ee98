//! Users and the roles they hold.

use std::collections::HashMap;

use crate::model::id::UserId;
use crate::model::role::RoleName;
use crate::model::time::Timestamp;
use crate::model::user::{User, Username};

use super::clients::parse;
use super::db::{Conn, Db, Tx, execute, row, rows};
use super::error::StorageError;

#[derive(sqlx::FromRow)]
struct UserRow {
    id: String,
    #[sqlx(flatten)]
    columns: UserColumns,
}

/// A user without the id, which other tables have as well.
#[derive(sqlx::FromRow)]
pub(super) struct UserColumns {
    username: String,
    email: Option<String>,
    name: Option<String>,
    password_hash: String,
    disabled_at: Option<i64>,
    created_at: i64,
    last_login_at: Option<i64>,
    // The roles separated by spaces, which no role's name contains; null for none.
    roles: Option<String>,
}

/// The user with this name.
pub async fn find_by_username(
    on: impl Into<Conn<'_>>,
    username: &Username,
) -> Result<Option<User>, StorageError> {
    let user: Option<UserRow> = row!(
        on,
        UserRow,
        "select id, username, email, name, password_hash, disabled_at, created_at, last_login_at,
                (select string_agg(role, ' ') from user_roles where user_id = users.id) as roles
         from users where username = $1",
        username.as_str()
    );
    user.map(UserRow::into_model).transpose()
}

/// What a login is judged by.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPassword {
    /// Whose.
    pub id: UserId,
    /// Its hash.
    pub hash: String,
    /// Whether the user is not switched off.
    pub is_enabled: bool,
    /// Whether the user has logged in from the source of the login of late.
    pub is_known_there: bool,
}

/// The stored password of the user with this name, who is known at `source` if they logged in from there since `since`:
/// all that is needed to tell that a password is wrong. Where there is no such user, as much is looked up and read with
/// what is `instead` of theirs, so that the time does not tell.
pub async fn find_password(
    on: impl Into<Conn<'_>>,
    username: &Username,
    (source, since): (&str, Timestamp),
    instead: (UserId, &str),
) -> Result<Option<StoredPassword>, StorageError> {
    let found: Option<(String, String, bool, bool, bool)> = row!(
        on,
        (String, String, bool, bool, bool),
        "select coalesce(users.id, $4), coalesce(users.password_hash, $5), users.id is not null,
                users.disabled_at is null,
                exists (select 1 from known_sources
                        where user_id = coalesce(users.id, $4) and source = $2 and last_success_at >= $3)
         from (select 1 as one) as always left join users on users.username = $1",
        username.as_str(),
        source,
        since.as_secs(),
        instead.0.to_string(),
        instead.1
    );
    let Some((id, hash, is_there, is_enabled, is_known_there)) = found else { return Ok(None) };
    let stored = StoredPassword { id: parse(&id)?, hash, is_enabled, is_known_there };
    Ok(Some(stored).filter(|_| is_there))
}

/// The user with this id.
pub async fn find(on: impl Into<Conn<'_>>, id: UserId) -> Result<Option<User>, StorageError> {
    let user: Option<UserRow> = row!(
        on,
        UserRow,
        "select id, username, email, name, password_hash, disabled_at, created_at, last_login_at,
                (select string_agg(role, ' ') from user_roles where user_id = users.id) as roles
         from users where id = $1",
        id.to_string()
    );
    user.map(UserRow::into_model).transpose()
}

/// All users, by name.
pub async fn list(db: &Db) -> Result<Vec<User>, StorageError> {
    let users: Vec<UserRow> = rows!(
        db,
        UserRow,
        "select id, username, email, name, password_hash, disabled_at, created_at, last_login_at,
                cast(null as text) as roles
         from users order by username"
    );
    let held: Vec<(String, String)> =
        rows!(db, (String, String), "select user_id, role from user_roles order by user_id, role");

    let mut by_user: HashMap<String, Vec<RoleName>> = HashMap::new();
    for (user_id, role) in held {
        by_user.entry(user_id).or_default().push(parse(&role)?);
    }
    users
        .into_iter()
        .map(|row| {
            let roles = by_user.remove(&row.id).unwrap_or_default();
            row.into_model().map(|user| User { roles, ..user })
        })
        .collect()
}

/// Adds a user; [`StorageError::AlreadyExists`] if the name is taken, [`StorageError::Dangling`] if a role is not
/// there.
pub async fn insert(tx: &mut Tx, user: &User) -> Result<(), StorageError> {
    execute!(
        &mut *tx,
        "insert into users (id, username, email, name, password_hash, disabled_at, created_at, last_login_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        user.id.to_string(),
        user.username.as_str(),
        user.email.as_deref(),
        user.name.as_deref(),
        user.password_hash.as_str(),
        user.disabled_at.map(Timestamp::as_secs),
        user.created_at.as_secs(),
        user.last_login_at.map(Timestamp::as_secs),
    );
    set_roles(tx, user.id, &user.roles).await
}

/// Keeps others from changing the user with this name until the transaction ends.
pub async fn lock(tx: &mut Tx, username: &Username) -> Result<(), StorageError> {
    execute!(tx, "update users set username = username where username = $1", username.as_str());
    Ok(())
}

/// Replaces a user's e-mail address and full name; `false` if there is none.
pub async fn update(
    tx: &mut Tx,
    id: UserId,
    email: Option<&str>,
    name: Option<&str>,
) -> Result<bool, StorageError> {
    let changed =
        execute!(tx, "update users set email = $2, name = $3 where id = $1", id.to_string(), email, name);
    Ok(changed == 1)
}

/// Replaces the roles of a user; [`StorageError::Dangling`] if one is not there.
pub async fn set_roles(tx: &mut Tx, id: UserId, roles: &[RoleName]) -> Result<(), StorageError> {
    execute!(&mut *tx, "delete from user_roles where user_id = $1", id.to_string());
    for role in roles {
        execute!(
            &mut *tx,
            "insert into user_roles (user_id, role) values ($1, $2) on conflict (user_id, role) do nothing",
            id.to_string(),
            role.as_str()
        );
    }
    Ok(())
}

/// Sets a user's password anew; `false` if there is none.
pub async fn set_password(tx: &mut Tx, id: UserId, hash: &str) -> Result<bool, StorageError> {
    let changed = execute!(tx, "update users set password_hash = $2 where id = $1", id.to_string(), hash);
    Ok(changed == 1)
}

/// Notes a login with the password whose hash was `verified`, and replaces that hash by `rehashed` if given.
/// `false` if the user was switched off or given another password meanwhile: the login does not count.
pub async fn record_login(
    tx: &mut Tx,
    id: UserId,
    verified: &str,
    rehashed: Option<&str>,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let changed = execute!(
        tx,
        "update users set last_login_at = $3, password_hash = coalesce($4, password_hash)
         where id = $1 and password_hash = $2 and disabled_at is null",
        id.to_string(),
        verified,
        now.as_secs(),
        rehashed,
    );
    Ok(changed == 1)
}

/// Switches a user off; `false` if there is none.
pub async fn disable(tx: &mut Tx, id: UserId, at: Timestamp) -> Result<bool, StorageError> {
    let changed =
        execute!(tx, "update users set disabled_at = $2 where id = $1", id.to_string(), at.as_secs());
    Ok(changed == 1)
}

/// Switches a user on who is off; `false` if they are on, or there is none: of several at once one changes something.
pub async fn enable(tx: &mut Tx, id: UserId) -> Result<bool, StorageError> {
    let changed = execute!(
        tx,
        "update users set disabled_at = null where id = $1 and disabled_at is not null",
        id.to_string()
    );
    Ok(changed == 1)
}

/// Deletes a user with their families; `false` if there is none.
pub async fn delete(tx: &mut Tx, id: UserId) -> Result<bool, StorageError> {
    Ok(execute!(tx, "delete from users where id = $1", id.to_string()) == 1)
}

/// How many users do not hold the role `name`.
pub async fn count_without(on: impl Into<Conn<'_>>, name: &RoleName) -> Result<i64, StorageError> {
    let count: Option<(i64,)> = row!(
        on,
        (i64,),
        "select count(*) from users
         where not exists (select 1 from user_roles where user_id = users.id and role = $1)",
        name.as_str()
    );
    Ok(count.map_or(0, |(count,)| count))
}

/// Some ids and password hashes from `after` on, in the order of the ids; none at the end.
pub async fn hashes_page(
    on: impl Into<Conn<'_>>,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<(UserId, String)>, StorageError> {
    let found: Vec<(String, String)> = rows!(
        on,
        (String, String),
        "select id, password_hash from users where id > $1 order by id limit $2",
        after.map_or(String::new(), |id| id.to_string()),
        i64::from(limit)
    );
    found.into_iter().map(|(id, hash)| Ok((parse(&id)?, hash))).collect()
}

impl UserRow {
    fn into_model(self) -> Result<User, StorageError> {
        self.columns.into_model(&self.id)
    }
}

impl UserColumns {
    pub(super) fn into_model(self, id: &str) -> Result<User, StorageError> {
        let mut roles: Vec<RoleName> = self
            .roles
            .as_deref()
            .unwrap_or_default()
            .split_ascii_whitespace()
            .map(parse)
            .collect::<Result<_, _>>()?;
        roles.sort();
        Ok(User {
            id: parse(id)?,
            username: parse(&self.username)?,
            email: self.email,
            name: self.name,
            roles,
            password_hash: self.password_hash,
            disabled_at: self.disabled_at.map(Timestamp::from_secs),
            created_at: Timestamp::from_secs(self.created_at),
            last_login_at: self.last_login_at.map(Timestamp::from_secs),
        })
    }
}
