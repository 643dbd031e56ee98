//! Settings -> App -> Server: puts the rooms together and runs them until they are told to stop.

use std::path::PathBuf;
use std::sync::Arc;

use crate::app::clock::Clock;
use crate::app::open::{KeySource, Parts, StartError};
use crate::app::{App, Policy};
use crate::passwords::{HashParams, PasswordPolicy, PoolSettings};
use crate::protocol::refresh_family::FamilyRules;
use crate::protocol::throttle::ThrottleRules;
use crate::settings::{DatabaseUrl, Settings};
use crate::storage::db::Location;

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

fn key_source(settings: &Settings) -> KeySource {
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
        Purpose::Serve => passwords.threads.unwrap_or(cores),
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
        throttle: ThrottleRules {
            free_attempts: settings.throttle.free_attempts,
            max_delay: settings.throttle.max_delay,
            daily_limit: settings.throttle.daily_limit,
        },
        passwords: PasswordPolicy {
            min_length: settings.passwords.min_length,
            max_length: settings.passwords.max_length,
        },
    }
}
