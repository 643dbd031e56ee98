//! One number for each thing that servers keep in memory, bumped with every change to it. The number of status indexes
//! is one of them: it grows by as many as are handed out.
//!
//! They are also the locks by which changes wait for each other on Postgres. Whoever locks several things does so in this
//! order, or two will one day wait for each other: the subjects in the order of [`Subject`]; rows of users, as a login does
//! first; rows of clients; rows of families by their ids; the head of the audit. Status indexes are handed out before
//! [`Subject::Revocations`], always to one who holds [`Subject::Clients`] or [`Subject::ApiKeys`]; whoever holds both of
//! these may have them at any time.

use crate::model::status::StatusIndex;

use super::db::{Conn, Tx, execute, row, rows};
use super::error::StorageError;

/// Something that servers keep in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Clients and their secrets.
    Clients,
    /// Roles and their scopes.
    Roles,
    /// Signing keys.
    Keys,
    /// Who may act and which roles they hold.
    Users,
    /// API keys.
    ApiKeys,
    /// Revoked status indexes.
    Revocations,
}

impl Subject {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Roles => "roles",
            Self::Keys => "keys",
            Self::Users => "users",
            Self::ApiKeys => "api_keys",
            Self::Revocations => "revocations",
        }
    }
}

/// The revisions at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revisions {
    /// Of clients.
    pub clients: i64,
    /// Of roles.
    pub roles: i64,
    /// Of keys.
    pub keys: i64,
    /// Of who may act and what they hold.
    pub users: i64,
    /// Of API keys.
    pub api_keys: i64,
    /// Of revoked status indexes.
    pub revocations: i64,
    /// How many status indexes have been handed out.
    pub status_indexes: i64,
}

/// Reads them all at once.
pub async fn read(on: impl Into<Conn<'_>>) -> Result<Revisions, StorageError> {
    let found: Vec<(String, i64)> = rows!(on, (String, i64), "select subject, value from revisions");
    let of = |subject: &str| found.iter().find(|(name, _)| name == subject).map_or(0, |(_, value)| *value);
    Ok(Revisions {
        clients: of(Subject::Clients.as_str()),
        roles: of(Subject::Roles.as_str()),
        keys: of(Subject::Keys.as_str()),
        users: of(Subject::Users.as_str()),
        api_keys: of(Subject::ApiKeys.as_str()),
        revocations: of(Subject::Revocations.as_str()),
        status_indexes: of("status_indexes"),
    })
}

/// Says that `subject` changed; part of the transaction that changes it, and its first statement: whoever changes a
/// subject waits here for whoever else does, so that two never wait for each other's rows. Of two subjects, in the order
/// of [`Subject`].
pub async fn bump(tx: &mut Tx, subject: Subject) -> Result<(), StorageError> {
    execute!(tx, "update revisions set value = value + 1 where subject = $1", subject.as_str());
    Ok(())
}

/// Hands out `count` status indexes, from the number that is given on; `None` if so many are not left. No number is ever
/// handed out twice: what a crash loses is lost.
pub async fn take_status_indexes(tx: &mut Tx, count: u32) -> Result<Option<u64>, StorageError> {
    let taken: Option<(i64,)> = row!(
        tx,
        (i64,),
        "update revisions set value = value + $1 where subject = 'status_indexes' and value + $1 <= $2
         returning value - $1",
        i64::from(count),
        StatusIndex::END as i64,
    );
    taken.map(|(first,)| u64::try_from(first).map_err(StorageError::corrupt)).transpose()
}
