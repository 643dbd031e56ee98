//! A Postgres of one test's own, as durable as in production, that may be restarted, killed and failed over. Knows
//! nothing of grantd.
//!
//! Always a throwaway cluster of this machine's programs: the server of `GRANTD_TEST_POSTGRES_URL` is not ours to stop.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::database::apart;
use super::postgres::{Cluster, Programs, find_programs};
use super::runner::not_here;

/// The cluster; gone with the value.
pub(crate) struct OwnPostgres {
    programs: Programs,
    cluster: Option<Cluster>,
}

/// How a Postgres ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// In good order, but without waiting for anybody: `pg_ctl -m fast`.
    Fast,
    /// As in a crash: the next start recovers from the log. `pg_ctl -m immediate`.
    Immediate,
}

impl Mode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

impl OwnPostgres {
    /// An empty cluster, running; ends the test as ignored where the programs are missing.
    pub(crate) fn start() -> Self {
        let nowhere = std::env::var_os("GRANTD_TEST_NO_POSTGRES").is_some_and(|value| value == "1");
        let Some(programs) = find_programs().filter(|_| !nowhere) else {
            not_here(String::from("no initdb and pg_ctl here (Debian: postgresql)"))
        };
        let cluster = Cluster::start(&programs, "").unwrap_or_else(|why| panic!("{why}"));
        Self { programs, cluster: Some(cluster) }
    }

    /// Another cluster that follows this one, which from now on answers no commit that the other does not have.
    pub(crate) fn synchronous_standby(&self) -> Self {
        let programs = find_programs().expect("they were here a moment ago");
        let from = self.cluster().path().display().to_string();
        let backup = ["-D", "data", "-h", &from, "-p", "5432", "-U", "grantd", "-R", "-X", "stream"];
        let backup: Vec<&str> = backup.into_iter().chain(["-c", "fast", "--no-sync"]).collect();
        let fill = |at: &std::path::Path| programs.run("pg_basebackup", &backup, at);
        let cluster = Cluster::make(&programs, "", fill).unwrap_or_else(|why| panic!("{why}"));

        self.run("alter system set synchronous_standby_names = '*'");
        self.run("select pg_reload_conf()");
        let streaming =
            "select count(*) from pg_stat_replication where sync_state = 'sync' and state = 'streaming'";
        for _ in 0..200 {
            if self.number(streaming) == 1 {
                return Self { programs, cluster: Some(cluster) };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the standby never followed");
    }

    fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("there until it is dropped")
    }

    /// Its address over its Unix socket, as `database.url` takes it.
    pub(crate) fn url(&self) -> String {
        self.cluster().url().into()
    }

    /// Its Unix socket.
    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.cluster().path().join(".s.PGSQL.5432")
    }

    /// Ends it and starts it again; returns when it takes connections.
    pub(crate) fn restart(&self, mode: Mode) {
        self.control(&["-m", mode.as_str(), "-w", "-t", "60", "-l", "log", "restart"]);
    }

    /// Ends it.
    pub(crate) fn stop(&self, mode: Mode) {
        self.control(&["-m", mode.as_str(), "-w", "stop"]);
    }

    /// Makes a standby the one that is written to; returns when it can be.
    pub(crate) fn promote(&self) {
        self.control(&["-w", "-t", "60", "promote"]);
    }

    fn control(&self, arguments: &[&str]) {
        let arguments: Vec<&str> = ["-D", "data"].into_iter().chain(arguments.iter().copied()).collect();
        let done = self.programs.run("pg_ctl", &arguments, self.cluster().path());
        done.unwrap_or_else(|why| panic!("{why}"));
    }

    fn run(&self, sql: &str) {
        let url = self.url();
        let run = async || {
            let mut connection = PgConnection::connect(&url).await?;
            sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await?;
            connection.close().await
        };
        apart(run).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn number(&self, sql: &str) -> i64 {
        let url = self.url();
        let run = async || {
            let mut connection = PgConnection::connect(&url).await?;
            let number: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await?;
            connection.close().await.map(|()| number)
        };
        apart(run).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        if let Some(cluster) = self.cluster.take() {
            cluster.stop();
        }
    }
}
