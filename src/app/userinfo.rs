//! The user behind an access token, as they are in the database now: the use case behind `/userinfo`.

use crate::model::secret::PlainSecret;
use crate::model::user::User;
use crate::protocol::bearer::{BearerError, Scheme};
use crate::protocol::userinfo;
use crate::storage::users;

use super::App;
use super::dpop::ResourceRequest;
use super::exchange::in_time;

/// A request with an access token, read but not judged.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The access token.
    pub token: &'a PlainSecret,
    /// How it is presented.
    pub scheme: Scheme,
    /// The method of the request.
    pub method: &'a str,
    /// The address below the issuer.
    pub path: &'a str,
    /// The `DPoP` headers.
    pub proofs: &'a [&'a [u8]],
}

/// What is told of the user, as JSON.
pub async fn userinfo(app: &App, presented: &Presented<'_>) -> Result<String, BearerError> {
    let Presented { token, scheme, method, path, proofs } = *presented;
    let invalid = |cause: &str| BearerError::Invalid(cause.to_owned());
    let live = app.live_access_token(token.expose());
    let live = live.map_err(|cause| BearerError::Invalid(cause.to_string()))?;
    let span = tracing::Span::current();
    span.record("client_id", live.client_id.as_str());
    let id = live.user_id.ok_or(BearerError::NoUser)?;
    span.record("user_id", id.to_string());

    let told = in_time(app, async {
        let user = users::find(&app.db, id).await?;
        // Who was switched off or deleted a moment ago may have tokens that this instance has not seen revoked.
        let Some(user) = user.filter(User::is_enabled) else {
            return Ok(Err(invalid("its user is disabled or deleted")));
        };
        // Last of all, because it uses the proof up.
        let jkt = live.jkt.as_deref();
        let access_token = token.expose();
        let request = ResourceRequest { method, path, proofs, scheme, access_token, jkt };
        let possession = app.check_possession(&request).await;
        Ok(possession.map_err(BearerError::from).map(|()| userinfo::userinfo(&user, &live.scope)))
    });
    Box::pin(told).await?
}
