//! The services of `examples/validators` as processes: what a backend behind grantd is. Knows how each is started, and not
//! what it should answer.
//!
//! Python is `GRANTD_TEST_PYTHON` or what `.ci/run` made in target/ci-venv; Node's packages are in target/ci-node or beside
//! the example; the Rust one is built beside the binary under test. Where one is missing, the others are tested, and the
//! test counts as ignored.

use std::fmt::Debug;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use super::python::python_that_has;
use super::runner::missing;
use super::server::Answer;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/validators");

/// In what a service is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    FastApi,
    Express,
    Actix,
}

impl Kind {
    const ALL: [Self; 3] = [Self::FastApi, Self::Express, Self::Actix];

    /// Those that this machine has all for.
    pub(crate) fn here() -> Vec<Self> {
        Self::ALL.into_iter().filter(|kind| command(*kind, 0, Path::new("")).is_ok()).collect()
    }

    /// Ends the test as ignored where one was left out; call it at the end of the test itself, not from a task.
    pub(crate) fn none_is_missing() {
        for kind in Self::ALL {
            if let Err(what) = command(kind, 0, Path::new("")) {
                missing(what);
            }
        }
    }
}

/// A running service; killed when dropped.
pub(crate) struct Service<K = Kind> {
    /// What it is.
    pub(crate) kind: K,
    child: Child,
    directory: TempDir,
    http: reqwest::Client,
    url: String,
}

impl Service {
    /// Starts one that takes tokens of `issuer` for `audience`, and waits until it answers.
    pub(crate) async fn start(kind: Kind, issuer: &str, audience: &str, fail_open: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let mut command = command(kind, port, directory.path()).expect("seen to be here");
        command.env("PORT", port.to_string()).env("ISSUER", issuer).env("AUDIENCE", audience);
        command.env("FAIL_OPEN", fail_open);
        Self::run(kind, command, directory, &format!("127.0.0.1:{port}")).await
    }
}

impl<K: Debug> Service<K> {
    /// Starts one that lives in this directory and listens there, and waits until it answers.
    pub(crate) async fn run(kind: K, mut command: Command, directory: TempDir, listen: &str) -> Self {
        let log = File::create(directory.path().join("log")).expect("a file");
        // A proxy of the machine's is no way to the servers of the tests.
        command.env("no_proxy", "127.0.0.0/8,127.0.0.1,127.31.9.68");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{kind:?} does not start: {error}"));
        let (http, url) = (super::server::client(), format!("http://{listen}"));
        let mut service = Self { kind, child, directory, http, url };
        service.until_it_answers().await;
        service
    }

    async fn until_it_answers(&mut self) {
        for _ in 0..1200 {
            if self.http.get(format!("{}/me", self.url)).send().await.is_ok() {
                return;
            }
            let ended = self.child.try_wait().expect("a process");
            assert!(ended.is_none(), "{:?} ended: {}", self.kind, self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{:?} does not answer: {}", self.kind, self.log());
    }

    /// What it answers at `path` to somebody with this token.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.get_as(path, Some(&format!("Bearer {token}"))).await
    }

    /// What it answers at `path` to this Authorization header.
    pub(crate) async fn get_as(&self, path: &str, authorization: Option<&str>) -> Answer {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        let answer = request.send().await;
        Answer::of(answer.unwrap_or_else(|error| panic!("{:?}: {error}: {}", self.kind, self.log()))).await
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.directory.path().join("log")).expect("a file");
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl<K> Drop for Service<K> {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago, for processes that must be told theirs.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// How a service is started in this directory, or what is missing for it.
fn command(kind: Kind, port: u16, directory: &Path) -> Result<Command, String> {
    match kind {
        Kind::FastApi => fast_api(port),
        Kind::Express => express(directory),
        Kind::Actix => actix(),
    }
}

fn fast_api(port: u16) -> Result<Command, String> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| python_that_has("fastapi, httpx, jwt, uvicorn"));
    let python = python.as_ref().ok_or(
        "no Python with FastAPI here: set GRANTD_TEST_PYTHON to one that has examples/validators/python/requirements.txt installed",
    )?;
    let mut command = Command::new(python);
    command.args(["-m", "uvicorn", "service:app", "--no-access-log", "--port", &port.to_string()]);
    command.current_dir(Path::new(EXAMPLES).join("python")).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

fn express(directory: &Path) -> Result<Command, String> {
    let modules = node_with_express()?;
    if directory.is_dir() {
        // Copied to where its packages are at hand, wherever they are.
        for name in ["package.json", "service.js", "grantd-validator.js"] {
            let copied = std::fs::copy(Path::new(EXAMPLES).join("node").join(name), directory.join(name));
            copied.map_err(|error| error.to_string())?;
        }
        symlink(modules, directory.join("node_modules")).map_err(|error| error.to_string())?;
    }
    let mut command = Command::new("node");
    command.arg("service.js").current_dir(directory);
    Ok(command)
}

/// Where the packages of Node's example are, if there is a Node that is new enough for them.
pub(crate) fn node_with_express() -> Result<PathBuf, String> {
    let beside = Path::new(EXAMPLES).join("node/node_modules");
    let made = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/ci-node/node_modules"));
    let found = [made, beside].into_iter().find(|modules| modules.join("jose").is_dir());
    let modules = found.ok_or("no Express and no jose here: run 'npm ci' in examples/validators/node")?;
    let is_old = "process.exit(Number.parseInt(process.versions.node) < 20 ? 1 : 0)";
    if !Command::new("node").args(["-e", is_old]).status().is_ok_and(|status| status.success()) {
        return Err("no Node 20 or newer here: install it".into());
    }
    Ok(modules)
}

fn actix() -> Result<Command, String> {
    built("grantd-validator-example", "examples/validators/rust", "src").map(Command::new)
}

/// A program that `.ci/run` builds beside grantd out of this package, if it is newer than the package's sources.
pub(crate) fn built(name: &str, package: &str, sources: &str) -> Result<PathBuf, String> {
    let binary = Path::new(env!("CARGO_BIN_EXE_grantd")).with_file_name(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(package);
    let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let files = std::fs::read_dir(root.join(sources)).expect("sources").flatten().map(|entry| entry.path());
    let newest = files.chain([root.join("Cargo.lock")]).filter_map(|path| modified(&path)).max();
    if modified(&binary) < newest {
        return Err(format!(
            "no up-to-date {} here: run 'cargo build --manifest-path {package}/Cargo.toml --target-dir target'",
            binary.display()
        ));
    }
    Ok(binary)
}
