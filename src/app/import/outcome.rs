//! What came of an import, or why there was none. Holds no password hash.

use std::collections::BTreeMap;

use crate::model::role::RoleName;
use crate::passwords::UnusableHash;
use crate::storage::StorageError;
use crate::storage::foreign_table::ForeignTableError;

use super::super::error::AdminError;
use super::judge::Refusal;

/// What an import did, or would do.
#[derive(Debug)]
pub struct Imported {
    /// How the source was read.
    pub format: &'static str,
    /// What is counted in it: `line` or `row`.
    pub unit: &'static str,
    /// Of the file.
    pub sha256: Option<[u8; 32]>,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// Rows that were read.
    pub read: u64,
    /// Users who are new.
    pub created: u64,
    /// Users who were there already, and stay as they are.
    pub existing: u64,
    /// What is no user, such as Keycloak's service accounts.
    pub left_out: u64,
    /// Rows that were not taken, in their order.
    pub refused: Vec<Refused>,
    /// How passwords of the rows that were taken are hashed.
    pub schemes: BTreeMap<&'static str, u64>,
    /// How many of the new users hold each role, for whoever writes the source says who that is.
    pub roles: BTreeMap<RoleName, u64>,
    /// Roles that were made for it.
    pub roles_created: Vec<RoleName>,
}

/// A row that was not taken.
#[derive(Debug)]
pub struct Refused {
    /// Which, counted from 1.
    pub row: u64,
    /// The user, if the name is one.
    pub username: Option<String>,
    /// Why.
    pub reason: Refusal,
}

/// Why there was no import. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be opened or read.
    #[error("{path} cannot be read ({cause}): look at its name and its rights")]
    File {
        /// Which.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// It cannot be told what the file is.
    #[error(
        "it cannot be told how {0} is written: say it with --format (jsonl, csv, django, keycloak, passlib, werkzeug or firebase)"
    )]
    Format(String),
    /// The file breaks off or is not what it should be.
    #[error("the file is damaged {0}, and nothing was imported: export it again")]
    Damaged(String),
    /// A column that is mapped, and is not there.
    #[error("there is no column '{0}' to map: the columns are {1}")]
    NoSuchColumn(String, String),
    /// A column that is needed.
    #[error("no column says {what}: say which does with --map COLUMN={field}; the columns are {columns}")]
    Missing {
        /// In words.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// What there is.
        columns: String,
    },
    /// Firebase's hashes cannot be checked without them.
    #[error(
        "Firebase's hashes need the project's hash parameters: copy them from its console (Authentication, Users, password hash parameters) into a file, and give it with --firebase-config"
    )]
    FirebaseConfig,
    /// The parameters are none.
    #[error("the Firebase hash parameters cannot be used: {0}")]
    UnusableConfig(UnusableHash),
    /// The other database.
    #[error(transparent)]
    Table(#[from] ForeignTableError),
    /// Somebody else was at it.
    #[error(
        "somebody else made one of these users, or deleted one of their roles, at the same moment: nothing was imported, run it again"
    )]
    Raced,
    /// Anything that can go wrong with every command.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

impl From<StorageError> for ImportError {
    fn from(error: StorageError) -> Self {
        Self::Admin(error.into())
    }
}

/// How passwords are hashed.
#[derive(Debug)]
pub struct HashCounts {
    /// One for each scheme, the most frequent first.
    pub schemes: Vec<SchemeCount>,
    /// All users.
    pub users: u64,
    /// Users whose hash is what the settings say.
    pub current: u64,
}

/// Users whose passwords are hashed in one way.
#[derive(Debug)]
pub struct SchemeCount {
    /// Its name.
    pub scheme: &'static str,
    /// How many.
    pub users: u64,
    /// How many of them have the cost of the settings.
    pub current: u64,
}

impl HashCounts {
    pub(super) fn of(counts: BTreeMap<&'static str, (u64, u64)>) -> Self {
        let each =
            counts.into_iter().map(|(scheme, (users, current))| SchemeCount { scheme, users, current });
        let mut schemes: Vec<_> = each.collect();
        schemes.sort_by_key(|count| std::cmp::Reverse(count.users));
        let users = schemes.iter().map(|count| count.users).sum();
        let current = schemes.iter().map(|count| count.current).sum();
        Self { schemes, users, current }
    }
}
