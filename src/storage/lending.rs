//! Connections to Postgres, lent from one user straight to the next. sqlx's pool asks a connection whether it is there
//! whenever it takes one back, which costs more round trips than most of what is done with it, and without an end to
//! its patience. Here a connection that has just worked is lent as it is, one that has rested is asked first, and one
//! whose use did not end in good order is closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::error::StorageError;
use super::lasting::Lasting;
use super::shelf::{Place, Shelf};

/// How long a connection is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an open connection may be silent when it is asked whether it is there.
const PING_PATIENCE: Duration = Duration::from_secs(1);
/// A connection that has worked so lately is lent as it is.
const FRESH: Duration = Duration::from_millis(250);
/// How long a connection is kept that nobody needs, and any.
const RESTS_AT_MOST: Duration = Duration::from_secs(60);
const LIVES_AT_MOST: Duration = Duration::from_secs(30 * 60);
/// How old a session may get that cannot write.
const READ_ONLY_SESSION: Duration = Duration::from_secs(3);

/// What bounds a session on the other side of the wire. A request is given up after ten seconds; the locks that it
/// holds or waits for must go soon after, also if this machine has vanished and nobody can say so. Statements are not
/// bounded: to end a million sessions takes as long as it takes.
const SESSION: &str = "set lock_timeout = '5s'; set idle_in_transaction_session_timeout = '10s';
    set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3;
    set tcp_user_timeout = '15s'";

/// The lender.
#[derive(Clone)]
pub struct Lender(Arc<Shared>);

struct Shared {
    options: PgConnectOptions,
    /// Where sockets are looked after: a connection is of no use once the runtime has ended that opened it.
    lasting: Lasting,
    shelf: Shelf<Kept>,
}

struct Kept {
    connection: PgConnection,
    since: Instant,
    used_at: Instant,
}

/// A connection that is lent; closed unless it is given back.
pub struct Lent {
    lender: Lender,
    kept: Kept,
    /// Let go of last.
    _place: Place,
}

/// A transaction on a connection that is lent; undone unless committed.
pub struct LentTransaction {
    lent: Lent,
    /// Whether it has to be told how it ends; one statement commits itself.
    is_open: bool,
}

impl Lender {
    /// Lends so many connections at once.
    pub(super) fn new(options: PgConnectOptions, connections: u32, lasting: Lasting) -> Self {
        Self(Arc::new(Shared { options, lasting, shelf: Shelf::new(connections, PATIENCE) }))
    }

    /// The runtime that opens connections.
    pub(super) fn lasting(&self) -> &Lasting {
        &self.0.lasting
    }

    /// A connection beside those that are lent, for what changes its session.
    pub async fn connect(&self) -> Result<PgConnection, StorageError> {
        self.0.shelf.with(|_| ())?;
        let options = self.0.options.clone();
        let connect = async move {
            let mut connection = options.connect().await?;
            connection.execute(sqlx::raw_sql(SESSION)).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        let connected = self.0.lasting.spawn(async { tokio::time::timeout(PATIENCE, connect).await }).await;
        match connected.map_err(StorageError::unavailable)? {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(StorageError::unavailable(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    /// Whether there is somebody to connect to, whoever uses the connections that there are.
    pub(super) async fn takes_connections(&self) -> bool {
        let knock = async { self.0.options.connect().await?.close().await };
        tokio::time::timeout(PING_PATIENCE, knock).await.is_ok_and(|answered| answered.is_ok())
    }

    /// Lends a connection that leads to a database which can be written.
    pub(super) async fn lend(&self) -> Result<Lent, StorageError> {
        let place = self.0.shelf.place().await?;
        let lent = |kept| Ok(Lent { lender: self.clone(), kept, _place: place });

        if let Some(mut kept) = self.take()? {
            if kept.used_at.elapsed() < FRESH || is_fit(&mut kept).await {
                return lent(kept);
            }
            // What has rested longer leads nowhere either, and to find that out takes a second each.
            drop(self.0.shelf.with(std::mem::take)?);
        }
        let since = Instant::now();
        lent(Kept { connection: self.connect().await?, since, used_at: since })
    }

    fn take(&self) -> Result<Option<Kept>, StorageError> {
        let (taken, _tired) = self.0.shelf.with(|resting| {
            let taken = resting.pop();
            // One at a time will do, and the first has rested longest.
            let is_tired = resting.first().is_some_and(|kept| kept.used_at.elapsed() > RESTS_AT_MOST);
            (taken, is_tired.then(|| resting.remove(0)))
        })?;
        Ok(taken)
    }

    fn keep(&self, kept: Kept) {
        if kept.since.elapsed() < LIVES_AT_MOST {
            let kept = Kept { used_at: Instant::now(), ..kept };
            let _or_it_was_closed = self.0.shelf.with(|resting| resting.push(kept));
        }
    }

    /// Ends all connections in good order.
    pub(super) async fn close(&self) {
        for kept in self.0.shelf.close() {
            // How it ends does not matter.
            let _ended = tokio::time::timeout(PING_PATIENCE, kept.connection.close()).await;
        }
    }
}

/// Whether the connection leads to a database that can be written: one round trip, as a ping. A session stays read-only
/// when its database is not any more, and stays with a server that is not the primary any more, so it is begun anew;
/// not with every use, lest a long outage be nothing but new sessions.
async fn is_fit(kept: &mut Kept) -> bool {
    let question = kept.connection.fetch_one(sqlx::raw_sql("show transaction_read_only"));
    let Ok(Ok(answer)) = tokio::time::timeout(PING_PATIENCE, question).await else { return false };
    let read_only: Result<String, _> = answer.try_get(0);
    read_only.is_ok_and(|read_only| read_only == "off" || kept.since.elapsed() < READ_ONLY_SESSION)
}

impl Lent {
    /// The connection.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.kept.connection
    }

    /// Gives it back after all that was asked was answered.
    pub(super) fn give_back(self) {
        let Self { lender, kept, _place } = self;
        lender.keep(kept);
    }
}

impl LentTransaction {
    pub(super) async fn begin(lender: &Lender) -> Result<Self, StorageError> {
        Self::begin_on(lender.lend().await?).await
    }

    /// The same on a connection that was filled before.
    pub(super) async fn begin_on(lent: Lent) -> Result<Self, StorageError> {
        // From the first word on, so that one that is given up half-way is closed.
        let mut begun = Self { lent, is_open: true };
        begun.say("begin").await?;
        Ok(begun)
    }

    /// For one statement, which commits itself.
    pub(super) async fn of_one_statement(lender: &Lender) -> Result<Self, StorageError> {
        Ok(Self { lent: lender.lend().await?, is_open: false })
    }

    /// Where its statements run.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.lent.connection()
    }

    pub(super) async fn commit(self) -> Result<(), StorageError> {
        self.end("commit").await
    }

    pub(super) async fn rollback(self) -> Result<(), StorageError> {
        self.end("rollback").await
    }

    async fn end(mut self, word: &'static str) -> Result<(), StorageError> {
        if self.is_open {
            self.say(word).await?;
        }
        self.lent.give_back();
        Ok(())
    }

    async fn say(&mut self, word: &'static str) -> Result<(), StorageError> {
        // Not prepared: one round trip.
        Ok(sqlx::raw_sql(word).execute(self.connection()).await.map(drop)?)
    }
}
