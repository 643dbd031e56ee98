//! A Postgres of the bench's own that waits for the disk as any does, and the rate that `pgbench` sees in it.
//!
//! Looks for the programs on PATH and in Debian's directories; where there is none, or it does not start, there are no
//! figures and a sentence says why.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use super::disk::on_runtime;

/// `database.max_connections` by default on Postgres.
const CONNECTIONS: usize = 16;

/// A server that runs; stopped and removed when dropped.
pub(crate) struct Postgres {
    child: Child,
    programs: PathBuf,
    /// Data, and the script of pgbench.
    _directory: TempDir,
    /// A socket's path has about 100 bytes, so it has a directory of its own.
    socket: TempDir,
    script: PathBuf,
}

impl Postgres {
    /// Makes and starts one with its data in `place`.
    pub(crate) fn start(place: &Path) -> Result<Self, String> {
        let programs = find_programs().ok_or("there is no initdb with postgres and pgbench beside it")?;
        let wrong = |error: std::io::Error| error.to_string();
        let directory = tempfile::tempdir_in(place).map_err(wrong)?;
        let socket = tempfile::Builder::new().prefix("grantd-bench-").tempdir_in("/tmp").map_err(wrong)?;
        // Postgres refuses to run as root.
        let account =
            if geteuid().is_root() { Some(account().ok_or("there is no user postgres")?) } else { None };
        if let Some((user, group)) = account {
            for made in [&directory, &socket] {
                chown(made.path(), Some(user), Some(group)).map_err(wrong)?;
            }
        }
        let as_user = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(directory.path()).env("LC_ALL", "C").stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
            if let Some((user, group)) = account {
                command.uid(user).gid(group);
            }
            command
        };
        let made = as_user("initdb")
            .args(["-D", "data", "-U", "grantd", "-A", "trust", "-E", "UTF8", "--no-locale"])
            .status()
            .map_err(wrong)?;
        if !made.success() {
            return Err(format!("initdb ended with {made} (may {} be entered by all?)", place.display()));
        }
        let child = as_user("postgres")
            .args(["-D", "data", "-c", "listen_addresses=", "-c", "max_connections=64", "-k"])
            .arg(socket.path())
            .spawn()
            .map_err(wrong)?;
        let script = directory.path().join("update.sql");
        let postgres = Self { child, programs, _directory: directory, socket, script };
        postgres.furnish()?;
        Ok(postgres)
    }

    /// A process that the rest are children of.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://grantd@localhost/{database}?host={}", self.socket.path().display())
    }

    /// Single-row updates per second, each client with its own connection, as many as grantd has, and its own row.
    pub(crate) fn rate(&self, window: Duration) -> Result<f64, String> {
        let connections = CONNECTIONS.to_string();
        let seconds = window.as_secs().max(1).to_string();
        let output = Command::new(self.programs.join("pgbench"))
            .args(["-n", "-M", "prepared", "-U", "grantd", "-j", "1", "-c", &connections, "-T", &seconds])
            .arg("-h")
            .arg(self.socket.path())
            .arg("-f")
            .arg(&self.script)
            .arg("postgres")
            .output()
            .map_err(|error| format!("pgbench does not run: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.ok_or_else(|| format!("pgbench said no rate: {}", String::from_utf8_lossy(&output.stderr)))
    }

    fn furnish(&self) -> Result<(), String> {
        let begin = Instant::now();
        let connect = async || PgConnection::connect(&self.url("postgres")).await;
        let furnish = async {
            let mut connection = loop {
                match connect().await {
                    Ok(connection) => break connection,
                    Err(error) if begin.elapsed() > Duration::from_secs(20) => return Err(error),
                    Err(_) => thread::sleep(Duration::from_millis(50)),
                }
            };
            for statement in [
                "create database grantd",
                "create table rows_of_clients (id bigint primary key, n bigint not null)",
                "insert into rows_of_clients select n, 0 from generate_series(0, 63) as n",
            ] {
                sqlx::query(statement).execute(&mut connection).await?;
            }
            connection.close().await
        };
        on_runtime(furnish).map_err(|error| format!("Postgres does not start: {error}"))?;
        fs::write(&self.script, "update rows_of_clients set n = n + 1 where id = :client_id;\n")
            .map_err(|error| error.to_string())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // "Fast": ends its sessions, and itself in good order.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let _ = self.child.wait();
    }
}

fn find_programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A link on PATH may stand alone; its target has the other programs beside it.
    let on_path = std::env::split_paths(&path).filter_map(|directory| {
        directory.join("initdb").canonicalize().ok()?.parent().map(Path::to_path_buf)
    });
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = installed.map(|version| version.path().join("bin"));
    on_path.chain(installed).find(|directory| {
        ["initdb", "postgres", "pgbench"].iter().all(|program| directory.join(program).is_file())
    })
}

/// The ids of the user `postgres`.
fn account() -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.starts_with("postgres:"))?;
    let mut ids = line.split(':').skip(2).map(str::parse);
    Some((ids.next()?.ok()?, ids.next()?.ok()?))
}
