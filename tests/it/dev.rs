//! `grantd dev` as a double for the tests of others: seeded, with a clock that they move, and gone with whoever started it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::program::{Home, Served};
use crate::support::python::python_that_has;
use crate::support::runner::{missing, trials};
use crate::support::server::{Answer, client};

trials! {
    alone: [
        a_seed_is_there_when_the_line_of_json_is_and_other_commands_work_on_it,
        tokens_expire_and_keys_rotate_when_the_clock_is_moved,
        no_server_has_a_clock_that_can_be_moved_unless_dev_was_told_so,
    ],
    plain: [
        a_server_goes_with_the_process_that_started_it_and_leaves_nothing,
        a_seed_or_a_clock_that_cannot_be_is_refused,
        the_pytest_example_passes,
    ],
}

const SEED: &str = r#"
[[roles]]
role = "editor"
scope = "notes:write"

[[clients]]
client_id = "app"
grant_types = ["password", "refresh_token", "client_credentials"]
scope = "notes:read notes:write"
client_secret = "a-secret-of-tests"

[[clients]]
client_id = "made"
grant_types = ["client_credentials"]

[[users]]
username = "alice"
roles = ["editor"]
password = "correct horse"
"#;

const FOR_TESTS: &[&str] =
    &["dev", "--seed", "seed.toml", "--port", "0", "--json", "--clock-control", "--exit-with-parent"];

fn home() -> Home {
    let home = Home::new(&[("GRANTD_SERVER__LISTEN", "127.0.0.1:8080")]);
    std::fs::write(home.path().join("seed.toml"), SEED).expect("a file");
    home
}

fn started(home: &Home, arguments: &[&str]) -> (Served, Value) {
    let mut server = home.serve(arguments);
    let line = server.stdout_until("\n");
    let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
    (server, ready)
}

async fn token(ready: &Value, form: &[(&str, &str)]) -> Answer {
    let app = &ready["clients"][0];
    assert_eq!(app["client_id"], "app");
    let url = format!("{}/token", ready["issuer"].as_str().expect("text"));
    let request = client().post(url).basic_auth("app", app["client_secret"].as_str()).form(form);
    Answer::of(request.send().await.expect("an answer")).await
}

async fn login(ready: &Value) -> Answer {
    let password = ready["users"][0]["password"].as_str().expect("text");
    token(ready, &[("grant_type", "password"), ("username", "alice"), ("password", password)]).await
}

async fn userinfo(ready: &Value, token: &str) -> u16 {
    let url = format!("{}/userinfo", ready["issuer"].as_str().expect("text"));
    client().get(url).bearer_auth(token).send().await.expect("an answer").status().as_u16()
}

async fn clock(ready: &Value, form: &[(&str, &str)]) -> Answer {
    let request = client().post(ready["clock"].as_str().expect("text")).form(form);
    Answer::of(request.send().await.expect("an answer")).await
}

async fn a_seed_is_there_when_the_line_of_json_is_and_other_commands_work_on_it() {
    let home = home();
    let (server, ready) = started(&home, FOR_TESTS);

    assert!(ready["clients"][0]["client_secret"] == "a-secret-of-tests", "{ready}");
    assert!(ready["clients"][1]["client_secret"].as_str().expect("text").starts_with("gcs_"), "{ready}");
    assert_eq!(ready["roles"], json!([{"role": "editor", "scope": "notes:write"}]));
    let tokens = login(&ready).await;
    assert_eq!((tokens.status, tokens.text("scope").as_str()), (200, "notes:read notes:write"), "{tokens:?}");
    assert_eq!(tokens.claims()["iss"], ready["issuer"]);
    let access_token = tokens.text("access_token");
    assert_eq!(userinfo(&ready, &access_token).await, 200);
    assert!(!home.path().join("data").exists(), "dev leaves nothing behind");

    let environment = ready["environment"].as_object().expect("an object");
    let disabled = Command::new(env!("CARGO_BIN_EXE_grantd"))
        .args(["user", "disable", "alice"])
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value.as_str().expect("text"))))
        .stderr(Stdio::piped())
        .output()
        .expect("it runs");

    assert!(disabled.status.success(), "{disabled:?}");
    assert_eq!(login(&ready).await.refusal(), (400, "invalid_grant".into()));
    for _ in 0..200 {
        if userinfo(&ready, &access_token).await == 401 {
            server.terminate();
            assert_eq!(server.end().0, 0);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the token of a disabled user is good for ten seconds");
}

async fn tokens_expire_and_keys_rotate_when_the_clock_is_moved() {
    let home = home();
    let (_server, ready) = started(&home, FOR_TESTS);
    let before = login(&ready).await;
    let told: Value = client()
        .get(ready["clock"].as_str().expect("text"))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert!(told["now"].is_string(), "{told}");

    assert_eq!(clock(&ready, &[("advance", "9m")]).await.status, 200);
    assert_eq!(userinfo(&ready, &before.text("access_token")).await, 200);
    assert_eq!(clock(&ready, &[("advance", "2m")]).await.status, 200);
    assert_eq!(userinfo(&ready, &before.text("access_token")).await, 401);

    // A clock that is set back makes tokens that are over for those who check them by their own.
    let set = clock(&ready, &[("now", "2020-02-02T02:02:02Z")]).await;
    assert!(set.text("now").starts_with("2020-02-02T02:02:0"), "{set:?}");
    let old = login(&ready).await;
    assert_eq!(old.claims()["iat"].as_i64().map(|iat| (0..60).contains(&(iat - 1_580_608_922))), Some(true));
    assert_eq!(userinfo(&ready, &old.text("access_token")).await, 200);

    assert_eq!(clock(&ready, &[("now", told["now"].as_str().expect("text"))]).await.status, 200);
    assert_eq!(userinfo(&ready, &old.text("access_token")).await, 401);
    for _ in 0..40 {
        assert_eq!(clock(&ready, &[("advance", "1d")]).await.status, 200);
        assert_eq!(token(&ready, &[("grant_type", "client_credentials")]).await.status, 200);
    }
    let after = login(&ready).await;
    assert_ne!(after.jose()["kid"], before.jose()["kid"], "after forty days another key signs");
    assert_eq!(userinfo(&ready, &after.text("access_token")).await, 200);

    for wrong in [&[][..], &[("advance", "-1h")], &[("now", "soon")], &[("advance", "1s"), ("now", "x")]] {
        assert_eq!(clock(&ready, wrong).await.refusal(), (400, "invalid_request".into()), "{wrong:?}");
    }
}

/// Whoever could move the clock of a real server could revive every token, and end every session.
async fn no_server_has_a_clock_that_can_be_moved_unless_dev_was_told_so() {
    let home = home();
    let (_double, ready) = started(&home, FOR_TESTS);
    let (_plain, without) = started(&home, &["dev", "--port", "0", "--json"]);
    assert!(without.get("clock").is_none(), "{without}");
    let management = format!("127.0.0.1:{}", crate::support::services::free_port());
    let serving = Home::new(&[("GRANTD_MANAGEMENT__LISTEN", &management)]);
    let real = serving.serve(&["serve"]);

    let (found, text) = (|url: &Value| url.as_str().expect("text").to_owned(), |text: &str| text.to_owned());
    for place in [
        found(&ready["issuer"]),
        found(&without["issuer"]),
        found(&without["management"]),
        text(&real.url),
        format!("http://{management}"),
    ] {
        let health = client().get(format!("{place}/health/live")).send().await.expect("an answer").status();
        assert_eq!(health, 200, "{place}");
        let url = format!("{place}/clock");
        for request in [client().get(&url), client().post(&url).form(&[("advance", "1d")])] {
            assert_eq!(request.send().await.expect("an answer").status(), 404, "{url}");
        }
    }
}

fn database_of(ready: &Value) -> PathBuf {
    let url = ready["environment"]["GRANTD_DATABASE__URL"].as_str().expect("text");
    url.trim_start_matches("sqlite://").into()
}

fn a_server_goes_with_the_process_that_started_it_and_leaves_nothing() {
    let home = home();
    let (mut server, ready) = started(&home, FOR_TESTS);
    let directory = database_of(&ready).parent().expect("a directory").to_owned();
    assert!(directory.exists());

    server.close_stdin();

    assert_eq!(server.end(), (0, String::new()));
    assert!(!directory.exists(), "{}", directory.display());

    // Only who asks for it: a shell's background job has no stdin at all.
    let (mut server, ready) = started(&home, &["dev", "--port", "0", "--json"]);
    server.close_stdin();
    let issuer = ready["issuer"].as_str().expect("text").trim_start_matches("http://").to_owned();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(std::net::TcpStream::connect(issuer).is_ok());
    server.terminate();
    assert_eq!(server.end().0, 0);
}

fn a_seed_or_a_clock_that_cannot_be_is_refused() {
    let home = home();
    std::fs::write(home.path().join("wrong.toml"), "[[users]]\nusername = \"a\"\npasword = \"x\"")
        .expect("a file");
    std::fs::write(home.path().join("short.toml"), "[[users]]\nusername = \"a\"\npassword = \"short\"")
        .expect("a file");
    let reserved =
        "[[clients]]\nclient_id = \"gak_AAAAAAAAAAAAAAAA\"\ngrant_types = [\"client_credentials\"]";
    std::fs::write(home.path().join("reserved.toml"), reserved).expect("a file");
    for (arguments, status, told) in [
        (&["dev", "--seed", "wrong.toml", "--port", "0"][..], 1, "wrong.toml:3: pasword"),
        (&["dev", "--seed", "short.toml", "--port", "0"], 1, "user a: "),
        (&["dev", "--seed", "reserved.toml", "--port", "0"], 1, "has the form of an API key's id"),
        (&["dev", "--seed", "nowhere.toml", "--port", "0"], 1, "nowhere.toml cannot be read"),
        (&["dev", "--listen", "0.0.0.0:0", "--clock-control"], 1, "--clock-control"),
        (&["dev", "--seed", "-", "--port", "0", "--exit-with-parent"], 2, "--exit-with-parent"),
        (&["dev", "--port", "0", "--listen", "127.0.0.1:0"], 2, "--listen"),
    ] {
        let ended = home.run(arguments);

        assert_eq!((ended.status, ended.stdout.as_str()), (status, ""), "{ended:?}");
        assert!(ended.stderr.contains(told), "{ended:?}");
    }
}

fn the_pytest_example_passes() {
    let Some(python) = python_that_has("fastapi, httpx, jwt, pytest") else {
        missing(String::from(
            "no Python with pytest and FastAPI here: set GRANTD_TEST_PYTHON to one that has examples/pytest/requirements.txt installed",
        ))
    };
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pytest");
    let ended = Command::new(python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .current_dir(example)
        .env("GRANTD", env!("CARGO_BIN_EXE_grantd"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("no_proxy", "127.0.0.1")
        .stdin(Stdio::null())
        .output()
        .expect("it runs");

    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    assert!(said.contains("passed") && !said.contains("skipped"), "{said}");
}
