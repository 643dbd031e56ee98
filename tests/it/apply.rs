//! `grantd apply` and `grantd export`: what a file says is done once, wholly or not at all, by the rules and with the audit
//! rows of the single commands.

use std::sync::Arc;

use grantd::app::apply::{Applied, Named, Undeclared};
use grantd::model::declared::{Declared, DeclaredUser};
use grantd::storage::{Db, revisions};
use serde_json::{Value, json};

use crate::audit::{BREAK, MEND, meddle};
use crate::audit_commands::{acts, acts_of_others, home};
use crate::storage::open;
use crate::support::database::TestDatabase;
use crate::support::program::{Ended, Home};
use crate::support::runner::trials;
use crate::support::server::{ClientOf, PASSWORD, TestServer};

trials! {
    both: [
        a_file_is_applied_with_the_rows_of_the_single_commands_and_the_second_time_nothing_is_written,
        what_is_exported_changes_nothing_when_it_is_applied_and_makes_the_same_elsewhere,
        a_file_with_a_mistake_or_without_its_audit_rows_leaves_nothing_done,
        what_is_not_in_the_file_goes_only_with_prune_and_a_yes_and_only_of_kinds_that_it_lists,
        two_that_apply_one_file_at_once_do_it_once,
        what_others_do_beside_an_apply_is_neither_undone_nor_half_done,
    ],
    sqlite: [
        a_dry_run_shows_the_plan_writes_nothing_and_exits_3,
        a_declared_secret_replaces_another_one_and_is_left_alone_where_it_is_the_clients_own,
        switching_off_by_file_ends_sessions_and_nothing_is_switched_on_that_the_file_does_not_name,
        a_user_from_a_file_has_a_password_that_nobody_knows,
    ],
}

const FILE: &str = r#"
[[roles]]
role = "editor"
scope = "notes:write"

[[clients]]
client_id = "shop"
grant_types = ["password", "refresh_token"]
scope = "notes:read notes:write"

[[clients]]
client_id = "spa"
grant_types = ["password"]
token_endpoint_auth_methods = ["none"]

[[users]]
username = "alice"
email = "alice@example.com"
roles = ["editor"]
"#;

const OLD_SECRET: &str = "Zk3vQ8sT1xYb5nLw9RhCj2MdPf7GaEuo4iKNBVXO6ty";
const NEW_SECRET: &str = "q7WmX2cV5bN8kLp3RtY6uJh9GfDs4AzE1oQiTxKeRvM";
const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a\"'\u0000"}]}"#;

fn apply(home: &Home, file: &str, flags: &[&str]) -> Ended {
    let arguments: Vec<&str> = ["apply", "-"].iter().chain(flags).copied().collect();
    home.run_with(&arguments, file)
}

/// Applies what must succeed.
fn done(home: &Home, file: &str, flags: &[&str]) -> String {
    let ended = apply(home, file, flags);
    assert_eq!(ended.status, 0, "{ended:?}");
    ended.stdout
}

/// The same beside a server on this thread, which must go on meanwhile: it may be in the midst of a transaction.
async fn beside<T: Send + 'static>(home: &Arc<Home>, work: impl FnOnce(&Home) -> T + Send + 'static) -> T {
    let home = Arc::clone(home);
    actix_web::rt::task::spawn_blocking(move || work(&home)).await.expect("a command that ends")
}

async fn applied(home: &Arc<Home>, file: &str, flags: &'static [&'static str]) -> Ended {
    let file = file.to_owned();
    beside(home, move |home| apply(home, &file, flags)).await
}

async fn done_beside(home: &Arc<Home>, file: &str) -> String {
    let ended = applied(home, file, &[]).await;
    assert_eq!(ended.status, 0, "{ended:?}");
    ended.stdout
}

/// Everything that an operator sees.
fn state(home: &Home) -> [Value; 3] {
    [["client", "list"], ["user", "list"], ["role", "list"]].map(|command| home.json(&command))
}

async fn numbers(db: &Db) -> (revisions::Revisions, Vec<(String, i64)>) {
    let text = "select subject, value from revisions order by subject";
    let all = match db {
        Db::Sqlite { write, .. } => sqlx::query_as(text).fetch_all(write).await,
        Db::Postgres(lender) => {
            sqlx::query_as(text).fetch_all(&mut lender.connect().await.expect("a connection")).await
        }
    };
    (revisions::read(db).await.expect("readable"), all.expect("readable"))
}

async fn a_file_is_applied_with_the_rows_of_the_single_commands_and_the_second_time_nothing_is_written(
    database: TestDatabase,
) {
    let (home, db) = (home(&database), open(&database).await);
    home.json(&["client", "list"]);
    let before = acts(&home).len();

    let first = done(&home, FILE, &[]);

    let lines: Vec<_> = first.lines().collect();
    assert_eq!(lines[0], r#"+ role editor  scope: "notes:write""#);
    assert!(lines[1].starts_with("+ client shop  grant_types: [\"password\",\"refresh_token\"]"), "{first}");
    assert_eq!(lines[3], r#"+ user alice  email: "alice@example.com"  roles: ["editor"]"#);
    assert!(lines[4].starts_with("client_secret of shop: gcs_") && lines.len() == 5, "{first}");
    let made = ["role.created", "client.created", "client.created", "user.created"];
    assert_eq!(acts(&home)[before..], made);

    let (was, numbers_before) = (state(&home), numbers(&db).await);
    let second = apply(&home, FILE, &[]);

    assert_eq!((second.status, second.stdout.as_str()), (0, ""), "{second:?}");
    assert!(second.stderr.contains("Nothing to do"), "{second:?}");
    assert_eq!((state(&home), numbers(&db).await), (was, numbers_before));
    assert_eq!(acts(&home).len(), before + 4);

    let changed = FILE.replace("notes:read notes:write", "notes:read").replace("[\"editor\"]", "[]");
    let third = done(&home, &changed, &[]);

    assert_eq!(
        third,
        "~ client shop  scope: \"notes:read notes:write\" -> \"notes:read\"\n~ user alice  roles: [\"editor\"] -> []\n"
    );
    assert_eq!(acts(&home)[before + 4..], ["client.updated", "user.updated"]);
    db.close().await;
}

async fn what_is_exported_changes_nothing_when_it_is_applied_and_makes_the_same_elsewhere(
    database: TestDatabase,
) {
    let home = home(&database);
    std::fs::write(home.path().join("keys.json"), KEYS).expect("a file");
    let odd = "O'Brien \"; -- \\ \u{1f600}\n\t\u{7f}";
    for command in [
        &["role", "create", "editor", "--scope", "w", "--description", odd][..],
        &["role", "create", "empty", "--scope", "w"],
        &[
            "client",
            "create",
            "app",
            "--grant",
            "password",
            "--name",
            odd,
            "--scope",
            "r w",
            "--access-ttl",
            "7m",
        ],
        &[
            "client",
            "create",
            "spa",
            "--grant",
            "password",
            "--auth-method",
            "none",
            "--audience",
            "urn:a'\"b",
        ],
        &[
            "client",
            "create",
            "svc",
            "--grant",
            "client_credentials",
            "--auth-method",
            "private_key_jwt",
            "--jwks",
            "keys.json",
            "--alg",
            "RS256",
        ],
        &[
            "client",
            "create",
            "swap",
            "--grant",
            "token-exchange",
            "--may-act-for",
            "urn:x",
            "--resource-server",
            "urn:y",
            "--no-status",
            "--trust-user-address",
            "true",
            "--dpop-bound-access-tokens",
        ],
        &["client", "create", "off", "--grant", "password", "--refresh-ttl", "1d"],
        &["client", "disable", "off"],
    ] {
        let ended = home.run(command);
        assert_eq!(ended.status, 0, "{ended:?}");
    }
    for user in [&["alice", "--name", odd, "--role", "editor", "--role", "empty"][..], &["J\u{fc}rgen"]] {
        let command: Vec<_> =
            ["user", "create"].iter().chain(user).chain(&["--password-stdin"]).copied().collect();
        home.json_with(&command, PASSWORD);
    }
    assert_eq!(home.run(&["user", "disable", "j\u{fc}rgen"]).status, 0);

    let exported = home.run(&["export"]);

    assert!(!exported.stdout.contains("gcs_") && !exported.stdout.contains("argon2"), "{exported:?}");
    for flags in [&[][..], &["--prune", "--yes"], &["--prune", "--dry-run"]] {
        let again = apply(&home, &exported.stdout, flags);
        assert_eq!((again.status, again.stdout.as_str()), (0, ""), "{again:?}");
    }
    let elsewhere = Home::new(&[]);
    done(&elsewhere, &exported.stdout, &[]);
    assert_eq!(elsewhere.run(&["export"]).stdout, exported.stdout);
}

async fn a_file_with_a_mistake_or_without_its_audit_rows_leaves_nothing_done(database: TestDatabase) {
    let (home, db) = (home(&database), open(&database).await);
    let was = state(&home);
    let wrong = format!(
        "{FILE}\n[[users]]\nusername = \"bob\"\nroles = [\"nobodys\"]\n[[users]]\nusername = \"carol\"\nroles = [\"unknown\"]\n[[clients]]\nclient_id = \"gak_AAAAAAAAAAAAAAAA\"\ngrant_types = [\"client_credentials\"]"
    );

    let refused = apply(&home, &wrong, &[]);

    assert_eq!((refused.status, refused.stdout.as_str()), (1, ""), "{refused:?}");
    assert!(refused.stderr.contains("user bob: there is no role 'nobodys'"), "{refused:?}");
    assert!(refused.stderr.contains("user carol: there is no role 'unknown'"), "{refused:?}");
    assert!(refused.stderr.contains("client gak_AAAAAAAAAAAAAAAA: "), "nor the name of a key: {refused:?}");
    assert_eq!(state(&home), was);

    meddle(&db, BREAK).await;
    let unaudited = apply(&home, FILE, &[]);
    meddle(&db, MEND).await;

    assert_eq!((unaudited.status, unaudited.stdout.as_str()), (1, ""), "{unaudited:?}");
    assert!(unaudited.stderr.contains("audit"), "{unaudited:?}");
    assert_eq!(state(&home), was);
    let literal = FILE.replace(
        "grant_types = [\"password\", ",
        "client_secret = \"canary-secret\"\ngrant_types = [\"password\", ",
    );
    let refused = apply(&home, &literal, &[]);
    assert!(refused.status == 1 && refused.stderr.contains("client_secret_file"), "{refused:?}");
    assert!(!refused.stderr.contains("canary"), "{refused:?}");
    assert_eq!(state(&home), was);
    db.close().await;
}

async fn what_is_not_in_the_file_goes_only_with_prune_and_a_yes_and_only_of_kinds_that_it_lists(
    database: TestDatabase,
) {
    let home = home(&database);
    done(&home, FILE, &[]);
    let was = state(&home);
    let only_spa = "[[clients]]\nclient_id = \"spa\"\ngrant_types = [\"password\"]\ntoken_endpoint_auth_methods = [\"none\"]\n";

    assert_eq!(done(&home, only_spa, &[]), "");
    let unanswered = apply(&home, only_spa, &["--prune"]);

    assert_eq!(unanswered.status, 1, "{unanswered:?}");
    assert!(unanswered.stderr.contains("--yes"), "{unanswered:?}");
    let planned = apply(&home, only_spa, &["--prune", "--dry-run"]);
    assert_eq!((planned.status, planned.stdout.as_str()), (3, "- client shop\n"), "{planned:?}");
    assert_eq!(state(&home), was);
    let before = acts(&home).len();

    assert_eq!(done(&home, only_spa, &["--prune", "--yes"]), "- client shop\n");

    assert_eq!(acts(&home)[before..], ["client.deleted"]);
    let [clients, users, roles] = state(&home);
    assert_eq!(clients.as_array().map(Vec::len), Some(1));
    assert_eq!((&users, &roles), (&was[1], &was[2]), "the file lists neither");

    // A role that goes is no role that a user of the file can hold.
    let held = "roles = []\n[[users]]\nusername = \"alice\"\nroles = [\"editor\"]";
    let refused = apply(&home, held, &["--prune", "--yes"]);
    assert!(refused.status == 1 && refused.stderr.contains("no role 'editor'"), "{refused:?}");
    let none = done(&home, "roles = []\nusers = []\nclients = []", &["--prune", "--yes"]);
    assert_eq!(none, "- user alice\n- client spa\n- role editor\n");
    assert_eq!(state(&home), [json!([]), json!([]), json!([])]);
}

fn named_users(names: impl Iterator<Item = String>) -> Declared {
    let users = names.map(|name| DeclaredUser {
        username: name.parse().expect("a name"),
        email: None,
        name: None,
        roles: Vec::new(),
        password: None,
        enabled: None,
    });
    Declared { users: Some(users.collect()), ..Declared::default() }
}

async fn two_that_apply_one_file_at_once_do_it_once(database: TestDatabase) {
    let one = TestServer::start(&database).await;
    let other = TestServer::start_at(&database, &[], one.clock.clone()).await;
    one.client("old", ClientOf::default()).await;
    one.client("older", ClientOf::default()).await;
    let mut declared = named_users((0..20).map(|number| format!("u{number}")));
    declared.clients = Some(Vec::new());
    let plan = one.app.plan(&declared, Undeclared::Goes).await.expect("a plan");
    assert_eq!(plan.len(), 22);
    let deletions: Vec<Named> = plan[20..].iter().map(|step| step.named.clone()).collect();
    // Nobody was shown that this one would go.
    other.client("newer", ClientOf::default()).await;
    let before = one.app.verify_audit(None).await.expect("a chain that holds").seq;

    let servers = [&one, &other, &one, &other];
    let applied = servers.map(|server| Box::pin(server.app.apply(&declared, &deletions)));
    let applied: Vec<Applied> =
        futures_util::future::try_join_all(applied).await.expect("all are served, whoever was first");

    let mut steps: Vec<_> = applied.iter().map(|applied| applied.steps.len()).collect();
    steps.sort_unstable();
    assert_eq!(steps, [0, 0, 0, 22], "all by one");
    assert_eq!(one.app.verify_audit(None).await.expect("a chain that holds").seq, before + 22);
    assert_eq!(one.app.list_users().await.expect("readable").len(), 20);
    let left = one.app.list_clients().await.expect("readable");
    assert_eq!(left.iter().map(|client| client.id.as_str()).collect::<Vec<_>>(), ["newer"]);
    one.stop().await;
    other.stop().await;
}

/// Each beside the other, in whatever order the database takes them.
async fn what_others_do_beside_an_apply_is_neither_undone_nor_half_done(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let (declared, app) = (named_users((0..10).map(|number| format!("u{number}"))), &server.app);

    let apply = Box::pin(async { app.apply(&declared, &[]).await.map(drop) });
    let others = (0..12).map(|number| async move {
        match number % 3 {
            0 => server_role(app, number).await,
            1 => drop(
                app.set_user_enabled(&"nobody".parse().expect("a name"), grantd::app::clients::Switch::Off)
                    .await,
            ),
            _ => {
                let (username, change) = (format!("o{number}"), grantd::app::users::UserChange::default());
                let password = grantd::app::users::NewPassword::Plain(
                    grantd::model::secret::PlainSecret::new(PASSWORD.into()),
                );
                app.create_user(username.parse().expect("a name"), change, password).await.expect("made");
            }
        }
    });
    let (applied, _) = tokio::join!(apply, futures_util::future::join_all(others));

    applied.expect("applied");
    assert_eq!(app.list_users().await.expect("readable").len(), 14);
    assert_eq!(app.list_roles().await.expect("readable").len(), 4);
    app.verify_audit(None).await.expect("a chain that holds");
    server.stop().await;
}

async fn server_role(app: &grantd::app::App, number: u32) {
    let name = format!("r{number}").parse().expect("a name");
    app.create_role(name, "x".parse().expect("a scope"), None).await.expect("made");
}

async fn a_dry_run_shows_the_plan_writes_nothing_and_exits_3(database: TestDatabase) {
    let (home, db) = (home(&database), open(&database).await);
    let (was, numbers_before, rows) = (state(&home), numbers(&db).await, acts(&home).len());

    let planned = apply(&home, FILE, &["--dry-run"]);

    assert_eq!(planned.status, 3, "{planned:?}");
    assert_eq!(planned.stdout.lines().count(), 4, "{planned:?}");
    assert!(planned.stdout.contains("client_secret: (generated)"), "{planned:?}");
    let as_json = apply(&home, FILE, &["--dry-run", "--json"]);
    let plan: Value = serde_json::from_str(&as_json.stdout).expect("JSON");
    assert_eq!((as_json.status, &plan["applied"], &plan["client_secrets"]), (3, &json!(false), &json!([])));
    assert_eq!(
        plan["changes"][0],
        json!({
            "action": "create", "kind": "role", "name": "editor",
            "differences": {"scope": {"from": null, "to": "notes:write"}},
        })
    );
    assert_eq!((state(&home), numbers(&db).await, acts(&home).len()), (was, numbers_before, rows));

    let applied: Value = serde_json::from_str(&done(&home, FILE, &["--json"])).expect("JSON");
    assert_eq!(
        (&applied["applied"], &applied["client_secrets"][0]["client_id"]),
        (&json!(true), &json!("shop"))
    );
    assert_eq!(apply(&home, FILE, &["--dry-run"]).status, 0);
    db.close().await;
}

async fn a_declared_secret_replaces_another_one_and_is_left_alone_where_it_is_the_clients_own(
    database: TestDatabase,
) {
    let (home, server) = (Arc::new(home(&database)), TestServer::start(&database).await);
    let file = "[[clients]]\nclient_id = \"app\"\ngrant_types = [\"client_credentials\"]\nclient_secret_file = \"app.secret\"";
    let secret_is = |secret: &str| std::fs::write(home.path().join("app.secret"), secret).expect("a file");
    let works = async |secret: &str| {
        server.app.reload().await.expect("read");
        server.token_as(("app", secret), &[("grant_type", "client_credentials")]).await.status
    };
    // The slow hash of a weak one has another salt each time.
    for (old, new) in [(OLD_SECRET, NEW_SECRET), ("weak-secret", "other-weak"), ("weak-secret", NEW_SECRET)] {
        secret_is(&format!("{old}\n"));
        let made = done_beside(&home, file).await;
        assert!(made.contains("client_secret:") && made.contains("(brought in)"), "{made}");
        assert!(!made.contains(old), "{made}");
        assert_eq!(done_beside(&home, file).await, "", "it is the client's own");
        let rows = beside(&home, acts_of_others).await.len();

        secret_is(new);
        assert_eq!(works(old).await, 200);
        let replaced = done_beside(&home, file).await;

        assert_eq!(replaced, "~ client app  client_secret: (another) -> (brought in)\n");
        assert_eq!(beside(&home, acts_of_others).await[rows..], ["client.secret_rotated"]);
        assert_eq!((works(old).await, works(new).await), (401, 200));
    }
    // Without the line the secret stays; a file that cannot be had changes nothing.
    assert_eq!(done_beside(&home, &file.replace("client_secret_file", "#")).await, "");
    assert_eq!(works(NEW_SECRET).await, 200);
    std::fs::remove_file(home.path().join("app.secret")).expect("it was there");
    let refused = applied(&home, file, &[]).await;
    assert!(refused.status == 1 && refused.stderr.contains("app.secret cannot be read"), "{refused:?}");
    let public =
        file.replace("client_secret_file = \"app.secret\"", "token_endpoint_auth_methods = [\"none\"]");
    let public = public.replace("client_credentials", "password");
    assert!(done_beside(&home, &public).await.contains("client_secret: (another) -> (none)"));
    assert_eq!(works(NEW_SECRET).await, 401);
    server.stop().await;
}

async fn switching_off_by_file_ends_sessions_and_nothing_is_switched_on_that_the_file_does_not_name(
    database: TestDatabase,
) {
    let home = Arc::new(home(&database));
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", secret.as_str());
    let tokens = server.login(app, "alice").await;
    let exported = beside(&home, |home| home.run(&["export"]).stdout).await;
    let off = exported.replace("username = \"alice\"", "username = \"alice\"\nenabled = false");

    let told = applied(&home, &off, &[]).await;

    assert_eq!(
        (told.status, told.stdout.as_str()),
        (0, "~ user alice  enabled: true -> false\n"),
        "{told:?}"
    );
    assert!(told.stderr.contains("Ended 1 session"), "{told:?}");
    server.app.reload().await.expect("read");
    assert_eq!(server.userinfo(&tokens.text("access_token")).await.status, 401);
    assert_eq!(server.refresh(app, &tokens.text("refresh_token")).await.status, 400);
    assert_eq!(beside(&home, acts_of_others).await.last().map(String::as_str), Some("user.disabled"));
    // An incident is not ended by the next run of a pipeline whose file knows nothing of it.
    assert_eq!(done_beside(&home, &exported).await, "");
    assert_eq!(server.login(app, "alice").await.status, 400);

    let on = exported.replace("username = \"alice\"", "username = \"alice\"\nenabled = true");
    assert_eq!(done_beside(&home, &on).await, "~ user alice  enabled: false -> true\n");

    assert_eq!(server.login(app, "alice").await.status, 200);
    assert_eq!(server.userinfo(&tokens.text("access_token")).await.status, 401, "what was ended stays ended");
    server.stop().await;
}

async fn a_user_from_a_file_has_a_password_that_nobody_knows(database: TestDatabase) {
    let home = Arc::new(home(&database));
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", secret.as_str());
    done_beside(&home, "[[users]]\nusername = \"bob\"").await;

    let refused = server.login(app, "bob").await;

    assert_eq!(refused.refusal(), server.login(app, "nobody").await.refusal());
    let set = ["user", "set-password", "bob", "--password-stdin"];
    beside(&home, move |home| home.json_with(&set, PASSWORD)).await;
    assert_eq!(server.login(app, "bob").await.status, 200);
    assert_eq!(
        done_beside(&home, "[[users]]\nusername = \"bob\"").await,
        "",
        "the password is nothing of the file's"
    );
    assert_eq!(server.login(app, "bob").await.status, 200);
    server.stop().await;
}
