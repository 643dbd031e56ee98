//! The only file that names a database driver. Two arms that differ in the driver's type, and nothing else.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Postgres, Row as _, Transaction};

use crate::model::secret::PlainSecret;

use super::error::StorageError;
use super::group_commit::{Line, Member};
use super::private_file::{PrivateFileError, make_private};
use super::sqlite_file::SqliteFile;

/// How long a connection is waited for.
const ACQUIRE_PATIENCE: Duration = Duration::from_secs(3);
/// How long a transaction may take to begin, which on SQLite is how long other writers are waited for.
const BEGIN_PATIENCE: Duration = Duration::from_secs(5);
/// How long an open connection may be silent when it is asked whether it is there.
const PING_PATIENCE: Duration = Duration::from_secs(1);

/// How old a session may get that cannot write.
const READ_ONLY_SESSION: Duration = Duration::from_secs(3);

/// What bounds a session on the other side of the wire. A request is given up after ten seconds; the locks that it
/// holds or waits for must go soon after, also if this machine has vanished and nobody can say so. Statements are not
/// bounded: to end a million sessions takes as long as it takes.
const POSTGRES_SESSION: &str = "set lock_timeout = '5s'; set idle_in_transaction_session_timeout = '10s';
    set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3;
    set tcp_user_timeout = '15s'";
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
        read: SqlitePool,
        /// One connection, so that writers stand in line here and not in SQLite's busy loop.
        write: SqlitePool,
        /// The line.
        line: Arc<Line>,
        /// The file.
        file: Arc<SqliteFile>,
    },
    /// Postgres.
    Postgres(PgPool),
}

/// A transaction; rolled back unless committed.
pub enum Tx {
    /// Alone while it runs, committed with others.
    Sqlite(Member),
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
            Tx::Sqlite(member) => Self::Sqlite(member.connection()),
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
                sqlx::query($sql)$(.bind($bind))*.execute(on.connection()).await?.rows_affected()
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
        let begun = tokio::time::timeout(BEGIN_PATIENCE, self.begin_in_the_end()).await;
        begun.unwrap_or_else(|_| Err(StorageError::unavailable("a transaction could not be begun in time")))
    }

    async fn begin_in_the_end(&self) -> Result<Tx, StorageError> {
        match self {
            Self::Sqlite { line, .. } => Ok(Tx::Sqlite(line.begin().await?)),
            Self::Postgres(pool) => {
                // On a task of its own, which goes on if nobody waits any more: sqlx does not undo a `begin` that is
                // given up half-way, and the connection would go back to the pool inside a transaction.
                let pool = pool.clone();
                let begun = tokio::spawn(async move { pool.begin().await }).await;
                Ok(Tx::Postgres(begun.map_err(StorageError::unavailable)??))
            }
        }
    }

    /// Whether there is somebody to connect to, asked on a connection of its own: in the pool a try that hangs keeps
    /// its place for seconds, and one that was refused waits longer each time.
    pub async fn takes_connections(&self) -> bool {
        let Self::Postgres(pool) = self else { return true };
        let options = pool.connect_options();
        let knock = async { options.connect().await?.close().await };
        tokio::time::timeout(PING_PATIENCE, knock).await.is_ok_and(|answered| answered.is_ok())
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
            Self::Sqlite(member) => member.rollback().await,
            Self::Postgres(tx) => Ok(tx.rollback().await?),
        }
    }

    /// Makes what was done durable. Whoever gets an error here does not know whether it was.
    pub async fn commit(self) -> Result<(), StorageError> {
        match self {
            Self::Sqlite(member) => member.commit().await,
            Self::Postgres(tx) => Ok(tx.commit().await?),
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
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(BEGIN_PATIENCE)
            .idle_timeout(None)
            .max_lifetime(None)
            // When the disk is full or fails, SQLite itself ends the transaction, and sqlx believes for ever that it
            // goes on. A queued rollback comes before the ping.
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
    };

    let mut patience = 50_u32;
    let write = loop {
        match pool(1).connect_with(options.clone()).await {
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
    let read = pool(max_connections.max(1)).connect_lazy_with(options.pragma("query_only", "on"));
    let file = SqliteFile::of(path.to_owned())
        .map_err(|cause| PrivateFileError::Make { path: path.to_owned(), cause })?;
    let file = Arc::new(file);
    let line = Line::new(write.clone(), Arc::clone(&file));
    Ok(Db::Sqlite { read, write, line, file })
}

async fn open_postgres(url: &PlainSecret, max_connections: u32) -> Result<Db, OpenError> {
    let options =
        PgConnectOptions::from_str(url.expose()).map_err(|error| OpenError::Url(redacted(&error, url)))?;
    let place = format!("postgres://{}:{}", options.get_host(), options.get_port());
    let options = options.application_name("grantd").disable_statement_logging();

    // One connection by itself first: a pool tries again until its time is over, and then forgets why.
    let first = tokio::time::timeout(ACQUIRE_PATIENCE, options.connect()).await;
    let connected = match first {
        Ok(connected) => connected.map_err(StorageError::from),
        Err(_) => {
            Err(StorageError::Unavailable(format!("no answer within {} s", ACQUIRE_PATIENCE.as_secs())))
        }
    };
    let connection = connected.map_err(|cause| OpenError::Connect { place, cause })?;
    // It was good enough to ask; how it ends does not matter.
    let _ended = connection.close().await;

    let pool = PgPoolOptions::new()
        .max_connections(max_connections.max(1))
        .acquire_timeout(ACQUIRE_PATIENCE)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(sqlx::raw_sql(POSTGRES_SESSION)).await.map(drop) })
        })
        // sqlx waits for a ping as long as the kernel does, a quarter of an hour; meanwhile a connection that leads
        // nowhere would keep its place in the pool.
        .test_before_acquire(false)
        .before_acquire(|connection, about| Box::pin(is_fit(connection, about.age)))
        .after_release(|connection, _| Box::pin(answers(connection)));
    Ok(Db::Postgres(pool.connect_lazy_with(options)))
}

/// Whether the connection leads anywhere; sqlx closes one that does not. Never an error, which sqlx would log for each.
async fn answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let ping = tokio::time::timeout(PING_PATIENCE, connection.ping()).await;
    Ok(ping.is_ok_and(|answered| answered.is_ok()))
}

/// Whether the connection leads to a database that can be written: one round trip, as a ping. A session stays read-only
/// when its database is not any more, and stays with a server that is not the primary any more, so it is begun anew;
/// not with every use, lest a long outage be nothing but new sessions.
async fn is_fit(connection: &mut PgConnection, age: Duration) -> Result<bool, sqlx::Error> {
    let question = connection.fetch_one(sqlx::raw_sql("show transaction_read_only"));
    let Ok(Ok(answer)) = tokio::time::timeout(PING_PATIENCE, question).await else { return Ok(false) };
    let read_only: String = answer.try_get(0)?;
    Ok(read_only == "off" || age < READ_ONLY_SESSION)
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
