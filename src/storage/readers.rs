//! Connections that read SQLite, lent from one user straight to the next. sqlx's pool asks a connection whether it is
//! there before it lends it and after it comes back, each a trip to the connection's thread and as long as most
//! questions take; a file that is open does not go away, and that the name leads elsewhere is seen by
//! [`sqlite_file`](super::sqlite_file). Cannot write.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::StorageError;

/// The connections.
#[derive(Clone)]
pub struct Readers(Arc<Shared>);

struct Shared {
    options: SqliteConnectOptions,
    room: Semaphore,
    patience: Duration,
    resting: Mutex<Vec<SqliteConnection>>,
    is_closed: AtomicBool,
}

/// A connection that is lent; closed unless it is given back.
pub(super) struct Reader<'a> {
    connection: SqliteConnection,
    from: &'a Readers,
    _room: SemaphorePermit<'a>,
}

impl Readers {
    /// Lends so many connections at once, none of which is opened before it is needed.
    pub(super) fn new(options: SqliteConnectOptions, connections: u32, patience: Duration) -> Self {
        let room = Semaphore::new(usize::try_from(connections.max(1)).unwrap_or(usize::MAX));
        let options = options.pragma("query_only", "on");
        Self(Arc::new(Shared {
            options,
            room,
            patience,
            resting: Mutex::default(),
            is_closed: AtomicBool::new(false),
        }))
    }

    /// A connection beside those that are lent.
    pub async fn connect(&self) -> Result<SqliteConnection, StorageError> {
        Ok(self.0.options.connect().await?)
    }

    /// Lends a connection.
    pub(super) async fn lend(&self) -> Result<Reader<'_>, StorageError> {
        let room = tokio::time::timeout(self.0.patience, self.0.room.acquire()).await;
        let room = room.map_err(|_| StorageError::unavailable("all connections are in use"))?;
        let room = room.map_err(StorageError::unavailable)?;
        if self.0.is_closed.load(Ordering::Relaxed) {
            return Err(StorageError::unavailable("it was closed"));
        }
        let resting = self.resting().pop();
        let connection = match resting {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Reader { connection, from: self, _room: room })
    }

    fn resting(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.0.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all connections in good order.
    pub(super) async fn close(&self) {
        self.0.is_closed.store(true, Ordering::Relaxed);
        let resting = std::mem::take(&mut *self.resting());
        for connection in resting {
            // There is nothing to lose.
            let _ended = connection.close().await;
        }
    }
}

impl Reader<'_> {
    /// The connection.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Gives it back after all that was asked was answered.
    pub(super) fn give_back(self) {
        let Self { connection, from, _room } = self;
        if !from.0.is_closed.load(Ordering::Relaxed) {
            from.resting().push(connection);
        }
    }
}
