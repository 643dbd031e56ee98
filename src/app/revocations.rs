//! Revoked status indexes in memory, so that a verdict on a token reads no database, and goes on while the database is
//! away.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::status::StatusIndex;
use crate::model::time::Timestamp;
use crate::storage::revocations::{self, Revocation};
use crate::storage::{Db, StorageError};

use super::App;
use super::error::AdminError;

/// The revoked places of one list, each with the time at which no token that carries it can live.
pub type RevokedPlaces = BTreeMap<u32, Timestamp>;

/// What was revoked up to one revision. A list that does not change stays the same allocation.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    /// The revision; -1 before anything was read.
    seen: i64,
    lists: BTreeMap<u32, Arc<RevokedPlaces>>,
}

impl Revocations {
    /// Reads everything; at least what was revoked up to `revision`.
    pub(crate) async fn load(db: &Db, revision: i64) -> Result<Self, StorageError> {
        let nothing = Self::default();
        Ok(nothing.with(&revocations::since(db, -1).await?, revision))
    }

    /// Whether every token that carries this index is revoked.
    pub fn is_revoked(&self, index: StatusIndex) -> bool {
        self.lists.get(&index.list()).is_some_and(|places| places.contains_key(&index.idx()))
    }

    /// What is revoked of one list; `None` for nothing.
    pub fn of_list(&self, list: u32) -> Option<&Arc<RevokedPlaces>> {
        self.lists.get(&list)
    }

    /// With what was read up to `revision`.
    fn with(mut self, new: &[Revocation], revision: i64) -> Self {
        for Revocation { status_index, expires_at } in new {
            let places = self.lists.entry(status_index.list()).or_default();
            if places.get(&status_index.idx()) != Some(expires_at) {
                Arc::make_mut(places).insert(status_index.idx(), *expires_at);
            }
        }
        self.seen = revision;
        self
    }

    /// Without what is over at `now`.
    fn without_what_is_over(mut self, now: Timestamp) -> Self {
        for places in self.lists.values_mut() {
            if places.values().any(|expires_at| *expires_at <= now) {
                Arc::make_mut(places).retain(|_, expires_at| *expires_at > now);
            }
        }
        self.lists.retain(|_, places| !places.is_empty());
        self
    }
}

impl App {
    /// Revoked indexes as they are known now.
    pub fn revocations(&self) -> Arc<Revocations> {
        self.revocations.load_full()
    }

    /// Takes what was revoked up to `revision`, and has not been taken yet.
    pub(super) async fn reload_revocations(&self, revision: i64) -> Result<(), AdminError> {
        let _one_at_a_time = self.reloading_revocations.lock().await;
        let known = self.revocations.load_full();
        if revision == known.seen {
            return Ok(());
        }
        // A database that was restored from a backup is behind what was seen of it.
        let new = match revision > known.seen {
            true => (*known).clone().with(&revocations::since(&self.db, known.seen).await?, revision),
            false => Revocations::load(&self.db, revision).await?,
        };
        self.revocations.store(Arc::new(new));
        Ok(())
    }

    /// Knows at once what others learn in a moment.
    pub(super) async fn learn_what_was_revoked(&self) {
        if let Err(cause) = self.reload().await {
            tracing::warn!(%cause, "what was just revoked will be known when the database can be read again");
        }
    }

    /// Forgets what is over at `now`.
    pub(super) async fn forget_revocations(&self, now: Timestamp) {
        let _one_at_a_time = self.reloading_revocations.lock().await;
        let known = self.revocations.load_full();
        self.revocations.store(Arc::new((*known).clone().without_what_is_over(now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revoked(number: u64, expires_at: i64) -> Revocation {
        let status_index = StatusIndex::new(number).expect("there");
        Revocation { status_index, expires_at: Timestamp::from_secs(expires_at) }
    }

    fn is_revoked(all: &Revocations, number: u64) -> bool {
        all.is_revoked(StatusIndex::new(number).expect("there"))
    }

    #[test]
    fn what_is_revoked_is_so_until_its_tokens_cannot_live() {
        let all = Revocations::default().with(&[revoked(5, 10), revoked((1 << 20) + 5, 20)], 3);
        assert!(is_revoked(&all, 5) && is_revoked(&all, (1 << 20) + 5));
        assert!(!is_revoked(&all, 6) && !is_revoked(&all, (2 << 20) + 5));

        let all = all.without_what_is_over(Timestamp::from_secs(10));
        assert!(!is_revoked(&all, 5) && is_revoked(&all, (1 << 20) + 5));
        assert!(all.of_list(0).is_none(), "a list without anything revoked takes no memory");
    }

    #[test]
    fn a_list_that_does_not_change_stays_as_it_is() {
        let before = Revocations::default().with(&[revoked(5, 10), revoked(1 << 20, 10)], 1);
        let after = before.clone().with(&[revoked(5, 10), revoked((1 << 20) + 1, 10)], 2);
        let after = after.without_what_is_over(Timestamp::from_secs(9));

        let same = |list| match (before.of_list(list), after.of_list(list)) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            _ => false,
        };
        assert!(same(0) && !same(1));
    }
}
