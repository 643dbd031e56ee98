//! Files, environment and flags in; typed settings that are right, or every mistake at once, out.
//! Opens no database and binds no address; nobody below the doors sees this module.
//!
//! To add a setting: a field here, a row in `schema.rs`, a line in `sections.rs` that reads it, and a line in
//! `config/default.toml`; the tests name whichever is missing.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use url::Url;

use crate::model::key::SigningAlgorithm;
use crate::model::secret::PlainSecret;
use crate::model::time::Ttl;

mod database_url;
mod issuer;
mod layers;
mod mistake;
mod reader;
mod schema;
mod sections;
mod values;

#[cfg(test)]
mod tests;

pub use crate::model::log_level::LogFormat;
pub use database_url::{DatabaseUrl, InvalidDatabaseUrl};
pub use issuer::{InvalidIssuer, Issuer};
pub use mistake::{Mistake, SettingsErrors};

/// `config/default.toml`: what applies where nobody has said anything.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Lays defaults, file, environment and flags over one another, the later winning, and reads the result.
///
/// # Errors
/// Every unknown name, wrong type, unreadable file and unsafe value of all sources, one sentence each. If the
/// settings file itself cannot be read, only the mistakes in names and types of the others.
pub fn load(sources: &Sources) -> Result<Loaded, SettingsErrors> {
    load_with(sources, |path| std::fs::read_to_string(path))
}

/// As [`load`], with the settings file and the files of secrets read by `read`; touches no file system itself.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    sources: &Sources,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<Loaded, SettingsErrors> {
    let mut mistakes = mistake::Mistakes::default();
    let loaded = layers::gather(sources, &read, &mut mistakes).and_then(|found| {
        let mut reader = reader::Reader::new(found, &mut mistakes);
        let settings = sections::read(&mut reader, sources.stderr)?;
        Ok(Loaded { settings, report: reader.report() })
    });
    mistakes.conclude(loaded)
}

/// Where settings come from. Everything is handed in, so that tests touch no process environment.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file of `--config`; without it that of the variable `GRANTD_CONFIG`, if set.
    pub file: Option<PathBuf>,
    /// The process environment; names that do not begin with `GRANTD_` are passed over.
    pub environment: Vec<(String, String)>,
    /// Flags that set a key.
    pub flags: Vec<Flag>,
    /// What stderr is, which decides the log's format where `log.format` does not.
    pub stderr: Stderr,
}

impl Sources {
    /// The sources of this process.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        use std::io::IsTerminal as _;

        // A value that is not UTF-8 is told from the others by U+FFFD and refused by name.
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .filter(|(name, _)| name.starts_with(schema::PREFIX))
            .collect();
        let stderr = if std::io::stderr().is_terminal() { Stderr::Terminal } else { Stderr::File };
        Self { file, environment, flags, stderr }
    }
}

/// What stderr is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stderr {
    /// A person reads it.
    Terminal,
    /// A program reads it: a file, a pipe, a journal.
    #[default]
    File,
}

/// A setting from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The key it sets, such as `server.listen`.
    pub key: &'static str,
    /// Its value, written as in the environment.
    pub value: String,
    /// The flag as people type it, `--listen`; or the command that implies it, `dev`.
    pub name: &'static str,
}

impl Flag {
    fn origin(&self) -> String {
        if self.name.starts_with('-') {
            format!("flag {}", self.name)
        } else {
            format!("command {}", self.name)
        }
    }
}

/// The settings in force and where each came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Every key, in the order of `config/default.toml`.
    pub report: Vec<Shown>,
}

/// One key for `config show`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    /// Its name.
    pub key: &'static str,
    /// Its value in force; in parentheses where the value is secret or follows from something else.
    pub value: String,
    /// `default`, `file PATH:LINE`, `environment VARIABLE`, `flag --NAME` or `command NAME`.
    pub origin: String,
}

/// Every setting, parsed and checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `server.*`
    pub server: Server,
    /// `management.*`
    pub management: Management,
    /// `database.*`
    pub database: Database,
    /// `keys.*`
    pub keys: Keys,
    /// `tokens.*`
    pub tokens: Tokens,
    /// `status.*`
    pub status: Status,
    /// `passwords.*`
    pub passwords: Passwords,
    /// `throttle.*`
    pub throttle: Throttle,
    /// `cors.*`
    pub cors: Cors,
    /// `dpop.*`
    pub dpop: Dpop,
    /// `log.*`
    pub log: Log,
    /// `telemetry.*`
    pub telemetry: Telemetry,
}

/// The listener that clients reach.
#[derive(Clone, Debug)]
pub struct Server {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The exact `iss`.
    pub issuer: Issuer,
    /// Threads that serve requests; as many as cores unless given.
    pub workers: usize,
    /// The certificate, if TLS ends here.
    pub tls: Option<Tls>,
    /// Whose `Forwarded` and `X-Forwarded-For` are believed. IPv4 networks match IPv4 addresses only, so that
    /// an IPv4-mapped peer must be made canonical before it is looked up.
    pub trusted_proxies: Vec<IpNet>,
    /// How long requests in flight may take to finish after SIGTERM.
    pub shutdown_grace: Ttl,
    /// Whether `/docs` and `/openapi.json` are there.
    pub docs: bool,
}

/// PEM files, read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The listener for operators.
#[derive(Clone, Debug)]
pub struct Management {
    /// Address and port; `None` is off.
    pub listen: Option<SocketAddr>,
}

/// The database.
#[derive(Clone, Debug)]
pub struct Database {
    /// Which one.
    pub url: DatabaseUrl,
    /// Connections at most; `None` leaves it to the storage.
    pub max_connections: Option<u32>,
    /// Whether the schema is brought up to date at the start.
    pub migrate: bool,
}

/// Signing keys and the key that seals them.
#[derive(Clone, Debug)]
pub struct Keys {
    /// What new keys are made for.
    pub algorithm: SigningAlgorithm,
    /// How long a key signs; longer than `publish_before`.
    pub rotate_every: Ttl,
    /// How long a key is published before it signs; at least a second.
    pub publish_before: Ttl,
    /// 32 bytes in base64, in the standard or the URL-safe alphabet, with or without padding; `None` only on SQLite.
    pub encryption_key: Option<PlainSecret>,
}

/// How long tokens live and whom they are for.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Life of an access token; at least a second.
    pub access_ttl: Ttl,
    /// Life of a refresh-token family; at least a second.
    pub refresh_ttl: Ttl,
    /// Life of an unused refresh token; at least a second.
    pub refresh_idle_ttl: Ttl,
    /// How long a client that authenticates may ask again for a lost answer; at most `refresh_idle_ttl`.
    pub refresh_retry_window: Ttl,
    /// The same for a public client; zero is never.
    pub refresh_retry_window_public: Ttl,
    /// The `aud` where nobody names one; `None` is the issuer.
    pub default_audience: Option<String>,
}

/// The status lists that validators look revoked tokens up in.
#[derive(Clone, Debug)]
pub struct Status {
    /// How long a validator may use one before it looks for a newer one; a second to a day.
    pub ttl: Ttl,
}

/// Passwords and what hashing them may cost.
#[derive(Clone, Debug)]
pub struct Passwords {
    /// Argon2id's memory, at least 8 KiB per lane.
    pub memory_kib: u32,
    /// Argon2id's passes.
    pub iterations: u32,
    /// Argon2id's lanes.
    pub parallelism: u32,
    /// The shortest password, in characters.
    pub min_length: usize,
    /// The longest password, in bytes.
    pub max_length: usize,
    /// Hashing threads; `None` is by cores.
    pub threads: Option<usize>,
    /// Logins that may wait for a thread; `None` is by threads.
    pub queue: Option<usize>,
    /// How long a login may wait for a thread.
    pub queue_deadline: Ttl,
}

/// What failed logins cost.
#[derive(Clone, Debug)]
pub struct Throttle {
    /// Failures before the first wait.
    pub free_attempts: u32,
    /// The longest wait.
    pub max_delay: Ttl,
    /// Failures in a day before the rest are refused.
    pub daily_limit: u32,
}

/// What proofs of possession must be like.
#[derive(Clone, Debug)]
pub struct Dpop {
    /// Whether each must hold a nonce of this server.
    pub require_nonce: bool,
}

/// Whose pages may call the token endpoints.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Exact origins, as browsers send them.
    pub allowed_origins: Vec<String>,
}

/// The log on stderr.
#[derive(Clone, Debug)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// A filter directive of `tracing_subscriber::EnvFilter`, known to parse.
    pub level: String,
}

/// Traces for a collector.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Where to; `None` is nowhere.
    pub otlp_endpoint: Option<Url>,
}
