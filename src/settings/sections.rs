//! One function per section: each line reads a key, then come the rules on several together. Knows no sources.
//!
//! A section reads all of its keys before it gives up on one, so that all mistakes come out at once.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::mistake::Reported;
use super::reader::Reader;
use super::{
    Cors, Database, DatabaseUrl, Dpop, Issuer, Keys, Log, LogFormat, Management, Passwords, Server, Settings,
    Status, Stderr, Telemetry, Throttle, Tls, Tokens, values,
};
use crate::model::key::SigningAlgorithm;
use crate::model::time::Ttl;

/// More than any machine runs; tells a slip of the finger from a number.
const MOST_THREADS: usize = 1024;

/// Beyond it a status list is of no use.
const LONGEST_STATUS_TTL: Ttl = Ttl::from_secs(24 * 60 * 60);

/// OWASP's password storage cheat sheet: memory in KiB and passes of Argon2id with one lane, each pair enough.
const OWASP_ARGON2ID: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];

/// Who can reach the server, as far as its issuer tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Real users.
    Network,
    /// Only this machine: passwords of tests and trials may be short, and their hashes cheap.
    Loopback,
}

/// Reads everything.
pub(super) fn read(reader: &mut Reader<'_>, stderr: Stderr) -> Result<Settings, Reported> {
    let listen = reader.required("server.listen", values::address);
    let issuer = reader.required("server.issuer", Issuer::parse);
    // A wrong issuer is one mistake; what depends on it is then judged mildly.
    let reach = match &issuer {
        Ok(issuer) if !issuer.is_loopback() => Reach::Network,
        Ok(_) | Err(_) => Reach::Loopback,
    };

    let server = server(reader, listen, issuer.clone());
    let management = management(reader, listen);
    let database = database(reader);
    let keys = keys(reader, database.as_ref().ok());
    let tokens = tokens(reader, issuer.as_ref().ok());
    let status = status(reader);
    let passwords = passwords(reader, reach);
    let throttle = throttle(reader);
    let require_nonce = reader.required("dpop.require_nonce", values::switch);
    let cors = reader.list("cors.allowed_origins", values::origin);
    let log = log(reader, stderr);
    let telemetry = reader.optional("telemetry.otlp_endpoint", values::endpoint);

    Ok(Settings {
        server: server?,
        management: management?,
        database: database?,
        keys: keys?,
        tokens: tokens?,
        status: status?,
        passwords: passwords?,
        throttle: throttle?,
        dpop: Dpop { require_nonce: require_nonce? },
        cors: Cors { allowed_origins: cors? },
        log: log?,
        telemetry: Telemetry { otlp_endpoint: telemetry? },
    })
}

fn server(
    reader: &mut Reader<'_>,
    listen: Result<SocketAddr, Reported>,
    issuer: Result<Issuer, Reported>,
) -> Result<Server, Reported> {
    let workers = reader.optional("server.workers", values::count(1, MOST_THREADS));
    let cert = reader.optional("server.tls.cert", str::parse::<PathBuf>);
    let key = reader.optional("server.tls.key", str::parse::<PathBuf>);
    let trusted_proxies = reader.list("server.trusted_proxies", values::network);
    let shutdown_grace = reader.required("server.shutdown_grace", str::parse::<Ttl>);
    let docs = reader.required("server.docs", values::switch);

    let tls = match (cert?, key?) {
        (Some(cert), Some(key)) => Ok(Some(Tls { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(reader.refuse("server.tls.cert", "the certificate has no key: set server.tls.key, too"))
        }
        (None, Some(_)) => {
            Err(reader.refuse("server.tls.key", "the key has no certificate: set server.tls.cert, too"))
        }
    };
    let workers = workers?.unwrap_or_else(cores);
    reader.resolve("server.workers", workers);

    Ok(Server {
        listen: listen?,
        issuer: issuer?,
        workers,
        tls: tls?,
        trusted_proxies: trusted_proxies?,
        shutdown_grace: shutdown_grace?,
        docs: docs?,
    })
}

fn management(
    reader: &mut Reader<'_>,
    server_listen: Result<SocketAddr, Reported>,
) -> Result<Management, Reported> {
    let listen = reader.optional("management.listen", values::address)?;

    if let (Some(own), Ok(server)) = (listen, server_listen) {
        let overlap = own.ip() == server.ip() || own.ip().is_unspecified() || server.ip().is_unspecified();
        // Port 0 takes a free one, which is never the same.
        if own.port() == server.port() && own.port() != 0 && overlap {
            return Err(reader.refuse(
                "management.listen",
                format!(
                    "'{own}' is taken by server.listen ({server}): choose another port, or \"\" for none"
                ),
            ));
        }
    }
    Ok(Management { listen })
}

fn database(reader: &mut Reader<'_>) -> Result<Database, Reported> {
    let url = reader.required("database.url", DatabaseUrl::parse);
    let max_connections = reader.optional("database.max_connections", values::count(1, 10_000));
    let migrate = reader.required("database.migrate", values::switch);

    Ok(Database { url: url?, max_connections: max_connections?, migrate: migrate? })
}

fn keys(reader: &mut Reader<'_>, database: Option<&Database>) -> Result<Keys, Reported> {
    let algorithm = reader.required("keys.algorithm", str::parse::<SigningAlgorithm>);
    let rotate_every = positive(reader, "keys.rotate_every");
    let publish_before = positive(reader, "keys.publish_before");
    let encryption_key = reader.optional("keys.encryption_key", values::encryption_key);

    let publish_before = match (rotate_every, publish_before) {
        (Ok(rotate_every), Ok(publish_before)) if publish_before >= rotate_every => Err(reader.refuse(
            "keys.publish_before",
            format!(
                "{publish_before} is not shorter than keys.rotate_every ({rotate_every}), so that no key would be ready in time: shorten this or lengthen that"
            ),
        )),
        (_, publish_before) => publish_before,
    };
    let encryption_key = match (encryption_key, database.map(|database| &database.url)) {
        (Ok(None), Some(DatabaseUrl::Postgres(_))) => Err(reader.refuse(
            "keys.encryption_key",
            "on Postgres all instances share this key, so it must be given: make one by `openssl rand -base64 32` and set GRANTD_KEYS__ENCRYPTION_KEY_FILE to its file",
        )),
        (encryption_key, _) => encryption_key,
    };

    Ok(Keys {
        algorithm: algorithm?,
        rotate_every: rotate_every?,
        publish_before: publish_before?,
        encryption_key: encryption_key?,
    })
}

fn tokens(reader: &mut Reader<'_>, issuer: Option<&Issuer>) -> Result<Tokens, Reported> {
    let access_ttl = positive(reader, "tokens.access_ttl");
    let refresh_ttl = positive(reader, "tokens.refresh_ttl");
    let refresh_idle_ttl = positive(reader, "tokens.refresh_idle_ttl");
    let window = retry_window(reader, "tokens.refresh_retry_window", refresh_idle_ttl);
    let window_public = retry_window(reader, "tokens.refresh_retry_window_public", refresh_idle_ttl);
    let default_audience = reader.optional("tokens.default_audience", values::audience)?;

    if let (None, Some(issuer)) = (&default_audience, issuer) {
        reader.resolve("tokens.default_audience", issuer);
    }

    Ok(Tokens {
        access_ttl: access_ttl?,
        refresh_ttl: refresh_ttl?,
        refresh_idle_ttl: refresh_idle_ttl?,
        refresh_retry_window: window?,
        refresh_retry_window_public: window_public?,
        default_audience,
    })
}

/// A retry is for a token that is still alive; a default that outlives a shortened life shrinks with it.
fn retry_window(
    reader: &mut Reader<'_>,
    name: &'static str,
    refresh_idle_ttl: Result<Ttl, Reported>,
) -> Result<Ttl, Reported> {
    let window = reader.required(name, str::parse::<Ttl>)?;

    match refresh_idle_ttl {
        Ok(idle) if window > idle && reader.was_given(name) => Err(reader.refuse(
            name,
            format!("{window} is longer than tokens.refresh_idle_ttl ({idle}), after which there is nothing to retry: shorten it"),
        )),
        Ok(idle) if window > idle => {
            reader.resolve(name, idle);
            Ok(idle)
        }
        Ok(_) | Err(_) => Ok(window),
    }
}

fn passwords(reader: &mut Reader<'_>, reach: Reach) -> Result<Passwords, Reported> {
    let memory_kib = reader.required("passwords.memory_kib", values::count(8, u32::MAX));
    let iterations = reader.required("passwords.iterations", values::count(1, u32::MAX));
    let parallelism = reader.required("passwords.parallelism", values::count(1, 255));
    let min_length = reader.required("passwords.min_length", values::count(1, 1024));
    // More than the 16 KiB of a request's body never arrives.
    let max_length = reader.required("passwords.max_length", values::count(1, 4096));
    let threads = reader.optional("passwords.threads", values::count(1, MOST_THREADS));
    let queue = reader.optional("passwords.queue", values::count(0, 1_000_000));
    let queue_deadline = positive(reader, "passwords.queue_deadline");

    let memory_kib = match (memory_kib, iterations, parallelism) {
        (Ok(memory_kib), Ok(iterations), Ok(parallelism)) => {
            argon2_memory(memory_kib, iterations, parallelism, reach)
                .map_err(|reason| reader.refuse("passwords.memory_kib", reason))
        }
        (memory_kib, _, _) => memory_kib,
    };
    let min_length = match min_length {
        // NIST SP 800-63B §5.1.1.2 wants 8 at the least.
        Ok(shortest) if shortest < 8 && reach == Reach::Network => Err(reader.refuse(
            "passwords.min_length",
            format!("passwords of {shortest} characters are guessed: ask for at least 8 (fewer only with an issuer on loopback)"),
        )),
        min_length => min_length,
    };
    let max_length = match (min_length, max_length) {
        (Ok(shortest), Ok(longest)) if longest < shortest => Err(reader.refuse(
            "passwords.max_length",
            format!("{longest} bytes are less than passwords.min_length ({shortest}), so that no password would do: raise it"),
        )),
        (_, max_length) => max_length,
    };

    Ok(Passwords {
        memory_kib: memory_kib?,
        iterations: iterations?,
        parallelism: parallelism?,
        min_length: min_length?,
        max_length: max_length?,
        threads: threads?,
        queue: queue?,
        queue_deadline: queue_deadline?,
    })
}

fn argon2_memory(memory_kib: u32, iterations: u32, parallelism: u32, reach: Reach) -> Result<u32, String> {
    // RFC 9106 §3.1: the memory is at least 8 KiB for each lane.
    if memory_kib < 8 * parallelism {
        return Err(format!(
            "{memory_kib} KiB are less than 8 for each of {parallelism} lanes, which Argon2 needs: raise it, or lower passwords.parallelism"
        ));
    }
    let enough = OWASP_ARGON2ID.iter().any(|(memory, passes)| memory_kib >= *memory && iterations >= *passes);
    if reach == Reach::Network && !enough {
        return Err(format!(
            "{memory_kib} KiB in {iterations} passes are less than OWASP's minimum, so that a stolen database is guessed too soon: use 19456 and passwords.iterations 2, or 12288 and 3, 9216 and 4, 7168 and 5 (cheaper ones only with an issuer on loopback)"
        ));
    }
    Ok(memory_kib)
}

fn throttle(reader: &mut Reader<'_>) -> Result<Throttle, Reported> {
    let free_attempts = reader.required("throttle.free_attempts", values::count(0, 1_000_000));
    let max_delay = positive(reader, "throttle.max_delay");
    // With 0 nobody could log in at all.
    let daily_limit = reader.required("throttle.daily_limit", values::count(1, 1_000_000));

    Ok(Throttle { free_attempts: free_attempts?, max_delay: max_delay?, daily_limit: daily_limit? })
}

fn log(reader: &mut Reader<'_>, stderr: Stderr) -> Result<Log, Reported> {
    let format = reader.optional("log.format", values::log_format);
    let level = reader.required("log.level", values::log_level);

    let format = format?.unwrap_or(match stderr {
        Stderr::Terminal => LogFormat::Pretty,
        Stderr::File => LogFormat::Json,
    });
    reader.resolve("log.format", format.as_str());

    Ok(Log { format, level: level? })
}

/// A length of time that is not zero.
fn status(reader: &mut Reader<'_>) -> Result<Status, Reported> {
    let ttl = positive(reader, "status.ttl")?;
    if ttl > LONGEST_STATUS_TTL {
        return Err(reader.refuse(
            "status.ttl",
            format!(
                "{ttl} is how long a revoked token would still be taken: give at most {LONGEST_STATUS_TTL}"
            ),
        ));
    }
    Ok(Status { ttl })
}

fn positive(reader: &mut Reader<'_>, name: &'static str) -> Result<Ttl, Reported> {
    let ttl = reader.required(name, str::parse::<Ttl>)?;
    if ttl.is_zero() {
        return Err(reader.refuse(name, "0s is no time at all, so that nothing would work: give at least 1s"));
    }
    Ok(ttl)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
