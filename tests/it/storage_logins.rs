//! The conformance suite of the storage room, fourth part: counters of password guesses and known sources, the same on
//! both databases.

use std::path::Path;

use grantd::model::login_attempts::{Counter, CounterKey, CounterKind};
use grantd::model::time::Timestamp;
use grantd::storage::{Db, StorageError, known_sources, login_attempts, migrate, users};
use sqlx::migrate::Migrator;
use tokio::task::JoinSet;

use crate::storage::{ODD, at, open, user, user_id, write};
use crate::support::database::{DatabaseKind, TestDatabase};
use crate::support::runner::trials;

trials! {
    empty: [failures_that_an_older_version_counted_still_count],
    both: [
        counters_read_back_as_they_were_written_each_for_itself,
        a_right_guess_is_forgotten_where_nothing_else_was_counted,
        the_failures_of_a_forgiven_kind_are_forgotten_with_a_right_guess,
        a_locked_counter_waits_for_whoever_has_it,
        counters_are_locked_in_one_order_and_one_of_each_kind,
        a_purge_of_counters_takes_what_is_of_another_day_or_too_much,
        a_source_is_known_to_one_user_and_for_a_time,
        the_newest_sources_of_a_user_are_kept,
    ],
}

fn millis(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn key(kind: CounterKind, account: Option<u8>, source: &str) -> CounterKey {
    let account = account.map(|first| std::array::from_fn(|i| first.wrapping_sub(i as u8)));
    CounterKey { kind, account, source: source.into() }
}

fn pair(account: u8, source: &str) -> CounterKey {
    key(CounterKind::Pair, Some(account), source)
}

fn counter(count: u32, first: i64, last: i64, pending: &[i64]) -> Counter {
    let pending = pending.iter().copied().map(millis).collect();
    Counter { count, first_at: millis(first), last_at: millis(last), pending }
}

async fn stands(db: &Db, key: &CounterKey) -> Counter {
    let mut found = login_attempts::read(db, std::slice::from_ref(key), at(7)).await.expect("readable");
    found.remove(0).1
}

/// Migrates with everything that was there before the migration `until`.
pub(crate) async fn older_schema(database: &TestDatabase, db: &Db, until: &str) {
    let folder = match database.kind {
        DatabaseKind::Sqlite => "migrations/sqlite",
        DatabaseKind::Postgres => "migrations/postgres",
    };
    let older = tempfile::tempdir().expect("a temporary directory");
    for file in Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).read_dir().expect("migrations") {
        let file = file.expect("an entry");
        if file.file_name().to_string_lossy().as_ref() < until {
            std::fs::copy(file.path(), older.path().join(file.file_name())).expect("copied");
        }
    }
    let migrator = Migrator::new(older.path()).await.expect("migrations");
    match db {
        Db::Sqlite { write, .. } => migrator.run(write).await.expect("migrated"),
        Db::Postgres(lender) => {
            migrator.run(&mut lender.connect().await.expect("a connection")).await.expect("migrated");
        }
    }
}

async fn failures_that_an_older_version_counted_still_count(database: TestDatabase) {
    let db = open(&database).await;
    older_schema(&database, &db, "0003").await;
    const COUNTED: &str = "insert into login_failures (account, source, count, first_at, last_at)
                           values ($1, 'client app', 7, 100, 200)";
    let account: [u8; 32] = pair(9, "").account.expect("an account");
    match &db {
        Db::Sqlite { write, .. } => {
            sqlx::query(COUNTED).bind(&account[..]).execute(write).await.expect("counted");
        }
        Db::Postgres(lender) => {
            let pool = &mut lender.connect().await.expect("a connection");
            sqlx::query(COUNTED).bind(&account[..]).execute(pool).await.expect("counted");
        }
    }

    migrate::migrate(&db).await.expect("migrated");

    assert_eq!(stands(&db, &pair(9, "client app")).await, counter(7, 100_000, 200_000, &[]));
    db.close().await;
}

async fn counters_read_back_as_they_were_written_each_for_itself(database: TestDatabase) {
    let db = open(&database).await;
    let keys =
        [pair(255, ODD), key(CounterKind::Account, Some(255), ""), key(CounterKind::Source, None, ODD)];
    let fresh: Vec<_> = keys.iter().map(|key| (key.clone(), Counter::new(at(9)))).collect();
    assert_eq!(login_attempts::read(&db, &keys, at(9)).await.expect("readable"), fresh);

    assert_eq!(write!(db, login_attempts::lock(&keys, at(9))).expect("made"), fresh);
    let written = vec![
        (keys[0].clone(), counter(u32::MAX, -1, 4_102_444_800_123, &[3, -1, 3])),
        (keys[1].clone(), counter(0, 5, 6, &[1_800_000_000_001])),
        (keys[2].clone(), counter(1, 0, 0, &[])),
    ];
    write!(db, login_attempts::save(&written)).expect("saved");

    assert_eq!(login_attempts::read(&db, &keys, at(9)).await.expect("readable"), written);
    assert_eq!(write!(db, login_attempts::lock(&keys, at(9))).expect("locked"), written);
    assert_eq!(stands(&db, &keys[1]).await, written[1].1);
    // The same account or source elsewhere, and rows of one kind under the other's key, are others.
    for other in [pair(255, ""), pair(254, ODD), key(CounterKind::Source, Some(255), ODD)] {
        assert_eq!(stands(&db, &other).await, Counter::new(at(7)));
    }

    let changed = vec![(keys[0].clone(), counter(1, 5, 6, &[])), (keys[1].clone(), counter(0, 5, 6, &[]))];
    write!(db, login_attempts::save(&changed)).expect("saved");
    assert_eq!(stands(&db, &keys[0]).await, changed[0].1, "what has counted something stays");
    assert_eq!(stands(&db, &keys[1]).await, Counter::new(at(7)), "gone");
    assert_eq!(stands(&db, &keys[2]).await, written[2].1, "what is not named stays");
    db.close().await;
}

async fn a_right_guess_is_forgotten_where_nothing_else_was_counted(database: TestDatabase) {
    let db = open(&database).await;
    let (account, source) = (key(CounterKind::Account, Some(1), ""), key(CounterKind::Source, None, "a"));
    for (case, [pair_of, account_of, source_of], left) in [
        ("alone", [(0, &[7][..]), (0, &[7]), (0, &[7])], &[][..]),
        ("after failures of its own", [(3, &[7]), (0, &[7]), (0, &[7])], &[]),
        ("after failures of others", [(0, &[7]), (1, &[7]), (0, &[7])], &[CounterKind::Account]),
        ("beside another", [(0, &[7, 8]), (0, &[7, 8]), (2, &[8, 7])], &CounterKind::ALL[..]),
        ("beside another of the same moment", [(0, &[7, 7]), (0, &[7]), (0, &[7])], &[CounterKind::Pair]),
        ("lost meanwhile", [(1, &[]), (0, &[77]), (1, &[])], &CounterKind::ALL),
    ] {
        let keys = [pair(1, "a"), account.clone(), source.clone()];
        let counters = [pair_of, account_of, source_of].map(|(count, pending)| counter(count, 5, 6, pending));
        let written: Vec<_> = keys.iter().cloned().zip(counters).collect();
        let bystander = vec![(pair(2, "a"), counter(0, 5, 6, &[7]))];
        write!(db, login_attempts::save(&written)).expect("saved");
        write!(db, login_attempts::save(&bystander)).expect("saved");

        let own = |kind| kind == CounterKind::Pair;
        let are_left = write!(db, login_attempts::forget_alone(&keys, millis(7), own)).expect("forgotten");

        assert_eq!(are_left.iter().map(|key| key.kind).collect::<Vec<_>>(), left, "{case}");
        for (key, counter) in written {
            let expected = if left.contains(&key.kind) { counter } else { Counter::new(at(7)) };
            assert_eq!(stands(&db, &key).await, expected, "{case}");
        }
        assert_eq!(stands(&db, &bystander[0].0).await, bystander[0].1, "{case}");
    }
    db.close().await;
}

async fn the_failures_of_a_forgiven_kind_are_forgotten_with_a_right_guess(database: TestDatabase) {
    let db = open(&database).await;
    let keys =
        [pair(1, "a"), key(CounterKind::Account, Some(1), "a"), key(CounterKind::Source, Some(1), "a")];
    let written: Vec<_> = keys.iter().map(|key| (key.clone(), counter(3, 5, 6, &[7]))).collect();
    write!(db, login_attempts::save(&written)).expect("saved");

    let none = write!(db, login_attempts::forget_alone(&keys, millis(7), |_| false)).expect("readable");
    assert_eq!(none, keys);
    let all = write!(db, login_attempts::forget_alone(&keys, millis(7), |_| true)).expect("forgotten");

    assert_eq!(all, []);
    for key in &keys {
        assert_eq!(stands(&db, key).await, Counter::new(at(7)));
    }
    db.close().await;
}

async fn a_locked_counter_waits_for_whoever_has_it(database: TestDatabase) {
    let db = open(&database).await;
    let other = open(&database).await;
    let mut counting = JoinSet::new();

    // Twelve count at once, over two processes as far as the database can tell, and none is overlooked.
    for number in 0..12 {
        let db = if number % 2 == 0 { db.clone() } else { other.clone() };
        counting.spawn_local(async move {
            let keys = [pair(1, "a"), key(CounterKind::Source, None, "a")];
            let mut tx = db.begin().await.expect("a transaction");
            let mut counters = login_attempts::lock(&mut tx, &keys, at(1)).await.expect("locked");
            for (_, counter) in &mut counters {
                counter.count += 1;
                counter.pending.push(millis(number));
            }
            login_attempts::save(&mut tx, &counters).await.expect("saved");
            tx.commit().await.expect("committed");
        });
    }
    counting.join_all().await;

    let counted = stands(&db, &pair(1, "a")).await;
    assert_eq!((counted.count, counted.pending.len()), (12, 12));
    assert_eq!(stands(&db, &key(CounterKind::Source, None, "a")).await.count, 12);
    other.close().await;
    db.close().await;
}

async fn counters_are_locked_in_one_order_and_one_of_each_kind(database: TestDatabase) {
    let db = open(&database).await;
    let (one, account) = (pair(1, "a"), key(CounterKind::Account, Some(1), ""));

    for keys in [vec![account.clone(), one.clone()], vec![one.clone(), pair(2, "b")]] {
        let locked = write!(db, login_attempts::lock(&keys, at(1)));
        assert!(matches!(locked, Err(StorageError::Refused(_))), "{locked:?}");
    }

    assert_eq!(stands(&db, &one).await, Counter::new(at(7)));
    db.close().await;
}

async fn a_purge_of_counters_takes_what_is_of_another_day_or_too_much(database: TestDatabase) {
    let db = open(&database).await;
    let touched = [("a", 99), ("b", 100), ("c", 101), ("d", 101), ("e", 200), ("f", 201)];
    for (source, last) in touched {
        let counted = vec![
            (pair(1, source), counter(1, 0, last, &[])),
            (key(CounterKind::Source, None, source), counter(1, 0, last, &[])),
        ];
        write!(db, login_attempts::save(&counted)).expect("saved");
    }
    let left = async || {
        let mut left = String::new();
        for (source, _) in touched {
            left.push_str(if stands(&db, &pair(1, source)).await.count == 1 { source } else { "" });
        }
        left
    };

    // What stands in for the counters that are everybody's must not take their room.
    let standing_in = vec![
        (key(CounterKind::Account, Some(1), "a"), counter(1, 0, 150, &[])),
        (key(CounterKind::Source, Some(1), "a"), counter(1, 0, 150, &[])),
    ];
    write!(db, login_attempts::save(&standing_in)).expect("saved");
    let everybodys = vec![(key(CounterKind::Account, Some(1), ""), counter(1, 0, 150, &[]))];
    write!(db, login_attempts::save(&everybodys)).expect("saved");
    for kind in [CounterKind::Account, CounterKind::Source] {
        write!(db, login_attempts::purge(kind, millis(0), millis(300))).expect("purged");
    }
    for (key, _) in &standing_in {
        assert_eq!(stands(&db, key).await, Counter::new(at(7)));
    }
    assert_eq!(stands(&db, &everybodys[0].0).await, everybodys[0].1);

    let purged = write!(db, login_attempts::purge(CounterKind::Pair, millis(100), millis(200)));
    assert_eq!((purged.expect("purged"), left().await), (2, "bcde".into()));
    assert_eq!(write!(db, login_attempts::keep_newest(CounterKind::Pair, 4)).expect("enough"), 0);
    // Of two that are equally old either both stay or both go, and never more than asked for stay.
    assert_eq!(write!(db, login_attempts::keep_newest(CounterKind::Pair, 2)).expect("too many"), 3);
    assert_eq!(left().await, "e");
    let others = write!(db, login_attempts::keep_newest(CounterKind::Source, 0)).expect("all");
    assert_eq!((others, left().await), (6, "e".into()));
    db.close().await;
}

async fn a_source_is_known_to_one_user_and_for_a_time(database: TestDatabase) {
    let db = open(&database).await;
    let (one, two) = (user(1, &[]), user(2, &[]));
    for user in [&one, &two] {
        write!(db, users::insert(user)).expect("inserted");
    }
    let known = async |name: &str, source: &str, since| {
        let name = name.parse().expect("a user name");
        let stored = users::find_password(&db, &name, (source, at(since)), (user_id(9), "none"))
            .await
            .expect("readable");
        stored.is_some_and(|stored| stored.is_known_there)
    };
    assert!(!known("user1", ODD, 0).await);

    write!(db, known_sources::record(one.id, ODD, at(100))).expect("recorded");
    assert!(known("user1", ODD, 100).await);
    assert!(!known("user1", ODD, 101).await);
    assert!(!known("user2", ODD, 100).await && !known("nobody", ODD, 100).await);
    assert!(!known("user1", "", 100).await);
    write!(db, known_sources::record(one.id, ODD, at(200))).expect("recorded again");
    assert!(known("user1", ODD, 200).await);

    write!(db, known_sources::record(two.id, "b", at(199))).expect("recorded");
    assert_eq!(write!(db, known_sources::purge(at(200))).expect("purged"), 1);
    assert!(known("user1", ODD, 0).await && !known("user2", "b", 0).await);
    let nobody = write!(db, known_sources::record(user_id(9), "b", at(1)));
    assert!(matches!(nobody, Err(StorageError::Dangling)), "{nobody:?}");
    assert!(write!(db, users::delete(one.id)).expect("deleted"));
    write!(db, users::insert(&one)).expect("inserted");
    assert!(!known("user1", ODD, 0).await, "sources go with their user");
    db.close().await;
}

async fn the_newest_sources_of_a_user_are_kept(database: TestDatabase) {
    let db = open(&database).await;
    for number in [1, 2] {
        write!(db, users::insert(&user(number, &[]))).expect("inserted");
    }
    for (source, last) in [("a", 5), ("b", 4), ("c", 3), ("d", 1)] {
        for number in [1, 2] {
            write!(db, known_sources::record(user_id(number), source, at(last))).expect("recorded");
        }
    }

    // The one just recorded stays, even where a clock makes it the oldest.
    write!(db, known_sources::keep_newest(user_id(1), "d", 2)).expect("kept");

    let known = async |name: &str| {
        let (name, mut known) = (name.parse().expect("a user name"), String::new());
        for source in ["a", "b", "c", "d"] {
            let stored = users::find_password(&db, &name, (source, at(0)), (user_id(9), "none"))
                .await
                .expect("readable")
                .expect("there");
            known.push_str(if stored.is_known_there { source } else { "" });
        }
        known
    };
    assert_eq!((known("user1").await, known("user2").await), ("abd".into(), "abcd".into()));
    db.close().await;
}
