//! The password grant: throttle, hash, decide, then one transaction for everything a login changes.
//!
//! All of it runs to its end, whoever hangs up meanwhile.

use std::sync::Arc;

use crate::model::client::{Client, GrantType};
use crate::model::id::{FamilyId, UserId};
use crate::model::secret::PlainSecret;
use crate::model::session::{Family, FamilySecret};
use crate::model::status::StatusIndex;
use crate::model::time::Timestamp;
use crate::model::user::{User, Username};
use crate::passwords::{Admission, PoolError, Verdict};
use crate::protocol::error::{GrantFailure, TokenError};
use crate::protocol::grants::{Granted, password};
use crate::protocol::throttle::KNOWN_FOR;
use crate::protocol::token_request::Wish;
use crate::protocol::token_response::TokenResponse;
use crate::storage::users::StoredPassword;
use crate::storage::{StorageError, families, known_sources, users};

use super::authenticate_client::AuthenticatedClient;
use super::dpop::Proven;
use super::exchange::LoginSource;
use super::issue::{Issue, OnBehalfOf, access_ttl, issue};
use super::throttle::{Attempt, End, Guess, Standing, Whose, commit_counted};
use super::to_its_end::{Caller, to_its_end};
use super::{App, random};

/// A login that is asked for.
pub(super) struct Login {
    pub(super) client: AuthenticatedClient,
    pub(super) username: String,
    pub(super) password: PlainSecret,
    pub(super) wish: Wish,
    /// Where the guess counts as coming from.
    pub(super) source: LoginSource,
    /// Where the session counts as coming from.
    pub(super) family_source: String,
    /// The key that the tokens are to be bound to.
    pub(super) proof: Option<Proven>,
}

/// What a guess that was let in came to.
enum Outcome {
    /// It was wrong; whose it was, if anybody's.
    Wrong(GrantFailure, Option<UserId>),
    /// It was right, and is persisted with its end.
    Persisted(Result<TokenResponse, TokenError>),
}

/// How many sources a user is known at, beside the one of the newest login.
const OTHER_SOURCES: u32 = 49;

/// Answers a password grant.
pub(super) async fn login(app: &Arc<App>, login: Login) -> Result<TokenResponse, TokenError> {
    password::check_wish(&login.wish, login.client.client())?;
    // Before anything is read or spawned: in a storm, a login that does not fit costs next to nothing.
    drop(app.pool.admit().map_err(pool_error)?);
    let app = Arc::clone(app);
    to_its_end(async move |caller| throttled(&app, &login, &caller).await).await
}

async fn throttled(app: &Arc<App>, login: &Login, caller: &Caller) -> Result<TokenResponse, TokenError> {
    let name: Option<Username> = login.username.parse().ok();
    let stored = find_password(app, login, name.as_ref()).await?;
    let guess = guess(app, login, name.as_ref(), stored.as_ref());
    let (attempt, admission) = Attempt::begin(app, guess, caller).await?;

    match judged(app, login, (name.as_ref(), stored), (&attempt, admission), caller).await {
        Ok(Outcome::Persisted(answer)) => answer,
        Ok(Outcome::Wrong(failure, user)) => {
            attempt.end(End::Wrong, user.map_or(Whose::Nobody, Whose::User)).await?;
            Err(failure.into())
        }
        Err(error) => {
            // With the database away the place is not given back, and counts as failed when its time is over.
            if let Err(cause) = attempt.end(End::Unjudged, Whose::Nobody).await {
                tracing::warn!(%cause, "a login that could not be judged keeps its place for a minute");
            }
            Err(error)
        }
    }
}

/// What the guess will be judged by. The same statement for names that exist and names that do not.
async fn find_password(
    app: &App,
    login: &Login,
    name: Option<&Username>,
) -> Result<Option<StoredPassword>, TokenError> {
    let Some(name) = name else { return Ok(None) };
    let (LoginSource::Client(source) | LoginSource::Address(source)) = &login.source;
    let since = app.clock.now().minus(KNOWN_FOR);
    let instead = (UserId::from_random(random::bytes()), app.pool.nobody());
    app.login_share.step(users::find_password(&app.db, name, (source, since), instead)).await
}

/// Who guesses from where.
fn guess(app: &App, login: &Login, name: Option<&Username>, stored: Option<&StoredPassword>) -> Guess {
    let account = app.accounts.hash(name.map_or(&login.username, |name| name.as_str()));
    let (source, standing) = match &login.source {
        LoginSource::Client(source) => (source, Standing::Alone),
        LoginSource::Address(source) if stored.is_some_and(|stored| stored.is_known_there) => {
            (source, Standing::Known)
        }
        LoginSource::Address(source) => (source, Standing::Unknown),
    };
    Guess { account, source: source.clone(), standing }
}

/// Looks at the password, and at everything else that may be wrong; persists what is right.
async fn judged(
    app: &App,
    login: &Login,
    (name, stored): (Option<&Username>, Option<StoredPassword>),
    (attempt, admission): (&Attempt, Admission),
    caller: &Caller,
) -> Result<Outcome, TokenError> {
    // Before the password is looked at: else a proof that was used before would tell whether it is right, and leave no
    // login behind.
    if let Some(proof) = &login.proof {
        proof.use_up(app).await?;
    }
    let stored = match attempt.has_waited() {
        // Whoever was first may have renewed the hash for all.
        true => find_password(app, login, name).await?,
        false => stored,
    };
    let id = stored.as_ref().map(|stored| stored.id);
    let wrong = |failure| Ok(Outcome::Wrong(failure, id));
    let hash = stored.as_ref().map(|stored| stored.hash.clone());
    let verdict = verify(app, admission, hash, &login.password).await?;
    let Verdict::Match { rehashed } = verdict else { return wrong(GrantFailure::Credentials) };
    let Some(stored) = stored else { return wrong(GrantFailure::Credentials) };
    // With as much work as a wrong password: else the time would tell that it is right, and where else it may be tried.
    if !stored.is_enabled {
        return wrong(GrantFailure::UserDisabled);
    }
    // Of whom the password is: read beside the hash, it would be more work for a wrong one than for an unknown name.
    let user = app.login_share.step(users::find(&app.db, stored.id)).await?;

    let client = login.client.client();
    let decided = password::decide(&login.wish, client, user.as_ref(), app.directory.load().role_table());
    let granted = match decided {
        Ok(granted) => granted,
        Err(TokenError::Grant(failure)) => return wrong(failure),
        Err(error) => return Err(error),
    };
    let Some(user) = &user else { return wrong(GrantFailure::Credentials) };
    tracing::Span::current().record("user_id", user.id.to_string());
    // A session that nobody hears of would be one that nobody can end.
    if caller.hung_up() {
        return Err(TokenError::Busy);
    }

    let now = app.clock.now();
    let status_index = app.login_share.step(app.status_indexes.next(&app.db)).await?;
    let family = begin_family(app, login, (user, status_index), &granted, now);
    let change = Change { user, attempt, family: &family, now };
    if !persist(app, &change, &stored.hash, rehashed.as_deref()).await? {
        // Switched off, given another password, or a login beside this one has just renewed the hash.
        let renewed = app.login_share.step(users::find(&app.db, user.id)).await?.filter(User::is_enabled);
        let renewed = renewed.map(|user| user.password_hash);
        let admission = app.pool.admit().map_err(pool_error)?;
        let verdict = verify(app, admission, renewed.clone(), &login.password).await?;
        let same_password = matches!(verdict, Verdict::Match { .. });
        let Some(renewed) = renewed.filter(|_| same_password) else {
            return wrong(GrantFailure::Credentials);
        };
        if !persist(app, &change, &renewed, None).await? {
            return wrong(GrantFailure::Credentials);
        }
    }

    let refresh_token = client
        .allows(GrantType::RefreshToken)
        .then(|| app.refresh_key.token(family.id, &family.secret, family.generation));
    let jkt = login.proof.as_ref().map(|proof| proof.jkt.as_str());
    let on_behalf_of = OnBehalfOf::User(user, &family);
    let issued = issue(app, Issue { client, on_behalf_of, granted, refresh_token, jkt });
    Ok(Outcome::Persisted(issued))
}

/// What a login changes.
struct Change<'a> {
    user: &'a User,
    attempt: &'a Attempt,
    family: &'a Family,
    now: Timestamp,
}

/// All of it or nothing: `false` if the password whose hash was `verified` is not the user's any more.
async fn persist(
    app: &App,
    change: &Change<'_>,
    verified: &str,
    rehashed: Option<&str>,
) -> Result<bool, TokenError> {
    let Change { user, attempt, family, now } = *change;
    let guess = attempt.guess();
    let persisted = app
        .login_share
        .step(async {
            let mut tx = app.db.begin().await?;
            if !users::record_login(&mut tx, user.id, verified, rehashed, now).await? {
                tx.rollback().await?;
                return Ok(false);
            }
            if guess.standing != Standing::Alone {
                known_sources::record(&mut tx, user.id, &guess.source, now).await?;
            }
            if guess.standing == Standing::Unknown {
                known_sources::keep_newest(&mut tx, user.id, &guess.source, OTHER_SOURCES).await?;
            }
            if !families::insert(&mut tx, family).await? {
                return Err(TokenError::UnauthorizedClient(GrantType::Password));
            }
            let reached = attempt.end_in(&mut tx, End::Right, Whose::User(user.id)).await?;
            commit_counted(app, tx, &reached).await?;
            Ok(true)
        })
        .await?;
    if persisted {
        attempt.make_room();
    }
    Ok(persisted)
}

/// Costs the same whether the user exists or not, as far as the hash is what the settings say: an imported one takes the
/// time of its own scheme until the first login, which tells that there is somebody who has not logged in yet.
async fn verify(
    app: &App,
    admission: Admission,
    stored: Option<String>,
    given: &PlainSecret,
) -> Result<Verdict, TokenError> {
    let prepared = app.policy.passwords.prepare_for_login(given.expose());
    let stored = stored.filter(|_| prepared.is_some());
    let password = prepared.unwrap_or_else(|| PlainSecret::new(String::new()));
    match app.pool.verify_admitted(admission, password, stored).await {
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
    login: &Login,
    (user, status_index): (&User, StatusIndex),
    granted: &Granted,
    now: Timestamp,
) -> Family {
    let client: &Client = login.client.client();
    let ttl = match client.allows(GrantType::RefreshToken) {
        true => client.registration.refresh_ttl.unwrap_or(app.policy.refresh_ttl),
        // A session of one access token, so that it can be ended.
        false => access_ttl(app, client),
    };
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
        source: login.family_source.clone(),
        // RFC 9449 §5: those of a client that authenticates are bound to it by that.
        jkt: login.proof.as_ref().filter(|_| client.is_public()).map(|proof| proof.jkt.clone()),
        strange: None,
        auth_time: now,
        rotated_at: now,
        expires_at: now.plus(ttl),
        status_index: Some(status_index),
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
