//! SQLite's one writer, shared by everybody who writes: a disk syncs a few hundred times a second, and one sync can
//! make many transactions durable. Knows nothing of what they do.
//!
//! Transactions run one after another inside one transaction of SQLite's, the group, each but the first in a savepoint
//! of its own. The first that is done stands in line again, behind everybody who waits by then, and commits for all
//! when its turn has come. Nobody is answered before. So a transaction that is alone is committed at once, and while
//! one group is being synced the next one gathers in line: nobody waits for company.
//!
//! - Whoever fails or goes away takes along what is theirs: their savepoint is undone before the next one begins.
//! - If the group fails, everybody in it is told so, also those who only looked and undid: what they saw of the others
//!   never was.
//! - SQLite may end a transaction by itself, when the disk is full or fails (<https://sqlite.org/lang_transaction.html>
//!   §3). Then the savepoints are gone, and the group's commit fails because there is nothing to commit; whatever
//!   statements came after that were on their own. So a commit that succeeds has all its members in it.

use std::sync::Arc;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::error::StorageError;
use super::lasting::Lasting;
use super::sqlite_file::SqliteFile;

/// How a group ended, once it has: `Err` says why it failed.
type Outcome = Option<Result<(), String>>;

/// What somebody is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// Several statements, all or none of which are durable once committed.
    Several,
    /// One statement, which does all or nothing by itself; undoing is for the case that it did nothing.
    One,
    /// Several statements that a power cut may take back as long as nothing durable was committed after them. A killed
    /// process takes nothing back.
    Forgettable,
}

/// The line of those who want to write.
#[derive(Debug)]
pub struct Line {
    options: SqliteConnectOptions,
    file: Arc<SqliteFile>,
    /// What sees to beginnings and ends, which concern more than one.
    lasting: Lasting,
    /// Whoever holds this may write.
    desk: Arc<Mutex<Desk>>,
}

/// What the one who may write finds.
#[derive(Debug, Default)]
struct Desk {
    /// The group that is open, and somebody is in line to commit it.
    group: Option<Group>,
    /// Connections that nobody uses.
    syncing: Option<SqliteConnection>,
    lax: Option<SqliteConnection>,
    is_closed: bool,
}

/// Transactions that are committed together.
#[derive(Debug)]
struct Group {
    connection: SqliteConnection,
    /// Whether a power cut may take it back.
    is_forgettable: bool,
    /// How many are done and wait for the commit.
    done: usize,
    /// Whether the last one left without saying how it ended.
    abandoned: bool,
    outcome: watch::Sender<Outcome>,
}

/// One transaction; undone unless committed.
pub struct Member {
    line: Arc<Line>,
    intent: Intent,
    /// `None` once it has ended.
    running: Option<Running>,
}

struct Running {
    desk: OwnedMutexGuard<Desk>,
    on: On,
}

enum On {
    Group(Group),
    /// One statement of somebody whom nobody follows commits itself.
    Itself(SqliteConnection),
}

const BEGIN: &str = "begin immediate";
const UNDO: &str = "rollback to member";
const LEAVE: &str = "release member";
const ENTER: &str = "savepoint member";

impl Line {
    /// A line for this database.
    pub(super) fn new(options: SqliteConnectOptions, file: Arc<SqliteFile>, lasting: Lasting) -> Arc<Self> {
        Arc::new(Self { options, file, lasting, desk: Arc::default() })
    }

    /// What sees to beginnings and ends.
    pub(super) const fn lasting(&self) -> &Lasting {
        &self.lasting
    }

    /// Begins a transaction when its turn has come.
    pub(super) async fn begin(self: &Arc<Self>, intent: Intent) -> Result<Member, StorageError> {
        self.file.check_in_place()?;
        let mut desk = {
            let _waiting = self.file.stand_in_line()?;
            Arc::clone(&self.desk).lock_owned().await
        };
        let line = Arc::clone(self);
        // It goes on if nobody waits any more: half a beginning would be the group's end.
        let begun = self.lasting.to_the_end(async move {
            let on = line.seat(&mut desk, intent).await?;
            Ok(Member { line, intent, running: Some(Running { desk, on }) })
        });
        begun.await?
    }

    /// A connection that its owner fills before it becomes a transaction with [`Self::begin_on`].
    pub(super) async fn connect(&self) -> Result<SqliteConnection, StorageError> {
        self.file.check_in_place()?;
        Ok(self.options.connect().await?)
    }

    /// Begins a transaction on a connection of [`Self::connect`], when its turn has come.
    pub(super) async fn begin_on(
        self: &Arc<Self>,
        mut connection: SqliteConnection,
    ) -> Result<Member, StorageError> {
        let mut desk = Arc::clone(&self.desk).lock_owned().await;
        if let Some(group) = desk.group.take() {
            self.commit(&mut desk, group).await;
        }
        run(&mut connection, BEGIN).await?;
        let outcome = watch::Sender::new(None);
        let group = Group { connection, is_forgettable: false, done: 0, abandoned: false, outcome };
        let running = Running { desk, on: On::Group(group) };
        Ok(Member { line: Arc::clone(self), intent: Intent::Several, running: Some(running) })
    }

    async fn seat(&self, desk: &mut Desk, intent: Intent) -> Result<On, StorageError> {
        if desk.is_closed {
            return Err(StorageError::unavailable("it was closed"));
        }
        let is_forgettable = intent == Intent::Forgettable;
        if let Some(mut group) = desk.group.take() {
            if group.is_forgettable && !is_forgettable {
                self.commit(desk, group).await;
            } else if let Ok(()) = group.enter(intent).await {
                return Ok(On::Group(group));
            }
        }
        let mut connection = self.connection(desk, is_forgettable).await?;
        if intent == Intent::One && self.file.is_nobody_in_line() {
            return Ok(On::Itself(connection));
        }
        // At once as a writer, so that reading first never ends in "database is locked". A connection that cannot
        // begin is not used again.
        run(&mut connection, BEGIN).await?;
        let outcome = watch::Sender::new(None);
        Ok(On::Group(Group { connection, is_forgettable, done: 0, abandoned: false, outcome }))
    }

    async fn connection(&self, desk: &mut Desk, lax: bool) -> Result<SqliteConnection, StorageError> {
        let (resting, synchronous) = match lax {
            true => (&mut desk.lax, SqliteSynchronous::Normal),
            // What was answered 200 must survive a power cut, so every commit is synced.
            false => (&mut desk.syncing, SqliteSynchronous::Full),
        };
        match resting.take() {
            Some(connection) => Ok(connection),
            None => Ok(self.options.clone().synchronous(synchronous).connect().await?),
        }
    }

    /// Commits a group and tells everybody in it.
    async fn commit(&self, desk: &mut Desk, mut group: Group) {
        let committed = match group.tidy().await {
            Ok(()) => run(&mut group.connection, "commit").await,
            failed => failed,
        };
        let ended = match committed {
            Ok(()) => self.committed(),
            Err(cause) => Err(group.undo_all(cause).await),
        };
        if ended.is_ok() {
            desk.rest(group.connection, group.is_forgettable);
        }
        group.outcome.send_replace(Some(ended.map_err(StorageError::into_reason)));
    }

    fn committed(&self) -> Result<(), StorageError> {
        self.file.committed();
        // Deleted meanwhile, it has taken the commit with it.
        self.file.check_in_place()
    }

    /// Commits the group that is open, if one is.
    async fn close_group(&self) {
        let mut desk = self.desk.lock().await;
        if let Some(group) = desk.group.take() {
            self.commit(&mut desk, group).await;
        }
    }

    /// Ends the connections in good order.
    pub(super) async fn close(&self) {
        self.close_group().await;
        let mut desk = self.desk.lock().await;
        desk.is_closed = true;
        for connection in [desk.syncing.take(), desk.lax.take()].into_iter().flatten() {
            // There is nothing more to lose.
            let _ended = sqlx::Connection::close(connection).await;
        }
    }
}

impl Desk {
    fn rest(&mut self, connection: SqliteConnection, lax: bool) {
        *(if lax { &mut self.lax } else { &mut self.syncing }) = Some(connection);
    }
}

impl Group {
    /// Makes room for one more, or fails.
    async fn enter(&mut self, intent: Intent) -> Result<(), StorageError> {
        let entered = match self.tidy().await {
            // A statement that fails undoes itself.
            Ok(()) if intent != Intent::One => run(&mut self.connection, ENTER).await,
            tidied => tidied,
        };
        match entered {
            Ok(()) => Ok(()),
            Err(cause) => Err(self.fail(cause).await),
        }
    }

    /// Undoes what was left unfinished.
    async fn tidy(&mut self) -> Result<(), StorageError> {
        if std::mem::take(&mut self.abandoned) {
            self.undo_last().await?;
        }
        Ok(())
    }

    async fn undo_last(&mut self) -> Result<(), StorageError> {
        run(&mut self.connection, UNDO).await?;
        run(&mut self.connection, LEAVE).await
    }

    /// Undoes everything and tells everybody; gives what they are told.
    async fn fail(&mut self, cause: StorageError) -> StorageError {
        let cause = self.undo_all(cause).await;
        let reason = cause.into_reason();
        self.outcome.send_replace(Some(Err(reason.clone())));
        StorageError::unavailable(reason)
    }

    /// Before anybody is told, so that nobody who looks again sees what is about to be undone.
    async fn undo_all(&mut self, cause: StorageError) -> StorageError {
        let _what_failed_is_the_cause = run(&mut self.connection, "rollback").await;
        StorageError::unavailable(cause.into_reason())
    }
}

impl Member {
    /// Whether it is nobody's companion: its one statement is synced by itself.
    pub(super) const fn commits_itself(&self) -> bool {
        matches!(self.running, Some(Running { on: On::Itself(_), .. }))
    }

    /// Where its statements run.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        match &mut self.running.as_mut().expect("a member that has not ended runs").on {
            On::Group(group) => &mut group.connection,
            On::Itself(connection) => connection,
        }
    }

    /// Makes what was done durable. Whoever gets an error here does not know whether it was.
    pub(super) async fn commit(self) -> Result<(), StorageError> {
        // Whoever goes away now must neither leave the others waiting nor be forgotten.
        let lasting = self.line.lasting.clone();
        lasting.to_the_end(self.commit_to_the_end()).await?
    }

    async fn commit_to_the_end(mut self) -> Result<(), StorageError> {
        let Some(Running { mut desk, on }) = self.running.take() else { return Ok(()) };
        let mut group = match on {
            On::Group(group) => group,
            On::Itself(connection) => {
                desk.rest(connection, false);
                return self.line.committed();
            }
        };
        let is_first = group.done == 0;
        if !is_first
            && self.intent != Intent::One
            && let Err(cause) = run(&mut group.connection, LEAVE).await
        {
            return Err(group.fail(cause).await);
        }
        group.done += 1;
        let outcome = hand_on(desk, group);
        if is_first {
            self.line.close_group().await;
        }
        wait_for(outcome).await
    }

    /// Undoes what was done, and lets the next one in.
    pub(super) async fn rollback(self) -> Result<(), StorageError> {
        let lasting = self.line.lasting.clone();
        lasting.to_the_end(self.rollback_to_the_end()).await?
    }

    async fn rollback_to_the_end(mut self) -> Result<(), StorageError> {
        let Some(Running { mut desk, on }) = self.running.take() else { return Ok(()) };
        let mut group = match on {
            On::Itself(connection) => {
                desk.rest(connection, false);
                return Ok(());
            }
            On::Group(mut group) if group.done == 0 => {
                run(&mut group.connection, "rollback").await?;
                desk.rest(group.connection, group.is_forgettable);
                return Ok(());
            }
            On::Group(group) => group,
        };
        if self.intent != Intent::One
            && let Err(cause) = group.undo_last().await
        {
            return Err(group.fail(cause).await);
        }
        // What it saw of the others is true only if they are committed, and only then do others see it too.
        wait_for(hand_on(desk, group)).await
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some(Running { mut desk, on: On::Group(mut group) }) = self.running.take() else { return };
        if group.done > 0 && self.intent != Intent::One {
            group.abandoned = true;
            desk.group = Some(group);
        } else {
            // Nothing says where it ends: everything goes, and the desk is free when it has gone.
            self.line.lasting.spawn(async move {
                group.fail(StorageError::unavailable("a transaction broke off")).await;
                drop((group, desk));
            });
        }
    }
}

/// Lets the next one in line into the group.
fn hand_on(mut desk: OwnedMutexGuard<Desk>, group: Group) -> watch::Receiver<Outcome> {
    let outcome = group.outcome.subscribe();
    desk.group = Some(group);
    outcome
}

async fn wait_for(mut outcome: watch::Receiver<Outcome>) -> Result<(), StorageError> {
    let ended = outcome.wait_for(Option::is_some).await;
    match ended.as_deref() {
        Ok(Some(Ok(()))) => Ok(()),
        Ok(Some(Err(cause))) => Err(StorageError::unavailable(cause)),
        Ok(None) | Err(_) => Err(StorageError::unavailable("the writer went away in the middle of a commit")),
    }
}

/// That a savepoint is missing is not the caller's mistake: SQLite has ended the transaction.
async fn run(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), StorageError> {
    let done = sqlx::query(statement).execute(connection).await;
    done.map(drop).map_err(StorageError::unavailable)
}

#[cfg(test)]
mod tests;
