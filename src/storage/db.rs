//! The only file that names a database driver. Two arms that differ in the driver's type, and nothing else.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};

use crate::model::secret::PlainSecret;

use super::error::StorageError;
use super::group_commit::{Intent, Line, Member};
use super::lasting::Lasting;
use super::lending::{Lender, LentTransaction};
use super::private_file::{PrivateFileError, make_private};
use super::readers::Readers;
use super::sqlite_file::SqliteFile;

/// How long a transaction may take to begin, which on SQLite is how long other writers are waited for.
const BEGIN_PATIENCE: Duration = Duration::from_secs(5);
/// A migration waits for the one that runs beside it.
pub(super) const POSTGRES_MIGRATION: &str = "set lock_timeout = 0";

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
        readers: Readers,
        /// Past the line; for migrations.
        write: SqlitePool,
        /// Where writers stand, and not in SQLite's busy loop.
        line: Arc<Line>,
        /// The file.
        file: Arc<SqliteFile>,
    },
    /// Postgres.
    Postgres(Lender),
}

/// A transaction; rolled back unless committed.
pub enum Tx {
    /// Alone while it runs, committed with others.
    Sqlite(Member),
    /// Read committed; conditional statements decide races.
    Postgres(LentTransaction),
}

/// Whatever a statement can run on; made from `&Db` or `&mut Tx`.
pub enum Conn<'a> {
    /// Any reading connection.
    SqliteReaders(&'a Readers),
    /// The one in a transaction.
    Sqlite(&'a mut SqliteConnection),
    /// Any connection.
    PostgresLender(&'a Lender),
    /// The one in a transaction.
    Postgres(&'a mut PgConnection),
}

impl<'a> From<&'a Db> for Conn<'a> {
    fn from(db: &'a Db) -> Self {
        match db {
            Db::Sqlite { readers, .. } => Self::SqliteReaders(readers),
            Db::Postgres(lender) => Self::PostgresLender(lender),
        }
    }
}

impl<'a> From<&'a mut Tx> for Conn<'a> {
    fn from(tx: &'a mut Tx) -> Self {
        match tx {
            Tx::Sqlite(member) => Self::Sqlite(member.connection()),
            Tx::Postgres(tx) => Self::Postgres(tx.connection()),
        }
    }
}

/// Runs one statement on a [`Conn`], with `$1`, `$2`… bound in order.
macro_rules! run {
    ($conn:expr, $query:expr, $method:ident, $($bind:expr),*) => {
        match $conn {
            $crate::storage::db::Conn::SqliteReaders(readers) => {
                let mut reader = readers.lend().await?;
                let answer = $query$(.bind($bind))*.$method(reader.connection()).await?;
                reader.give_back();
                answer
            }
            $crate::storage::db::Conn::Sqlite(on) => $query$(.bind($bind))*.$method(on).await?,
            $crate::storage::db::Conn::PostgresLender(lender) => {
                let mut lent = lender.lend().await?;
                let answer = $query$(.bind($bind))*.$method(lent.connection()).await?;
                lent.give_back();
                answer
            }
            $crate::storage::db::Conn::Postgres(on) => $query$(.bind($bind))*.$method(on).await?,
        }
    };
}

/// All rows of a select, each as `$row`.
macro_rules! rows {
    ($conn:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::storage::db::run!($conn.into(), sqlx::query_as::<_, $row>($sql), fetch_all, $($bind),*)
    };
}

/// The one row of a select, if there is one, as `$row`.
macro_rules! row {
    ($conn:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::storage::db::run!($conn.into(), sqlx::query_as::<_, $row>($sql), fetch_optional, $($bind),*)
    };
}

/// Runs a statement inside a transaction; gives the number of rows it changed.
macro_rules! execute {
    ($tx:expr, $sql:expr $(, $bind:expr)* $(,)?) => {
        match $tx {
            $crate::storage::db::Tx::Sqlite(on) => {
                sqlx::query($sql)$(.bind($bind))*.execute(on.connection()).await?.rows_affected()
            }
            $crate::storage::db::Tx::Postgres(on) => {
                sqlx::query($sql)$(.bind($bind))*.execute(on.connection()).await?.rows_affected()
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
        self.begin_in_time(Intent::Several).await
    }

    /// Begins a transaction of one statement that writes all or nothing, for which less is done: `commit` it if it wrote
    /// something, and `rollback` only if it did not. Nobody may go away in between, so let it run to its end whoever waits
    /// ([`Lasting`]).
    pub async fn begin_one_statement(&self) -> Result<Tx, StorageError> {
        self.begin_in_time(Intent::One).await
    }

    /// Begins a transaction that a power cut may take back as long as no other was committed after it; a killed process
    /// takes nothing back. Nobody may have been told of it.
    pub async fn begin_forgettable(&self) -> Result<Tx, StorageError> {
        self.begin_in_time(Intent::Forgettable).await
    }

    async fn begin_in_time(&self, intent: Intent) -> Result<Tx, StorageError> {
        let begun = tokio::time::timeout(BEGIN_PATIENCE, self.begin_in_the_end(intent)).await;
        begun.unwrap_or_else(|_| Err(StorageError::unavailable("a transaction could not be begun in time")))
    }

    async fn begin_in_the_end(&self, intent: Intent) -> Result<Tx, StorageError> {
        match self {
            Self::Sqlite { line, .. } => Ok(Tx::Sqlite(line.begin(intent).await?)),
            Self::Postgres(lender) if intent == Intent::One => {
                Ok(Tx::Postgres(LentTransaction::of_one_statement(lender).await?))
            }
            Self::Postgres(lender) => Ok(Tx::Postgres(LentTransaction::begin(lender).await?)),
        }
    }

    /// The runtime that opened it.
    pub fn lasting(&self) -> &Lasting {
        match self {
            Self::Sqlite { line, .. } => line.lasting(),
            Self::Postgres(lender) => lender.lasting(),
        }
    }

    /// Whether there is somebody to connect to.
    pub async fn takes_connections(&self) -> bool {
        match self {
            Self::Sqlite { .. } => true,
            Self::Postgres(lender) => lender.takes_connections().await,
        }
    }

    /// Ends all connections in good order; a SQLite file is then whole without its WAL.
    pub async fn close(&self) {
        match self {
            Self::Sqlite { readers, write, line, .. } => {
                line.close().await;
                readers.close().await;
                write.close().await;
            }
            Self::Postgres(lender) => lender.close().await,
        }
    }
}

impl Tx {
    /// Whether nothing changes beside it, so that each of its statements sees the same.
    pub const fn is_the_only_one(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(_) => false,
        }
    }

    /// Whether its one statement is on the disk of this machine when it is done, with nothing more to say.
    pub const fn commits_itself(&self) -> bool {
        match self {
            Self::Sqlite(member) => member.commits_itself(),
            Self::Postgres(_) => false,
        }
    }

    /// Undoes what was done, and lets go of its locks before it returns. A dropped transaction is undone too, but nobody
    /// hears when.
    pub async fn rollback(self) -> Result<(), StorageError> {
        match self {
            Self::Sqlite(member) => member.rollback().await,
            Self::Postgres(tx) => tx.rollback().await,
        }
    }

    /// Undoes what was done before a statement that failed, if its error is all there is to tell.
    pub async fn give_up(self) {
        match self {
            Self::Sqlite(member) => {
                let _the_statement_has_said_it = member.rollback().await;
            }
            // A connection that may be broken is closed.
            Self::Postgres(_) => {}
        }
    }

    /// Makes what was done durable. Whoever gets an error here does not know whether it was.
    pub async fn commit(self) -> Result<(), StorageError> {
        match self {
            Self::Sqlite(member) => member.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
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
        .busy_timeout(BEGIN_PATIENCE)
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(BEGIN_PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None);

    let mut patience = 50_u32;
    let write = loop {
        match pool.clone().connect_with(options.clone()).await {
            // Others start at the same time: the change to WAL, with which a file begins, waits for nobody.
            Err(error) if patience > 0 && is_busy(&error) => {
                patience -= 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            connected => break connected.map_err(failed)?,
        }
    };
    let (version,): (String,) =
        sqlx::query_as("select sqlite_version()").fetch_one(&write).await.map_err(failed)?;
    if version_of(&version) < [3, 51, 3] {
        return Err(OpenError::OldSqlite(version));
    }
    let readers = Readers::new(options.clone(), max_connections, BEGIN_PATIENCE);
    let file = SqliteFile::of(path.to_owned())
        .map_err(|cause| PrivateFileError::Make { path: path.to_owned(), cause })?;
    let file = Arc::new(file);
    let line = Line::new(options.clone(), Arc::clone(&file), Lasting::here());
    Ok(Db::Sqlite { readers, write, line, file })
}

async fn open_postgres(url: &PlainSecret, max_connections: u32) -> Result<Db, OpenError> {
    let options =
        PgConnectOptions::from_str(url.expose()).map_err(|error| OpenError::Url(redacted(&error, url)))?;
    let place = format!("postgres://{}:{}", options.get_host(), options.get_port());
    let options = options.application_name("grantd").disable_statement_logging();

    let lender = Lender::new(options, max_connections, Lasting::here());
    let first = lender.lend().await.map_err(|cause| OpenError::Connect { place, cause })?;
    first.give_back();
    Ok(Db::Postgres(lender))
}

/// SQLITE_BUSY, whatever its extended code says besides.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

fn version_of(text: &str) -> [u32; 3] {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

fn redacted(error: &sqlx::Error, url: &PlainSecret) -> String {
    error.to_string().replace(url.expose(), "(the URL)")
}
