//! The real binary in a directory of its own, furnished by its own commands, and what the system says of it.
//!
//! Everything is at its default but the addresses, so that what is measured is what is shipped.

use std::fs::{File, read_to_string};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::wire::basic;

/// The password of every user.
pub(crate) const PASSWORD: &str = "correct-horse-battery-staple";

/// A directory with a database, and the settings that differ from the defaults.
pub(crate) struct House {
    directory: TempDir,
    settings: Vec<(String, String)>,
}

impl House {
    /// An empty directory, beside what cargo builds unless `BENCH_DIR` says where.
    pub(crate) fn new(settings: &[(&str, String)]) -> Self {
        let place = std::env::var("BENCH_DIR").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").to_owned());
        let directory = tempfile::tempdir_in(place).expect("a directory for the database");
        let addresses = [("GRANTD_SERVER__LISTEN", "127.0.0.1:0"), ("GRANTD_MANAGEMENT__LISTEN", "")];
        let addresses = addresses.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Self { directory, settings: addresses.into_iter().chain(settings).collect() }
    }

    /// Registers a client for every grant and gives the header with which it authenticates.
    pub(crate) fn client(&self, id: &str) -> String {
        self.client_with(id, &[])
    }

    /// The same, with more arguments.
    pub(crate) fn client_with(&self, id: &str, more: &[&str]) -> String {
        let grants = ["password", "client_credentials", "refresh_token"];
        let grants = grants.iter().flat_map(|grant| ["--grant", grant]);
        let arguments = ["client", "create", id, "--scope", "read"].into_iter().chain(grants);
        let arguments: Vec<&str> = arguments.chain(more.iter().copied()).collect();
        let made = self.run(&arguments, "");
        basic(id, made["client_secret"].as_str().expect("a secret"))
    }

    /// Registers `user-0` to `user-N`.
    pub(crate) fn users(&self, count: usize) {
        for number in 0..count {
            self.run(&["user", "create", &format!("user-{number}"), "--password-stdin"], PASSWORD);
        }
    }

    /// Starts the server and waits until it listens.
    pub(crate) fn serve(&self) -> Served {
        let log = self.path().join("log");
        let file = File::create(&log).expect("a file for the log");
        let started = Instant::now();
        let child = self.command(&["serve"]).stderr(file).spawn().expect("the binary starts");
        let mut served = Served { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        loop {
            let said = read_to_string(&log).unwrap_or_default();
            let event = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(address) = event.filter_map(|event| event["listen"].as_str()?.parse().ok()).next() {
                served.address = address;
                return served;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "no server listens: {said}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The working directory of its commands.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grantd"));
        command.args(arguments).current_dir(self.path()).env_clear();
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs a command that must succeed and gives its JSON.
    fn run(&self, arguments: &[&str], input: &str) -> Value {
        let mut command = self.command(arguments);
        command.arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("a command that reads");
        let ended = child.wait_with_output().expect("the binary ends");
        assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
        serde_json::from_slice(&ended.stdout).expect("JSON")
    }
}

/// A running server; killed when dropped.
pub(crate) struct Served {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Served {
    /// Memory in use right now, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory that was ever in use, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it in good order.
    pub(crate) fn stop(mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("our own child");
        let _ended = self.child.wait();
    }

    fn status(&self, wanted: &str) -> u64 {
        let status = read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(wanted)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
