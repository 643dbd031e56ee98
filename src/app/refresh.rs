//! The refresh grant: one conditional statement decides who wins; everyone else sees what it decided.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::join;

use crate::model::client::Client;
use crate::model::secret::PlainSecret;
use crate::model::session::Family;
use crate::protocol::error::{GrantFailure, TokenError};
use crate::protocol::grants::Granted;
use crate::protocol::grants::refresh_token::{Decision, Evidence, decide};
use crate::protocol::refresh_family::{PUBLIC_RETRIES, Presenter};
use crate::protocol::refresh_token::PresentedRefreshToken;
use crate::protocol::token_request::Wish;
use crate::protocol::token_response::TokenResponse;
use crate::storage::families::{Owned, Retried};
use crate::storage::{StorageError, Tx, families};

use super::App;
use super::authenticate_client::AuthenticatedClient;
use super::dpop::Proven;
use super::exchange::{PATIENCE, network_of};
use super::issue::{Issue, OnBehalfOf, issue};
use super::reuse::end_family;
use super::rotations::{Wanted, rotate};

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
    app: &Arc<App>,
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

    let mut known = presented.as_ref().and_then(|presented| app.known_families.find(presented.family));
    let mut round = 0;
    while round < ROUNDS {
        let from_memory = known.is_some();
        let owned = match (known.take(), &presented) {
            (Some(known), _) => Some(known),
            (None, Some(presented)) => {
                round += 1;
                families::find_with_user(&app.db, presented.family).await?.map(Arc::new)
            }
            (None, None) => None,
        };
        // The family that the token is genuinely of, and its user.
        let genuine = presented.as_ref().zip(owned);
        let genuine =
            genuine.filter(|(presented, owned)| app.refresh_key.vouches_for(presented, &owned.family.secret));

        let now = app.clock.now();
        let directory = app.directory.load();
        let decision = decide(&Evidence {
            token,
            wish,
            client,
            family: genuine.as_ref().map(|(token, owned)| (&owned.family, token.generation, &owned.user)),
            roles: directory.role_table(),
            presenter,
            jkt,
            rules: &app.policy.families,
            now,
        });
        if from_memory && !matches!(decision, Ok(Decision::Rotate(_))) {
            continue;
        }
        let decision = decision?;
        let Some((_, owned)) = genuine else { return Err(GrantFailure::UnknownToken.into()) };
        let Owned { family, user, users_revision } = &*owned;
        tracing::Span::current().record("user_id", user.id.to_string());

        if family.status_index.is_none() && !matches!(decision, Decision::EndFamily) {
            app.status_indexes.number_family(&app.db, family.id).await?;
            continue;
        }
        // Once for all rounds, and only for what is going to be granted.
        if !matches!(decision, Decision::EndFamily)
            && let Some(proof) = unused.take()
        {
            proof.use_up(app).await?;
        }
        let binding = binding(client, family, jkt);

        let answer = match decision {
            Decision::Rotate(granted) => {
                // In the last round whatever was read must do: somebody may be changing users all the time.
                let users_revision = (round < ROUNDS).then_some(*users_revision);
                let moved = Owned {
                    family: Family {
                        generation: family.generation + 1,
                        retries: 0,
                        source: source.clone(),
                        jkt: family.jkt.clone().or_else(|| binding.clone()),
                        rotated_at: now,
                        ..family.clone()
                    },
                    ..(*owned).clone()
                };
                let answer = hand_out(app, authenticated, (&owned, family.generation + 1), granted, jkt);
                let wanted = Wanted {
                    id: family.id,
                    generation: family.generation,
                    source: source.clone(),
                    jkt: binding,
                    idle_ttl: app.policy.families.idle_ttl,
                    now,
                    users_revision,
                };
                let answer = rotate(app, wanted).beside(answer).await?;
                if answer.is_some() {
                    app.known_families.keep(moved);
                }
                answer
            }
            Decision::Retry(granted, strange) => {
                let answer = hand_out(app, authenticated, (&owned, family.generation), granted, jkt);
                let (id, generation) = (family.id, family.generation);
                let limit = client.is_public().then_some(PUBLIC_RETRIES);
                let record = move |mut tx: Tx| async move {
                    let retry = Retried { limit, strange, jkt: binding.as_deref() };
                    let (noted, answer) =
                        join(families::record_retry(&mut tx, id, generation, retry), answer).await;
                    (tx, noted.map(|noted| noted.then_some(answer)))
                };
                decide_by(app, record).await?
            }
            Decision::EndFamily => {
                end_family(app, app.db.begin().await?, family, &source, now).await?;
                return Err(GrantFailure::Reused.into());
            }
        };
        if let Some(answer) = answer {
            return answer;
        }
        // Somebody else moved the family on; look again.
    }
    Err(TokenError::Unavailable("the family changed under every attempt".into()))
}

/// Runs the one statement that decides, and makes it durable if it says yes. It goes on if nobody waits any more, but
/// no longer than anybody would have: a connection that leads nowhere must not be held for ever.
pub(super) async fn decide_by<T, F>(
    app: &App,
    statement: impl FnOnce(Tx) -> F + Send + 'static,
) -> Result<Option<T>, StorageError>
where
    T: Send + 'static,
    F: Future<Output = (Tx, Result<Option<T>, StorageError>)> + Send,
{
    let db = app.db.clone();
    let decide = async move {
        let (tx, decided) = statement(db.begin_one_statement().await?).await;
        match &decided {
            Ok(Some(_)) => tx.commit().await?,
            Ok(None) => tx.rollback().await?,
            Err(_) => tx.give_up().await,
        }
        decided
    };
    let decided = app.db.lasting().to_the_end(async { tokio::time::timeout(PATIENCE, decide).await }).await?;
    decided.unwrap_or_else(|_| Err(StorageError::Unavailable("no answer in time".into())))
}

/// RFC 9449 §5: a refresh token that a public client gets for a request with a proof is bound to its key, also if the one
/// before was not; what is bound stays so, whatever becomes of the client.
fn binding(client: &Client, family: &Family, jkt: Option<&str>) -> Option<String> {
    jkt.filter(|_| client.is_public() || family.jkt.is_some()).map(str::to_owned)
}

/// Makes the answer that gives out the refresh token of `generation`. It is made while the disk writes down that it may
/// be given; nobody sees it before that.
fn hand_out(
    app: &Arc<App>,
    client: &AuthenticatedClient,
    (owned, generation): (&Arc<Owned>, u32),
    granted: Granted,
    jkt: Option<&str>,
) -> impl Future<Output = Result<TokenResponse, TokenError>> + Send + use<> {
    let (app, client, owned) = (Arc::clone(app), client.clone(), Arc::clone(owned));
    let jkt = jkt.map(str::to_owned);
    async move {
        let Owned { family, user, .. } = &*owned;
        let refresh_token = Some(app.refresh_key.token(family.id, &family.secret, generation));
        let on_behalf_of = OnBehalfOf::User(user, family);
        issue(
            &app,
            Issue { client: client.client(), on_behalf_of, granted, refresh_token, jkt: jkt.as_deref() },
        )
    }
}
