//! `grantd dev`: a server to try things out on, with a throwaway database and something in it. Never for production.

mod welcome;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

use clap::Args;
use tempfile::TempDir;

use crate::app::App;
use crate::app::clock::Clock;
use crate::app::users::{NewPassword, UserChange};
use crate::model::client::{GrantType, Registration};
use crate::model::secret::PlainSecret;
use crate::settings::{Flag, Loaded, Settings};
use crate::startup::{self, Purpose};

use self::welcome::{Demo, Places, welcome};
use super::failure::Failure;
use super::{output, serve, settings};

#[derive(Args, Debug)]
#[command(after_help = "\
Client, user, role and keys are made anew at each start and gone at its end. Settings count as for 'serve',
except for database, issuer, TLS and management listener. Never for production.")]
pub(super) struct DevCommand {
    /// Where to listen; port 0 takes a free one [default: server.listen, which is 127.0.0.1:8080 by default]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

const CLIENT: &str = "demo";
const USER: &str = "alice";
const PASSWORD: &str = "correct-horse-battery-staple";
const ROLE: &str = "editor";

pub(super) async fn run(config: Option<&Path>, command: DevCommand) -> Result<(), Failure> {
    // Deleted when it is dropped, which is when the server has stopped.
    let directory = settings::throwaway_directory().map_err(|error| {
        Failure::because(format!(
            "no throwaway directory can be made ({error}): set TMPDIR to a writable one"
        ))
    })?;
    let loaded = throwaway_settings(config, &directory, command.listen)?;
    let _logs = settings::log_as_server(&loaded)?;
    let secret = fill(&loaded.settings).await?;

    let issuer = loaded.settings.server.issuer.as_str().to_owned();
    let server = serve::listen(loaded.settings).await?;
    let places = Places { issuer: &issuer, management: server.management_address() };
    let demo = Demo { client: CLIENT, secret: &secret, user: USER, password: PASSWORD, role: ROLE };
    match output::write(&welcome(&places, &demo)) {
        // Whoever reads the curl lines may be content with the first.
        Ok(()) | Err(Failure::NobodyReads) => {}
        Err(failure) => return Err(failure),
    }
    serve::until_stopped(server).await
}

/// The settings of `serve` with a database that nobody minds losing and an issuer that follows the address.
fn throwaway_settings(
    config: Option<&Path>,
    directory: &TempDir,
    listen: Option<SocketAddr>,
) -> Result<Loaded, Failure> {
    let listen = match listen {
        Some(listen) => listen,
        None => settings::load(config, overrides(directory, None)?)?.settings.server.listen,
    };
    settings::load(config, overrides(directory, Some(free_port(listen)?))?)
}

/// What `dev` says over the settings of `serve`.
fn overrides(directory: &TempDir, listen: Option<SocketAddr>) -> Result<Vec<Flag>, Failure> {
    let database = format!("sqlite://{}", directory.path().join("dev.db").display());
    let mut overrides = vec![
        ("database.url", database),
        ("database.migrate", "true".into()),
        ("keys.encryption_key", String::new()),
        ("management.listen", "127.0.0.1:0".into()),
        ("passwords.min_length", "8".into()),
        ("server.tls.cert", String::new()),
        ("server.tls.key", String::new()),
        ("log.format", "pretty".into()),
    ];
    match listen {
        Some(listen) => {
            overrides.push(("server.listen", listen.to_string()));
            overrides.push(("server.issuer", issuer_of(listen)?));
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

/// Makes the role, the client and the user; gives the client's secret.
async fn fill(settings: &Settings) -> Result<PlainSecret, Failure> {
    let app = startup::open_app(settings, Purpose::Administer, Clock::default()).await?;
    let filled = fill_app(&app).await;
    app.close().await;
    filled
}

async fn fill_app(app: &App) -> Result<PlainSecret, Failure> {
    let role: crate::model::role::RoleName = ROLE.parse()?;
    let description = Some("may change notes".to_owned());
    app.create_role(role.clone(), "notes:write".parse()?, description).await?;

    let registration = Registration {
        name: Some("Demo".into()),
        grant_types: vec![GrantType::ClientCredentials, GrantType::Password, GrantType::RefreshToken],
        scope: "notes:read notes:write".parse()?,
        ..Registration::default()
    };
    let made = app.create_client(Some(CLIENT.parse()?), registration, None).await?;

    let profile = UserChange {
        email: Some("alice@example.com".into()),
        name: Some("Alice Example".into()),
        roles: Some(vec![role]),
    };
    let password = NewPassword::Plain(PlainSecret::new(PASSWORD.into()));
    app.create_user(USER.parse()?, profile, password).await?;

    made.secret.ok_or_else(|| Failure::because("the demo client got no secret: start again"))
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
    fn a_throwaway_database_is_filled_with_a_client_a_user_and_a_role() {
        let directory = settings::throwaway_directory().expect("a directory");
        let sources = crate::settings::Sources {
            flags: overrides(&directory, Some(address("127.0.0.1:8080"))).expect("overrides"),
            ..crate::settings::Sources::default()
        };
        let loaded = crate::settings::load(&sources).expect("right settings");

        let secret = actix_web::rt::System::new().block_on(fill(&loaded.settings)).expect("filled");

        assert!(secret.expose().starts_with("gcs_"));
        assert!(directory.path().join("dev.db").exists());
    }
}
