//! Roles.

use crate::model::role::{Role, RoleName};
use crate::model::time::Timestamp;

use super::clients::parse;
use super::db::{Conn, Tx, execute, row, rows};
use super::error::StorageError;
use super::revisions::{Subject, bump};

#[derive(sqlx::FromRow)]
struct RoleRow {
    name: String,
    scope: String,
    description: Option<String>,
    created_at: i64,
}

/// All roles, by name.
pub async fn list(on: impl Into<Conn<'_>>) -> Result<Vec<Role>, StorageError> {
    let roles: Vec<RoleRow> =
        rows!(on, RoleRow, "select name, scope, description, created_at from roles order by name");
    roles.into_iter().map(RoleRow::into_model).collect()
}

/// Adds a role; [`StorageError::AlreadyExists`] if there is one of its name.
pub async fn insert(tx: &mut Tx, role: &Role) -> Result<(), StorageError> {
    bump(tx, Subject::Roles).await?;
    execute!(
        &mut *tx,
        "insert into roles (name, scope, description, created_at) values ($1, $2, $3, $4)",
        role.name.as_str(),
        role.scope.to_string(),
        role.description.as_deref(),
        role.created_at.as_secs(),
    );
    Ok(())
}

/// Replaces a role's scope and description; `false` if there is none.
pub async fn update(tx: &mut Tx, role: &Role) -> Result<bool, StorageError> {
    bump(tx, Subject::Roles).await?;
    let changed = execute!(
        &mut *tx,
        "update roles set scope = $2, description = $3 where name = $1",
        role.name.as_str(),
        role.scope.to_string(),
        role.description.as_deref(),
    );
    Ok(changed == 1)
}

/// Deletes a role and takes it from its holders; `false` if there is none.
pub async fn delete(tx: &mut Tx, name: &RoleName) -> Result<bool, StorageError> {
    bump(tx, Subject::Roles).await?;
    let changed = execute!(&mut *tx, "delete from roles where name = $1", name.as_str());
    Ok(changed == 1)
}

/// How many users hold a role.
pub async fn holders(on: impl Into<Conn<'_>>, name: &RoleName) -> Result<i64, StorageError> {
    let count: Option<(i64,)> =
        row!(on, (i64,), "select count(*) from user_roles where role = $1", name.as_str());
    Ok(count.map_or(0, |(count,)| count))
}

impl RoleRow {
    fn into_model(self) -> Result<Role, StorageError> {
        Ok(Role {
            name: parse(&self.name)?,
            scope: parse(&self.scope)?,
            description: self.description,
            created_at: Timestamp::from_secs(self.created_at),
        })
    }
}
