//! Settings -> App -> Server: puts the rooms together and runs them until they are told to stop.

mod actor;
mod descriptors;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::Data;

use crate::app::clock::Clock;
use crate::app::open::{KeySource, Parts, StartError};
use crate::app::{App, Policy};
use crate::http::server::{Bound, Door, Listener, Patience, bind_management, bind_public};
use crate::http::tls::{CertificateFiles, ReloadingCertificate, TlsError};
use crate::http::{Draining, HttpState, TrustedProxies};
use crate::model::time::Ttl;
use crate::passwords::{HashParams, PasswordPolicy, PoolSettings};
use crate::protocol::refresh_family::FamilyRules;
use crate::protocol::throttle::ThrottleRules;
use crate::settings::{DatabaseUrl, Settings};
use crate::storage::db::Location;
use crate::telemetry;

/// Keeps the memory of this process, which holds keys and passwords, out of every core file, also where a program
/// collects them (which the limit alone does not prevent, core(5)).
pub fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    // Without leave for the one there may be leave for the other; neither is a reason not to start.
    let _limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _undumpable = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// What an app is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To serve: as many hashing threads as the settings say.
    Serve,
    /// For one command: one hashing thread.
    Administer,
}

/// Opens the app that the settings describe, making database, key file and first keys where they are missing.
pub async fn open_app(settings: &Settings, purpose: Purpose, clock: Clock) -> Result<Arc<App>, StartError> {
    App::open(Parts {
        location: location(settings),
        max_connections: settings.database.max_connections,
        migrate: settings.database.migrate,
        key: key_source(settings),
        pool: pool_settings(settings, purpose),
        policy: policy(settings),
        clock,
        actor: actor::of(purpose),
    })
    .await
}

/// Where the database of the settings is.
pub fn location(settings: &Settings) -> Location {
    match &settings.database.url {
        DatabaseUrl::Sqlite(path) => Location::Sqlite(path.clone()),
        DatabaseUrl::Postgres(url) => Location::Postgres(url.clone()),
    }
}

/// Where the encryption key of the settings is.
pub fn key_source(settings: &Settings) -> KeySource {
    match (&settings.keys.encryption_key, &settings.database.url) {
        (Some(key), _) => KeySource::Given(key.clone()),
        (None, DatabaseUrl::Sqlite(path)) => KeySource::File(path.with_file_name("grantd.key")),
        // The settings refuse this; a key file in the working directory would be some instance's own.
        (None, DatabaseUrl::Postgres(_)) => KeySource::File(PathBuf::from("grantd.key")),
    }
}

fn pool_settings(settings: &Settings, purpose: Purpose) -> PoolSettings {
    let passwords = &settings.passwords;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match purpose {
        // One core is left to everybody else. Low priority alone does not keep hashes out of their way: with all cores
        // hashing, the p99 of other requests doubles, and that of those that wait for the disk is ten times as long.
        Purpose::Serve => passwords.threads.unwrap_or(cores.saturating_sub(1).max(1)),
        Purpose::Administer => 1,
    };
    PoolSettings {
        params: HashParams {
            memory_kib: passwords.memory_kib,
            iterations: passwords.iterations,
            parallelism: passwords.parallelism,
        },
        threads,
        // About half a second of waiting at the default cost, well below the deadline.
        queue: passwords.queue.unwrap_or(threads * 16),
        queue_deadline: passwords.queue_deadline.as_duration(),
    }
}

fn policy(settings: &Settings) -> Policy {
    let tokens = &settings.tokens;
    let issuer = settings.server.issuer.as_str().to_owned();
    Policy {
        default_audience: tokens.default_audience.clone().unwrap_or_else(|| issuer.clone()),
        issuer,
        algorithm: settings.keys.algorithm,
        access_ttl: tokens.access_ttl,
        refresh_ttl: tokens.refresh_ttl,
        families: FamilyRules {
            idle_ttl: tokens.refresh_idle_ttl,
            retry_window: tokens.refresh_retry_window,
            retry_window_public: tokens.refresh_retry_window_public,
        },
        rotate_every: settings.keys.rotate_every,
        publish_before: settings.keys.publish_before,
        status_ttl: settings.status.ttl,
        dpop_require_nonce: settings.dpop.require_nonce,
        throttle: ThrottleRules {
            free_attempts: settings.throttle.free_attempts,
            max_delay: settings.throttle.max_delay,
            daily_limit: settings.throttle.daily_limit,
            // A guess may stand in the queue twice, where the user's hash was renewed beside it.
            lost_after: LOST_AFTER
                .plus(settings.passwords.queue_deadline)
                .plus(settings.passwords.queue_deadline),
        },
        login_patience: settings.passwords.queue_deadline,
        passwords: PasswordPolicy {
            min_length: settings.passwords.min_length,
            max_length: settings.passwords.max_length,
        },
    }
}

/// A guess that is judged for longer than this, queues aside, is one whose process died.
const LOST_AFTER: Ttl = Ttl::from_secs(60);

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The app cannot be put together.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({key}): {cause}; stop what uses it, or set another address")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// The setting it comes from.
        key: &'static str,
        /// Why.
        cause: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A listener failed while running.
    #[error("the server stopped by itself: {0}")]
    Failed(io::Error),
}

/// A server that is bound and ready to run.
pub struct Server {
    app: Arc<App>,
    public: Bound,
    management: Option<Bound>,
    certificate: Option<Arc<ReloadingCertificate>>,
    draining: Draining,
    grace: Duration,
}

/// How long new connections are still served after the order to stop, so that a load balancer that has just looked
/// sends nobody into a closed door.
const FAREWELL: Duration = Duration::from_millis(500);

impl Server {
    /// Opens the app and binds the listeners; nothing is answered yet.
    pub async fn build(settings: &Settings, clock: Clock) -> Result<Self, ServeError> {
        survive_file_size_limits();
        // Read before anything is made, so that a start that cannot succeed leaves nothing behind.
        let certificate = match &settings.server.tls {
            Some(tls) => {
                let files = CertificateFiles { cert: tls.cert.clone(), key: tls.key.clone() };
                Some(Arc::new(ReloadingCertificate::load(files)?))
            }
            None => None,
        };
        descriptors::raise_limit();
        let app = open_app(settings, Purpose::Serve, clock).await?;
        Self::bind(settings, app, certificate)
    }

    /// Binds the listeners for an app that is open.
    pub fn bind(
        settings: &Settings,
        app: Arc<App>,
        certificate: Option<Arc<ReloadingCertificate>>,
    ) -> Result<Self, ServeError> {
        telemetry::metrics::install();
        let draining = Draining::default();
        let server = &settings.server;
        let grace = server.shutdown_grace.as_duration();
        let connections = descriptors::connections(settings);
        let origins = settings.cors.allowed_origins.clone();
        let state = HttpState::new(Arc::clone(&app), server.issuer.path(), origins, draining.clone());
        let state = Data::new(if server.docs { state } else { state.without_docs() });

        let public = Listener {
            address: server.listen,
            workers: server.workers,
            max_connections: connections.public,
            patience: Patience::default(),
            certificate: certificate.clone(),
            trusted_proxies: TrustedProxies::new(server.trusted_proxies.iter().copied()),
            grace,
        };
        let public = bind_public(public, state.clone()).map_err(|cause| ServeError::Bind {
            address: server.listen,
            key: "server.listen",
            cause,
        })?;
        let management = match settings.management.listen {
            None => None,
            Some(address) => {
                let listener = Listener {
                    address,
                    workers: 1,
                    max_connections: connections.management,
                    patience: Patience::default(),
                    certificate: None,
                    trusted_proxies: TrustedProxies::new([]),
                    grace,
                };
                let bound = bind_management(listener, state).map_err(|cause| ServeError::Bind {
                    address,
                    key: "management.listen",
                    cause,
                })?;
                Some(bound)
            }
        };
        Ok(Self { app, public, management, certificate, draining, grace })
    }

    /// Where clients reach it, with the port that was taken.
    pub const fn public_address(&self) -> SocketAddr {
        self.public.address
    }

    /// Where operators reach it, if they do.
    pub fn management_address(&self) -> Option<SocketAddr> {
        self.management.as_ref().map(|bound| bound.address)
    }

    /// The app behind it.
    pub const fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Serves until `stop` ends, then lets what is under way finish.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        self.announce();
        let listeners: Vec<_> = [Some(&self.public), self.management.as_ref()]
            .into_iter()
            .flatten()
            .map(|bound| (bound.handle(), Arc::clone(&bound.door)))
            .collect();
        let background = [
            actix_web::rt::spawn(Arc::clone(&self.app).run_background()),
            actix_web::rt::spawn(upkeep_metrics()),
        ];
        let watching =
            self.certificate.map(|certificate| actix_web::rt::spawn(crate::http::tls::watch(certificate)));
        let mut public = actix_web::rt::spawn(self.public.running);
        let management = self.management.map(|bound| actix_web::rt::spawn(bound.running));

        let ended = tokio::select! {
            ended = &mut public => Some(ended),
            () = stop => None,
        };
        let outcome = match ended {
            Some(ended) => ended.map_err(io::Error::other).flatten().map_err(ServeError::Failed),
            None => {
                drain(&self.draining, self.grace, &listeners).await;
                Ok(())
            }
        };
        for task in background.into_iter().chain(watching) {
            task.abort();
        }
        if let Some(management) = management {
            management.abort();
        }
        // A database that hangs must not keep the process from ending.
        if tokio::time::timeout(Duration::from_secs(2), self.app.close()).await.is_err() {
            tracing::warn!("the database did not let go of its connections in time");
        }
        outcome
    }

    /// One line that says where it listens, and what to do next where nobody could use it yet.
    fn announce(&self) {
        let issuer = self.app.policy().issuer.as_str();
        let (listen, management) =
            (self.public.address, self.management_address().map(tracing::field::display));
        let tls = self.certificate.is_some();
        if self.app.directory().clients().next().is_some() {
            tracing::info!(%listen, management, tls, issuer, "listening");
        } else {
            tracing::info!(
                %listen, management, tls, issuer,
                "listening; register a first client with: grantd client create my-app --grant client_credentials"
            );
        }
    }

    /// Serves until SIGTERM or SIGINT, or until `also` ends.
    pub async fn run_until_stopped_or(self, also: impl Future<Output = ()>) -> Result<(), ServeError> {
        let stop = async {
            tokio::select! {
                () = stop_signal() => {}
                () = also => {}
            }
        };
        self.run_until(stop).await
    }
}

/// Readiness fails, new connections are served for a moment and then refused, what is under way finishes, all ends.
async fn drain(draining: &Draining, grace: Duration, listeners: &[(ServerHandle, Arc<Door>)]) {
    tracing::info!("stopping: requests under way may finish");
    draining.begin();
    let ended = tokio::time::timeout(grace, async {
        tokio::time::sleep(FAREWELL.min(grace / 4)).await;
        for (handle, door) in listeners {
            handle.pause().await;
            door.close();
        }
        // Quiet for a moment, not just now: an answer that is made is not yet sent, and a request may still arrive on
        // a connection that was kept.
        let mut quiet = 0;
        while quiet < 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            quiet = if draining.under_way() > 0 { 0 } else { quiet + 1 };
        }
    });
    if ended.await.is_err() {
        tracing::warn!(
            under_way = draining.under_way(),
            "server.shutdown_grace is over: requests are cut off"
        );
    }
    // What is left are idle connections, which nobody needs to wait for.
    for (handle, _) in listeners {
        handle.stop(false).await;
    }
    tracing::info!("stopped");
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received: the server can only be killed");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// A write beyond the limit on file sizes then fails, like one on a full disk, instead of ending the process.
fn survive_file_size_limits() {
    use tokio::signal::unix::{SignalKind, signal};
    let exceeded = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    if let Err(cause) = signal(exceeded) {
        tracing::warn!(%cause, "a limit on file sizes would end this process");
    }
}

/// Histograms grow for ever unless somebody tidies them up.
async fn upkeep_metrics() {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        telemetry::metrics::upkeep();
    }
}
