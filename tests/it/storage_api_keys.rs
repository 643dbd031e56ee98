//! The conformance suite of the storage room, API keys: the same on both databases.

use grantd::model::api_key::{ApiKey, ApiKeyHash, ApiKeyId, Held, Holder, Owner, Terms};
use grantd::storage::api_keys::WhichKeys;
use grantd::storage::revisions::{self, Revisions};
use grantd::storage::{Db, StorageError, api_keys, clients, revocations, roles, users};

use crate::storage::{ODD, at, client, open, role, status_index, user, user_id, write};
use crate::support::database::TestDatabase;
use crate::support::runner::trials;

trials! {
    both: [
        a_key_reads_back_as_it_was_written_with_what_its_user_holds,
        keys_are_found_by_whose_they_are_and_when_they_were_made,
        a_key_that_is_ended_leaves_its_tokens_revoked_and_does_not_come_back,
        keys_that_are_cut_off_leave_their_tokens_revoked_and_go_on_with_other_indexes,
        the_index_of_a_key_is_renewed_once_and_nothing_else_about_keys_is_said_to_have_changed,
        keys_go_with_whose_they_are_and_when_they_have_been_over_for_long,
        an_id_is_taken_once_and_a_key_needs_an_owner,
    ],
}

pub(crate) fn key(number: u8, owner: Owner) -> ApiKey {
    ApiKey {
        id: ApiKeyId::from_random([number; 12]),
        terms: Terms {
            owner,
            name: None,
            scope: "read".parse().expect("a scope"),
            audience: Vec::new(),
            expires_at: None,
        },
        hash: ApiKeyHash([number; 32]),
        status_index: status_index(1000 + u64::from(number)),
        created_at: at(i64::from(number)),
        revoked_at: None,
    }
}

/// `app`, and a user of each number, who is a clerk.
async fn furnished(database: &TestDatabase) -> Db {
    let db = open(database).await;
    write!(db, clients::insert(&client("app"))).expect("inserted");
    write!(db, roles::insert(&role("clerk", "read"))).expect("inserted");
    write!(db, roles::insert(&role("admin", "write"))).expect("inserted");
    for number in [1, 2] {
        write!(db, users::insert(&user(number, &["clerk", "admin"]))).expect("inserted");
    }
    db
}

fn of_app() -> Owner {
    Owner::Client("app".parse().expect("an id"))
}

async fn numbers(db: &Db, which: WhichKeys<'_>) -> Vec<i64> {
    let found = api_keys::list(db, which).await.expect("readable");
    found.iter().map(|held| held.key.created_at.as_secs()).collect()
}

async fn revoked(db: &Db) -> Vec<u64> {
    let all = revocations::since(db, -1).await.expect("readable");
    all.iter().map(|revocation| revocation.status_index.as_u64() - 1000).collect()
}

async fn a_key_reads_back_as_it_was_written_with_what_its_user_holds(database: TestDatabase) {
    let db = furnished(&database).await;
    let mut of_user = key(1, Owner::User(user_id(1)));
    of_user.terms = Terms {
        name: Some(ODD.into()),
        scope: "write read a'b a%b a:b/c~".parse().expect("a scope"),
        audience: ["https://b.example/?q='%20,\"", "urn:example:a"]
            .map(|uri| uri.parse().expect("an audience"))
            .to_vec(),
        expires_at: Some(at(4_102_444_800)),
        ..of_user.terms
    };
    let of_client = key(2, of_app());

    write!(db, api_keys::insert(&of_user)).expect("inserted");
    write!(db, api_keys::insert(&of_client)).expect("inserted");

    let alice = user(1, &["admin", "clerk"]);
    let holder = Holder { username: alice.username, roles: alice.roles, disabled_at: None };
    let held = Held { key: of_user.clone(), holder: Some(holder.clone()) };
    let client_s = Held { key: of_client.clone(), holder: None };
    assert_eq!(api_keys::list(&db, WhichKeys::All).await.expect("readable"), [client_s, held.clone()]);
    let index = of_client.status_index;
    assert_eq!(api_keys::find_by_status_index(&db, index).await.expect("readable"), Some(of_client.id));
    let none = api_keys::find_by_status_index(&db, status_index(1)).await;
    assert_eq!(none.expect("readable"), None);

    write!(db, users::disable(user_id(1), at(7))).expect("written");
    let found = api_keys::list(&db, WhichKeys::One(of_user.id)).await.expect("readable");
    assert_eq!(found, [Held { holder: Some(Holder { disabled_at: Some(at(7)), ..holder }), ..held }]);
    db.close().await;
}

async fn keys_are_found_by_whose_they_are_and_when_they_were_made(database: TestDatabase) {
    let db = furnished(&database).await;
    for key in [
        key(1, Owner::User(user_id(1))),
        key(2, of_app()),
        key(3, Owner::User(user_id(2))),
        key(4, Owner::User(user_id(1))),
    ] {
        write!(db, api_keys::insert(&key)).expect("inserted");
    }
    let app = "app".parse().expect("an id");
    let nobody = "nobody".parse().expect("an id");

    for (which, expected) in [
        (WhichKeys::All, &[4, 3, 2, 1][..]),
        (WhichKeys::User(user_id(1)), &[4, 1]),
        (WhichKeys::User(user_id(9)), &[]),
        (WhichKeys::Client(&app), &[2]),
        (WhichKeys::Client(&nobody), &[]),
        (WhichKeys::One(ApiKeyId::from_random([3; 12])), &[3]),
        (WhichKeys::MadeBefore(at(3)), &[2, 1]),
    ] {
        assert_eq!(numbers(&db, which).await, expected, "{which:?}");
    }
    db.close().await;
}

async fn a_key_that_is_ended_leaves_its_tokens_revoked_and_does_not_come_back(database: TestDatabase) {
    let db = furnished(&database).await;
    for number in 1..=3 {
        write!(db, api_keys::insert(&key(number, Owner::User(user_id(1))))).expect("inserted");
    }
    let one = ApiKeyId::from_random([1; 12]);

    assert_eq!(write!(db, api_keys::revoke(WhichKeys::One(one), at(50))).expect("written"), 1);
    assert_eq!(write!(db, api_keys::revoke(WhichKeys::One(one), at(60))).expect("over already"), 0);
    let cut_off = write!(db, api_keys::cut_off(WhichKeys::One(one), [(one, status_index(7))], at(60)));
    assert_eq!(cut_off.expect("nothing to go on"), 0);

    assert_eq!(revoked(&db).await, [1]);
    let found = api_keys::list(&db, WhichKeys::One(one)).await.expect("readable");
    assert_eq!((found[0].key.revoked_at, found[0].key.status_index), (Some(at(50)), status_index(1001)));
    assert_eq!(write!(db, api_keys::revoke(WhichKeys::MadeBefore(at(3)), at(60))).expect("written"), 1);
    assert_eq!(write!(db, api_keys::revoke(WhichKeys::User(user_id(2)), at(60))).expect("of nobody"), 0);
    assert_eq!(write!(db, api_keys::revoke(WhichKeys::All, at(60))).expect("the rest"), 1);
    assert_eq!(revoked(&db).await, [1, 2, 3]);
    db.close().await;
}

async fn keys_that_are_cut_off_leave_their_tokens_revoked_and_go_on_with_other_indexes(
    database: TestDatabase,
) {
    let db = furnished(&database).await;
    let mut over = key(3, of_app());
    over.terms.expires_at = Some(at(5));
    let all = [key(1, of_app()), key(2, of_app()), over, key(4, Owner::User(user_id(1)))];
    for key in &all {
        write!(db, api_keys::insert(key)).expect("inserted");
    }
    let app = "app".parse().expect("an id");
    let indexes = async || {
        let found = api_keys::list(&db, WhichKeys::All).await.expect("readable");
        found.iter().rev().map(|held| held.key.status_index.as_u64() - 1000).collect::<Vec<_>>()
    };
    let before = revisions::read(&db).await.expect("readable");

    let fresh = [&all[0], &all[1], &all[2]].map(|key| (key.id, status_index(key.status_index.as_u64() + 10)));
    let cut_off = write!(db, api_keys::cut_off(WhichKeys::Client(&app), fresh, at(5)));

    assert_eq!(cut_off.expect("written"), 2);
    assert_eq!((revoked(&db).await, indexes().await), (vec![1, 2], vec![11, 12, 3, 4]));
    let after = revisions::read(&db).await.expect("readable");
    let once = Revisions { api_keys: before.api_keys + 1, revocations: before.revocations + 1, ..before };
    assert_eq!(after, once, "however many there are");
    let none = ApiKeyId::from_random([9; 12]);
    let nobody = write!(db, api_keys::cut_off(WhichKeys::One(none), [(none, status_index(7))], at(5)));
    assert_eq!(nobody.expect("there is none"), 0);
    db.close().await;
}

async fn the_index_of_a_key_is_renewed_once_and_nothing_else_about_keys_is_said_to_have_changed(
    database: TestDatabase,
) {
    let db = furnished(&database).await;
    let mut over = key(2, of_app());
    over.terms.expires_at = Some(at(5));
    let (key, ended) = (key(1, of_app()), key(3, of_app()));
    for key in [&key, &over, &ended] {
        write!(db, api_keys::insert(key)).expect("inserted");
    }
    write!(db, api_keys::revoke(WhichKeys::One(ended.id), at(4))).expect("ended");
    let before = revisions::read(&db).await.expect("readable");

    let fresh = status_index(1009);
    let renewed = async |key: &ApiKey| {
        write!(db, api_keys::renew_status_index(key.id, (key.status_index, fresh), at(5))).expect("written")
    };
    assert!(renewed(&key).await);
    for too_late in [&key, &over, &ended] {
        assert!(!renewed(too_late).await, "{too_late:?}");
    }

    assert_eq!(revoked(&db).await, [1, 3]);
    assert_eq!(api_keys::find_status_index(&db, key.id).await.expect("readable"), Some(fresh));
    let nobodys = ApiKeyId::from_random([9; 12]);
    assert_eq!(api_keys::find_status_index(&db, nobodys).await.expect("readable"), None);
    assert_eq!(revisions::read(&db).await.expect("readable").api_keys, before.api_keys);
    let unrevoked = api_keys::list_unrevoked(&db).await.expect("readable");
    let mut left: Vec<_> = unrevoked.iter().map(|held| held.key.created_at.as_secs()).collect();
    left.sort_unstable();
    assert_eq!(left, [1, 2]);
    db.close().await;
}

async fn keys_go_with_whose_they_are_and_when_they_have_been_over_for_long(database: TestDatabase) {
    let db = furnished(&database).await;
    for number in 1..=3 {
        let mut key = key(number, Owner::User(user_id(1)));
        key.terms.expires_at = (number == 1).then_some(at(100));
        write!(db, api_keys::insert(&key)).expect("inserted");
    }
    write!(db, api_keys::insert(&key(4, of_app()))).expect("inserted");
    let two = ApiKeyId::from_random([2; 12]);
    write!(db, api_keys::revoke(WhichKeys::One(two), at(200))).expect("written");

    assert_eq!(write!(db, api_keys::purge(at(99))).expect("purged"), 0);
    assert_eq!(write!(db, api_keys::purge(at(100))).expect("purged"), 1);
    assert_eq!(write!(db, api_keys::purge(at(200))).expect("purged"), 1);
    assert_eq!(numbers(&db, WhichKeys::All).await, [4, 3], "what goes on stays for ever");

    write!(db, users::delete(user_id(1))).expect("deleted");
    assert_eq!(numbers(&db, WhichKeys::All).await, [4]);
    write!(db, clients::delete(&"app".parse().expect("an id"))).expect("deleted");
    assert!(numbers(&db, WhichKeys::All).await.is_empty());
    db.close().await;
}

async fn an_id_is_taken_once_and_a_key_needs_an_owner(database: TestDatabase) {
    let db = furnished(&database).await;
    let first = key(1, of_app());
    write!(db, api_keys::insert(&first)).expect("inserted");

    let again = write!(db, api_keys::insert(&ApiKey { status_index: status_index(7), ..first.clone() }));
    assert!(matches!(again, Err(StorageError::AlreadyExists)), "{again:?}");
    let id = ApiKeyId::from_random([9; 12]);
    let same_index = write!(db, api_keys::insert(&ApiKey { id, ..first }));
    assert!(matches!(same_index, Err(StorageError::AlreadyExists)), "{same_index:?}");
    for nobody in [Owner::User(user_id(9)), Owner::Client("nobody".parse().expect("an id"))] {
        let inserted = write!(db, api_keys::insert(&key(9, nobody)));
        assert!(matches!(inserted, Err(StorageError::Dangling)), "{inserted:?}");
    }
    db.close().await;
}
