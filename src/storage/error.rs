//! What can go wrong with the database, sorted by what the caller can do about it.

/// A failed database operation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// The database is away, locked, full, read-only or damaged. Unless a commit was under way nothing was changed.
    #[error("the database is not available: {0}; try again when it is back")]
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

    /// Why, without saying once more that the database is not available.
    pub(super) fn into_reason(self) -> String {
        match self {
            Self::Unavailable(reason) => reason,
            other => other.to_string(),
        }
    }

    /// For what is seen to be wrong with the database before it is asked.
    pub(super) fn unavailable(cause: impl std::fmt::Display) -> Self {
        Self::Unavailable(cause.to_string())
    }
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::Database(database) if database.is_unique_violation() => Self::AlreadyExists,
            E::Database(database) if database.is_foreign_key_violation() => Self::Dangling,
            E::Database(database) if is_outage(database.code().as_deref()) => Self::unavailable(error),
            E::Database(_) | E::Encode(_) | E::InvalidArgument(_) => Self::Refused(error.to_string()),
            E::ColumnDecode { .. }
            | E::ColumnIndexOutOfBounds { .. }
            | E::ColumnNotFound(_)
            | E::Decode(_)
            | E::RowNotFound
            | E::TypeNotFound { .. } => Self::corrupt(error),
            // Broken connections, TLS, garbled answers, a pool that is out of time or closed, a connection that is
            // not in the transaction it should be in; and whatever sqlx comes to add, for a retry harms nobody.
            _ => Self::unavailable(error),
        }
    }
}

/// Whether a database's own code names a state of the database and not a mistake in a statement.
fn is_outage(code: Option<&str>) -> bool {
    match code {
        None => false,
        // SQLSTATEs have five characters; SQLite's extended codes end at four digits.
        Some(code) if code.len() == 5 => is_outage_of_postgres(code),
        Some(code) => code.parse::<u32>().is_ok_and(is_outage_of_sqlite),
    }
}

/// <https://sqlite.org/rescode.html>; the low byte of an extended code is the primary one.
fn is_outage_of_sqlite(code: u32) -> bool {
    match code & 0xff {
        // PERM, ABORT (a statement that was under way when its transaction was rolled back), BUSY, LOCKED, NOMEM
        3..=7 => true,
        // READONLY, INTERRUPT, IOERR; CORRUPT: no client's mistake and nothing that our code could do better, so the
        // honest answer is "not now", and readiness takes this instance out of service until the file is restored.
        8..=11 => true,
        // FULL, CANTOPEN, PROTOCOL (the locks of the WAL are contended)
        13..=15 => true,
        // SCHEMA (changed under the statement), NOLFS (the file cannot grow), AUTH, NOTADB (as CORRUPT)
        17 | 22 | 23 | 26 => true,
        _ => false,
    }
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn is_outage_of_postgres(code: &str) -> bool {
    let classes = [
        "08", // connection exception
        "28", // invalid authorization: the password or pg_hba.conf changed under us
        "3D", // the database does not exist (any more)
        "40", // transaction rollback: deadlock, serialization; nothing was changed
        "53", // insufficient resources: disk_full, out_of_memory, too_many_connections
        "55", // not in the prerequisite state: lock_not_available, object_in_use
        "57", // operator intervention: query_canceled, admin_shutdown, crash_shutdown, cannot_connect_now
        "58", // system error: io_error
        "72", // snapshot too old
        "F0", // configuration file error
        "XX", // internal error, data_corrupted, index_corrupted: as SQLite's CORRUPT
    ];
    let codes = [
        "25006", // read_only_sql_transaction: a replica, or default_transaction_read_only
        "25P02", // in_failed_sql_transaction: the rest of what went wrong before
        "25P03", // idle_in_transaction_session_timeout
        "25P04", // transaction_timeout
        "26000", // invalid_sql_statement_name: the connection is not the one that prepared it
        "42501", // insufficient_privilege: the operator took a right away
    ];
    classes.iter().any(|class| code.starts_with(class)) || codes.contains(&code)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn an_outage_is_told_from_a_mistake_by_the_code_of_the_database() {
        let sqlite = [
            "5", "261", "517", "773", // BUSY, BUSY_RECOVERY, BUSY_SNAPSHOT, BUSY_TIMEOUT
            "6", "262", "518", // LOCKED, LOCKED_SHAREDCACHE, LOCKED_VTAB
            "7", "9", "4", "516", // NOMEM, INTERRUPT, ABORT, ABORT_ROLLBACK
            "8", "264", "520",
            "776", // READONLY, READONLY_RECOVERY, READONLY_CANTLOCK, READONLY_ROLLBACK
            "1032", "1288", "1544", // READONLY_DBMOVED, READONLY_CANTINIT, READONLY_DIRECTORY
            "10", "266", "522", "778", "1034", "4874",
            "8458", // IOERR and its kinds: read, write, fsync, shm, corruptfs
            "11", "267", "779", "26", // CORRUPT, CORRUPT_VTAB, CORRUPT_INDEX, NOTADB
            "13", "14", "270", "526", "782", "1038", // FULL, CANTOPEN and its kinds
            "15", "3", "17", "22", "23", // PROTOCOL, PERM, SCHEMA, NOLFS, AUTH
        ];
        let postgres = [
            "08000", "08003", "08006", "08001", "08004", "08P01", "28000", "28P01", "3D000", "40001",
            "40003", "40P01", "53000", "53100", "53200", "53300", "53400", "55000", "55006", "55P03",
            "57000", "57014", "57P01", "57P02", "57P03", "57P04", "57P05", "58000", "58030", "25006",
            "25P02", "25P03", "26000", "42501", "F0000", "XX000", "XX001", "XX002",
        ];

        for code in sqlite.into_iter().chain(postgres) {
            assert!(is_outage(Some(code)), "{code}");
        }
        // ERROR, CONSTRAINT and its kinds, TOOBIG, MISMATCH, MISUSE, RANGE; syntax, types, bytes, constraints, tables
        let mistakes =
            ["1", "19", "275", "1299", "2067", "18", "20", "21", "25", "42601", "42P01", "22021", "22P02"];
        for code in mistakes.into_iter().chain(["23502", "23514", "0A000", "21000", "54000", "", "?"]) {
            assert!(!is_outage(Some(code)), "{code}");
        }
        assert!(!is_outage(None));
    }

    #[test]
    fn a_connection_that_breaks_is_an_outage_and_a_row_that_does_not_decode_is_not() {
        let broken = io::Error::from(io::ErrorKind::ConnectionReset);
        let outages = [
            sqlx::Error::Io(broken),
            sqlx::Error::Tls("no certificate".into()),
            sqlx::Error::Protocol("not Postgres at all".into()),
            sqlx::Error::PoolTimedOut,
            sqlx::Error::PoolClosed,
            sqlx::Error::WorkerCrashed,
            sqlx::Error::BeginFailed,
            sqlx::Error::InvalidSavePointStatement,
        ];

        for error in outages {
            let error = StorageError::from(error);
            assert!(matches!(error, StorageError::Unavailable(_)), "{error:?}");
        }
        let undecodable = StorageError::from(sqlx::Error::Decode("not a number".into()));
        assert!(matches!(undecodable, StorageError::Corrupt(_)), "{undecodable:?}");
    }
}
