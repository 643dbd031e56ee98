//! Makes a user of one row, or says why it is none. Whatever a row holds, what is said of it holds no password hash.

use std::collections::HashSet;

use serde_json::Value;

use crate::model::id::UserId;
use crate::model::role::RoleName;
use crate::model::time::Timestamp;
use crate::model::user::{User, Username};
use crate::passwords::{FirebaseConfig, HashParams, StoredHash, UnusableHash, recognise};
use crate::storage::user_import::Incoming;

use super::super::random;
use super::fields::{Field, FieldMap};

/// More than any e-mail address or name.
const MOST_TEXT: usize = 1000;
/// More than anybody holds.
const MOST_ROLES: usize = 200;

/// What rows are judged by.
pub(super) struct Judge {
    pub(super) known: HashSet<RoleName>,
    pub(super) map: FieldMap,
    pub(super) firebase: Option<FirebaseConfig>,
    pub(super) without_password: bool,
    pub(super) create_roles: bool,
    pub(super) params: HashParams,
    pub(super) now: Timestamp,
}

/// Why a row is not taken. Names of columns and of roles are repeated, and no other value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No name to log in with.
    #[error("it has no user name: map a column to it, such as --map email=username")]
    NoUsername,
    /// Not a name.
    #[error(
        "its user name cannot be used here: 1 to 255 bytes of letters, digits and ASCII signs, without spaces (RFC 8265 UsernameCaseMapped); map another column, such as --map email=username"
    )]
    Username,
    /// Columns in the wrong places.
    #[error("its user name looks like a password hash: look at --map")]
    HashAsName,
    /// Nothing to log in with.
    #[error(
        "it has no password: leave it out, or take such users along with --without-password and give them one later"
    )]
    NoPassword,
    /// Not a hash that can be used.
    #[error(transparent)]
    Hash(#[from] UnusableHash),
    /// A hash of another system than the one that was named.
    #[error("its password hash is not of the system that --format names")]
    OtherSystem,
    /// A role that is not there.
    #[error("there is no role '{0}': make it with 'grantd role create', or all of them with --create-roles")]
    NoSuchRole(RoleName),
    /// Not a role's name.
    #[error(
        "one of its roles has a name that no role can have: use 1 to 128 characters from A-Z a-z 0-9 . _ ~ -, or leave the column behind with --map COLUMN=-"
    )]
    RoleName,
    /// More than anybody holds.
    #[error("it has more than 200 roles: is this the right column?")]
    ManyRoles,
    /// A group that another row should have named.
    #[error(
        "it is in a group that is not in the file: export the groups with the users (dumpdata auth.group auth.user)"
    )]
    Group,
    /// A value of the wrong kind.
    #[error("its column '{0}' is neither true nor false")]
    NotBoolean(String),
    /// A value of the wrong kind.
    #[error("its column '{0}' is not a text")]
    NotText(String),
    /// A text that no database takes, or that is none.
    #[error("its column '{0}' holds a NUL character, or more than 1000 bytes")]
    Text(String),
    /// Not an id.
    #[error("its id is no UUID: leave the id behind with --map COLUMN=-")]
    Id,
    /// Of two with one name nobody can say who gets it.
    #[error(
        "its user name stands in another row too (names that differ in case or width only are one name): leave one of them"
    )]
    SameName,
    /// Of two with one id nobody can say who gets it.
    #[error("its id is somebody else's, in another row or here: leave the ids behind with --map COLUMN=-")]
    SameId,
    /// A line that cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(&'static str),
}

/// A row on its way to become a user.
#[derive(Default)]
pub(super) struct Row {
    id: Option<String>,
    username: Option<String>,
    email: Option<String>,
    name: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    pub(super) password_hash: Option<String>,
    pub(super) roles: Vec<String>,
    enabled: Option<bool>,
}

impl Row {
    /// Takes what stands in a column of a file with types.
    pub(super) fn set(&mut self, field: &Field, column: &str, value: &Value) -> Result<(), Refusal> {
        match (field, value) {
            (_, Value::Null) => Self::set_nothing(field, column),
            (Field::Roles, Value::Array(items)) => self.add_roles(items),
            (_, Value::String(text)) => self.set_text(field, column, text),
            (Field::Enabled | Field::Disabled | Field::Role(_), Value::Bool(_) | Value::Number(_))
            | (Field::Username, Value::Number(_)) => self.set_text(field, column, &value.to_string()),
            (Field::Enabled | Field::Disabled | Field::Role(_), _) => {
                Err(Refusal::NotBoolean(column.to_owned()))
            }
            _ => Err(Refusal::NotText(column.to_owned())),
        }
    }

    /// Takes what stands in a column of a file without types; an empty text is nothing.
    pub(super) fn set_text(&mut self, field: &Field, column: &str, text: &str) -> Result<(), Refusal> {
        if text.is_empty() {
            return Self::set_nothing(field, column);
        }
        let boolean = || boolean(text).ok_or_else(|| Refusal::NotBoolean(column.to_owned()));
        let short = || {
            let fits = text.len() <= MOST_TEXT && !text.contains('\0');
            fits.then(|| text.to_owned()).ok_or_else(|| Refusal::Text(column.to_owned()))
        };
        match field {
            Field::Username => self.username = Some(text.to_owned()),
            Field::Email => self.email = Some(short()?),
            Field::Name => self.name = Some(short()?),
            Field::FirstName => self.first_name = Some(short()?),
            Field::LastName => self.last_name = Some(short()?),
            Field::PasswordHash => self.password_hash = Some(text.to_owned()),
            Field::Roles => self.add_roles_of(text)?,
            Field::Role(role) => {
                if boolean()? {
                    self.roles.push(role.to_string());
                }
            }
            Field::Enabled => self.enabled = Some(boolean()? && self.enabled != Some(false)),
            Field::Disabled => self.enabled = Some(!boolean()? && self.enabled != Some(false)),
            Field::Id => self.id = Some(text.to_owned()),
            Field::Nothing => {}
        }
        Ok(())
    }

    /// Takes a column that holds nothing. Nothing in `enabled` may mean anything, and must not switch somebody on who was
    /// off; nothing in `disabled` is what users have who never were, as with `disabled: bool | None = None`.
    pub(super) fn set_nothing(field: &Field, column: &str) -> Result<(), Refusal> {
        match field {
            Field::Enabled => Err(Refusal::NotBoolean(column.to_owned())),
            _ => Ok(()),
        }
    }

    fn add_roles(&mut self, items: &[Value]) -> Result<(), Refusal> {
        for item in items {
            // Keycloak's groups are paths.
            let role = item.as_str().map(|role| role.trim().trim_start_matches('/'));
            self.roles.push(role.ok_or(Refusal::RoleName)?.to_owned());
        }
        Ok(())
    }

    /// A JSON array, an array as Postgres writes it, or names with commas between.
    fn add_roles_of(&mut self, text: &str) -> Result<(), Refusal> {
        let text = text.trim();
        if text.starts_with('[') {
            let items: Vec<Value> = serde_json::from_str(text).map_err(|_| Refusal::RoleName)?;
            return self.add_roles(&items);
        }
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
        let items =
            inner.split(',').map(|item| item.trim().trim_matches('"')).filter(|item| !item.is_empty());
        self.roles.extend(items.map(str::to_owned));
        Ok(())
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "y" => Some(true),
        "false" | "f" | "0" | "no" | "n" => Some(false),
        _ => None,
    }
}

/// What became of a row.
pub(super) struct Judged {
    pub(super) incoming: Incoming,
    /// How the password is hashed; `None` without one.
    pub(super) scheme: Option<&'static str>,
    /// Roles that are not there yet.
    pub(super) new_roles: Vec<RoleName>,
}

impl Judge {
    /// The user of a row, or their name, if it is one, and why they are not taken.
    pub(super) fn judge(&self, at: u64, row: Row) -> Result<Judged, (Option<String>, Refusal)> {
        let username = self.username(&row).map_err(|refusal| (None, refusal))?;
        self.user(at, row, &username).map_err(|refusal| (Some(username.to_string()), refusal))
    }

    fn username(&self, row: &Row) -> Result<Username, Refusal> {
        let given = row.username.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let given = given.ok_or(Refusal::NoUsername)?;
        // A hash can be a name, and names are repeated. Those of formats that nobody reads here, such as `$1$…`, `$apr1$…`
        // and Django's `md5$…$…`, are as secret as the others.
        let looks_like_one = given.starts_with('$') || given.matches('$').count() > 1;
        if looks_like_one || recognise(given).is_ok() {
            return Err(Refusal::HashAsName);
        }
        given.parse().map_err(|_| Refusal::Username)
    }

    fn user(&self, at: u64, row: Row, username: &Username) -> Result<Judged, Refusal> {
        let stored = self.password_hash(row.password_hash.as_deref())?;
        let (roles, new_roles) = self.roles(&row.roles)?;
        let id = match &row.id {
            Some(id) => Some(id.parse().map_err(|_| Refusal::Id)?),
            None => None,
        };
        let joined = || match (&row.first_name, &row.last_name) {
            (Some(first), Some(last)) => Some(format!("{first} {last}")),
            (one, other) => one.clone().or(other.clone()),
        };
        let scheme = stored.as_ref().map(StoredHash::scheme);
        let password_hash = match stored {
            Some(stored) => stored.as_str().to_owned(),
            None => super::no_password(self.params).map_err(|_| Refusal::NoPassword)?,
        };
        let user = User {
            id: id.unwrap_or_else(|| UserId::from_random(random::bytes())),
            username: username.clone(),
            name: row.name.clone().or_else(joined),
            email: row.email,
            roles,
            password_hash,
            disabled_at: (row.enabled == Some(false)).then_some(self.now),
            created_at: self.now,
            last_login_at: None,
        };
        Ok(Judged { incoming: Incoming { row: at, keeps_id: id.is_some(), user }, scheme, new_roles })
    }

    /// `None` for somebody without a password, where that is wanted.
    fn password_hash(&self, given: Option<&str>) -> Result<Option<StoredHash>, Refusal> {
        // Django writes `!` and something random for those who have none.
        match given.map(str::trim).filter(|hash| !hash.is_empty() && !hash.starts_with('!')) {
            Some(hash) => Ok(Some(recognise(hash)?)),
            None if self.without_password => Ok(None),
            None => Err(Refusal::NoPassword),
        }
    }

    fn roles(&self, given: &[String]) -> Result<(Vec<RoleName>, Vec<RoleName>), Refusal> {
        if given.len() > MOST_ROLES {
            return Err(Refusal::ManyRoles);
        }
        let mut roles: Vec<RoleName> = Vec::with_capacity(given.len());
        for role in given {
            roles.push(role.parse().map_err(|_| Refusal::RoleName)?);
        }
        roles.sort();
        roles.dedup();
        let new: Vec<RoleName> = roles.iter().filter(|role| !self.known.contains(*role)).cloned().collect();
        match new.first() {
            Some(first) if !self.create_roles => Err(Refusal::NoSuchRole(first.clone())),
            _ => Ok((roles, new)),
        }
    }
}
