//! The conformance suite of the storage room, users on their way in and other people's tables: the same on both
//! databases.

use grantd::model::id::UserId;
use grantd::model::user::User;
use grantd::storage::foreign_table::{ForeignRow, ForeignTable, ForeignTableError};
use grantd::storage::user_import::{Clash, Incoming, Staging};
use grantd::storage::{Db, StorageError, user_import, users};
use tokio::sync::mpsc;

use crate::audit::meddle;
use crate::storage::{ODD, at, open};
use crate::support::database::TestDatabase;
use crate::support::runner::trials;

trials! {
    both: [
        users_on_their_way_in_are_seen_by_nobody_until_they_are_committed,
        rows_in_each_others_way_are_taken_out,
        who_was_made_meanwhile_and_a_role_that_is_gone_stop_it,
        hashes_come_page_by_page,
        a_table_is_read_as_text_whatever_it_is_called,
        a_table_that_is_not_there_and_a_name_that_ends_its_quotes_are_refused,
    ],
}

fn incoming(row: u64, username: &str) -> Incoming {
    let user = User {
        id: UserId::from_random([u8::try_from(row).expect("few"); 16]),
        username: username.parse().expect("a name"),
        email: Some(ODD.into()),
        name: None,
        roles: Vec::new(),
        password_hash: format!("hash of {row}"),
        disabled_at: None,
        created_at: at(7),
        last_login_at: None,
    };
    Incoming { row, keeps_id: false, user }
}

async fn names(db: &Db) -> Vec<String> {
    users::list(db).await.expect("readable").into_iter().map(|user| user.username.to_string()).collect()
}

async fn make_role(db: &Db, name: &str) {
    meddle(db, &[&format!("insert into roles (name, scope, created_at) values ('{name}', '', 0)")]).await;
}

async fn users_on_their_way_in_are_seen_by_nobody_until_they_are_committed(database: TestDatabase) {
    let db = open(&database).await;
    make_role(&db, "admin").await;
    // More than go into one statement.
    let mut all: Vec<Incoming> = (1..=250).map(|row| incoming(row, &format!("u{row:03}"))).collect();
    all.push(Incoming { row: 251, ..incoming(251 - 250, "last") });
    all[250].user.id = UserId::from_random([255; 16]);
    all[0].user.roles = vec!["admin".parse().expect("a role")];
    all[0].user.disabled_at = Some(at(5));

    let mut staging = Staging::open(&db).await.expect("tables");
    staging.add(&all).await.expect("taken in");
    staging.arrange().await.expect("arranged");
    assert_eq!(staging.take_same_names().await.expect("readable"), []);
    let (count, roles) = staging.count().await.expect("readable");
    assert_eq!((count, roles), (251, vec![("admin".parse().expect("a role"), 1)]));
    assert!(names(&db).await.is_empty());

    // Somebody else writes meanwhile.
    make_role(&db, "other").await;
    let mut tx = staging.begin().await.expect("a transaction");
    assert_eq!(user_import::insert(&mut tx, at(7)).await.expect("inserted"), 251);
    assert!(names(&db).await.is_empty());
    tx.commit().await.expect("committed");

    let found = users::list(&db).await.expect("readable");
    assert_eq!(found.len(), 251);
    let first = found.iter().find(|user| user.username.as_str() == "u001").expect("the first");
    assert_eq!(*first, all[0].user);
    db.close().await;
}

async fn rows_in_each_others_way_are_taken_out(database: TestDatabase) {
    let db = open(&database).await;
    let mut staging = Staging::open(&db).await.expect("tables");
    let id = UserId::from_random([99; 16]);
    let keeping = |row, username| {
        let mut one = incoming(row, username);
        (one.keeps_id, one.user.id) = (true, id);
        one
    };
    let all = [
        incoming(1, "a"),
        incoming(2, "b"),
        incoming(3, "a"),
        incoming(4, "refused"),
        keeping(5, "c"),
        keeping(6, "d"),
        incoming(7, "e"),
    ];
    staging.add(&all).await.expect("taken in");
    staging.note_refused(&["refused", "nobody"]).await.expect("noted");
    staging.arrange().await.expect("arranged");

    let clash = |row, username: &str| Clash { row, username: username.into() };
    let same = staging.take_same_names().await.expect("readable");
    assert_eq!(same, [clash(1, "a"), clash(3, "a"), clash(4, "refused")]);
    let same = staging.take_same_ids().await.expect("readable");
    assert_eq!(same, [clash(5, "c"), clash(6, "d")]);
    assert_eq!(staging.take_existing().await.expect("readable"), 0);
    let mut tx = staging.begin().await.expect("a transaction");
    assert_eq!(user_import::insert(&mut tx, at(7)).await.expect("inserted"), 2);
    tx.commit().await.expect("committed");
    assert_eq!(names(&db).await, ["b", "e"]);

    // Somebody here has the id, under another name; and whoever is here already is no clash.
    let mut staging = Staging::open(&db).await.expect("tables");
    let mut thief = incoming(2, "mallory");
    (thief.keeps_id, thief.user.id) = (true, all[1].user.id);
    staging.add(&[thief, Incoming { keeps_id: true, ..incoming(7, "e") }]).await.expect("taken in");
    staging.arrange().await.expect("arranged");
    assert_eq!(staging.take_same_ids().await.expect("readable"), [clash(2, "mallory")]);
    assert_eq!(staging.take_existing().await.expect("readable"), 1);
    assert_eq!(staging.count().await.expect("readable"), (0, vec![]));
    db.close().await;
}

async fn who_was_made_meanwhile_and_a_role_that_is_gone_stop_it(database: TestDatabase) {
    let db = open(&database).await;
    let made = "insert into users (id, username, password_hash, created_at) values ('x', 'a', 'h', 0)";
    for (username, hindrance, error) in
        [("a", made, StorageError::AlreadyExists), ("b", "delete from users", StorageError::Dangling)]
    {
        let mut staging = Staging::open(&db).await.expect("tables");
        let mut one = incoming(1, username);
        one.user.roles = vec!["gone".parse().expect("a role")];
        staging.add(&[one]).await.expect("taken in");
        staging.arrange().await.expect("arranged");
        staging.take_existing().await.expect("readable");
        meddle(&db, &[hindrance]).await;

        let mut tx = staging.begin().await.expect("a transaction");
        let failed = user_import::insert(&mut tx, at(7)).await.expect_err("a hindrance");
        tx.give_up().await;

        assert_eq!(format!("{failed:?}"), format!("{error:?}"));
    }
    assert!(names(&db).await.is_empty());
    db.close().await;
}

async fn hashes_come_page_by_page(database: TestDatabase) {
    let db = open(&database).await;
    let mut tx = db.begin().await.expect("a transaction");
    for row in 1..=3 {
        users::insert(&mut tx, &incoming(row, &format!("u{row}")).user).await.expect("inserted");
    }
    tx.commit().await.expect("committed");

    let first = users::hashes_page(&db, None, 2).await.expect("readable");
    let rest = users::hashes_page(&db, first.last().map(|(id, _)| *id), 2).await.expect("readable");

    let hashes: Vec<&str> = first.iter().chain(&rest).map(|(_, hash)| hash.as_str()).collect();
    assert_eq!((first.len(), hashes), (2, vec!["hash of 1", "hash of 2", "hash of 3"]));
    assert!(users::hashes_page(&db, rest.last().map(|(id, _)| *id), 2).await.expect("readable").is_empty());
    db.close().await;
}

/// All rows of a table, or why there are none.
async fn read(
    database: &TestDatabase,
    table: &str,
    columns: &[&str],
) -> Result<Vec<ForeignRow>, ForeignTableError> {
    let table = ForeignTable::open(&database.location(), table).await?;
    let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    let (to, mut rows) = mpsc::channel(1);
    let reading = tokio::spawn(async move { table.read(&columns, to).await });
    let mut all = Vec::new();
    while let Some(some) = rows.recv().await {
        all.extend(some?);
    }
    reading.await.expect("no panic");
    Ok(all)
}

const EVIL: &str = "users\"; drop table users; --";

async fn a_table_is_read_as_text_whatever_it_is_called(database: TestDatabase) {
    let db = open(&database).await;
    let quoted = EVIL.replace('"', "\"\"");
    meddle(
        &db,
        &[
            &format!("create table \"{quoted}\" (id integer, \"co\"\"l\" text, active boolean, absent text)"),
            &format!("insert into \"{quoted}\" values (7, 'a''b', true, null), (8, '', false, null)"),
        ],
    )
    .await;

    let columns = ForeignTable::open(&database.location(), EVIL).await.expect("opens");
    assert_eq!(columns.columns(), ["id", "co\"l", "active", "absent"]);
    drop(columns);
    let rows = read(&database, EVIL, &["co\"l", "id", "absent"]).await.expect("readable");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(rows, [vec![text("a'b"), text("7"), None], vec![text(""), text("8"), None]]);
    let booleans = read(&database, EVIL, &["active"]).await.expect("readable");
    let first = booleans[0][0].as_deref().expect("a value");
    assert!(["true", "1"].contains(&first), "{first}");
    assert!(names(&db).await.is_empty(), "the table of users is there still");
    db.close().await;
}

async fn a_table_that_is_not_there_and_a_name_that_ends_its_quotes_are_refused(database: TestDatabase) {
    let db = open(&database).await;
    for table in ["nothing", EVIL, "users where 1=1", "a.b.c", "", "main.nothing"] {
        let refused = ForeignTable::open(&database.location(), table).await.map(drop).expect_err(table);
        assert!(!refused.to_string().contains("postgres://"), "{refused}");
    }
    // A column that is not there is no text of its own name, as SQLite has it for old programs' sake.
    meddle(&db, &["insert into users (id, username, password_hash, created_at) values ('x', 'a', 'h', 0)"])
        .await;
    let refused = read(&database, "users", &["pass\" from users; drop table users; --"]).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(names_raw(&db).await, 1);
    db.close().await;
}

async fn names_raw(db: &Db) -> i64 {
    let role = "nobody".parse().expect("a role");
    users::count_without(db, &role).await.expect("readable")
}
