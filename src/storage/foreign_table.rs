//! Reads a table of somebody else's database, SQLite or Postgres: all of it as it was at one moment, and nothing but
//! reading. Names of tables and columns come from outside, and are quoted; values come out as text, whatever they are.

use std::path::Path;
use std::str::FromStr as _;

use futures_util::StreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions as _, Row as _};
use tokio::sync::mpsc::Sender;

use super::db::Location;
use super::error::StorageError;

/// Rows that are handed on together.
const AT_ONCE: usize = 500;

/// One row: the columns that were asked for, in that order.
pub type ForeignRow = Vec<Option<String>>;

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ForeignTableError {
    /// Not a name that a table can have.
    #[error(
        "'{0}' is not the name of a table: give it as it stands in the database, with its schema before a dot if it has another than the usual one"
    )]
    Name(String),
    /// The database does not open, has no such table or does not let it be read.
    #[error("the table cannot be read: {0}; look at --from and --table, and whether this user may read it")]
    Unreadable(String),
}

/// A table, on a connection that sees it as it is now until it is dropped.
pub struct ForeignTable {
    on: On,
    /// Quoted.
    table: String,
    columns: Vec<String>,
}

enum On {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Runs the same on either connection.
macro_rules! on_either {
    ($on:expr, $connection:ident => $run:expr) => {
        match $on {
            On::Sqlite($connection) => $run,
            On::Postgres($connection) => $run,
        }
    };
}

impl ForeignTable {
    /// Opens the database for reading, and looks which columns the table has.
    pub async fn open(location: &Location, table: &str) -> Result<Self, ForeignTableError> {
        let quoted = quoted_table(table).ok_or_else(|| ForeignTableError::Name(table.to_owned()))?;
        let mut on = match location {
            Location::Sqlite(path) => On::Sqlite(open_sqlite(path).await?),
            Location::Postgres(url) => On::Postgres(open_postgres(url.expose()).await?),
        };
        let text = format!("select * from {quoted} limit 1");
        let columns = on_either!(&mut on, connection => {
            let first = sqlx::query(AssertSqlSafe(text)).fetch_optional(connection).await.map_err(unreadable)?;
            first.map(|row| row.columns().iter().map(|column| column.name().to_owned()).collect())
        });
        Ok(Self { on, table: quoted, columns: columns.unwrap_or_default() })
    }

    /// The names of its columns; none where it is empty.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Reads these columns of all rows and hands them on; ends early where nobody takes them.
    pub async fn read(self, columns: &[String], to: Sender<Result<Vec<ForeignRow>, ForeignTableError>>) {
        // SQLite takes a quoted name that is no column's for a text.
        if let Some(unknown) = columns.iter().find(|column| !self.columns.contains(column)) {
            let why = format!("it has no column '{unknown}'");
            let _heard = to.send(Err(ForeignTableError::Unreadable(why))).await;
        } else if let Err(error) = self.read_to_the_end(columns, &to).await {
            // Whoever has gone does not want to know.
            let _heard = to.send(Err(unreadable(error))).await;
        }
    }

    async fn read_to_the_end(
        self,
        columns: &[String],
        to: &Sender<Result<Vec<ForeignRow>, ForeignTableError>>,
    ) -> Result<(), sqlx::Error> {
        let Self { on, table, .. } = self;
        // Both databases have a text for every value: `true`, `{a,b}`, `["a"]`.
        let list: Vec<String> =
            columns.iter().map(|column| format!("cast({} as text)", quoted(column))).collect();
        let text = format!("select {} from {table}", list.join(", "));
        on_either!(on, mut_connection => {
            let mut connection = mut_connection;
            let mut found = sqlx::query(AssertSqlSafe(text)).fetch(&mut connection);
            let mut some = Vec::with_capacity(AT_ONCE);
            while let Some(row) = found.next().await {
                let row = row?;
                let values = (0..columns.len()).map(|index| row.try_get(index));
                some.push(values.collect::<Result<ForeignRow, _>>()?);
                if some.len() == AT_ONCE && to.send(Ok(std::mem::take(&mut some))).await.is_err() {
                    return Ok(());
                }
            }
            if !some.is_empty() {
                let _taken = to.send(Ok(some)).await;
            }
        });
        Ok(())
    }
}

async fn open_sqlite(path: &Path) -> Result<SqliteConnection, ForeignTableError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .read_only(true)
        .disable_statement_logging();
    let mut connection = options.connect().await.map_err(unreadable)?;
    // Nothing in a view or a column of a stranger's file may call functions that do more than compute.
    for text in ["pragma trusted_schema = off", "pragma query_only = on", "begin"] {
        sqlx::query(text).execute(&mut connection).await.map_err(unreadable)?;
    }
    Ok(connection)
}

async fn open_postgres(url: &str) -> Result<PgConnection, ForeignTableError> {
    let redacted =
        |error: sqlx::Error| ForeignTableError::Unreadable(error.to_string().replace(url, "(the URL)"));
    let options = PgConnectOptions::from_str(url).map_err(redacted)?;
    let options = options.application_name("grantd user import").disable_statement_logging();
    let mut connection = options.connect().await.map_err(redacted)?;
    // One moment for the look at the columns and for the rows.
    let begin = "begin transaction isolation level repeatable read, read only";
    sqlx::query(begin).execute(&mut connection).await.map_err(redacted)?;
    Ok(connection)
}

fn unreadable(error: sqlx::Error) -> ForeignTableError {
    ForeignTableError::Unreadable(StorageError::from(error).into_reason())
}

/// `schema.table` or `table`.
fn quoted_table(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let is_name = |part: &&str| !part.is_empty() && !part.contains('\0');
    if parts.len() > 2 || !parts.iter().all(is_name) {
        return None;
    }
    Some(parts.into_iter().map(quoted).collect::<Vec<_>>().join("."))
}

/// An identifier, whatever it is made of: both databases double the quote, as SQL says.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_its_quotes() {
        assert_eq!(quoted_table("users").as_deref(), Some("\"users\""));
        assert_eq!(quoted_table("auth.users").as_deref(), Some("\"auth\".\"users\""));
        assert_eq!(
            quoted_table("users\"; drop table users; --").as_deref(),
            Some("\"users\"\"; drop table users; --\"")
        );
        for none in ["", ".", "a.", ".a", "a.b.c", "a\0b"] {
            assert_eq!(quoted_table(none), None, "{none:?}");
        }
    }
}
