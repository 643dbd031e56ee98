//! Which formats there are, how each is told from the others, and which columns each has. Reads no file.

use std::str::FromStr;

use super::fields::Field;
use crate::passwords::recognise;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// To be found out.
    Auto,
    /// One JSON object a line, or an array of them.
    Jsonl,
    /// A header and rows.
    Csv,
    /// `manage.py dumpdata`.
    Django,
    /// A realm export.
    Keycloak,
    /// CSV, JSON or `name:hash` lines with passlib's hashes.
    Passlib,
    /// The same with Werkzeug's.
    Werkzeug,
    /// `firebase auth:export`, in JSON.
    Firebase,
    /// A table of a database.
    Table,
}

/// How rows follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `name:hash`.
    Lines,
    /// What is between values.
    Csv(u8),
    /// An object a line.
    JsonLines,
    /// One array, or one object with an array `users`.
    Json,
}

/// Not a format.
#[derive(Debug, thiserror::Error)]
#[error("there is no such format")]
pub struct UnknownFormat;

impl Format {
    /// What each is called on the command line.
    pub const NAMES: [&'static str; 8] =
        ["auto", "jsonl", "csv", "django", "keycloak", "passlib", "werkzeug", "firebase"];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Django => "django",
            Self::Keycloak => "keycloak",
            Self::Passlib => "passlib",
            Self::Werkzeug => "werkzeug",
            Self::Firebase => "firebase",
            Self::Table => "table",
        }
    }

    /// Its columns, where they have names of their own.
    pub(super) const fn columns(self) -> Option<&'static [(&'static str, Field)]> {
        match self {
            Self::Django => Some(DJANGO),
            Self::Keycloak => Some(KEYCLOAK),
            Self::Firebase => Some(FIREBASE),
            _ => None,
        }
    }

    /// Whether a hash is of the system that the format is named after.
    pub(super) fn takes(self, hash: &str) -> bool {
        let werkzeug = hash.starts_with("scrypt:") || hash.starts_with("pbkdf2:");
        match self {
            Self::Passlib => hash.starts_with('$'),
            Self::Werkzeug => werkzeug,
            _ => true,
        }
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let all = [
            Self::Auto,
            Self::Jsonl,
            Self::Csv,
            Self::Django,
            Self::Keycloak,
            Self::Passlib,
            Self::Werkzeug,
            Self::Firebase,
        ];
        all.into_iter().find(|format| format.name() == text).ok_or(UnknownFormat)
    }
}

/// `auth.User`, and what most make of it.
const DJANGO: &[(&str, Field)] = &[
    ("username", Field::Username),
    ("email", Field::Email),
    ("name", Field::Name),
    ("first_name", Field::FirstName),
    ("last_name", Field::LastName),
    ("password", Field::PasswordHash),
    ("is_active", Field::Enabled),
    ("groups", Field::Roles),
];
/// `UserRepresentation`; its password is in `credentials`.
const KEYCLOAK: &[(&str, Field)] = &[
    ("id", Field::Id),
    ("username", Field::Username),
    ("email", Field::Email),
    ("firstName", Field::FirstName),
    ("lastName", Field::LastName),
    ("enabled", Field::Enabled),
    ("realmRoles", Field::Roles),
];
/// What `auth:export` writes; the password is in `passwordHash` and `salt`.
const FIREBASE: &[(&str, Field)] = &[
    ("email", Field::Username),
    ("email", Field::Email),
    ("displayName", Field::Name),
    ("disabled", Field::Disabled),
];

/// What a file is, by how it begins; `None` if it is nothing that is known.
pub(super) fn recognise_file(head: &str, wanted: Format) -> Option<(Format, Shape)> {
    let head = head.trim_start_matches('\u{feff}').trim_start();
    let shape = shape(head)?;
    let named = |format| {
        if wanted == Format::Auto { format } else { wanted }
    };
    let fits = match (wanted, shape) {
        (Format::Django | Format::Keycloak | Format::Firebase, shape) => shape == Shape::Json,
        (Format::Jsonl, shape) => matches!(shape, Shape::Json | Shape::JsonLines),
        (Format::Csv, shape) => matches!(shape, Shape::Csv(_)),
        _ => true,
    };
    if !fits {
        // A header alone, or one column, may look like something else.
        return (wanted == Format::Csv).then_some((Format::Csv, Shape::Csv(delimiter(head))));
    }
    let format = match shape {
        Shape::Lines => Format::Passlib,
        Shape::Csv(_) => Format::Csv,
        Shape::JsonLines => Format::Jsonl,
        Shape::Json if head.starts_with('[') => {
            match head.contains("\"model\"") && head.contains("\"fields\"") {
                true => Format::Django,
                false => Format::Jsonl,
            }
        }
        Shape::Json if head.contains("\"localId\"") => Format::Firebase,
        Shape::Json => Format::Keycloak,
    };
    let format = match (shape, head.lines().next()) {
        // `name:hash` of whatever system.
        (Shape::Lines, Some(line)) if !after_colon(line).starts_with('$') => Format::Werkzeug,
        _ => format,
    };
    Some((named(format), shape))
}

fn shape(head: &str) -> Option<Shape> {
    let line = head.lines().next().filter(|line| !line.is_empty())?;
    match line.as_bytes().first()? {
        b'[' => Some(Shape::Json),
        b'{' => match serde_json::from_str::<serde_json::Value>(line) {
            Ok(object) if object.get("users").is_none_or(|users| !users.is_array()) => Some(Shape::JsonLines),
            Ok(_) => Some(Shape::Json),
            // Longer than what is looked at, or over several lines.
            Err(_) if line.contains("\"users\"") || line.len() < head.len() => Some(Shape::Json),
            Err(_) => None,
        },
        _ if recognise(after_colon(line)).is_ok() => Some(Shape::Lines),
        _ => Some(Shape::Csv(delimiter(line))),
    }
}

fn after_colon(line: &str) -> &str {
    line.split_once(':').map_or("", |(_, rest)| rest.trim_end())
}

fn delimiter(head: &str) -> u8 {
    let line = head.lines().next().unwrap_or_default();
    let count = |of: u8| line.bytes().filter(|byte| *byte == of).count();
    // The last of those that are most frequent wins.
    [b'\t', b';', b','].into_iter().max_by_key(|of| count(*of)).unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_recognised_by_how_it_begins() {
        let bcrypt = "$2b$04$abcdefghijklmnopqrstuuyx2n0Zzopyr9QuYTMCfOJJOj526QVoC";
        for (head, format, shape) in [
            ("username,password\nalice,x", Format::Csv, Shape::Csv(b',')),
            ("\u{feff}username;password\n", Format::Csv, Shape::Csv(b';')),
            ("username\tpassword\n", Format::Csv, Shape::Csv(b'\t')),
            ("\n{\"username\": \"a\"}\n{\"username\": \"b\"}", Format::Jsonl, Shape::JsonLines),
            ("[{\"username\": \"a\"}]", Format::Jsonl, Shape::Json),
            ("[\n{\"model\": \"auth.group\", \"pk\": 1, \"fields\": {", Format::Django, Shape::Json),
            ("{\n  \"realm\": \"x\",\n  \"users\": [", Format::Keycloak, Shape::Json),
            ("{\"realm\":\"x\",\"users\":[{\"username\":\"a\"}]}", Format::Keycloak, Shape::Json),
            ("{\"users\": [\n{\"localId\": \"a\",", Format::Firebase, Shape::Json),
            (&format!("alice:{bcrypt}\n"), Format::Passlib, Shape::Lines),
            (
                "bob:pbkdf2:sha1:1000$TWTjQEDO4ONBJ1dg$a30f49c92fb14a2573e24ecd2cf7ed2df7ae7c47",
                Format::Werkzeug,
                Shape::Lines,
            ),
        ] {
            assert_eq!(recognise_file(head, Format::Auto), Some((format, shape)), "{head}");
        }
        for head in ["", "\n\n", "{\"a\": "] {
            assert_eq!(recognise_file(head, Format::Auto), None, "{head}");
        }
        assert_eq!(recognise_file("username,x\n", Format::Django), None);
        assert_eq!(
            recognise_file("username,hash\n", Format::Passlib),
            Some((Format::Passlib, Shape::Csv(b',')))
        );
    }

    proptest::proptest! {
        #[test]
        fn no_beginning_makes_it_panic(head in "[\\[{\"a-z:$,;\n\t\u{feff}]{0,40}|\\PC{0,40}") {
            for format in [Format::Auto, Format::Csv, Format::Django] {
                let _ = recognise_file(&head, format);
            }
        }
    }
}
