//! Clients and roles in memory, so that a token request for a client costs no database read, and goes on while the
//! database is away.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::keys::ClientKeys;
use crate::model::client::Client;
use crate::model::id::ClientId;
use crate::model::key::SigningAlgorithm;
use crate::model::role::RoleTable;
use crate::model::time::Ttl;
use crate::storage::revisions::Revisions;
use crate::storage::{Db, StorageError, clients, roles};

/// Clients and roles as they stood at one revision.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    pub(crate) revisions: Revisions,
    clients: HashMap<ClientId, Arc<Client>>,
    /// Of those that sign to authenticate; prepared once, not for each request.
    keys: HashMap<ClientId, Arc<ClientKeys>>,
    table: RoleTable,
}

impl Directory {
    /// Reads everything.
    pub(crate) async fn load(db: &Db, revisions: Revisions) -> Result<Self, StorageError> {
        let clients = clients::list(db).await?;
        let roles = roles::list(db).await?;
        let keys = clients.iter().filter_map(|client| {
            let keys = ClientKeys::new(client.registration.jwks.as_ref()?);
            Some((client.id.clone(), Arc::new(keys)))
        });
        Ok(Self {
            revisions,
            keys: keys.collect(),
            clients: clients.into_iter().map(|client| (client.id.clone(), Arc::new(client))).collect(),
            table: RoleTable::new(&roles),
        })
    }

    /// The same clients and roles, seen to be right at `revisions`.
    pub(crate) fn at(&self, revisions: Revisions) -> Self {
        Self { revisions, ..self.clone() }
    }

    /// The client with this id.
    pub fn client(&self, id: &ClientId) -> Option<&Arc<Client>> {
        self.clients.get(id)
    }

    /// The keys of the client with this id, if it has any.
    pub(crate) fn client_keys(&self, id: &ClientId) -> Option<&Arc<ClientKeys>> {
        self.keys.get(id)
    }

    /// All clients, in no order.
    pub fn clients(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.clients.values()
    }

    /// Which scopes reach whom.
    pub const fn role_table(&self) -> &RoleTable {
        &self.table
    }

    /// Every algorithm that some client's tokens are signed with, `default` first.
    pub(crate) fn algorithms(&self, default: SigningAlgorithm) -> Vec<SigningAlgorithm> {
        let chosen: BTreeSet<_> = self.clients().filter_map(|client| client.registration.alg).collect();
        std::iter::once(default).chain(chosen.into_iter().filter(|alg| *alg != default)).collect()
    }

    /// The longest life of any access token.
    pub(crate) fn longest_access_ttl(&self, default: Ttl) -> Ttl {
        self.clients().filter_map(|client| client.registration.access_ttl).fold(default, Ttl::max)
    }
}
