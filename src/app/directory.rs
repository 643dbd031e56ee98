//! Clients and roles in memory, so that a token request for a client costs no database read, and goes on while the
//! database is away.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::keys::ClientKeys;
use crate::model::client::Client;
use crate::model::id::ClientId;
use crate::model::key::SigningAlgorithm;
use crate::model::role::RoleTable;
use crate::model::status::StatusIndex;
use crate::model::time::Ttl;
use crate::storage::revisions::Revisions;
use crate::storage::{Db, StorageError, clients, roles};

/// Clients and roles as they stood at one revision. To take it to another costs nothing but what has changed.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    pub(crate) revisions: Revisions,
    clients: Arc<HashMap<ClientId, Entry>>,
    table: Arc<RoleTable>,
}

#[derive(Debug)]
struct Entry {
    /// Replaced in its place when only its status index changes.
    client: ArcSwap<Client>,
    /// Of those that sign to authenticate; prepared once, not for each request.
    keys: Option<Arc<ClientKeys>>,
}

impl Entry {
    fn new(client: Client) -> Self {
        let keys = client.registration.jwks.as_ref().map(|set| Arc::new(ClientKeys::new(set)));
        Self { client: ArcSwap::from_pointee(client), keys }
    }
}

impl Directory {
    /// Reads everything.
    pub(crate) async fn load(db: &Db, revisions: Revisions) -> Result<Self, StorageError> {
        let clients = clients::list(db).await?;
        let clients = clients.into_iter().map(|client| (client.id.clone(), Entry::new(client)));
        let nobody = Self { revisions, clients: Arc::new(clients.collect()), table: Arc::default() };
        nobody.with_roles(db).await
    }

    /// The same clients, and the roles as they are now.
    pub(crate) async fn with_roles(self, db: &Db) -> Result<Self, StorageError> {
        Ok(Self { table: Arc::new(RoleTable::new(&roles::list(db).await?)), ..self })
    }

    /// The same clients and roles, seen to be right at `revisions`.
    pub(crate) fn at(&self, revisions: Revisions) -> Self {
        Self { revisions, ..self.clone() }
    }

    /// The client with this id.
    pub fn client(&self, id: &ClientId) -> Option<Arc<Client>> {
        self.clients.get(id).map(|entry| entry.client.load_full())
    }

    /// Gives a client the status index that follows `old`, if it has that still.
    pub(super) fn renew(&self, id: &ClientId, old: StatusIndex, fresh: StatusIndex) {
        let Some(entry) = self.clients.get(id) else { return };
        entry.client.rcu(|client| match client.status_index == old {
            true => Arc::new(Client { status_index: fresh, ..Client::clone(client) }),
            false => Arc::clone(client),
        });
    }

    /// The keys of the client with this id, if it has any.
    pub(crate) fn client_keys(&self, id: &ClientId) -> Option<&Arc<ClientKeys>> {
        self.clients.get(id)?.keys.as_ref()
    }

    /// All clients, in no order.
    pub fn clients(&self) -> impl Iterator<Item = Arc<Client>> {
        self.clients.values().map(|entry| entry.client.load_full())
    }

    /// Which scopes reach whom.
    pub fn role_table(&self) -> &RoleTable {
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
