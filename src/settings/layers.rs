//! The four sources as layers of known keys, each value with its origin; `config` lays them over one another.
//! Knows names and kinds, not what a value means.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use config::{Config, Map, Source, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistakes, Reported};
use super::schema::{self, FILE_SUFFIX, Key, Kind, Privacy};
use super::{DEFAULTS, Sources};

/// Reads a file of settings or of a secret.
pub(super) type Read<'r> = &'r dyn Fn(&Path) -> io::Result<String>;

/// The origin of what nobody has set.
pub(super) const DEFAULT: &str = "default";

/// A value that won over those below it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// One text, or any number of them for [`Kind::List`].
    pub(super) texts: Vec<String>,
    /// Who said so, as `config show` prints it.
    pub(super) origin: String,
}

/// Every key of the schema with the value in force. Fails only if the file cannot be read, since all other
/// mistakes would then be guesses.
pub(super) fn gather(
    sources: &Sources,
    read: Read<'_>,
    mistakes: &mut Mistakes,
) -> Result<BTreeMap<&'static str, Found>, Reported> {
    let defaults = toml_layer(DEFAULTS, DEFAULT, |_| DEFAULT.to_owned(), mistakes);
    let file = file_layer(sources, read, mistakes);
    let environment = environment_layer(&sources.environment, read, mistakes);
    let flags = flag_layer(sources, mistakes);

    let merged = Config::builder()
        .add_source(defaults?)
        .add_source(file?)
        .add_source(environment)
        .add_source(flags)
        .build()
        .and_then(|config| config.collect())
        .map_err(|error| mistakes.in_source("settings", error))?;

    let found = schema::SCHEMA.iter().filter_map(|key| Some((key.name, found(&merged, key)?)));
    Ok(found.collect())
}

/// The values of one source, under their full names.
#[derive(Clone, Debug, Default)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    fn insert(&mut self, key: &Key, texts: Vec<String>, origin: &str) {
        let origin = origin.to_owned();
        let texts: Vec<Value> =
            texts.into_iter().map(|text| Value::new(Some(&origin), ValueKind::String(text))).collect();
        self.0.insert(key.name.to_owned(), Value::new(Some(&origin), ValueKind::Array(texts)));
    }

    /// A value that came as one text: from the environment, a secret's file or a flag.
    fn insert_text(&mut self, key: &Key, text: String, origin: &str) {
        let texts = match key.kind {
            Kind::List => {
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
            }
            // Never guessed at: a secret `0012345` is not the number 12345.
            Kind::Text | Kind::Count | Kind::Switch | Kind::Time => vec![text],
        };
        self.insert(key, texts, origin);
    }
}

fn found(merged: &Map<String, Value>, key: &Key) -> Option<Found> {
    let mut segments = key.name.split('.');
    let mut value = merged.get(segments.next()?)?;
    for segment in segments {
        let ValueKind::Table(table) = &value.kind else { return None };
        value = table.get(segment)?;
    }
    let ValueKind::Array(items) = &value.kind else { return None };
    let texts = items.iter().filter_map(|item| item.clone().into_string().ok()).collect();
    Some(Found { texts, origin: value.origin().unwrap_or(DEFAULT).to_owned() })
}

// ---- the file ----

fn file_layer(sources: &Sources, read: Read<'_>, mistakes: &mut Mistakes) -> Result<Layer, Reported> {
    let named = |name: &str| {
        let value = sources.environment.iter().rev().find(|(variable, _)| variable == name);
        value.filter(|(_, path)| !path.is_empty()).map(|(_, path)| PathBuf::from(path))
    };
    let Some(path) = sources.file.clone().or_else(|| named(schema::CONFIG_VARIABLE)) else {
        return Ok(Layer::default());
    };
    let origin = format!("file {}", path.display());
    let text = read(&path).map_err(|error| {
        let reason = format!(
            "the settings file cannot be read ({error}): correct the path in --config or GRANTD_CONFIG, or leave it out"
        );
        mistakes.in_source(&origin, reason)
    })?;
    toml_layer(&text, &origin, |line| format!("{origin}:{line}"), mistakes)
}

fn toml_layer(
    text: &str,
    whole: &str,
    origin: impl Fn(usize) -> String,
    mistakes: &mut Mistakes,
) -> Result<Layer, Reported> {
    let breaks: Vec<usize> = text.match_indices('\n').map(|(offset, _)| offset).collect();
    let line = |offset: usize| 1 + breaks.partition_point(|end| *end < offset);
    let table = DeTable::parse(text).map_err(|error| {
        // The error's own text shows the line it is about, and that line may hold a secret.
        let place = error.span().map_or_else(|| whole.to_owned(), |span| origin(line(span.start)));
        mistakes.in_source(&place, format!("this is not TOML, correct the line: {}", error.message()))
    })?;

    let mut entries = Vec::new();
    flatten(table.get_ref(), "", &mut entries);
    entries.sort_by_key(|entry| entry.offset);

    let mut layer = Layer::default();
    for entry in entries {
        let origin = origin(line(entry.offset));
        match (schema::find(&entry.name), entry.value) {
            (Some(key), value) => match texts(key.kind, value) {
                Some(texts) => layer.insert(key, texts, &origin),
                None => {
                    mistakes.at(key.name, &origin, wrong_type(key, value));
                }
            },
            (None, _) if schema::is_section(&entry.name) => {
                let reason =
                    format!("this is a section, not a setting: write [{}] above its keys", entry.name);
                mistakes.at(&entry.name, &origin, reason);
            }
            (None, _) => {
                let nearest = schema::nearest_key(&entry.name);
                let reason =
                    format!("there is no such setting: the nearest is {nearest}, correct or remove the line");
                mistakes.at(&entry.name, &origin, reason);
            }
        }
    }
    Ok(layer)
}

struct Entry<'t> {
    name: String,
    offset: usize,
    value: &'t DeValue<'t>,
}

/// The leaves of a table; a section, too, is a leaf where it holds something else than keys.
fn flatten<'t>(table: &'t DeTable<'t>, parent: &str, entries: &mut Vec<Entry<'t>>) {
    for (key, value) in table {
        let name =
            if parent.is_empty() { key.get_ref().to_string() } else { format!("{parent}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner)
                if schema::find(&name).is_none() && (schema::is_section(&name) || !inner.is_empty()) =>
            {
                flatten(inner, &name, entries);
            }
            value => entries.push(Entry { name, offset: key.span().start, value }),
        }
    }
}

fn texts(kind: Kind, value: &DeValue<'_>) -> Option<Vec<String>> {
    match (kind, value) {
        (Kind::Text | Kind::Time, DeValue::String(text)) => Some(vec![text.to_string()]),
        (Kind::Count, DeValue::Integer(number)) => {
            // What does not fit is written as it stands, for the message that refuses it.
            let decimal = i64::from_str_radix(number.as_str(), number.radix());
            Some(vec![decimal.map_or_else(|_| number.as_str().to_owned(), |number| number.to_string())])
        }
        // An empty text means "not given" for every kind.
        (Kind::Count, DeValue::String(text)) if text.is_empty() => Some(vec![String::new()]),
        (Kind::Switch, DeValue::Boolean(on)) => Some(vec![on.to_string()]),
        (Kind::List, DeValue::Array(items)) => {
            items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
        }
        _ => None,
    }
}

fn wrong_type(key: &Key, value: &DeValue<'_>) -> String {
    let wanted = match key.kind {
        Kind::Text => "a text in quotes",
        Kind::Count => "a whole number without quotes",
        Kind::Switch => "true or false without quotes",
        Kind::Time => "a length of time in quotes, such as \"10m\"",
        Kind::List => "a list of texts, such as [\"one\", \"two\"]",
    };
    let given = match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    };
    match (key.kind, value) {
        (Kind::List, DeValue::Array(_)) => {
            format!("something in this list is not a text: write {wanted}")
        }
        _ => format!("this is {given}: write {wanted}"),
    }
}

// ---- the environment ----

fn environment_layer(environment: &[(String, String)], read: Read<'_>, mistakes: &mut Mistakes) -> Layer {
    let mut given: BTreeMap<&str, &str> = BTreeMap::new();
    for (variable, value) in environment {
        if schema::is_setting(variable) {
            given.insert(variable, value);
        }
    }

    let mut layer = Layer::default();
    for key in schema::SCHEMA {
        let variable = key.variable();
        let value = given.remove(variable.as_str());
        let file_variable = key.file_variable();
        let file = file_variable.as_deref().and_then(|name| Some((name, given.remove(name)?)));

        match (value, file) {
            (Some(value), Some((name, path))) if !value.is_empty() && !path.is_empty() => {
                let reason = format!("{variable} and {name} are both set: unset one of them");
                mistakes.at(key.name, "environment", reason);
            }
            // Compose files set a variable to nothing where they mean to leave it out.
            (_, Some((name, path))) if !path.is_empty() => {
                let origin = format!("environment {name}");
                match read_secret(Path::new(path), read) {
                    Ok(secret) => layer.insert_text(key, secret, &origin),
                    Err(reason) => {
                        mistakes.at(key.name, &origin, reason);
                    }
                }
            }
            // Process environments are bytes; what was not UTF-8 arrives with this character in its place.
            (Some(value), _) if value.contains(char::REPLACEMENT_CHARACTER) => {
                let origin = format!("environment {variable}");
                mistakes.at(key.name, &origin, "the value is not UTF-8: correct it");
            }
            (Some(value), _) => layer.insert_text(key, value.to_owned(), &format!("environment {variable}")),
            (None, _) => {}
        }
    }
    for (variable, value) in given {
        mistakes.at(variable, "environment", unknown_variable(variable, value));
    }
    layer
}

fn read_secret(path: &Path, read: Read<'_>) -> Result<String, String> {
    let mut secret = read(path).map_err(|error| {
        format!("the file {} cannot be read ({error}): correct the path or its permissions", path.display())
    })?;
    if secret.ends_with('\n') {
        secret.pop();
        if secret.ends_with('\r') {
            secret.pop();
        }
    }
    if secret.is_empty() {
        return Err(format!("the file {} is empty: put the secret into it", path.display()));
    }
    Ok(secret)
}

fn unknown_variable(variable: &str, value: &str) -> String {
    let nearest = schema::nearest_variable(variable);
    // Kubernetes puts the address of a Service named `grantd` into every pod of its namespace, like so.
    let of_a_service = ["_SERVICE_HOST", "_SERVICE_PORT"].iter().any(|part| variable.contains(part));
    let of_a_port = variable.contains("_PORT_") || variable.ends_with("_PORT");
    if !variable.contains("__") && (of_a_service || of_a_port || value.starts_with("tcp://")) {
        return format!(
            "there is no such setting, this looks like a Kubernetes service link: set enableServiceLinks: false in the pod, or give the Service another name than grantd (the nearest setting is {nearest})"
        );
    }
    let of_an_open_key = |key: &Key| {
        key.privacy == Privacy::Open && variable.strip_suffix(FILE_SUFFIX) == Some(key.variable().as_str())
    };
    if schema::SCHEMA.iter().any(of_an_open_key) {
        return format!(
            "only secrets are read from files: set {}",
            variable.strip_suffix(FILE_SUFFIX).unwrap_or(variable)
        );
    }
    format!("there is no such setting: the nearest is {nearest}, correct or unset the variable")
}

// ---- the flags ----

fn flag_layer(sources: &Sources, mistakes: &mut Mistakes) -> Layer {
    let mut layer = Layer::default();
    for flag in &sources.flags {
        let origin = flag.origin();
        match schema::find(flag.key) {
            Some(key) => layer.insert_text(key, flag.value.clone(), &origin),
            None => {
                let nearest = schema::nearest_key(flag.key);
                mistakes.at(flag.key, &origin, format!("there is no such setting: the nearest is {nearest}"));
            }
        }
    }
    layer
}
