//! A real Postgres: the one of `GRANTD_TEST_POSTGRES_URL`, else a throwaway cluster from this machine's own
//! `initdb` and `pg_ctl`. Knows nothing of grantd.
//!
//! - `GRANTD_TEST_POSTGRES_URL=postgres://user:password@host/postgres` names a server whose user may create
//!   databases. Those made here begin with `grantd_test_`; a test run that is killed leaves its own behind.
//! - `GRANTD_TEST_NO_POSTGRES=1` acts as if there were none.
//!
//! The cluster listens on a Unix socket under /tmp only, writes nothing durably, never runs as root, and ends
//! with the test process however that ends: a shell waits for the closing of a pipe that only we hold.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;
use url::Url;

use super::database::apart;
use super::runner::missing;

/// The server that this process uses, started at the first call; ends the test as ignored where there is none.
pub(crate) fn server() -> &'static Server {
    match SERVER.get_or_init(Server::find_or_start) {
        Ok(Some(server)) => server,
        Ok(None) => missing(String::from(
            "no Postgres here: set GRANTD_TEST_POSTGRES_URL, or install initdb and pg_ctl (Debian: postgresql)",
        )),
        Err(why) => panic!("{why}"),
    }
}

/// Takes away what [`server`] made; to be called once, after the last test.
pub(crate) fn stop() {
    if let Some(Ok(Some(server))) = SERVER.get() {
        if server.template.get().is_some() {
            server.drop_database(&server.template_name());
        }
        if let Some(cluster) = server.cluster.lock().expect("nobody panics with it").take() {
            cluster.stop();
        }
    }
}

static SERVER: OnceLock<Result<Option<Server>, String>> = OnceLock::new();

/// A running Postgres server.
pub(crate) struct Server {
    /// Connects to a database of the server that exists already.
    url: Url,
    /// Tells our databases from those of other test runs on the same server.
    prefix: String,
    made: AtomicU32,
    template: OnceLock<Result<(), String>>,
    cluster: Mutex<Option<Cluster>>,
}

/// One database; dropped with the value.
pub(crate) struct PostgresDatabase {
    pub(crate) url: String,
    name: String,
    server: &'static Server,
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        self.server.drop_database(&self.name);
    }
}

impl Server {
    fn find_or_start() -> Result<Option<Self>, String> {
        if std::env::var_os("GRANTD_TEST_NO_POSTGRES").is_some_and(|value| value == "1") {
            return Ok(None);
        }
        if let Ok(url) = std::env::var("GRANTD_TEST_POSTGRES_URL") {
            let url = Url::parse(&url).map_err(|e| format!("GRANTD_TEST_POSTGRES_URL is no URL: {e}"))?;
            return Ok(Some(Self::at(url, None)));
        }
        let Some(programs) = find_programs() else { return Ok(None) };
        let cluster = Cluster::start(&programs, FORGETFUL)?;
        Ok(Some(Self::at(cluster.url(), Some(cluster))))
    }

    fn at(url: Url, cluster: Option<Cluster>) -> Self {
        let random = RandomState::new().hash_one(std::process::id());
        Self {
            url,
            prefix: format!("grantd_test_{random:016x}"),
            made: AtomicU32::new(0),
            template: OnceLock::new(),
            cluster: Mutex::new(cluster),
        }
    }

    /// A database without a table.
    pub(crate) fn empty_database(&'static self) -> PostgresDatabase {
        self.database("template1").expect("the Postgres of the tests makes databases")
    }

    /// A copy of the one database that `prepare` was run on: a file copy instead of a migration per test.
    pub(crate) fn copy_of_template<F>(&'static self, prepare: F) -> PostgresDatabase
    where
        F: AsyncFnOnce(&str) -> Result<(), String> + Send,
    {
        let name = self.template_name();
        let prepared = self.template.get_or_init(|| {
            self.run(format!("create database {name} template template1"))?;
            let url = self.url_of(&name);
            apart(async move || prepare(&url).await)
        });
        prepared.clone().expect("a Postgres database migrates");
        self.database(&name).expect("the Postgres of the tests copies databases")
    }

    fn template_name(&self) -> String {
        format!("{}_template", self.prefix)
    }

    fn database(&'static self, template: &str) -> Result<PostgresDatabase, String> {
        let name = format!("{}_{}", self.prefix, self.made.fetch_add(1, Ordering::Relaxed));
        self.run(format!("create database {name} template {template}"))?;
        Ok(PostgresDatabase { url: self.url_of(&name), name, server: self })
    }

    /// Best effort: a test that passed does not fail because its database stays.
    fn drop_database(&self, name: &str) {
        let _stays = self.run(format!("drop database if exists {name} with (force)"));
    }

    fn url_of(&self, database: &str) -> String {
        let mut url = self.url.clone();
        url.set_path(&format!("/{database}"));
        url.into()
    }

    fn run(&self, sql: String) -> Result<(), String> {
        let run = async || {
            let mut connection = PgConnection::connect(self.url.as_str()).await?;
            sqlx::query(AssertSqlSafe(sql.as_str())).execute(&mut connection).await?;
            connection.close().await
        };
        apart(run).map_err(|e| format!("the Postgres of the tests refused `{sql}`: {e}"))
    }
}

/// A server process of our own, its directory, and the shell that outlives us.
pub(super) struct Cluster {
    directory: TempDir,
    watchdog: Child,
}

/// Where the server programs are, and as whom they run.
pub(super) struct Programs {
    directory: PathBuf,
    account: Option<Account>,
}

/// Postgres refuses to run as root; as root we lend it this user and group.
#[derive(Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

impl Programs {
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        // Its own process group: Ctrl-C is for the tests, the watchdog ends the rest in order.
        command.process_group(0).stdin(Stdio::null());
        if let Some(Account { user, group }) = self.account {
            command.uid(user).gid(group);
        }
        command
    }

    /// Runs one of them to its end in a cluster's directory.
    pub(super) fn run(&self, program: &str, arguments: &[&str], at: &Path) -> Result<(), String> {
        let mut command = self.command(self.directory.join(program));
        let output = command.args(arguments).current_dir(at).env("LC_ALL", "C").output();
        let output = output.map_err(|e| format!("cannot run {program}: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        let (said, wrong) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Err(format!(
            "the throwaway Postgres does not start, {program} ended with {}: {said}{wrong}",
            output.status
        ))
    }
}

impl Cluster {
    /// An empty cluster with these settings, running.
    pub(super) fn start(programs: &Programs, settings: &str) -> Result<Self, String> {
        let initdb = ["-D", "data", "-U", "grantd", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"];
        Self::make(programs, settings, |at| programs.run("initdb", &initdb, at))
    }

    /// A cluster whose `data` directory is made by `fill`, with these settings, running.
    pub(super) fn make(
        programs: &Programs,
        settings: &str,
        fill: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<Self, String> {
        // Under /tmp, because a socket's path has about 100 bytes and TMPDIR can be longer.
        let directory = tempfile::Builder::new().prefix("grantd-pg-").tempdir_in("/tmp");
        let directory =
            directory.map_err(|e| format!("cannot make a directory in /tmp for Postgres: {e}"))?;
        let at = directory.path();
        let prepare = |e: std::io::Error| format!("cannot prepare {} for Postgres: {e}", at.display());
        if let Some(Account { user, group }) = programs.account {
            std::os::unix::fs::chown(at, Some(user), Some(group)).map_err(prepare)?;
        }

        // First of all the watchdog, so that nothing stays if we are killed in the midst of this.
        let cluster = Self { watchdog: watchdog(programs, at).map_err(prepare)?, directory };
        match fill(cluster.path()).and_then(|()| cluster.configure(programs, settings)) {
            Ok(()) => Ok(cluster),
            Err(mut why) => {
                let log = std::fs::read_to_string(cluster.directory.path().join("log")).unwrap_or_default();
                let _ = write!(why, "\n{log}");
                cluster.stop();
                Err(why)
            }
        }
    }

    fn configure(&self, programs: &Programs, settings: &str) -> Result<(), String> {
        let at = self.path();
        let configure = |e: std::io::Error| format!("cannot configure the throwaway Postgres: {e}");
        let file = at.join("data/postgresql.conf");
        let written = std::fs::read_to_string(&file).map_err(configure)?;
        std::fs::write(&file, written + &place(at) + settings).map_err(configure)?;

        programs.run("pg_ctl", &["-D", "data", "-l", "log", "-w", "-t", "60", "start"], at)
    }

    /// Its directory: data in `data`, what the server says in `log`, its socket beside them.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A database of it that is there from the beginning.
    pub(super) fn url(&self) -> Url {
        let mut url = Url::parse("postgres://grantd@localhost:5432/postgres").expect("a URL");
        url.query_pairs_mut().append_pair("host", &self.directory.path().to_string_lossy());
        url
    }

    /// Ends it for good.
    pub(super) fn stop(mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

fn place(directory: &Path) -> String {
    format!(
        "
listen_addresses = ''
unix_socket_directories = '{}'
port = 5432
max_connections = 400
autovacuum = off
",
        directory.display()
    )
}

/// For tests that stop no Postgres: nothing waits for the disk.
const FORGETFUL: &str = "
fsync = off
synchronous_commit = off
full_page_writes = off
";

/// Starts what stops the cluster when the other end of its stdin closes: in [`stop`], or when we are killed.
fn watchdog(programs: &Programs, at: &Path) -> std::io::Result<Child> {
    let script = r#"read -r _; "$1/pg_ctl" -D data -m immediate -w stop; cd /; rm -rf "$2""#;
    let mut command = programs.command("/bin/sh");
    command.args(["-c", script, "grantd-test-postgres"]).arg(&programs.directory).arg(at).current_dir(at);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// The first place with both programs: PATH, Debian's and Red Hat's directories from the newest version down, `pg_config`.
pub(super) fn find_programs() -> Option<Programs> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&on_path).filter_map(|directory| {
        // A link on PATH may stand alone; its target has the other programs beside it.
        let initdb = directory.join("initdb").canonicalize().ok()?;
        initdb.parent().map(Path::to_path_buf)
    });
    let configured = || {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
    };

    let complete =
        |directory: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|p| directory.join(p).is_file());
    let directory = on_path
        .chain(versioned_directories())
        .chain(std::iter::once_with(configured).flatten())
        .find(complete)?;
    let is_root = rustix::process::geteuid().is_root();
    Some(Programs { directory, account: if is_root { account() } else { None } })
}

fn versioned_directories() -> Vec<PathBuf> {
    let installed = |parent: &str, prefix: &str| -> Vec<(u32, PathBuf)> {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let version = |name: &str| name.strip_prefix(prefix)?.parse().ok();
        entries.filter_map(|e| Some((version(e.file_name().to_str()?)?, e.path().join("bin")))).collect()
    };
    let mut found = installed("/usr/lib/postgresql", "");
    found.extend(installed("/usr", "pgsql-"));
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, directory)| directory).collect()
}

/// The ids of `postgres`, else of `nobody`.
fn account() -> Option<Account> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    ["postgres", "nobody"].iter().find_map(|name| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(str::parse);
        Some(Account { user: ids.next()?.ok()?, group: ids.next()?.ok()? })
    })
}
