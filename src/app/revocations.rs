//! Revoked status indexes in memory, so that a verdict on a token reads no database, and goes on while the database is
//! away.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::status::StatusIndex;
use crate::model::time::Timestamp;
use crate::storage::revocations::{self, Revocation};
use crate::storage::{Db, StorageError, clients};

use super::App;
use super::background::KEEP_ENDED;
use super::error::AdminError;

/// The revoked places of one list, each with the time at which no token that carries it can live. They lie in blocks, of
/// which a copy has those that did not change, so that one revocation more costs no more in a full list than in an empty
/// one.
#[derive(Clone, Debug, Default)]
pub struct RevokedPlaces {
    blocks: BTreeMap<u32, Arc<BTreeMap<u32, Timestamp>>>,
    version: u64,
}

impl RevokedPlaces {
    /// Places of a block; a list has as many blocks.
    const IN_BLOCK: u32 = 1 << 10;

    fn get(&self, idx: u32) -> Option<Timestamp> {
        self.blocks.get(&(idx / Self::IN_BLOCK))?.get(&idx).copied()
    }

    fn insert(&mut self, idx: u32, expires_at: Timestamp) {
        Arc::make_mut(self.blocks.entry(idx / Self::IN_BLOCK).or_default()).insert(idx, expires_at);
    }

    /// The places, in their order.
    pub fn places(&self) -> impl Iterator<Item = u32> {
        self.blocks.values().flat_map(|block| block.keys().copied())
    }

    /// The number of these places: of two lists that have one number, now or at any time, the places are the same.
    pub const fn version(&self) -> u64 {
        self.version
    }

    fn is_any_over(&self, now: Timestamp) -> bool {
        self.blocks.values().any(|block| is_any_over(block, now))
    }

    fn forget(&mut self, now: Timestamp) {
        for block in self.blocks.values_mut().filter(|block| is_any_over(block, now)) {
            Arc::make_mut(block).retain(|_, expires_at| *expires_at > now);
        }
        self.blocks.retain(|_, block| !block.is_empty());
    }
}

fn is_any_over(block: &BTreeMap<u32, Timestamp>, now: Timestamp) -> bool {
    block.values().any(|expires_at| *expires_at <= now)
}

/// What was revoked up to one revision.
#[derive(Clone, Debug)]
pub struct Revocations {
    /// The revision; -1 before anything was read.
    seen: i64,
    lists: BTreeMap<u32, Arc<RevokedPlaces>>,
    /// How often anything has changed.
    changes: u64,
}

impl Default for Revocations {
    /// Nothing was read.
    fn default() -> Self {
        Self { seen: -1, lists: BTreeMap::new(), changes: 0 }
    }
}

impl Revocations {
    /// Reads everything; at least what was revoked up to `revision`.
    pub(crate) async fn load(db: &Db, revision: i64) -> Result<Self, StorageError> {
        let nothing = Self::default();
        Ok(nothing.with(&revocations::since(db, -1).await?, revision))
    }

    /// Whether every token that carries this index is revoked.
    pub fn is_revoked(&self, index: StatusIndex) -> bool {
        self.lists.get(&index.list()).is_some_and(|places| places.get(index.idx()).is_some())
    }

    /// What is revoked of one list; `None` for nothing.
    pub fn of_list(&self, list: u32) -> Option<&Arc<RevokedPlaces>> {
        self.lists.get(&list)
    }

    /// With what was read up to `revision`.
    fn with(mut self, new: &[Revocation], revision: i64) -> Self {
        self.changes += 1;
        for Revocation { status_index, expires_at } in new {
            let (list, idx) = (status_index.list(), status_index.idx());
            let known = self.lists.get(&list).and_then(|places| places.get(idx));
            if known == Some(*expires_at) {
                continue;
            }
            let places = Arc::make_mut(self.lists.entry(list).or_default());
            places.insert(idx, *expires_at);
            // That it is known better when a place is over changes no list.
            if known.is_none() {
                places.version = self.changes;
            }
        }
        self.seen = revision;
        self
    }

    /// Nothing, by numbers that were never used.
    fn emptied(&self) -> Self {
        Self { changes: self.changes, ..Self::default() }
    }

    /// Without what is over at `now`.
    fn without_what_is_over(mut self, now: Timestamp) -> Self {
        self.changes += 1;
        for places in self.lists.values_mut().filter(|places| places.is_any_over(now)) {
            let places = Arc::make_mut(places);
            places.forget(now);
            places.version = self.changes;
        }
        self.lists.retain(|_, places| !places.blocks.is_empty());
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
        let seen = self.revocations.load().seen;
        if revision == seen {
            return Ok(());
        }
        // A database that was restored from a backup is behind what was seen of it.
        let is_ahead = revision > seen;
        let new = revocations::since(&self.db, if is_ahead { seen } else { -1 }).await?;
        self.revocations.rcu(|known| match is_ahead {
            true => Revocations::clone(known).with(&new, revision),
            false => known.emptied().with(&new, revision),
        });
        Ok(())
    }

    /// Asks for the indexes that clients have now whose own ones were revoked.
    pub(super) async fn renew_status_indexes(&self) -> Result<(), AdminError> {
        let (directory, revocations) = (self.directory.load_full(), self.revocations.load_full());
        for client in directory.clients().filter(|client| revocations.is_revoked(client.status_index)) {
            // One that was deleted goes with the next look at all clients.
            if let Some(fresh) = clients::find_status_index(&self.db, &client.id).await? {
                directory.renew(&client.id, client.status_index, fresh);
            }
        }
        Ok(())
    }

    /// Knows what was just revoked here, also if the database has gone away since, and whatever else was revoked.
    pub(super) async fn learn_what_was_revoked(&self, status_index: Option<StatusIndex>) {
        // As long as the row stays or longer; what is read of it takes this one's place.
        let expires_at = self.clock.now().plus(KEEP_ENDED).plus(self.longest_access_ttl());
        if let Some(status_index) = status_index.filter(|index| !self.revocations.load().is_revoked(*index)) {
            let own = [Revocation { status_index, expires_at }];
            self.revocations.rcu(|known| Revocations::clone(known).with(&own, known.seen));
        }
        if let Err(cause) = self.reload().await {
            tracing::warn!(%cause, "what others have just revoked will be known when the database can be read again");
        }
    }

    /// Forgets what is over at `now`.
    pub(super) async fn forget_revocations(&self, now: Timestamp) {
        let _one_at_a_time = self.reloading_revocations.lock().await;
        self.revocations.rcu(|known| Revocations::clone(known).without_what_is_over(now));
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

    fn version(all: &Revocations, list: u32) -> u64 {
        all.of_list(list).expect("something is revoked").version()
    }

    #[test]
    fn a_list_whose_places_do_not_change_keeps_its_number_and_no_other_has_it() {
        let before = Revocations::default().with(&[revoked(5, 10), revoked(1 << 20, 10)], 1);
        let after = before.clone().with(&[revoked(5, 20), revoked((1 << 20) + 1, 10)], 2);
        let later = after.clone().without_what_is_over(Timestamp::from_secs(9));
        let anew = later.emptied().with(&[revoked(1 << 20, 10)], 1);

        assert_eq!(version(&after, 0), version(&before, 0));
        assert_eq!(after.of_list(0).and_then(|places| places.get(5)), Some(Timestamp::from_secs(20)));
        assert_ne!(version(&after, 1), version(&before, 1));
        assert_eq!(version(&later, 1), version(&after, 1));
        assert!(version(&anew, 1) > version(&after, 1), "a backup that was restored is something new");
    }

    #[test]
    fn one_revocation_more_copies_nothing_but_its_block() {
        let places = (0..1 << 20).step_by(512);
        let many: Vec<_> = places.map(|place| revoked(place, 10)).collect();
        let before = Revocations::default().with(&many, 1);
        let after = before.clone().with(&[revoked(7, 10)], 2);

        let (before, after) = (before.of_list(0).expect("there"), after.of_list(0).expect("there"));
        let copied = before.blocks.iter().filter(|(at, block)| !Arc::ptr_eq(block, &after.blocks[*at]));
        assert_eq!((before.blocks.len(), copied.count()), (1024, 1));
        assert_eq!(after.places().count(), many.len() + 1);
    }
}
