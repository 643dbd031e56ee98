//! Client authentication: the only file that can make an [`AuthenticatedClient`].

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::client::{AuthMethod, Client};
use crate::model::id::ClientId;
use crate::model::secret::{HashedSecret, judge_foreign_secret};
use crate::passwords::Verdict;
use crate::protocol::client_auth::{Pair, Presented};
use crate::protocol::error::{ClientAuthFailure, TokenError};

use super::App;
use super::client_secrets::SecretHasher;
use super::exchange::network_of;
use super::login::pool_error;
use super::throttle::{self, Attempt};

/// Proof that a client is who it says: by its secret, or by being registered as one that has none.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient(Arc<Client>);

impl AuthenticatedClient {
    /// The client.
    pub fn client(&self) -> &Client {
        &self.0
    }
}

/// Checks what a request presents. Unknown clients, wrong secrets and wrong methods are one error to the outside.
pub async fn authenticate_client(
    app: &App,
    presented: &Presented,
    source: IpAddr,
) -> Result<AuthenticatedClient, TokenError> {
    let header_used = presented.header_used();
    let checked = match presented {
        Presented::Public { client_id } => check_public(app, client_id),
        Presented::Post(pair) => check_pair(app, pair, AuthMethod::ClientSecretPost, source).await?,
        Presented::Basic { decoded, raw } => {
            let method = presented.method();
            match (check_pair(app, decoded, method, source).await?, raw) {
                // The second reading of the same header: many clients do not form-encode (RFC 6749 §2.3.1).
                (Err(_), Some(raw)) => check_pair(app, raw, method, source).await?,
                (checked, _) => checked,
            }
        }
    };
    checked.map(AuthenticatedClient).map_err(|cause| TokenError::Client { cause, header_used })
}

type Checked = Result<Arc<Client>, ClientAuthFailure>;

fn check_public(app: &App, client_id: &str) -> Checked {
    let client = find(app, client_id).ok_or(ClientAuthFailure::Unknown)?;
    may_act(&client, AuthMethod::None)?;
    Ok(client)
}

async fn check_pair(
    app: &App,
    pair: &Pair,
    method: AuthMethod,
    source: IpAddr,
) -> Result<Checked, TokenError> {
    if method == AuthMethod::None {
        return Ok(check_public(app, &pair.client_id));
    }
    let client = find(app, &pair.client_id);
    let digest = app.secrets.hash(&pair.secret);
    let now = app.clock.now();

    // The same work for a client that does not exist, so that time tells nothing.
    let stored =
        client.iter().flat_map(|client| client.live_secrets(now)).filter_map(|secret| match &secret.hashed {
            HashedSecret::Hmac(hash) => Some(hash),
            HashedSecret::Argon2(_) => None,
        });
    let mut proved = SecretHasher::is_among(&digest, stored);
    if !proved && let Some(client) = &client {
        proved = check_weak(app, client, pair, source).await?;
    }

    Ok(match client {
        None => Err(ClientAuthFailure::Unknown),
        Some(_) if !proved => Err(ClientAuthFailure::Secret),
        Some(client) => may_act(&client, method).map(|()| client),
    })
}

/// Secrets that were brought in and are weak stand behind the same slow hash and the same throttle as passwords: they
/// can be guessed, and each guess costs.
async fn check_weak(app: &App, client: &Client, pair: &Pair, source: IpAddr) -> Result<bool, TokenError> {
    let weak: Vec<&String> = client
        .live_secrets(app.clock.now())
        .filter_map(|secret| match &secret.hashed {
            HashedSecret::Argon2(phc) => Some(phc),
            HashedSecret::Hmac(_) => None,
        })
        .collect();
    // What could never have been stored is not hashed; so of the two readings of one header at most one is.
    let impossible = judge_foreign_secret(pair.secret.expose()).is_err();
    if weak.is_empty() || impossible || !client.is_enabled() {
        return Ok(false);
    }
    let account = app.accounts.hash(&format!("client\0{}", client.id));
    let attempt = Attempt::begin(app, throttle::Pair { account, source: network_of(source) }).await?;
    for phc in weak {
        let verdict = app.pool.verify(pair.secret.clone(), Some(phc.clone())).await.map_err(pool_error)?;
        if verdict != Verdict::Mismatch {
            attempt.succeed().await?;
            return Ok(true);
        }
    }
    attempt.fail().await?;
    Ok(false)
}

/// The client that is claimed. Named in the log from here on, also when it fails to prove itself: whose secret is
/// being guessed matters. Only if there is such a client, because people send the secret in the place of the id.
fn find(app: &App, client_id: &str) -> Option<Arc<Client>> {
    let id: ClientId = client_id.parse().ok()?;
    let client = app.directory.load().client(&id).cloned()?;
    tracing::Span::current().record("client_id", client.id.as_str());
    Some(client)
}

fn may_act(client: &Client, method: AuthMethod) -> Result<(), ClientAuthFailure> {
    if !client.is_enabled() {
        return Err(ClientAuthFailure::Disabled);
    }
    if !client.registration.auth_methods.contains(&method) {
        return Err(ClientAuthFailure::Method);
    }
    Ok(())
}
