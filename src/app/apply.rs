//! Makes clients, roles and users what a file declares, in one transaction, with the rules and the audit rows of the
//! single changes; and says what a file would have to declare for nothing to be done.

mod plan;
mod standing;

use std::collections::{HashMap, HashSet};

use crate::model::audit::Act;
use crate::model::client::ClientSecret;
use crate::model::declared::{Declared, DeclaredClient, DeclaredRole, DeclaredUser};
use crate::model::id::ClientId;
use crate::model::scope::Scope;
use crate::model::secret::{HashedSecret, PlainSecret};
use crate::model::user::Username;
use crate::passwords::Verdict;
use crate::storage::family_locks::{Many, lock_many};
use crate::storage::revisions::{Subject, bump};
use crate::storage::{Tx, clients, roles, users};

use super::client_secrets::{generate, hash_foreign};
use super::clients::{Switch, check_id, checked};
use super::error::AdminError;
use super::roles::{RoleChange, delete_role_in, update_role_in};
use super::users::{NewPassword, UserChange};
use super::{App, clients as client_use_cases};

use self::standing::{Brought, Standing, current_secret, steps, where_secret_stands};

pub use self::plan::{Difference, Named, Step, What};

/// What becomes of what is there and not declared. Of a kind that nothing is said of, everything stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undeclared {
    /// It stays.
    Stays,
    /// It is deleted.
    Goes,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Applied {
    /// Step by step; empty if there was nothing to do, and then nothing was written.
    pub steps: Vec<Step>,
    /// Secrets that were generated, to be shown once.
    pub generated: Vec<(ClientId, PlainSecret)>,
    /// What roles that were made or changed take from whom.
    pub bound: Vec<RoleChange>,
    /// Scopes that reach every user now.
    pub freed: Scope,
    /// Whether anything was switched off or deleted that may have had sessions or tokens, and how many sessions ended.
    pub ended: Option<u64>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// What is declared cannot be: a sentence for each mistake.
    #[error("{}", .0.join("\n"))]
    Mistakes(Vec<String>),
    /// Somebody else made one of the changes first, or the database fails.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// What takes long, done before the transaction begins.
struct Prepared {
    secrets: HashMap<ClientId, Brought>,
    passwords: HashMap<Username, String>,
    /// The hash of a password that nobody knows.
    nobodys: Option<String>,
}

impl App {
    /// What [`App::apply`] would do now. Writes nothing.
    pub async fn plan(&self, declared: &Declared, undeclared: Undeclared) -> Result<Vec<Step>, ApplyError> {
        let standing = self.standing().await?;
        let deletions = match undeclared {
            Undeclared::Stays => Vec::new(),
            Undeclared::Goes => standing.undeclared(declared),
        };
        let declared = self.sound(declared, &standing, &deletions)?;
        let secrets = self.compare_secrets(&declared, &standing).await?;
        Ok(steps(&declared, &standing, &secrets, &deletions))
    }

    /// Makes clients, roles and users what is declared, and deletes what is named and not declared: all of it or
    /// nothing. What was changed by others since the plan was made is seen.
    pub async fn apply(&self, declared: &Declared, deletions: &[Named]) -> Result<Applied, ApplyError> {
        let standing = self.standing().await?;
        let deletions: Vec<_> =
            standing.undeclared(declared).into_iter().filter(|named| deletions.contains(named)).collect();
        let declared = self.sound(declared, &standing, &deletions)?;
        let secrets = self.compare_secrets(&declared, &standing).await?;
        let planned = steps(&declared, &standing, &secrets, &deletions);
        if planned.is_empty() {
            return Ok(Applied::default());
        }
        let prepared = self.prepare(&declared, secrets, &planned).await?;

        let mut tx = self.db.begin().await.map_err(AdminError::from)?;
        let (applied, acts) = match self.carry_out_all(&mut tx, &declared, prepared, &deletions).await {
            Ok(done) => done,
            Err(failed) => {
                // Now, not when the connection is next looked at: its locks would hold up whoever comes next.
                let _what_failed_is_the_cause = tx.rollback().await;
                return Err(failed.into());
            }
        };
        if acts.is_empty() {
            // Somebody else has done it meanwhile; servers need not read again what is as it was.
            tx.rollback().await.map_err(AdminError::from)?;
            return Ok(applied);
        }
        self.commit(tx, &acts).await.map_err(AdminError::from)?;
        self.after_client_change().await;
        Ok(applied)
    }

    /// What there is, as a file that changes nothing would declare it. No secrets and no passwords.
    pub async fn export(&self) -> Result<Declared, AdminError> {
        let Standing { roles, clients, users } = self.standing().await?;
        Ok(Declared {
            roles: Some(roles.iter().map(DeclaredRole::of).collect()),
            clients: Some(clients.iter().map(DeclaredClient::of).collect()),
            users: Some(users.iter().map(DeclaredUser::of).collect()),
        })
    }

    async fn standing(&self) -> Result<Standing, AdminError> {
        Ok(Standing {
            roles: roles::list(&self.db).await?,
            clients: self.list_clients().await?,
            users: self.list_users().await?,
        })
    }

    /// What is declared, each thing in its one form; or all that is wrong with it.
    fn sound(
        &self,
        declared: &Declared,
        standing: &Standing,
        deletions: &[Named],
    ) -> Result<Declared, ApplyError> {
        let mut declared = declared.clone();
        let mut mistakes = Vec::new();
        let mut wrong = |named: &str, error: AdminError| mistakes.push(format!("{named}: {error}"));

        for client in declared.clients.iter_mut().flatten() {
            let named = format!("client {}", client.id);
            if let Err(error) = check_id(&client.id) {
                wrong(&named, error);
            }
            match checked(client.registration.clone()) {
                Ok(registration) => client.registration = registration,
                Err(error) => wrong(&named, error),
            }
            match &client.secret {
                Some(_) if !client.registration.has_secret() => {
                    wrong(&named, AdminError::NoSecretMethod(client.id.to_string()));
                }
                Some(secret) => {
                    if let Err(error) = crate::model::secret::judge_foreign_secret(secret.expose()) {
                        wrong(&named, error.into());
                    }
                }
                None => {}
            }
        }
        let staying =
            standing.roles.iter().map(|role| &role.name).filter(|name| !deletes(deletions, name.as_str()));
        let made = declared.roles.iter().flatten().map(|role| &role.name);
        let known: Vec<_> = staying.chain(made).collect();
        for user in declared.users.iter_mut().flatten() {
            let named = format!("user {}", user.username);
            for missing in user.roles.iter().filter(|role| !known.contains(role)) {
                wrong(&named, AdminError::NoSuchRole(missing.to_string()));
            }
            if let Some(password) = &user.password
                && let Err(error) = self.policy.passwords.prepare_for_setting(password.expose())
            {
                wrong(&named, error.into());
            }
            user.roles.sort();
            user.roles.dedup();
            for text in [&mut user.email, &mut user.name] {
                *text = text.take().filter(|text| !text.is_empty());
            }
        }
        for role in declared.roles.iter_mut().flatten() {
            role.description = role.description.take().filter(|text| !text.is_empty());
        }
        if mistakes.is_empty() { Ok(declared) } else { Err(ApplyError::Mistakes(mistakes)) }
    }

    /// Which declared secrets clients have already.
    async fn compare_secrets(
        &self,
        declared: &Declared,
        standing: &Standing,
    ) -> Result<HashMap<ClientId, Brought>, AdminError> {
        let mut compared = HashMap::new();
        for client in declared.clients.iter().flatten() {
            let Some(secret) = &client.secret else { continue };
            let now = standing.clients.iter().find(|now| now.id == client.id);
            let verified = match now.and_then(current_secret).map(|current| &current.hashed) {
                Some(HashedSecret::Argon2(phc)) => {
                    match self.pool.verify(secret.clone(), Some(phc.clone())).await? {
                        Verdict::Match { .. } => Some(phc.clone()),
                        Verdict::Mismatch => None,
                    }
                }
                Some(HashedSecret::Hmac(_)) | None => None,
            };
            let brought = Brought { digest: self.secrets.hash(secret), hashed: None, verified };
            compared.insert(client.id.clone(), brought);
        }
        Ok(compared)
    }

    async fn prepare(
        &self,
        declared: &Declared,
        mut secrets: HashMap<ClientId, Brought>,
        planned: &[Step],
    ) -> Result<Prepared, AdminError> {
        let changed: HashSet<_> = planned.iter().map(|step| &step.named).collect();
        for client in declared.clients.iter().flatten() {
            if changed.contains(&Named::Client(client.id.clone()))
                && let (Some(secret), Some(brought)) = (&client.secret, secrets.get_mut(&client.id))
            {
                brought.hashed = Some(hash_foreign(&self.secrets, &self.pool, secret).await?);
            }
        }
        let mut prepared = Prepared { secrets, passwords: HashMap::new(), nobodys: None };
        let created = planned.iter().filter(|step| step.what == What::Create).map(|step| &step.named);
        let created: HashSet<_> = created.collect();
        for user in declared.users.iter().flatten() {
            if created.contains(&Named::User(user.username.clone())) {
                let hash = self.password_hash(user, &mut prepared).await?;
                prepared.passwords.insert(user.username.clone(), hash);
            }
        }
        Ok(prepared)
    }

    /// What is stored of a new user's password. One that nobody knows is a password like others, so that the login of
    /// a user who has none yet takes the same way and the same time.
    async fn password_hash(
        &self,
        user: &DeclaredUser,
        prepared: &mut Prepared,
    ) -> Result<String, AdminError> {
        if let Some(hash) = prepared.passwords.remove(&user.username) {
            return Ok(hash);
        }
        if let Some(password) = &user.password {
            return self.hash_new(NewPassword::Plain(password.clone())).await;
        }
        if prepared.nobodys.is_none() {
            prepared.nobodys = Some(self.pool.hash(generate()).await?);
        }
        Ok(prepared.nobodys.clone().unwrap_or_default())
    }

    async fn carry_out_all(
        &self,
        tx: &mut Tx,
        declared: &Declared,
        mut prepared: Prepared,
        deletions: &[Named],
    ) -> Result<(Applied, Vec<Act>), AdminError> {
        // First of all, so that whoever changes one of them waits for us, or we for them; what is declared is in no order.
        use Subject::{ApiKeys, Clients, Revocations, Roles, Users};
        for subject in [Clients, Roles, Users, ApiKeys, Revocations] {
            bump(tx, subject).await?;
        }
        lock_many(tx, &changed_by(declared, deletions), self.clock.now()).await?;
        let mut done = Applied::default();
        let mut acts = Vec::new();
        for role in declared.roles.iter().flatten() {
            self.bring_role(tx, role, &mut done, &mut acts).await?;
        }
        for client in declared.clients.iter().flatten() {
            let brought = prepared.secrets.remove(&client.id);
            self.bring_client(tx, client, brought, &mut done, &mut acts).await?;
        }
        for user in declared.users.iter().flatten() {
            self.bring_user(tx, user, &mut prepared, &mut done, &mut acts).await?;
        }
        for named in deletions {
            self.delete(tx, named, &mut done, &mut acts).await?;
        }
        Ok((done, acts))
    }

    async fn bring_role(
        &self,
        tx: &mut Tx,
        wanted: &DeclaredRole,
        done: &mut Applied,
        acts: &mut Vec<Act>,
    ) -> Result<(), AdminError> {
        let now = roles::list(&mut *tx).await?.into_iter().find(|role| role.name == wanted.name);
        let Some(step) = plan::role(wanted, now.as_ref()) else { return Ok(()) };
        let (scope, description) = (wanted.scope.clone(), wanted.description.clone());
        let (change, act) = match now {
            None => self.create_role_in(tx, wanted.name.clone(), scope, description).await?,
            // An empty text takes it away.
            Some(_) => {
                let description = Some(description.unwrap_or_default());
                update_role_in(tx, &wanted.name, Some(scope), description).await?
            }
        };
        acts.push(act);
        done.bound.push(change);
        done.steps.push(step);
        Ok(())
    }

    async fn bring_client(
        &self,
        tx: &mut Tx,
        wanted: &DeclaredClient,
        brought: Option<Brought>,
        done: &mut Applied,
        acts: &mut Vec<Act>,
    ) -> Result<(), AdminError> {
        let now = clients::find(tx, &wanted.id).await?;
        let secret = where_secret_stands(brought.as_ref(), now.as_ref());
        let Some(step) = plan::client(wanted, now.as_ref(), secret) else { return Ok(()) };
        let hashed = match (&wanted.secret, brought.and_then(|brought| brought.hashed)) {
            _ if secret != plan::Secret::Other => None,
            (Some(_), Some(hashed)) => Some(hashed),
            // Only if it was another client that was looked at before the transaction began.
            (Some(secret), None) => Some(hash_foreign(&self.secrets, &self.pool, secret).await?),
            (None, _) => None,
        };
        let registration = wanted.registration.clone();
        let made = match &now {
            None => {
                let created_at = self.clock.now();
                let secrets: client_use_cases::NewSecrets = match hashed {
                    Some(hashed) => (vec![ClientSecret { hashed, created_at, expires_at: None }], None),
                    None => self.secret_for(&wanted.id, &registration, None).await?,
                };
                let (made, act) = self.register_in(tx, wanted.id.clone(), registration, secrets).await?;
                acts.push(act);
                Some(made)
            }
            Some(_) if step.changes_members() => {
                let (made, more) = self.update_in(tx, &wanted.id, |_| registration, hashed).await?;
                acts.extend(more);
                Some(made)
            }
            Some(_) => None,
        };
        if let Some(secret) = made.and_then(|made| made.secret) {
            done.generated.push((wanted.id.clone(), secret));
        }
        if let Some(switch) = plan::switch(wanted.enabled, now.is_none_or(|now| now.is_enabled()))
            && let Some((ended, act)) = self.switch_client_in(tx, &wanted.id, switch).await?
        {
            acts.push(act);
            done.count(switch, ended);
        }
        done.steps.push(step);
        Ok(())
    }

    async fn bring_user(
        &self,
        tx: &mut Tx,
        wanted: &DeclaredUser,
        prepared: &mut Prepared,
        done: &mut Applied,
        acts: &mut Vec<Act>,
    ) -> Result<(), AdminError> {
        let now = users::find_by_username(&mut *tx, &wanted.username).await?;
        let Some(step) = plan::user(wanted, now.as_ref()) else { return Ok(()) };
        // An empty text takes it away.
        let change = UserChange {
            email: Some(wanted.email.clone().unwrap_or_default()),
            name: Some(wanted.name.clone().unwrap_or_default()),
            roles: Some(wanted.roles.clone()),
        };
        match &now {
            None => {
                let hash = self.password_hash(wanted, prepared).await?;
                acts.push(self.create_user_in(tx, wanted.username.clone(), change, hash).await?.1);
            }
            Some(_) if step.changes_members() => {
                acts.extend(self.update_user_in(tx, &wanted.username, change, None).await?.acts);
            }
            Some(_) => {}
        }
        if let Some(switch) = plan::switch(wanted.enabled, now.is_none_or(|now| now.is_enabled()))
            && let Some((ended, act)) = self.switch_user_in(tx, &wanted.username, switch).await?
        {
            acts.push(act);
            done.count(switch, ended);
        }
        done.steps.push(step);
        Ok(())
    }

    /// Deletes something that is there; what has gone since needs nothing.
    async fn delete(
        &self,
        tx: &mut Tx,
        named: &Named,
        done: &mut Applied,
        acts: &mut Vec<Act>,
    ) -> Result<(), AdminError> {
        let deleted = match named {
            Named::Role(name) => delete_role_in(tx, name).await.map(|(freed, act)| {
                let freed = done.freed.iter().chain(freed.iter()).collect::<Vec<_>>().join(" ");
                done.freed = freed.parse().unwrap_or_default();
                act
            }),
            Named::Client(id) => self.delete_client_in(tx, id).await,
            Named::User(name) => self.delete_user_in(tx, name).await,
        };
        match deleted {
            Ok(act) => acts.push(act),
            Err(AdminError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        if !matches!(named, Named::Role(_)) {
            done.count(Switch::Off, 0);
        }
        done.steps.push(Step::delete(named.clone()));
        Ok(())
    }
}

impl Applied {
    fn count(&mut self, switch: Switch, ended: u64) {
        if switch == Switch::Off {
            *self.ended.get_or_insert(0) += ended;
        }
    }
}

/// Whom a file may change. Whether it does so is read when nobody else can change it any more.
fn changed_by<'a>(declared: &'a Declared, deletions: &'a [Named]) -> Many<'a> {
    let (mut many, users) = (Many::default(), declared.users.iter().flatten());
    for user in users {
        many.users.push(&user.username);
        many.ended_users.extend((user.enabled == Some(false)).then_some(&user.username));
    }
    let switched = declared.clients.iter().flatten().filter(|client| client.enabled.is_some());
    many.ended_clients.extend(switched.map(|client| &client.id));
    for named in deletions {
        match named {
            Named::Role(_) => {}
            Named::Client(id) => many.ended_clients.push(id),
            Named::User(name) => {
                many.users.push(name);
                many.ended_users.push(name);
            }
        }
    }
    many
}

fn deletes(deletions: &[Named], role: &str) -> bool {
    deletions.iter().any(|named| matches!(named, Named::Role(name) if name.as_str() == role))
}
