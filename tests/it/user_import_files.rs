//! Files and tables of other systems as those systems write them, and files that are broken. Hashes and passwords are
//! checked in `user_import`.

use grantd::app::import::{ImportWish, Source};
use serde_json::{Value, json};

use crate::audit::meddle;
use crate::storage::open;
use crate::support::database::TestDatabase;
use crate::support::program::Home;
use crate::support::runner::trials;
use crate::support::server::TestServer;
use crate::user_import::{BCRYPT, import, told, wish, write};

trials! {
    both: [a_table_of_another_system_moves_in],
    plain: [
        a_dump_of_django_moves_in_with_its_groups,
        a_realm_of_keycloak_moves_in_with_its_ids,
        lines_of_an_htpasswd_file_move_in,
        attack_an_import_switches_nobody_on_of_whom_it_is_not_said_that_they_are,
        a_name_that_looks_like_a_hash_is_refused_and_not_repeated,
        the_roles_that_an_import_gives_are_counted_before_it_gives_them,
        what_cannot_be_read_is_told_without_a_hash_and_changes_nothing,
        a_hash_of_any_of_these_systems_makes_a_user,
    ],
}

fn home_with(files: &[(&str, String)]) -> Home {
    let home = Home::new(&[]);
    for (name, text) in files {
        std::fs::write(home.path().join(name), text).expect("written");
    }
    home
}

/// Users by name, without what differs from run to run.
fn users(home: &Home) -> Vec<Value> {
    let mut users = home.json(&["user", "list"]).as_array().expect("a list").clone();
    for user in &mut users {
        user.as_object_mut().expect("an object").retain(|name, _| name != "created_at");
    }
    users
}

fn a_dump_of_django_moves_in_with_its_groups() {
    // The user comes before the group, as it does where the user model is the project's own.
    let dump = json!([
        {"model": "accounts.user", "pk": 1, "fields": {
            "password": format!("bcrypt${BCRYPT}"), "last_login": null, "is_superuser": true, "username": "Ada",
            "first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com", "is_staff": true,
            "is_active": true, "date_joined": "2024-01-01T00:00:00Z", "groups": [2], "user_permissions": []}},
        {"model": "accounts.user", "pk": 2, "fields": {
            "password": "pbkdf2_sha256$1000$saltsaltSALT$JOyTLuD+tx6NUUbPSX2+rjWy7bKsKn1zRKbzRb0JhyI=",
            "username": "bob", "first_name": "", "last_name": "", "email": "", "is_active": false,
            "is_superuser": false, "groups": [["editors"]]}},
        {"model": "auth.group", "pk": 2, "fields": {"name": "editors", "permissions": []}},
        {"model": "sessions.session", "pk": "x", "fields": {"session_data": "y"}},
    ]);
    let home = home_with(&[("dump.json", dump.to_string())]);

    let imported =
        home.json(&["user", "import", "dump.json", "--create-roles", "--map", "is_superuser=role:superuser"]);

    assert_eq!(imported["format"], "django");
    assert_eq!(imported["roles_created"], json!(["editors", "superuser"]));
    let users = users(&home);
    assert_eq!(users.len(), 2);
    assert_eq!(users[0]["username"], "ada");
    assert_eq!(users[0]["name"], "Ada Lovelace");
    assert_eq!(users[0]["roles"], json!(["editors", "superuser"]));
    assert_eq!((&users[1]["enabled"], &users[1]["email"]), (&json!(false), &Value::Null));

    let lost = dump.to_string().replace("auth.group", "auth.nothing");
    std::fs::write(home.path().join("lost.json"), lost).expect("written");
    let refused = home.run(&["user", "import", "lost.json", "--dry-run"]);
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.contains("row 1: it is in a group that is not in the file"), "{}", refused.stderr);
}

fn a_realm_of_keycloak_moves_in_with_its_ids() {
    let credential = |secret: &str, data: &str| json!([{"type": "password", "secretData": secret, "credentialData": data}]);
    let pbkdf2 = credential(
        r#"{"salt": "x/bm4Y3DcuV9eU97ervkPA==", "value": "1u7BLvfSPxQFpwc5jpGSA+88EGl9pZYKhaZ8YPIu9N4="}"#,
        r#"{"hashIterations": 27500,"algorithm": "pbkdf2-sha256"}"#,
    );
    let argon2 = credential(
        r#"{"value":"BruFLfFkjH/8erZ26NnrbkOrWiZuQyDRCHD9o0R6Scg=","salt":"Cf9AYCE5pAbb4CKEF0GUTA==","additionalParameters":{}}"#,
        r#"{"hashIterations":5,"algorithm":"argon2","additionalParameters":{"hashLength":["32"],"memory":["7168"],"type":["id"],"version":["1.3"],"parallelism":["1"]}}"#,
    );
    let id = "95985b21-d884-4bbd-b852-cb8cd365afc2";
    let realm = json!({
        "id": "x", "realm": "x", "roles": {"realm": [{"name": "editor"}]}, "clients": [{"users": [1]}],
        "users": [
            {"id": id, "username": "admin", "enabled": true, "firstName": "A", "lastName": "B", "credentials": pbkdf2,
             "email": "a@example.com", "realmRoles": ["editor", "default-roles-x", "offline_access"], "groups": ["/g"]},
            {"username": "admin1", "enabled": false, "credentials": argon2},
            {"username": "service-account-x", "serviceAccountClientId": "x", "enabled": true},
            {"username": "federated", "enabled": true, "credentials": []},
        ],
    });
    let home = home_with(&[("realm.json", serde_json::to_string_pretty(&realm).expect("JSON"))]);
    home.json(&["role", "create", "editor", "--scope", "x"]);

    let refused = home.run(&["user", "import", "realm.json"]);
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.stderr.contains("row 4 (federated): it has no password"), "{}", refused.stderr);
    let imported = home.json(&["user", "import", "realm.json", "--without-password"]);

    assert_eq!(imported["format"], "keycloak");
    assert_eq!((&imported["created"], &imported["left_out"]), (&json!(3), &json!(1)));
    assert_eq!(imported["hashes"], json!({"argon2id": 1, "none": 1, "pbkdf2-sha256": 1}));
    let users = users(&home);
    assert_eq!(
        users[0],
        json!({"id": id, "username": "admin", "email": "a@example.com", "name": "A B", "roles": ["editor"], "enabled": true})
    );
    assert_eq!((&users[1]["username"], &users[1]["enabled"]), (&json!("admin1"), &json!(false)));
}

fn lines_of_an_htpasswd_file_move_in() {
    let werkzeug = "pbkdf2:sha1:1000$TWTjQEDO4ONBJ1dg$a30f49c92fb14a2573e24ecd2cf7ed2df7ae7c47";
    let text = format!("alice:{BCRYPT}\r\n\n# a comment\nbob:{werkzeug}\n");
    let home = home_with(&[("users.txt", text)]);

    let named = home.run(&["user", "import", "users.txt", "--format", "passlib"]);
    assert_eq!(named.status, 1);
    assert!(named.stderr.contains("line 4: its password hash is not of the system"), "{}", named.stderr);
    // What is told by itself is no promise about the rest of the file.
    let imported = home.json(&["user", "import", "users.txt", "--skip-refused"]);
    assert_eq!(imported["created"], 1, "{imported}");
}

fn attack_an_import_switches_nobody_on_of_whom_it_is_not_said_that_they_are() {
    let home = home_with(&[]);
    let row = |more: &str| format!("{{\"username\": \"off\", \"hash\": \"{BCRYPT}\"{more}}}\n");
    for (name, text, map) in [
        ("null.jsonl", row(", \"is_active\": null"), &[][..]),
        ("empty.jsonl", row(", \"is_active\": \"\""), &[]),
        ("blank.jsonl", row(", \"active\": \" \""), &[]),
        // One of the rows has the column that is named, and the other one has it not.
        (
            "absent.jsonl",
            format!("{}{{\"username\": \"on\", \"hash\": \"{BCRYPT}\", \"on\": 1}}\n", row("")),
            &["--map", "on=enabled", "--skip-refused"],
        ),
        ("empty.csv", format!("username,hash,enabled\noff,{BCRYPT},\n"), &[]),
        ("blank.csv", format!("username,hash,on\noff,{BCRYPT},  \n"), &["--map", "on=enabled"]),
        // What says nothing stands beside what says that they are on.
        ("both.csv", format!("username,hash,disabled,enabled\noff,{BCRYPT},false,\n"), &[]),
    ] {
        std::fs::write(home.path().join(name), text).expect("written");

        let ended = home.run(&[&["user", "import", name], map].concat());

        assert!(
            ended.stderr.contains("(off)") || ended.stderr.contains("is neither true"),
            "{name}: {ended:?}"
        );
        assert!(users(&home).iter().all(|user| user["username"] != "off"), "{name}");
    }
    // A file without such a column is of a system that switches nobody off; and nothing in `disabled` is what users have who
    // never were.
    let disabled = format!("username,hash,disabled\nemil,{BCRYPT},\nfred,{BCRYPT},true\n");
    for (name, text) in [("plain.jsonl", row("").replace("off", "dora")), ("disabled.csv", disabled)] {
        std::fs::write(home.path().join(name), text).expect("written");
        home.json(&["user", "import", name]);
    }
    let enabled: Vec<_> =
        users(&home).iter().map(|user| (user["username"].clone(), user["enabled"].clone())).collect();
    let expected = [("dora", true), ("emil", true), ("fred", false), ("on", true)];
    assert_eq!(enabled, expected.map(|(name, enabled)| (json!(name), json!(enabled))));
}

fn a_name_that_looks_like_a_hash_is_refused_and_not_repeated() {
    let home = home_with(&[]);
    for hash in ["$1$salt$cAnArY", "$apr1$salt$cAnArY", "$y$j9T$cAnArY", "md5$salt$cAnArY", "$cAnArY"] {
        let path = home.path().join("swapped.csv");
        std::fs::write(path, format!("username,hash\n{hash},{BCRYPT}\n")).expect("written");

        let ended = home.run(&["user", "import", "swapped.csv"]);

        assert_eq!(ended.status, 1, "{ended:?}");
        assert!(ended.stderr.contains("looks like a password hash"), "{}", ended.stderr);
        assert!(!ended.stderr.to_lowercase().contains("canary"), "{}", ended.stderr);
    }
}

fn the_roles_that_an_import_gives_are_counted_before_it_gives_them() {
    let rows = ["a,H,admin", "b,H,\"admin,editor\"", "c,H,"].join("\n").replace('H', BCRYPT);
    let home = home_with(&[("users.csv", format!("username,hash,roles\n{rows}\n"))]);
    home.json(&["role", "create", "admin", "--scope", "x"]);
    home.json(&["role", "create", "editor", "--scope", "y"]);

    let dry = home.json(&["user", "import", "users.csv", "--dry-run"]);
    let told = home.run(&["user", "import", "users.csv", "--dry-run"]);
    let done = home.json(&["user", "import", "users.csv"]);
    let again = home.json(&["user", "import", "users.csv"]);

    assert_eq!(dry["roles"], json!({"admin": 2, "editor": 1}));
    assert!(told.stdout.contains("2 admin") && told.stdout.contains("1 editor"), "{}", told.stdout);
    assert_eq!((&done["roles"], &done["roles_created"]), (&dry["roles"], &json!([])));
    assert_eq!(again["roles"], json!({}));
}

async fn a_table_of_another_system_moves_in(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let db = open(&database).await;
    // In the same database, which is another connection's to it.
    meddle(
        &db,
        &[
            "create table \"old users\" (id integer, email text, hashed_password text, is_active boolean, full_name text)",
            &format!("insert into \"old users\" values (1, 'ada@example.com', '{BCRYPT}', true, 'Ada')"),
            &format!("insert into \"old users\" values (2, 'bob@example.com', '{BCRYPT}', false, null)"),
            "insert into \"old users\" values (3, null, 'x', true, null)",
            &format!("insert into \"old users\" values (4, 'off@example.com', '{BCRYPT}', null, null)"),
        ],
    )
    .await;
    let from = |table: &str, map: &[&str]| ImportWish {
        source: Source::Table(database.location(), table.to_owned()),
        skip_refused: true,
        ..wish(std::path::Path::new("unused"), map)
    };

    let missing = server.app.import_users(from("old users", &[]), &|_| {}).await.expect_err("no user name");
    assert!(missing.to_string().contains("--map COLUMN=username"), "{missing}");
    let missing = server.app.import_users(from("old users", &["mail=username"]), &|_| {}).await;
    let missing = missing.expect_err("no such column").to_string();
    assert!(missing.contains("no column 'mail'") && missing.contains("full_name"), "{missing}");

    let map = &["email=username", "email=email"];
    let imported = import(&server.app, from("old users", map)).await;

    let (created, existing, refused) = told(&imported);
    assert_eq!((created, existing, refused.len()), (2, 0, 2));
    assert_eq!((refused[0].0, refused[1].0), (3, 4));
    assert!(refused[1].1.contains("'is_active' is neither true nor false"), "{refused:?}");
    let users = server.app.list_users().await.expect("readable");
    assert_eq!(users[0].email.as_deref(), Some("ada@example.com"));
    assert_eq!(
        (users[0].name.as_deref(), users[0].is_enabled(), users[1].is_enabled()),
        (Some("Ada"), true, false)
    );
    assert_eq!(told(&import(&server.app, from("old users", map)).await).1, 2);
    db.close().await;
    server.stop().await;
}

fn what_cannot_be_read_is_told_without_a_hash_and_changes_nothing() {
    let secret = "cAnArYcAnArYcAnArY";
    let rows = format!(r#"{{"username": "a", "hash": "$2b$04${secret}"}}"#);
    let home = home_with(&[]);
    for (name, text) in [
        ("empty", String::new()),
        ("broken.json", format!("[{rows}, {{\"username\": \"b\", \"hash\": \"{secret}")),
        ("half.json", format!("[{rows}")),
        ("after.json", format!("[{rows}] {secret}")),
        ("scalar.json", format!("[\"{secret}\", 7, null, [\"{secret}\"]]")),
        ("nousers.json", format!("{{\n\"realm\": \"{secret}\"}}")),
        ("users.json", format!("{{\n\"realm\": \"x\", \"users\": \"{secret}\"}}")),
        ("types.jsonl", format!("{{\"username\": [\"{secret}\"], \"hash\": {{\"{secret}\": 1}}}}\n")),
        (
            "types2.jsonl",
            format!("{{\"username\": \"a\", \"hash\": [\"{secret}\"], \"active\": \"{secret}\"}}\n"),
        ),
        ("garbage.jsonl", format!("{{\"username\": \"a\"}}\n{secret}\n")),
        ("columns.csv", format!("username,hash\n{secret},{secret},{secret}\n")),
        ("quote.csv", format!("username,hash\n\"a,{secret}\n")),
        ("hash.csv", format!("username,hash,roles\na,{secret},\nb,{BCRYPT},{BCRYPT}\nc,$6${secret},\n")),
        ("header.csv", format!("name,{secret}\n")),
        ("firebase.json", format!("{{\"users\": [{{\"localId\": \"a\", \"passwordHash\": \"{secret}\"}}]}}")),
    ] {
        std::fs::write(home.path().join(name), text).expect("written");
        for json in [&["--json"][..], &[]] {
            let ended = home.run(&[&["user", "import", name], json].concat());

            assert_eq!(ended.status, 1, "{name}: {ended:?}");
            assert!(
                ended.stderr.contains("grantd: ") && !ended.stderr.contains("panicked"),
                "{name}: {ended:?}"
            );
            let all = format!("{}{}", ended.stdout, ended.stderr);
            let shown = all.contains(secret) && name != "header.csv";
            assert!(!shown && !all.contains(&BCRYPT[10..]), "{name}: {all}");
        }
    }
    let missing = home.run(&["user", "import", "nowhere.csv"]);
    assert!(missing.status == 1 && missing.stderr.contains("nowhere.csv cannot be read"), "{missing:?}");
    assert_eq!(users(&home).len(), 0);
}

fn a_hash_of_any_of_these_systems_makes_a_user() {
    let home = home_with(&[]);
    let long = "A".repeat(86);
    for (at, hash) in [
        "pbkdf2_sha256$1000$saltsaltSALT$JOyTLuD+tx6NUUbPSX2+rjWy7bKsKn1zRKbzRb0JhyI=".to_owned(),
        format!("$firebase-scrypt$ln=14,r=8$c2FsdA${long}"),
        format!("$6$salt${long}"),
    ]
    .iter()
    .enumerate()
    {
        let name = format!("u{at}");
        home.json_with(&["user", "create", &name, "--password-hash-stdin"], hash);
    }
    let dear = format!("$6$rounds=99999999$salt${long}");
    let refused = home.run_with(&["user", "create", "x", "--password-hash-stdin"], &dear);
    assert!(refused.status == 1 && refused.stderr.contains("costs too much"), "{refused:?}");
    let counted = home.json(&["user", "list", "--hashes"]);
    assert_eq!((&counted["users"], &counted["current"]), (&json!(3), &json!(0)), "{counted}");

    let directory = tempfile::tempdir().expect("a directory");
    let path = write(&directory, "bom.csv", &format!("\u{feff}username;hash\nbom;{BCRYPT}\n"));
    let imported = home.json(&["user", "import", &path.display().to_string()]);
    assert_eq!(imported["created"], 1, "{imported}");
}
