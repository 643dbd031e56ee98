//! The refresh grant: one conditional statement decides who wins; everyone else sees what it decided.

use std::net::IpAddr;

use crate::model::client::Client;
use crate::model::secret::PlainSecret;
use crate::model::session::Family;
use crate::model::user::User;
use crate::protocol::error::{GrantFailure, TokenError};
use crate::protocol::grants::Granted;
use crate::protocol::grants::refresh_token::{Decision, Evidence, decide};
use crate::protocol::refresh_family::{PUBLIC_RETRIES, Presenter};
use crate::protocol::refresh_token::PresentedRefreshToken;
use crate::protocol::token_request::Wish;
use crate::protocol::token_response::TokenResponse;
use crate::storage::families::{Moved, Retried};
use crate::storage::{StorageError, Tx, families};

use super::App;
use super::authenticate_client::AuthenticatedClient;
use super::dpop::Proven;
use super::exchange::{PATIENCE, network_of};
use super::issue::{Issue, issue};
use super::reuse::end_family;

/// How often a decision is made anew because the family changed between reading and writing. Each change moves the
/// family on, so that three rounds see every standing there is.
const ROUNDS: usize = 4;

/// Where a refresh token comes from.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The address.
    pub(super) address: IpAddr,
    /// The key of whoever sent it, if they prove to have one.
    pub(super) proof: Option<&'a Proven>,
}

/// Answers a refresh grant.
pub(super) async fn refresh(
    app: &App,
    authenticated: &AuthenticatedClient,
    token: &PlainSecret,
    wish: &Wish,
    Place { address, proof }: Place<'_>,
) -> Result<TokenResponse, TokenError> {
    let client = authenticated.client();
    // Of a client that authenticates too: where two come from, one may be a thief who has its secret.
    let source = network_of(address);
    let presenter = match client.is_public() {
        true => Presenter::Public { source: &source },
        false => Presenter::Confidential { source: &source },
    };
    let presented = PresentedRefreshToken::read(token.expose());
    let jkt = proof.map(|proof| proof.jkt.as_str());
    let mut unused = proof;

    for _ in 0..ROUNDS {
        let family = gather(app, presented.as_ref()).await?;

        let now = app.clock.now();
        let directory = app.directory.load();
        let decision = decide(&Evidence {
            token,
            wish,
            client,
            family: family.as_ref().map(|(family, generation, user)| (family, *generation, user)),
            roles: directory.role_table(),
            presenter,
            jkt,
            rules: &app.policy.families,
            now,
        })?;
        let Some((family, _, user)) = &family else { return Err(GrantFailure::UnknownToken.into()) };
        tracing::Span::current().record("user_id", user.id.to_string());

        // Once for all rounds, and only for what is going to be granted.
        if !matches!(decision, Decision::EndFamily)
            && let Some(proof) = unused.take()
        {
            proof.use_up(app).await?;
        }
        let binding = binding(client, family, jkt);

        match decision {
            Decision::Rotate(granted) => {
                let (id, generation) = (family.id, family.generation);
                let (idle_ttl, source) = (app.policy.families.idle_ttl, source.clone());
                let rotate = move |mut tx: Tx| async move {
                    let moved = Moved { source: &source, jkt: binding.as_deref(), idle_ttl, now };
                    let won = families::rotate(&mut tx, id, generation, moved).await;
                    (tx, won)
                };
                if decide_by(app, rotate).await? {
                    return hand_out(app, client, (family, user, family.generation + 1), granted, jkt);
                }
            }
            Decision::Retry(granted, strange) => {
                let (id, generation) = (family.id, family.generation);
                let limit = client.is_public().then_some(PUBLIC_RETRIES);
                let record = move |mut tx: Tx| async move {
                    let retry = Retried { limit, strange, jkt: binding.as_deref() };
                    let noted = families::record_retry(&mut tx, id, generation, retry).await;
                    (tx, noted)
                };
                if decide_by(app, record).await? {
                    return hand_out(app, client, (family, user, family.generation), granted, jkt);
                }
            }
            Decision::EndFamily => {
                end_family(app, app.db.begin().await?, family, &source, now).await?;
                return Err(GrantFailure::Reused.into());
            }
        }
        // Somebody else moved the family on; look again.
    }
    Err(TokenError::Unavailable("the family changed under every attempt".into()))
}

/// Runs the one statement that decides, and makes it durable if it says yes. It goes on if nobody waits any more, but
/// no longer than anybody would have: a connection that leads nowhere must not be held for ever.
pub(super) async fn decide_by<F>(
    app: &App,
    statement: impl FnOnce(Tx) -> F + Send + 'static,
) -> Result<bool, StorageError>
where
    F: Future<Output = (Tx, Result<bool, StorageError>)> + Send,
{
    let db = app.db.clone();
    let decide = async move {
        let (tx, decided) = statement(db.begin_one_statement().await?).await;
        match decided {
            Ok(true) => tx.commit().await?,
            Ok(false) => tx.rollback().await?,
            Err(_) => tx.give_up().await,
        }
        decided
    };
    let decided = tokio::spawn(tokio::time::timeout(PATIENCE, decide)).await;
    let decided = decided.map_err(|error| StorageError::Unavailable(error.to_string()))?;
    decided.unwrap_or_else(|_| Err(StorageError::Unavailable("no answer in time".into())))
}

/// The family that the token is genuinely of, and its user.
async fn gather(
    app: &App,
    presented: Option<&PresentedRefreshToken>,
) -> Result<Option<(Family, u32, User)>, TokenError> {
    let Some(presented) = presented else { return Ok(None) };
    let found = families::find_with_user(&app.db, presented.family).await?;
    let genuine = found.filter(|(family, _)| app.refresh_key.vouches_for(presented, &family.secret));
    Ok(genuine.map(|(family, user)| (family, presented.generation, user)))
}

/// RFC 9449 §5: a refresh token that a public client gets for a request with a proof is bound to its key, also if the one
/// before was not; what is bound stays so, whatever becomes of the client.
fn binding(client: &Client, family: &Family, jkt: Option<&str>) -> Option<String> {
    jkt.filter(|_| client.is_public() || family.jkt.is_some()).map(str::to_owned)
}

fn hand_out(
    app: &App,
    client: &Client,
    (family, user, generation): (&Family, &User, u32),
    granted: Granted,
    jkt: Option<&str>,
) -> Result<TokenResponse, TokenError> {
    let refresh_token = Some(app.refresh_key.token(family.id, &family.secret, generation));
    let subject = Some((user, family));
    issue(app, Issue { client, subject, granted, refresh_token, jkt })
}
