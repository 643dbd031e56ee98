//! The password grant: throttle, hash, decide, then one transaction for everything a login changes.

use std::net::IpAddr;

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
use super::exchange::{network_of, source_of};
use super::issue::{Issue, issue};
use super::throttle::{Attempt, Pair};
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

    let name: Option<Username> = username.parse().ok();
    let account = app.accounts.hash(name.as_ref().map_or(username, Username::as_str));
    let attempt = Attempt::begin(app, Pair { account, source: source_of(authenticated, address) }).await?;
    let user = match &name {
        Some(name) => users::find_by_username(&app.db, name).await?,
        None => None,
    };
    let Verdict::Match { rehashed } = verify(app, user.as_ref(), &given).await? else {
        attempt.fail().await?;
        return Err(GrantFailure::Credentials.into());
    };
    let owner = user.as_ref();

    let directory = app.directory.load();
    let granted = match password::decide(wish, client, owner, directory.role_table()) {
        Ok(granted) => granted,
        Err(error) => {
            if matches!(error, TokenError::Grant(_)) {
                attempt.fail().await?;
            }
            return Err(error);
        }
    };

    let Some(user) = owner else { return Err(GrantFailure::Credentials.into()) };
    tracing::Span::current().record("user_id", user.id.to_string());
    let now = app.clock.now();
    let family = client
        .allows(GrantType::RefreshToken)
        .then(|| begin_family(app, client, user, &granted, network_of(address), now));
    let login = Login { user, pair: attempt.pair(), family: family.as_ref(), now };
    if !persist(app, &login, &user.password_hash, rehashed.as_deref()).await? {
        // Switched off, given another password, or a login beside this one has just renewed the hash.
        let renewed = users::find(&app.db, user.id).await?.filter(User::is_enabled);
        let verdict = verify(app, renewed.as_ref(), &given).await?;
        let same_password = matches!(verdict, Verdict::Match { .. });
        let renewed = renewed.filter(|_| same_password).ok_or(GrantFailure::Credentials)?;
        if !persist(app, &login, &renewed.password_hash, None).await? {
            return Err(GrantFailure::Credentials.into());
        }
    }

    let refresh_token =
        family.map(|family| app.refresh_key.token(family.id, &family.secret, family.generation));
    issue(app, Issue { client, subject: Some((user, now)), granted, refresh_token })
}

/// What a login changes.
struct Login<'a> {
    user: &'a User,
    pair: &'a Pair,
    family: Option<&'a Family>,
    now: Timestamp,
}

/// All of it or nothing: `false` if the password whose hash was `verified` is not the user's any more.
async fn persist(
    app: &App,
    login: &Login<'_>,
    verified: &str,
    rehashed: Option<&str>,
) -> Result<bool, TokenError> {
    let mut tx = app.db.begin().await?;
    if !users::record_login(&mut tx, login.user.id, verified, rehashed, login.now).await? {
        tx.rollback().await?;
        return Ok(false);
    }
    login_failures::forget(&mut tx, &login.pair.account, &login.pair.source).await?;
    if let Some(family) = login.family
        && !families::insert(&mut tx, family).await?
    {
        return Err(TokenError::UnauthorizedClient(GrantType::RefreshToken));
    }
    tx.commit().await?;
    Ok(true)
}

/// Costs the same whether the user exists or not.
async fn verify(app: &App, user: Option<&User>, given: &PlainSecret) -> Result<Verdict, TokenError> {
    let prepared = app.policy.passwords.prepare_for_login(given.expose());
    let stored = user.filter(|_| prepared.is_some()).map(|user| user.password_hash.clone());
    let password = prepared.unwrap_or_else(|| PlainSecret::new(String::new()));
    match app.pool.verify(password, stored).await {
        // To the outside like a wrong password; an operator sets a new one.
        Err(PoolError::Unusable(cause)) => {
            tracing::error!(%cause, "a stored password hash cannot be used: set the password anew");
            Ok(Verdict::Mismatch)
        }
        verdict => verdict.map_err(pool_error),
    }
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
        strange: None,
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
