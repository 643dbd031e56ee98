//! Headless Chromium, driven by the scripts of `tests/browser` with Playwright; what axe-core finds comes with it. Knows
//! how they are started, and not what they should see.
//!
//! The packages are in target/ci-browser, where `.ci/run` puts them, or beside the scripts after `npm ci`. Where they, Node
//! or the browser are missing, the test counts as ignored.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::runner::missing;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser");

/// What a script prints on being given this, with `browser` put in.
///
/// Ends the test as ignored where there is no browser; call it from the test itself, not from a task.
pub(crate) async fn browse(script: &'static str, mut input: Value) -> Value {
    let browser = which("chromium").or_else(|| which("chromium-browser"));
    let Some(browser) = browser else {
        missing("no chromium here: install Debian's package chromium".into())
    };
    let beside = Path::new(SCRIPTS).join("node_modules");
    let made = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/ci-browser/node_modules"));
    let Some(modules) = [made, beside].into_iter().find(|modules| modules.join("playwright-core").is_dir())
    else {
        missing("no playwright-core here: run 'npm ci' in tests/browser".into())
    };
    if which("node").is_none() {
        missing("no node here: install Node 20 or newer".into());
    }
    input["browser"] = browser.to_string_lossy().into_owned().into();
    // The server that the browser asks may run on this very thread.
    let ran = actix_web::rt::task::spawn_blocking(move || run(script, &modules, &input)).await;
    ran.expect("the thread that waits for the browser does not panic")
        .unwrap_or_else(|error| panic!("{script}: {error}"))
}

fn run(script: &str, modules: &Path, input: &Value) -> Result<Value, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    // Copied to where their packages are at hand, wherever they are.
    for name in ["package.json", "browser.mjs", script] {
        let copied = std::fs::copy(Path::new(SCRIPTS).join(name), directory.path().join(name));
        copied.map_err(|error| format!("{name}: {error}"))?;
    }
    symlink(modules, directory.path().join("node_modules")).map_err(|error| error.to_string())?;
    let mut command = Command::new("node");
    command.arg(script).current_dir(directory.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().ok_or("no stdin")?;
    stdin.write_all(input.to_string().as_bytes()).map_err(|error| error.to_string())?;
    drop(stdin);

    let output = child.wait_with_output().map_err(|error| error.to_string())?;

    match output.status.success() {
        true => serde_json::from_slice(&output.stdout).map_err(|error| error.to_string()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}
