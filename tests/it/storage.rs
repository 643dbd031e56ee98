//! The conformance suite of the storage room, first part: clients, roles and users, the same on both databases; and
//! the check that no public function of the room is left out of the suite.

use std::path::Path;

use grantd::model::client::{AuthMethod, Client, ClientSecret, GrantType, Registration};
use grantd::model::id::{ClientId, UserId};
use grantd::model::jwk::JwkSet;
use grantd::model::key::SigningAlgorithm;
use grantd::model::role::Role;
use grantd::model::secret::HashedSecret;
use grantd::model::status::StatusIndex;
use grantd::model::time::{Timestamp, Ttl};
use grantd::model::user::User;
use grantd::storage::{Db, StorageError, clients, roles, users};

use crate::support::database::TestDatabase;
use crate::support::runner::trials;

trials! {
    both: [
        a_client_reads_back_as_it_was_written,
        a_client_changes_in_the_part_that_is_named_and_no_other,
        a_client_id_is_taken_once_and_secrets_need_a_client,
        a_role_reads_back_as_it_was_written,
        a_role_goes_from_its_holders_when_it_is_deleted,
        a_user_reads_back_as_they_were_written,
        a_user_changes_in_the_part_that_is_named_and_no_other,
        a_user_name_is_taken_once_and_roles_must_exist,
        a_login_counts_only_for_the_hash_that_was_verified_and_a_user_who_is_on,
    ],
    plain: [every_public_function_of_the_storage_is_in_the_suite],
}

/// Text that breaks quoting, patterns, placeholders and one-byte encodings, should any of them be in use.
pub(crate) const ODD: &str =
    "O'Brien \"; drop table users; -- 100% _ \\ \\' $1 ?1 :a {} \u{1f600} Zo\u{eb} \u{8868}\n\t";

/// Keys whose names need quoting.
const ODD_KEYS: &str = r#"{"keys":[
    {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a\"'\u0000\ud83d\ude00"},
    {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA"}
]}"#;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

pub(crate) fn status_index(number: u64) -> StatusIndex {
    StatusIndex::new(number).expect("there are so many")
}

/// The database itself, without an app around it.
pub(crate) async fn open(database: &TestDatabase) -> Db {
    Db::open(&database.location(), None).await.expect("a database that opens")
}

/// Runs one write in a transaction of its own; commits if it succeeds.
macro_rules! write {
    ($db:expr, $module:ident::$function:ident($($argument:expr),* $(,)?)) => {{
        let mut tx = $db.begin().await.expect("a transaction");
        match $module::$function(&mut tx, $($argument),*).await {
            Ok(done) => tx.commit().await.map(|()| done),
            Err(error) => Err(error),
        }
    }};
}
pub(crate) use write;

pub(crate) fn client(id: &str) -> Client {
    Client {
        id: id.parse().expect("a client id"),
        registration: Registration {
            grant_types: vec![GrantType::ClientCredentials],
            auth_methods: vec![AuthMethod::ClientSecretBasic],
            ..Registration::default()
        },
        secrets: Vec::new(),
        disabled_at: None,
        created_at: at(0),
        status_index: status_index(
            id.bytes().fold(0, |n, byte| (n * 131 + u64::from(byte)) % StatusIndex::END),
        ),
    }
}

fn rich_client(id: &str) -> Client {
    let secret = |hashed, created, expires| ClientSecret {
        hashed,
        created_at: at(created),
        expires_at: Option::map(expires, at),
    };
    Client {
        registration: Registration {
            name: Some(ODD.into()),
            // Not in the order of the alphabet: the first of each is the client's favourite.
            grant_types: vec![
                GrantType::RefreshToken,
                GrantType::TokenExchange,
                GrantType::ClientCredentials,
                GrantType::Password,
            ],
            scope: "write read a'b a%b a:b/c~".parse().expect("a scope"),
            audience: ["https://b.example/?q='%20,\"", "urn:example:a", "https://a.example/"]
                .map(|uri| uri.parse().expect("an audience"))
                .to_vec(),
            auth_methods: vec![AuthMethod::ClientSecretPost, AuthMethod::ClientSecretBasic],
            access_ttl: Some(Ttl::from_secs(1)),
            refresh_ttl: Some(Ttl::from_secs(u32::MAX)),
            alg: Some(SigningAlgorithm::EdDsa),
            trust_user_address: true,
            status: false,
            jwks: Some(JwkSet::parse(ODD_KEYS.as_bytes()).expect("a set")),
            dpop_bound: true,
            resource_servers: vec!["https://b.example/?q='%20,\"".parse().expect("an audience")],
            may_act_for: vec!["urn:c:\"'".parse().expect("an audience")],
        },
        secrets: vec![
            secret(HashedSecret::Hmac(std::array::from_fn(|i| 255 - i as u8)), 9, None),
            secret(
                HashedSecret::Argon2("$argon2id$v=19$m=64,t=1,p=1$c2FsdA$aGFzaA".into()),
                -1,
                Some(4_000_000_000),
            ),
        ],
        disabled_at: Some(at(4_102_444_800)),
        created_at: at(-5),
        ..client(id)
    }
}

async fn find_client(db: &Db, id: &ClientId) -> Option<Client> {
    let mut tx = db.begin().await.expect("a transaction");
    clients::find(&mut tx, id).await.expect("readable")
}

async fn a_client_reads_back_as_it_was_written(database: TestDatabase) {
    let db = open(&database).await;
    let (rich, bare) = (rich_client("A.b_c~d-1"), client("b"));
    assert_eq!(clients::list(&db).await.expect("readable"), []);

    write!(db, clients::insert(&rich)).expect("inserted");
    write!(db, clients::insert(&bare)).expect("inserted");

    assert_eq!(find_client(&db, &rich.id).await.as_ref(), Some(&rich));
    assert_eq!(find_client(&db, &bare.id).await.as_ref(), Some(&bare));
    assert_eq!(find_client(&db, &"a.b_c~d-1".parse().expect("an id")).await, None, "ids are exact");
    assert_eq!(clients::list(&db).await.expect("readable"), [rich, bare]);
    db.close().await;
}

async fn a_client_changes_in_the_part_that_is_named_and_no_other(database: TestDatabase) {
    let db = open(&database).await;
    let (mut one, other) = (client("one"), client("other"));
    for client in [&one, &other] {
        write!(db, clients::insert(client)).expect("inserted");
    }
    let missing: ClientId = "missing".parse().expect("an id");
    let rich = rich_client("one");

    assert!(write!(db, clients::update(&one.id, &rich.registration)).expect("updated"));
    one.registration = rich.registration;
    assert_eq!(find_client(&db, &one.id).await.as_ref(), Some(&one));
    write!(db, clients::set_secrets(&one.id, &rich.secrets)).expect("set");
    one.secrets = rich.secrets;
    assert_eq!(find_client(&db, &one.id).await.as_ref(), Some(&one));
    one.secrets.reverse();
    write!(db, clients::set_secrets(&one.id, &one.secrets)).expect("set");
    assert_eq!(find_client(&db, &one.id).await.as_ref(), Some(&one), "the current secret is the first");
    for disabled_at in [at(7), at(8)] {
        one.disabled_at = Some(disabled_at);
        assert!(write!(db, clients::disable(&one.id, disabled_at)).expect("switched"));
        assert_eq!(find_client(&db, &one.id).await.as_ref(), Some(&one));
    }
    one.disabled_at = None;
    for was_off in [true, false] {
        assert_eq!(write!(db, clients::enable(&one.id)).expect("switched"), was_off);
        assert_eq!(find_client(&db, &one.id).await.as_ref(), Some(&one));
    }

    assert!(!write!(db, clients::update(&missing, &one.registration)).expect("nothing"));
    assert!(!write!(db, clients::disable(&missing, at(1))).expect("nothing"));
    assert!(!write!(db, clients::enable(&missing)).expect("nothing"));
    assert!(!write!(db, clients::delete(&missing)).expect("nothing"));
    assert_eq!(clients::list(&db).await.expect("readable"), [one.clone(), other.clone()]);
    assert!(write!(db, clients::delete(&one.id)).expect("deleted"));
    assert!(!write!(db, clients::delete(&one.id)).expect("gone already"));
    assert_eq!(clients::list(&db).await.expect("readable"), [other]);
    // Secrets go with their client: a new one of the old name must not inherit them.
    write!(db, clients::insert(&client("one"))).expect("inserted");
    assert_eq!(find_client(&db, &one.id).await.expect("there").secrets, []);
    db.close().await;
}

async fn a_client_id_is_taken_once_and_secrets_need_a_client(database: TestDatabase) {
    let db = open(&database).await;
    let (first, second) = (rich_client("app"), client("app"));
    write!(db, clients::insert(&first)).expect("inserted");

    let taken = write!(db, clients::insert(&second));
    let dangling = write!(db, clients::set_secrets(&"nobody".parse().expect("an id"), &first.secrets));

    assert!(matches!(taken, Err(StorageError::AlreadyExists)), "{taken:?}");
    assert!(matches!(dangling, Err(StorageError::Dangling)), "{dangling:?}");
    assert_eq!(clients::list(&db).await.expect("readable"), [first]);
    db.close().await;
}

pub(crate) fn role(name: &str, scope: &str) -> Role {
    let scope = scope.parse().expect("a scope");
    Role { name: name.parse().expect("a role name"), scope, description: None, created_at: at(1) }
}

async fn a_role_reads_back_as_it_was_written(database: TestDatabase) {
    let db = open(&database).await;
    let mut odd = Role { description: Some(ODD.into()), created_at: at(-1), ..role("A~1", "b a'c %") };
    let (empty, missing) = (role("b", ""), role("missing", "x"));
    for role in [&empty, &odd] {
        write!(db, roles::insert(role)).expect("inserted");
    }
    assert_eq!(roles::list(&db).await.expect("readable"), [odd.clone(), empty.clone()]);

    let taken = write!(db, roles::insert(&role("b", "other")));
    (odd.scope, odd.description) = ("z".parse().expect("a scope"), None);
    assert!(write!(db, roles::update(&odd)).expect("updated"));
    assert!(!write!(db, roles::update(&missing)).expect("nothing"));

    assert!(matches!(taken, Err(StorageError::AlreadyExists)), "{taken:?}");
    assert_eq!(roles::list(&db).await.expect("readable"), [odd, empty]);
    db.close().await;
}

async fn a_role_goes_from_its_holders_when_it_is_deleted(database: TestDatabase) {
    let db = open(&database).await;
    let (admin, editor) = (role("admin", "all"), role("editor", "write"));
    for role in [&admin, &editor] {
        write!(db, roles::insert(role)).expect("inserted");
    }
    for (number, held) in [(1, vec![]), (2, vec!["admin"]), (3, vec!["admin", "editor"])] {
        write!(db, users::insert(&user(number, &held))).expect("inserted");
    }

    assert_eq!(roles::holders(&db, &admin.name).await.expect("counted"), 2);
    assert_eq!(roles::holders(&db, &editor.name).await.expect("counted"), 1);
    assert_eq!(users::count_without(&db, &admin.name).await.expect("counted"), 1);
    assert_eq!(users::count_without(&db, &editor.name).await.expect("counted"), 2);
    assert!(write!(db, roles::delete(&admin.name)).expect("deleted"));
    assert!(!write!(db, roles::delete(&admin.name)).expect("gone already"));

    assert_eq!(roles::holders(&db, &admin.name).await.expect("counted"), 0);
    assert_eq!(users::count_without(&db, &admin.name).await.expect("counted"), 3);
    let held: Vec<_> = users::list(&db).await.expect("readable").into_iter().map(|user| user.roles).collect();
    assert_eq!(held, [vec![], vec![], vec![editor.name]]);
    db.close().await;
}

pub(crate) fn user_id(number: u8) -> UserId {
    UserId::from_random([number; 16])
}

pub(crate) fn user(number: u8, roles: &[&str]) -> User {
    User {
        id: user_id(number),
        username: format!("user{number}").parse().expect("a user name"),
        email: None,
        name: None,
        roles: roles.iter().map(|role| role.parse().expect("a role name")).collect(),
        password_hash: "hash".into(),
        disabled_at: None,
        created_at: at(0),
        last_login_at: None,
    }
}

/// [`User`] shows little of itself; this shows what differs.
fn whole(user: &User) -> impl PartialEq + std::fmt::Debug + use<> {
    let user = user.clone();
    let times = (user.disabled_at, user.created_at, user.last_login_at);
    (user.id, user.username, user.email, user.name, user.roles, user.password_hash, times)
}

async fn find_user(db: &Db, id: UserId) -> User {
    users::find(db, id).await.expect("readable").expect("there")
}

async fn a_user_reads_back_as_they_were_written(database: TestDatabase) {
    let db = open(&database).await;
    for name in ["admin", "Editor"] {
        write!(db, roles::insert(&role(name, "x"))).expect("inserted");
    }
    let rich = User {
        username: "zo\u{eb}.o'brien%_\\\u{8868}".parse().expect("a user name"),
        email: Some(ODD.into()),
        name: Some(ODD.into()),
        password_hash: ODD.into(),
        disabled_at: Some(at(4_102_444_800)),
        created_at: at(-1),
        last_login_at: Some(at(0)),
        ..user(1, &["Editor", "admin"])
    };
    let bare = user(2, &[]);
    assert!(users::list(&db).await.expect("readable").is_empty());

    write!(db, users::insert(&rich)).expect("inserted");
    write!(db, users::insert(&bare)).expect("inserted");

    for user in [&rich, &bare] {
        assert_eq!(whole(&find_user(&db, user.id).await), whole(user));
        let named = users::find_by_username(&db, &user.username).await.expect("readable").expect("there");
        assert_eq!(whole(&named), whole(user));
        let password = users::find_password(&db, &user.username, ("a", at(0)), (user_id(9), "none"))
            .await
            .expect("readable");
        let password =
            password.map(|stored| (stored.id, stored.hash, stored.is_enabled, stored.is_known_there));
        assert_eq!(password, Some((user.id, user.password_hash.clone(), user.is_enabled(), false)));
    }
    let listed = users::list(&db).await.expect("readable");
    assert_eq!(listed.iter().map(whole).collect::<Vec<_>>(), [whole(&bare), whole(&rich)]);
    // A pattern of one database would match these.
    for stranger in ["user%", "user_", "zoe.o'brien%_\\\u{8868}"] {
        let stranger = stranger.parse().expect("a user name");
        assert!(users::find_by_username(&db, &stranger).await.expect("readable").is_none());
        assert!(
            users::find_password(&db, &stranger, ("a", at(0)), (user_id(9), "none"))
                .await
                .expect("readable")
                .is_none()
        );
    }
    assert!(users::find(&db, user_id(3)).await.expect("readable").is_none());
    db.close().await;
}

async fn a_user_changes_in_the_part_that_is_named_and_no_other(database: TestDatabase) {
    let db = open(&database).await;
    for name in ["admin", "editor"] {
        write!(db, roles::insert(&role(name, "x"))).expect("inserted");
    }
    let (mut one, other) = (user(1, &["editor"]), user(2, &["editor"]));
    for user in [&one, &other] {
        write!(db, users::insert(user)).expect("inserted");
    }

    write!(db, users::lock(&one.username)).expect("locked");
    assert_eq!(whole(&find_user(&db, one.id).await), whole(&one), "a lock changes nothing");
    (one.email, one.name) = (Some("".into()), Some(ODD.into()));
    assert!(write!(db, users::update(one.id, one.email.as_deref(), one.name.as_deref())).expect("updated"));
    assert_eq!(whole(&find_user(&db, one.id).await), whole(&one), "an empty text is not a missing one");
    (one.email, one.name) = (None, None);
    assert!(write!(db, users::update(one.id, None, None)).expect("updated"));
    one.password_hash = "new hash".into();
    assert!(write!(db, users::set_password(one.id, "new hash")).expect("set"));
    one.disabled_at = Some(at(9));
    assert!(write!(db, users::disable(one.id, at(9))).expect("switched"));
    assert_eq!(whole(&find_user(&db, one.id).await), whole(&one));
    for held in [&["admin", "editor"][..], &["admin"], &[]] {
        one.roles = user(1, held).roles;
        write!(db, users::set_roles(one.id, &one.roles)).expect("set");
        assert_eq!(whole(&find_user(&db, one.id).await), whole(&one));
    }
    one.disabled_at = None;
    for was_off in [true, false] {
        assert_eq!(write!(db, users::enable(one.id)).expect("switched"), was_off);
        assert_eq!(whole(&find_user(&db, one.id).await), whole(&one));
    }

    let missing = user_id(3);
    assert!(!write!(db, users::update(missing, None, None)).expect("nothing"));
    assert!(!write!(db, users::set_password(missing, "x")).expect("nothing"));
    assert!(!write!(db, users::disable(missing, at(1))).expect("nothing"));
    assert!(!write!(db, users::enable(missing)).expect("nothing"));
    assert!(!write!(db, users::delete(missing)).expect("nothing"));
    assert_eq!(whole(&find_user(&db, other.id).await), whole(&other));
    assert!(write!(db, users::delete(one.id)).expect("deleted"));
    let left = users::list(&db).await.expect("readable");
    assert_eq!(left.iter().map(whole).collect::<Vec<_>>(), [whole(&other)]);
    db.close().await;
}

async fn a_user_name_is_taken_once_and_roles_must_exist(database: TestDatabase) {
    let db = open(&database).await;
    write!(db, roles::insert(&role("admin", "x"))).expect("inserted");
    write!(db, users::insert(&user(1, &[]))).expect("inserted");

    let same_name = User { username: user(1, &[]).username, ..user(2, &[]) };
    let same_name = write!(db, users::insert(&same_name));
    let same_id = User { id: user_id(1), ..user(2, &[]) };
    let same_id = write!(db, users::insert(&same_id));
    let no_role = write!(db, users::insert(&user(3, &["admin", "nothing"])));
    let no_role_to_set = write!(db, users::set_roles(user_id(1), &user(1, &["admin", "nothing"]).roles));
    let no_user = write!(db, users::set_roles(user_id(9), &user(1, &["admin"]).roles));

    assert!(matches!(same_name, Err(StorageError::AlreadyExists)), "{same_name:?}");
    assert!(matches!(same_id, Err(StorageError::AlreadyExists)), "{same_id:?}");
    for dangling in [no_role, no_role_to_set, no_user] {
        assert!(matches!(dangling, Err(StorageError::Dangling)), "{dangling:?}");
    }
    // What failed half-way left nothing.
    let left = users::list(&db).await.expect("readable");
    assert_eq!(left.iter().map(whole).collect::<Vec<_>>(), [whole(&user(1, &[]))]);
    db.close().await;
}

async fn a_login_counts_only_for_the_hash_that_was_verified_and_a_user_who_is_on(database: TestDatabase) {
    let db = open(&database).await;
    let mut one = user(1, &[]);
    write!(db, users::insert(&one)).expect("inserted");
    write!(db, users::insert(&user(2, &[]))).expect("inserted");

    assert!(write!(db, users::record_login(one.id, "hash", None, at(5))).expect("recorded"));
    one.last_login_at = Some(at(5));
    assert_eq!(whole(&find_user(&db, one.id).await), whole(&one));
    assert!(write!(db, users::record_login(one.id, "hash", Some("rehashed"), at(6))).expect("recorded"));
    (one.last_login_at, one.password_hash) = (Some(at(6)), "rehashed".into());
    assert_eq!(whole(&find_user(&db, one.id).await), whole(&one));

    // Another password was set while this one was being hashed: its login, and its rehash, must not win.
    assert!(!write!(db, users::record_login(one.id, "hash", Some("stale"), at(7))).expect("refused"));
    assert_eq!(whole(&find_user(&db, one.id).await), whole(&one));
    one.disabled_at = Some(at(7));
    write!(db, users::disable(one.id, at(7))).expect("switched");
    assert!(!write!(db, users::record_login(one.id, "rehashed", Some("x"), at(8))).expect("refused"));
    assert!(!write!(db, users::record_login(user_id(9), "hash", None, at(8))).expect("refused"));
    assert_eq!(whole(&find_user(&db, one.id).await), whole(&one));
    assert_eq!(whole(&find_user(&db, user_id(2)).await), whole(&user(2, &[])));
    db.close().await;
}

/// A call in the suite is `module::function(`; of `db` and `lending`, `Db::function(` or `.function(`.
fn every_public_function_of_the_storage_is_in_the_suite() {
    let suite = [
        include_str!("storage.rs"),
        include_str!("storage_api_keys.rs"),
        include_str!("storage_audit.rs"),
        include_str!("storage_families.rs"),
        include_str!("storage_keys.rs"),
        include_str!("storage_logins.rs"),
        include_str!("storage_revocations.rs"),
        include_str!("storage_rotations.rs"),
        include_str!("storage_used_ids.rs"),
        include_str!("storage_user_import.rs"),
    ];
    let suite = suite.concat();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage");

    let (mut functions, mut left_out) = (0, Vec::new());
    for file in std::fs::read_dir(directory).expect("the storage room") {
        let path = file.expect("an entry").path();
        if path.is_dir() {
            continue;
        }
        let module = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let source = std::fs::read_to_string(&path).expect("a source file");
        for declared in source.split("pub async fn ").skip(1) {
            let end = declared.find(['(', '<']).expect("a function has parameters");
            let name = &declared[..end];
            let calls = match module.as_str() {
                "db" | "lending" | "readers" => vec![format!("Db::{name}("), format!(".{name}()")],
                "foreign_table" => vec![format!("ForeignTable::{name}("), format!(".{name}(")],
                "user_import" => {
                    vec![format!("Staging::{name}("), format!(".{name}("), format!("{module}::{name}(")]
                }
                _ => vec![format!("{module}::{name}(")],
            };
            functions += 1;
            if !calls.iter().any(|call| suite.contains(call)) {
                left_out.push(format!("{module}::{name}"));
            }
        }
    }

    assert!(functions >= 40, "only {functions} functions were found: is this still how they are written?");
    assert!(left_out.is_empty(), "the conformance suite does not call {}", left_out.join(", "));
}
