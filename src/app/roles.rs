//! Roles: the operator's use cases. Binding a scope to a role takes it from everybody who does not hold the role,
//! so each change says how many that are.

use crate::model::audit::{Act, Change};
use crate::model::role::{Role, RoleName};
use crate::model::scope::Scope;
use crate::storage::revisions::{Subject, bump};
use crate::storage::{StorageError, Tx, roles, users};

use super::App;
use super::error::AdminError;

/// A role and whom its making or changing takes something from.
#[derive(Debug)]
pub struct RoleChange {
    /// The role as it is now.
    pub role: Role,
    /// The scopes that reached every user before and now reach holders only.
    pub newly_bound: Scope,
    /// How many users do not hold the role and so lose those scopes.
    pub users_losing_scope: i64,
}

/// A role with the number of users who hold it.
#[derive(Debug)]
pub struct RoleRow {
    /// The role.
    pub role: Role,
    /// How many users hold it.
    pub users: i64,
}

impl App {
    /// Makes a role.
    pub async fn create_role(
        &self,
        name: RoleName,
        scope: Scope,
        description: Option<String>,
    ) -> Result<RoleChange, AdminError> {
        let mut tx = self.db.begin().await?;
        let (change, act) = self.create_role_in(&mut tx, name, scope, description).await?;
        self.commit(tx, &[act]).await?;
        Ok(change)
    }

    /// The same within a transaction.
    pub(super) async fn create_role_in(
        &self,
        tx: &mut Tx,
        name: RoleName,
        scope: Scope,
        description: Option<String>,
    ) -> Result<(RoleChange, Act), AdminError> {
        let description = description.filter(|text| !text.is_empty());
        let role = Role { name, scope, description, created_at: self.clock.now() };
        let before = roles::list(&mut *tx).await?;
        roles::insert(tx, &role).await.map_err(|error| match error {
            StorageError::AlreadyExists => {
                AdminError::AlreadyExists { kind: "role", name: role.name.to_string() }
            }
            error => error.into(),
        })?;
        let change = consequences(tx, role, &before).await?;
        let created = Act::RoleCreated(change.role.clone());
        Ok((change, created))
    }

    /// Replaces a role's scope or description, where given.
    pub async fn update_role(
        &self,
        name: &RoleName,
        scope: Option<Scope>,
        description: Option<String>,
    ) -> Result<RoleChange, AdminError> {
        let mut tx = self.db.begin().await?;
        // Its row lock lets one change at a time read and write.
        bump(&mut tx, Subject::Roles).await?;
        let (change, act) = update_role_in(&mut tx, name, scope, description).await?;
        self.commit(tx, &[act]).await?;
        Ok(change)
    }

    /// Deletes a role and takes it from its holders. Gives the scopes that now reach every user.
    pub async fn delete_role(&self, name: &RoleName) -> Result<Scope, AdminError> {
        let mut tx = self.db.begin().await?;
        // Its holders lose it.
        bump(&mut tx, Subject::Roles).await?;
        bump(&mut tx, Subject::Users).await?;
        let (freed, act) = delete_role_in(&mut tx, name).await?;
        self.commit(tx, &[act]).await?;
        Ok(freed)
    }

    /// All roles, by name.
    pub async fn list_roles(&self) -> Result<Vec<RoleRow>, AdminError> {
        let mut rows = Vec::new();
        for role in roles::list(&self.db).await? {
            let users = roles::holders(&self.db, &role.name).await?;
            rows.push(RoleRow { role, users });
        }
        Ok(rows)
    }

    /// One role.
    pub async fn find_role(&self, name: &RoleName) -> Result<RoleRow, AdminError> {
        let all = roles::list(&self.db).await?;
        let role = all.into_iter().find(|role| role.name == *name).ok_or_else(|| not_found(name))?;
        let users = roles::holders(&self.db, name).await?;
        Ok(RoleRow { role, users })
    }
}

/// The same as [`App::update_role`] within a transaction that has bumped [`Subject::Roles`].
pub(super) async fn update_role_in(
    tx: &mut Tx,
    name: &RoleName,
    scope: Option<Scope>,
    description: Option<String>,
) -> Result<(RoleChange, Act), AdminError> {
    let before = roles::list(&mut *tx).await?;
    let mut role = before.iter().find(|role| role.name == *name).cloned().ok_or_else(|| not_found(name))?;
    let old = role.clone();
    role.scope = scope.unwrap_or(role.scope);
    if let Some(description) = description {
        role.description = Some(description).filter(|text| !text.is_empty());
    }
    roles::update(tx, &role).await?;
    let change = consequences(tx, role, &before).await?;
    let updated = Change { before: old, after: change.role.clone() };
    Ok((change, Act::RoleUpdated(Box::new(updated))))
}

/// The same as [`App::delete_role`] within a transaction that has bumped [`Subject::Roles`] and [`Subject::Users`].
pub(super) async fn delete_role_in(tx: &mut Tx, name: &RoleName) -> Result<(Scope, Act), AdminError> {
    let before = roles::list(&mut *tx).await?;
    let role = before.iter().find(|role| role.name == *name).ok_or_else(|| not_found(name))?;
    let others = before.iter().filter(|other| other.name != *name);
    let freed = role.scope.filter(|token| !others.clone().any(|other| other.scope.contains(token)));
    roles::delete(tx, name).await?;
    Ok((freed, Act::RoleDeleted(role.clone())))
}

async fn consequences(tx: &mut Tx, role: Role, before: &[Role]) -> Result<RoleChange, AdminError> {
    let newly_bound = role.scope.filter(|token| !before.iter().any(|other| other.scope.contains(token)));
    let users_losing_scope = match newly_bound.is_empty() {
        true => 0,
        false => users::count_without(tx, &role.name).await?,
    };
    Ok(RoleChange { role, newly_bound, users_losing_scope })
}

fn not_found(name: &RoleName) -> AdminError {
    AdminError::NotFound { kind: "role", name: name.to_string() }
}
