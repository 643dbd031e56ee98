//! Connections that read SQLite, lent from one user straight to the next. sqlx's pool asks a connection whether it is
//! there before it lends it and after it comes back, each a trip to the connection's thread and as long as most
//! questions take; a file that is open does not go away, and that the name leads elsewhere is seen by
//! [`sqlite_file`](super::sqlite_file). Cannot write.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::error::StorageError;
use super::shelf::{Place, Shelf};

/// The connections.
#[derive(Clone)]
pub struct Readers(Arc<Shared>);

struct Shared {
    options: SqliteConnectOptions,
    shelf: Shelf<SqliteConnection>,
}

/// A connection that is lent; closed unless it is given back.
pub(super) struct Reader<'a> {
    connection: SqliteConnection,
    from: &'a Readers,
    _place: Place,
}

impl Readers {
    /// Lends so many connections at once, none of which is opened before it is needed.
    pub(super) fn new(options: SqliteConnectOptions, connections: u32, patience: Duration) -> Self {
        let options = options.pragma("query_only", "on");
        Self(Arc::new(Shared { options, shelf: Shelf::new(connections, patience) }))
    }

    /// A connection beside those that are lent.
    pub async fn connect(&self) -> Result<SqliteConnection, StorageError> {
        Ok(self.0.options.connect().await?)
    }

    /// Lends a connection.
    pub(super) async fn lend(&self) -> Result<Reader<'_>, StorageError> {
        let place = self.0.shelf.place().await?;
        let resting = self.0.shelf.with(Vec::pop)?;
        let connection = match resting {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Reader { connection, from: self, _place: place })
    }

    /// Ends all connections in good order.
    pub(super) async fn close(&self) {
        for connection in self.0.shelf.close() {
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
        let Self { connection, from, _place } = self;
        let _or_it_was_closed = from.0.shelf.with(|resting| resting.push(connection));
    }
}
