//! Client authentication: the only file that can make an [`AuthenticatedClient`].

use std::net::IpAddr;
use std::sync::Arc;

use crate::keys::CompactJws;
use crate::model::client::{AuthMethod, Client};
use crate::model::id::ClientId;
use crate::model::secret::{HashedSecret, PlainSecret, judge_foreign_secret};
use crate::passwords::Verdict;
use crate::protocol::client_assertion::{self, Expected};
use crate::protocol::client_auth::{Pair, Presented};
use crate::protocol::error::{ClientAuthFailure, TokenError};
use crate::protocol::params::Params;

use super::App;
use super::client_secrets::SecretHasher;
use super::exchange::network_of;
use super::login::pool_error;
use super::throttle::{Attempt, End, Guess, Standing, Whose};
use super::to_its_end::{Caller, to_its_end};
use super::used_once::{Once, use_up};

/// Proof that a client is who it says: by its secret or its key, or by being registered as one that has none.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient(Arc<Client>);

impl AuthenticatedClient {
    /// The client.
    pub fn client(&self) -> &Client {
        &self.0
    }
}

/// What a client sends wherever it says who it is: as the wire gives it, read but not judged.
#[derive(Clone, Copy)]
pub struct FromClient<'a> {
    /// The Authorization header.
    pub authorization: Option<&'a [u8]>,
    /// The form.
    pub params: &'a Params,
    /// Where it comes from.
    pub source: IpAddr,
}

impl FromClient<'_> {
    /// The credentials in it.
    pub(super) fn presented(&self) -> Result<Presented, TokenError> {
        Presented::read(self.authorization.as_slice(), self.params)
    }
}

/// Checks what a request presents. Unknown clients, wrong secrets, bad assertions and wrong methods are one error to the
/// outside.
pub async fn authenticate_client(
    app: &Arc<App>,
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
        Presented::Assertion { assertion, client_id } => {
            Box::pin(check_assertion(app, assertion, client_id.as_deref())).await?
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
    app: &Arc<App>,
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
        proved = Box::pin(check_weak(app, client, pair, source)).await?;
    }

    Ok(match client {
        None => Err(ClientAuthFailure::Unknown),
        Some(_) if !proved => Err(ClientAuthFailure::Secret),
        Some(client) => may_act(&client, method).map(|()| client),
    })
}

/// Secrets that were brought in and are weak stand behind the same slow hash and the same throttle as passwords: they
/// can be guessed, and each guess costs.
async fn check_weak(
    app: &Arc<App>,
    client: &Client,
    pair: &Pair,
    source: IpAddr,
) -> Result<bool, TokenError> {
    let weak: Vec<String> = client
        .live_secrets(app.clock.now())
        .filter_map(|secret| match &secret.hashed {
            HashedSecret::Argon2(phc) => Some(phc.clone()),
            HashedSecret::Hmac(_) => None,
        })
        .collect();
    // What could never have been stored is not hashed; so of the two readings of one header at most one is.
    let impossible = judge_foreign_secret(pair.secret.expose()).is_err();
    if weak.is_empty() || impossible || !client.is_enabled() {
        return Ok(false);
    }
    let guess = Guess {
        account: app.accounts.hash(&format!("client\0{}", client.id)),
        source: network_of(source),
        standing: Standing::Alone,
    };
    let (app, id, given) = (Arc::clone(app), client.id.clone(), pair.secret.clone());
    to_its_end(async move |caller| guess_weak(&app, &id, (weak, given), guess, caller).await).await
}

async fn guess_weak(
    app: &Arc<App>,
    id: &ClientId,
    (weak, given): (Vec<String>, PlainSecret),
    guess: Guess,
    caller: Caller,
) -> Result<bool, TokenError> {
    let (attempt, admission) = Attempt::begin(app, guess, &caller).await?;
    let mut admission = Some(admission);
    let mut end = End::Wrong;
    for phc in weak {
        let verdict = match admission.take().map_or_else(|| app.pool.admit(), Ok) {
            Ok(admission) => app.pool.verify_admitted(admission, given.clone(), Some(phc)).await,
            Err(error) => Err(error),
        };
        match verdict {
            Ok(Verdict::Mismatch) => {}
            Ok(Verdict::Match { .. }) if caller.hung_up() => end = End::Unjudged,
            Ok(Verdict::Match { .. }) => end = End::Right,
            Err(error) => {
                attempt.end(End::Unjudged, Whose::Client(id)).await?;
                return Err(pool_error(error));
            }
        }
        if end != End::Wrong {
            break;
        }
    }
    attempt.end(end, Whose::Client(id)).await?;
    Ok(end == End::Right)
}

/// RFC 7523 §3. What the assertion says is used for finding its key, and for nothing else before its signature holds.
/// Which clients exist can be told from how long that takes; a client id is no secret (RFC 6749 §2.2).
async fn check_assertion(
    app: &App,
    assertion: &PlainSecret,
    client_id: Option<&str>,
) -> Result<Checked, TokenError> {
    let jws = match CompactJws::read(assertion.expose(), client_assertion::LONGEST) {
        Ok(jws) => jws,
        Err(why) => return Ok(Err(ClientAuthFailure::UnreadableAssertion(why.as_str()))),
    };
    let claimed = client_assertion::claimed_client(&jws.claims);
    let Some(client) = claimed.and_then(|id| find(app, id)) else {
        return Ok(Err(ClientAuthFailure::Unknown));
    };
    // RFC 7521 §4.2.
    if client_id.is_some_and(|id| id != client.id.as_str()) {
        return Ok(Err(ClientAuthFailure::AssertionClient));
    }
    let directory = app.directory.load();
    let Some(keys) = directory.client_keys(&client.id) else {
        return Ok(Err(ClientAuthFailure::Method));
    };
    if let Err(why) = keys.verify(&jws) {
        return Ok(Err(ClientAuthFailure::AssertionSignature(why.as_str())));
    }

    let expected = Expected { issuer: &app.policy.issuer, client: &client.id, now: app.clock.now() };
    let proof = match client_assertion::judge(&jws.header, &jws.claims, &expected) {
        Ok(proof) => proof,
        Err(why) => return Ok(Err(ClientAuthFailure::RefusedAssertion(why))),
    };
    if let Err(why) = may_act(&client, AuthMethod::PrivateKeyJwt) {
        return Ok(Err(why));
    }

    // Last, so that nobody but the client uses its ids up. While the database is away none is good: what two instances
    // took without it, they would take twice.
    let once = Once::ClientAssertion { client: client.id.as_str(), jti: proof.jti };
    if !use_up(app, once, proof.expires_at).await? {
        return Ok(Err(ClientAuthFailure::ReplayedAssertion));
    }
    Ok(Ok(client))
}

/// The client that is claimed. Named in the log from here on, also when it fails to prove itself: whose secret is
/// being guessed matters. Only if there is such a client, because people send the secret in the place of the id.
fn find(app: &App, client_id: &str) -> Option<Arc<Client>> {
    let id: ClientId = client_id.parse().ok()?;
    let client = app.directory.load().client(&id)?;
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
