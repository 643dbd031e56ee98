//! One number for each thing that servers keep in memory, bumped with every change to it.

use super::db::{Conn, Tx, execute, rows};
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
}

impl Subject {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Roles => "roles",
            Self::Keys => "keys",
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
}

/// Reads them all at once.
pub async fn read(on: impl Into<Conn<'_>>) -> Result<Revisions, StorageError> {
    let found: Vec<(String, i64)> = rows!(on, (String, i64), "select subject, value from revisions");
    let of = |subject: Subject| {
        found.iter().find(|(name, _)| name == subject.as_str()).map_or(0, |(_, value)| *value)
    };
    Ok(Revisions { clients: of(Subject::Clients), roles: of(Subject::Roles), keys: of(Subject::Keys) })
}

/// Says that `subject` changed; part of the transaction that changes it, and its first statement: whoever changes a
/// subject waits here for whoever else does, so that two never wait for each other's rows.
pub async fn bump(tx: &mut Tx, subject: Subject) -> Result<(), StorageError> {
    execute!(tx, "update revisions set value = value + 1 where subject = $1", subject.as_str());
    Ok(())
}
