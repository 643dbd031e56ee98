//! The file of `apply`, `export` and `dev --seed`: TOML in, what it declares or all of its mistakes out, and back. Knows
//! no use case.

use std::collections::HashSet;
use std::fmt::{Display, Write as _};
use std::path::Path;
use std::str::FromStr;

use toml::de::{DeTable, DeValue};

use crate::model::client::{GrantType, Registration};
use crate::model::declared::{Declared, DeclaredClient, DeclaredRole, DeclaredUser, Member};
use crate::model::jwk::JwkSet;
use crate::model::nearest::nearest;
use crate::model::secret::PlainSecret;

use super::client::read_jwks;
use super::failure::Failure;
use super::{output, secret_input};

/// Whether secrets may stand in the file itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    /// Only the names of files that hold them.
    ByReference,
    /// They themselves as well, for a database that is thrown away.
    InPlain,
}

const KINDS: [&str; 3] = ["roles", "clients", "users"];

const SECRET_IN_FILE: &str = "a secret does not belong in this file, which others read: put it into a file of its own and name that in client_secret_file, or leave it out and let grantd make one";
const PASSWORD_IN_FILE: &str = "a password does not belong in this file, which others read: leave it out, and set it with 'grantd user set-password' once the user is there";

/// Reads a document that was found at `place`; files that it names are looked for from `base`.
pub(super) fn read(text: &str, place: &str, base: &Path, secrets: Secrets) -> Result<Declared, Failure> {
    let mut mistakes = Mistakes { text, place, found: Vec::new() };
    let declared = tables(&mut mistakes, base, secrets);
    match &mistakes.found[..] {
        [] => Ok(declared),
        [only] => Err(Failure::because(only)),
        many => Err(Failure::because(format!("there are {} mistakes:\n{}", many.len(), many.join("\n")))),
    }
}

fn tables<'t>(mistakes: &mut Mistakes<'t>, base: &Path, secrets: Secrets) -> Declared {
    let mut declared = Declared::default();
    let document = match DeTable::parse(mistakes.text) {
        Ok(document) => document,
        Err(error) => {
            // The error's own text shows the line it is about, and that line may hold a secret.
            let at = error.span().map_or(0, |span| span.start);
            mistakes.add(at, format!("this is not TOML, correct the line: {}", error.message()));
            return declared;
        }
    };
    let mut lists: Vec<_> = document.get_ref().iter().collect();
    lists.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in lists {
        let (kind, at) = (key.get_ref().as_ref(), key.span().start);
        if !KINDS.contains(&kind) {
            let nearest = nearest(kind, KINDS.into_iter()).unwrap_or_default();
            let sentence =
                format!("there is no '{kind}' here: the nearest is [[{nearest}]], correct or remove it");
            mistakes.add(at, sentence);
            continue;
        }
        let items = value.get_ref().as_array().map(|items| items.iter());
        let tables =
            items.map(|items| items.map(|item| Some((item.get_ref().as_table()?, item.span().start))));
        let Some(tables) = tables.and_then(Iterator::collect::<Option<Vec<_>>>) else {
            mistakes.add(at, format!("'{kind}' is a list of tables: write [[{kind}]] above each of them"));
            continue;
        };
        let entries = tables.into_iter().map(|(table, at)| Entry {
            table,
            at,
            base,
            secrets,
            asked: Vec::new(),
            wrong: Vec::new(),
        });
        match kind {
            "roles" => declared.roles = Some(each(entries, mistakes, role, |role| role.name.to_string())),
            "clients" => {
                declared.clients = Some(each(entries, mistakes, client, |client| client.id.to_string()))
            }
            _ => declared.users = Some(each(entries, mistakes, user, |user| user.username.to_string())),
        }
    }
    declared
}

/// What each table says; no two may be of one name.
fn each<'t, T>(
    entries: impl Iterator<Item = Entry<'t>>,
    mistakes: &mut Mistakes<'_>,
    read: fn(&mut Entry<'t>) -> Option<T>,
    name: fn(&T) -> String,
) -> Vec<T> {
    let mut names = HashSet::new();
    let mut all = Vec::new();
    for mut entry in entries {
        let found = read(&mut entry);
        entry.refuse_the_rest();
        if let Some(found) = found {
            let name = name(&found);
            if !names.insert(name.clone()) {
                entry.wrong.push((entry.at, format!("'{name}' stands here twice: leave one of them out")));
            }
            all.push(found);
        }
        entry.wrong.sort_by_key(|(at, _)| *at);
        entry.wrong.into_iter().for_each(|(at, sentence)| mistakes.add(at, sentence));
    }
    all
}

fn role(entry: &mut Entry<'_>) -> Option<DeclaredRole> {
    let name = entry.required("role");
    let scope = entry.required("scope");
    let description = entry.parsed("description");
    Some(DeclaredRole { name: name?, scope: scope?, description })
}

fn client(entry: &mut Entry<'_>) -> Option<DeclaredClient> {
    let id = entry.required("client_id");
    let default = Registration::default();
    let registration = Registration {
        name: entry.parsed("name"),
        grant_types: entry.list("grant_types", GrantType::named).unwrap_or_default(),
        scope: entry.parsed("scope").unwrap_or_default(),
        audience: entry.list("audience", str::parse).unwrap_or_default(),
        resource_servers: entry.list("resource_servers", str::parse).unwrap_or_default(),
        may_act_for: entry.list("may_act_for", str::parse).unwrap_or_default(),
        auth_methods: entry.list("token_endpoint_auth_methods", str::parse).unwrap_or(default.auth_methods),
        access_ttl: entry.parsed("access_ttl"),
        refresh_ttl: entry.parsed("refresh_ttl"),
        alg: entry.parsed("alg"),
        trust_user_address: entry.switch("trust_user_address").unwrap_or(default.trust_user_address),
        status: entry.switch("status").unwrap_or(default.status),
        jwks: entry.jwks(),
        dpop_bound: entry.switch("dpop_bound_access_tokens").unwrap_or(default.dpop_bound),
    };
    let secret = entry.client_secret();
    let enabled = entry.switch("enabled");
    if entry.wrong.is_empty()
        && let Err(invalid) = registration.check()
    {
        entry.wrong.push((entry.at, invalid.to_string()));
    }
    Some(DeclaredClient { id: id?, registration, secret, enabled })
}

fn user(entry: &mut Entry<'_>) -> Option<DeclaredUser> {
    let username = entry.required("username");
    let email = entry.parsed("email");
    let name = entry.parsed("name");
    let roles = entry.list("roles", str::parse).unwrap_or_default();
    let password = entry.literal("password", PASSWORD_IN_FILE);
    let enabled = entry.switch("enabled");
    Some(DeclaredUser { username: username?, email, name, roles, password, enabled })
}

/// One table of a list, being read.
struct Entry<'t> {
    table: &'t DeTable<'t>,
    at: usize,
    base: &'t Path,
    secrets: Secrets,
    /// The keys there are.
    asked: Vec<&'static str>,
    wrong: Vec<(usize, String)>,
}

impl<'t> Entry<'t> {
    fn value(&mut self, key: &'static str) -> Option<(usize, &'t DeValue<'t>)> {
        self.asked.push(key);
        self.table.get_key_value(key).map(|(key, value)| (key.span().start, value.get_ref()))
    }

    fn refuse(&mut self, at: usize, key: &str, sentence: impl Display) {
        self.wrong.push((at, format!("{key}: {sentence}")));
    }

    /// A text that is not empty.
    fn text(&mut self, key: &'static str) -> Option<(usize, &'t str)> {
        let (at, value) = self.value(key)?;
        let Some(text) = value.as_str() else {
            self.refuse(at, key, "this is a text: write it in quotes");
            return None;
        };
        (!text.is_empty()).then_some((at, text))
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let (at, text) = self.text(key)?;
        text.parse().map_err(|error| self.refuse(at, key, error)).ok()
    }

    fn required<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let known = self.wrong.len();
        let found = self.parsed(key);
        if found.is_none() && self.wrong.len() == known {
            self.refuse(self.at, key, "this is missing or empty: give one");
        }
        found
    }

    fn list<T, E: Display>(&mut self, key: &'static str, parse: fn(&str) -> Result<T, E>) -> Option<Vec<T>> {
        let (at, value) = self.value(key)?;
        let texts = value.as_array().map(|items| items.iter().map(|item| item.get_ref().as_str()));
        let Some(texts) = texts.and_then(Iterator::collect::<Option<Vec<_>>>) else {
            self.refuse(at, key, "this is a list of texts: write one such as [\"one\", \"two\"]");
            return None;
        };
        let parsed = texts.into_iter().map(|text| parse(text).map_err(|error| self.refuse(at, key, error)));
        Some(parsed.collect::<Vec<_>>().into_iter().flatten().collect())
    }

    fn switch(&mut self, key: &'static str) -> Option<bool> {
        let (at, value) = self.value(key)?;
        let switch = value.as_bool();
        if switch.is_none() {
            self.refuse(at, key, "write true or false, without quotes");
        }
        switch
    }

    /// A secret itself, where that may be.
    fn literal(&mut self, key: &'static str, refusal: &str) -> Option<PlainSecret> {
        let (at, text) = self.text(key)?;
        match self.secrets {
            Secrets::InPlain => Some(PlainSecret::new(text.to_owned())),
            Secrets::ByReference => {
                self.refuse(at, key, refusal);
                None
            }
        }
    }

    fn client_secret(&mut self) -> Option<PlainSecret> {
        let literal = self.literal("client_secret", SECRET_IN_FILE);
        let Some((at, path)) = self.text("client_secret_file") else { return literal };
        if literal.is_some() {
            self.refuse(at, "client_secret_file", "client_secret says the same: leave one of them out");
        }
        let read = secret_input::from_file(&self.base.join(path), "the secret");
        read.map_err(|sentence| self.refuse(at, "client_secret_file", sentence)).ok()
    }

    /// Public keys, which are no secret: here or in a file.
    fn jwks(&mut self) -> Option<JwkSet> {
        let here = self
            .text("jwks")
            .map(|(at, json)| (at, "jwks", JwkSet::parse(json.as_bytes()).map_err(|e| e.to_string())));
        let file = self.text("jwks_file");
        if let (Some(_), Some((at, _))) = (&here, file) {
            self.refuse(at, "jwks_file", "jwks says the same: leave one of them out");
        }
        let file = file.map(|(at, path)| (at, "jwks_file", read_jwks(&self.base.join(path))));
        let (at, key, read) = here.or(file)?;
        read.map_err(|sentence| self.refuse(at, key, sentence)).ok()
    }

    /// Keys that nobody asked for.
    fn refuse_the_rest(&mut self) {
        for key in self.table.keys().filter(|key| !self.asked.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let nearest = nearest(name, self.asked.iter().copied()).unwrap_or_default();
            let sentence =
                format!("there is no such key: the nearest is {nearest}, correct or remove the line");
            self.wrong.push((key.span().start, format!("{name}: {sentence}")));
        }
    }
}

/// What is wrong with the document, a sentence for each.
struct Mistakes<'t> {
    text: &'t str,
    place: &'t str,
    found: Vec<String>,
}

impl Mistakes<'_> {
    fn add(&mut self, at: usize, sentence: String) {
        let before = self.text.get(..at).unwrap_or_default();
        let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
        self.found.push(format!("{}:{line}: {sentence}", self.place));
    }
}

/// The document that declares this. Holds no secret, whatever is declared.
pub(super) fn write(declared: &Declared) -> Result<String, Failure> {
    let mut text = String::new();
    for role in declared.roles.iter().flatten() {
        table(&mut text, "roles", ("role", role.name.as_str()), &role.members(), None)?;
    }
    for client in declared.clients.iter().flatten() {
        let defaults = Registration::default().members();
        let differing =
            client.members().into_iter().zip(&defaults).filter(|(member, default)| member != *default);
        let members: Vec<_> = differing.map(|(member, _)| member).collect();
        table(&mut text, "clients", ("client_id", client.id.as_str()), &members, client.enabled)?;
    }
    for user in declared.users.iter().flatten() {
        table(&mut text, "users", ("username", user.username.as_str()), &user.members(), user.enabled)?;
    }
    for (kind, is_empty) in [
        ("roles", declared.roles.as_ref().is_some_and(Vec::is_empty)),
        ("clients", declared.clients.as_ref().is_some_and(Vec::is_empty)),
        ("users", declared.users.as_ref().is_some_and(Vec::is_empty)),
    ] {
        // Above all tables, for below one it would be a key of it.
        if is_empty {
            text.insert_str(0, &format!("{kind} = []\n"));
        }
    }
    Ok(text)
}

fn table(
    text: &mut String,
    kind: &str,
    (key, name): (&str, &str),
    members: &[Member],
    enabled: Option<bool>,
) -> Result<(), Failure> {
    let separator = if text.is_empty() { "" } else { "\n" };
    write!(text, "{separator}[[{kind}]]\n{key} = {}", literal(&name)?)?;
    for (member, value) in
        members.iter().filter(|(_, value)| !value.is_null() && *value != serde_json::json!([]))
    {
        write!(text, "{member} = {}", literal(value)?)?;
    }
    if let Some(enabled) = enabled {
        writeln!(text, "enabled = {enabled}")?;
    }
    Ok(())
}

/// JSON's texts, lists of texts and switches are TOML's as well, once what TOML wants escaped is.
fn literal(value: &impl serde::Serialize) -> Result<String, Failure> {
    output::json_line(value)
}

#[cfg(test)]
mod tests;
