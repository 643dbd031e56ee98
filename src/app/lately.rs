//! What was looked at lately, as much of it as has room. Must not know what it is good for: nothing here says that it
//! still holds.
//!
//! A shard keeps two generations, and when the younger one is full the older one is dropped. What is asked for moves to
//! the younger one.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many can be looked up at once.
const SHARDS: usize = 16;
/// What one generation of a shard holds: 16,384 values in all.
const MOST: usize = 512;
/// What one generation of a shard may take: 32 MiB in all.
const MOST_BYTES: usize = 1024 * 1024;

/// Values by their keys.
pub(crate) struct Lately<K, V> {
    shards: [Mutex<Shard<K, V>>; SHARDS],
    hasher: RandomState,
}

struct Shard<K, V> {
    young: Generation<K, V>,
    old: Generation<K, V>,
}

struct Generation<K, V> {
    values: HashMap<K, Kept<V>>,
    bytes: usize,
}

struct Kept<V> {
    value: Arc<V>,
    bytes: usize,
}

impl<K, V> Default for Generation<K, V> {
    fn default() -> Self {
        Self { values: HashMap::new(), bytes: 0 }
    }
}

impl<K, V> Default for Lately<K, V> {
    fn default() -> Self {
        let shard = |_| Mutex::new(Shard { young: Generation::default(), old: Generation::default() });
        Self { shards: std::array::from_fn(shard), hasher: RandomState::new() }
    }
}

impl<K: Hash + Eq + Copy, V> Lately<K, V> {
    /// What was kept under this key lately.
    pub(super) fn find(&self, key: &K) -> Option<Arc<V>> {
        let mut shard = self.shard(key);
        if let Some(kept) = shard.young.values.get(key) {
            return Some(Arc::clone(&kept.value));
        }
        let kept = shard.old.remove(key)?;
        let value = Arc::clone(&kept.value);
        shard.insert(*key, kept);
        Some(value)
    }

    /// Keeps a value that takes about so many bytes, in the place of the one before.
    pub(super) fn keep(&self, key: K, value: Arc<V>, bytes: usize) {
        let mut shard = self.shard(&key);
        shard.old.remove(&key);
        match bytes <= MOST_BYTES {
            true => shard.insert(key, Kept { value, bytes }),
            false => _ = shard.young.remove(&key),
        }
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        let place = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq, V> Shard<K, V> {
    fn insert(&mut self, key: K, kept: Kept<V>) {
        self.young.remove(&key);
        if self.young.values.len() >= MOST || self.young.bytes + kept.bytes > MOST_BYTES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += kept.bytes;
        self.young.values.insert(key, kept);
    }
}

impl<K: Hash + Eq, V> Generation<K, V> {
    fn remove(&mut self, key: &K) -> Option<Kept<V>> {
        let kept = self.values.remove(key)?;
        self.bytes -= kept.bytes;
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are kept, and the most bytes that any generation says it has.
    fn kept<V>(lately: &Lately<usize, V>) -> (usize, usize) {
        let mut all = (0, 0);
        for shard in &lately.shards {
            let shard = shard.lock().expect("a shard");
            for generation in [&shard.young, &shard.old] {
                let bytes: usize = generation.values.values().map(|kept| kept.bytes).sum();
                assert_eq!(generation.bytes, bytes, "what is counted is what is there");
                all = (all.0 + generation.values.len(), all.1.max(bytes));
            }
        }
        all
    }

    #[test]
    fn the_newest_that_was_kept_is_found_and_nothing_else() {
        let (lately, newest) = (Lately::default(), Arc::new(7));

        lately.keep(1, Arc::new(6), 10);
        lately.keep(1, Arc::clone(&newest), 20);

        assert!(lately.find(&1).is_some_and(|found| Arc::ptr_eq(&found, &newest)));
        assert!(lately.find(&2).is_none());
        assert_eq!(kept(&lately), (1, 20));
    }

    #[test]
    fn as_many_are_kept_as_have_room_and_those_that_are_asked_for_stay() {
        let lately = Lately::default();
        for number in 0..4 * SHARDS * MOST {
            lately.keep(number, Arc::new(number), 10);
            assert!(lately.find(&0).is_some(), "asked for all the time: {number}");
        }

        assert!(kept(&lately).0 <= 2 * SHARDS * MOST);
        assert!(lately.find(&1).is_none(), "nobody asked for it");
        // In the older generation or in the younger one: there is one of each.
        for number in 0..4 * SHARDS * MOST {
            lately.keep(number, Arc::new(number + 1), 10);
            assert_eq!(lately.find(&number).as_deref(), Some(&(number + 1)));
        }
    }

    #[test]
    fn large_values_leave_room_for_fewer_and_the_largest_for_none() {
        let lately = Lately::default();
        for number in 0..100 * SHARDS {
            lately.keep(number, Arc::new(()), 100_000);
        }
        let (count, bytes) = kept(&lately);
        assert!(count < 100 * SHARDS && bytes <= MOST_BYTES, "{count} {bytes}");

        lately.keep(7, Arc::new(()), 10);
        lately.keep(7, Arc::new(()), 2 * MOST_BYTES);

        assert!(lately.find(&7).is_none(), "and what was there before is no more");
    }
}
