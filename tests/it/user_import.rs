//! Moving in, as an operator does it beside a running server: old passwords, once and again, all or nobody.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use grantd::app::App;
use grantd::app::import::{FieldMap, Format, ImportWish, Imported, Source};
use grantd::app::users::UserChange;
use grantd::model::time::Timestamp;
use grantd::passwords::FirebaseConfig;
use tempfile::TempDir;

use crate::support::database::TestDatabase;
use crate::support::program::Home;
use crate::support::runner::trials;
use crate::support::server::TestServer;

trials! {
    both: [
        users_of_every_library_log_in_with_their_old_passwords_and_are_hashed_anew,
        an_import_that_is_run_again_changes_nobody,
        a_refused_row_stops_the_import_unless_the_others_are_wanted,
        roles_come_along_and_those_that_are_missing_are_made_only_if_wanted,
        an_import_is_one_row_of_the_audit_and_a_dry_run_is_none,
    ],
    plain: [an_import_that_is_killed_leaves_everybody_or_nobody],
}

/// What the libraries made; `src/passwords/foreign/tests.rs` says how.
const MADE: &str = include_str!("foreign_hashes.jsonl");
/// bcrypt of `pässwörd`.
pub(crate) const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuuyx2n0Zzopyr9QuYTMCfOJJOj526QVoC";

pub(crate) fn wish(path: &Path, map: &[&str]) -> ImportWish {
    ImportWish {
        source: Source::File(path.to_owned(), Format::Auto),
        map: FieldMap::new(map.iter().map(|mapping| mapping.parse().expect("a mapping")).collect()),
        firebase: None,
        skip_refused: false,
        without_password: false,
        create_roles: false,
        dry_run: false,
    }
}

pub(crate) async fn import(app: &App, wish: ImportWish) -> Imported {
    app.import_users(wish, &|_| {}).await.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn write(directory: &TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, text).expect("a temporary directory can be written");
    path
}

/// Created, existing, and what was refused: row, name and the beginning of the reason.
pub(crate) fn told(imported: &Imported) -> (u64, u64, Vec<(u64, String)>) {
    let refused = imported.refused.iter().map(|refused| (refused.row, refused.reason.to_string()));
    (imported.created, imported.existing, refused.collect())
}

async fn status_of_login(server: &TestServer, username: &str, password: &str) -> u16 {
    let form =
        [("grant_type", "password"), ("client_id", "spa"), ("username", username), ("password", password)];
    server.token(&form).await.status
}

async fn counts(app: &App) -> (u64, u64, BTreeMap<&'static str, u64>) {
    let counts = app.count_hashes().await.expect("readable");
    let schemes = counts.schemes.iter().map(|count| (count.scheme, count.users)).collect();
    (counts.users, counts.current, schemes)
}

async fn users_of_every_library_log_in_with_their_old_passwords_and_are_hashed_anew(database: TestDatabase) {
    // Real costs, such as Django's million iterations, must fit into the wait of a slow machine.
    let (server, _) = TestServer::furnished(&database, &[("GRANTD_THROTTLE__DAILY_LIMIT", "1000")]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = write(&directory, "users.jsonl", MADE);
    let firebase = write(
        &directory,
        "firebase.json",
        r#"{"users": [{"localId": "x", "email": "user1@example.com", "displayName": "One", "disabled": false,
            "salt": "42xEC+ixf3L2lw==",
            "passwordHash": "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="}]}"#,
    );

    let imported = import(&server.app, wish(&path, &[])).await;
    assert_eq!(told(&imported), (MADE.lines().count() as u64, 0, vec![]));
    let key = "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==";
    let config = FirebaseConfig::new(key, "Bw==", 8, 14).expect("parameters");
    let with_config = ImportWish { firebase: Some(config), ..wish(&firebase, &[]) };
    assert_eq!(told(&import(&server.app, with_config).await), (1, 0, vec![]));

    let mut all: Vec<(String, String)> = vec![("user1@example.com".into(), "user1password".into())];
    all.extend(MADE.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| row[name].as_str().expect("a text").to_owned();
        (text("username"), text("plain"))
    }));
    let (users, current, _) = counts(&server.app).await;
    assert_eq!((users, current), (all.len() as u64 + 1, 1), "alice has a hash of the settings");
    for (username, password) in &all {
        assert_eq!(status_of_login(&server, username, "wrong").await, 400, "{username}");
        assert_eq!(status_of_login(&server, username, password).await, 200, "{username}");
    }

    // 72 bytes and more are not hashed anew from bcrypt, and none of these is so long.
    let (users, current, schemes) = counts(&server.app).await;
    assert_eq!((current, schemes), (users, [("argon2id", users)].into()));
    for (username, password) in &all {
        assert_eq!(status_of_login(&server, username, password).await, 200, "{username} again");
    }
    server.stop().await;
}

async fn an_import_that_is_run_again_changes_nobody(database: TestDatabase) {
    let (server, _) = TestServer::furnished(&database, &[]).await;
    server.role("admin", "x").await;
    let directory = tempfile::tempdir().expect("a directory");
    let id = "7f0e5c1a-3d3b-4a53-9f6e-0c4f6f3c2b11";
    let csv = format!("uid,username,password,roles\n{id},bob,{BCRYPT},admin\n,Alice,{BCRYPT},admin\n");
    let path = write(&directory, "users.csv", &csv);
    let again = || wish(&path, &["uid=id"]);

    assert_eq!(told(&import(&server.app, again()).await), (1, 1, vec![]));
    assert_eq!(status_of_login(&server, "bob", "p\u{e4}ssw\u{f6}rd").await, 200);
    let bob = "bob".parse().expect("a name");
    let nothing =
        UserChange { roles: Some(vec![]), email: Some("new@example.com".into()), ..UserChange::default() };
    server.app.update_user(&bob, nothing, None).await.expect("updated");
    let before = server.app.list_users().await.expect("readable");
    let audited = server.app.verify_audit(None).await.expect("a chain").seq;

    assert_eq!(told(&import(&server.app, again()).await), (0, 2, vec![]));

    assert_eq!(server.app.list_users().await.expect("readable"), before);
    assert_eq!(server.app.verify_audit(None).await.expect("a chain").seq, audited);
    let bob = before.iter().find(|user| user.username == bob).expect("bob");
    assert!(bob.id.to_string() == id && bob.roles.is_empty() && bob.password_hash.starts_with("$argon2id$"));
    assert_eq!(status_of_login(&server, "alice", "p\u{e4}ssw\u{f6}rd").await, 400, "her own password stays");
    server.stop().await;
}

async fn a_refused_row_stops_the_import_unless_the_others_are_wanted(database: TestDatabase) {
    let (server, _) = TestServer::furnished(&database, &[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let csv = format!(
        "username,hashed_password,email\nbob,{BCRYPT},\nBob,{BCRYPT},\ncarol,$2b$31{},\nnobody,,\n\
         a b,{BCRYPT},\ndan,{BCRYPT},x\0y\n{BCRYPT},{BCRYPT},\nerin,{BCRYPT}\nfrank,{BCRYPT},f@example.com\n\
         dupe,plain,\ndupe,{BCRYPT},\n",
        &BCRYPT[6..]
    );
    let path = write(&directory, "users.csv", &csv);
    let before = server.app.list_users().await.expect("readable");

    let (created, existing, refused) = told(&import(&server.app, wish(&path, &[])).await);

    assert_eq!((created, existing), (0, 0));
    assert_eq!(server.app.list_users().await.expect("readable"), before);
    let expected = [
        (2, "stands in another row"),
        (3, "stands in another row"),
        (4, "costs too much"),
        (5, "has no password"),
        (6, "cannot be used here"),
        (7, "NUL"),
        (8, "looks like a password hash"),
        (9, "more or fewer columns"),
        (11, "a format that grantd does not read"),
        (12, "stands in another row"),
    ];
    assert_eq!(refused.len(), expected.len(), "{refused:#?}");
    for ((row, reason), (at, part)) in refused.iter().zip(expected) {
        assert!(*row == at && reason.contains(part), "{row}: {reason}");
        assert!(!reason.contains("$2b$04$ab") && !reason.contains(&BCRYPT[10..]), "{reason}");
    }

    let others = ImportWish { skip_refused: true, ..wish(&path, &[]) };
    let (created, existing, refused) = told(&import(&server.app, others).await);
    assert_eq!((created, existing, refused.len()), (1, 0, expected.len()));
    assert_eq!(status_of_login(&server, "frank", "p\u{e4}ssw\u{f6}rd").await, 200);

    let without = ImportWish { skip_refused: true, without_password: true, ..wish(&path, &[]) };
    assert_eq!(import(&server.app, without).await.created, 1);
    for password in ["", "p\u{e4}ssw\u{f6}rd", "wrong"] {
        assert_eq!(status_of_login(&server, "nobody", password).await, 400, "{password:?}");
    }
    server.stop().await;
}

async fn roles_come_along_and_those_that_are_missing_are_made_only_if_wanted(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    server.role("admin", "x").await;
    let directory = tempfile::tempdir().expect("a directory");
    let lines = [
        r#"{"u": "a", "hash": "H", "roles": ["editor", "admin", "editor"], "boss": false, "active": true}"#,
        r#"{"u": "b", "hash": "H", "roles": "[\"admin\"]", "boss": 1, "active": 0}"#,
        r#"{"u": "c", "hash": "H", "roles": "{admin,editor}", "boss": null, "active": "f"}"#,
        r#"{"u": "d", "hash": "H", "roles": "admin, editor", "boss": "true"}"#,
        r#"{"u": "e", "hash": "H", "roles": []}"#,
    ];
    let path = write(&directory, "users.jsonl", &lines.join("\n").replace('H', BCRYPT));
    let map = &["u=username", "boss=role:boss"];

    let mistyped = server.app.import_users(wish(&path, &["u=username", "bos=role:boss"]), &|_| {}).await;
    let mistyped = mistyped.expect_err("no such column").to_string();
    assert!(mistyped.contains("no column 'bos'") && mistyped.contains("roles"), "{mistyped}");
    let (created, _, refused) = told(&import(&server.app, wish(&path, map)).await);
    assert_eq!((created, refused.len()), (0, 4));
    assert!(refused[0].1.contains("there is no role 'editor'"), "{refused:?}");
    assert!(refused[1].1.contains("there is no role 'boss'"), "{refused:?}");

    let made = import(&server.app, ImportWish { create_roles: true, ..wish(&path, map) }).await;
    assert_eq!(told(&made), (5, 0, vec![]));
    let given: Vec<(&str, u64)> = made.roles.iter().map(|(role, users)| (role.as_str(), *users)).collect();
    assert_eq!(given, [("admin", 4), ("boss", 2), ("editor", 3)]);
    let made: Vec<String> = made.roles_created.iter().map(ToString::to_string).collect();
    assert_eq!(made, ["boss", "editor"]);
    let users = server.app.list_users().await.expect("readable");
    let held: Vec<(String, Vec<String>, bool)> = users
        .iter()
        .map(|user| {
            let roles = user.roles.iter().map(ToString::to_string).collect();
            (user.username.to_string(), roles, user.is_enabled())
        })
        .collect();
    let expected = [
        ("a", vec!["admin", "editor"], true),
        ("b", vec!["admin", "boss"], false),
        ("c", vec!["admin", "editor"], false),
        ("d", vec!["admin", "boss", "editor"], true),
        ("e", vec![], true),
    ];
    let expected = expected.map(|(name, roles, enabled)| {
        (name.to_owned(), roles.into_iter().map(str::to_owned).collect::<Vec<_>>(), enabled)
    });
    assert_eq!(held, expected);
    let roles = server.app.list_roles().await.expect("readable");
    assert!(roles.iter().all(|row| row.role.name.as_str() == "admin" || row.role.scope.is_empty()));
    server.stop().await;
}

async fn an_import_is_one_row_of_the_audit_and_a_dry_run_is_none(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = write(&directory, "users.csv", &format!("username,hash,role\na,{BCRYPT},x\nb,{BCRYPT},x\n"));
    let audited = async || {
        let rows = server.app.list_audit(Timestamp::from_millis(i64::MIN), "", 100).await.expect("readable");
        rows.into_iter()
            .filter(|row| row.act != "key.made")
            .map(|row| (row.act, row.details))
            .collect::<Vec<_>>()
    };

    let dry = ImportWish { dry_run: true, create_roles: true, ..wish(&path, &[]) };
    let dry = import(&server.app, dry).await;
    assert_eq!((dry.created, dry.dry_run, dry.roles_created.len()), (2, true, 1));
    assert_eq!(dry.roles, [("x".parse().expect("a role"), 2)].into());
    assert!(server.app.list_users().await.expect("readable").is_empty());
    assert!(server.app.list_roles().await.expect("readable").is_empty());
    assert_eq!(audited().await.iter().filter(|(act, _)| act.starts_with("user")).count(), 0);

    import(&server.app, ImportWish { create_roles: true, ..wish(&path, &[]) }).await;

    let rows = audited().await;
    let acts: Vec<&str> = rows.iter().map(|(act, _)| act.as_str()).collect();
    assert_eq!(acts[acts.len() - 2..], ["role.created", "user.imported"]);
    let details: serde_json::Value = serde_json::from_str(&rows.last().expect("a row").1).expect("JSON");
    assert_eq!(
        (&details["users"], &details["roles"]["x"], &details["format"]),
        (&2.into(), &2.into(), &"csv".into())
    );
    assert_eq!(details["sha256"].as_str().map(str::len), Some(64));
    server.app.verify_audit(None).await.expect("a chain that holds");
    server.stop().await;
}

/// At whatever moment: it never comes to a part of the users, and a second run brings all.
fn an_import_that_is_killed_leaves_everybody_or_nobody() {
    const USERS: usize = 4000;
    let home = Home::new(&[]);
    home.json(&["role", "create", "member", "--scope", "x"]);
    let mut csv = String::from("username,hash,roles\n");
    for number in 0..USERS {
        csv.push_str(&format!("user{number},{BCRYPT},member\n"));
    }
    std::fs::write(home.path().join("users.csv"), csv).expect("written");
    let present = || {
        let hashes = home.json(&["user", "list", "--hashes"]);
        let roles = home.json(&["role", "show", "member"]);
        (hashes["users"].as_u64().expect("a number"), roles["users"].as_u64().expect("a number"))
    };

    let mut killed = 0;
    for milliseconds in [20, 60, 120, 200, 300, 450, 600, 800, 1100] {
        home.run_and_kill(&["user", "import", "users.csv"], Duration::from_millis(milliseconds));
        let (users, members) = present();
        assert!(users == 0 || users == USERS as u64, "{users} after {milliseconds} ms");
        assert_eq!(members, users);
        killed += usize::from(users == 0);
    }

    assert!(killed > 0, "no import was killed in time");
    let last = home.json(&["user", "import", "users.csv"]);
    let sum = last["created"].as_u64().expect("a number") + last["existing"].as_u64().expect("a number");
    assert_eq!(sum, USERS as u64);
    assert_eq!(present(), (USERS as u64, USERS as u64));
    home.json(&["audit", "verify"]);
}
