//! The refresh grant: one conditional statement decides who wins; everyone else sees what it decided.

use std::net::IpAddr;

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
use crate::storage::{families, users};

use super::App;
use super::authenticate_client::AuthenticatedClient;
use super::exchange::network_of;
use super::issue::{Issue, issue};
use super::reuse::end_family;

/// How often a decision is made anew because the family changed between reading and writing. Each change moves the
/// family on, so that three rounds see every standing there is.
const ROUNDS: usize = 4;

/// Answers a refresh grant.
pub(super) async fn refresh(
    app: &App,
    authenticated: &AuthenticatedClient,
    token: &PlainSecret,
    wish: &Wish,
    address: IpAddr,
) -> Result<TokenResponse, TokenError> {
    let client = authenticated.client();
    // Of a client that authenticates too: where two come from, one may be a thief who has its secret.
    let source = network_of(address);
    let presenter = match client.is_public() {
        true => Presenter::Public { source: &source },
        false => Presenter::Confidential { source: &source },
    };
    let presented = PresentedRefreshToken::read(token.expose());

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
            rules: &app.policy.families,
            now,
        })?;
        let Some((family, _, user)) = &family else { return Err(GrantFailure::UnknownToken.into()) };
        tracing::Span::current().record("user_id", user.id.to_string());

        let mut tx = app.db.begin().await?;
        match decision {
            Decision::Rotate(granted) => {
                let idle_ttl = app.policy.families.idle_ttl;
                if families::rotate(&mut tx, family.id, family.generation, &source, idle_ttl, now).await? {
                    tx.commit().await?;
                    return hand_out(app, authenticated, (family, user), family.generation + 1, granted);
                }
            }
            Decision::Retry(granted, strange) => {
                let limit = client.is_public().then_some(PUBLIC_RETRIES);
                if families::record_retry(&mut tx, family.id, family.generation, limit, strange).await? {
                    tx.commit().await?;
                    return hand_out(app, authenticated, (family, user), family.generation, granted);
                }
            }
            Decision::EndFamily => {
                end_family(app, tx, family, &source, now).await?;
                return Err(GrantFailure::Reused.into());
            }
        }
        // Somebody else moved the family on; look again.
        tx.rollback().await?;
    }
    Err(TokenError::Unavailable("the family changed under every attempt".into()))
}

/// The family that the token is genuinely of, and its user.
async fn gather(
    app: &App,
    presented: Option<&PresentedRefreshToken>,
) -> Result<Option<(Family, u32, User)>, TokenError> {
    let Some(presented) = presented else { return Ok(None) };
    let family = families::find(&app.db, presented.family).await?;
    let Some(family) = family.filter(|family| app.refresh_key.vouches_for(presented, &family.secret)) else {
        return Ok(None);
    };
    let user = users::find(&app.db, family.user_id).await?;
    Ok(user.map(|user| (family, presented.generation, user)))
}

fn hand_out(
    app: &App,
    authenticated: &AuthenticatedClient,
    (family, user): (&Family, &User),
    generation: u32,
    granted: Granted,
) -> Result<TokenResponse, TokenError> {
    let refresh_token = Some(app.refresh_key.token(family.id, &family.secret, generation));
    let subject = Some((user, family.auth_time));
    issue(app, Issue { client: authenticated.client(), subject, granted, refresh_token })
}
