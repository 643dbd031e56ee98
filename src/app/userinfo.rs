//! The user behind an access token, as they are in the database now: the use case behind `/userinfo`.

use crate::model::secret::PlainSecret;
use crate::model::user::User;
use crate::protocol::bearer::BearerError;
use crate::protocol::userinfo;
use crate::storage::users;

use super::App;
use super::exchange::in_time;

/// What is told of the user, as JSON.
pub async fn userinfo(app: &App, token: &PlainSecret) -> Result<String, BearerError> {
    let invalid = |cause: &str| BearerError::Invalid(cause.to_owned());
    let live = app.live_access_token(token.expose());
    let live = live.map_err(|cause| BearerError::Invalid(cause.to_string()))?;
    let span = tracing::Span::current();
    span.record("client_id", live.client_id.as_str());
    // RFC 9449 §7.2: whoever stole it cannot use it as a plain bearer token.
    if live.is_bound {
        return Err(invalid("it is bound to a key, and no proof of that key came with it"));
    }
    let id = live.user_id.ok_or(BearerError::NoUser)?;
    span.record("user_id", id.to_string());

    let user = in_time(app, async { Ok(users::find(&app.db, id).await?) }).await?;
    // Who was switched off or deleted a moment ago may have tokens that this instance has not seen revoked.
    let user = user.filter(User::is_enabled).ok_or_else(|| invalid("its user is disabled or deleted"))?;
    Ok(userinfo::userinfo(&user, &live.scope))
}
