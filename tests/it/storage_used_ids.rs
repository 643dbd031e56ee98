//! The conformance suite of the storage room, what is used once: the same on both databases.

use grantd::storage::used_ids;
use tokio::task::JoinSet;

use crate::storage::{at, open, write};
use crate::support::database::TestDatabase;
use crate::support::runner::trials;

trials! {
    both: [an_id_is_used_up_once_until_it_is_forgotten, of_many_who_use_one_id_up_at_once_one_has],
}

async fn an_id_is_used_up_once_until_it_is_forgotten(database: TestDatabase) {
    let db = open(&database).await;
    let (one, other) = ([1; 32], [2; 32]);

    assert!(write!(db, used_ids::use_up(&one, at(100))).expect("written"));
    assert!(!write!(db, used_ids::use_up(&one, at(500))).expect("written"), "however late it would expire");
    assert!(write!(db, used_ids::use_up(&other, at(200))).expect("written"));

    assert_eq!(write!(db, used_ids::purge(at(100), 9)).expect("purged"), 0, "the time itself is not over");
    assert_eq!(write!(db, used_ids::purge(at(101), 9)).expect("purged"), 1);
    assert!(!write!(db, used_ids::use_up(&other, at(200))).expect("written"));
    assert!(write!(db, used_ids::use_up(&one, at(100))).expect("written"), "it was forgotten");
    db.close().await;
}

async fn of_many_who_use_one_id_up_at_once_one_has(database: TestDatabase) {
    let db = open(&database).await;
    let mut tasks = JoinSet::new();

    for _ in 0..16 {
        let db = db.clone();
        tasks.spawn(async move {
            let mut tx = db.begin_one_statement().await.expect("a transaction");
            let used = used_ids::use_up(&mut tx, &[7; 32], at(100)).await.expect("written");
            if used {
                tx.commit().await.expect("committed")
            } else {
                tx.rollback().await.expect("undone")
            };
            used
        });
    }

    let used = tasks.join_all().await.into_iter().filter(|used| *used).count();
    assert_eq!(used, 1);
    db.close().await;
}
