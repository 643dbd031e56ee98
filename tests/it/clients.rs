//! Libraries that others wrote, as they are, against the real binary: each does what it is for. README says which, in what
//! version, and what works; that is what the test saw, in the versions that are pinned.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use actix_web::rt::task::spawn_blocking;
use serde_json::{Value, json};

use crate::outage::until;
use crate::support::database::TestDatabase;
use crate::support::jose::Key;
use crate::support::program::Ended;
use crate::support::python::python_that_has;
use crate::support::runner::{missing, trials};
use crate::support::server::{PASSWORD, client};
use crate::support::services::{built, free_port, node_with_express};
use crate::validators::{AUDIENCE, Issuer};

trials! {
    sqlite: [
        clients_in_python_work_as_readme_says,
        clients_in_node_work_as_readme_says,
        clients_in_rust_work_as_readme_says,
    ],
    plain: [
        readme_names_the_clients_with_the_versions_that_are_pinned,
    ],
}

const PYTHON: &str = "tests/pyjwt/requirements.txt";
const NODE: &str = "tests/clients/package-lock.json";
const RUST: &str = "tests/snippets/rust/Cargo.lock";

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file of this repository")
}

/// A row of README's table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    language: String,
    version: String,
    works: Vec<String>,
}

/// README's table, by the name of the client.
fn rows() -> BTreeMap<String, Row> {
    let readme = file("README.md");
    let lines =
        readme.lines().skip_while(|line| !line.starts_with("| client | language | version |")).skip(2);
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = lines.take_while(|line| line.starts_with('|')).map(|line| match cells(line).as_slice() {
        [_, name, language, version, works, _] => {
            let works = works.split(", ").map(str::to_owned).collect();
            (name.clone(), Row { language: language.clone(), version: version.clone(), works })
        }
        other => panic!("no row: {other:?}"),
    });
    rows.collect()
}

fn readme_names_the_clients_with_the_versions_that_are_pinned() {
    let (python, node, rust) = (file(PYTHON), file(NODE), file(RUST));
    let node: Value = serde_json::from_str(&node).expect("JSON");
    let pinned = |name: &str, language: &str| match language {
        "Python" => python.lines().find_map(|line| {
            let (package, version) = line.split_once("==")?;
            let package = package.split('[').next().unwrap_or(package);
            package.eq_ignore_ascii_case(name).then(|| version.to_owned())
        }),
        "Node" => node["packages"][format!("node_modules/{name}")]["version"].as_str().map(str::to_owned),
        "Rust" => rust.split("[[package]]").find_map(|package| {
            let version = package.strip_prefix(&format!("\nname = \"{name}\"\nversion = \""))?;
            version.split('"').next().map(str::to_owned)
        }),
        other => panic!("nothing in {other} is tested"),
    };
    let rows = rows();
    assert_eq!(rows.len(), 9, "{rows:?}");
    for (name, row) in rows {
        assert_eq!(pinned(&name, &row.language).as_ref(), Some(&row.version), "{name}");
    }
}

/// Runs a program of clients against a server, and compares what it says that works with README.
async fn work_as_readme_says(database: &TestDatabase, language: &str, mut program: Command) {
    let issuer = Issuer::start_at(database, &format!("127.0.0.1:{}", free_port())).await;
    let grants = ["--grant", "client_credentials", "--grant", "password", "--grant", "refresh_token"];
    let app = [&["client", "create", "clients", "--scope", "notes:read"], grants.as_slice()].concat();
    let secret = issuer.home.json(&app)["client_secret"].as_str().expect("a secret").to_owned();
    let key = Key::p256();
    let jwks = issuer.home.path().join("svc.json");
    fs::write(&jwks, json!({"keys": [key.named("svc")]}).to_string()).expect("written");
    let jwks = jwks.to_str().expect("UTF-8");
    let svc =
        ["client", "create", "svc", "--grant", "client_credentials", "--auth-method", "private_key_jwt"];
    issuer.home.json(&[svc.as_slice(), &["--jwks", jwks]].concat());
    let http = client();
    until("the new clients", async || {
        let asked = http.post(format!("{}/token", issuer.url)).basic_auth("clients", Some(&secret));
        let asked = asked.form(&[("grant_type", "client_credentials")]).send().await;
        asked.expect("an answer").status() == 200
    })
    .await;
    let environment = [
        ("ISSUER", issuer.url.as_str()),
        ("AUDIENCE", AUDIENCE),
        ("CLIENT_ID", "clients"),
        ("CLIENT_SECRET", &secret),
        ("USER_NAME", "bob"),
        ("PASSWORD", PASSWORD),
        ("KEY_CLIENT_ID", "svc"),
        ("KEY_PEM", &key.pem()),
        // A proxy of the machine's is no way to the servers of the tests.
        ("no_proxy", "127.0.0.1"),
    ];
    program.envs(environment).stdin(Stdio::null());

    let ended = spawn_blocking(move || Ended::of(program.output().expect("a program that starts"))).await;

    let ended = ended.expect("no panic");
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    let worked: BTreeMap<String, Vec<String>> = serde_json::from_str(&ended.stdout).expect("JSON");
    let mut rows = rows();
    rows.retain(|_, row| row.language == language);
    let said: BTreeMap<_, _> = rows.into_iter().map(|(name, row)| (name, row.works)).collect();
    assert_eq!(worked, said);
    issuer.app.close().await;
}

async fn clients_in_python_work_as_readme_says(database: TestDatabase) {
    let Some(python) = python_that_has("authlib, joserfc, requests_oauthlib") else {
        missing(format!(
            "no Python with these clients here: set GRANTD_TEST_PYTHON to one that has {PYTHON} installed"
        ))
    };
    let mut program = Command::new(python);
    program.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/clients.py"));
    work_as_readme_says(&database, "Python", program).await;
}

async fn clients_in_node_work_as_readme_says(database: TestDatabase) {
    let packages = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/ci-clients"));
    if let Err(what) = node_with_express() {
        missing(what);
    }
    if !packages.join("node_modules/openid-client").is_dir() {
        missing(String::from(
            "no openid-client here: '.ci/run' installs tests/clients/package-lock.json into target/ci-clients",
        ));
    }
    // Where its packages are at hand.
    let script = packages.join("clients.mjs");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/clients.mjs"), &script)
        .expect("copied");
    let mut program = Command::new("node");
    program.arg(script);
    work_as_readme_says(&database, "Node", program).await;
}

async fn clients_in_rust_work_as_readme_says(database: TestDatabase) {
    match built("grantd-clients", "tests/snippets/rust", "src/bin") {
        Ok(program) => work_as_readme_says(&database, "Rust", Command::new(program)).await,
        Err(what) => missing(what),
    }
}
