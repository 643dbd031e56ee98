//! Reads files of JSON: an object a line, an array, or one document with an array `users`, row by row. Judges no row.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::fields::Field;
use super::formats::Format;
use super::judge::{Refusal, Row};
use super::keycloak;
use super::outcome::ImportError;
use super::reading::{Collector, Gone};
use super::text_files::next_line;

/// An object a line.
pub(super) fn lines(
    mut reader: impl BufRead,
    failed: impl Fn(io::Error) -> ImportError,
    collector: &mut Collector,
) -> Result<(), ImportError> {
    let mut meanings = Meanings::of_nothing(collector);
    let mut number = 0;
    while let Some(line) = next_line(&mut reader).map_err(&failed)? {
        number += 1;
        let row = match line {
            Err(refusal) => Err(refusal),
            Ok(line) if line.is_empty() => continue,
            Ok(line) => match serde_json::from_str(&line) {
                Ok(Value::Object(object)) => plain(&object, &mut meanings, collector),
                Ok(_) | Err(_) => Err(Refusal::Unreadable("it is no JSON object")),
            },
        };
        if let Err(Gone) = collector.row(number, row) {
            return Ok(());
        }
    }
    meanings.all_seen()
}

/// An array, or a document with an array `users`. What is needed of the file before its users is read first.
pub(super) fn document<R: BufRead>(
    reader: impl BufRead,
    reopen: impl Fn() -> Result<R, ImportError>,
    collector: &mut Collector,
) -> Result<(), ImportError> {
    let mut groups = HashMap::new();
    match collector.format {
        Format::Django => {
            walk(reopen()?, &mut |_, element| {
                groups.extend(group(&element));
                Ok(())
            })?;
        }
        Format::Firebase if collector.judge.firebase.is_none() => return Err(ImportError::FirebaseConfig),
        _ => {}
    }

    let mut meanings = Meanings::of_nothing(collector);
    walk(reader, &mut |number, element| {
        let row = match (collector.format, element) {
            (Format::Django, element) => match django(element, &groups, &mut meanings, collector) {
                Some(row) => row,
                None => return Ok(()),
            },
            (Format::Keycloak, Value::Object(user)) if user.contains_key("serviceAccountClientId") => {
                collector.leave_out();
                return Ok(());
            }
            (Format::Keycloak, Value::Object(user)) => keycloak_user(&user, &mut meanings, collector),
            (Format::Firebase, Value::Object(user)) => firebase_user(&user, &mut meanings, collector),
            (_, Value::Object(object)) => plain(&object, &mut meanings, collector),
            _ => Err(Refusal::Unreadable("it is no JSON object")),
        };
        collector.row(number, row)
    })?;
    meanings.all_seen()
}

/// What the keys of a row mean, which is mostly what those of the row before did.
struct Meanings {
    keys: Vec<String>,
    meanings: Vec<(String, Field)>,
    /// Columns that somebody named, and no row has had so far.
    unseen: Vec<String>,
}

impl Meanings {
    fn of_nothing(collector: &Collector) -> Self {
        let unseen = collector.judge.map.named().map(str::to_owned).collect();
        Self { keys: Vec::new(), meanings: Vec::new(), unseen }
    }

    /// A column that is in no row is a mistyped one, and what it was to bring would be missing.
    fn all_seen(mut self) -> Result<(), ImportError> {
        match self.unseen.pop() {
            Some(unseen) if !self.keys.is_empty() => {
                Err(ImportError::NoSuchColumn(unseen, self.keys.join(", ")))
            }
            _ => Ok(()),
        }
    }

    fn of(&mut self, object: &Map<String, Value>, collector: &Collector) -> &[(String, Field)] {
        if !object.keys().eq(self.keys.iter()) {
            self.keys = object.keys().cloned().collect();
            let resolved = collector.judge.map.resolve(object.keys().map(String::as_str));
            self.unseen.retain(|name| !object.contains_key(name));
            self.meanings = resolved.into_iter().map(|(name, field)| (name.to_owned(), field)).collect();
        }
        &self.meanings
    }
}

fn plain(
    object: &Map<String, Value>,
    meanings: &mut Meanings,
    collector: &Collector,
) -> Result<Row, Refusal> {
    let mut row = Row::default();
    for (name, field) in meanings.of(object, collector) {
        row.set(field, name, &object[name])?;
    }
    // Some systems leave out what is null.
    match collector.judge.map.given_for(&Field::Enabled).find(|column| !object.contains_key(*column)) {
        Some(column) => Row::set_nothing(&Field::Enabled, column).map(|()| row),
        None => Ok(row),
    }
}

/// A group's key and name.
fn group(element: &Value) -> Option<(String, String)> {
    let is_group = element.get("model")?.as_str()?.to_ascii_lowercase().ends_with(".group");
    let (key, name) = (element.get("pk")?.to_string(), element.get("fields")?.get("name")?.as_str()?);
    is_group.then(|| (key, name.to_owned()))
}

/// `None` for what is no user.
fn django(
    element: Value,
    groups: &HashMap<String, String>,
    meanings: &mut Meanings,
    collector: &Collector,
) -> Option<Result<Row, Refusal>> {
    let Value::Object(mut element) = element else {
        return Some(Err(Refusal::Unreadable("it is no JSON object")));
    };
    let Some(Value::Object(mut fields)) = element.remove("fields") else { return None };
    if !fields.contains_key("password") {
        return None;
    }
    if let Some(Value::Array(held)) = fields.get_mut("groups") {
        for group in held.iter_mut() {
            let name = match &group {
                // A natural key, as with `--natural-foreign`.
                Value::Array(key) => key.first().cloned(),
                key => groups.get(&key.to_string()).cloned().map(Value::String),
            };
            match name {
                Some(name) => *group = name,
                None => return Some(Err(Refusal::Group)),
            }
        }
    }
    Some(plain(&fields, meanings, collector))
}

fn keycloak_user(
    user: &Map<String, Value>,
    meanings: &mut Meanings,
    collector: &Collector,
) -> Result<Row, Refusal> {
    let mut row = plain(user, meanings, collector)?;
    row.roles.retain(|role| !keycloak::is_keycloaks_own(role));
    row.password_hash = match user.get("credentials") {
        Some(credentials) => keycloak::password_hash(credentials)?,
        None => None,
    };
    Ok(row)
}

fn firebase_user(
    user: &Map<String, Value>,
    meanings: &mut Meanings,
    collector: &Collector,
) -> Result<Row, Refusal> {
    let mut row = plain(user, meanings, collector)?;
    let text = |name| user.get(name).and_then(Value::as_str).filter(|text: &&str| !text.is_empty());
    row.password_hash = match (&collector.judge.firebase, text("salt"), text("passwordHash")) {
        (Some(config), Some(salt), Some(hash)) => Some(config.hash(salt, hash)?),
        _ => None,
    };
    Ok(row)
}

/// What is done with the row of this number.
type Take<'a> = &'a mut dyn FnMut(u64, Value) -> Result<(), Gone>;

/// Reads the array of a document, one element at a time.
fn walk(mut reader: impl BufRead, take: Take<'_>) -> Result<(), ImportError> {
    // The mark that some editors put at the beginning. An error comes again when the file is read.
    if reader.fill_buf().is_ok_and(|start| start.starts_with("\u{feff}".as_bytes())) {
        reader.consume(3);
    }
    let mut is_gone = false;
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let walked = Document { take, is_gone: &mut is_gone }
        .deserialize(&mut deserializer)
        .and_then(|found| deserializer.end().map(|()| found));
    match walked {
        _ if is_gone => Ok(()),
        Ok(true) => Ok(()),
        Ok(false) => Err(ImportError::Damaged("(it has no array 'users')".to_owned())),
        // Without serde_json's words, which may repeat what stands there.
        Err(error) => {
            Err(ImportError::Damaged(format!("at line {}, column {}", error.line(), error.column())))
        }
    }
}

/// Says whether there was an array of users.
struct Document<'a, 'b> {
    take: Take<'a>,
    is_gone: &'b mut bool,
}

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array, or an object with one")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        let mut number = 0;
        while let Some(element) = elements.next_element::<Value>()? {
            number += 1;
            if let Err(Gone) = (self.take)(number, element) {
                *self.is_gone = true;
                return Err(de::Error::custom("nobody takes more"));
            }
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(name) = members.next_key::<String>()? {
            if name == "users" {
                let inner = Document { take: &mut *self.take, is_gone: &mut *self.is_gone };
                found |= members.next_value_seed(inner)?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}
