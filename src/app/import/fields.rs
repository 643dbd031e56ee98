//! Which column of another system is what here. Knows the names that the frameworks of this world give, and no file.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::model::role::RoleName;

/// What a column means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The name they log in with.
    Username,
    /// The e-mail address.
    Email,
    /// The full name.
    Name,
    /// The first part of the full name.
    FirstName,
    /// The last part of the full name.
    LastName,
    /// The password's hash.
    PasswordHash,
    /// The roles: a list, or a text that is one.
    Roles,
    /// True gives this role.
    Role(RoleName),
    /// False switches the user off.
    Enabled,
    /// True switches the user off.
    Disabled,
    /// The id, a UUID, which stays the `sub` that other services know.
    Id,
    /// Nothing: it stays behind.
    Nothing,
}

/// Why a text is not a mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not column=field: the fields are username, email, name, first_name, last_name, password_hash, roles, role:NAME (a true/false column that gives one role), enabled, disabled, id (a UUID that is kept), and - to leave a column behind"
)]
pub struct InvalidMapping(String);

/// The mappings of one import; of a column to several fields, if need be.
#[derive(Clone, Debug, Default)]
pub struct FieldMap {
    given: Vec<(String, Field)>,
    /// What the columns mean where nothing is given; else by their usual names.
    format: Option<&'static [(&'static str, Field)]>,
}

/// One mapping, as it is given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping(String, Field);

impl FromStr for Mapping {
    type Err = InvalidMapping;

    fn from_str(text: &str) -> Result<Self, InvalidMapping> {
        let invalid = || InvalidMapping(text.chars().filter(|c| !c.is_control()).take(80).collect());
        let (column, field) =
            text.rsplit_once('=').filter(|(column, _)| !column.is_empty()).ok_or_else(invalid)?;
        let field = match field {
            "username" => Field::Username,
            "email" => Field::Email,
            "name" => Field::Name,
            "first_name" => Field::FirstName,
            "last_name" => Field::LastName,
            "password_hash" => Field::PasswordHash,
            "roles" => Field::Roles,
            "enabled" => Field::Enabled,
            "disabled" => Field::Disabled,
            "id" => Field::Id,
            "-" => Field::Nothing,
            other => {
                let role = other.strip_prefix("role:").and_then(|role| role.parse().ok());
                Field::Role(role.ok_or_else(invalid)?)
            }
        };
        Ok(Self(column.to_owned(), field))
    }
}

/// By the usual names, in lower case; the first that is there wins.
const USUAL: &[(&str, Field)] = &[
    ("username", Field::Username),
    ("user_name", Field::Username),
    ("login", Field::Username),
    ("email", Field::Email),
    ("email_address", Field::Email),
    ("mail", Field::Email),
    ("name", Field::Name),
    ("full_name", Field::Name),
    ("fullname", Field::Name),
    ("display_name", Field::Name),
    ("displayname", Field::Name),
    ("first_name", Field::FirstName),
    ("firstname", Field::FirstName),
    ("last_name", Field::LastName),
    ("lastname", Field::LastName),
    ("password_hash", Field::PasswordHash),
    ("passwordhash", Field::PasswordHash),
    ("hashed_password", Field::PasswordHash),
    ("encrypted_password", Field::PasswordHash),
    ("pwhash", Field::PasswordHash),
    ("password", Field::PasswordHash),
    ("hash", Field::PasswordHash),
    ("roles", Field::Roles),
    ("role", Field::Roles),
    ("enabled", Field::Enabled),
    ("is_active", Field::Enabled),
    ("active", Field::Enabled),
    ("disabled", Field::Disabled),
    ("is_disabled", Field::Disabled),
];

impl FieldMap {
    /// The mappings of a command line.
    pub fn new(given: Vec<Mapping>) -> Self {
        Self {
            given: given.into_iter().map(|Mapping(column, field)| (column, field)).collect(),
            format: None,
        }
    }

    /// The same for a format with columns of its own.
    pub(super) fn of_format(mut self, format: &'static [(&'static str, Field)]) -> Self {
        self.format = Some(format);
        self
    }

    /// The columns that are named, in the order in which they were.
    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        self.given.iter().map(|(column, _)| column.as_str())
    }

    /// The columns that were named for a field.
    pub(super) fn given_for(&self, field: &Field) -> impl Iterator<Item = &str> {
        self.given.iter().filter(move |(_, given)| given == field).map(|(column, _)| column.as_str())
    }

    /// What each of these columns means: what is given first, then what follows from the name for fields that nothing
    /// is given for. Columns that mean nothing are left out.
    pub(super) fn resolve<'a>(
        &self,
        columns: impl Iterator<Item = &'a str> + Clone,
    ) -> Vec<(&'a str, Field)> {
        let mut resolved: Vec<(&str, Field)> = Vec::new();
        for column in columns.clone() {
            let given = self.given.iter().filter(|(name, _)| name == column);
            resolved.extend(given.map(|(_, field)| (column, field.clone())));
        }
        // By field, so that of two usual names the more usual one is taken.
        let mut found: BTreeMap<&Field, (usize, &str)> = BTreeMap::new();
        let taken = |field: &Field| self.given.iter().any(|(_, given)| given == field);
        for column in columns {
            if self.given.iter().any(|(name, _)| name == column) {
                continue;
            }
            let lower = column.to_lowercase();
            let usual = self.format.unwrap_or(USUAL);
            let exact = |name: &str| if self.format.is_some() { name == column } else { name == lower };
            for (rank, (_, field)) in usual.iter().enumerate().filter(|(_, (name, _))| exact(name)) {
                if taken(field) {
                    continue;
                }
                let best = found.entry(field).or_insert((rank, column));
                if rank < best.0 {
                    *best = (rank, column);
                }
            }
        }
        resolved.extend(found.into_iter().map(|(field, (_, column))| (column, field.clone())));
        resolved.retain(|(_, field)| *field != Field::Nothing);
        resolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(given: &[&str]) -> FieldMap {
        FieldMap::new(given.iter().map(|text| text.parse().expect("a mapping")).collect())
    }

    fn resolved(given: &[&str], columns: &[&'static str]) -> Vec<(&'static str, Field)> {
        let mut resolved = map(given).resolve(columns.iter().copied());
        resolved.sort();
        resolved
    }

    #[test]
    fn columns_with_usual_names_need_no_mapping_and_others_stay_behind() {
        assert_eq!(
            resolved(&[], &["id", "UserName", "hashed_password", "disabled", "shoe_size"]),
            [
                ("UserName", Field::Username),
                ("disabled", Field::Disabled),
                ("hashed_password", Field::PasswordHash),
            ]
        );
        // Both look like it; the one that says hash is it.
        assert_eq!(resolved(&[], &["password", "password_hash"]), [("password_hash", Field::PasswordHash)]);
    }

    #[test]
    fn what_is_given_wins_over_names_and_may_use_a_column_twice() {
        assert_eq!(
            resolved(
                &["email=username", "email=email", "pw=password_hash"],
                &["email", "username", "pw", "hash"]
            ),
            [("email", Field::Username), ("email", Field::Email), ("pw", Field::PasswordHash)]
        );
        assert_eq!(resolved(&["name=-"], &["name"]), []);
        assert_eq!(
            resolved(&["is_superuser=role:admin"], &["is_superuser"]),
            [("is_superuser", Field::Role("admin".parse().expect("a role")))]
        );
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        for text in ["", "=username", "a", "a=nothing", "a=role:", "a=role:b c", "a=Username"] {
            assert!(text.parse::<Mapping>().is_err(), "{text}");
        }
        assert!("a=b=username".parse::<Mapping>().is_ok_and(|mapping| mapping.0 == "a=b"));
    }
}
