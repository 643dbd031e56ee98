//! Sessions, which are refresh-token families: the operator's use cases.

use std::collections::HashMap;

use crate::model::audit::{Act, SessionsOf};
use crate::model::id::{ClientId, FamilyId, UserId};
use crate::model::session::{Family, RevocationReason};
use crate::model::time::Timestamp;
use crate::model::user::Username;
use crate::storage::families::Which;
use crate::storage::{families, users};

use super::App;
use super::error::AdminError;

/// Which sessions are meant.
#[derive(Clone, Debug)]
pub enum Sessions {
    /// All of a user.
    OfUser(Username),
    /// All of a client.
    OfClient(ClientId),
    /// One.
    One(FamilyId),
    /// All there are.
    All,
}

/// A session with the name of its user.
#[derive(Debug)]
pub struct SessionRow {
    /// The family.
    pub family: Family,
    /// Whose it is.
    pub username: Option<Username>,
    /// When it ends if nobody uses it.
    pub idle_at: Timestamp,
}

impl App {
    /// The sessions that are meant and have not expired, the newest first.
    pub async fn list_sessions(&self, sessions: &Sessions) -> Result<Vec<SessionRow>, AdminError> {
        let which = self.which(sessions).await?;
        let found = families::list(&self.db, which, self.clock.now()).await?;
        let all = users::list(&self.db).await?;
        let names: HashMap<UserId, Username> = all.into_iter().map(|user| (user.id, user.username)).collect();
        let idle_ttl = self.policy.families.idle_ttl;
        Ok(found
            .into_iter()
            .map(|family| SessionRow {
                username: names.get(&family.user_id).cloned(),
                idle_at: family.rotated_at.plus(idle_ttl).min(family.expires_at),
                family,
            })
            .collect())
    }

    /// Ends the sessions that are meant; gives their number.
    pub async fn revoke_sessions(&self, sessions: &Sessions) -> Result<u64, AdminError> {
        let which = self.which(sessions).await?;
        let mut tx = self.db.begin().await?;
        if let Sessions::One(id) = sessions
            && families::find(&mut tx, *id).await?.is_none()
        {
            return Err(AdminError::NotFound { kind: "session", name: id.to_string() });
        }
        let now = self.clock.now();
        let revoked = families::revoke(&mut tx, which, RevocationReason::Operator, now).await?;
        let of = match which {
            Which::User(id) => SessionsOf::User(id),
            Which::Client(id) => SessionsOf::Client(id.clone()),
            Which::Family(id) => SessionsOf::One(id),
            Which::All => SessionsOf::All,
        };
        self.commit(tx, &[Act::SessionRevoked(of, revoked, RevocationReason::Operator)]).await?;
        Ok(revoked)
    }

    /// What the names mean; refuses names of nobody.
    async fn which<'a>(&self, sessions: &'a Sessions) -> Result<Which<'a>, AdminError> {
        Ok(match sessions {
            Sessions::OfUser(username) => Which::User(self.find_user(username).await?.id),
            Sessions::OfClient(id) => {
                self.find_client(id).await?;
                Which::Client(id)
            }
            Sessions::One(id) => Which::Family(*id),
            Sessions::All => Which::All,
        })
    }
}
