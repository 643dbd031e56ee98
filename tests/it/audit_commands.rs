//! The audit through the binary: one row for each thing that an operator does, none where nothing is done, nothing
//! done where no row can be written, and no secret in any of them.

use grantd::model::session::Family;
use grantd::storage::api_keys::WhichKeys;
use grantd::storage::{Db, api_keys, clients, families, revisions, roles, signing_keys, users};
use serde_json::Value;

use crate::audit::{BREAK, MEND, meddle};
use crate::storage::{at, open, write};
use crate::storage_families::{family, family_id};
use crate::support::database::TestDatabase;
use crate::support::program::Home;
use crate::support::runner::trials;
use crate::support::server::{PASSWORD, TestServer};

trials! {
    both: [
        every_command_that_changes_something_leaves_its_rows_and_no_other_does,
        a_command_that_cannot_be_audited_does_nothing_and_says_so,
        no_secret_is_in_the_audit,
    ],
    sqlite: [
        list_shows_the_newest_rows_that_are_asked_for,
        each_row_is_logged_once_with_its_hash_as_an_anchor_outside_the_database,
        verify_prints_a_head_and_exits_1_with_a_sentence_where_the_chain_is_broken,
        an_audit_without_a_row_is_exported_as_nothing_and_holds,
    ],
}

/// A weak secret would cost a slow hash.
const BROUGHT: &str = "Zk3vQ8sT1xYb5nLw9RhCj2MdPf7GaEuo4iKNBVXO6ty";

/// Commands that work on this database.
pub(crate) fn home(database: &TestDatabase) -> Home {
    home_with(database, &[])
}

fn home_with(database: &TestDatabase, more: &[(&str, &str)]) -> Home {
    let mut environment = vec![
        ("GRANTD_DATABASE__URL", database.url.as_str()),
        ("GRANTD_KEYS__ENCRYPTION_KEY", "J0bGq0eXo9nH5Yx1mZ3kQv7RtUu2WcLdE8sFa4iPpTg="),
    ];
    environment.extend_from_slice(more);
    Home::new(&environment)
}

/// The acts of the chain, in order.
pub(crate) fn acts(home: &Home) -> Vec<String> {
    let rows = export(home);
    rows.iter().map(|row| row["act"].as_str().expect("text").to_owned()).collect()
}

/// Without what a server does to its keys by itself, whenever that is.
pub(crate) fn acts_of_others(home: &Home) -> Vec<String> {
    acts(home).into_iter().filter(|act| !act.starts_with("key.")).collect()
}

fn export(home: &Home) -> Vec<Value> {
    let ended = home.run(&["audit", "export"]);
    assert_eq!(ended.status, 0, "{ended:?}");
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// A command line, what it reads, and the acts it leaves.
type Command = (&'static [&'static str], &'static str, &'static [&'static str]);

/// What the encryption key of the tests is exchanged for.
const NEW_KEY: &str = "q9Kx2bV7nL0tYw5uRz8eDf3hGj6mCs1oPa4iXkZlBvQ=";

/// Needs nothing; leaves the client `app`, the role `editor` and the user `alice`.
const MAKING: &[Command] = &[
    (
        &["client", "create", "app", "--grant", "password", "--grant", "refresh_token", "--scope", "a"],
        "",
        &["client.created"],
    ),
    (&["role", "create", "editor", "--scope", "w"], "", &["role.created"]),
    (&["user", "create", "alice", "--role", "editor", "--password-stdin"], PASSWORD, &["user.created"]),
];

/// Needs what `MAKING` leaves, and leaves it.
const CHANGING: &[Command] = &[
    (&["client", "update", "app", "--scope", "a w"], "", &["client.updated"]),
    (&["client", "update", "app", "--secret-stdin"], BROUGHT, &["client.secret_rotated"]),
    (
        &["client", "update", "app", "--name", "App", "--secret-stdin"],
        BROUGHT,
        &["client.updated", "client.secret_rotated"],
    ),
    (&["client", "rotate-secret", "app", "--keep-old", "1h"], "", &["client.secret_rotated"]),
    (&["client", "disable", "app"], "", &["client.disabled"]),
    (&["client", "enable", "app"], "", &["client.enabled"]),
    (&["client", "enable", "app"], "", &[]),
    (&["role", "update", "editor", "--scope", "w x", "--description", "d"], "", &["role.updated"]),
    (&["user", "update", "alice", "--email", "a@example.com", "--role", ""], "", &["user.updated"]),
    (&["user", "update", "alice", "--password-stdin"], PASSWORD, &["user.password_set"]),
    (
        &["user", "update", "alice", "--name", "Alice", "--password-stdin"],
        PASSWORD,
        &["user.updated", "user.password_set"],
    ),
    (&["user", "set-password", "alice", "--password-stdin"], PASSWORD, &["user.password_set"]),
    (&["apikey", "create", "--user", "alice", "--scope", "a"], "", &["api_key.created"]),
    (&["session", "revoke", "--user", "alice"], "", &["api_key.tokens_revoked", "session.revoked"]),
    (&["apikey", "revoke", "--user", "alice"], "", &["api_key.revoked"]),
    (&["user", "disable", "alice"], "", &["user.disabled"]),
    (&["user", "enable", "alice"], "", &["user.enabled"]),
    (&["user", "enable", "alice"], "", &[]),
    (&["session", "revoke", "--user", "alice"], "", &["session.revoked"]),
    (&["session", "revoke", "--client", "app"], "", &["client.tokens_revoked", "session.revoked"]),
    (&["session", "revoke", "--all"], "", &["client.tokens_revoked", "session.revoked"]),
    (
        &["session", "revoke", "--issued-before", "2999-01-01T00:00:00Z"],
        "",
        &["client.tokens_revoked", "session.revoked"],
    ),
    (&["key", "rotate"], "", &["key.scheduled"]),
    (&["key", "reseal", "--new-key-stdin", "--keep-old", "1d"], NEW_KEY, &["key.resealed"]),
    (&["key", "rotate", "--now"], "", &["key.activated", "key.made"]),
];

const DELETING: &[Command] = &[
    (&["role", "delete", "editor", "--yes"], "", &["role.deleted"]),
    (&["user", "delete", "alice", "--yes"], "", &["user.deleted"]),
    (&["client", "delete", "app", "--yes"], "", &["client.deleted"]),
];

const LOOKING: &[&[&str]] = &[
    &["client", "list"],
    &["client", "show", "app"],
    &["user", "list"],
    &["user", "show", "alice"],
    &["apikey", "list"],
    &["role", "list"],
    &["role", "show", "editor"],
    &["session", "list"],
    &["key", "list"],
    &["audit", "list"],
    &["audit", "verify"],
    &["migrate"],
    &["migrate", "status"],
    &["config", "check"],
];

const REFUSED: &[&[&str]] = &[
    &["client", "create", "app", "--grant", "password"],
    &["client", "update", "nobody", "--scope", "a"],
    &["client", "delete", "nobody", "--yes"],
    &["client", "enable", "nobody"],
    &["user", "enable", "nobody"],
    &["user", "update", "alice", "--role", "nobody-made-it"],
    &["role", "create", "editor", "--scope", "w"],
    &["apikey", "create", "--client", "app", "--scope", "a"],
    &["apikey", "create", "--user", "nobody", "--scope", "a"],
    &["apikey", "show", "gak_AAAAAAAAAAAAAAAA"],
    &["apikey", "revoke", "--id", "gak_AAAAAAAAAAAAAAAA"],
    &["session", "revoke", "--id", "7f0e5c1a-3d3b-4a53-9f6e-0c4f6f3c2b11"],
    &["key", "retire", "nothing"],
];

async fn every_command_that_changes_something_leaves_its_rows_and_no_other_does(database: TestDatabase) {
    let home = home(&database);
    let mut expected = acts(&home);
    assert_eq!(expected, ["key.made", "key.made"], "the first keys, by whatever command is the first");
    let run = |command: &Command, expected: &mut Vec<String>| {
        let ended = home.run_with(command.0, command.1);
        assert_eq!(ended.status, 0, "{command:?}: {ended:?}");
        expected.extend(command.2.iter().map(|act| (*act).to_owned()));
        assert_eq!(acts(&home)[..], expected[..], "{command:?}");
    };

    for command in MAKING.iter().chain(CHANGING) {
        run(command, &mut expected);
    }
    for command in LOOKING {
        let ended = home.run(command);
        assert_eq!(ended.status, 0, "{command:?}: {ended:?}");
    }
    for command in REFUSED {
        assert_eq!(home.run(command).status, 1, "{command:?}");
    }
    assert_eq!(acts(&home), expected, "looking and being refused leave no row");
    let db = open(&database).await;
    let session = session(&db).await;
    db.close().await;
    assert_eq!(home.json(&["session", "revoke", "--id", &session.id.to_string()])["revoked"], 1);
    let keys = home.json(&["key", "list"]);
    let retired = keys.as_array().expect("an array").iter().find(|key| key["state"] == "retired");
    let retired = retired.and_then(|key| key["kid"].as_str()).expect("the one that was replaced");
    assert_eq!(home.run(&["key", "retire", retired]).status, 0);
    expected.extend(["session.revoked".to_owned(), "key.retired".to_owned()]);
    for command in DELETING {
        run(command, &mut expected);
    }

    let verified = home.json(&["audit", "verify"]);
    assert_eq!(verified["seq"], expected.len());
    for (number, row) in (1..).zip(export(&home)) {
        assert_eq!(row["seq"], number);
        assert!(row["actor"].as_str().expect("text").starts_with("cli:"), "{row}");
    }
}

/// A session of alice at `app` that has just begun.
async fn session(db: &Db) -> Family {
    let alice = users::list(db).await.expect("readable").remove(0);
    let session = Family {
        user_id: alice.id,
        rotated_at: at(4_000_000_000),
        expires_at: at(4_000_000_000),
        ..family(1, "app", 1)
    };
    assert!(write!(db, families::insert(&session)).expect("inserted"));
    session
}

/// All that commands change, fit to be compared.
async fn state(db: &Db) -> impl PartialEq + use<> {
    let keys = signing_keys::list(db).await.expect("readable");
    let keys: Vec<_> = keys.into_iter().map(|key| (key.info, key.sealed)).collect();
    (
        clients::list(db).await.expect("readable"),
        users::list(db).await.expect("readable"),
        roles::list(db).await.expect("readable"),
        api_keys::list(db, WhichKeys::All).await.expect("readable"),
        families::find(db, family_id(1)).await.expect("readable"),
        keys,
        revisions::read(db).await.expect("readable"),
    )
}

async fn a_command_that_cannot_be_audited_does_nothing_and_says_so(database: TestDatabase) {
    let home = home(&database);
    for command in MAKING {
        assert_eq!(home.run_with(command.0, command.1).status, 0, "{command:?}");
    }
    let db = open(&database).await;
    let session = session(&db).await.id.to_string();
    // Off, so that there is something to do for each command.
    let (app, alice) = ("app".parse().expect("an id"), "alice".parse().expect("a name"));
    let alice = users::find_by_username(&db, &alice).await.expect("readable").expect("a user").id;
    assert!(write!(db, clients::disable(&app, at(1))).expect("switched"));
    assert!(write!(db, users::disable(alice, at(1))).expect("switched"));
    let kids = home.json(&["key", "list"]);
    let kid = kids[0]["kid"].as_str().expect("a key");
    let (by_id, retire) = (["session", "revoke", "--id", &session], ["key", "retire", kid]);
    let another = ["client", "create", "other", "--grant", "client_credentials"];
    let tables = CHANGING.iter().chain(DELETING).map(|command| (command.0, command.1));
    let more = [(&by_id[..], ""), (&retire[..], ""), (&another[..], "")];
    let (before, noted) = (state(&db).await, home.json(&["audit", "verify"]));

    meddle(&db, BREAK).await;
    for (command, input) in tables.chain(more) {
        let ended = home.run_with(command, input);

        assert_eq!((ended.status, ended.stdout.as_str()), (1, ""), "{command:?}: {ended:?}");
        assert!(ended.stderr.contains("nothing was changed"), "{command:?}: {ended:?}");
        assert_eq!(ended.stderr.trim_end().lines().count(), 1, "one sentence: {ended:?}");
        assert!(state(&db).await == before, "{command:?} changed something");
    }

    meddle(&db, MEND).await;
    assert_eq!(home.json(&["audit", "verify"]), noted);
    assert_eq!(home.run(&by_id).status, 0);
    // A chain without its head takes no row either.
    meddle(&db, &["delete from audit_head"]).await;
    let ended = home.run(&["session", "revoke", "--all"]);
    assert!(ended.status == 1 && ended.stderr.contains("has lost its head"), "{ended:?}");
    db.close().await;
}

async fn no_secret_is_in_the_audit(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", secret.as_str());
    let first = server.login(app, "alice").await.text("refresh_token");
    let second = server.refresh(app, &first).await.text("refresh_token");
    let third = server.refresh(app, &second).await.text("refresh_token");
    assert_eq!(server.refresh(app, &first).await.status, 400);
    let (db, home) = (open(&database).await, home(&database));
    let mut hidden = vec![secret.clone(), first, second, third, PASSWORD.to_owned(), BROUGHT.to_owned()];
    let password = "canary-of-a-password";
    hidden.push(password.to_owned());
    let rotated = home.json(&["client", "rotate-secret", "app"]);
    hidden.push(rotated["client_secret"].as_str().expect("a secret").to_owned());
    home.json_with(&["client", "update", "app", "--secret-stdin"], BROUGHT);
    home.json_with(&["user", "set-password", "alice", "--password-stdin"], password);
    let kept = users::list(&db).await.expect("readable").remove(0).password_hash;
    home.json_with(&["user", "create", "bob", "--password-hash-stdin"], &kept);
    hidden.push(kept);
    for family in families::list(&db, families::Which::All, at(0)).await.expect("readable") {
        hidden.push(grantd::model::audit::hex(&family.secret.0));
    }

    let text = home.run(&["audit", "export"]).stdout;

    for act in ["client.secret_rotated", "user.password_set", "session.reuse_detected", "user.created"] {
        assert!(text.contains(act), "{act} is not in {text}");
    }
    for secret in hidden {
        assert!(secret.len() >= 16 && !text.contains(&secret), "{secret} is in {text}");
        // Neither is its random part behind the prefix.
        assert!(!text.contains(&secret[secret.len() - 12..]), "{secret} is in {text}");
    }
    for mark in ["gcs_", "grt_", "$argon2", "canary"] {
        assert!(!text.contains(mark), "{mark} is in {text}");
    }
    db.close().await;
    server.stop().await;
}

async fn list_shows_the_newest_rows_that_are_asked_for(database: TestDatabase) {
    let home = home(&database);
    for number in 0..4 {
        let name = format!("r{number}");
        assert_eq!(home.run(&["role", "create", &name, "--scope", "x"]).status, 0);
    }
    let seqs = |arguments: &[&str]| -> Vec<i64> {
        let all: Vec<&str> = ["audit", "list"].into_iter().chain(arguments.iter().copied()).collect();
        let rows = home.json(&all);
        rows.as_array().expect("an array").iter().map(|row| row["seq"].as_i64().expect("a number")).collect()
    };

    assert_eq!(seqs(&[]), [1, 2, 3, 4, 5, 6], "the newest last");
    assert_eq!(seqs(&["--limit", "2"]), [5, 6]);
    assert_eq!(seqs(&["--act", "key"]), [1, 2]);
    assert_eq!(seqs(&["--since", "1h", "--limit", "1"]), [6]);
    assert_eq!(seqs(&["--since", "2100-01-01T00:00:00Z"]), [] as [i64; 0]);
    let people = home.run(&["audit", "list", "--act", "role"]);
    assert!(people.stdout.starts_with("SEQ  AT"), "{people:?}");
    assert_eq!(people.stdout.lines().count(), 5, "{people:?}");
}

async fn each_row_is_logged_once_with_its_hash_as_an_anchor_outside_the_database(database: TestDatabase) {
    let home = home_with(&database, &[("GRANTD_LOG__LEVEL", "info"), ("GRANTD_LOG__FORMAT", "json")]);
    assert_eq!(home.run(&["key", "list"]).status, 0);

    let log = home.run(&["role", "create", "r", "--scope", "x"]).stderr;

    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let anchors: Vec<_> = lines.filter(|line| line["message"] == "audited").collect();
    let row = export(&home).pop().expect("a row");
    assert_eq!(anchors.len(), 1, "{log}");
    assert_eq!(
        [&anchors[0]["audit_seq"], &anchors[0]["act"], &anchors[0]["hash"]],
        [&row["seq"], &row["act"], &row["hash"]]
    );
}

async fn verify_prints_a_head_and_exits_1_with_a_sentence_where_the_chain_is_broken(database: TestDatabase) {
    let home = home(&database);
    let noted = home.json(&["audit", "verify"]);
    let noted = noted["head"].as_str().expect("a head").to_owned();
    assert_eq!(home.run(&["role", "create", "r", "--scope", "x"]).status, 0);
    let now = home.json(&["audit", "verify", "--expect", &noted]);
    assert_eq!((&now["seq"], &now["valid"]), (&3.into(), &true.into()));
    assert_eq!(export(&home)[2]["hash"], now["hash"]);
    let db = open(&database).await;

    let told = |arguments: &[&str], row: &str| {
        let ended = home.run(arguments);
        assert_eq!((ended.status, ended.stdout.as_str()), (1, ""), "{ended:?}");
        assert!(ended.stderr.contains(row) && ended.stderr.trim_end().lines().count() == 1, "{ended:?}");
    };
    told(&["audit", "verify", "--expect", &noted.replace("2:", "9:")], "row 9 ");
    meddle(&db, &["update audit set subject = 'x' where seq = 2"]).await;
    told(&["audit", "verify"], "row 2 ");
    meddle(&db, &["delete from audit where seq = 2"]).await;
    told(&["audit", "verify"], "row 2 of the audit is missing");
    meddle(&db, BREAK).await;
    told(&["audit", "verify"], "");
    db.close().await;
}

async fn an_audit_without_a_row_is_exported_as_nothing_and_holds(database: TestDatabase) {
    let home = home(&database);
    assert_eq!(home.run(&["key", "list"]).status, 0);
    let db = open(&database).await;
    meddle(&db, &["delete from audit", "update audit_head set seq = 0, hash = zeroblob(32)"]).await;

    let exported = home.run(&["audit", "export"]);
    let listed = home.run(&["audit", "list"]);
    let verified = home.json(&["audit", "verify"]);

    assert_eq!((exported.status, exported.stdout.as_str()), (0, ""), "{exported:?}");
    assert_eq!((listed.status, listed.stdout.as_str()), (0, ""), "{listed:?}");
    assert_eq!(home.json(&["audit", "list"]), serde_json::json!([]));
    assert_eq!(verified["seq"], 0);
    db.close().await;
}
