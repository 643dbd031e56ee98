//! The audit: what may stand in it, and how its head is written down. Knows neither the key nor the table of the
//! chain, and no variant of [`Act`] has a field that could hold a secret.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::api_key::{ApiKeyId, Owner, Terms};
use super::client::Registration;
use super::id::{ClientId, FamilyId, UserId, excerpt};
use super::key::{KeyState, Kid, SigningAlgorithm};
use super::login_attempts::CounterKind;
use super::role::{Role, RoleName};
use super::session::RevocationReason;
use super::time::Timestamp;
use super::user::Username;

/// Who did it, as far as the process knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A person at the command line: the operating system's name of them.
    Operator(String),
    /// A server by itself: its host and process.
    Server(String),
    /// A server because of what came in the name of this client.
    Client(ClientId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(name) => write!(f, "cli:{name}"),
            Self::Server(instance) => write!(f, "server:{instance}"),
            Self::Client(id) => write!(f, "client:{id}"),
        }
    }
}

/// Something as it was and as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<T> {
    /// As it was.
    pub before: T,
    /// As it is.
    pub after: T,
}

/// Whose sessions were ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionsOf {
    /// All of a user.
    User(UserId),
    /// All of a client.
    Client(ClientId),
    /// One.
    One(FamilyId),
    /// Those that had begun before.
    BegunBefore(Timestamp),
    /// All there were.
    All,
}

/// Which API keys something was done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiKeysOf {
    /// All of a user.
    User(UserId),
    /// All of a client.
    Client(ClientId),
    /// One.
    One(ApiKeyId),
    /// Those that had been made before.
    MadeBefore(Timestamp),
    /// All there were.
    All,
}

/// Something that is done under audit. A stranger must not be able to cause one cheaply, because rows stay for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A client was registered.
    ClientCreated(ClientId, Box<Registration>),
    /// An operator changed a client.
    ClientUpdated(ClientId, Box<Change<Registration>>),
    /// A client got another secret, or lost its own because it became public.
    ClientSecretRotated {
        /// Which client.
        client: ClientId,
        /// How many secrets work now.
        live: usize,
        /// How long the one before goes on working, if it does.
        old_until: Option<Timestamp>,
    },
    /// A client was switched on.
    ClientEnabled(ClientId),
    /// A client was switched off, and this many sessions with it.
    ClientDisabled(ClientId, u64),
    /// The tokens that a client got for itself were revoked: it gave one back (RFC 7009), or an operator cut it off.
    ClientTokensRevoked(ClientId),
    /// A client was deleted with its sessions.
    ClientDeleted(ClientId),
    /// A user was registered.
    UserCreated(UserId, Username, Vec<RoleName>),
    /// Users were brought in from elsewhere, all at once. One row, because a million would hold up everybody who waits
    /// for the head of the chain, and hold names for ever: who came is in the file of this hash, and in the users of
    /// this time; how many came with which role is here.
    UsersImported {
        /// How the source was read.
        format: &'static str,
        /// Of the file, in hex; none for a table.
        sha256: Option<String>,
        /// How many.
        created: u64,
        /// How many of them hold each role.
        roles: Vec<(RoleName, u64)>,
    },
    /// An operator changed a user.
    UserUpdated {
        /// Which user.
        user: UserId,
        /// What they are called.
        username: Username,
        /// The fields that are different now. What an e-mail address or a name was is nobody's business for ever.
        changed: Vec<&'static str>,
        /// What they hold.
        roles: Change<Vec<RoleName>>,
    },
    /// A user's password was set anew, which ended this many sessions.
    UserPasswordSet(UserId, Username, u64),
    /// A user was switched on.
    UserEnabled(UserId, Username),
    /// A user was switched off, and this many sessions with them.
    UserDisabled(UserId, Username, u64),
    /// A user was deleted with their sessions.
    UserDeleted(UserId, Username),
    /// A role was made.
    RoleCreated(Role),
    /// A role was changed.
    RoleUpdated(Box<Change<Role>>),
    /// A role was deleted and taken from its holders.
    RoleDeleted(Role),
    /// Sessions were ended by a decision: whose, how many, why.
    SessionRevoked(SessionsOf, u64, RevocationReason),
    /// A replaced refresh token was presented, which ended its family. Once for each family.
    SessionReuseDetected {
        /// Which family.
        family: FamilyId,
        /// At which client.
        client: ClientId,
        /// Of which user.
        user: UserId,
        /// The network the token came from, or the client that authenticated; unknown if the row was written later.
        source: Option<String>,
    },
    /// An API key was made.
    ApiKeyCreated(ApiKeyId, Box<Terms>),
    /// This many API keys were ended.
    ApiKeyRevoked(ApiKeysOf, u64),
    /// The tokens that were made from this many API keys were revoked, and the keys go on.
    ApiKeyTokensRevoked(ApiKeysOf, u64),
    /// A signing key was made, in this state.
    KeyMade(Kid, SigningAlgorithm, KeyState),
    /// A pending key will sign from another time on.
    KeyScheduled(Kid, Timestamp),
    /// A key signs from now on.
    KeyActivated {
        /// Which key.
        kid: Kid,
        /// The one that signed before, and until when it stays published.
        replaced: Option<(Kid, Timestamp)>,
    },
    /// An operator took a key out of the JWKS before its time; the other one signs in its place, if it signed.
    KeyRetired {
        /// Which key.
        kid: Kid,
        /// What it was.
        state: KeyState,
        /// The key that took its place.
        successor: Option<Kid>,
    },
    /// A retired key whose tokens have all expired is gone.
    KeyRemoved(Kid),
    /// The root key was sealed under another encryption key.
    KeyResealed {
        /// Until when the old encryption key is accepted.
        old_until: Option<Timestamp>,
    },
    /// Failed logins reached a limit. To be recorded when the limit is reached, not with every attempt beyond it.
    LoginLimitReached {
        /// Which limit.
        limit: CounterKind,
        /// Whose account, if it is a user's and there is one of that name.
        user: Option<UserId>,
        /// Whose secret, if it is a client's.
        client: Option<ClientId>,
        /// Where the attempts come from.
        source: String,
    },
}

/// An act as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, such as `client.created`.
    pub act: &'static str,
    /// `client`, `user`, `role`, `session`, `api_key`, `key`, `source`, `begun_before`, `made_before` or `all`.
    pub subject_kind: &'static str,
    /// The id or name of what was acted on; empty for all.
    pub subject: String,
    /// What else is worth knowing: one JSON object, its members sorted.
    pub details: String,
}

impl Act {
    /// How the act is stored. The one place where an act gets its name.
    pub fn entry(&self) -> Entry {
        let (act, (subject_kind, subject), details) = match self {
            Self::ClientCreated(id, registration) => {
                ("client.created", client(id), json!(registered(registration)))
            }
            Self::ClientUpdated(id, change) => ("client.updated", client(id), client_change(change)),
            Self::ClientSecretRotated { client: id, live, old_until } => (
                "client.secret_rotated",
                client(id),
                json!({"live_secrets": live, "old_until": old_until.map(Timestamp::rfc3339)}),
            ),
            Self::ClientEnabled(id) => ("client.enabled", client(id), json!({})),
            Self::ClientDisabled(id, ended) => {
                ("client.disabled", client(id), json!({"sessions_ended": ended}))
            }
            Self::ClientTokensRevoked(id) => ("client.tokens_revoked", client(id), json!({})),
            Self::ClientDeleted(id) => ("client.deleted", client(id), json!({})),
            Self::UserCreated(id, name, roles) => {
                ("user.created", user(*id), json!({"username": name.as_str(), "roles": texts(roles)}))
            }
            Self::UsersImported { format, sha256, created, roles } => {
                let held: Map<_, _> =
                    roles.iter().map(|(role, users)| (role.to_string(), json!(users))).collect();
                let details = json!({"format": format, "sha256": sha256, "users": created, "roles": held});
                ("user.imported", ("all", String::new()), details)
            }
            Self::UserUpdated { user: id, username, changed, roles } => {
                let mut details = json!({"username": username.as_str(), "changed": changed});
                if roles.before != roles.after {
                    details["roles"] = json!({"from": texts(&roles.before), "to": texts(&roles.after)});
                }
                ("user.updated", user(*id), details)
            }
            Self::UserPasswordSet(id, name, ended) => {
                ("user.password_set", user(*id), json!({"username": name.as_str(), "sessions_ended": ended}))
            }
            Self::UserEnabled(id, name) => ("user.enabled", user(*id), json!({"username": name.as_str()})),
            Self::UserDisabled(id, name, ended) => {
                ("user.disabled", user(*id), json!({"username": name.as_str(), "sessions_ended": ended}))
            }
            Self::UserDeleted(id, name) => ("user.deleted", user(*id), json!({"username": name.as_str()})),
            Self::RoleCreated(made) => ("role.created", role(made), json!({"scope": made.scope.to_string()})),
            Self::RoleUpdated(change) => ("role.updated", role(&change.after), role_change(change)),
            Self::RoleDeleted(gone) => ("role.deleted", role(gone), json!({"scope": gone.scope.to_string()})),
            Self::SessionRevoked(of, number, reason) => (
                "session.revoked",
                sessions_of(of),
                json!({"sessions_ended": number, "reason": reason.as_str()}),
            ),
            Self::SessionReuseDetected { family, client, user, source } => (
                "session.reuse_detected",
                ("session", family.to_string()),
                json!({"client_id": client.as_str(), "user_id": user.to_string(), "source": source}),
            ),
            Self::ApiKeyCreated(id, terms) => {
                ("api_key.created", api_keys_of(&ApiKeysOf::One(*id)), api_key(terms))
            }
            Self::ApiKeyRevoked(of, number) => {
                ("api_key.revoked", api_keys_of(of), json!({"api_keys_ended": number}))
            }
            Self::ApiKeyTokensRevoked(of, number) => {
                ("api_key.tokens_revoked", api_keys_of(of), json!({"api_keys": number}))
            }
            Self::KeyMade(kid, algorithm, state) => {
                ("key.made", key(kid), json!({"alg": algorithm.as_str(), "state": state.name()}))
            }
            Self::KeyScheduled(kid, at) => ("key.scheduled", key(kid), json!({"activates_at": at.rfc3339()})),
            Self::KeyActivated { kid, replaced } => {
                let replaced = replaced
                    .as_ref()
                    .map(|(old, until)| json!({"kid": old.as_str(), "published_until": until.rfc3339()}));
                ("key.activated", key(kid), json!({"replaced": replaced}))
            }
            Self::KeyRetired { kid, state, successor } => (
                "key.retired",
                key(kid),
                json!({"state": state.name(), "successor": successor.as_ref().map(Kid::as_str)}),
            ),
            Self::KeyRemoved(kid) => ("key.removed", key(kid), json!({})),
            Self::KeyResealed { old_until } => (
                "key.resealed",
                ("encryption_key", String::new()),
                json!({"old_accepted_until": old_until.map(Timestamp::rfc3339)}),
            ),
            Self::LoginLimitReached { limit, user: id, client, source } => (
                "login.limit_reached",
                ("source", source.clone()),
                json!({
                    "limit": limit.as_str(),
                    "user_id": id.map(|id| id.to_string()),
                    "client_id": client.as_ref().map(ClientId::as_str),
                }),
            ),
        };
        Entry { act, subject_kind, subject, details: details.to_string() }
    }
}

fn client(id: &ClientId) -> (&'static str, String) {
    ("client", id.to_string())
}

fn user(id: UserId) -> (&'static str, String) {
    ("user", id.to_string())
}

fn role(role: &Role) -> (&'static str, String) {
    ("role", role.name.to_string())
}

fn key(kid: &Kid) -> (&'static str, String) {
    ("key", kid.to_string())
}

fn sessions_of(of: &SessionsOf) -> (&'static str, String) {
    match of {
        SessionsOf::User(id) => user(*id),
        SessionsOf::Client(id) => client(id),
        SessionsOf::One(id) => ("session", id.to_string()),
        SessionsOf::BegunBefore(time) => ("begun_before", time.rfc3339()),
        SessionsOf::All => ("all", String::new()),
    }
}

fn api_keys_of(of: &ApiKeysOf) -> (&'static str, String) {
    match of {
        ApiKeysOf::User(id) => user(*id),
        ApiKeysOf::Client(id) => client(id),
        ApiKeysOf::One(id) => ("api_key", id.to_string()),
        ApiKeysOf::MadeBefore(time) => ("made_before", time.rfc3339()),
        ApiKeysOf::All => ("all", String::new()),
    }
}

/// What is worth knowing of a new key: whose it is and what it may do.
fn api_key(made: &Terms) -> Value {
    let (user, client) = match &made.owner {
        Owner::User(id) => (Some(id.to_string()), None),
        Owner::Client(id) => (None, Some(id.as_str())),
    };
    json!({
        "user_id": user,
        "client_id": client,
        "name": made.name,
        "scope": made.scope.to_string(),
        "audience": texts(&made.audience),
        "expires_at": made.expires_at.map(Timestamp::rfc3339),
    })
}

fn texts(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn registered(registration: &Registration) -> Map<String, Value> {
    registration.members().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The members that differ, each as it was and as it is.
fn client_change(change: &Change<Registration>) -> Value {
    let before = registered(&change.before);
    let differing = registered(&change.after).into_iter().filter(|(name, now)| before[name] != *now);
    let changed: Map<_, _> = differing
        .map(|(name, now)| {
            let both = json!({"from": before[&name], "to": now});
            (name, both)
        })
        .collect();
    json!({"changed": changed.keys().collect::<Vec<_>>(), "values": changed})
}

fn role_change(change: &Change<Role>) -> Value {
    let Change { before, after } = change;
    let mut changed = Vec::new();
    let mut details = json!({});
    if before.description != after.description {
        changed.push("description");
    }
    if before.scope != after.scope {
        changed.push("scope");
        details["scope"] = json!({"from": before.scope.to_string(), "to": after.scope.to_string()});
    }
    details["changed"] = json!(changed);
    details
}

/// One row of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// 1, 2, 3 … without a gap.
    pub seq: i64,
    /// When, by the clock of whoever did it.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What: `client.created` and so on.
    pub act: String,
    /// What kind of thing it was done to.
    pub subject_kind: String,
    /// Which one.
    pub subject: String,
    /// One JSON object.
    pub details: String,
    /// Over all of the above and the hash before; as long as whoever wrote it made it.
    pub hash: Vec<u8>,
}

/// The last row of a chain, by its number and hash: who keeps it can later tell whether rows were cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the last row; 0 for none.
    pub seq: i64,
    /// Its hash.
    pub hash: [u8; 32],
}

impl Head {
    /// Of a chain without a row.
    pub const EMPTY: Self = Self { seq: 0, hash: [0; 32] };
}

/// Why a text is not the head of an audit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a head: copy SEQ:HASH from an earlier 'grantd audit verify'")]
pub struct InvalidHead(String);

impl FromStr for Head {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidHead(excerpt(text));
        let (seq, hash) = text.split_once(':').ok_or_else(invalid)?;
        let plain = |text: &str, is: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|b| is(&b));
        if !plain(seq, u8::is_ascii_digit) || !plain(hash, u8::is_ascii_hexdigit) || hash.len() != 64 {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&hash[at..at + 2], 16).map_err(|_| invalid())?;
        }
        Ok(Self { seq: seq.parse().map_err(|_| invalid())?, hash: bytes })
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex(&self.hash))
    }
}

/// Bytes as people compare them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
