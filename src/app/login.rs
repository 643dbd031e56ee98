//! The password grant: throttle, hash, decide, then one transaction for everything a login changes.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::client::{Client, GrantType};
use crate::model::id::FamilyId;
use crate::model::secret::PlainSecret;
use crate::model::session::{Family, FamilySecret};
use crate::model::time::Timestamp;
use crate::model::user::{User, Username};
use crate::passwords::{PoolError, Verdict};
use crate::protocol::error::{GrantFailure, TokenError};
use crate::protocol::grants::{Granted, password};
use crate::protocol::token_request::Wish;
use crate::protocol::token_response::TokenResponse;
use crate::storage::{StorageError, families, login_failures, users};

use super::authenticate_client::AuthenticatedClient;
use super::exchange::source_of;
use super::issue::{Issue, issue};
use super::throttle::Attempt;
use super::{App, random};

/// Answers a password grant.
pub(super) async fn login(
    app: &App,
    authenticated: &AuthenticatedClient,
    username: &str,
    given: PlainSecret,
    wish: &Wish,
    address: IpAddr,
) -> Result<TokenResponse, TokenError> {
    let client = authenticated.client();
    password::check_wish(wish, client)?;

    // An attempt is counted before the hash is computed, so that parallel guesses are counted too; one that turns
    // out right, or could not be judged, is taken back.
    let name: Option<Username> = username.parse().ok();
    let account = app.accounts.hash(name.as_ref().map_or(username, Username::as_str));
    let source = source_of(authenticated, address);
    let attempt = Attempt::begin(app, account, &source).await?;
    let user = match &name {
        Some(name) => users::find_by_username(&app.db, name).await?,
        None => None,
    };
    let rehashed = match verify(app, user.as_ref(), &given).await {
        Ok(Verdict::Match { rehashed }) => rehashed,
        Ok(Verdict::Mismatch) => return Err(GrantFailure::Credentials.into()),
        Err(error) => {
            attempt.take_back(app).await?;
            return Err(error);
        }
    };
    let owner = user.as_ref();

    let directory = app.directory.load();
    let granted = match password::decide(wish, client, owner, directory.role_table()) {
        Ok(granted) => granted,
        Err(error) => {
            if !matches!(error, TokenError::Grant(_)) {
                attempt.take_back(app).await?;
            }
            return Err(error);
        }
    };

    let Some(user) = owner else { return Err(GrantFailure::Credentials.into()) };
    tracing::Span::current().record("user_id", user.id.to_string());
    let now = app.clock.now();
    let family = client
        .allows(GrantType::RefreshToken)
        .then(|| begin_family(app, client, user, &granted, source_of(authenticated, address), now));
    let mut tx = app.db.begin().await?;
    if !users::record_login(&mut tx, user.id, &user.password_hash, rehashed.as_deref(), now).await? {
        return Err(GrantFailure::Credentials.into());
    }
    login_failures::forget(&mut tx, &account, &source).await?;
    if let Some(family) = &family
        && !families::insert(&mut tx, family).await?
    {
        return Err(TokenError::UnauthorizedClient(GrantType::RefreshToken));
    }
    tx.commit().await?;

    let refresh_token =
        family.map(|family| app.refresh_key.token(family.id, &family.secret, family.generation));
    issue(app, Issue { client, subject: Some((user, now)), granted, refresh_token })
}

/// Costs the same whether the user exists or not.
async fn verify(app: &App, user: Option<&User>, given: &PlainSecret) -> Result<Verdict, TokenError> {
    let prepared = app.policy.passwords.prepare_for_login(given.expose());
    let stored = user.filter(|_| prepared.is_some()).map(|user| user.password_hash.clone());
    let password = prepared.unwrap_or_else(|| PlainSecret::new(String::new()));
    app.pool.verify(password, stored).await.map_err(pool_error)
}

fn begin_family(
    app: &App,
    client: &Client,
    user: &User,
    granted: &Granted,
    source: String,
    now: Timestamp,
) -> Family {
    let ttl = client.registration.refresh_ttl.unwrap_or(app.policy.refresh_ttl);
    Family {
        id: FamilyId::from_random(random::bytes()),
        client_id: client.id.clone(),
        user_id: user.id,
        requested: granted.requested.clone(),
        granted: granted.scope.clone(),
        audience: granted.audience.clone(),
        secret: FamilySecret(random::bytes()),
        generation: 0,
        retries: 0,
        source,
        auth_time: now,
        rotated_at: now,
        expires_at: now.plus(ttl),
        revoked: None,
    }
}

/// What a failure of the hashing pool means for a request.
pub(super) fn pool_error(error: PoolError) -> TokenError {
    match error {
        PoolError::Busy | PoolError::Stopped => TokenError::Busy,
        PoolError::Failed(_) | PoolError::Unusable(_) => TokenError::Internal(error.to_string()),
    }
}

impl From<StorageError> for TokenError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Unavailable(_) => Self::Unavailable(error.to_string()),
            StorageError::AlreadyExists
            | StorageError::Dangling
            | StorageError::Corrupt(_)
            | StorageError::Refused(_) => Self::Internal(error.to_string()),
        }
    }
}

/// How long a client is asked to wait when the throttle cannot be read off.
pub(super) const SOON: Duration = Duration::from_secs(1);
