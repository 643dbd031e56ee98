//! Registered clients and their secrets.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::model::client::{Client, ClientSecret, Registration};
use crate::model::id::ClientId;
use crate::model::jwk::JwkSet;
use crate::model::resource::Audience;
use crate::model::secret::HashedSecret;
use crate::model::status::StatusIndex;
use crate::model::time::{Timestamp, Ttl};

use super::db::{Conn, Db, Tx, execute, row, rows};
use super::error::StorageError;
use super::revisions::{Subject, bump};
use super::revocations::{KEEP, revoke_index, status_index, stored};

#[derive(sqlx::FromRow)]
struct ClientRow {
    id: String,
    name: Option<String>,
    grant_types: String,
    scope: String,
    audience: String,
    auth_methods: String,
    access_ttl: Option<i64>,
    refresh_ttl: Option<i64>,
    alg: Option<String>,
    trust_user_address: i64, // 1 for yes
    jwks: Option<String>,
    dpop_bound: i64, // 1 for yes
    resource_servers: String,
    may_act_for: String,
    disabled_at: Option<i64>,
    created_at: i64,
    status_index: Option<i64>,
    without_status: i64, // 1 for yes
}

#[derive(sqlx::FromRow)]
struct SecretRow {
    client_id: String,
    kind: String,
    hash: Vec<u8>,
    created_at: i64,
    expires_at: Option<i64>,
}

/// All clients with their secrets, by id.
pub async fn list(db: &Db) -> Result<Vec<Client>, StorageError> {
    let clients: Vec<ClientRow> = rows!(
        db,
        ClientRow,
        "select id, name, grant_types, scope, audience, auth_methods, access_ttl, refresh_ttl, alg,
                trust_user_address, jwks, dpop_bound, disabled_at, created_at, status_index, without_status,
                resource_servers, may_act_for
         from clients order by id"
    );
    let secrets: Vec<SecretRow> = rows!(
        db,
        SecretRow,
        "select client_id, kind, hash, created_at, expires_at from client_secrets order by client_id, position"
    );

    let mut by_client: HashMap<String, Vec<ClientSecret>> = HashMap::new();
    for secret in secrets {
        let client_id = secret.client_id.clone();
        by_client.entry(client_id).or_default().push(secret.into_model()?);
    }
    clients
        .into_iter()
        .map(|row| {
            let secrets = by_client.remove(&row.id).unwrap_or_default();
            row.into_model(secrets)
        })
        .collect()
}

/// One client with its secrets.
pub async fn find(tx: &mut Tx, id: &ClientId) -> Result<Option<Client>, StorageError> {
    let client: Option<ClientRow> = row!(
        &mut *tx,
        ClientRow,
        "select id, name, grant_types, scope, audience, auth_methods, access_ttl, refresh_ttl, alg,
                trust_user_address, jwks, dpop_bound, disabled_at, created_at, status_index, without_status,
                resource_servers, may_act_for
         from clients where id = $1",
        id.as_str()
    );
    let Some(client) = client else { return Ok(None) };
    let secrets = secrets_of(tx, id).await?;
    client.into_model(secrets).map(Some)
}

async fn secrets_of(on: impl Into<Conn<'_>>, id: &ClientId) -> Result<Vec<ClientSecret>, StorageError> {
    let secrets: Vec<SecretRow> = rows!(
        on,
        SecretRow,
        "select client_id, kind, hash, created_at, expires_at from client_secrets
         where client_id = $1 order by position",
        id.as_str()
    );
    secrets.into_iter().map(SecretRow::into_model).collect()
}

/// Registers a client; [`StorageError::AlreadyExists`] if there is one with its id.
pub async fn insert(tx: &mut Tx, client: &Client) -> Result<(), StorageError> {
    bump(tx, Subject::Clients).await?;
    let registration = &client.registration;
    execute!(
        tx,
        "insert into clients (id, name, grant_types, scope, audience, auth_methods, access_ttl, refresh_ttl, alg,
                              disabled_at, created_at, trust_user_address, status_index, without_status,
                              jwks, dpop_bound, resource_servers, may_act_for)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        client.id.as_str(),
        registration.name.as_deref(),
        joined(&registration.grant_types),
        registration.scope.to_string(),
        audience_json(&registration.audience),
        joined(&registration.auth_methods),
        registration.access_ttl.map(Ttl::as_secs),
        registration.refresh_ttl.map(Ttl::as_secs),
        registration.alg.map(|alg| alg.as_str()),
        client.disabled_at.map(Timestamp::as_secs),
        client.created_at.as_secs(),
        i64::from(registration.trust_user_address),
        stored(client.status_index),
        i64::from(!registration.status),
        registration.jwks.as_ref().map(JwkSet::to_json),
        i64::from(registration.dpop_bound),
        audience_json(&registration.resource_servers),
        audience_json(&registration.may_act_for),
    );
    set_secrets(tx, &client.id, &client.secrets).await
}

/// Replaces what an operator decides about a client; `false` if there is none.
pub async fn update(tx: &mut Tx, id: &ClientId, registration: &Registration) -> Result<bool, StorageError> {
    bump(tx, Subject::Clients).await?;
    let changed = execute!(
        &mut *tx,
        "update clients set name = $2, grant_types = $3, scope = $4, audience = $5, auth_methods = $6,
                            access_ttl = $7, refresh_ttl = $8, alg = $9, trust_user_address = $10,
                            without_status = $11, jwks = $12, dpop_bound = $13,
                            resource_servers = $14, may_act_for = $15
         where id = $1",
        id.as_str(),
        registration.name.as_deref(),
        joined(&registration.grant_types),
        registration.scope.to_string(),
        audience_json(&registration.audience),
        joined(&registration.auth_methods),
        registration.access_ttl.map(Ttl::as_secs),
        registration.refresh_ttl.map(Ttl::as_secs),
        registration.alg.map(|alg| alg.as_str()),
        i64::from(registration.trust_user_address),
        i64::from(!registration.status),
        registration.jwks.as_ref().map(JwkSet::to_json),
        i64::from(registration.dpop_bound),
        audience_json(&registration.resource_servers),
        audience_json(&registration.may_act_for),
    );
    Ok(changed == 1)
}

/// Replaces a client's secrets, the current one first.
pub async fn set_secrets(tx: &mut Tx, id: &ClientId, secrets: &[ClientSecret]) -> Result<(), StorageError> {
    bump(tx, Subject::Clients).await?;
    execute!(&mut *tx, "delete from client_secrets where client_id = $1", id.as_str());
    for (position, secret) in (0i64..).zip(secrets) {
        let (kind, hash) = match &secret.hashed {
            HashedSecret::Hmac(hash) => ("hmac", hash.to_vec()),
            HashedSecret::Argon2(phc) => ("argon2", phc.clone().into_bytes()),
        };
        execute!(
            &mut *tx,
            "insert into client_secrets (client_id, position, kind, hash, created_at, expires_at)
             values ($1, $2, $3, $4, $5, $6)",
            id.as_str(),
            position,
            kind,
            hash,
            secret.created_at.as_secs(),
            secret.expires_at.map(Timestamp::as_secs),
        );
    }
    Ok(())
}

/// Which clients are meant.
#[derive(Clone, Copy, Debug)]
pub enum WhichClients<'a> {
    /// One.
    One(&'a ClientId),
    /// Those that were registered before.
    RegisteredBefore(Timestamp),
}

/// The clients that are meant, by id.
pub async fn ids(tx: &mut Tx, which: WhichClients<'_>) -> Result<Vec<ClientId>, StorageError> {
    let found: Vec<(String,)> = match which {
        WhichClients::One(id) => rows!(tx, (String,), "select id from clients where id = $1", id.as_str()),
        WhichClients::RegisteredBefore(time) => {
            rows!(
                tx,
                (String,),
                "select id from clients where created_at < $1 order by id",
                second_after(time)
            )
        }
    };
    found.iter().map(|(id,)| parse(id)).collect()
}

/// Revokes the tokens that clients got for themselves, those who are meant, and gives them the indexes `fresh` for those
/// to come; gives how many there are. Bumps [`Subject::Clients`] and [`Subject::Revocations`] first.
pub async fn cut_off(
    tx: &mut Tx,
    which: WhichClients<'_>,
    fresh: impl IntoIterator<Item = (&ClientId, StatusIndex)>,
    now: Timestamp,
) -> Result<u64, StorageError> {
    bump(tx, Subject::Clients).await?;
    bump(tx, Subject::Revocations).await?;
    macro_rules! revoked {
        ($meant:literal, $bind:expr) => {
            execute!(
                &mut *tx,
                concat!(
                    "insert into revocations (status_index, revision, expires_at)
                     select status_index, (select value from revisions where subject = 'revocations'),
                            $2 + (select coalesce(max(longest_ttl), 0) from signing_keys)
                     from clients where ",
                    $meant,
                    " on conflict (status_index) do nothing"
                ),
                $bind,
                now.plus(KEEP).as_secs(),
            )
        };
    }
    match which {
        WhichClients::One(id) => revoked!("id = $1", id.as_str()),
        WhichClients::RegisteredBefore(time) => revoked!("created_at < $1", second_after(time)),
    };
    let mut changed = 0;
    for (id, fresh) in fresh {
        changed += execute!(
            &mut *tx,
            "update clients set status_index = $2 where id = $1",
            id.as_str(),
            stored(fresh)
        );
    }
    Ok(changed)
}

/// The same for one client that still has the index `old`; `false` if it has another, or there is none. Bumps
/// [`Subject::Revocations`] alone: whoever sees that the index of a client was revoked asks for the one that followed.
pub async fn renew_status_index(
    tx: &mut Tx,
    id: &ClientId,
    (old, fresh): (StatusIndex, StatusIndex),
    now: Timestamp,
) -> Result<bool, StorageError> {
    bump(tx, Subject::Revocations).await?;
    let changed = execute!(
        &mut *tx,
        "update clients set status_index = $3 where id = $1 and status_index = $2",
        id.as_str(),
        stored(old),
        stored(fresh),
    );
    if changed != 1 {
        return Ok(false);
    }
    revoke_index(tx, old, now).await?;
    Ok(true)
}

/// The index that the tokens carry which a client gets for itself; `None` if there is no such client.
pub async fn find_status_index(
    on: impl Into<Conn<'_>>,
    id: &ClientId,
) -> Result<Option<StatusIndex>, StorageError> {
    let found: Option<(Option<i64>,)> =
        row!(on, (Option<i64>,), "select status_index from clients where id = $1", id.as_str());
    found.map(|(index,)| status_index(index)).transpose()
}

/// Clients without an index, by id.
pub async fn unnumbered(on: impl Into<Conn<'_>>) -> Result<Vec<ClientId>, StorageError> {
    let found: Vec<(String,)> =
        rows!(on, (String,), "select id from clients where status_index is null order by id");
    found.iter().map(|(id,)| parse(id)).collect()
}

/// Gives a client that has no status index this one; `false` if it has one, or there is none.
pub async fn number(tx: &mut Tx, id: &ClientId, fresh: StatusIndex) -> Result<bool, StorageError> {
    let changed = execute!(
        tx,
        "update clients set status_index = $2 where id = $1 and status_index is null",
        id.as_str(),
        stored(fresh)
    );
    Ok(changed == 1)
}

/// Switches a client off; `false` if there is none. [`cut_off`] does the rest.
pub async fn disable(tx: &mut Tx, id: &ClientId, at: Timestamp) -> Result<bool, StorageError> {
    bump(tx, Subject::Clients).await?;
    let changed =
        execute!(&mut *tx, "update clients set disabled_at = $2 where id = $1", id.as_str(), at.as_secs());
    Ok(changed == 1)
}

/// Switches a client on that is off; `false` if it is on, or there is none: of several at once one changes something.
pub async fn enable(tx: &mut Tx, id: &ClientId) -> Result<bool, StorageError> {
    bump(tx, Subject::Clients).await?;
    let changed = execute!(
        &mut *tx,
        "update clients set disabled_at = null where id = $1 and disabled_at is not null",
        id.as_str()
    );
    Ok(changed == 1)
}

/// Deletes a client with its secrets and families; `false` if there is none.
pub async fn delete(tx: &mut Tx, id: &ClientId) -> Result<bool, StorageError> {
    bump(tx, Subject::Clients).await?;
    let changed = execute!(&mut *tx, "delete from clients where id = $1", id.as_str());
    Ok(changed == 1)
}

impl ClientRow {
    fn into_model(self, secrets: Vec<ClientSecret>) -> Result<Client, StorageError> {
        Ok(Client {
            id: parse(&self.id)?,
            registration: Registration {
                name: self.name,
                grant_types: split(&self.grant_types)?,
                scope: parse(&self.scope)?,
                audience: audience_from(&self.audience)?,
                auth_methods: split(&self.auth_methods)?,
                access_ttl: self.access_ttl.map(ttl).transpose()?,
                refresh_ttl: self.refresh_ttl.map(ttl).transpose()?,
                alg: self.alg.as_deref().map(parse).transpose()?,
                trust_user_address: self.trust_user_address != 0,
                status: self.without_status == 0,
                jwks: self
                    .jwks
                    .map(|set| JwkSet::parse_stored(set.as_bytes()))
                    .transpose()
                    .map_err(StorageError::corrupt)?,
                dpop_bound: self.dpop_bound != 0,
                resource_servers: audience_from(&self.resource_servers)?,
                may_act_for: audience_from(&self.may_act_for)?,
            },
            secrets,
            disabled_at: self.disabled_at.map(Timestamp::from_secs),
            created_at: Timestamp::from_secs(self.created_at),
            status_index: status_index(self.status_index)?,
        })
    }
}

impl SecretRow {
    fn into_model(self) -> Result<ClientSecret, StorageError> {
        let hashed = match self.kind.as_str() {
            "hmac" => HashedSecret::Hmac(
                self.hash.try_into().map_err(|_| StorageError::corrupt("a client secret of wrong length"))?,
            ),
            "argon2" => HashedSecret::Argon2(String::from_utf8(self.hash).map_err(StorageError::corrupt)?),
            _ => return Err(StorageError::corrupt("a client secret of unknown kind")),
        };
        Ok(ClientSecret {
            hashed,
            created_at: Timestamp::from_secs(self.created_at),
            expires_at: self.expires_at.map(Timestamp::from_secs),
        })
    }
}

fn joined<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

fn split<T: FromStr<Err: Display>>(text: &str) -> Result<Vec<T>, StorageError> {
    text.split_ascii_whitespace().map(parse).collect()
}

/// Undoes [`Ttl::as_secs`].
pub(super) fn ttl(seconds: i64) -> Result<Ttl, StorageError> {
    u32::try_from(seconds).map(Ttl::from_secs).map_err(StorageError::corrupt)
}

/// Times are stored in whole seconds: what was made within the second of `time` counts as before it.
pub(super) const fn second_after(time: Timestamp) -> i64 {
    time.as_millis().saturating_add(999).div_euclid(1000)
}

/// Reads a stored text that was valid when it was written.
pub(super) fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, StorageError> {
    text.parse().map_err(StorageError::corrupt)
}

/// Audiences as a JSON array, for they may contain any sign that could separate them.
pub(super) fn audience_json(audience: &[Audience]) -> String {
    let uris: Vec<&str> = audience.iter().map(Audience::as_str).collect();
    serde_json::to_string(&uris).expect("strings always serialize")
}

/// Undoes [`audience_json`].
pub(super) fn audience_from(json: &str) -> Result<Vec<Audience>, StorageError> {
    let uris: Vec<String> = serde_json::from_str(json).map_err(StorageError::corrupt)?;
    uris.iter().map(|uri| parse(uri)).collect()
}
