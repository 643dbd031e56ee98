//! The conformance suite of the storage room, second part: refresh-token families and facts of the
//! installation, the same on both databases. Each conditional statement is shown to hold back what it must.

use grantd::model::id::FamilyId;
use grantd::model::session::{Family, FamilySecret, RevocationReason, StrangeRetry};
use grantd::model::time::{Timestamp, Ttl};
use grantd::storage::families::{Moved, Owned, Retried, Which};
use grantd::storage::family_locks::{self, Many};
use grantd::storage::revisions::{self, Subject};
use grantd::storage::{Db, StorageError, clients, families, installation, users};
use tokio::task::JoinSet;

use crate::storage::{ODD, at, client, open, status_index, user, user_id, write};
use crate::support::database::TestDatabase;
use crate::support::runner::trials;

trials! {
    both: [
        a_family_reads_back_as_it_was_written,
        a_family_needs_its_user_and_a_client_that_is_on,
        a_rotation_wins_once_and_only_for_the_live_generation,
        a_family_that_is_over_does_not_rotate,
        of_many_rotations_at_once_one_wins,
        a_retry_counts_up_to_its_limit_and_only_for_the_live_generation,
        a_family_that_is_bound_to_a_key_moves_on_with_that_key_alone,
        a_family_moves_on_by_what_was_known_of_users_only_while_they_are_the_same,
        of_many_retries_at_once_as_many_win_as_are_allowed,
        a_revocation_ends_what_is_meant_and_nothing_twice,
        families_are_listed_until_they_expire,
        a_purge_takes_what_was_over_before_its_time,
        families_go_with_their_user_and_their_client,
        what_is_locked_to_be_changed_stays_as_it_was,
        a_fact_of_the_installation_is_set_once,
    ],
}

pub(crate) const NEVER_IDLE: Ttl = Ttl::from_secs(u32::MAX);

pub(crate) fn moved(source: &str, idle_ttl: Ttl, now: Timestamp) -> Moved<'_> {
    Moved { source, jkt: None, idle_ttl, now, users_revision: None }
}

fn retried(limit: Option<u32>, strange: Option<StrangeRetry>) -> Retried<'static> {
    Retried { limit, strange, jkt: None }
}

pub(crate) fn family_id(number: u8) -> FamilyId {
    FamilyId::from_random([number; 16])
}

/// Began at 1000, ends at 5000.
pub(crate) fn family(number: u8, client: &str, user: u8) -> Family {
    Family {
        id: family_id(number),
        client_id: client.parse().expect("a client id"),
        user_id: user_id(user),
        requested: "read write".parse().expect("a scope"),
        granted: "read".parse().expect("a scope"),
        audience: Vec::new(),
        secret: FamilySecret([number; 32]),
        generation: 0,
        retries: 0,
        source: String::new(),
        jkt: None,
        strange: None,
        auth_time: at(1000),
        rotated_at: at(1000),
        expires_at: at(5000),
        status_index: Some(status_index(number.into())),
        revoked: None,
    }
}

/// [`Family`] shows little of itself; this shows what differs.
fn whole(family: &Family) -> impl PartialEq + std::fmt::Debug + use<> {
    let f = family.clone();
    let times = (f.auth_time, f.rotated_at, f.expires_at, f.revoked, f.status_index);
    let counts = (f.generation, f.retries, f.strange, f.jkt);
    (f.id, f.client_id, f.user_id, f.requested, f.granted, f.audience, f.secret.0, counts, f.source, times)
}

/// A database with the clients `app` and `web`, the users 1 and 2, and these families.
pub(crate) async fn with(database: &TestDatabase, all: &[Family]) -> Db {
    let db = open(database).await;
    for id in ["app", "web"] {
        write!(db, clients::insert(&client(id))).expect("inserted");
    }
    for number in [1, 2] {
        write!(db, users::insert(&user(number, &[]))).expect("inserted");
    }
    for family in all {
        assert!(write!(db, families::insert(family)).expect("inserted"));
    }
    db
}

pub(crate) async fn find(db: &Db, number: u8) -> Family {
    families::find(db, family_id(number)).await.expect("readable").expect("there")
}

async fn a_family_reads_back_as_it_was_written(database: TestDatabase) {
    let rich = Family {
        requested: "write read a'b %".parse().expect("a scope"),
        granted: "a'b %".parse().expect("a scope"),
        audience: ["urn:example:b", "https://a.example/?q='%20,\""]
            .map(|uri| uri.parse().expect("a URI"))
            .to_vec(),
        secret: FamilySecret(std::array::from_fn(|i| 255 - i as u8)),
        generation: u32::MAX - 1,
        retries: u32::MAX,
        source: ODD.into(),
        jkt: Some(ODD.into()),
        strange: Some(StrangeRetry { generation: u32::MAX, in_a_row: 7 }),
        auth_time: at(-1),
        rotated_at: Timestamp::from_millis(1_800_000_000_123),
        expires_at: at(4_102_444_800),
        ..family(1, "app", 1)
    };
    let bare = Family {
        requested: "".parse().expect("a scope"),
        granted: "".parse().expect("a scope"),
        secret: FamilySecret([0; 32]),
        ..family(2, "web", 2)
    };

    let db = with(&database, &[rich.clone(), bare.clone()]).await;

    assert_eq!(whole(&find(&db, 1).await), whole(&rich));
    assert_eq!(whole(&find(&db, 2).await), whole(&bare));
    assert!(families::find(&db, family_id(3)).await.expect("readable").is_none());
    assert!(families::find_with_user(&db, family_id(3)).await.expect("readable").is_none());
    for (number, expected) in [(1, &rich), (2, &bare)] {
        let found = families::find_with_user(&db, family_id(number)).await.expect("readable");
        let Owned { family, user, users_revision } = found.expect("there");
        assert_eq!(whole(&family), whole(expected));
        let alone = users::find(&db, expected.user_id).await.expect("readable").expect("there");
        assert_eq!(format!("{user:?}"), format!("{alone:?}"));
        assert_eq!(users_revision, 0);
        let index = expected.status_index.expect("numbered");
        let of_index = families::find_by_status_index(&db, index).await.expect("readable");
        assert_eq!(of_index, Some(expected.id));
    }
    let nobodys = status_index(999);
    assert_eq!(families::find_by_status_index(&db, nobodys).await.expect("readable"), None);
    // Revoked with each reason there is, it still reads back.
    for (number, reason) in (10..).zip(RevocationReason::ALL) {
        assert!(write!(db, families::insert(&family(number, "app", 1))).expect("inserted"));
        let which = Which::Family(family_id(number));
        assert_eq!(write!(db, families::revoke(which, reason, at(1500))).expect("revoked"), 1);
        assert_eq!(find(&db, number).await.revoked, Some((at(1500), reason)));
    }
    db.close().await;
}

async fn a_family_needs_its_user_and_a_client_that_is_on(database: TestDatabase) {
    let db = with(&database, &[family(1, "app", 1)]).await;
    let web = "web".parse().expect("an id");
    write!(db, clients::disable(&web, at(1))).expect("switched");

    assert!(!write!(db, families::insert(&family(2, "web", 1))).expect("refused"));
    assert!(!write!(db, families::insert(&family(2, "nobody", 1))).expect("refused"));
    let nobody = write!(db, families::insert(&family(2, "app", 9)));
    assert!(matches!(nobody, Err(StorageError::Dangling)), "{nobody:?}");
    let taken = write!(db, families::insert(&family(1, "app", 2)));
    assert!(matches!(taken, Err(StorageError::AlreadyExists)), "{taken:?}");

    assert!(families::find(&db, family_id(2)).await.expect("readable").is_none());
    write!(db, clients::enable(&web)).expect("switched");
    assert!(write!(db, families::insert(&family(2, "web", 1))).expect("inserted"));
    db.close().await;
}

async fn a_rotation_wins_once_and_only_for_the_live_generation(database: TestDatabase) {
    let mut one = Family { retries: 3, ..family(1, "app", 1) };
    let db = with(&database, &[one.clone(), family(2, "app", 1)]).await;
    let now = Timestamp::from_millis(2_000_123);

    assert!(!write!(db, families::rotate(one.id, 1, moved("early", NEVER_IDLE, now))).expect("refused"));
    assert!(write!(db, families::rotate(one.id, 0, moved(ODD, NEVER_IDLE, now))).expect("won"));
    assert!(!write!(db, families::rotate(one.id, 0, moved("again", NEVER_IDLE, now))).expect("lost"));
    assert!(!write!(db, families::rotate(family_id(9), 0, moved("x", NEVER_IDLE, now))).expect("nobody"));

    (one.generation, one.retries, one.source, one.rotated_at) = (1, 0, ODD.into(), now);
    assert_eq!(whole(&find(&db, 1).await), whole(&one));
    assert_eq!(whole(&find(&db, 2).await), whole(&family(2, "app", 1)));
    assert!(write!(db, families::rotate(one.id, 1, moved("", NEVER_IDLE, now))).expect("won"));
    db.close().await;
}

async fn a_family_that_is_over_does_not_rotate(database: TestDatabase) {
    let db = with(&database, &[family(1, "app", 1), family(2, "app", 1), family(3, "app", 1)]).await;
    let revoked = Which::Family(family_id(1));
    write!(db, families::revoke(revoked, RevocationReason::Operator, at(1500))).expect("revoked");
    let idle = Ttl::from_secs(500);
    let before = |time: i64| Timestamp::from_millis(time * 1000 - 1);

    assert!(
        !write!(db, families::rotate(family_id(1), 0, moved("", NEVER_IDLE, at(1600)))).expect("revoked")
    );
    assert!(
        !write!(db, families::rotate(family_id(2), 0, moved("", NEVER_IDLE, at(5000)))).expect("expired")
    );
    assert!(
        write!(db, families::rotate(family_id(2), 0, moved("", NEVER_IDLE, before(5000))))
            .expect("just in time")
    );
    assert!(
        !write!(db, families::rotate(family_id(3), 0, moved("", idle, at(1500)))).expect("idle too long")
    );
    assert!(
        write!(db, families::rotate(family_id(3), 0, moved("", idle, before(1500)))).expect("just in time")
    );
    // The time of idleness counts from the last use, not from the first.
    assert!(write!(db, families::rotate(family_id(3), 1, moved("", idle, at(1900)))).expect("used at 1500"));
    db.close().await;
}

async fn of_many_rotations_at_once_one_wins(database: TestDatabase) {
    let db = with(&database, &[family(1, "app", 1)]).await;

    let mut rotations = JoinSet::new();
    for _ in 0..12 {
        let db = db.clone();
        rotations.spawn_local(async move {
            write!(db, families::rotate(family_id(1), 0, moved("", NEVER_IDLE, at(2000)))).expect("an answer")
        });
    }

    let won = rotations.join_all().await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
    assert_eq!(find(&db, 1).await.generation, 1);
    db.close().await;
}

async fn a_retry_counts_up_to_its_limit_and_only_for_the_live_generation(database: TestDatabase) {
    let db = with(&database, &[Family { generation: 7, ..family(1, "app", 1) }, family(2, "app", 1)]).await;
    let id = family_id(1);

    assert!(!write!(db, families::record_retry(id, 6, retried(None, None))).expect("behind"));
    assert!(!write!(db, families::record_retry(id, 8, retried(None, None))).expect("ahead"));
    assert!(!write!(db, families::record_retry(id, 7, retried(Some(0), None))).expect("none allowed"));
    assert!(write!(db, families::record_retry(id, 7, retried(Some(2), None))).expect("the first"));
    assert!(write!(db, families::record_retry(id, 7, retried(Some(2), None))).expect("the second"));
    assert!(!write!(db, families::record_retry(id, 7, retried(Some(2), None))).expect("one too many"));
    assert!(write!(db, families::record_retry(id, 7, retried(None, None))).expect("without limit"));

    let counted = Family { generation: 7, retries: 3, ..family(1, "app", 1) };
    assert_eq!(
        whole(&find(&db, 1).await),
        whole(&counted),
        "a retry is no use: it does not move the idle time"
    );
    assert_eq!(find(&db, 2).await.retries, 0);
    // Where it came from is remembered, and not forgotten by one that came from home.
    let strange = Some(StrangeRetry { generation: 7, in_a_row: 2 });
    assert!(write!(db, families::record_retry(id, 7, retried(None, strange))).expect("from elsewhere"));
    assert!(write!(db, families::record_retry(id, 7, retried(None, None))).expect("from home"));
    assert_eq!(find(&db, 1).await.strange, strange);
    assert!(write!(db, families::rotate(id, 7, moved("", NEVER_IDLE, at(1500)))).expect("won"));
    assert_eq!(find(&db, 1).await.strange, strange, "the next generation asks what happened in this one");
    write!(db, families::revoke(Which::All, RevocationReason::Reuse, at(1500))).expect("revoked");
    assert!(!write!(db, families::record_retry(id, 8, retried(None, None))).expect("revoked"));
    db.close().await;
}

async fn a_family_that_is_bound_to_a_key_moves_on_with_that_key_alone(database: TestDatabase) {
    let db = with(&database, &[family(1, "app", 1), family(2, "app", 1)]).await;
    let (one, two) = (family_id(1), family_id(2));
    let moved = |jkt| Moved { source: "", jkt, idle_ttl: NEVER_IDLE, now: at(1500), users_revision: None };
    let retried = |jkt| Retried { limit: None, strange: None, jkt };
    let jkt = async |number| find(&db, number).await.jkt;

    assert!(write!(db, families::rotate(one, 0, moved(None))).expect("unbound"));
    assert_eq!(jkt(1).await, None);
    assert!(write!(db, families::rotate(one, 1, moved(Some("key")))).expect("bound from now on"));
    assert!(write!(db, families::record_retry(two, 0, retried(Some("key")))).expect("bound from now on"));

    for (id, number, generation) in [(one, 1, 2), (two, 2, 0)] {
        assert_eq!(jkt(number).await.as_deref(), Some("key"));
        for other in [None, Some("other")] {
            assert!(!write!(db, families::rotate(id, generation, moved(other))).expect("refused"));
            assert!(!write!(db, families::record_retry(id, generation, retried(other))).expect("refused"));
        }
        assert!(write!(db, families::record_retry(id, generation, retried(Some("key")))).expect("noted"));
        assert!(write!(db, families::rotate(id, generation, moved(Some("key")))).expect("won"));
        assert_eq!(jkt(number).await.as_deref(), Some("key"));
    }
    db.close().await;
}

async fn a_family_moves_on_by_what_was_known_of_users_only_while_they_are_the_same(database: TestDatabase) {
    let db = with(&database, &[family(1, "app", 1)]).await;
    let moved = |users_revision| Moved { users_revision, ..moved("", NEVER_IDLE, at(1500)) };
    let known = families::find_with_user(&db, family_id(1)).await.expect("readable").expect("there");

    write!(db, revisions::bump(Subject::Users)).expect("bumped");

    let stale = Some(known.users_revision);
    assert!(!write!(db, families::rotate(family_id(1), 0, moved(stale))).expect("refused"));
    let read_again = families::find_with_user(&db, family_id(1)).await.expect("readable").expect("there");
    assert_eq!((read_again.family.generation, read_again.users_revision), (0, known.users_revision + 1));
    let fresh = Some(read_again.users_revision);
    assert!(write!(db, families::rotate(family_id(1), 0, moved(fresh))).expect("won"));
    assert!(write!(db, families::rotate(family_id(1), 1, moved(None))).expect("whatever became of users"));
    db.close().await;
}

async fn of_many_retries_at_once_as_many_win_as_are_allowed(database: TestDatabase) {
    let db = with(&database, &[family(1, "app", 1)]).await;

    let mut retries = JoinSet::new();
    for _ in 0..12 {
        let db = db.clone();
        let retry = async move {
            write!(db, families::record_retry(family_id(1), 0, retried(Some(5), None))).expect("an answer")
        };
        retries.spawn_local(retry);
    }

    let won = retries.join_all().await;
    assert_eq!(won.iter().filter(|won| **won).count(), 5, "{won:?}");
    assert_eq!(find(&db, 1).await.retries, 5);
    db.close().await;
}

async fn a_revocation_ends_what_is_meant_and_nothing_twice(database: TestDatabase) {
    let all = [
        family(1, "app", 1),
        family(2, "app", 2),
        family(3, "web", 1),
        family(4, "web", 2),
        Family { expires_at: at(1500), ..family(5, "web", 2) },
    ];
    let db = with(&database, &all).await;
    let app = "app".parse().expect("an id");
    let nobody = "nobody".parse().expect("an id");
    let rounds = [
        (Which::Family(family_id(9)), RevocationReason::Operator, vec![]),
        (Which::User(user_id(9)), RevocationReason::Operator, vec![]),
        (Which::Client(&nobody), RevocationReason::Operator, vec![]),
        (Which::Family(family_id(1)), RevocationReason::Reuse, vec![1]),
        (Which::Family(family_id(1)), RevocationReason::Operator, vec![]),
        (Which::User(user_id(1)), RevocationReason::UserDisabled, vec![3]),
        (Which::Client(&app), RevocationReason::ClientDisabled, vec![2]),
        (Which::All, RevocationReason::Operator, vec![4]),
        (Which::All, RevocationReason::PasswordChanged, vec![]),
    ];

    let mut expected = [None; 6];
    for (now, (which, reason, ended)) in (1500..).map(at).zip(rounds) {
        let revoked = write!(db, families::revoke(which, reason, now)).expect("revoked");

        assert_eq!(revoked, ended.len() as u64, "{which:?}");
        for number in ended {
            expected[number] = Some((now, reason));
        }
        for number in 1..=5 {
            assert_eq!(
                find(&db, number).await.revoked,
                expected[usize::from(number)],
                "{number} after {which:?}"
            );
        }
    }
    db.close().await;
}

async fn families_are_listed_until_they_expire(database: TestDatabase) {
    let all = [
        Family { auth_time: at(10), ..family(1, "app", 1) },
        Family { auth_time: at(30), ..family(2, "app", 2) },
        Family { auth_time: at(20), ..family(3, "web", 1) },
        Family { auth_time: at(40), expires_at: at(1500), ..family(4, "web", 2) },
    ];
    let db = with(&database, &all).await;
    let revoked = Which::Family(family_id(3));
    write!(db, families::revoke(revoked, RevocationReason::Operator, at(1100))).expect("revoked");
    let app = "app".parse().expect("an id");
    let listed = async |which, now| {
        let found = families::list(&db, which, at(now)).await.expect("readable");
        found.iter().map(|family| family.id).collect::<Vec<_>>()
    };

    assert_eq!(listed(Which::All, 1499).await, [4, 2, 3, 1].map(family_id));
    assert_eq!(listed(Which::All, 1500).await, [2, 3, 1].map(family_id));
    assert_eq!(listed(Which::User(user_id(1)), 1500).await, [3, 1].map(family_id));
    assert_eq!(listed(Which::Client(&app), 1500).await, [2, 1].map(family_id));
    assert_eq!(listed(Which::Family(family_id(2)), 1500).await, [family_id(2)]);
    assert_eq!(listed(Which::Family(family_id(9)), 1500).await, []);
    assert_eq!(listed(Which::All, 5000).await, []);
    let found = families::list(&db, revoked, at(1500)).await.expect("readable");
    let expected = Family { revoked: Some((at(1100), RevocationReason::Operator)), ..all[2].clone() };
    assert_eq!(whole(&found[0]), whole(&expected));
    db.close().await;
}

async fn a_purge_takes_what_was_over_before_its_time(database: TestDatabase) {
    let ending = |number, end| Family { expires_at: at(end), ..family(number, "app", 1) };
    let unused = Family { rotated_at: at(499), ..ending(4, 3000) };
    let db = with(&database, &[ending(1, 1999), ending(2, 2000), ending(3, 2001), unused]).await;
    write!(db, families::revoke(Which::All, RevocationReason::Operator, at(1500))).expect("revoked");

    assert_eq!(write!(db, families::purge(at(2000), at(499))).expect("purged"), 1);
    assert_eq!(write!(db, families::purge(at(2000), at(500))).expect("purged"), 1);
    assert_eq!(write!(db, families::purge(at(2000), at(500))).expect("purged"), 0);

    assert!(families::find(&db, family_id(1)).await.expect("readable").is_none());
    assert!(families::find(&db, family_id(4)).await.expect("readable").is_none());
    assert_eq!(find(&db, 2).await.id, family_id(2));
    assert_eq!(find(&db, 3).await.id, family_id(3));
    db.close().await;
}

async fn families_go_with_their_user_and_their_client(database: TestDatabase) {
    let db = with(&database, &[family(1, "app", 1), family(2, "app", 2), family(3, "web", 2)]).await;

    assert!(write!(db, users::delete(user_id(1))).expect("deleted"));
    assert!(write!(db, clients::delete(&"web".parse().expect("an id"))).expect("deleted"));

    let left = families::list(&db, Which::All, at(1500)).await.expect("readable");
    assert_eq!(left.iter().map(|family| family.id).collect::<Vec<_>>(), [family_id(2)]);
    db.close().await;
}

async fn a_fact_of_the_installation_is_set_once(database: TestDatabase) {
    let db = open(&database).await;
    let value: Vec<u8> = (0..=255).collect();
    assert_eq!(installation::read(&db, ODD).await.expect("readable"), None);

    assert!(write!(db, installation::set_once(ODD, &value)).expect("set"));
    assert!(!write!(db, installation::set_once(ODD, b"other")).expect("kept"));
    assert!(write!(db, installation::set_once("", b"")).expect("set"));

    assert_eq!(installation::read(&db, ODD).await.expect("readable"), Some(value));
    assert_eq!(installation::read(&db, "").await.expect("readable"), Some(Vec::new()));
    db.close().await;
}

async fn what_is_locked_to_be_changed_stays_as_it_was(database: TestDatabase) {
    let all = [family(1, "app", 1), family(2, "web", 2), family(3, "app", 2)];
    let db = with(&database, &all).await;
    let (one, two) = (user(1, &[]).username, user(2, &[]).username);
    let (web, nobody) = ("web".parse().expect("an id"), "nobody".parse().expect("a name"));
    let many = Many {
        users: vec![&two, &one, &nobody],
        ended_users: vec![&one, &nobody],
        ended_clients: vec![&web],
    };

    for many in [&many, &Many::default()] {
        write!(db, family_locks::lock_many(many, at(1001))).expect("locked, and free again");
    }

    for (number, before) in (1..).zip(&all) {
        assert_eq!(whole(&find(&db, number).await), whole(before));
    }
    db.close().await;
}
