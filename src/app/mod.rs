//! The use cases: gather -> decide -> persist. What HTTP and CLI both call, and the one place where rules meet
//! hands.
//!
//! Knows nothing of HTTP, SQL texts, the environment or terminals.

pub mod access_tokens;
pub mod api_keys;
pub mod apply;
pub mod audit;
pub mod audit_chain;
pub mod authenticate_client;
pub mod background;
pub mod client_secrets;
pub mod clients;
pub mod clock;
pub(crate) mod database_health;
pub mod directory;
pub mod dpop;
pub mod error;
pub mod exchange;
pub mod health;
pub mod import;
pub mod inspect;
pub mod introspection;
pub mod issue;
mod known_api_keys;
mod known_families;
mod lately;
pub mod login;
pub mod login_line;
pub mod open;
pub mod patience;
pub mod random;
pub mod refresh;
pub mod reseal;
pub mod reuse;
pub mod revocations;
pub mod revoke;
pub mod revoke_token;
pub mod roles;
mod rotations;
pub mod sessions;
pub mod signing_keys;
pub(crate) mod status_indexes;
pub mod status_lists;
pub mod throttle;
pub mod to_its_end;
mod token_exchange;
mod used_once;
pub mod userinfo;
pub mod users;
pub mod verify;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::keys::{KeyRing, Sealer};
use crate::model::audit::Actor;
use crate::model::key::SigningAlgorithm;
use crate::model::time::Ttl;
use crate::passwords::{PasswordPolicy, PasswordPool};
use crate::protocol::dpop_nonce::NonceKey;
use crate::protocol::refresh_family::FamilyRules;
use crate::protocol::refresh_token::RefreshTokenKey;
use crate::protocol::throttle::ThrottleRules;
use crate::storage::Db;

use self::access_tokens::{AccessToken, TokenDigest};
use self::audit_chain::ChainKey;
use self::client_secrets::SecretHasher;
use self::clock::Clock;
use self::database_health::DatabaseHealth;
use self::directory::Directory;
use self::known_api_keys::KnownApiKeys;
use self::known_families::KnownFamilies;
use self::lately::Lately;
use self::login_line::Lines;
use self::revocations::Revocations;
use self::rotations::Rotations;
use self::status_indexes::StatusIndexes;
use self::status_lists::StatusLists;
use self::throttle::AccountHasher;
use self::to_its_end::LoginShare;

/// What the operator decided, as far as the use cases need it.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The exact `iss`.
    pub issuer: String,
    /// `aud` where neither request nor client names one.
    pub default_audience: String,
    /// What tokens are signed with unless the client says otherwise.
    pub algorithm: SigningAlgorithm,
    /// How long an access token lives unless the client says otherwise.
    pub access_ttl: Ttl,
    /// How long a refresh-token family lives unless the client says otherwise.
    pub refresh_ttl: Ttl,
    /// Rotation and retry.
    pub families: FamilyRules,
    /// How long a key signs.
    pub rotate_every: Ttl,
    /// How long a key is published before it signs.
    pub publish_before: Ttl,
    /// How long validators may use a status list before they look for a newer one.
    pub status_ttl: Ttl,
    /// What failed logins cost.
    pub throttle: ThrottleRules,
    /// How long a login stands in line for others of its account and source.
    pub login_patience: Ttl,
    /// What a password must be like.
    pub passwords: PasswordPolicy,
    /// Whether a DPoP proof must have a nonce of this server.
    pub dpop_require_nonce: bool,
}

/// The application: everything a use case may touch.
pub struct App {
    pub(crate) policy: Policy,
    pub(crate) clock: Clock,
    pub(crate) db: Db,
    pub(crate) pool: PasswordPool,
    pub(crate) login_share: LoginShare,
    pub(crate) sealer: Sealer,
    pub(crate) secrets: SecretHasher,
    pub(crate) api_key_hasher: SecretHasher,
    pub(crate) accounts: AccountHasher,
    pub(crate) lines: Lines,
    pub(crate) refresh_key: RefreshTokenKey,
    pub(crate) dpop_nonces: NonceKey,
    /// Chains the rows of the audit.
    pub(crate) chain: ChainKey,
    /// Who acts where no request does.
    pub(crate) actor: Actor,
    /// Clients and roles as they were less than a second ago.
    pub(crate) directory: ArcSwap<Directory>,
    /// API keys as they were less than a second ago.
    pub(crate) api_keys: ArcSwap<KnownApiKeys>,
    /// Signing keys as they were less than a second ago.
    pub(crate) ring: ArcSwap<KeyRing>,
    /// Revoked status indexes as they were less than a second ago.
    pub(crate) revocations: ArcSwap<Revocations>,
    /// Status indexes for new sessions.
    pub(crate) status_indexes: StatusIndexes,
    /// Status lists as they were last signed.
    pub(crate) status_lists: StatusLists,
    /// Access tokens whose signature need not be computed again.
    pub(crate) verified_tokens: Lately<TokenDigest, AccessToken>,
    /// Families as this instance left them.
    pub(crate) known_families: KnownFamilies,
    /// Refreshes that wait to be written.
    pub(crate) rotations: Rotations,
    /// Held while clients and roles are read anew.
    pub(crate) reloading: Mutex<()>,
    /// Held while keys are read anew.
    pub(crate) reloading_keys: Mutex<()>,
    /// Held while revocations are read anew.
    pub(crate) reloading_revocations: Mutex<()>,
    /// Whether the database can be read and written.
    pub(crate) database: DatabaseHealth,
}

impl App {
    /// What the operator decided.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Clients and roles as they are known now.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Signing keys as they are known now.
    pub fn ring(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    /// The clock that every decision is made by.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The pool that hashes passwords, for metrics.
    pub const fn pool(&self) -> &PasswordPool {
        &self.pool
    }

    /// Ends the database connections in good order.
    pub async fn close(&self) {
        self.db.close().await;
    }
}
