//! Sessions, which are refresh-token families: the operator's use cases.

use std::collections::HashMap;

use crate::model::audit::{Act, ApiKeysOf, SessionsOf};
use crate::model::id::{ClientId, FamilyId, UserId};
use crate::model::session::{Family, RevocationReason};
use crate::model::time::{Timestamp, Ttl};
use crate::model::user::Username;
use crate::protocol::key_schedule::jwks_max_age;
use crate::storage::api_keys::WhichKeys;
use crate::storage::clients::WhichClients;
use crate::storage::families::Which;
use crate::storage::revisions::{Subject, bump};
use crate::storage::{Tx, clients, families, users};

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
    /// Those that began before.
    BegunBefore(Timestamp),
    /// All there are.
    All,
}

/// What was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Sessions.
    pub sessions: u64,
    /// Clients whose own tokens were revoked.
    pub clients: u64,
    /// API keys whose tokens were revoked; the keys go on.
    pub api_keys: u64,
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

    /// Ends the sessions that are meant. Where a client is meant, or whatever there is, the tokens that clients got for
    /// themselves are revoked too, but for clients that were registered after the time that is meant. So are the tokens
    /// that were made from API keys of whoever is meant; the keys themselves go on, as passwords and client secrets do.
    pub async fn revoke_sessions(&self, sessions: &Sessions) -> Result<Ended, AdminError> {
        let which = self.which(sessions).await?;
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        // First of all: whoever registers or switches a client waits for us, or we for them.
        if !matches!(sessions, Sessions::OfUser(_) | Sessions::One(_)) {
            bump(&mut tx, Subject::Clients).await?;
        }
        let keys = match which {
            Which::User(id) => Some((WhichKeys::User(id), ApiKeysOf::User(id))),
            Which::Client(id) => Some((WhichKeys::Client(id), ApiKeysOf::Client(id.clone()))),
            Which::BegunBefore(time) => Some((WhichKeys::MadeBefore(time), ApiKeysOf::MadeBefore(time))),
            Which::All => Some((WhichKeys::All, ApiKeysOf::All)),
            Which::Family(_) => None,
        };
        let mut acts = Vec::new();
        let mut api_keys = 0;
        if let Some((keys, of)) = keys {
            bump(&mut tx, Subject::ApiKeys).await?;
            api_keys = self.cut_off_api_keys(&mut tx, keys, now).await?;
            acts.extend((api_keys > 0).then_some(Act::ApiKeyTokensRevoked(of, api_keys)));
        }
        let cut_off = self.cut_off(&mut tx, sessions, now).await?;
        if let Sessions::One(id) = sessions
            && families::find(&mut tx, *id).await?.is_none()
        {
            return Err(AdminError::NotFound { kind: "session", name: id.to_string() });
        }
        let revoked = families::revoke(&mut tx, which, RevocationReason::Operator, now).await?;
        let of = match which {
            Which::User(id) => SessionsOf::User(id),
            Which::Client(id) => SessionsOf::Client(id.clone()),
            Which::Family(id) => SessionsOf::One(id),
            Which::BegunBefore(time) => SessionsOf::BegunBefore(time),
            Which::All => SessionsOf::All,
        };
        let clients = cut_off.len() as u64;
        let ended = Act::SessionRevoked(of, revoked, RevocationReason::Operator);
        acts.extend(cut_off.into_iter().map(Act::ClientTokensRevoked).chain([ended]));
        self.commit(tx, &acts).await?;
        Ok(Ended { sessions: revoked, clients, api_keys })
    }

    /// Revokes what clients got for themselves; says which. [`Subject::Clients`] is bumped.
    async fn cut_off(
        &self,
        tx: &mut Tx,
        sessions: &Sessions,
        now: Timestamp,
    ) -> Result<Vec<ClientId>, AdminError> {
        let which = match sessions {
            Sessions::OfUser(_) | Sessions::One(_) => return Ok(Vec::new()),
            Sessions::OfClient(id) => WhichClients::One(id),
            Sessions::BegunBefore(time) => WhichClients::RegisteredBefore(*time),
            Sessions::All => WhichClients::RegisteredBefore(Timestamp::from_secs(i64::MAX)),
        };
        let clients = clients::ids(tx, which).await?;
        let count = u32::try_from(clients.len()).unwrap_or(u32::MAX);
        let fresh = self.status_indexes.take_in(tx, count).await?;
        clients::cut_off(tx, which, clients.iter().zip(fresh), now).await?;
        Ok(clients)
    }

    /// From when on services that check tokens offline by status lists see what was revoked just now: the instances
    /// take a second to know, and a list may be kept for its `ttl`.
    pub fn revocations_seen_by(&self) -> Timestamp {
        self.clock.now().plus(Ttl::from_secs(1)).plus(self.policy.status_ttl)
    }

    /// From when on services that check tokens offline see that a key was retired just now.
    pub fn retired_keys_seen_by(&self) -> Timestamp {
        self.clock.now().plus(Ttl::from_secs(1)).plus(jwks_max_age(self.policy.publish_before))
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
            Sessions::BegunBefore(time) => Which::BegunBefore(*time),
            Sessions::All => Which::All,
        })
    }
}
