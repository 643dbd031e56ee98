//! The only file that names a database driver. Two arms that differ in the driver's type, and nothing else.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Postgres, Sqlite, Transaction};

use crate::model::secret::PlainSecret;

use super::error::StorageError;
use super::private_file::{PrivateFileError, make_private};

/// Where the database is.
#[derive(Clone, Debug)]
pub enum Location {
    /// A file, made if it is missing.
    Sqlite(PathBuf),
    /// A `postgres://` URL, which may hold a password.
    Postgres(PlainSecret),
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be made, or is not for us alone.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The URL is not one.
    #[error(
        "database.url is not a Postgres URL: {0}; it looks like postgres://user:password@host:5432/database"
    )]
    Url(String),
    /// The library that was linked loses commits, <https://sqlite.org/wal.html> (fixed in 3.51.3).
    #[error("SQLite {0} is older than 3.51.3 and can lose commits: build grantd with its bundled SQLite")]
    OldSqlite(String),
    /// It does not answer.
    #[error("cannot open the database {place}: {cause}")]
    Connect {
        /// Which, without a password.
        place: String,
        /// Why.
        cause: StorageError,
    },
}

/// An open database.
#[derive(Clone)]
pub enum Db {
    /// SQLite: many readers, one writer.
    Sqlite {
        /// Cannot write.
        read: SqlitePool,
        /// One connection, so that writers queue here and not in SQLite's busy loop.
        write: SqlitePool,
        /// The file.
        path: PathBuf,
    },
    /// Postgres.
    Postgres(PgPool),
}

/// A transaction; rolled back unless committed.
pub enum Tx {
    /// Begun with `begin immediate`, so that reading first never ends in "database is locked".
    Sqlite(Transaction<'static, Sqlite>),
    /// Read committed; conditional statements decide races.
    Postgres(Transaction<'static, Postgres>),
}

/// Whatever a statement can run on; made from `&Db` or `&mut Tx`.
pub enum Conn<'a> {
    /// Any reading connection.
    SqlitePool(&'a SqlitePool),
    /// The one in a transaction.
    Sqlite(&'a mut SqliteConnection),
    /// Any connection.
    PostgresPool(&'a PgPool),
    /// The one in a transaction.
    Postgres(&'a mut PgConnection),
}

impl<'a> From<&'a Db> for Conn<'a> {
    fn from(db: &'a Db) -> Self {
        match db {
            Db::Sqlite { read, .. } => Self::SqlitePool(read),
            Db::Postgres(pool) => Self::PostgresPool(pool),
        }
    }
}

impl<'a> From<&'a mut Tx> for Conn<'a> {
    fn from(tx: &'a mut Tx) -> Self {
        match tx {
            Tx::Sqlite(tx) => Self::Sqlite(tx),
            Tx::Postgres(tx) => Self::Postgres(tx),
        }
    }
}

/// Runs one statement on a [`Conn`], with `$1`, `$2`… bound in order.
macro_rules! run {
    ($conn:expr, $query:expr, $method:ident, $($bind:expr),*) => {
        match $conn {
            $crate::storage::db::Conn::SqlitePool(on) => $query$(.bind($bind))*.$method(on).await?,
            $crate::storage::db::Conn::Sqlite(on) => $query$(.bind($bind))*.$method(on).await?,
            $crate::storage::db::Conn::PostgresPool(on) => $query$(.bind($bind))*.$method(on).await?,
            $crate::storage::db::Conn::Postgres(on) => $query$(.bind($bind))*.$method(on).await?,
        }
    };
}

/// All rows of a select, each as `$row`.
macro_rules! rows {
    ($conn:expr, $row:ty, $sql:literal $(, $bind:expr)* $(,)?) => {
        $crate::storage::db::run!($conn.into(), sqlx::query_as::<_, $row>($sql), fetch_all, $($bind),*)
    };
}

/// The one row of a select, if there is one, as `$row`.
macro_rules! row {
    ($conn:expr, $row:ty, $sql:literal $(, $bind:expr)* $(,)?) => {
        $crate::storage::db::run!($conn.into(), sqlx::query_as::<_, $row>($sql), fetch_optional, $($bind),*)
    };
}

/// Runs a statement inside a transaction; gives the number of rows it changed.
macro_rules! execute {
    ($tx:expr, $sql:literal $(, $bind:expr)* $(,)?) => {
        match $tx {
            $crate::storage::db::Tx::Sqlite(on) => {
                sqlx::query($sql)$(.bind($bind))*.execute(&mut **on).await?.rows_affected()
            }
            $crate::storage::db::Tx::Postgres(on) => {
                sqlx::query($sql)$(.bind($bind))*.execute(&mut **on).await?.rows_affected()
            }
        }
    };
}

pub(super) use {execute, row, rows, run};

impl Db {
    /// Opens the database, making the SQLite file if it is missing; `max_connections` has a default by database.
    pub async fn open(location: &Location, max_connections: Option<u32>) -> Result<Self, OpenError> {
        match location {
            Location::Sqlite(path) => open_sqlite(path, max_connections.unwrap_or(4)).await,
            Location::Postgres(url) => open_postgres(url, max_connections.unwrap_or(16)).await,
        }
    }

    /// Begins a transaction that may write.
    pub async fn begin(&self) -> Result<Tx, StorageError> {
        Ok(match self {
            Self::Sqlite { write, .. } => Tx::Sqlite(write.begin_with("begin immediate").await?),
            Self::Postgres(pool) => Tx::Postgres(pool.begin().await?),
        })
    }

    /// Ends all connections in good order; a SQLite file is then whole without its WAL.
    pub async fn close(&self) {
        match self {
            Self::Sqlite { read, write, .. } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    /// Undoes what was done, and lets go of its locks at once. A dropped transaction is undone too, but only when its
    /// connection is next looked at.
    pub async fn rollback(self) -> Result<(), StorageError> {
        match self {
            Self::Sqlite(tx) => tx.rollback().await?,
            Self::Postgres(tx) => tx.rollback().await?,
        }
        Ok(())
    }

    /// Makes what was done durable.
    pub async fn commit(self) -> Result<(), StorageError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

async fn open_sqlite(path: &Path, max_connections: u32) -> Result<Db, OpenError> {
    make_private(path)?;
    let failed =
        |error: sqlx::Error| OpenError::Connect { place: path.display().to_string(), cause: error.into() };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // What was answered 200 must survive a power cut, so every commit is synced.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging();
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(5))
            .idle_timeout(None)
            .max_lifetime(None)
    };

    let write = pool(1).connect_with(options.clone()).await.map_err(failed)?;
    let (version,): (String,) =
        sqlx::query_as("select sqlite_version()").fetch_one(&write).await.map_err(failed)?;
    if version_of(&version) < [3, 51, 3] {
        return Err(OpenError::OldSqlite(version));
    }
    let read = pool(max_connections.max(1)).connect_lazy_with(options.pragma("query_only", "on"));
    Ok(Db::Sqlite { read, write, path: path.to_owned() })
}

async fn open_postgres(url: &PlainSecret, max_connections: u32) -> Result<Db, OpenError> {
    let options =
        PgConnectOptions::from_str(url.expose()).map_err(|error| OpenError::Url(redacted(&error, url)))?;
    let place = format!("postgres://{}:{}", options.get_host(), options.get_port());
    let options = options.application_name("grantd").disable_statement_logging();
    let patience = Duration::from_secs(3);

    // One connection by itself first: a pool tries again until its time is over, and then forgets why.
    let first = tokio::time::timeout(patience, options.connect()).await;
    let connected = match first {
        Ok(connected) => connected.map_err(StorageError::from),
        Err(_) => Err(StorageError::Unavailable(format!("no answer within {} s", patience.as_secs()))),
    };
    let connection = connected.map_err(|cause| OpenError::Connect { place, cause })?;
    // It was good enough to ask; how it ends does not matter.
    let _ended = connection.close().await;

    let pool = PgPoolOptions::new().max_connections(max_connections.max(1)).acquire_timeout(patience);
    Ok(Db::Postgres(pool.connect_lazy_with(options)))
}

fn version_of(text: &str) -> [u32; 3] {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

fn redacted(error: &sqlx::Error, url: &PlainSecret) -> String {
    error.to_string().replace(url.expose(), "(the URL)")
}
