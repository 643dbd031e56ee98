//! A token that is presented to be exchanged for another, RFC 8693 §2.1: who it stands for, and who has acted for them.
//! Must not know whether it is live.

use serde::{Deserialize, Serialize};

use crate::model::client::Client;
use crate::model::id::{ClientId, UserId};
use crate::model::role::RoleName;
use crate::model::scope::Scope;
use crate::model::status::StatusIndex;
use crate::model::time::Timestamp;

use super::access_token::{Subject, UserClaims};
use super::introspection::may_learn_of;
use super::token_id::status_indexes_of;

/// As many services may stand in a row behind a token. More is a loop, or a design that nobody can audit any more; each
/// makes the token longer, which comes in a header.
pub const MOST_ACTORS: usize = 5;

/// An access token of ours that somebody presents in the hope of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectToken {
    /// The client it was issued to.
    pub issued_to: ClientId,
    /// Who it is for.
    pub audience: Box<[Box<str>]>,
    /// What it allows.
    pub scope: Scope,
    /// Who it stands for.
    pub stands_for: StandsFor,
    /// The thumbprint of the key that it is bound to, RFC 9449 §6.1.
    pub jkt: Option<String>,
    /// Who acts for them with it, if it was itself exchanged.
    pub actor: Option<Actor>,
    /// When it expires.
    pub expires_at: Timestamp,
    /// What it is revoked by.
    pub status_index: StatusIndex,
    /// By these too: those of the clients that act with it.
    pub actor_indexes: Vec<StatusIndex>,
}

/// Who a token stands for, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StandsFor {
    /// A client that got it for itself.
    Client(ClientId),
    /// A user.
    User {
        /// `sub`.
        id: UserId,
        /// `preferred_username`.
        username: String,
        /// `roles`.
        roles: Vec<RoleName>,
        /// `auth_time`; `None` where an API key stands for them.
        auth_time: Option<Timestamp>,
    },
}

impl StandsFor {
    /// The user, if it is one.
    pub const fn user(&self) -> Option<UserId> {
        match self {
            Self::Client(_) => None,
            Self::User { id, .. } => Some(*id),
        }
    }

    /// What the next token says of them: the same.
    pub fn subject(&self) -> Subject<'_> {
        match self {
            Self::Client(id) => Subject::Client(id),
            Self::User { id, username, roles, auth_time } => {
                Subject::User(UserClaims { id: *id, username, roles, auth_time: *auth_time })
            }
        }
    }
}

/// The claim `act`, RFC 8693 §4.1: who acts, and in it whoever acted before. Only the outermost counts for access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The id of the client.
    sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Box<Self>>,
}

impl Actor {
    /// `client` acts, after whoever did so `before`; `None` if those are [`MOST_ACTORS`] already.
    pub fn after(before: Option<&Self>, client: &ClientId) -> Option<Self> {
        let actors = std::iter::successors(before, |actor| actor.act.as_deref()).count();
        let act = before.cloned().map(Box::new);
        (actors < MOST_ACTORS).then(|| Self { sub: client.to_string(), act })
    }
}

impl SubjectToken {
    /// Reads what introspection says of a live access token; `None` if that is not what introspection says.
    pub fn read(introspection: &str) -> Option<Self> {
        let said: Said = serde_json::from_str(introspection).ok()?;
        let (status_index, actor_indexes) = status_indexes_of(&said.jti)?;
        // RFC 9068 §5: what is a user's id is never a client's.
        let stands_for = match said.sub.parse::<UserId>() {
            // Nor has a client ever logged in.
            Err(_) if said.auth_time.is_some() => return None,
            Err(_) => StandsFor::Client(said.sub.parse().ok()?),
            Ok(id) => StandsFor::User {
                id,
                username: said.username?,
                roles: said.roles.iter().map(|role| role.parse().ok()).collect::<Option<_>>()?,
                auth_time: said.auth_time.map(Timestamp::from_secs),
            },
        };
        Some(Self {
            issued_to: said.client_id.parse().ok()?,
            audience: match said.aud {
                Aud::One(one) => [one].into(),
                Aud::Many(many) => many,
            },
            scope: said.scope.parse().ok()?,
            stands_for,
            jkt: said.cnf.map(|cnf| cnf.jkt),
            actor: said.act,
            expires_at: Timestamp::from_secs(said.exp),
            status_index,
            actor_indexes,
        })
    }

    /// Whether `client` holds it rightly: it was issued to it, or is for an audience that it serves. Whoever else has it
    /// has found it, or was given it by a service that should not have.
    pub fn is_for(&self, client: &Client) -> bool {
        may_learn_of(client, &self.issued_to, &self.audience)
    }
}

#[derive(Deserialize)]
struct Said {
    sub: String,
    client_id: String,
    aud: Aud,
    jti: String,
    exp: i64,
    #[serde(default)]
    scope: String,
    auth_time: Option<i64>,
    username: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    cnf: Option<Confirmation>,
    act: Option<Actor>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Aud {
    One(Box<str>),
    Many(Box<[Box<str>]>),
}

#[derive(Deserialize)]
struct Confirmation {
    jkt: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn actors_nest_from_the_last_to_the_first_and_end_at_five() {
        let client = |name: &str| name.parse::<ClientId>().expect("an id");
        let mut chain = None;
        for name in ["a", "b", "c", "d", "e"] {
            chain = Actor::after(chain.as_ref(), &client(name));
        }

        let nested = json!({"sub": "e", "act": {"sub": "d", "act": {"sub": "c", "act": {"sub": "b", "act": {"sub": "a"}}}}});
        assert_eq!(serde_json::to_value(&chain).expect("json"), nested);
        assert_eq!(Actor::after(chain.as_ref(), &client("f")), None);
    }

    #[test]
    fn what_introspection_does_not_say_is_no_subject() {
        let jti = crate::protocol::token_id::token_id(StatusIndex::new(7).expect("there"), &[], [1; 12]);
        let client = json!({"sub": "a", "client_id": "a", "aud": "urn:a", "jti": jti, "exp": 9});
        let read = |said: &serde_json::Value| SubjectToken::read(&said.to_string());

        let token = read(&client).expect("a token");
        assert_eq!(token.stands_for, StandsFor::Client("a".parse().expect("an id")));
        assert_eq!((token.scope, token.expires_at.as_secs()), (Scope::empty(), 9));
        for (name, wrong) in [
            ("sub", json!(null)),
            ("client_id", json!("")),
            ("aud", json!(7)),
            ("jti", json!("x")),
            ("exp", json!("9")),
            // A user without a name, and one with an id that is a client's.
            ("sub", json!("7f0e5c1a-3d3b-4a53-9f6e-0c4f6f3c2b11")),
            ("auth_time", json!(1)),
            ("act", json!({"act": {"sub": "a"}})),
        ] {
            let mut said = client.clone();
            said[name] = wrong;
            assert_eq!(read(&said), None, "{name}");
        }
    }
}
