//! The conformance suite of the storage room, third part: signing keys, revisions, and what a transaction promises,
//! the same on both databases.

use grantd::model::api_key::Owner;
use grantd::model::key::{KeyState, Kid, SigningAlgorithm, SigningKeyInfo};
use grantd::model::role::Role;
use grantd::model::secret::PlainSecret;
use grantd::model::session::RevocationReason;
use grantd::model::time::Ttl;
use grantd::storage::api_keys::WhichKeys;
use grantd::storage::clients::WhichClients;
use grantd::storage::db::Location;
use grantd::storage::families::Which;
use grantd::storage::health::{self, Outlook};
use grantd::storage::revisions::{Revisions, Subject};
use grantd::storage::root_keys::SealedRootKey;
use grantd::storage::signing_keys::StoredKey;
use grantd::storage::{
    Db, StorageError, api_keys, clients, families, installation, migrate, revisions, roles, root_keys,
    signing_keys, users,
};
use tokio::task::JoinSet;

use crate::storage::{ODD, at, client, open, role, status_index, user, user_id, write};
use crate::support::database::TestDatabase;
use crate::support::relay::{Relay, Weather};
use crate::support::runner::trials;

trials! {
    both: [
        a_key_reads_back_as_it_was_written_through_all_its_states,
        an_algorithm_has_one_active_and_one_pending_key,
        each_change_of_a_key_asks_for_the_state_it_starts_from,
        of_many_first_keys_at_once_one_wins,
        changes_of_keys_at_once_wait_for_each_other_and_none_fails,
        every_change_to_what_servers_keep_bumps_its_revision_and_no_other,
        what_is_not_committed_is_seen_by_nobody_and_gone_when_dropped,
        a_closed_database_is_not_available,
        a_root_key_reads_back_and_is_accepted_until_it_expires,
        a_database_that_takes_writes_looks_like_one_and_a_look_leaves_nothing,
        every_kind_of_transaction_keeps_what_it_commits_and_nothing_else,
        the_schema_says_where_it_stands,
    ],
    postgres: [whether_postgres_takes_connections_is_seen_past_a_pool_that_is_used_up],
    sqlite: [reading_connections_cannot_write, a_commit_to_a_file_that_is_gone_is_none, writers_of_two_processes_that_read_first_wait_for_each_other],
}

fn key(kid: &str, algorithm: SigningAlgorithm, state: KeyState) -> StoredKey {
    let info = SigningKeyInfo {
        kid: Kid::new(kid.into()),
        algorithm,
        state,
        created_at: at(5),
        longest_ttl: Ttl::from_secs(600),
    };
    StoredKey { info, sealed: (0..=255).collect() }
}

pub(crate) fn active(kid: &str, algorithm: SigningAlgorithm) -> StoredKey {
    key(kid, algorithm, KeyState::Active { since: at(5) })
}

fn pending(kid: &str, algorithm: SigningAlgorithm) -> StoredKey {
    key(kid, algorithm, KeyState::Pending { activates_at: at(100) })
}

fn kid(kid: &str) -> Kid {
    Kid::new(kid.into())
}

async fn states(db: &Db) -> Vec<(String, KeyState)> {
    let keys = signing_keys::list(db).await.expect("readable");
    keys.into_iter().map(|key| (key.info.kid.to_string(), key.info.state)).collect()
}

pub(crate) const ES256: SigningAlgorithm = SigningAlgorithm::Es256;

async fn a_key_reads_back_as_it_was_written_through_all_its_states(database: TestDatabase) {
    let db = open(&database).await;
    assert!(signing_keys::list(&db).await.expect("readable").is_empty());

    for (number, algorithm) in (0..).zip(SigningAlgorithm::ALL) {
        let mut key = pending(ODD, algorithm);
        key.info.kid = Kid::new(format!("{ODD}{algorithm}"));
        key.info.created_at = at(number);
        assert!(write!(db, signing_keys::insert(&key)).expect("inserted"));
        let read =
            async || signing_keys::list(&db).await.expect("readable").pop().expect("the newest is last");

        assert_eq!((read().await.info, read().await.sealed), (key.info.clone(), key.sealed.clone()));
        assert!(write!(db, signing_keys::schedule(&key.info.kid, at(-7))).expect("moved"));
        key.info.state = KeyState::Pending { activates_at: at(-7) };
        assert_eq!(read().await.info, key.info);
        assert!(write!(db, signing_keys::activate(&key.info.kid, at(110))).expect("activated"));
        key.info.state = KeyState::Active { since: at(110) };
        assert_eq!(read().await.info, key.info);
        assert!(
            write!(db, signing_keys::retire(&key.info.kid, at(120), at(4_102_444_800))).expect("retired")
        );
        key.info.state = KeyState::Retired { since: at(120), until: at(4_102_444_800) };
        assert_eq!((read().await.info, read().await.sealed), (key.info, key.sealed));
    }
    db.close().await;
}

async fn an_algorithm_has_one_active_and_one_pending_key(database: TestDatabase) {
    let db = open(&database).await;

    assert!(write!(db, signing_keys::insert(&active("a", ES256))).expect("the first"));
    assert!(write!(db, signing_keys::insert(&pending("p", ES256))).expect("the first"));
    assert!(!write!(db, signing_keys::insert(&active("b", ES256))).expect("one is active"));
    assert!(!write!(db, signing_keys::insert(&pending("q", ES256))).expect("one is pending"));
    let other = SigningAlgorithm::Rs256;
    assert!(write!(db, signing_keys::insert(&active("r", other))).expect("of another algorithm"));
    assert!(!write!(db, signing_keys::insert(&pending("a", other))).expect("its name is taken"));

    // Not a second active key, even by a promotion that forgets the first.
    let second = write!(db, signing_keys::activate(&kid("p"), at(9)));
    assert!(matches!(second, Err(StorageError::AlreadyExists)), "{second:?}");
    let names: Vec<_> = states(&db).await.into_iter().map(|(kid, _)| kid).collect();
    assert_eq!(names, ["a", "p", "r"]);
    // Of retired ones there may be many.
    for name in ["a", "p"] {
        let _pending = write!(db, signing_keys::activate(&kid(name), at(9))).expect("an answer");
        assert!(write!(db, signing_keys::retire(&kid(name), at(10), at(20))).expect("retired"));
    }
    db.close().await;
}

async fn each_change_of_a_key_asks_for_the_state_it_starts_from(database: TestDatabase) {
    let db = open(&database).await;
    write!(db, signing_keys::insert(&active("a", ES256))).expect("inserted");
    write!(db, signing_keys::insert(&pending("p", ES256))).expect("inserted");

    for (name, is_active, is_pending) in [("a", true, false), ("p", false, true), ("nothing", false, false)] {
        if !is_active {
            assert!(
                !write!(db, signing_keys::retire(&kid(name), at(10), at(20))).expect("refused"),
                "{name}"
            );
        }
        if !is_pending {
            assert!(!write!(db, signing_keys::activate(&kid(name), at(10))).expect("refused"), "{name}");
            assert!(!write!(db, signing_keys::schedule(&kid(name), at(10))).expect("refused"), "{name}");
        }
    }
    let unchanged = [
        ("a".to_owned(), KeyState::Active { since: at(5) }),
        ("p".to_owned(), KeyState::Pending { activates_at: at(100) }),
    ];
    assert_eq!(states(&db).await, unchanged);
    assert!(write!(db, signing_keys::retire(&kid("a"), at(10), at(20))).expect("retired"));
    assert!(!write!(db, signing_keys::retire(&kid("a"), at(11), at(99))).expect("its end does not move"));
    assert!(!write!(db, signing_keys::activate(&kid("a"), at(11))).expect("it does not come back"));
    assert!(write!(db, signing_keys::delete(&kid("p"))).expect("deleted"));
    assert!(!write!(db, signing_keys::delete(&kid("p"))).expect("gone already"));
    assert_eq!(states(&db).await, [("a".to_owned(), KeyState::Retired { since: at(10), until: at(20) })]);
    db.close().await;
}

async fn of_many_first_keys_at_once_one_wins(database: TestDatabase) {
    let db = open(&database).await;

    let mut inserts = JoinSet::new();
    for number in 0..12 {
        let db = db.clone();
        let key = active(&format!("key {number}"), ES256);
        inserts.spawn_local(async move { write!(db, signing_keys::insert(&key)).expect("an answer") });
    }

    let won = inserts.join_all().await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
    assert_eq!(states(&db).await.len(), 1);
    db.close().await;
}

/// A promotion changes two keys, an operator's command one of them: unless both take their locks in one order,
/// Postgres ends one of them with "deadlock detected".
async fn changes_of_keys_at_once_wait_for_each_other_and_none_fails(database: TestDatabase) {
    let db = open(&database).await;
    write!(db, signing_keys::insert(&active("a", ES256))).expect("inserted");
    write!(db, signing_keys::insert(&pending("p", ES256))).expect("inserted");
    let mut promotion = db.begin().await.expect("a transaction");
    assert!(signing_keys::retire(&mut promotion, &kid("a"), at(10), at(20)).await.expect("retired"));

    let other = db.clone();
    let scheduled =
        tokio::task::spawn_local(async move { write!(other, signing_keys::schedule(&kid("p"), at(50))) });
    // Long enough for the other to take whatever lock it takes first; too short only hides the fault.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(signing_keys::activate(&mut promotion, &kid("p"), at(10)).await.expect("no deadlock"));
    promotion.commit().await.expect("committed");

    assert!(!scheduled.await.expect("no panic").expect("no deadlock"), "it is not pending any more");
    db.close().await;
}

async fn every_change_to_what_servers_keep_bumps_its_revision_and_no_other(database: TestDatabase) {
    const NONE: Revisions =
        Revisions { clients: 0, roles: 0, keys: 0, users: 0, api_keys: 0, revocations: 0, status_indexes: 0 };
    const CLIENTS: Revisions = Revisions { clients: 1, ..NONE };
    const ROLES: Revisions = Revisions { roles: 1, ..NONE };
    const KEYS: Revisions = Revisions { keys: 1, ..NONE };
    const REVOCATIONS: Revisions = Revisions { revocations: 1, ..NONE };
    const USERS: Revisions = Revisions { users: 1, ..NONE };
    const API_KEYS: Revisions = Revisions { api_keys: 1, ..NONE };
    const KEYS_CUT_OFF: Revisions = Revisions { api_keys: 1, ..REVOCATIONS };
    const CUT_OFF: Revisions = Revisions { clients: 1, ..REVOCATIONS };
    const INDEXES: Revisions = Revisions { status_indexes: 1, ..NONE };

    let db = open(&database).await;
    let (app, admin, mut seen) = (client("app"), role("admin", "x"), NONE);
    assert_eq!(revisions::read(&db).await.expect("readable"), NONE);
    macro_rules! bumps {
        ($expected:ident: $($write:tt)*) => {{
            write!(db, $($write)*).expect("written");
            let now = revisions::read(&db).await.expect("readable");
            let bumped = |now: i64, seen: i64| i64::from(now > seen);
            let change = Revisions {
                clients: bumped(now.clients, seen.clients),
                roles: bumped(now.roles, seen.roles),
                keys: bumped(now.keys, seen.keys),
                users: bumped(now.users, seen.users),
                api_keys: bumped(now.api_keys, seen.api_keys),
                revocations: bumped(now.revocations, seen.revocations),
                status_indexes: bumped(now.status_indexes, seen.status_indexes),
            };
            assert_eq!(change, $expected, "{}", stringify!($($write)*));
            seen = now;
        }};
    }

    bumps!(CLIENTS: clients::insert(&app));
    bumps!(CLIENTS: clients::update(&app.id, &app.registration));
    bumps!(CLIENTS: clients::set_secrets(&app.id, &[]));
    bumps!(CLIENTS: clients::disable(&app.id, at(1)));
    bumps!(CLIENTS: clients::enable(&app.id));
    bumps!(CUT_OFF: clients::cut_off(WhichClients::One(&app.id), [(&app.id, status_index(7))], at(1)));
    bumps!(REVOCATIONS: families::revoke(Which::All, RevocationReason::Operator, at(1)));
    bumps!(INDEXES: revisions::take_status_indexes(1));
    let key = crate::storage_api_keys::key(1, Owner::Client(app.id.clone()));
    bumps!(API_KEYS: api_keys::insert(&key));
    bumps!(KEYS_CUT_OFF: api_keys::cut_off(WhichKeys::All, [(key.id, status_index(8))], at(1)));
    bumps!(REVOCATIONS: api_keys::renew_status_index(key.id, (status_index(8), status_index(9)), at(1)));
    bumps!(KEYS_CUT_OFF: api_keys::revoke(WhichKeys::All, at(1)));
    bumps!(NONE: api_keys::purge(at(1)));
    bumps!(CLIENTS: clients::delete(&app.id));
    bumps!(ROLES: roles::insert(&admin));
    bumps!(ROLES: roles::update(&Role { description: Some(ODD.into()), ..admin.clone() }));
    // What a user is does not live in memory; logins would otherwise have every server read everything again.
    bumps!(NONE: users::insert(&user(1, &["admin"])));
    bumps!(NONE: users::record_login(user_id(1), "hash", None, at(1)));
    bumps!(NONE: families::purge(at(1), at(1)));
    bumps!(ROLES: roles::delete(&admin.name));
    bumps!(KEYS: signing_keys::insert(&active("a", ES256)));
    bumps!(KEYS: signing_keys::insert(&pending("p", ES256)));
    bumps!(KEYS: signing_keys::raise_longest_ttl(Ttl::from_secs(700)));
    bumps!(KEYS: signing_keys::schedule(&kid("p"), at(9)));
    bumps!(KEYS: signing_keys::retire(&kid("a"), at(10), at(20)));
    bumps!(KEYS: signing_keys::activate(&kid("p"), at(10)));
    bumps!(KEYS: signing_keys::delete(&kid("a")));
    bumps!(CLIENTS: revisions::bump(Subject::Clients));
    bumps!(ROLES: revisions::bump(Subject::Roles));
    bumps!(KEYS: revisions::bump(Subject::Keys));
    bumps!(USERS: revisions::bump(Subject::Users));
    bumps!(API_KEYS: revisions::bump(Subject::ApiKeys));
    assert_eq!(revisions::read(&db).await.expect("readable"), seen, "reading changes nothing");
    db.close().await;
}

async fn what_is_not_committed_is_seen_by_nobody_and_gone_when_dropped(database: TestDatabase) {
    let db = open(&database).await;

    let mut tx = db.begin().await.expect("a transaction");
    clients::insert(&mut tx, &client("app")).await.expect("inserted");
    let app = "app".parse().expect("an id");
    assert!(clients::find(&mut tx, &app).await.expect("readable").is_some(), "it sees itself");
    assert_eq!(clients::list(&db).await.expect("readable"), []);
    drop(tx);

    let mut tx = db.begin().await.expect("the next one is not held up");
    assert_eq!(clients::find(&mut tx, &app).await.expect("readable"), None);
    assert_eq!(revisions::read(&mut tx).await.expect("readable"), Revisions::default());
    clients::insert(&mut tx, &client("app")).await.expect("inserted");
    tx.rollback().await.expect("rolled back");
    assert_eq!(clients::list(&db).await.expect("readable"), []);

    let mut tx = db.begin().await.expect("its locks are gone");
    clients::insert(&mut tx, &client("app")).await.expect("inserted");
    tx.commit().await.expect("committed");
    assert_eq!(clients::list(&db).await.expect("readable").len(), 1);
    db.close().await;
}

async fn a_database_that_takes_writes_looks_like_one_and_a_look_leaves_nothing(database: TestDatabase) {
    let (db, mut seen_commits) = (open(&database).await, 0);
    let trial = async || installation::read(&db, "write_trial").await.expect("readable");

    for _ in 0..2 {
        assert_eq!(health::look(&db, &mut seen_commits).await.expect("well"), Outlook::Fair);
        assert_eq!(trial().await, None);
        write!(db, installation::set("fact", b"a fact")).expect("written");
    }

    for filler in [&[1; 4096], &[2; 4096]] {
        health::try_write(&db, filler).await.expect("written");
        assert_eq!(trial().await.as_deref(), Some(&filler[..]));
    }
    write!(db, installation::set("fact", b"another")).expect("written");
    assert_eq!(installation::read(&db, "fact").await.expect("readable").as_deref(), Some(&b"another"[..]));
    health::look(&db, &mut seen_commits).await.expect("well");
    db.close().await;
    assert!(health::look(&db, &mut seen_commits).await.is_err());
}

async fn every_kind_of_transaction_keeps_what_it_commits_and_nothing_else(database: TestDatabase) {
    let db = open(&database).await;
    for kind in ["several", "one", "forgettable"] {
        let begin = async || match kind {
            "several" => db.begin().await,
            "one" => db.begin_one_statement().await,
            _ => db.begin_forgettable().await,
        };
        let mut tx = begin().await.expect("a transaction");
        installation::set(&mut tx, kind, b"kept").await.expect("written");
        tx.commit().await.expect("committed");
        let tx = begin().await.expect("a transaction");
        tx.rollback().await.expect("nothing to undo");
        begin().await.expect("a transaction").give_up().await;
        if kind != "one" {
            let mut undone = begin().await.expect("a transaction");
            installation::set(&mut undone, kind, b"undone").await.expect("written");
            undone.rollback().await.expect("undone");
            let mut dropped = begin().await.expect("a transaction");
            installation::set(&mut dropped, kind, b"dropped").await.expect("written");
        }

        assert_eq!(installation::read(&db, kind).await.expect("readable").as_deref(), Some(&b"kept"[..]));
    }
    write!(db, installation::set("last", b"word")).expect("nobody is in the way");
    db.close().await;
}

async fn a_commit_to_a_file_that_is_gone_is_none(database: TestDatabase) {
    let db = open(&database).await;
    let mut tx = db.begin().await.expect("a transaction");
    installation::set(&mut tx, "fact", b"a fact").await.expect("written");

    std::fs::remove_file(database.sqlite_file()).expect("deleted");

    assert!(matches!(tx.commit().await, Err(StorageError::Unavailable(_))));
    assert!(matches!(db.begin().await, Err(StorageError::Unavailable(_))));
    db.close().await;
}

async fn whether_postgres_takes_connections_is_seen_past_a_pool_that_is_used_up(database: TestDatabase) {
    let relay = Relay::before(&database).await;
    let location = Location::Postgres(PlainSecret::new(relay.url.clone()));
    let db = Db::open(&location, Some(1)).await.expect("a database that opens");
    let the_only_connection = db.begin().await.expect("a transaction");

    assert!(db.takes_connections().await);
    relay.cut().await;
    assert!(!db.takes_connections().await);
    relay.mend().await;
    assert!(db.takes_connections().await);
    relay.turns(Weather::Frozen);
    assert!(!db.takes_connections().await, "nobody answers, which is not waited for");
    relay.turns(Weather::Fair);
    assert!(db.takes_connections().await);

    drop(the_only_connection);
    db.close().await;
}

async fn a_closed_database_is_not_available(database: TestDatabase) {
    let db = Db::open(&database.location(), Some(1)).await.expect("one connection is enough");
    revisions::read(&db).await.expect("it answers");
    write!(db, clients::insert(&client("app"))).expect("inserted");
    db.close().await;

    let read = revisions::read(&db).await;
    let begin = db.begin().await.map(|_| ());

    assert!(matches!(read, Err(StorageError::Unavailable(_))), "{read:?}");
    assert!(matches!(begin, Err(StorageError::Unavailable(_))), "{begin:?}");
    let again = open(&database).await;
    assert_eq!(clients::list(&again).await.expect("readable").len(), 1);
    again.close().await;
}

async fn a_root_key_reads_back_and_is_accepted_until_it_expires(database: TestDatabase) {
    let db = open(&database).await;
    let sealed = |number: u8, expires_at| SealedRootKey {
        fingerprint: vec![number; 32],
        sealed: (0..=255).collect(),
        created_at: at(i64::from(number)),
        expires_at,
    };
    let listed = async || root_keys::list(&db).await.expect("readable");
    for key in [sealed(2, Some(at(2000))), sealed(1, None)] {
        write!(db, root_keys::insert(&key)).expect("inserted");
    }
    assert_eq!(listed().await, [sealed(1, None), sealed(2, Some(at(2000)))]);

    assert!(write!(db, root_keys::expire(&[1; 32], at(1500), at(1000))).expect("accepted until then"));
    assert!(write!(db, root_keys::expire(&[1; 32], at(1400), at(1499))).expect("still accepted"));
    assert!(!write!(db, root_keys::expire(&[1; 32], at(9000), at(1400))).expect("over"));
    assert!(!write!(db, root_keys::expire(&[9; 32], at(9000), at(1400))).expect("nobody"));
    write!(db, root_keys::insert(&sealed(2, None))).expect("accepted for good again");
    assert_eq!(listed().await, [sealed(1, Some(at(1400))), sealed(2, None)]);

    assert_eq!(write!(db, root_keys::purge(at(1399))).expect("purged"), 0);
    assert_eq!(write!(db, root_keys::purge(at(1400))).expect("purged"), 1);
    assert_eq!(listed().await, [sealed(2, None)]);
    db.close().await;
}

async fn the_schema_says_where_it_stands(database: TestDatabase) {
    let db = open(&database).await;

    let status = migrate::status(&db).await.expect("readable");

    assert_eq!(status.applied, status.known);
    assert!(status.migrations.iter().all(|(.., applied)| *applied), "{status:?}");
    assert_eq!(migrate::migrate(&db).await.expect("nothing to do"), 0);
    assert_eq!(migrate::current(&db).await.expect("not newer"), status);
    db.close().await;
}

async fn reading_connections_cannot_write(database: TestDatabase) {
    let db = open(&database).await;
    write!(db, clients::insert(&client("app"))).expect("inserted");
    let Db::Sqlite { readers, .. } = &db else { panic!("this is about SQLite") };
    let mut reader = readers.connect().await.expect("a connection");

    for statement in ["delete from clients", "update revisions set value = 7", "create table x (y text)"] {
        let refused = sqlx::query(statement).execute(&mut reader).await.map_err(StorageError::from);
        assert!(matches!(refused, Err(StorageError::Unavailable(_))), "{refused:?}");
    }

    assert_eq!(clients::list(&db).await.expect("readable").len(), 1);
    db.close().await;
}

/// Two openings of one file are to SQLite what two processes are. Begun deferred, the second of two that have read
/// fails at once with "database is locked", whatever the busy timeout.
async fn writers_of_two_processes_that_read_first_wait_for_each_other(database: TestDatabase) {
    let (one, other) = (open(&database).await, open(&database).await);

    let mut writers = JoinSet::new();
    for number in 0..16 {
        let db = if number % 2 == 0 { one.clone() } else { other.clone() };
        writers.spawn(async move {
            let mut tx = db.begin().await?;
            revisions::read(&mut tx).await?;
            tokio::task::yield_now().await;
            revisions::bump(&mut tx, Subject::Keys).await?;
            tx.commit().await
        });
    }
    let outcomes = writers.join_all().await;

    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(revisions::read(&one).await.expect("readable").keys, 16);
    one.close().await;
    other.close().await;
}
