//! Forward authentication: whether a reverse proxy may let a request through, and with which token. The use case behind
//! `/verify`. From memory alone, so that it is quick and goes on without the database.
//!
//! Nobody has to prove who they are to ask: whoever holds a credential hears what it is worth, and gets at most what they
//! could do with it anyway, for less time and for one audience.

use crate::model::resource::Audience;
use crate::model::secret::PlainSecret;
use crate::protocol::error::TokenError;
use crate::protocol::subject_token::SubjectToken;
use crate::protocol::verify::{Credential, Denied, LIFETIME, Wanted, check};

use super::App;
use super::issue::{Mint, mint, signer};

/// A request that may pass.
#[derive(Debug)]
pub struct Passed {
    /// Who sent it.
    pub subject: SubjectToken,
    /// An access token of theirs for the service behind the proxy, and nobody else.
    pub token: PlainSecret,
}

/// Judges a credential by what is wanted of it.
pub fn verify(app: &App, credential: Credential, wanted: &Wanted) -> Result<Passed, Denied> {
    let subject = match &credential {
        Credential::Bearer(token) => subject_of(app, token)?,
        Credential::ApiKey(key) => app.live_api_key(key)?,
    };
    let span = tracing::Span::current();
    span.record("client_id", subject.issued_to.as_str());
    if let Some(id) = subject.stands_for.user() {
        span.record("user_id", id.to_string());
    }

    check(wanted, &subject, &app.policy.default_audience)?;

    // A token that is for this service alone is what a fresh one would be.
    let token = match credential {
        Credential::Bearer(token) if subject.audience.len() == 1 => token,
        Credential::Bearer(_) | Credential::ApiKey(_) => fresh(app, &subject, wanted.audience.as_ref())?,
    };
    Ok(Passed { subject, token })
}

fn subject_of(app: &App, token: &PlainSecret) -> Result<SubjectToken, Denied> {
    let live = app.live_access_token(token.expose()).map_err(|cause| Denied::Token(cause.to_string()))?;
    SubjectToken::read(&live.introspection).ok_or_else(|| {
        TokenError::Internal("a live access token that introspection cannot tell".into()).into()
    })
}

/// For `audience` alone; it says the same of the same, ends no later, and with the same indexes.
fn fresh(app: &App, subject: &SubjectToken, audience: Option<&Audience>) -> Result<PlainSecret, TokenError> {
    let directory = app.directory.load();
    // None for a user's API key, which comes without any client.
    let client = directory.client(&subject.issued_to);
    let registration = client.as_ref().map(|client| &client.registration);
    let key = signer(app, registration.and_then(|registration| registration.alg))?;
    let now = app.clock.now();
    let minted = mint(
        app,
        &Mint {
            key: &key,
            client_id: &subject.issued_to,
            subject: subject.stands_for.subject(),
            actor: subject.actor.as_ref(),
            audience: audience.map_or(&[], std::slice::from_ref),
            scope: &subject.scope,
            status_index: subject.status_index,
            actor_indexes: &subject.actor_indexes,
            says_status: registration.is_none_or(|registration| registration.status),
            now,
            ttl: LIFETIME.min(now.whole_secs_until(subject.expires_at)),
            jkt: None,
        },
    )?;
    Ok(PlainSecret::new(minted))
}
