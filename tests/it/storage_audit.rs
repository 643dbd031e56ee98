//! The conformance suite of the storage room, fourth part: the audit, the same on both databases. What its hashes are
//! over is not the storage's.

use grantd::model::audit::{AuditRow, Head};
use grantd::model::session::RevocationReason;
use grantd::model::time::Timestamp;
use grantd::storage::families::Which;
use grantd::storage::{Db, StorageError, audit, families};
use tokio::task::JoinSet;

use crate::storage::{ODD, at, open, write};
use crate::storage_families::{family, family_id, with};
use crate::support::database::TestDatabase;
use crate::support::runner::trials;

trials! {
    both: [
        a_row_of_the_audit_reads_back_as_it_was_written_and_is_the_head,
        rows_of_the_audit_are_read_in_pages_and_from_the_end,
        who_appends_waits_for_whoever_has_the_head,
        an_ending_is_owed_to_the_audit_until_it_is_recorded_once,
    ],
}

const NONE: [i64; 0] = [];
const BEGINNING: Timestamp = Timestamp::from_millis(i64::MIN);

fn row(seq: i64, act: &str) -> AuditRow {
    AuditRow {
        seq,
        at: Timestamp::from_millis(1_800_000_000_000 + seq),
        actor: "cli:alice".into(),
        act: act.into(),
        subject_kind: "client".into(),
        subject: "app".into(),
        details: "{}".into(),
        hash: vec![u8::try_from(seq).expect("small"); 32],
    }
}

fn numbers(rows: Vec<AuditRow>) -> Vec<i64> {
    rows.into_iter().map(|row| row.seq).collect()
}

async fn a_row_of_the_audit_reads_back_as_it_was_written_and_is_the_head(database: TestDatabase) {
    let db = open(&database).await;
    assert_eq!(audit::head(&db).await.expect("readable"), Head::EMPTY);
    assert_eq!(audit::page(&db, i64::MIN, 9).await.expect("readable"), []);
    let odd = AuditRow {
        at: Timestamp::from_millis(-7),
        actor: ODD.into(),
        subject_kind: ODD.into(),
        subject: ODD.into(),
        details: ODD.into(),
        hash: (0..32).map(|i| 255 - i).collect(),
        ..row(1, ODD)
    };

    write!(db, audit::append(&odd)).expect("appended");

    let head = Head { seq: 1, hash: std::array::from_fn(|i| 255 - i as u8) };
    assert_eq!(audit::page(&db, i64::MIN, 9).await.expect("readable"), [odd]);
    assert_eq!(audit::head(&db).await.expect("readable"), head);
    assert_eq!(write!(db, audit::lock_head()).expect("locked"), head);
    assert_eq!(audit::head(&db).await.expect("readable"), head, "asking for it changes nothing");
    let taken = write!(db, audit::append(&row(1, "x")));
    assert!(matches!(taken, Err(StorageError::AlreadyExists)), "{taken:?}");
    db.close().await;
}

async fn rows_of_the_audit_are_read_in_pages_and_from_the_end(database: TestDatabase) {
    let db = open(&database).await;
    let acts = ["key.made", "client.created", "client_xcreated", "client.deleted", "kex.made"];
    for (seq, act) in (1..).zip(acts) {
        write!(db, audit::append(&row(seq, act))).expect("appended");
    }
    let page = async |from, limit| numbers(audit::page(&db, from, limit).await.expect("readable"));
    let latest = async |since, prefix: &str, limit| {
        numbers(audit::latest(&db, since, prefix, limit).await.expect("readable"))
    };

    assert_eq!(page(i64::MIN, 2).await, [1, 2]);
    assert_eq!(page(3, 2).await, [3, 4]);
    assert_eq!(page(5, 2).await, [5]);
    assert_eq!(page(6, 2).await, NONE);
    assert_eq!(latest(BEGINNING, "", 3).await, [3, 4, 5], "the newest, in order");
    assert_eq!(latest(BEGINNING, "client.", 9).await, [2, 4]);
    assert_eq!(latest(BEGINNING, "ke_", 9).await, NONE, "a prefix is no pattern");
    assert_eq!(latest(BEGINNING, "k%", 9).await, NONE);
    assert_eq!(latest(Timestamp::from_millis(1_800_000_000_004), "", 9).await, [4, 5]);
    db.close().await;
}

/// Two that read the same head would write two rows of one number.
async fn who_appends_waits_for_whoever_has_the_head(database: TestDatabase) {
    let db = open(&database).await;

    let mut writers = JoinSet::new();
    for _ in 0..16 {
        let db = db.clone();
        writers.spawn_local(async move { append_next(&db).await });
    }

    let outcomes = writers.join_all().await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(numbers(audit::page(&db, 0, 99).await.expect("readable")), (1..=16).collect::<Vec<_>>());
    assert_eq!(audit::head(&db).await.expect("readable").seq, 16);
    db.close().await;
}

async fn append_next(db: &Db) -> Result<(), StorageError> {
    let mut tx = db.begin().await?;
    let head = audit::lock_head(&mut tx).await?;
    tokio::task::yield_now().await;
    audit::append(&mut tx, &row(head.seq + 1, "x")).await?;
    tx.commit().await
}

async fn an_ending_is_owed_to_the_audit_until_it_is_recorded_once(database: TestDatabase) {
    let all = [1, 2, 3].map(|number| family(number, "app", 1));
    let db = with(&database, &all).await;
    assert_eq!(families::unrecorded(&db).await.expect("readable"), []);
    for (number, reason) in [(1, RevocationReason::ReuseUnrecorded), (2, RevocationReason::Reuse)] {
        let which = Which::Family(family_id(number));
        assert_eq!(write!(db, families::revoke(which, reason, at(2000))).expect("revoked"), 1);
    }

    assert_eq!(families::unrecorded(&db).await.expect("readable"), [family_id(1)]);
    assert!(write!(db, families::set_recorded(family_id(1))).expect("recorded"));
    for number in [1, 2, 3, 9] {
        assert!(!write!(db, families::set_recorded(family_id(number))).expect("nothing"), "{number}");
    }

    assert_eq!(families::unrecorded(&db).await.expect("readable"), []);
    let family = families::find(&db, family_id(1)).await.expect("readable").expect("there");
    assert_eq!(family.revoked, Some((at(2000), RevocationReason::Reuse)));
    db.close().await;
}
