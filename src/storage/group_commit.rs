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

use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Sqlite, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::error::StorageError;
use super::sqlite_file::SqliteFile;

/// How a group ended, once it has: `Err` says why it failed.
type Outcome = Option<Result<(), String>>;

/// The line of those who want to write.
#[derive(Debug)]
pub struct Line {
    /// One connection.
    writer: SqlitePool,
    file: Arc<SqliteFile>,
    /// Whoever holds this may write; the group is in it while it is open and somebody waits to commit it.
    open: Arc<Mutex<Option<Group>>>,
}

/// Transactions that are committed together.
#[derive(Debug)]
struct Group {
    tx: Transaction<'static, Sqlite>,
    /// How many are done and wait for the commit.
    done: usize,
    /// Whether the last one left without saying how it ended.
    abandoned: bool,
    outcome: watch::Sender<Outcome>,
}

/// One transaction of a group; undone unless committed.
pub struct Member {
    line: Arc<Line>,
    place: OwnedMutexGuard<Option<Group>>,
    /// `None` once it has ended.
    group: Option<Group>,
}

const UNDO: &str = "rollback to member";
const LEAVE: &str = "release member";
const ENTER: &str = "savepoint member";

impl Line {
    /// A line for this writer, a pool of one connection.
    pub(super) fn new(writer: SqlitePool, file: Arc<SqliteFile>) -> Arc<Self> {
        Arc::new(Self { writer, file, open: Arc::default() })
    }

    /// Begins a transaction when its turn has come.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<Member, StorageError> {
        self.file.check_in_place()?;
        let _waiting = self.file.stand_in_line()?;
        let mut place = Arc::clone(&self.open).lock_owned().await;
        let line = Arc::clone(self);
        // On a task of its own, which goes on if nobody waits any more: half a beginning would be the group's end.
        let begun = tokio::spawn(async move {
            let joined = match place.take() {
                Some(group) => group.enter().await,
                None => None,
            };
            let group = match joined {
                Some(group) => group,
                None => Group::begin(&line.writer).await?,
            };
            Ok(Member { line, place, group: Some(group) })
        });
        begun.await.map_err(StorageError::unavailable)?
    }

    /// Commits the group that is open, if one is.
    async fn close(&self) {
        let mut place = Arc::clone(&self.open).lock_owned().await;
        if let Some(group) = place.take()
            && let Some(group) = group.tidied().await
        {
            let ended = match group.tx.commit().await {
                Ok(()) => {
                    self.file.committed();
                    // Deleted meanwhile, it has taken the commit with it.
                    self.file.check_in_place().map_err(StorageError::into_reason)
                }
                Err(cause) => Err(cause.to_string()),
            };
            group.outcome.send_replace(Some(ended));
        }
    }
}

impl Group {
    async fn begin(writer: &SqlitePool) -> Result<Self, StorageError> {
        // At once as a writer, so that reading first never ends in "database is locked".
        let tx = writer.begin_with("begin immediate").await?;
        Ok(Self { tx, done: 0, abandoned: false, outcome: watch::Sender::new(None) })
    }

    /// Makes room for one more; `None` if the group has failed.
    async fn enter(self) -> Option<Self> {
        self.tidied().await?.run(&[ENTER]).await.ok()
    }

    /// Undoes what was left unfinished; `None` if the group has failed.
    async fn tidied(mut self) -> Option<Self> {
        match std::mem::take(&mut self.abandoned) {
            true => self.run(&[UNDO, LEAVE]).await.ok(),
            false => Some(self),
        }
    }

    /// Runs these statements; the group ends with the first that fails, and everybody in it is told.
    async fn run(mut self, statements: &[&'static str]) -> Result<Self, StorageError> {
        for statement in statements {
            if let Err(cause) = sqlx::query(*statement).execute(&mut *self.tx).await {
                // Before anybody is told, so that nobody who looks again sees what is about to be undone.
                let _what_failed_is_the_cause = self.tx.rollback().await;
                self.outcome.send_replace(Some(Err(cause.to_string())));
                return Err(StorageError::unavailable(cause));
            }
        }
        Ok(self)
    }
}

impl Member {
    /// Where its statements run.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.group.as_mut().expect("a member that has not ended is in a group").tx
    }

    /// Makes what was done durable. Whoever gets an error here does not know whether it was.
    pub(super) async fn commit(self) -> Result<(), StorageError> {
        // On a task of its own: whoever goes away now must neither leave the others waiting nor be forgotten.
        tokio::spawn(self.commit_to_the_end()).await.map_err(StorageError::unavailable)?
    }

    async fn commit_to_the_end(mut self) -> Result<(), StorageError> {
        let Some(mut group) = self.group.take() else { return Ok(()) };
        let is_first = group.done == 0;
        if !is_first {
            group = group.run(&[LEAVE]).await?;
        }
        group.done += 1;
        let (line, outcome) = self.hand_on(group);
        if is_first {
            line.close().await;
        }
        wait_for(outcome).await
    }

    /// Undoes what was done, and lets the next one in.
    pub(super) async fn rollback(self) -> Result<(), StorageError> {
        tokio::spawn(self.rollback_to_the_end()).await.map_err(StorageError::unavailable)?
    }

    async fn rollback_to_the_end(mut self) -> Result<(), StorageError> {
        let Some(group) = self.group.take() else { return Ok(()) };
        if group.done == 0 {
            return Ok(group.tx.rollback().await?);
        }
        let group = group.run(&[UNDO, LEAVE]).await?;
        // What it saw of the others is true only if they are committed, and only then do others see it too.
        let (_, outcome) = self.hand_on(group);
        wait_for(outcome).await
    }

    /// Lets the next one in line into the group.
    fn hand_on(mut self, group: Group) -> (Arc<Line>, watch::Receiver<Outcome>) {
        let outcome = group.outcome.subscribe();
        *self.place = Some(group);
        (Arc::clone(&self.line), outcome)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut group) = self.group.take()
            && group.done > 0
        {
            group.abandoned = true;
            *self.place = Some(group);
        }
    }
}

async fn wait_for(mut outcome: watch::Receiver<Outcome>) -> Result<(), StorageError> {
    let ended = outcome.wait_for(Option::is_some).await;
    match ended.as_deref() {
        Ok(Some(Ok(()))) => Ok(()),
        Ok(Some(Err(cause))) => Err(StorageError::unavailable(cause)),
        Ok(None) | Err(_) => Err(StorageError::unavailable("the writer went away in the middle of a commit")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{JoinHandle, yield_now};

    use super::*;
    use crate::storage::Db;
    use crate::storage::db::Location;

    /// A database with one table, and the line to it.
    struct House {
        _directory: tempfile::TempDir,
        read: SqlitePool,
        line: Arc<Line>,
    }

    type Answer = Result<(), StorageError>;

    async fn house() -> House {
        let directory = tempfile::tempdir().expect("a directory");
        let location = Location::Sqlite(directory.path().join("private").join("grantd.db"));
        let Db::Sqlite { read, write, line, .. } = Db::open(&location, None).await.expect("a database")
        else {
            panic!("this is about SQLite")
        };
        let tables = "create table parent (id integer primary key);
                      create table note (id integer primary key, parent integer references parent (id))";
        sqlx::raw_sql(tables).execute(&write).await.expect("tables");
        House { _directory: directory, read, line }
    }

    impl House {
        /// What is committed.
        async fn notes(&self) -> Vec<i64> {
            sqlx::query_scalar("select id from note order by id").fetch_all(&self.read).await.expect("notes")
        }

        async fn begin(&self) -> Member {
            self.line.begin().await.expect("a turn")
        }

        /// Somebody who stands in line by the time this returns, and does these things when it is their turn.
        async fn in_line<F>(&self, then: impl FnOnce(Member) -> F + Send + 'static) -> JoinHandle<Answer>
        where
            F: Future<Output = Answer> + Send,
        {
            let line = Arc::clone(&self.line);
            let waiting = tokio::spawn(async move { then(line.begin().await?).await });
            // One thread runs everybody: they get as far as they can.
            for _ in 0..10 {
                yield_now().await;
            }
            waiting
        }

        async fn writes(&self, id: i64) -> JoinHandle<Answer> {
            self.in_line(move |mut member| async move {
                note(&mut member, id).await;
                member.commit().await
            })
            .await
        }
    }

    async fn sql(member: &mut Member, text: &'static str) {
        sqlx::raw_sql(text).execute(member.connection()).await.expect(text);
    }

    async fn note(member: &mut Member, id: i64) {
        sqlx::query("insert into note (id) values ($1)")
            .bind(id)
            .execute(member.connection())
            .await
            .expect("room for a note");
    }

    #[tokio::test]
    async fn one_who_is_alone_is_committed_at_once() {
        let house = house().await;

        for id in 1..=3 {
            let mut alone = house.begin().await;
            note(&mut alone, id).await;
            alone.commit().await.expect("committed");
        }

        assert_eq!(house.notes().await, [1, 2, 3]);
        assert_eq!(house.line.file.commits(), 3);
    }

    #[tokio::test]
    async fn all_who_wait_are_committed_by_one_commit() {
        let house = house().await;
        let mut first = house.begin().await;
        note(&mut first, 0).await;
        let mut others = Vec::new();
        for id in 1..=9 {
            others.push(house.writes(id).await);
        }

        first.commit().await.expect("committed");
        for other in others {
            other.await.expect("no panic").expect("committed");
        }

        assert_eq!(house.notes().await, (0..=9).collect::<Vec<_>>());
        assert_eq!(house.line.file.commits(), 1);
    }

    #[tokio::test]
    async fn nobody_is_answered_before_the_commit() {
        let house = house().await;
        let mut first = house.begin().await;
        note(&mut first, 1).await;
        // Keeps the group open until it is told to go on.
        let (go_on, wait) = tokio::sync::oneshot::channel::<()>();
        let slow = house
            .in_line(move |member| async move {
                wait.await.expect("a word");
                member.rollback().await
            })
            .await;

        let answer = tokio::spawn(first.commit());
        for _ in 0..1000 {
            yield_now().await;
        }
        assert!(!answer.is_finished() && house.notes().await.is_empty());

        go_on.send(()).expect("somebody waits");
        answer.await.expect("no panic").expect("committed");
        slow.await.expect("no panic").expect("undone");
        assert_eq!(house.notes().await, [1]);
    }

    #[tokio::test]
    async fn whoever_undoes_or_fails_or_goes_away_takes_along_only_what_is_theirs() {
        let house = house().await;
        let mut first = house.begin().await;
        note(&mut first, 1).await;
        let undoes = house
            .in_line(|mut member| async move {
                note(&mut member, 2).await;
                member.rollback().await
            })
            .await;
        let second = house.writes(3).await;
        let fails = house
            .in_line(|mut member| async move {
                note(&mut member, 4).await;
                let again = sqlx::query("insert into note (id) values (4)");
                again.execute(member.connection()).await?;
                member.commit().await
            })
            .await;
        let third = house.writes(5).await;
        let goes = house
            .in_line(|mut member| async move {
                note(&mut member, 6).await;
                drop(member);
                Ok(())
            })
            .await;

        first.commit().await.expect("committed");

        undoes.await.expect("no panic").expect("undone");
        assert!(matches!(fails.await.expect("no panic"), Err(StorageError::AlreadyExists)));
        goes.await.expect("no panic").expect("gone");
        for committed in [second, third] {
            committed.await.expect("no panic").expect("committed");
        }
        assert_eq!(house.notes().await, [1, 3, 5]);
    }

    #[tokio::test]
    async fn a_first_one_that_undoes_or_goes_away_leaves_nothing() {
        let house = house().await;
        for by_word in [true, false] {
            let mut first = house.begin().await;
            note(&mut first, 1).await;
            let next = house.writes(2).await;

            match by_word {
                true => first.rollback().await.expect("undone"),
                false => drop(first),
            }

            next.await.expect("no panic").expect("committed");
            assert_eq!(house.notes().await, [2]);
            let mut last = house.begin().await;
            sql(&mut last, "delete from note").await;
            last.commit().await.expect("committed");
        }
    }

    #[tokio::test]
    async fn when_the_commit_fails_everybody_is_told_also_who_only_looked() {
        let house = house().await;
        let mut first = house.begin().await;
        note(&mut first, 1).await;
        let breaks = house
            .in_line(|mut member| async move {
                // A reference to nothing, which SQLite finds when it commits.
                sql(&mut member, "pragma defer_foreign_keys = on; insert into note values (2, 77)").await;
                member.commit().await
            })
            .await;
        let looks = house.in_line(Member::rollback).await;
        let last = house.writes(3).await;

        let answers = [
            first.commit().await,
            breaks.await.expect("no panic"),
            looks.await.expect("no panic"),
            last.await.expect("no panic"),
        ];

        for answer in answers {
            assert!(matches!(answer, Err(StorageError::Unavailable(_))), "{answer:?}");
        }
        assert!(house.notes().await.is_empty());
        house.writes(4).await.await.expect("no panic").expect("the next group is another one");
        assert_eq!(house.notes().await, [4]);
    }

    /// When SQLite has ended the transaction by itself.
    #[tokio::test]
    async fn nobody_whose_transaction_is_gone_is_told_that_it_was_committed() {
        // Whoever met it says nothing more, or goes on as if nothing had been.
        for goes_on in [false, true] {
            for by_the_first in [false, true] {
                let house = house().await;
                let mut first = house.begin().await;
                note(&mut first, 1).await;
                if by_the_first {
                    sql(&mut first, "rollback").await;
                }
                let meets = house
                    .in_line(move |mut member| async move {
                        if !by_the_first {
                            sql(&mut member, "rollback").await;
                        }
                        if goes_on { member.commit().await } else { Ok(()) }
                    })
                    .await;

                let answer = first.commit().await;

                assert!(answer.is_err(), "went on: {goes_on}, by the first: {by_the_first}");
                assert!(house.notes().await.is_empty());
                assert!(!goes_on || meets.await.expect("no panic").is_err());
                house.writes(4).await.await.expect("no panic").expect("the next group is another one");
                assert_eq!(house.notes().await, [4]);
            }
        }
    }

    #[tokio::test]
    async fn who_hangs_up_at_any_moment_leaves_the_others_alone() {
        let house = house().await;
        for moment in 0..60 {
            let mut first = house.begin().await;
            note(&mut first, 1000 + moment).await;
            let goes = house.writes(2000 + moment).await;
            let stays = house.writes(3000 + moment).await;
            let committing = tokio::spawn(first.commit());
            for _ in 0..moment {
                yield_now().await;
            }

            goes.abort();
            if moment % 2 == 0 {
                committing.abort();
            }

            stays.await.expect("no panic").expect("committed");
            assert!(house.notes().await.contains(&(3000 + moment)));
            // What was under way went on: it is not for who went away to say that it did not happen.
            assert!(house.notes().await.contains(&(1000 + moment)) || moment == 0);
        }
    }
}
