//! Users on their way in: gathered in temporary tables of one connection, then put among the others by a handful of
//! statements. Whatever breaks off before the commit leaves nothing, and nobody waits for a writer until then.
//!
//! Decides nothing: who is refused has been said before, and whoever is there already stays as they are.

use std::fmt::Write as _;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use crate::model::role::RoleName;
use crate::model::time::Timestamp;
use crate::model::user::User;

use super::clients::parse;
use super::db::{Conn, Db, Tx, execute, rows};
use super::error::StorageError;
use super::group_commit::Line;
use super::lending::{Lent, LentTransaction};

/// Users for one statement: 8 values each, of which SQLite takes 32766 and Postgres 65535.
const AT_ONCE: usize = 250;
/// KiB that SQLite may keep in memory of a file that grows by a million rows at random places of two indexes, instead
/// of 2 MB: the time for which others cannot write is half as long.
const CACHE: &str = "pragma cache_size = -262144";

/// One user on their way in.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Where they stood: line or row.
    pub row: u64,
    /// Whether the id is not new, but what they were known by before.
    pub keeps_id: bool,
    /// The user.
    pub user: User,
}

/// Rows that stand in each other's way.
#[derive(Debug, PartialEq, Eq)]
pub struct Clash {
    /// Where it stands.
    pub row: u64,
    /// The user name.
    pub username: String,
}

/// Temporary tables, on a connection that nobody else uses.
pub struct Staging {
    on: On,
    /// Statements for [`AT_ONCE`] users and roles.
    users: String,
    roles: String,
}

enum On {
    Sqlite(SqliteConnection, std::sync::Arc<Line>),
    Postgres(Lent),
}

impl<'a> From<&'a mut Staging> for Conn<'a> {
    fn from(staging: &'a mut Staging) -> Self {
        match &mut staging.on {
            On::Sqlite(connection, _) => Self::Sqlite(connection),
            On::Postgres(lent) => Self::Postgres(lent.connection()),
        }
    }
}

/// Runs one statement on a [`Staging`]; gives the number of rows it changed.
macro_rules! stage {
    ($staging:expr, $sql:expr $(, $bind:expr)* $(,)?) => {
        match &mut $staging.on {
            On::Sqlite(on, _) => sqlx::query($sql)$(.bind($bind))*.execute(on).await?.rows_affected(),
            On::Postgres(on) => {
                sqlx::query($sql)$(.bind($bind))*.execute(on.connection()).await?.rows_affected()
            }
        }
    };
}

/// The same for a number of rows that are bound one after another.
macro_rules! stage_rows {
    ($staging:expr, $sql:expr, $rows:expr, |$query:ident, $row:pat_param| $bound:expr) => {
        match &mut $staging.on {
            On::Sqlite(on, _) => {
                let mut $query = sqlx::query(AssertSqlSafe($sql));
                for $row in $rows {
                    $query = $bound;
                }
                $query.execute(on).await?;
            }
            On::Postgres(on) => {
                let mut $query = sqlx::query(AssertSqlSafe($sql));
                for $row in $rows {
                    $query = $bound;
                }
                $query.execute(on.connection()).await?;
            }
        }
    };
}

impl Staging {
    /// Empty tables on a connection of their own.
    pub async fn open(db: &Db) -> Result<Self, StorageError> {
        let on = match db {
            Db::Sqlite { line, .. } => On::Sqlite(line.connect().await?, std::sync::Arc::clone(line)),
            Db::Postgres(lender) => On::Postgres(lender.lend().await?),
        };
        let mut staging = Self { on, users: users_text(AT_ONCE), roles: roles_text(AT_ONCE) };
        match &mut staging.on {
            On::Sqlite(connection, _) => sqlx::query(CACHE).execute(connection).await.map(drop)?,
            // Of an import before, on a connection that was kept.
            On::Postgres(lent) => {
                sqlx::query("discard temp").execute(lent.connection()).await.map(drop)?;
            }
        }
        stage!(
            staging,
            "create temporary table import_users (
                 row bigint not null, keeps_id bigint not null, id text not null, username text not null,
                 email text, name text, password_hash text not null, disabled_at bigint
             )"
        );
        stage!(staging, "create temporary table import_roles (row bigint not null, role text not null)");
        stage!(staging, "create temporary table import_refused (username text not null)");
        Ok(staging)
    }

    /// Takes users in, whatever they are called.
    pub async fn add(&mut self, incoming: &[Incoming]) -> Result<(), StorageError> {
        for some in incoming.chunks(AT_ONCE) {
            let text = if some.len() == AT_ONCE { self.users.clone() } else { users_text(some.len()) };
            stage_rows!(self, text, some, |query, Incoming { row, keeps_id, user }| {
                query
                    .bind(number(*row))
                    .bind(i64::from(*keeps_id))
                    .bind(user.id.to_string())
                    .bind(user.username.as_str())
                    .bind(user.email.as_deref())
                    .bind(user.name.as_deref())
                    .bind(user.password_hash.as_str())
                    .bind(user.disabled_at.map(Timestamp::as_secs))
            });
        }
        let mut roles: Vec<(u64, &RoleName)> = Vec::new();
        for Incoming { row, user, .. } in incoming {
            roles.extend(user.roles.iter().map(|role| (*row, role)));
        }
        for some in roles.chunks(AT_ONCE) {
            let text = if some.len() == AT_ONCE { self.roles.clone() } else { roles_text(some.len()) };
            stage_rows!(self, text, some, |query, (row, role)| {
                query.bind(number(*row)).bind(role.as_str())
            });
        }
        Ok(())
    }

    /// Notes names of rows that were refused: whoever else has one of them is not known to be its owner.
    pub async fn note_refused(&mut self, usernames: &[&str]) -> Result<(), StorageError> {
        for some in usernames.chunks(AT_ONCE) {
            let text = many("insert into import_refused (username) values ", 1, some.len());
            stage_rows!(self, text, some, |query, username| query.bind(*username));
        }
        Ok(())
    }

    /// To be called when all are in, before the rest.
    pub async fn arrange(&mut self) -> Result<(), StorageError> {
        stage!(self, "create index import_users_by_name on import_users (username)");
        stage!(self, "create index import_users_by_row on import_users (row)");
        // Neither database looks by itself at how large a temporary table has become.
        stage!(self, "analyze import_users");
        Ok(())
    }

    /// All rows whose user name stands more than once, refused rows counted, in the order of the names; takes them out.
    pub async fn take_same_names(&mut self) -> Result<Vec<Clash>, StorageError> {
        let found: Vec<(i64, String)> = rows!(
            &mut *self,
            (i64, String),
            "select row, username from import_users
             where username in (select username from import_users group by username having count(*) > 1)
                or username in (select username from import_refused)
             order by username, row"
        );
        if !found.is_empty() {
            stage!(
                self,
                "delete from import_users
                 where username in (select username from import_users group by username having count(*) > 1)
                    or username in (select username from import_refused)"
            );
        }
        Ok(clashes(found))
    }

    /// All rows that want to keep an id which another row keeps too, or which somebody of another name has here, and
    /// takes them out.
    pub async fn take_same_ids(&mut self) -> Result<Vec<Clash>, StorageError> {
        let found: Vec<(i64, String)> = rows!(
            &mut *self,
            (i64, String),
            "select row, username from import_users
             where keeps_id = 1 and (
                 id in (select id from import_users where keeps_id = 1 group by id having count(*) > 1)
                 or exists (select 1 from users
                            where users.id = import_users.id and users.username <> import_users.username)
             ) order by row"
        );
        for (row, _) in &found {
            stage!(self, "delete from import_users where row = $1", row);
        }
        Ok(clashes(found))
    }

    /// Takes out those whose name is a user's already; gives their number.
    pub async fn take_existing(&mut self) -> Result<u64, StorageError> {
        Ok(stage!(
            self,
            "delete from import_users where exists (select 1 from users where users.username = import_users.username)"
        ))
    }

    /// How many are left, and how many of them will hold each role.
    pub async fn count(&mut self) -> Result<(u64, Vec<(RoleName, u64)>), StorageError> {
        let users: Vec<(i64,)> = rows!(&mut *self, (i64,), "select count(*) from import_users");
        let roles: Vec<(String, i64)> = rows!(
            &mut *self,
            (String, i64),
            "select role, count(*) from import_roles
             where exists (select 1 from import_users where import_users.row = import_roles.row)
             group by role order by role"
        );
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let roles = roles.into_iter().map(|(role, number)| Ok((parse(&role)?, count(number))));
        let users = users.first().map_or(0, |(users,)| count(*users));
        Ok((users, roles.collect::<Result<_, StorageError>>()?))
    }

    /// Begins the transaction in which [`insert`] finds the tables. From here on others wait who write to SQLite.
    pub async fn begin(self) -> Result<Tx, StorageError> {
        match self.on {
            On::Sqlite(connection, line) => Ok(Tx::Sqlite(line.begin_on(connection).await?)),
            On::Postgres(lent) => Ok(Tx::Postgres(LentTransaction::begin_on(lent).await?)),
        }
    }
}

/// Puts all that are left among the users; gives their number. [`StorageError::AlreadyExists`] if one of them was made
/// meanwhile, [`StorageError::Dangling`] if a role is gone.
pub async fn insert(tx: &mut Tx, now: Timestamp) -> Result<u64, StorageError> {
    let created = execute!(
        &mut *tx,
        "insert into users (id, username, email, name, password_hash, disabled_at, created_at, last_login_at)
         select id, username, email, name, password_hash, disabled_at, $1, null from import_users",
        now.as_secs(),
    );
    execute!(
        &mut *tx,
        "insert into user_roles (user_id, role)
         select distinct import_users.id, import_roles.role from import_roles
         join import_users on import_users.row = import_roles.row",
    );
    Ok(created)
}

fn clashes(found: Vec<(i64, String)>) -> Vec<Clash> {
    let clash = |(row, username)| Clash { row: u64::try_from(row).unwrap_or(0), username };
    found.into_iter().map(clash).collect()
}

fn number(row: u64) -> i64 {
    i64::try_from(row).unwrap_or(i64::MAX)
}

/// One statement for so many users. Nothing but placeholders varies.
fn users_text(rows: usize) -> String {
    let columns = "(row, keeps_id, id, username, email, name, password_hash, disabled_at)";
    many(&format!("insert into import_users {columns} values "), 8, rows)
}

fn roles_text(rows: usize) -> String {
    many("insert into import_roles (row, role) values ", 2, rows)
}

fn many(start: &str, columns: usize, rows: usize) -> String {
    let mut text = start.to_owned();
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            let comma = if column == 1 { "" } else { ", " };
            // To a String, which takes everything.
            let _written = write!(text, "{comma}${}", row * columns + column);
        }
        text.push(')');
    }
    text
}
