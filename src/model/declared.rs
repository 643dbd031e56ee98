//! Clients, roles and users as a file states them. Knows neither the file's format nor what there is already.

use serde_json::{Value, json};

use super::client::{Client, Registration};
use super::id::ClientId;
use super::role::{Role, RoleName};
use super::scope::Scope;
use super::secret::PlainSecret;
use super::user::{User, Username};

/// What there is to be. Of a kind that is `None` nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Roles, each once.
    pub roles: Option<Vec<DeclaredRole>>,
    /// Clients, each once.
    pub clients: Option<Vec<DeclaredClient>>,
    /// Users, each once.
    pub users: Option<Vec<DeclaredUser>>,
}

/// A role, stated wholly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredRole {
    /// Its name.
    pub name: RoleName,
    /// Its scopes.
    pub scope: Scope,
    /// What it is for.
    pub description: Option<String>,
}

/// A client, stated wholly but for its secret and its switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredClient {
    /// Its id.
    pub id: ClientId,
    /// What it may do.
    pub registration: Registration,
    /// Its secret; `None` leaves the one that it has, or lets a new client get a generated one.
    pub secret: Option<PlainSecret>,
    /// Whether it may act; `None` leaves it as it is: an apply must not switch on what somebody has just switched off.
    pub enabled: Option<bool>,
}

/// A user, stated wholly but for their password and their switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredUser {
    /// The name they log in with.
    pub username: Username,
    /// Their e-mail address.
    pub email: Option<String>,
    /// Their full name.
    pub name: Option<String>,
    /// The roles they hold.
    pub roles: Vec<RoleName>,
    /// The password of one who is not there yet; `None` gives them one that nobody knows.
    pub password: Option<PlainSecret>,
    /// Whether they may act; `None` leaves it as it is.
    pub enabled: Option<bool>,
}

/// A member of something, by the name that `--json` and files use; `null` where it has none.
pub type Member = (&'static str, Value);

impl DeclaredRole {
    /// As it stands.
    pub fn of(role: &Role) -> Self {
        let Role { name, scope, description, created_at: _ } = role;
        Self { name: name.clone(), scope: scope.clone(), description: description.clone() }
    }

    /// All that is stated.
    pub fn members(&self) -> Vec<Member> {
        let Self { name: _, scope, description } = self;
        vec![("scope", json!(scope.as_str())), ("description", json!(description))]
    }
}

impl DeclaredClient {
    /// As it stands, without its secret, which nobody knows.
    pub fn of(client: &Client) -> Self {
        Self {
            id: client.id.clone(),
            registration: client.registration.clone(),
            secret: None,
            enabled: (!client.is_enabled()).then_some(false),
        }
    }

    /// All that is stated, but for secret and switch.
    pub fn members(&self) -> Vec<Member> {
        let Self { id: _, registration, secret: _, enabled: _ } = self;
        registration.members().into()
    }
}

impl DeclaredUser {
    /// As they stand, without their password, which nobody knows.
    pub fn of(user: &User) -> Self {
        Self {
            username: user.username.clone(),
            email: user.email.clone(),
            name: user.name.clone(),
            roles: user.roles.clone(),
            password: None,
            enabled: (!user.is_enabled()).then_some(false),
        }
    }

    /// All that is stated, but for password and switch.
    pub fn members(&self) -> Vec<Member> {
        let Self { username: _, email, name, roles, password: _, enabled: _ } = self;
        let roles: Vec<&str> = roles.iter().map(RoleName::as_str).collect();
        vec![("email", json!(email)), ("name", json!(name)), ("roles", json!(roles))]
    }
}
