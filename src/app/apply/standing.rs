//! What there is, beside what is declared. Pure.

use std::collections::{HashMap, HashSet};
use std::iter;

use crate::app::client_secrets::SecretHasher;
use crate::model::client::{Client, ClientSecret};
use crate::model::declared::Declared;
use crate::model::id::ClientId;
use crate::model::role::Role;
use crate::model::secret::HashedSecret;
use crate::model::user::User;

use super::plan::{self, Named, Step};

/// What there is.
pub(super) struct Standing {
    pub(super) roles: Vec<Role>,
    pub(super) clients: Vec<Client>,
    pub(super) users: Vec<User>,
}

/// A client's declared secret.
pub(super) struct Brought {
    pub(super) digest: [u8; 32],
    /// What is stored of it, if it is not the client's already.
    pub(super) hashed: Option<HashedSecret>,
    /// The slow hash of the client's that it was found to be the secret of.
    pub(super) verified: Option<String>,
}

impl Standing {
    /// What is there and not declared, in the order in which it can go: who holds a role before the role.
    pub(super) fn undeclared(&self, declared: &Declared) -> Vec<Named> {
        let Declared { roles, clients, users } = declared;
        let mut undeclared = Vec::new();
        if let Some(wanted) = users {
            let wanted: HashSet<_> = wanted.iter().map(|user| &user.username).collect();
            let gone = self.users.iter().map(|user| &user.username).filter(|name| !wanted.contains(name));
            undeclared.extend(gone.cloned().map(Named::User));
        }
        if let Some(wanted) = clients {
            let wanted: HashSet<_> = wanted.iter().map(|client| &client.id).collect();
            let gone = self.clients.iter().map(|client| &client.id).filter(|id| !wanted.contains(id));
            undeclared.extend(gone.cloned().map(Named::Client));
        }
        if let Some(wanted) = roles {
            let wanted: HashSet<_> = wanted.iter().map(|role| &role.name).collect();
            let gone = self.roles.iter().map(|role| &role.name).filter(|name| !wanted.contains(name));
            undeclared.extend(gone.cloned().map(Named::Role));
        }
        undeclared
    }
}

/// All that is to be done.
pub(super) fn steps(
    declared: &Declared,
    standing: &Standing,
    secrets: &HashMap<ClientId, Brought>,
    deletions: &[Named],
) -> Vec<Step> {
    let roles: HashMap<_, _> = standing.roles.iter().map(|role| (&role.name, role)).collect();
    let clients: HashMap<_, _> = standing.clients.iter().map(|client| (&client.id, client)).collect();
    let users: HashMap<_, _> = standing.users.iter().map(|user| (&user.username, user)).collect();
    let of_roles =
        declared.roles.iter().flatten().map(|wanted| plan::role(wanted, roles.get(&wanted.name).copied()));
    let of_clients = declared.clients.iter().flatten().map(|wanted| {
        let now = clients.get(&wanted.id).copied();
        plan::client(wanted, now, where_secret_stands(secrets.get(&wanted.id), now))
    });
    let of_users = declared
        .users
        .iter()
        .flatten()
        .map(|wanted| plan::user(wanted, users.get(&wanted.username).copied()));
    let gone = deletions.iter().cloned().map(|named| Some(Step::delete(named)));
    of_roles.chain(of_clients).chain(of_users).chain(gone).flatten().collect()
}

/// The secret that does not end by itself.
pub(super) fn current_secret(client: &Client) -> Option<&ClientSecret> {
    client.secrets.iter().find(|secret| secret.expires_at.is_none())
}

/// What a declared secret is to a client.
pub(super) fn where_secret_stands(brought: Option<&Brought>, now: Option<&Client>) -> plan::Secret {
    let Some(brought) = brought else { return plan::Secret::NotDeclared };
    let known = match now.and_then(current_secret).map(|current| &current.hashed) {
        Some(HashedSecret::Hmac(hash)) => SecretHasher::is_among(&brought.digest, iter::once(hash)),
        Some(HashedSecret::Argon2(phc)) => brought.verified.as_ref() == Some(phc),
        None => false,
    };
    if known { plan::Secret::Known } else { plan::Secret::Other }
}
