//! PyJWT and Authlib, libraries that are not ours: finds a Python that has them, hands tokens to `tests/pyjwt/verify.py`
//! and addresses of status lists to `tests/pyjwt/status_list.py`, and has `tests/pyjwt/authenticate.py` ask for tokens.
//!
//! The Python is `GRANTD_TEST_PYTHON`, else the one that `.ci/run` made in `target/ci-venv`, else `python3`,
//! whichever is first to have `tests/pyjwt/requirements.txt` installed. Without one, the test counts as ignored.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::runner::missing;

/// What a service that takes tokens knows of their issuer.
#[derive(Clone)]
pub(crate) struct Verification {
    pub(crate) jwks_url: String,
    pub(crate) issuer: String,
    pub(crate) audience: String,
}

/// The claims of an access token as PyJWT's `PyJWKClient` accepts it, or its one sentence on why it does not.
///
/// Ends the test as ignored where there is no PyJWT; call it from the test itself, not from a task.
pub(crate) async fn verify_with_pyjwt(how: &Verification, token: &str) -> Result<Value, String> {
    let Verification { jwks_url, issuer, audience } = how.clone();
    let arguments = [("--jwks-url", jwks_url), ("--issuer", issuer), ("--audience", audience)];
    run("verify.py", named(arguments), token).await
}

/// What Python reads in the status list at `url` that the tokens call `uri`: its claims, its size, and which are set.
///
/// Ends the test as ignored where there is no PyJWT; call it from the test itself, not from a task.
pub(crate) async fn read_status_list(jwks_url: &str, url: &str, uri: &str) -> Result<Value, String> {
    let arguments = [("--jwks-url", jwks_url), ("--url", url), ("--uri", uri)];
    run("status_list.py", named(arguments.map(|(name, value)| (name, value.to_owned()))), "").await
}

/// What an OpenAPI library asked of the server at `url` to hold it to the document at `path`, or its complaints.
///
/// Ends the test as ignored where there is no such library; call it from the test itself, not from a task.
pub(crate) async fn hold_to_its_document(url: &str, path: &str, ways: &[Value]) -> Result<Value, String> {
    if python_that_has("openapi_spec_validator").is_none() {
        missing("no Python with openapi-spec-validator here: set GRANTD_TEST_PYTHON to one that has tests/pyjwt/requirements.txt installed".into());
    }
    let arguments = [("--url", url), ("--document", path)].map(|(name, value)| (name, value.to_owned()));
    run("openapi.py", named(arguments), &Value::from(ways).to_string()).await
}

fn named<const N: usize>(arguments: [(&str, String); N]) -> Vec<String> {
    arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

/// What a script prints on being given this.
async fn run(script: &'static str, arguments: Vec<String>, stdin: &str) -> Result<Value, String> {
    let Some(python) = python() else {
        missing(String::from(
            "no Python with PyJWT and Authlib here: set GRANTD_TEST_PYTHON to one that has tests/pyjwt/requirements.txt installed",
        ))
    };
    let stdin = stdin.to_owned();
    // The server that Python asks may run on this very thread.
    let ended =
        actix_web::rt::task::spawn_blocking(move || run_here(python, script, &arguments, &stdin)).await;
    ended.expect("the thread that waits for Python does not panic")
}

/// The answer that a library's client gets with the private key `pem`, or its one sentence on why it gets none.
///
/// Ends the test as ignored where there is no such library; call it from the test itself, not from a task.
pub(crate) async fn authenticate_with(arguments: &[&str], pem: &str) -> Result<Value, String> {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    run("authenticate.py", arguments, pem).await
}

fn run_here(python: &Path, script: &str, arguments: &[String], input: &str) -> Result<Value, String> {
    let mut child = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pyjwt").join(script))
        .args(arguments)
        // A proxy of the machine's is no way to the servers of the tests.
        .env("no_proxy", "127.0.0.1,localhost")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut stdin = child.stdin.take().ok_or("no stdin")?;
    stdin.write_all(input.as_bytes()).map_err(|e| e.to_string())?;
    drop(stdin);

    let output = child.wait_with_output().map_err(|e| e.to_string())?;

    if output.status.success() {
        serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

fn python() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();

    FOUND.get_or_init(|| python_that_has("authlib, requests, jwt")).as_deref()
}

/// The first Python that can import all of these, and elliptic curves.
pub(crate) fn python_that_has(libraries: &str) -> Option<PathBuf> {
    let named = std::env::var_os("GRANTD_TEST_PYTHON").map(PathBuf::from);
    let made = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/ci-venv/bin/python"));
    let mut all = named.into_iter().chain([made, PathBuf::from("python3")]);
    all.find(|python| {
        let mut import = Command::new(python);
        import.arg("-c");
        import.arg(format!("import {libraries}, jwt.algorithms as a; raise SystemExit(not a.has_crypto)"));
        import.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    })
}
