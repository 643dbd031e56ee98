//! Refreshes that come while others are written, written together: one statement and one sync for a handful of them.
//! Nobody waits for company; whoever comes when few are being written is written at once.
//!
//! Knows no token and decides nothing: each rotation has been decided, and the statement says who has won.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{Either, join, select};
use tokio::sync::oneshot;

use crate::model::id::FamilyId;
use crate::model::time::{Timestamp, Ttl};
use crate::storage::families::{self, Moved};
use crate::storage::lasting::ToTheEnd;
use crate::storage::rotations::{ROOM, Rotation, rotate_all};
use crate::storage::{StorageError, Tx};

use super::App;
use super::refresh::decide_by;

/// How many statements run at a time: while one is synced, another is prepared.
const AT_A_TIME: usize = 2;

/// How many may wait, each for ten seconds at most.
const LONGEST_LINE: usize = 2000;

/// A rotation that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) id: FamilyId,
    pub(super) generation: u32,
    pub(super) source: String,
    pub(super) jkt: Option<String>,
    pub(super) idle_ttl: Ttl,
    pub(super) now: Timestamp,
    pub(super) users_revision: Option<i64>,
}

/// Those who wait to be written.
#[derive(Default)]
pub(crate) struct Rotations(Mutex<Line>);

#[derive(Default)]
struct Line {
    waiting: Vec<Waiting>,
    running: usize,
}

struct Waiting {
    wanted: Wanted,
    begun: oneshot::Sender<()>,
    told: oneshot::Sender<Result<bool, StorageError>>,
}

/// A rotation that is on its way.
pub(super) struct Rotating {
    /// For others, too, if nobody else did so; let go of, it goes on.
    writing: Option<ToTheEnd<()>>,
    begun: oneshot::Receiver<()>,
    won: oneshot::Receiver<Result<bool, StorageError>>,
}

/// Redeems a live token. It stands in line from now on, as long as somebody waits for it; once it is being written it goes
/// on.
pub(super) fn rotate(app: &Arc<App>, wanted: Wanted) -> Rotating {
    let ((begun, has_begun), (told, won)) = (oneshot::channel(), oneshot::channel());
    let mut line = app.rotations.line();
    if line.waiting.len() >= LONGEST_LINE {
        // Nobody has to be told that nobody answers.
        let _ = told.send(Err(StorageError::Unavailable("too many wait to be written".to_owned())));
        return Rotating { writing: None, begun: has_begun, won };
    }
    line.waiting.push(Waiting { wanted, begun, told });
    let writing = (line.running < AT_A_TIME).then(|| {
        line.running += 1;
        let running = Running { app: Arc::clone(app), is_counted: true };
        app.db.lasting().to_the_end(running.write_all())
    });
    Rotating { writing, begun: has_begun, won }
}

impl Rotating {
    /// Does some work while the database has its own, and gives what it came to if the token was still the live one,
    /// which is durable then.
    pub(super) async fn beside<T>(self, work: impl Future<Output = T>) -> Result<Option<T>, StorageError> {
        let Self { writing, begun, won } = self;
        let work = async {
            // A writer that has gone away says it below.
            let _ = begun.await;
            work.await
        };
        let told = pin!(join(won, work));
        let (won, done) = match writing {
            None => told.await,
            Some(writing) => match select(writing, told).await {
                Either::Left((_written_or_broken_off, told)) => told.await,
                // Whoever is left to write for does not hold up the answer.
                Either::Right((told, _goes_on)) => told,
            },
        };
        let gone = |_| Err(StorageError::Unavailable("the writer went away".to_owned()));
        Ok(won.unwrap_or_else(gone)?.then_some(done))
    }
}

impl Rotations {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that writes, until nobody waits. Whatever becomes of it, it is not counted for longer than it lives.
struct Running {
    app: Arc<App>,
    is_counted: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_counted {
            self.app.rotations.line().running -= 1;
        }
    }
}

impl Running {
    async fn write_all(mut self) {
        loop {
            let batch = {
                let mut line = self.app.rotations.line();
                let batch = line.take();
                if batch.is_empty() {
                    // Under the same lock, so that whoever comes now sees that one less is writing.
                    line.running -= 1;
                    self.is_counted = false;
                    return;
                }
                batch
            };
            self.write(batch).await;
        }
    }

    async fn write(&self, batch: Vec<Waiting>) {
        let (mut wanted, mut all_begun, mut all_told) = (Vec::new(), Vec::new(), Vec::new());
        for Waiting { wanted: one, begun, told } in batch {
            all_told.push((one.id, told));
            all_begun.push(begun);
            wanted.push(one);
        }
        let won = decide_by(&self.app, move |mut tx: Tx| async move {
            let is_synced_at_once = tx.commits_itself();
            let tell = async {
                if is_synced_at_once {
                    // SQLite has a thread of its own. Where that shares our core, it goes first: the disk shall be at work
                    // while we are.
                    std::thread::yield_now();
                }
                for begun in all_begun {
                    let _ = begun.send(());
                }
            };
            let (won, ()) = join(won_of(&mut tx, &wanted), tell).await;
            (tx, won.map(|won| Some(won).filter(|won| !won.is_empty())))
        });
        let won = won.await.map(Option::unwrap_or_default);
        for (id, told) in all_told {
            // Who has gone away has done so knowing that it may have been done.
            let _ = told.send(won.clone().map(|won| won.contains(&id)));
        }
    }
}

impl Line {
    /// As many as the statement has room for, those who came first, and no family twice. Who has gone away meanwhile is left
    /// out: written long after it was asked for, a rotation would be older than its client's window for asking again.
    fn take(&mut self) -> Vec<Waiting> {
        self.waiting.retain(|waiting| !waiting.told.is_closed());
        let mut taken: Vec<Waiting> = Vec::new();
        let mut at = 0;
        while at < self.waiting.len() && taken.len() < ROOM {
            let id = self.waiting[at].wanted.id;
            match taken.iter().any(|other| other.wanted.id == id) {
                true => at += 1,
                false => taken.push(self.waiting.remove(at)),
            }
        }
        taken
    }
}

/// The families that were won.
async fn won_of(tx: &mut Tx, wanted: &[Wanted]) -> Result<Vec<FamilyId>, StorageError> {
    let rotations: Vec<Rotation<'_>> = wanted
        .iter()
        .map(|Wanted { id, generation, source, jkt, idle_ttl, now, users_revision }| Rotation {
            id: *id,
            generation: *generation,
            moved: Moved {
                source,
                jkt: jkt.as_deref(),
                idle_ttl: *idle_ttl,
                now: *now,
                users_revision: *users_revision,
            },
        })
        .collect();
    match &rotations[..] {
        [Rotation { id, generation, moved }] => {
            Ok(families::rotate(tx, *id, *generation, *moved).await?.then_some(*id).into_iter().collect())
        }
        several => rotate_all(tx, several).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody who stands in line, and what they wait for.
    fn standing(family: u8, generation: u32) -> (Waiting, Rotating) {
        let wanted = Wanted {
            id: FamilyId::from_random([family; 16]),
            generation,
            source: String::new(),
            jkt: None,
            idle_ttl: Ttl::ZERO,
            now: Timestamp::from_secs(0),
            users_revision: None,
        };
        let ((begun, has_begun), (told, won)) = (oneshot::channel(), oneshot::channel());
        (Waiting { wanted, begun, told }, Rotating { writing: None, begun: has_begun, won })
    }

    fn line(standing: impl IntoIterator<Item = (Waiting, Rotating)>) -> (Line, Vec<Rotating>) {
        let (waiting, rotating) = standing.into_iter().unzip();
        (Line { waiting, running: 0 }, rotating)
    }

    fn taken(line: &mut Line) -> Vec<(u8, u32)> {
        let taken = line.take().into_iter();
        let family = |id: FamilyId| (1..=u8::MAX).find(|n| FamilyId::from_random([*n; 16]) == id);
        taken.map(|one| (family(one.wanted.id).expect("known"), one.wanted.generation)).collect()
    }

    #[test]
    fn as_many_are_taken_as_have_room_and_who_came_first_goes_first() {
        let (mut line, _all_wait) = line((1..=10).map(|family| standing(family, 0)));

        assert_eq!(taken(&mut line), (1..=8).map(|family| (family, 0)).collect::<Vec<_>>());
        assert_eq!(taken(&mut line), [(9, 0), (10, 0)]);
        assert_eq!(taken(&mut line), []);
    }

    #[test]
    fn two_who_redeem_one_token_are_judged_one_after_the_other() {
        let (mut line, _all_wait) = line([standing(1, 0), standing(1, 0), standing(2, 0), standing(1, 1)]);

        assert_eq!(taken(&mut line), [(1, 0), (2, 0)]);
        assert_eq!(taken(&mut line), [(1, 0)]);
        assert_eq!(taken(&mut line), [(1, 1)]);
    }

    #[test]
    fn who_has_gone_away_is_not_written_any_more() {
        let (mut line, mut all) = line((1..=4).map(|family| standing(family, 0)));
        drop((all.remove(2), all.remove(0)));

        assert_eq!(taken(&mut line), [(2, 0), (4, 0)]);
        assert_eq!(taken(&mut line), []);
    }

    #[tokio::test]
    async fn what_is_done_beside_is_given_only_to_who_has_won_and_begins_when_the_writing_has() {
        for (answer, expected) in [(Some(true), Ok(Some(7))), (Some(false), Ok(None)), (None, Err(()))] {
            let ((begun, has_begun), (told, won)) = (oneshot::channel(), oneshot::channel());
            let has_worked = std::cell::Cell::new(false);
            let work = async {
                has_worked.set(true);
                7
            };
            let mut beside = Box::pin(Rotating { writing: None, begun: has_begun, won }.beside(work));
            assert!(futures_util::poll!(&mut beside).is_pending() && !has_worked.get());

            let _ = begun.send(());
            assert!(futures_util::poll!(&mut beside).is_pending() && has_worked.get());
            match answer {
                Some(answer) => _ = told.send(Ok(answer)),
                None => drop(told),
            }

            assert_eq!(beside.await.map_err(drop), expected);
        }
    }
}
