//! Groups are committed whole and nobody is told what did not happen, whoever fails, leaves or waits. One thread runs
//! everybody here, so that the order is known.

use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::storage::Db;
use crate::storage::db::Location;
use crate::storage::readers::Readers;

/// A database with one table, and the line to it.
struct House {
    _directory: tempfile::TempDir,
    readers: Readers,
    line: Arc<Line>,
}

type Answer = Result<(), StorageError>;

async fn house() -> House {
    let directory = tempfile::tempdir().expect("a directory");
    let location = Location::Sqlite(directory.path().join("private").join("grantd.db"));
    let Db::Sqlite { readers, write, line, .. } = Db::open(&location, None).await.expect("a database") else {
        panic!("this is about SQLite")
    };
    let tables = "create table parent (id integer primary key);
                  create table note (id integer primary key, parent integer references parent (id))";
    sqlx::raw_sql(tables).execute(&write).await.expect("tables");
    House { _directory: directory, readers, line }
}

impl House {
    /// What is committed.
    async fn notes(&self) -> Vec<i64> {
        let mut reader = self.readers.lend().await.expect("a connection");
        let notes =
            sqlx::query_scalar("select id from note order by id").fetch_all(reader.connection()).await;
        reader.give_back();
        notes.expect("notes")
    }

    async fn begin(&self) -> Member {
        self.line.begin(Intent::Several).await.expect("a turn")
    }

    /// Somebody who stands in line by the time this returns, and does these things when it is their turn.
    async fn in_line<F>(&self, then: impl FnOnce(Member) -> F + Send + 'static) -> JoinHandle<Answer>
    where
        F: Future<Output = Answer> + Send,
    {
        self.in_line_with(Intent::Several, then).await
    }

    async fn in_line_with<F>(
        &self,
        intent: Intent,
        then: impl FnOnce(Member) -> F + Send + 'static,
    ) -> JoinHandle<Answer>
    where
        F: Future<Output = Answer> + Send,
    {
        let line = Arc::clone(&self.line);
        let waiting = tokio::spawn(async move { then(line.begin(intent).await?).await });
        // One thread runs everybody: they get as far as they can.
        for _ in 0..10 {
            yield_now().await;
        }
        waiting
    }

    async fn writes(&self, id: i64) -> JoinHandle<Answer> {
        self.writes_with(Intent::Several, id).await
    }

    /// One statement that fails, because there is such a note.
    async fn fails_to_write_again(&self, id: i64) -> JoinHandle<Answer> {
        self.in_line_with(Intent::One, move |mut member| async move {
            let again = sqlx::query("insert into note (id) values ($1)").bind(id);
            let failed = again.execute(member.connection()).await;
            member.rollback().await?;
            Ok(failed.map(drop)?)
        })
        .await
    }

    async fn writes_with(&self, intent: Intent, id: i64) -> JoinHandle<Answer> {
        self.in_line_with(intent, move |mut member| async move {
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

#[tokio::test]
async fn one_statement_of_somebody_alone_commits_itself() {
    let house = house().await;

    house.writes_with(Intent::One, 1).await.await.expect("no panic").expect("committed");
    assert_eq!((house.notes().await, house.line.file.commits()), (vec![1], 1));

    // It fails, does nothing, or is never heard of again: the next one finds everything in order.
    let again = house.fails_to_write_again(1);
    assert!(matches!(again.await.await.expect("no panic"), Err(StorageError::AlreadyExists)));
    drop(house.line.begin(Intent::One).await.expect("a turn"));
    house.writes(2).await.await.expect("no panic").expect("committed");
    assert_eq!(house.notes().await, [1, 2]);
}

#[tokio::test]
async fn single_statements_that_wait_are_committed_with_the_others_and_a_failed_one_takes_nobody_along() {
    let house = house().await;
    let mut first = house.begin().await;
    note(&mut first, 0).await;
    let mut others = Vec::new();
    for id in 1..=6 {
        let intent = if id % 2 == 0 { Intent::One } else { Intent::Several };
        others.push(house.writes_with(intent, id).await);
    }
    let fails = house.fails_to_write_again(3);
    let fails = fails.await;

    first.commit().await.expect("committed");

    for other in others {
        other.await.expect("no panic").expect("committed");
    }
    assert!(matches!(fails.await.expect("no panic"), Err(StorageError::AlreadyExists)));
    assert_eq!(house.notes().await, (0..=6).collect::<Vec<_>>());
    assert_eq!(house.line.file.commits(), 1);
}

#[tokio::test]
async fn a_single_statement_whose_end_nobody_hears_of_is_undone_with_its_group() {
    let house = house().await;
    let mut first = house.begin().await;
    note(&mut first, 1).await;
    let breaks_off = house.in_line_with(Intent::One, |mut member| async move {
        note(&mut member, 2).await;
        drop(member);
        Ok(())
    });
    let breaks_off = breaks_off.await;

    assert!(first.commit().await.is_err());

    breaks_off.await.expect("no panic").expect("gone");
    house.writes(3).await.await.expect("no panic").expect("the next group is another one");
    assert_eq!(house.notes().await, [3]);
}

/// What SQLite does at each commit: 2 is to sync it, 1 is not to.
async fn synchronous(member: &mut Member) -> i64 {
    sqlx::query_scalar("pragma synchronous").fetch_one(member.connection()).await.expect("a number")
}

#[tokio::test]
async fn only_what_is_forgettable_is_not_synced() {
    let house = house().await;
    for (intent, expected) in [
        (Intent::Several, 2),
        (Intent::Forgettable, 1),
        (Intent::One, 2),
        (Intent::Forgettable, 1),
        (Intent::Several, 2),
    ] {
        let mut member = house.line.begin(intent).await.expect("a turn");
        assert_eq!(synchronous(&mut member).await, expected, "{intent:?}");
        member.rollback().await.expect("undone");
    }
}

#[tokio::test]
async fn what_must_be_durable_joins_no_group_that_is_forgettable() {
    let house = house().await;
    for durable in [Intent::Several, Intent::One] {
        let before = house.line.file.commits();
        let mut first = house.line.begin(Intent::Forgettable).await.expect("a turn");
        sql(&mut first, "delete from note").await;
        note(&mut first, 1).await;
        let joins = house.writes_with(Intent::Forgettable, 2).await;
        let waits = house.in_line_with(durable, |mut member| async move {
            assert_eq!(synchronous(&mut member).await, 2);
            note(&mut member, 3).await;
            member.commit().await
        });
        let waits = waits.await;

        first.commit().await.expect("committed");

        for other in [joins, waits] {
            other.await.expect("no panic").expect("committed");
        }
        assert_eq!(house.notes().await, [1, 2, 3]);
        assert_eq!(house.line.file.commits() - before, 2);
    }
}

#[tokio::test]
async fn what_is_forgettable_joins_a_group_that_is_not() {
    let house = house().await;
    let mut first = house.begin().await;
    note(&mut first, 1).await;
    let joins = house.writes_with(Intent::Forgettable, 2).await;

    first.commit().await.expect("committed");

    joins.await.expect("no panic").expect("committed");
    assert_eq!(house.notes().await, [1, 2]);
    assert_eq!(house.line.file.commits(), 1);
}

#[tokio::test]
async fn a_first_one_whose_thread_ends_leaves_the_commit_to_the_next() {
    let house = house().await;
    let mut first = house.begin().await;
    note(&mut first, 1).await;
    let mut others = Vec::new();
    for id in 2..=4 {
        others.push(house.writes(id).await);
    }

    // Meanwhile nobody here gets on.
    let elsewhere = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let committing = tokio::spawn(first.commit());
            for _ in 0..10 {
                yield_now().await;
            }
            assert!(!committing.is_finished());
        });
    });
    elsewhere.join().expect("no panic");

    for other in others {
        let answer = tokio::time::timeout(std::time::Duration::from_secs(20), other).await;
        answer.expect("an answer").expect("no panic").expect("committed");
    }
    assert_eq!(house.notes().await, [1, 2, 3, 4]);
}
