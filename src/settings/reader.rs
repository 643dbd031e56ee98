//! Takes the values in force one by one, parses them, and remembers what to show. Knows no particular key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::Shown;
use super::database_url::DatabaseUrl;
use super::layers::{DEFAULT, Found};
use super::mistake::{Mistakes, Reported};
use super::schema::{Key, Privacy, SCHEMA};

/// The values in force, being read.
pub(super) struct Reader<'m> {
    found: BTreeMap<&'static str, Found>,
    mistakes: &'m mut Mistakes,
    resolved: BTreeMap<&'static str, String>,
    read: BTreeSet<&'static str>,
}

impl<'m> Reader<'m> {
    pub(super) fn new(found: BTreeMap<&'static str, Found>, mistakes: &'m mut Mistakes) -> Self {
        Self { found, mistakes, resolved: BTreeMap::new(), read: BTreeSet::new() }
    }

    /// A value that must be there.
    pub(super) fn required<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Reported> {
        let value = self.optional(name, parse)?;
        value.ok_or_else(|| {
            self.refuse(name, "the value is empty: give one, or leave the setting out for its default")
        })
    }

    /// A value that may be empty, which means that it was not given.
    pub(super) fn optional<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Reported> {
        let texts = self.texts(name)?;
        let Some(text) = texts.first().filter(|text| !text.is_empty()) else { return Ok(None) };
        parse(text).map(Some).map_err(|error| self.refuse(name, error))
    }

    /// Any number of values. One mistake is written down for each that is wrong.
    pub(super) fn list<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, Reported> {
        let mut values = Vec::new();
        let mut refused = None;
        for text in self.texts(name)? {
            match parse(&text) {
                Ok(value) => values.push(value),
                Err(error) => refused = Some(self.refuse(name, error)),
            }
        }
        refused.map_or(Ok(values), Err)
    }

    /// Writes down what is wrong with the value of a key.
    pub(super) fn refuse(&mut self, name: &'static str, reason: impl Display) -> Reported {
        let origin = self.found.get(name).map_or(DEFAULT, |found| found.origin.as_str());
        self.mistakes.at(name, origin, reason)
    }

    /// Whether somebody set this key, be it to its default.
    pub(super) fn was_given(&self, name: &str) -> bool {
        self.found.get(name).is_some_and(|found| found.origin != DEFAULT)
    }

    /// Shows this in place of what was given, because it follows from something else.
    pub(super) fn resolve(&mut self, name: &'static str, value: impl Display) {
        self.resolved.insert(name, value.to_string());
    }

    /// Every key with its value in force, for people.
    pub(super) fn report(&self) -> Vec<Shown> {
        let show = |key: &'static Key| {
            let found = self.found.get(key.name)?;
            let value = match self.resolved.get(key.name) {
                Some(value) => value.clone(),
                None => shown(key, &found.texts.join(",")),
            };
            Some(Shown { key: key.name, value, origin: found.origin.clone() })
        };
        SCHEMA.iter().filter_map(show).collect()
    }

    /// The keys that were asked for.
    #[cfg(test)]
    pub(super) fn read(&self) -> &BTreeSet<&'static str> {
        &self.read
    }

    fn texts(&mut self, name: &'static str) -> Result<Vec<String>, Reported> {
        self.read.insert(name);
        if let Some(reported) = self.mistakes.reported(name) {
            return Err(reported);
        }
        let texts = self.found.get(name).map(|found| found.texts.clone());
        texts.ok_or_else(|| self.refuse(name, "config/default.toml does not have this key: add it there"))
    }
}

fn shown(key: &Key, text: &str) -> String {
    match (key.privacy, key.if_empty) {
        (_, Some(meaning)) if text.is_empty() => format!("({meaning})"),
        (Privacy::Open, _) => text.to_owned(),
        (Privacy::Password, _) => {
            DatabaseUrl::parse(text).map_or_else(|_| "(secret)".to_owned(), |url| url.to_string())
        }
        (Privacy::Secret, _) => "(secret)".to_owned(),
    }
}
