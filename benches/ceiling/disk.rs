//! The ceilings on SQLite: one row, one statement, `synchronous=FULL`, through the same library and on the same disk.
//!
//! Knows nothing of tokens. One client alone is the ceiling of a refresh; thirty-two that each commit for themselves
//! are what group commit is compared with.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Error};
use tempfile::TempDir;

use super::load::Driven;

/// A database with a row for each client.
pub(crate) struct Disk {
    directory: TempDir,
    /// Open as long as the database is used: SQLite deletes its log with the last connection, and commits are slower
    /// until the next one has grown, which a server that runs has long behind it.
    _keeper: SqliteConnection,
}

impl Disk {
    /// Beside what cargo builds, or where `BENCH_DIR` says.
    pub(crate) fn new(place: &Path, clients: usize) -> Self {
        let directory = tempfile::tempdir_in(place).expect("a directory for the database");
        let prepare = async {
            let mut keeper = connect(directory.path()).await?;
            sqlx::query(
                "create table rows_of_clients
                    (id integer primary key, n integer not null, at integer not null, source text not null)",
            )
            .execute(&mut keeper)
            .await?;
            for id in 0..clients as i64 {
                sqlx::query("insert into rows_of_clients values ($1, 0, 0, '127.0.0.0/24')")
                    .bind(id)
                    .execute(&mut keeper)
                    .await?;
            }
            // Until the log has its size: SQLite begins it anew after a thousand pages.
            for _ in 0..1200 {
                update(&mut keeper, 0).await?;
            }
            Ok::<_, Error>(keeper)
        };
        let keeper = on_runtime(prepare).expect("a database that can be written");
        Self { directory, _keeper: keeper }
    }

    /// One client that updates its row as often as it can.
    pub(crate) fn alone(&self, window: Duration) -> Driven {
        on_runtime(async {
            let mut connection = connect(self.directory.path()).await?;
            let (begin, mut took) = (Instant::now(), Vec::with_capacity(1 << 16));
            while begin.elapsed() < window {
                let asked = Instant::now();
                update(&mut connection, 0).await?;
                took.push(asked.elapsed());
            }
            Ok::<_, Error>(driven(took, begin.elapsed()))
        })
        .expect("updates that succeed")
    }

    /// So many clients, each with a connection and a transaction of its own for each update.
    pub(crate) fn each_for_itself(&self, clients: i64, window: Duration) -> Driven {
        let begin = Instant::now();
        let one = |id| {
            on_runtime(async {
                let mut connection = connect(self.directory.path()).await?;
                let mut took = Vec::with_capacity(1 << 16);
                while begin.elapsed() < window {
                    let asked = Instant::now();
                    let mut tx = connection.begin_with("begin immediate").await?;
                    update(&mut tx, id).await?;
                    tx.commit().await?;
                    took.push(asked.elapsed());
                }
                Ok::<_, Error>(took)
            })
        };
        let took = thread::scope(|scope| {
            let clients: Vec<_> = (0..clients).map(|id| scope.spawn(move || one(id))).collect();
            let took = clients.into_iter().map(|client| client.join().expect("a client"));
            took.collect::<Result<Vec<_>, Error>>().expect("updates that succeed")
        });
        driven(took.into_iter().flatten().collect(), begin.elapsed())
    }
}

async fn connect(directory: &Path) -> Result<SqliteConnection, Error> {
    let options = SqliteConnectOptions::new()
        .filename(directory.join("raw.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(30))
        .disable_statement_logging();
    SqliteConnection::connect_with(&options).await
}

async fn update(connection: &mut SqliteConnection, id: i64) -> Result<(), Error> {
    sqlx::query("update rows_of_clients set n = n + 1, at = $2 where id = $1")
        .bind(id)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

fn driven(took: Vec<Duration>, elapsed: Duration) -> Driven {
    let rate = took.len() as f64 / elapsed.as_secs_f64();
    Driven { rate, took: took.into_iter().collect(), ..Driven::default() }
}

/// Runs it on a runtime of its own on this thread.
pub(crate) fn on_runtime<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run)
}
