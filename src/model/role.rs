//! Roles: a name for a set of scopes, and the question which scopes reach whom.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::id::{excerpt, is_plain_name};
use super::scope::Scope;
use super::time::Timestamp;

/// A role's name, of the same characters as a client id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(String);

/// Why a text is not a role's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a role name: use 1 to 128 characters from A-Z a-z 0-9 . _ ~ -")]
pub struct InvalidRoleName(String);

impl RoleName {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoleName {
    type Err = InvalidRoleName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_plain_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidRoleName(excerpt(text))) }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A role as it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// The scopes that only holders of it (or of another role with them) get.
    pub scope: Scope,
    /// What it is for, in the operator's words.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// All roles, arranged for the question "may holders of these roles have this scope?".
#[derive(Clone, Debug, Default)]
pub struct RoleTable {
    holders: HashMap<Box<str>, Vec<RoleName>>,
}

impl RoleTable {
    /// Arranges `roles`.
    pub fn new<'a>(roles: impl IntoIterator<Item = &'a Role>) -> Self {
        let mut holders: HashMap<Box<str>, Vec<RoleName>> = HashMap::new();
        for role in roles {
            for token in role.scope.iter() {
                holders.entry(token.into()).or_default().push(role.name.clone());
            }
        }
        Self { holders }
    }

    /// Whether a user who holds `held` may have `token`: a scope in no role reaches everyone.
    pub fn reaches(&self, token: &str, held: &[RoleName]) -> bool {
        match self.holders.get(token) {
            None => true,
            Some(roles) => roles.iter().any(|role| held.contains(role)),
        }
    }
}
