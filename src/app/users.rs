//! People: the operator's use cases.

use crate::model::audit::{Act, Change};
use crate::model::id::UserId;
use crate::model::role::RoleName;
use crate::model::secret::PlainSecret;
use crate::model::session::RevocationReason;
use crate::model::user::{User, Username};
use crate::passwords::recognise;
use crate::storage::api_keys::{self, WhichKeys};
use crate::storage::families::Which;
use crate::storage::revisions::{Subject, bump};
use crate::storage::{StorageError, Tx, families, users};

use super::clients::Switch;
use super::error::AdminError;
use super::{App, random};

/// How a user's password is given.
#[derive(Debug)]
pub enum NewPassword {
    /// In the clear, to be hashed.
    Plain(PlainSecret),
    /// As a hash that another system made.
    Hash(PlainSecret),
}

/// What is to be changed about a user; `None` stays as it is, an empty text or list is taken away.
#[derive(Debug, Default)]
pub struct UserChange {
    /// The e-mail address.
    pub email: Option<String>,
    /// The full name.
    pub name: Option<String>,
    /// The roles.
    pub roles: Option<Vec<RoleName>>,
}

/// What came of a change.
pub(super) struct UpdatedUser {
    /// The user as they are now.
    pub(super) user: User,
    /// How many sessions a new password ended.
    pub(super) ended: u64,
    /// What is recorded.
    pub(super) acts: Vec<Act>,
}

impl App {
    /// Registers a user.
    pub async fn create_user(
        &self,
        username: Username,
        change: UserChange,
        password: NewPassword,
    ) -> Result<User, AdminError> {
        let hash = self.hash_new(password).await?;
        let mut tx = self.db.begin().await?;
        let (user, created) = self.create_user_in(&mut tx, username, change, hash).await?;
        self.commit(tx, &[created]).await?;
        Ok(user)
    }

    /// The same within a transaction.
    pub(super) async fn create_user_in(
        &self,
        tx: &mut Tx,
        username: Username,
        change: UserChange,
        password_hash: String,
    ) -> Result<(User, Act), AdminError> {
        let user = User {
            id: UserId::from_random(random::bytes()),
            username,
            email: change.email.filter(|email| !email.is_empty()),
            name: change.name.filter(|name| !name.is_empty()),
            roles: sorted(change.roles.unwrap_or_default()),
            password_hash,
            disabled_at: None,
            created_at: self.clock.now(),
            last_login_at: None,
        };
        self.check_roles(tx, &user.roles).await?;
        users::insert(tx, &user).await.map_err(|error| match error {
            StorageError::AlreadyExists => {
                AdminError::AlreadyExists { kind: "user", name: user.username.to_string() }
            }
            error => error.into(),
        })?;
        let created = Act::UserCreated(user.id, user.username.clone(), user.roles.clone());
        Ok((user, created))
    }

    /// Changes a user, and their password where a new one is given: all of it or nothing. Gives the number of sessions
    /// that a new password ended.
    pub async fn update_user(
        &self,
        username: &Username,
        change: UserChange,
        password: Option<NewPassword>,
    ) -> Result<(User, u64), AdminError> {
        let hash = match password {
            Some(password) => Some(self.hash_new(password).await?),
            None => None,
        };
        let mut tx = self.db.begin().await?;
        if change.roles.is_some() {
            bump(&mut tx, Subject::Users).await?;
        }
        if hash.is_some() {
            bump(&mut tx, Subject::Revocations).await?;
        }
        let updated = self.update_user_in(&mut tx, username, change, hash).await?;
        self.commit(tx, &updated.acts).await?;
        Ok((updated.user, updated.ended))
    }

    /// The same within a transaction that has bumped [`Subject::Users`] where roles are named and
    /// [`Subject::Revocations`] where a password is.
    pub(super) async fn update_user_in(
        &self,
        tx: &mut Tx,
        username: &Username,
        change: UserChange,
        hash: Option<String>,
    ) -> Result<UpdatedUser, AdminError> {
        // Read under the row's lock: of two changes at once the later would otherwise write back what it never saw.
        users::lock(tx, username).await?;
        let mut user = find(tx, username).await?;
        let before = user.clone();
        let kept = |new: Option<String>, old: Option<String>| match new {
            Some(text) => Some(text).filter(|text| !text.is_empty()),
            None => old,
        };
        user.email = kept(change.email, user.email);
        user.name = kept(change.name, user.name);
        users::update(tx, user.id, user.email.as_deref(), user.name.as_deref()).await?;
        if let Some(roles) = change.roles {
            user.roles = sorted(roles);
            self.check_roles(tx, &user.roles).await?;
            users::set_roles(tx, user.id, &user.roles).await?;
        }
        let ended = match hash {
            Some(hash) => Some(self.replace_password(tx, user.id, &hash).await?),
            None => None,
        };
        let acts = acts_of_update(&before, &user, ended);
        Ok(UpdatedUser { user, ended: ended.unwrap_or(0), acts })
    }

    /// Sets a user's password anew, which ends their sessions: whoever knew the old one is out. Gives the number
    /// of sessions ended.
    pub async fn set_password(&self, username: &Username, password: NewPassword) -> Result<u64, AdminError> {
        let hash = self.hash_new(password).await?;
        let mut tx = self.db.begin().await?;
        bump(&mut tx, Subject::Revocations).await?;
        let user = find(&mut tx, username).await?;
        let ended = self.replace_password(&mut tx, user.id, &hash).await?;
        self.commit(tx, &[Act::UserPasswordSet(user.id, user.username, ended)]).await?;
        Ok(ended)
    }

    /// Switches a user off, which ends their sessions and revokes what was made from their API keys, or on again. Gives
    /// the number of sessions ended. Nothing is changed where a user is switched on who is on.
    pub async fn set_user_enabled(&self, username: &Username, switch: Switch) -> Result<u64, AdminError> {
        let mut tx = self.db.begin().await?;
        bump(&mut tx, Subject::Users).await?;
        if switch == Switch::Off {
            bump(&mut tx, Subject::ApiKeys).await?;
        }
        let Some((ended, act)) = self.switch_user_in(&mut tx, username, switch).await? else {
            // On already, or deleted since they were found.
            let found = find(&mut tx, username).await;
            tx.rollback().await?;
            return found.map(|_| 0);
        };
        self.commit(tx, &[act]).await?;
        Ok(ended)
    }

    /// The same within a transaction that has bumped [`Subject::Users`] and, to switch off, [`Subject::ApiKeys`];
    /// `None` where nothing was changed.
    pub(super) async fn switch_user_in(
        &self,
        tx: &mut Tx,
        username: &Username,
        switch: Switch,
    ) -> Result<Option<(u64, Act)>, AdminError> {
        let now = self.clock.now();
        let user = find(tx, username).await?;
        let changed = match switch {
            Switch::On => users::enable(tx, user.id).await?,
            Switch::Off => {
                self.cut_off_api_keys(tx, WhichKeys::User(user.id), now).await?;
                // After new indexes were taken, as everybody does who locks both.
                bump(tx, Subject::Revocations).await?;
                users::disable(tx, user.id, now).await?
            }
        };
        if !changed {
            return Ok(None);
        }
        Ok(Some(match switch {
            Switch::Off => {
                let which = Which::User(user.id);
                let ended = families::revoke(tx, which, RevocationReason::UserDisabled, now).await?;
                (ended, Act::UserDisabled(user.id, user.username, ended))
            }
            Switch::On => (0, Act::UserEnabled(user.id, user.username)),
        }))
    }

    /// Deletes a user with their sessions, whose tokens are revoked.
    pub async fn delete_user(&self, username: &Username) -> Result<(), AdminError> {
        let mut tx = self.db.begin().await?;
        bump(&mut tx, Subject::Users).await?;
        bump(&mut tx, Subject::ApiKeys).await?;
        bump(&mut tx, Subject::Revocations).await?;
        let deleted = self.delete_user_in(&mut tx, username).await?;
        self.commit(tx, &[deleted]).await?;
        Ok(())
    }

    /// The same within a transaction that has bumped [`Subject::Users`], [`Subject::ApiKeys`] and
    /// [`Subject::Revocations`].
    pub(super) async fn delete_user_in(&self, tx: &mut Tx, username: &Username) -> Result<Act, AdminError> {
        // Waits for logins that are under way.
        users::lock(tx, username).await?;
        let user = find(tx, username).await?;
        // Before the rows go that say which tokens there are.
        let now = self.clock.now();
        families::revoke(tx, Which::User(user.id), RevocationReason::UserDisabled, now).await?;
        api_keys::revoke(tx, WhichKeys::User(user.id), now).await?;
        users::delete(tx, user.id).await?;
        Ok(Act::UserDeleted(user.id, user.username))
    }

    /// All users, by name.
    pub async fn list_users(&self) -> Result<Vec<User>, AdminError> {
        Ok(users::list(&self.db).await?)
    }

    /// One user.
    pub async fn find_user(&self, username: &Username) -> Result<User, AdminError> {
        let user = users::find_by_username(&self.db, username).await?;
        user.ok_or_else(|| not_found(username))
    }

    async fn replace_password(&self, tx: &mut Tx, id: UserId, hash: &str) -> Result<u64, AdminError> {
        users::set_password(tx, id, hash).await?;
        let now = self.clock.now();
        Ok(families::revoke(tx, Which::User(id), RevocationReason::PasswordChanged, now).await?)
    }

    pub(super) async fn hash_new(&self, password: NewPassword) -> Result<String, AdminError> {
        match password {
            NewPassword::Plain(plain) => {
                let prepared = self.policy.passwords.prepare_for_setting(plain.expose())?;
                Ok(self.pool.hash(prepared).await?)
            }
            NewPassword::Hash(hash) => Ok(recognise(hash.expose())?.as_str().to_owned()),
        }
    }

    /// Names the first role that does not exist.
    async fn check_roles(&self, tx: &mut Tx, roles: &[RoleName]) -> Result<(), AdminError> {
        let known = crate::storage::roles::list(tx).await?;
        match roles.iter().find(|role| !known.iter().any(|known| known.name == **role)) {
            Some(missing) => Err(AdminError::NoSuchRole(missing.to_string())),
            None => Ok(()),
        }
    }
}

/// What is recorded of an update; a new password, with the sessions that it ended, is an act of its own.
fn acts_of_update(before: &User, after: &User, password: Option<u64>) -> Vec<Act> {
    let fields = [
        ("email", before.email != after.email),
        ("name", before.name != after.name),
        ("roles", before.roles != after.roles),
    ];
    let changed: Vec<_> = fields.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect();
    let set = password.map(|ended| Act::UserPasswordSet(after.id, after.username.clone(), ended));
    let mut acts = Vec::new();
    // Also where nothing differs: an operator's command leaves a row.
    if !changed.is_empty() || set.is_none() {
        let roles = Change { before: before.roles.clone(), after: after.roles.clone() };
        acts.push(Act::UserUpdated { user: after.id, username: after.username.clone(), changed, roles });
    }
    acts.extend(set);
    acts
}

async fn find(tx: &mut Tx, username: &Username) -> Result<User, AdminError> {
    users::find_by_username(tx, username).await?.ok_or_else(|| not_found(username))
}

fn sorted(mut roles: Vec<RoleName>) -> Vec<RoleName> {
    roles.sort();
    roles.dedup();
    roles
}

fn not_found(username: &Username) -> AdminError {
    AdminError::NotFound { kind: "user", name: username.to_string() }
}
