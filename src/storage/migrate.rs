//! The schema and its versions. Each migration is one transaction, so that a failed one leaves the old schema.

use std::fs::File;
use std::path::Path;

use sqlx::Executor as _;
use sqlx::migrate::{MigrateError, Migrator};

use super::db::{Db, POSTGRES_MIGRATION, rows};
use super::error::StorageError;

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// Where the schema stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaStatus {
    /// Every migration this binary knows: version, name, whether it is applied.
    pub migrations: Vec<(i64, String, bool)>,
    /// The newest version in the database; 0 when it is empty.
    pub applied: i64,
    /// The newest version this binary knows.
    pub known: i64,
}

/// Why the schema cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The binary is too old for the database.
    #[error(
        "the database has schema version {applied}, this grantd knows versions up to {known}: use a grantd at least as new as the one that wrote the database"
    )]
    Newer {
        /// In the database.
        applied: i64,
        /// In the binary.
        known: i64,
    },
    /// `database.migrate` is off and work is left.
    #[error(
        "the database has schema version {applied}, this grantd needs {known}, and database.migrate is false: run 'grantd migrate'"
    )]
    Behind {
        /// In the database.
        applied: i64,
        /// In the binary.
        known: i64,
    },
    /// A migration failed; the schema is as it was before it.
    #[error("the migration failed and the schema is as it was: {0}")]
    Failed(#[from] MigrateError),
    /// The lock file beside the database cannot be used.
    #[error("cannot lock {path}: {cause}; check the directory's owner")]
    Lock {
        /// Which file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// The database does not answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Says where the schema stands; changes nothing.
pub async fn status(db: &Db) -> Result<SchemaStatus, SchemaError> {
    let applied: Vec<i64> = match table_exists(db).await? {
        false => Vec::new(),
        true => versions(db).await?,
    };
    let migrator = migrator(db);
    let migrations: Vec<_> = migrator
        .iter()
        .map(|m| (m.version, m.description.to_string(), applied.contains(&m.version)))
        .collect();
    Ok(SchemaStatus {
        known: migrations.iter().map(|(version, ..)| *version).max().unwrap_or(0),
        applied: applied.into_iter().max().unwrap_or(0),
        migrations,
    })
}

/// Brings the schema up to date; gives the number of migrations it ran. Safe to run by many at once.
pub async fn migrate(db: &Db) -> Result<usize, SchemaError> {
    let before = current(db).await?;
    if before.migrations.iter().all(|(.., applied)| *applied) {
        return Ok(0);
    }
    match db {
        Db::Sqlite { write, file, .. } => {
            // sqlx's own lock does nothing on SQLite, and first starts race.
            let _lock = lock(file.path()).await?;
            SQLITE.run(write).await?;
        }
        // sqlx takes an advisory lock here.
        Db::Postgres(lender) => {
            // Of its own, because its waiting has no bound.
            let mut connection = lender.connect().await?;
            connection.execute(sqlx::raw_sql(POSTGRES_MIGRATION)).await.map_err(StorageError::from)?;
            POSTGRES.run(&mut connection).await?;
        }
    }
    Ok(before.migrations.iter().filter(|(.., applied)| !applied).count())
}

/// The status, if this binary is not too old for the database.
pub async fn current(db: &Db) -> Result<SchemaStatus, SchemaError> {
    let status = status(db).await?;
    if status.applied > status.known {
        return Err(SchemaError::Newer { applied: status.applied, known: status.known });
    }
    Ok(status)
}

fn migrator(db: &Db) -> &'static Migrator {
    match db {
        Db::Sqlite { .. } => &SQLITE,
        Db::Postgres(_) => &POSTGRES,
    }
}

async fn table_exists(db: &Db) -> Result<bool, StorageError> {
    let found: Vec<(String,)> = match db {
        Db::Sqlite { .. } => {
            rows!(db, (String,), "select name from sqlite_master where name = '_sqlx_migrations'")
        }
        Db::Postgres(_) => rows!(
            db,
            (String,),
            "select cast(relname as text) from pg_class where oid = to_regclass('_sqlx_migrations')"
        ),
    };
    Ok(!found.is_empty())
}

async fn versions(db: &Db) -> Result<Vec<i64>, StorageError> {
    let rows: Vec<(i64,)> = rows!(db, (i64,), "select version from _sqlx_migrations order by version");
    Ok(rows.into_iter().map(|(version,)| version).collect())
}

/// An exclusive lock on a file beside the database, held until dropped.
async fn lock(database: &Path) -> Result<File, SchemaError> {
    let path = database.with_added_extension("lock");
    let failed = |cause| SchemaError::Lock { path: path.display().to_string(), cause };
    let file = {
        use std::os::unix::fs::OpenOptionsExt as _;
        File::options().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?
    };
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
    locked.map_err(std::io::Error::other).flatten().map_err(failed)
}
