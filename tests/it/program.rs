//! The binary as people meet it: from an empty directory to a token, exit statuses, sentences, logs, and its end.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use crate::support::program::{Home, Served};
use crate::support::runner::trials;
use crate::support::server::{Answer, PASSWORD, client};

trials! {
    alone: [
        a_first_start_makes_everything_and_obeys_the_commands_beside_it,
        secrets_are_in_no_log_even_at_trace,
        a_request_under_way_finishes_after_sigterm_and_the_exit_status_is_0,
    ],
    plain: [
        what_dev_prints_works_when_pasted,
        a_server_that_cannot_start_says_why_and_exits_1,
        a_server_leaves_no_core_file,
        a_wrong_command_line_exits_2,
        all_mistakes_in_the_settings_are_told_at_once,
        a_refused_client_leaves_no_row,
        a_refused_update_changes_nothing,
        a_bad_token_is_inspected_with_exit_status_1,
    ],
}

async fn token(server: &Served, id: &str, secret: &str, form: &[(&str, &str)]) -> Answer {
    let request = client().post(format!("{}/token", server.url)).basic_auth(id, Some(secret)).form(form);
    Answer::of(request.send().await.expect("an answer")).await
}

/// Asks until the answer has `status`: a change is obeyed within a second, which a busy machine stretches.
async fn until(status: u16, ask: impl AsyncFn() -> Answer) -> Answer {
    for _ in 0..200 {
        let answer = ask().await;
        if answer.status == status {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no {status} within ten seconds")
}

async fn a_first_start_makes_everything_and_obeys_the_commands_beside_it() {
    let home = Home::new(&[]);
    let server = home.serve(&["serve"]);
    assert!(server.log().contains("grantd client create"), "{}", server.log());
    for (file, mode) in [("data", 0o700), ("data/grantd.db", 0o600), ("data/grantd.key", 0o600)] {
        let found = std::fs::metadata(home.path().join(file)).expect(file).permissions().mode() & 0o777;
        assert_eq!(found, mode, "{file}");
    }

    let made = home.json(&["client", "create", "app", "--grant", "client_credentials", "--scope", "read"]);
    let secret = made["client_secret"].as_str().expect("a secret");
    let form = [("grant_type", "client_credentials")];
    let answer = until(200, async || token(&server, "app", secret, &form).await).await;
    assert_eq!(answer.text("scope"), "read");

    let report = home.json_with(&["token", "inspect"], &answer.text("access_token"));
    assert_eq!(report["valid"], true, "{report}");
    assert_eq!(home.run(&["client", "disable", "app"]).status, 0);
    until(401, async || token(&server, "app", secret, &form).await).await;
    server.terminate();
    assert_eq!(server.end(), (0, String::new()));
}

async fn secrets_are_in_no_log_even_at_trace() {
    let home = Home::new(&[("GRANTD_LOG__LEVEL", "trace")]);
    let server = home.serve(&["serve"]);
    let made = home.json(&[
        "client",
        "create",
        "app",
        "--grant",
        "password",
        "--grant",
        "refresh_token",
        "--scope",
        "read",
    ]);
    let secret = made["client_secret"].as_str().expect("a secret");
    home.json_with(&["user", "create", "alice", "--password-stdin"], PASSWORD);
    let login = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
    let tokens = until(200, async || token(&server, "app", secret, &login).await).await;
    let refresh_token = tokens.text("refresh_token");
    let again = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.as_str())];
    let refreshed = token(&server, "app", secret, &again).await;
    for canary in ["canary-secret", "canary\u{1b}[31m\nlevel=error"] {
        token(&server, canary, canary, &[("grant_type", canary), ("password", canary), ("username", canary)])
            .await;
        let wrong = [("grant_type", "password"), ("username", canary), ("password", canary)];
        token(&server, "app", secret, &wrong).await;
    }
    let query = format!("{}/token?client_secret=canary-query", server.url);
    client()
        .post(query)
        .header("cookie", "canary-cookie")
        .body("canary-body")
        .send()
        .await
        .expect("an answer");

    server.terminate();
    let log = server.log_to_the_end();
    let key = std::fs::read_to_string(home.path().join("data/grantd.key")).expect("the key file");

    assert!(log.contains("request answered"));
    for hidden in [
        secret,
        PASSWORD,
        &tokens.text("access_token"),
        &refresh_token,
        &refreshed.text("refresh_token"),
        key.trim(),
        "canary-",
        "\u{1b}",
    ] {
        assert!(!log.contains(hidden), "{hidden:?} is in the log");
    }
    // The encoded spelling of Basic as well.
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("app:{secret}"));
    assert!(!log.contains(&basic));
}

async fn a_request_under_way_finishes_after_sigterm_and_the_exit_status_is_0() {
    // One hash of this cost takes long enough to be under way when the signal comes.
    let home =
        Home::new(&[("GRANTD_PASSWORDS__MEMORY_KIB", "262144"), ("GRANTD_PASSWORDS__ITERATIONS", "2")]);
    let server = home.serve(&["serve"]);
    let made = home.json(&["client", "create", "app", "--grant", "password"]);
    let secret = made["client_secret"].as_str().expect("a secret").to_owned();
    home.json_with(&["user", "create", "alice", "--password-stdin"], PASSWORD);
    let wrong = [("grant_type", "client_credentials")];
    until(400, async || token(&server, "app", &secret, &wrong).await).await;
    let url = server.url.clone();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let login = tokio::task::spawn_local(async move {
        let form = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
        let request = client().post(format!("{url}/token")).basic_auth("app", Some(secret)).form(&form);
        let _ = started.send(());
        Answer::of(request.send().await.expect("an answer")).await
    });
    has_started.await.expect("a task that runs");
    tokio::time::sleep(Duration::from_millis(100)).await;

    server.terminate();

    assert_eq!(login.await.expect("a task that ends").status, 200);
    let (status, _) = tokio::task::spawn_blocking(move || server.end()).await.expect("it ends");
    assert_eq!(status, 0);
}

fn what_dev_prints_works_when_pasted() {
    let home = Home::new(&[("GRANTD_SERVER__LISTEN", "127.0.0.1:8080")]);
    let mut server = home.serve(&["dev", "--listen", "127.0.0.1:0"]);
    let text = server.stdout_until("jwks.json");

    let script = format!("set -eu\n{text}");
    let pasted = Command::new("sh").args(["-c", &script]).output().expect("a shell");

    let out = String::from_utf8_lossy(&pasted.stdout);
    assert!(pasted.status.success(), "{text}\n{out}\n{}", String::from_utf8_lossy(&pasted.stderr));
    assert_eq!(out.matches("\"access_token\"").count(), 3, "{out}");
    assert_eq!(out.matches("\"refresh_token\"").count(), 2, "{out}");
    assert!(out.contains("\"keys\"") && !out.contains("\"error\""), "{out}");
    assert!(text.to_lowercase().contains("never for production"), "{text}");
    assert!(!home.path().join("data").exists(), "dev leaves nothing behind");
    server.terminate();
    assert_eq!(server.end().0, 0);
}

fn a_server_that_cannot_start_says_why_and_exits_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let busy = Home::new(&[("GRANTD_SERVER__LISTEN", &address)]).run(&["serve"]);
    assert_eq!(busy.status, 1, "{busy:?}");
    assert!(busy.stderr.contains(&address) && busy.stderr.contains("server.listen"), "{}", busy.stderr);

    let key = "J0bGq0eXo9nH5Yx1mZ3kQv7RtUu2WcLdE8sFa4iPpTg=";
    let away = Home::new(&[
        ("GRANTD_DATABASE__URL", "postgres://grantd:canary@127.0.0.1:1/grantd"),
        ("GRANTD_KEYS__ENCRYPTION_KEY", key),
    ]);
    let away = away.run(&["serve"]);
    assert_eq!(away.status, 1, "{away:?}");
    assert!(away.stderr.contains("127.0.0.1:1") && !away.stderr.contains("canary"), "{}", away.stderr);

    let nowhere = Home::new(&[("GRANTD_DATABASE__URL", "sqlite:///proc/nowhere/grantd.db")]).run(&["serve"]);
    assert_eq!(nowhere.status, 1, "{nowhere:?}");
    assert!(nowhere.stderr.contains("/proc/nowhere"), "{}", nowhere.stderr);
}

fn a_server_leaves_no_core_file() {
    let home = Home::new(&[]);
    let server = home.serve(&["serve"]);

    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("limits");

    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    server.terminate();
    assert_eq!(server.end().0, 0);
}

fn a_wrong_command_line_exits_2() {
    let home = Home::new(&[]);
    for arguments in [
        &["client"][..],
        &["client", "create", "app"],
        &["client", "create", "app", "--grant", "magic"],
        &["client", "create", "a b", "--grant", "password"],
        &["session", "revoke"],
        &["nonsense"],
    ] {
        let ended = home.run(arguments);

        assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
    assert!(!home.path().join("data").exists(), "nothing was made");
}

fn all_mistakes_in_the_settings_are_told_at_once() {
    let home = Home::new(&[
        ("GRANTD_SERVER__ISUER", "https://x.example"),
        ("GRANTD_TOKENS__ACCESS_TTL", "soon"),
        ("GRANTD_SERVER__ISSUER", "http://auth.example.com"),
    ]);

    for command in [&["config", "check"][..], &["serve"], &["client", "list"]] {
        let ended = home.run(command);

        assert_eq!(ended.status, 1, "{command:?}: {ended:?}");
        for told in ["GRANTD_SERVER__ISUER", "server.issuer", "tokens.access_ttl"] {
            assert!(ended.stderr.contains(told), "{told} is not in {}", ended.stderr);
        }
    }
}

fn a_refused_client_leaves_no_row() {
    let home = Home::new(&[]);
    home.json(&["client", "create", "app", "--grant", "client_credentials"]);

    for arguments in [
        &["client", "create", "app", "--grant", "client_credentials"][..],
        &["client", "create", "spa", "--grant", "client_credentials", "--auth-method", "none"],
        &["client", "create", "new", "--grant", "refresh_token"],
    ] {
        let ended = home.run(arguments);
        assert_eq!(ended.status, 1, "{arguments:?}: {ended:?}");
        assert_eq!(ended.stderr.trim_end().lines().count(), 1, "one sentence: {}", ended.stderr);
    }
    let weak = home
        .run_with(&["client", "create", "new", "--grant", "client_credentials", "--secret-stdin"], "short");
    assert_eq!(weak.status, 1, "{weak:?}");
    let rows = home.json(&["client", "list"]);
    assert_eq!(rows.as_array().expect("a list").len(), 1, "{rows}");
}

fn a_refused_update_changes_nothing() {
    let home = Home::new(&[]);
    home.json(&["client", "create", "conf", "--grant", "password"]);
    home.json(&["client", "create", "spa", "--grant", "password", "--auth-method", "none"]);
    home.json_with(&["user", "create", "alice", "--password-stdin"], PASSWORD);
    let state = || [["client", "list"], ["user", "list"]].map(|command| home.json(&command));
    let before = state();

    for (arguments, input) in [
        (
            &["client", "update", "conf", "--auth-method", "none", "--secret-stdin"][..],
            "a-secret-from-elsewhere",
        ),
        (&["client", "update", "spa", "--auth-method", "client_secret_basic", "--secret-stdin"], "short"),
        (&["client", "update", "conf", "--name", "x", "--secret-stdin"], "not one that is encoded alike"),
        (&["user", "update", "alice", "--name", "x", "--password-stdin"], "short"),
        (&["user", "update", "alice", "--name", "x", "--role", "nobody-made-it"], ""),
    ] {
        let ended = home.run_with(arguments, input);

        assert_eq!((ended.status, ended.stdout.as_str()), (1, ""), "{arguments:?}: {ended:?}");
    }
    assert_eq!(state(), before);
}

fn a_bad_token_is_inspected_with_exit_status_1() {
    let home = Home::new(&[]);

    let ended = home.run_with(&["token", "inspect", "--json"], "eyJhbGciOiJub25lIn0.e30.");

    assert_eq!(ended.status, 1, "{ended:?}");
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).expect("json");
    assert_eq!(report["valid"], false);
}
