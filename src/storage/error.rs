//! What can go wrong with the database, sorted by what the caller can do about it.

/// A failed database operation.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database is away, locked, full or read-only: nothing was changed, later may work.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A row with this name exists.
    #[error("a row of that name exists")]
    AlreadyExists,
    /// A row that this one points to does not exist.
    #[error("a row that this one refers to does not exist")]
    Dangling,
    /// What the database holds cannot be what was written.
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
    /// The database refused a statement: a mistake of ours.
    #[error("the database refused a statement: {0}")]
    Refused(String),
}

impl StorageError {
    /// For a stored text that does not parse.
    pub(super) fn corrupt(error: impl std::fmt::Display) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::Database(database) if database.is_unique_violation() => Self::AlreadyExists,
            E::Database(database) if database.is_foreign_key_violation() => Self::Dangling,
            E::Database(database) if is_passing(database.code().as_deref()) => {
                Self::Unavailable(error.to_string())
            }
            E::Database(_) => Self::Refused(error.to_string()),
            E::ColumnDecode { .. } | E::Decode(_) | E::ColumnNotFound(_) | E::TypeNotFound { .. } => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// Whether a database's own code names a condition that passes: SQLite's primary result codes are decimal
/// numbers (the low byte of an extended one), Postgres' SQLSTATEs have five characters.
fn is_passing(code: Option<&str>) -> bool {
    let Some(code) = code else { return false };
    if code.len() == 5 {
        // connection, transaction rollback, resources, wrong state for now, operator intervention, system; read-only transaction
        return ["08", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class))
            || code == "25006";
    }
    // busy, locked, nomem, readonly, interrupt, ioerr, full, cantopen, protocol
    let passing = [5, 6, 7, 8, 9, 10, 13, 14, 15];
    code.parse::<u32>().is_ok_and(|code| passing.contains(&(code & 0xff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_pass_are_told_from_mistakes() {
        for code in ["5", "517", "8", "13", "14", "57P01", "53300", "08006", "40001", "25006", "55000"] {
            assert!(is_passing(Some(code)), "{code}");
        }
        for code in [Some("1"), Some("19"), Some("42601"), Some("22021"), None, Some("")] {
            assert!(!is_passing(code), "{code:?}");
        }
    }
}
