//! File descriptors: takes as many as the system allows and leaves some for the database. Knows no request.
//!
//! A connection that is accepted when no descriptor is left takes the one that the database needed. So there are fewer
//! connections than descriptors, and whoever comes when all are taken waits in the kernel's queue.

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::settings::Settings;

/// Standard streams, listeners, pollers of the workers, log and trace exporters, certificate files, and some air.
const RESERVED: u64 = 64;
/// A SQLite connection has the database, its log and its index open.
const PER_DATABASE_CONNECTION: u64 = 3;
/// The most a database pool has where the settings leave it open.
const DATABASE_CONNECTIONS: u32 = 16;
/// More would be memory that nobody planned for.
const MOST: u64 = 50_000;

/// How many connections each listener may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connections {
    pub(super) public: usize,
    pub(super) management: usize,
}

/// Lifts the soft limit up to the hard one, which needs no right.
pub(super) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current;
    limit.current = limit.maximum;
    if soft != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, limit)
    {
        tracing::warn!(%error, soft, "the limit of open files cannot be raised: fewer connections are taken");
    }
}

/// As many connections as the limit has descriptors for.
pub(super) fn connections(settings: &Settings) -> Connections {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let database = settings.database.max_connections.unwrap_or(DATABASE_CONNECTIONS);
    let shared = share(limit, database);
    if shared.public < 256 {
        tracing::warn!(
            open_files = limit,
            connections = shared.public,
            "few connections at once: raise the limit of open files (ulimit -n, LimitNOFILE)"
        );
    }
    shared
}

fn share(limit: u64, database_connections: u32) -> Connections {
    let reserved = RESERVED + PER_DATABASE_CONNECTION * u64::from(database_connections);
    // Under a limit that is too low for all, the connections get half of it.
    let connections = limit.saturating_sub(reserved).max(limit / 2).min(MOST);
    let management = (connections / 8).clamp(1, 64);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
    Connections { public: count(connections.saturating_sub(management)), management: count(management) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_database() {
        for (limit, database, public, management) in [
            (1024, 16, 848, 64),
            (1024, 100, 596, 64),
            (256, 16, 126, 18),
            (64, 16, 28, 4),
            (u64::MAX, 16, 49_936, 64),
        ] {
            assert_eq!(share(limit, database), Connections { public, management }, "{limit} {database}");
        }
        assert_eq!(share(0, 16), Connections { public: 1, management: 1 });
    }
}
