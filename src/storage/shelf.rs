//! Connections that rest until somebody takes them, and how many may be taken at once. Knows nothing of databases.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::StorageError;

/// The shelf.
pub(super) struct Shelf<T> {
    places: Arc<Semaphore>,
    patience: Duration,
    /// The one that worked last comes last. `None` once the shelf is closed.
    resting: Mutex<Option<Vec<T>>>,
}

/// The right to use one connection, until it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

impl<T> Shelf<T> {
    /// An empty shelf for so many connections in use at once, at least one; who finds none left waits for `patience`.
    pub(super) fn new(connections: u32, patience: Duration) -> Self {
        let places = Semaphore::new(usize::try_from(connections.max(1)).unwrap_or(usize::MAX));
        Self { places: Arc::new(places), patience, resting: Mutex::new(Some(Vec::new())) }
    }

    /// A place among those who use a connection.
    pub(super) async fn place(&self) -> Result<Place, StorageError> {
        // Nearly always there is one, and no alarm is set.
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let place = tokio::time::timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| StorageError::unavailable("all connections are in use"))?;
        place.map_err(StorageError::unavailable)
    }

    /// Does something with those that rest, unless the shelf is closed.
    pub(super) fn with<R>(&self, what: impl FnOnce(&mut Vec<T>) -> R) -> Result<R, StorageError> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        match resting.as_mut() {
            Some(resting) => Ok(what(resting)),
            None => Err(StorageError::unavailable("it was closed")),
        }
    }

    /// Closes the shelf; gives what rested there.
    pub(super) fn close(&self) -> Vec<T> {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner).take();
        resting.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason<T>(refused: Result<T, StorageError>) -> Option<String> {
        refused.err().map(StorageError::into_reason)
    }

    #[tokio::test]
    async fn there_are_as_many_places_as_connections_and_who_leaves_makes_room() {
        let shelf = Shelf::<()>::new(1, Duration::from_millis(1));
        let first = shelf.place().await.map_err(drop);
        assert!(first.is_ok());
        assert_eq!(reason(shelf.place().await).as_deref(), Some("all connections are in use"));

        drop(first);

        assert!(shelf.place().await.is_ok());
    }

    #[tokio::test]
    async fn who_waits_gets_the_place_that_becomes_free() {
        let shelf = Shelf::<()>::new(1, Duration::from_secs(60));
        let first = shelf.place().await.map_err(drop);

        let (second, ()) = futures_util::future::join(shelf.place(), async { drop(first) }).await;

        assert!(second.is_ok());
    }

    #[test]
    fn nothing_is_put_on_a_closed_shelf_or_taken_from_it() {
        let shelf = Shelf::new(1, Duration::ZERO);
        shelf.with(|resting| resting.extend([1, 2])).expect("it is open");

        assert_eq!(shelf.close(), [1, 2]);

        assert_eq!(reason(shelf.with(|resting| resting.push(3))).as_deref(), Some("it was closed"));
        assert!(shelf.close().is_empty());
    }

    #[test]
    fn a_shelf_for_nobody_has_one_place() {
        assert_eq!(Shelf::<()>::new(0, Duration::ZERO).places.available_permits(), 1);
    }
}
