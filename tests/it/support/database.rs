//! A database per test: its own SQLite file, or its own Postgres database; gone when the test is.
//!
//! Knows the schema only through [`migrate`].

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::sync::OnceLock;

use grantd::app::open::open_database;
use grantd::model::secret::PlainSecret;
use grantd::storage::db::Location;
use tempfile::TempDir;

use super::postgres::{self, PostgresDatabase};

/// Brings an empty database to what `serve` works on. Runs once per kind of database; each test gets a copy.
///
/// Whatever it opens it must close: SQLite is copied as one file, and Postgres copies no database in use.
async fn migrate(url: &str) -> Result<(), String> {
    let db = open_database(&location(url), None, true).await.map_err(|error| error.to_string())?;
    db.close().await;
    Ok(())
}

fn location(url: &str) -> Location {
    match url.strip_prefix("sqlite://") {
        Some(path) => Location::Sqlite(path.into()),
        None => Location::Postgres(PlainSecret::new(url.to_owned())),
    }
}

/// A database of one test's own.
pub(crate) struct TestDatabase {
    /// What `database.url` would say.
    pub(crate) url: String,
    /// Which kind it is.
    pub(crate) kind: DatabaseKind,
    _kept: Kept,
}

/// The databases that grantd works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DatabaseKind {
    Sqlite,
    Postgres,
}

/// What goes away with the test.
enum Kept {
    Directory { _directory: TempDir },
    Postgres { _database: PostgresDatabase },
}

impl TestDatabase {
    /// A migrated SQLite file in a directory of its own.
    pub(crate) fn sqlite() -> Self {
        static MIGRATED: OnceLock<Result<Vec<u8>, String>> = OnceLock::new();

        let migrated = MIGRATED.get_or_init(|| {
            let template = Self::empty_sqlite();
            let (url, file) = (template.url.clone(), template.sqlite_file());
            apart(async move || migrate(&url).await)?;
            if file.exists() { std::fs::read(file).map_err(|e| e.to_string()) } else { Ok(Vec::new()) }
        });

        let database = Self::empty_sqlite();
        let migrated = migrated.as_ref().expect("a SQLite database migrates");
        let mut options = std::fs::File::options();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(database.sqlite_file()).expect("a temporary directory can be written");
        file.write_all(migrated).expect("a temporary directory can be written");
        database
    }

    /// The name of a SQLite file that does not exist yet.
    pub(crate) fn empty_sqlite() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("grantd-test-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir();
        let directory = directory.expect("a temporary directory");
        let url = format!("sqlite://{}", directory.path().join("grantd.db").display());
        Self { url, kind: DatabaseKind::Sqlite, _kept: Kept::Directory { _directory: directory } }
    }

    /// A migrated Postgres database; ends the test as ignored where there is no Postgres.
    pub(crate) fn postgres() -> Self {
        Self::on_postgres(postgres::server().copy_of_template(migrate))
    }

    /// A Postgres database without a table; ends the test as ignored where there is no Postgres.
    pub(crate) fn empty_postgres() -> Self {
        Self::on_postgres(postgres::server().empty_database())
    }

    fn on_postgres(database: PostgresDatabase) -> Self {
        Self {
            url: database.url.clone(),
            kind: DatabaseKind::Postgres,
            _kept: Kept::Postgres { _database: database },
        }
    }

    /// Where it is, as the storage wants it.
    pub(crate) fn location(&self) -> Location {
        location(&self.url)
    }

    /// The file of a SQLite database.
    pub(crate) fn sqlite_file(&self) -> std::path::PathBuf {
        self.url.trim_start_matches("sqlite://").into()
    }
}

/// Runs a future to its end on a thread and runtime of its own, so that this works inside any runtime and in `drop`.
pub(super) fn apart<F, T>(make: F) -> T
where
    F: AsyncFnOnce() -> T + Send,
    T: Send,
{
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(make())
    };
    std::thread::scope(|scope| {
        let ended = scope.spawn(run).join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
