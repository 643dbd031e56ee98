//! The conformance suite of the storage room, sixth part: status indexes and their revocation, the same on both
//! databases. Nothing that ends a session or a client may leave its tokens alive.

use std::collections::BTreeSet;
use std::time::Duration;

use grantd::model::client::Client;
use grantd::model::id::ClientId;
use grantd::model::session::{Family, RevocationReason};
use grantd::model::status::StatusIndex;
use grantd::model::time::{Timestamp, Ttl};
use grantd::storage::clients::WhichClients;
use grantd::storage::families::Which;
use grantd::storage::revocations::Revocation;
use grantd::storage::signing_keys::StoredKey;
use grantd::storage::{Db, StorageError, clients, families, migrate, revisions, revocations, signing_keys};
use sqlx::AssertSqlSafe;
use tokio::task::JoinSet;

use crate::audit::meddle;
use crate::storage::{at, client, open, status_index, user_id, write};
use crate::storage_families::{family, family_id, with};
use crate::storage_keys::{ES256, active};
use crate::storage_logins::older_schema;
use crate::support::database::TestDatabase;
use crate::support::runner::trials;

trials! {
    empty: [sessions_and_clients_of_an_older_version_get_indexes_of_their_own],
    both: [
        ending_sessions_revokes_their_tokens_and_no_other,
        a_client_that_is_cut_off_leaves_its_tokens_revoked_and_goes_on_with_another_index,
        many_clients_are_cut_off_by_one_change_and_younger_ones_are_not,
        the_index_of_a_client_is_renewed_once_and_nothing_else_is_said_to_have_changed,
        what_has_no_index_reads_and_gets_one_once,
        no_index_is_ever_had_by_two,
        indexes_are_handed_out_once_until_there_are_none,
        a_reader_of_deltas_misses_nothing_that_many_writers_revoke,
        a_revocation_stays_as_long_as_a_token_could_live,
        a_login_that_ends_before_its_client_is_switched_off_is_revoked_with_it,
        a_login_that_ends_after_its_client_was_switched_off_does_not_count,
    ],
}

async fn sessions_and_clients_of_an_older_version_get_indexes_of_their_own(database: TestDatabase) {
    let db = open(&database).await;
    older_schema(&database, &db, "0006").await;
    let rows = [
        "insert into users (id, username, password_hash, created_at)
         values ('01010101-0101-4101-8101-010101010101', 'alice', 'hash', 0)",
        "insert into clients (id, grant_types, scope, audience, auth_methods, created_at)
         values ('app', 'password', '', '[]', 'none', 0), ('web', 'password', '', '[]', 'none', 0)",
        "insert into families (id, client_id, user_id, requested, granted, audience, secret, generation, retries,
                               source, auth_time, rotated_at_ms, expires_at)
         select '01010101-0101-4101-8101-01010101010' || clients.position, clients.id, users.id, '', '', '[]',
                cast('00000000000000000000000000000000' as secret_bytes), 0, 0, '', 0, 0, 4102444800
         from users, (select id, row_number() over (order by id) as position from clients) as clients",
    ];
    match &db {
        Db::Sqlite { write, .. } => {
            for row in rows {
                let row = row.replace("secret_bytes", "blob");
                sqlx::query(AssertSqlSafe(row)).execute(write).await.expect("inserted");
            }
        }
        Db::Postgres(lender) => {
            let mut connection = lender.connect().await.expect("a connection");
            for row in rows {
                let row = row.replace("secret_bytes", "bytea");
                sqlx::query(AssertSqlSafe(row)).execute(&mut connection).await.expect("inserted");
            }
        }
    }

    migrate::migrate(&db).await.expect("migrated");

    let clients = clients::list(&db).await.expect("readable");
    let sessions = families::list(&db, Which::All, at(0)).await.expect("readable");
    let of_clients = clients.iter().map(|client| client.status_index.as_u64());
    let indexes: BTreeSet<_> =
        of_clients.chain(sessions.iter().filter_map(|family| Some(family.status_index?.as_u64()))).collect();
    assert_eq!(indexes, (0..4).collect());
    assert!(clients.iter().all(|client| client.registration.status));
    // What follows is scattered over a list in which nothing is.
    let next = write!(db, revisions::take_status_indexes(1)).expect("an answer");
    assert_eq!(next, Some(u64::from(StatusIndex::PER_LIST)));
    db.close().await;
}

const DAY: i64 = 24 * 60 * 60;

async fn all(db: &Db) -> Vec<u64> {
    after(db, -1).await
}

async fn after(db: &Db, revision: i64) -> Vec<u64> {
    let found = revocations::since(db, revision).await.expect("readable");
    found.iter().map(|revocation| revocation.status_index.as_u64()).collect()
}

async fn revision(db: &Db) -> i64 {
    revisions::read(db).await.expect("readable").revocations
}

async fn ending_sessions_revokes_their_tokens_and_no_other(database: TestDatabase) {
    let all_there_are = [
        family(1, "app", 1),
        family(2, "app", 2),
        family(3, "web", 1),
        family(4, "web", 2),
        Family { expires_at: at(1500), ..family(5, "web", 2) },
        Family { auth_time: at(1001), ..family(6, "web", 2) },
    ];
    let db = with(&database, &all_there_are).await;
    let app = "app".parse().expect("an id");
    let rounds = [
        (Which::Family(family_id(9)), vec![]),
        (Which::User(user_id(9)), vec![]),
        (Which::Family(family_id(1)), vec![1]),
        (Which::Family(family_id(1)), vec![]),
        (Which::User(user_id(1)), vec![3]),
        (Which::Client(&app), vec![2]),
        (Which::BegunBefore(at(1000)), vec![]),
        (Which::BegunBefore(Timestamp::from_millis(1_000_001)), vec![4]),
        (Which::All, vec![6]),
        (Which::All, vec![]),
    ];

    let mut revoked = BTreeSet::new();
    for (now, (which, new)) in (1500..).map(at).zip(rounds) {
        let seen = revision(&db).await;
        write!(db, families::revoke(which, RevocationReason::Operator, now)).expect("revoked");

        assert_eq!(after(&db, seen).await, new, "{which:?}");
        revoked.extend(new);
        assert_eq!(all(&db).await, revoked.iter().copied().collect::<Vec<_>>(), "{which:?}");
    }
    db.close().await;
}

async fn a_client_that_is_cut_off_leaves_its_tokens_revoked_and_goes_on_with_another_index(
    database: TestDatabase,
) {
    let db = with(&database, &[]).await;
    let (app, nobody) = (client("app"), "nobody".parse().expect("an id"));
    let seen = revision(&db).await;

    assert_eq!(cut_off(&db, &app.id, 70, at(1500)).await.expect("an answer"), 1);
    assert_eq!(cut_off(&db, &nobody, 71, at(1500)).await.expect("an answer"), 0);
    let young = Client { created_at: at(100), ..client("young") };
    write!(db, clients::insert(&young)).expect("inserted");
    let before = async |millis| {
        let which = WhichClients::RegisteredBefore(Timestamp::from_millis(millis));
        write!(db, clients::ids(which)).expect("read")
    };
    assert_eq!(before(100_000).await, [app.id.clone(), client("web").id]);
    assert_eq!(before(100_001).await, [app.id.clone(), client("web").id, young.id.clone()]);
    assert!(write!(db, clients::delete(&young.id)).expect("deleted"));

    assert_eq!(after(&db, seen).await, [app.status_index.as_u64()]);
    let found = clients::list(&db).await.expect("readable");
    let indexes: Vec<_> = found.iter().map(|client| (client.id.as_str(), client.status_index)).collect();
    assert_eq!(indexes, [("app", status_index(70)), ("web", client("web").status_index)]);
    // And the next one likewise.
    assert_eq!(cut_off(&db, &app.id, 72, at(1600)).await.expect("an answer"), 1);
    assert!(all(&db).await.contains(&70));
    db.close().await;
}

async fn cut_off(db: &Db, id: &ClientId, fresh: u64, now: Timestamp) -> Result<u64, StorageError> {
    write!(db, clients::cut_off(WhichClients::One(id), [(id, status_index(fresh))], now))
}

async fn many_clients_are_cut_off_by_one_change_and_younger_ones_are_not(database: TestDatabase) {
    let db = with(&database, &[]).await;
    let young = Client { created_at: at(100), ..client("young") };
    write!(db, clients::insert(&young)).expect("inserted");
    let seen = revisions::read(&db).await.expect("readable");
    let (app, web) = (client("app"), client("web"));

    let which = WhichClients::RegisteredBefore(at(100));
    let fresh = [(&app.id, status_index(70)), (&web.id, status_index(71))];
    assert_eq!(write!(db, clients::cut_off(which, fresh, at(1500))).expect("cut off"), 2);

    let now = revisions::read(&db).await.expect("readable");
    assert_eq!((now.clients, now.revocations), (seen.clients + 1, seen.revocations + 1));
    let mut revoked = [app.status_index.as_u64(), web.status_index.as_u64()];
    revoked.sort_unstable();
    assert_eq!(after(&db, seen.revocations).await, revoked);
    let found = clients::list(&db).await.expect("readable");
    let indexes: Vec<_> = found.iter().map(|client| client.status_index).collect();
    assert_eq!(indexes, [status_index(70), status_index(71), young.status_index]);
    db.close().await;
}

async fn the_index_of_a_client_is_renewed_once_and_nothing_else_is_said_to_have_changed(
    database: TestDatabase,
) {
    let db = with(&database, &[]).await;
    let (app, nobody) = (client("app"), "nobody".parse().expect("an id"));
    let (seen, clients_seen) = (revision(&db).await, revisions::read(&db).await.expect("readable").clients);
    let renew = async |id, old, fresh| {
        write!(db, clients::renew_status_index(id, (old, status_index(fresh)), at(1500))).expect("an answer")
    };

    assert!(renew(&app.id, app.status_index, 70).await);
    assert!(!renew(&app.id, app.status_index, 71).await, "it has another one now");
    assert!(!renew(&nobody, app.status_index, 72).await);

    assert_eq!(after(&db, seen).await, [app.status_index.as_u64()]);
    let index = async |id| clients::find_status_index(&db, id).await.expect("readable");
    assert_eq!((index(&app.id).await, index(&nobody).await), (Some(status_index(70)), None));
    assert_eq!(revisions::read(&db).await.expect("readable").clients, clients_seen);
    db.close().await;
}

async fn what_has_no_index_reads_and_gets_one_once(database: TestDatabase) {
    let db = with(&database, &[Family { status_index: None, ..family(1, "app", 1) }]).await;
    let app = client("app").id;
    meddle(&db, &["update clients set status_index = null where id = 'app'"]).await;

    let unnumbered = async || clients::unnumbered(&db).await.expect("readable");
    assert_eq!(unnumbered().await, std::slice::from_ref(&app));
    assert!(write!(db, clients::number(&app, status_index(70))).expect("numbered"));
    assert!(!write!(db, clients::number(&app, status_index(71))).expect("an answer"), "it has one");
    assert!(unnumbered().await.is_empty());

    let index =
        async || families::find(&db, family_id(1)).await.expect("readable").expect("there").status_index;
    assert_eq!(index().await, None);
    assert!(write!(db, families::number(family_id(1), status_index(72))).expect("numbered"));
    assert!(!write!(db, families::number(family_id(1), status_index(73))).expect("an answer"), "it has one");
    assert!(!write!(db, families::number(family_id(2), status_index(74))).expect("nobody"));
    assert_eq!(index().await, Some(status_index(72)));
    let found = clients::find_status_index(&db, &app).await.expect("readable");
    assert_eq!(found, Some(status_index(70)));
    db.close().await;
}

async fn no_index_is_ever_had_by_two(database: TestDatabase) {
    let db = with(&database, &[family(1, "app", 1)]).await;

    let whose =
        async |number| families::find_by_status_index(&db, status_index(number)).await.expect("readable");
    assert_eq!((whose(1).await, whose(2).await), (Some(family_id(1)), None));
    let second = Family { status_index: Some(status_index(1)), ..family(2, "app", 1) };
    let refused = write!(db, families::insert(&second));
    assert!(matches!(refused, Err(StorageError::AlreadyExists)), "{refused:?}");
    let web = client("web").id;
    let refused = cut_off(&db, &web, client("app").status_index.as_u64(), at(1)).await;
    assert!(matches!(refused, Err(StorageError::AlreadyExists)), "{refused:?}");
    db.close().await;
}

async fn indexes_are_handed_out_once_until_there_are_none(database: TestDatabase) {
    let db = open(&database).await;
    let mut takers = JoinSet::new();
    for count in 1..=20 {
        let db = db.clone();
        let take = async move {
            let first = write!(db, revisions::take_status_indexes(count)).expect("an answer");
            let first = first.expect("there are enough");
            first..first + u64::from(count)
        };
        takers.spawn_local(take);
    }

    let mut numbers: Vec<u64> = takers.join_all().await.into_iter().flatten().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..210).collect::<Vec<_>>());
    assert_eq!(revisions::read(&db).await.expect("readable").status_indexes, 210);

    // As many as there are, and not one more.
    let mut left = StatusIndex::END - 210;
    while left > 0 {
        let count = u32::try_from(left).unwrap_or(1 << 31);
        assert!(write!(db, revisions::take_status_indexes(count)).expect("an answer").is_some());
        left -= u64::from(count);
    }
    assert_eq!(write!(db, revisions::take_status_indexes(1)).expect("an answer"), None);
    db.close().await;
}

async fn a_reader_of_deltas_misses_nothing_that_many_writers_revoke(database: TestDatabase) {
    const MANY: u8 = 40;
    let families: Vec<_> = (1..=MANY).map(|number| family(number, "app", 1)).collect();
    let db = with(&database, &families).await;
    let mut writers = JoinSet::new();
    for number in 1..=MANY {
        let db = db.clone();
        let revoke = async move {
            let which = Which::Family(family_id(number));
            write!(db, families::revoke(which, RevocationReason::Operator, at(1500))).expect("revoked")
        };
        writers.spawn_local(revoke);
    }

    let (mut seen, mut known) = (-1, BTreeSet::new());
    while !writers.is_empty() {
        tokio::select! {
            ended = writers.join_next() => drop(ended),
            now = revision(&db) => {
                known.extend(after(&db, seen).await);
                seen = now;
            }
        }
    }
    let now = revision(&db).await;
    if now != seen {
        known.extend(after(&db, seen).await);
    }

    assert_eq!(known, (1..=u64::from(MANY)).collect());
    db.close().await;
}

async fn a_revocation_stays_as_long_as_a_token_could_live(database: TestDatabase) {
    let db = with(&database, &[family(1, "app", 1), family(2, "app", 1)]).await;
    let first = Which::Family(family_id(1));
    write!(db, families::revoke(first, RevocationReason::Operator, at(1500))).expect("revoked");
    let key = active("a", ES256);
    let mut info = key.info.clone();
    info.longest_ttl = Ttl::from_secs(5000);
    write!(db, signing_keys::insert(&StoredKey { info, ..key })).expect("inserted");

    write!(db, families::revoke(Which::All, RevocationReason::Operator, at(1500))).expect("revoked");
    assert_eq!(cut_off(&db, &client("app").id, 70, at(1600)).await.expect("an answer"), 1);

    let expected = [
        Revocation { status_index: status_index(1), expires_at: at(1500 + DAY) },
        Revocation { status_index: status_index(2), expires_at: at(6500 + DAY) },
        Revocation { status_index: client("app").status_index, expires_at: at(6600 + DAY) },
    ];
    assert_eq!(revocations::since(&db, -1).await.expect("readable"), expected);
    assert_eq!(write!(db, revocations::purge(at(1499 + DAY))).expect("purged"), 0);
    assert_eq!(write!(db, revocations::purge(at(1500 + DAY))).expect("purged"), 1);
    assert_eq!(all(&db).await.len(), 2);
    assert_eq!(write!(db, revocations::purge(at(6600 + DAY))).expect("purged"), 2);
    db.close().await;
}

/// Switches `web` off as its use case does.
async fn switch_off(db: Db) {
    let web = client("web").id;
    let mut tx = db.begin().await.expect("a transaction");
    let fresh = [(&web, status_index(70))];
    assert_eq!(
        clients::cut_off(&mut tx, WhichClients::One(&web), fresh, at(1500)).await.expect("cut off"),
        1
    );
    assert!(clients::disable(&mut tx, &web, at(1500)).await.expect("switched"));
    let reason = RevocationReason::ClientDisabled;
    families::revoke(&mut tx, Which::Client(&web), reason, at(1500)).await.expect("revoked");
    tx.commit().await.expect("committed");
}

/// Long enough for the other to come as far as it can; too short only hides the fault.
const A_WHILE: Duration = Duration::from_millis(200);

async fn a_login_that_ends_before_its_client_is_switched_off_is_revoked_with_it(database: TestDatabase) {
    let db = with(&database, &[]).await;
    let mut login = db.begin().await.expect("a transaction");
    assert!(families::insert(&mut login, &family(1, "web", 1)).await.expect("inserted"));

    let switching = tokio::task::spawn_local(switch_off(db.clone()));
    tokio::time::sleep(A_WHILE).await;
    login.commit().await.expect("committed");
    switching.await.expect("no panic");

    assert!(all(&db).await.contains(&1), "a token of a client that is switched off lives");
    db.close().await;
}

async fn a_login_that_ends_after_its_client_was_switched_off_does_not_count(database: TestDatabase) {
    let db = with(&database, &[]).await;
    let web = client("web").id;
    let mut switching = db.begin().await.expect("a transaction");
    let fresh = [(&web, status_index(70))];
    clients::cut_off(&mut switching, WhichClients::One(&web), fresh, at(1500)).await.expect("cut off");
    clients::disable(&mut switching, &web, at(1500)).await.expect("switched");
    let reason = RevocationReason::ClientDisabled;
    families::revoke(&mut switching, Which::Client(&web), reason, at(1500)).await.expect("revoked");

    let other = db.clone();
    let login = tokio::task::spawn_local(async move {
        let mut tx = other.begin().await.expect("a transaction");
        let counts = families::insert(&mut tx, &family(1, "web", 1)).await.expect("an answer");
        tx.rollback().await.expect("undone");
        counts
    });
    tokio::time::sleep(A_WHILE).await;
    switching.commit().await.expect("committed");

    assert!(!login.await.expect("no panic"), "a login at a client that is switched off counts");
    db.close().await;
}
