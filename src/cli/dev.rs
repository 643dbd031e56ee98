//! `grantd dev`: a server to try things out on, with a throwaway database and something in it. Never for production.

mod seeded;
mod throwaway;
mod welcome;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::app::clock::Clock;
use crate::model::client::{GrantType, Registration};
use crate::model::declared::{Declared, DeclaredClient, DeclaredRole, DeclaredUser};
use crate::model::secret::PlainSecret;
use crate::settings::{Flag, Loaded};
use crate::startup::Server;

use self::seeded::Seeded;
use self::throwaway::Throwaway;
use self::welcome::{Demo, Places, welcome};
use super::document::Secrets;
use super::failure::Failure;
use super::{apply, output, settings};

const EXAMPLES: &str = "\
Everything is made anew at each start and gone at its end. Settings count as for 'serve', except for
database, issuer, TLS, management listener and, on loopback, the cost of passwords. Never for production.

In tests:
  grantd dev --seed seed.toml --port 0 --json --clock-control --exit-with-parent

The seed is a file of 'grantd apply', in which client_secret and password may stand. The line of JSON has
the issuer, what was seeded, and the environment in which other commands of grantd work on this server.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct DevCommand {
    /// Where to listen; port 0 takes a free one [default: server.listen, which is 127.0.0.1:8080 by default]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Listen on this port of 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "PORT", conflicts_with = "listen")]
    port: Option<u16>,
    /// Make the clients, roles and users of this file, or of - for stdin, in the place of the demo's
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// Print one line of JSON once requests are taken, in the place of curl lines
    #[arg(long)]
    json: bool,
    /// Let GET and POST /clock of the management listener tell and move the server's clock
    #[arg(long)]
    clock_control: bool,
    /// End when stdin is closed, as it is when the process that holds its other end is gone
    #[arg(long)]
    exit_with_parent: bool,
}

const CLIENT: &str = "demo";
const USER: &str = "alice";
const PASSWORD: &str = "correct-horse-battery-staple";
const ROLE: &str = "editor";

pub(super) async fn run(config: Option<&Path>, command: DevCommand) -> Result<(), Failure> {
    if command.exit_with_parent && command.seed.as_deref().is_some_and(|path| path.as_os_str() == "-") {
        return Err(Failure::WrongCommandLine(
            "a seed on stdin ends with stdin, and so would the server: name a file with --seed, or leave --exit-with-parent out".into(),
        ));
    }
    let is_demo = command.seed.is_none();
    let declared = match &command.seed {
        Some(path) => apply::read(path, Secrets::InPlain)?,
        None => demo()?,
    };
    // Deleted when it is dropped, which is when the server has stopped.
    let directory = Throwaway::make().map_err(|error| {
        Failure::because(format!(
            "no throwaway directory can be made ({error}): set TMPDIR to a writable one"
        ))
    })?;
    let listen = command.port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).or(command.listen);
    let loaded = throwaway_settings(config, &directory, listen)?;
    let address = loaded.settings.server.listen;
    if command.clock_control && !address.ip().is_loopback() {
        return Err(Failure::because(format!(
            "the clock of a server on {address} is not for anybody to move: listen on loopback, for example with --port 0, or leave --clock-control out"
        )));
    }
    let _logs = settings::log_as_server(&loaded)?;

    let clock = if command.clock_control { Clock::shifted() } else { Clock::System };
    let server = Server::build(&loaded.settings, clock).await?;
    let applied = server.app().apply(&declared, &[]).await?;

    let places = Places {
        issuer: loaded.settings.server.issuer.as_str(),
        management: server.management_address(),
        has_clock: command.clock_control,
    };
    let text = match (command.json, is_demo, &applied.generated[..]) {
        (false, true, [(_, secret)]) => {
            welcome(&places, &Demo { client: CLIENT, secret, user: USER, password: PASSWORD, role: ROLE })
        }
        (json, _, generated) => {
            let seeded =
                Seeded::read(server.app(), &places, &declared, generated, environment(&loaded)).await?;
            if json { output::json_line(&seeded)? } else { seeded.for_people(&places) }
        }
    };
    match output::write(&text) {
        // Whoever reads the curl lines may be content with the first.
        Ok(()) | Err(Failure::NobodyReads) => {}
        Err(failure) => return Err(failure),
    }
    let parent = async {
        match command.exit_with_parent {
            true => end_of_stdin().await,
            false => std::future::pending().await,
        }
    };
    Ok(server.run_until_stopped_or(parent).await?)
}

/// A client for all grants that need no other service, and a user whose role gives them one more scope.
fn demo() -> Result<Declared, Failure> {
    let registration = Registration {
        name: Some("Demo".into()),
        grant_types: vec![GrantType::ClientCredentials, GrantType::Password, GrantType::RefreshToken],
        scope: "notes:read notes:write".parse()?,
        ..Registration::default()
    };
    let description = Some("may change notes".to_owned());
    let role = DeclaredRole { name: ROLE.parse()?, scope: "notes:write".parse()?, description };
    let client = DeclaredClient { id: CLIENT.parse()?, registration, secret: None, enabled: None };
    let user = DeclaredUser {
        username: USER.parse()?,
        email: Some("alice@example.com".into()),
        name: Some("Alice Example".into()),
        roles: vec![role.name.clone()],
        password: Some(PlainSecret::new(PASSWORD.into())),
        enabled: None,
    };
    Ok(Declared { roles: Some(vec![role]), clients: Some(vec![client]), users: Some(vec![user]) })
}

/// Comes back when nobody can write to stdin any more.
async fn end_of_stdin() {
    let (ended, end) = tokio::sync::oneshot::channel();
    // A thread of its own, for the runtime would wait for one of its threads at the end.
    std::thread::spawn(move || {
        let _gone_or_broken = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _nobody_waits = ended.send(());
    });
    let _ended = end.await;
}

/// What other commands need to work on this server's database.
fn environment(loaded: &Loaded) -> Vec<(String, String)> {
    let passwords = &loaded.settings.passwords;
    [
        ("GRANTD_DATABASE__URL", loaded.settings.database.url.to_string()),
        ("GRANTD_SERVER__ISSUER", loaded.settings.server.issuer.as_str().to_owned()),
        ("GRANTD_SERVER__LISTEN", loaded.settings.server.listen.to_string()),
        ("GRANTD_PASSWORDS__MEMORY_KIB", passwords.memory_kib.to_string()),
        ("GRANTD_PASSWORDS__ITERATIONS", passwords.iterations.to_string()),
        ("GRANTD_PASSWORDS__PARALLELISM", passwords.parallelism.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The settings of `serve` with a database that nobody minds losing and an issuer that follows the address.
fn throwaway_settings(
    config: Option<&Path>,
    directory: &Throwaway,
    listen: Option<SocketAddr>,
) -> Result<Loaded, Failure> {
    let listen = match listen {
        Some(listen) => listen,
        None => settings::load(config, overrides(directory, None)?)?.settings.server.listen,
    };
    settings::load(config, overrides(directory, Some(free_port(listen)?))?)
}

/// What `dev` says over the settings of `serve`.
fn overrides(directory: &Throwaway, listen: Option<SocketAddr>) -> Result<Vec<Flag>, Failure> {
    let database = format!("sqlite://{}", directory.path().join("dev.db").display());
    let mut overrides = vec![
        ("database.url", database),
        ("database.migrate", "true".into()),
        ("keys.encryption_key", String::new()),
        ("management.listen", "127.0.0.1:0".into()),
        ("passwords.min_length", "8".into()),
        // Nobody looks for another instance, so that new connections need not be served for long after the order to stop.
        ("server.shutdown_grace", "1s".into()),
        ("server.tls.cert", String::new()),
        ("server.tls.key", String::new()),
        ("log.format", "pretty".into()),
    ];
    match listen {
        Some(listen) => {
            overrides.push(("server.listen", listen.to_string()));
            overrides.push(("server.issuer", issuer_of(listen)?));
            // Tests log in often, and nobody else can take this database away.
            if listen.ip().is_loopback() {
                overrides.push(("passwords.memory_kib", "64".into()));
                overrides.push(("passwords.iterations", "1".into()));
                overrides.push(("passwords.parallelism", "1".into()));
            }
        }
        // Only the address is looked for, and an issuer for elsewhere is no mistake here.
        None => overrides.push(("server.issuer", "http://127.0.0.1:8080".into())),
    }
    Ok(overrides.into_iter().map(|(key, value)| Flag { key, value, name: "dev" }).collect())
}

/// The URL that reaches this address from the same machine, which plain http is enough for.
fn issuer_of(listen: SocketAddr) -> Result<String, Failure> {
    let host = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip if ip.is_loopback() => ip,
        other => {
            return Err(Failure::because(format!(
                "dev has no TLS and so no issuer for {other}: listen on 127.0.0.1, on [::1], or on 0.0.0.0 for all addresses"
            )));
        }
    };
    // A port that belongs to the scheme is not written, as clients compare the exact text.
    let port = if listen.port() == 80 { String::new() } else { format!(":{}", listen.port()) };
    Ok(match host {
        IpAddr::V4(host) => format!("http://{host}{port}"),
        IpAddr::V6(host) => format!("http://[{host}]{port}"),
    })
}

/// The issuer must be known before the server listens, so that port 0 is settled here.
fn free_port(listen: SocketAddr) -> Result<SocketAddr, Failure> {
    if listen.port() != 0 {
        return Ok(listen);
    }
    let found = TcpListener::bind(listen).and_then(|listener| listener.local_addr());
    found.map_err(|error| {
        Failure::because(format!(
            "no free port can be found on {} ({error}): name one with --listen",
            listen.ip()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_issuer_follows_the_address() {
        for (listen, issuer) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:9000", "http://127.0.0.1:9000"),
            ("[::1]:9000", "http://[::1]:9000"),
            ("[::]:9000", "http://[::1]:9000"),
            ("127.0.0.1:80", "http://127.0.0.1"),
        ] {
            assert_eq!(issuer_of(address(listen)).as_deref(), Ok(issuer), "{listen}");
        }
        assert!(issuer_of(address("192.0.2.1:80")).is_err());
    }

    #[test]
    fn port_0_becomes_a_free_one() {
        assert_ne!(free_port(address("127.0.0.1:0")).map(|found| found.port()), Ok(0));
        assert_eq!(free_port(address("127.0.0.1:7")), Ok(address("127.0.0.1:7")));
    }

    #[test]
    fn passwords_are_cheap_where_nobody_else_can_reach_them() {
        let directory = Throwaway::make().expect("a directory");
        for (listen, cost) in
            [("127.0.0.1:9000", Some("64")), ("[::1]:9000", Some("64")), ("0.0.0.0:9000", None)]
        {
            let overrides = overrides(&directory, Some(address(listen))).expect("overrides");
            let found = overrides.iter().find(|flag| flag.key == "passwords.memory_kib");
            assert_eq!(found.map(|flag| flag.value.as_str()), cost, "{listen}");
        }
    }
}
