//! The conformance suite of the storage room: rotations of several families by one statement, which decides for each of
//! them what the statement for one decides.

use grantd::model::id::FamilyId;
use grantd::model::session::RevocationReason;
use grantd::storage::families::{self, Moved, Which};
use grantd::storage::revisions::{self, Subject};
use grantd::storage::rotations::{self, ROOM, Rotation};
use grantd::storage::{Db, StorageError};
use tokio::task::JoinSet;

use crate::storage::{ODD, at, open, write};
use crate::storage_families::{NEVER_IDLE, family, family_id, find, moved, with};
use crate::support::database::TestDatabase;
use crate::support::runner::trials;

trials! {
    postgres: [who_ends_all_sessions_and_who_rotates_several_do_not_wait_for_each_other],
    both: [
        each_of_several_wins_or_loses_by_itself,
        what_moves_on_is_what_was_said_of_each,
        no_family_is_rotated_twice_by_one_statement_nor_more_than_have_room,
        of_many_statements_at_once_one_wins_in_each_family,
    ],
}

fn rotation(number: u8, generation: u32) -> Rotation<'static> {
    Rotation { id: family_id(number), generation, moved: moved("", NEVER_IDLE, at(1500)) }
}

fn sorted(mut won: Vec<FamilyId>) -> Vec<String> {
    won.sort_by_key(ToString::to_string);
    won.iter().map(ToString::to_string).collect()
}

async fn each_of_several_wins_or_loses_by_itself(database: TestDatabase) {
    let all: Vec<_> = (1..=7).map(|number| family(number, "app", 1)).collect();
    let db = with(&database, &all).await;
    write!(db, families::revoke(Which::Family(family_id(2)), RevocationReason::Reuse, at(1400)))
        .expect("ended");
    assert!(write!(db, families::rotate(family_id(3), 0, moved("", NEVER_IDLE, at(1400)))).expect("won"));
    let stale = families::find_with_user(&db, family_id(6)).await.expect("readable").expect("there");
    write!(db, revisions::bump(Subject::Users)).expect("bumped");
    let known = |number, users_revision| {
        let rotation = rotation(number, 0);
        Rotation { moved: Moved { users_revision: Some(users_revision), ..rotation.moved }, ..rotation }
    };
    let late = Rotation { moved: moved("", NEVER_IDLE, at(1_000_000_000)), ..rotation(4, 0) };
    let idle = Rotation { moved: moved("", "1s".parse().expect("a time"), at(1500)), ..rotation(7, 0) };

    let together = [
        rotation(1, 0),
        rotation(2, 0),
        rotation(3, 0),
        late,
        known(5, stale.users_revision + 1),
        known(6, stale.users_revision),
        idle,
        rotation(99, 0),
    ];
    let won = write!(db, rotations::rotate_all(&together)).expect("an answer");

    assert_eq!(sorted(won), sorted(vec![family_id(1), family_id(5)]));
    let mut generations = Vec::new();
    for number in 1..=7 {
        generations.push(find(&db, number).await.generation);
    }
    assert_eq!(generations, [1, 0, 1, 0, 1, 0, 0]);
    assert_eq!(write!(db, rotations::rotate_all(&[])).expect("an answer"), []);
    db.close().await;
}

async fn what_moves_on_is_what_was_said_of_each(database: TestDatabase) {
    let db = with(&database, &[family(1, "app", 1), family(2, "app", 1), family(3, "app", 1)]).await;
    let bound = |number, generation, jkt| {
        let moved = Moved { jkt, ..moved(ODD, NEVER_IDLE, at(1600)) };
        Rotation { id: family_id(number), generation, moved }
    };

    let won = write!(db, rotations::rotate_all(&[bound(1, 0, None), bound(2, 0, Some("key"))]));
    assert_eq!(won.expect("an answer").len(), 2);
    let (one, two, three) = (find(&db, 1).await, find(&db, 2).await, find(&db, 3).await);
    assert_eq!((one.source.as_str(), one.jkt, one.rotated_at), (ODD, None, at(1600)));
    assert_eq!((two.source.as_str(), two.jkt.as_deref(), two.retries), (ODD, Some("key"), 0));
    assert_eq!(three.generation, 0);

    let won = write!(db, rotations::rotate_all(&[bound(1, 1, Some("late")), bound(2, 1, Some("other"))]));
    assert_eq!(won.expect("an answer"), [family_id(1)], "bound to another key");
    db.close().await;
}

async fn no_family_is_rotated_twice_by_one_statement_nor_more_than_have_room(database: TestDatabase) {
    let db = with(&database, &[family(1, "app", 1)]).await;
    let many: Vec<_> = (0..=ROOM as u8).map(|number| rotation(number, 0)).collect();

    for refused in [vec![rotation(1, 0), rotation(1, 0)], many] {
        let answer = write!(db, rotations::rotate_all(&refused));
        assert!(matches!(answer, Err(StorageError::Refused(_))), "{answer:?}");
    }
    assert_eq!(find(&db, 1).await.generation, 0);
    db.close().await;
}

/// In whatever order they name the families: none of them waits for ever, and each family moves on once.
async fn of_many_statements_at_once_one_wins_in_each_family(database: TestDatabase) {
    let all: Vec<_> = (1..=8).map(|number| family(number, "app", 1)).collect();
    let db = with(&database, &all).await;
    let other = open(&database).await;

    let mut statements = JoinSet::new();
    for number in 0..24_usize {
        let db: Db = if number % 2 == 0 { db.clone() } else { other.clone() };
        statements.spawn_local(async move {
            let mut wanted: Vec<_> = (1..=8).map(|family| rotation(family, 0)).collect();
            wanted.rotate_left(number % 8);
            if number % 3 == 0 {
                wanted.reverse();
            }
            write!(db, rotations::rotate_all(&wanted)).expect("an answer")
        });
    }
    let won: Vec<FamilyId> = statements.join_all().await.into_iter().flatten().collect();

    assert_eq!(sorted(won), sorted((1..=8).map(family_id).collect()), "each once");
    other.close().await;
    db.close().await;
}

/// Each holds several rows and wants more. Locked in different orders, Postgres would have to kill one of the two.
async fn who_ends_all_sessions_and_who_rotates_several_do_not_wait_for_each_other(database: TestDatabase) {
    // They lie in the opposite order of their ids.
    let all: Vec<_> = (1..=200).rev().map(|number| family(number, "app", 1)).collect();
    let db = with(&database, &all).await;

    for _ in 0..30 {
        let mut rotating = JoinSet::new();
        for worker in 0..4_u8 {
            let db = db.clone();
            rotating.spawn_local(async move {
                for round in 0..10_u8 {
                    // Far apart, so that somebody who goes through all of them is likely to be between two.
                    let first = 1 + worker * 5 + round % 5;
                    let wanted: Vec<_> = (0..8).map(|step| rotation(first + step * 25, 0)).collect();
                    let mut tx = db.begin().await.expect("a transaction");
                    rotations::rotate_all(&mut tx, &wanted).await.expect("not killed");
                    tx.rollback().await.expect("undone");
                }
            });
        }
        let mut tx = db.begin().await.expect("a transaction");
        families::revoke(&mut tx, Which::All, RevocationReason::Operator, at(1500))
            .await
            .expect("not killed");
        // Another time from the beginning.
        tx.rollback().await.expect("undone");
        rotating.join_all().await;
    }
    db.close().await;
}
