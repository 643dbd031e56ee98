//! The map of the house as a table: which rooms a room sees, and what it must never contain.

use super::paths::{Named, named_paths};
use super::source::{Source, Token};

/// One row of the map.
struct Room {
    name: &'static str,
    /// Rooms below it. What is on the same floor is not listed: neighbours do not see each other.
    sees: &'static [&'static str],
    never: &'static [&'static Ban],
}

/// Something that some rooms must not contain.
struct Ban {
    what: &'static str,
    /// A path and all below it; a `*` at the end matches every crate whose name begins so.
    paths: &'static [&'static str],
    words: &'static [&'static str],
    macros: &'static [&'static str],
}

const MAP: &[Room] = &[
    Room { name: "model", sees: &[], never: &[&ASYNC, &SQL, &ACTIX, &CLOCKS, &RANDOM] },
    Room { name: "protocol", sees: &["model"], never: &[&ASYNC, &SQL, &ACTIX, &JWT, &CLOCKS, &RANDOM] },
    Room { name: "storage", sees: &["model", "telemetry"], never: &[&ACTIX, &JWT, &HASHES] },
    Room { name: "keys", sees: &["model", "telemetry"], never: &[&SQL, &ACTIX] },
    Room { name: "passwords", sees: &["model", "telemetry"], never: &[&SQL, &ACTIX, &JWT] },
    Room { name: "settings", sees: &["model"], never: &[&SQL, &ACTIX] },
    Room { name: "telemetry", sees: &["model"], never: &[&SQL] },
    Room { name: "app", sees: BELOW_APP, never: &[&ACTIX, &SQL, &ENVIRONMENT, &TEMPLATES, &PRINTING] },
    Room { name: "http", sees: BELOW_DOORS, never: &[&SQL, &HASHES, &JWT] },
    Room { name: "cli", sees: BELOW_CLI, never: &[&SQL, &HASHES, &JWT] },
    Room { name: "startup", sees: BELOW_STARTUP, never: &[&SQL, &HASHES, &JWT] },
    Room { name: "main", sees: EVERYTHING, never: &[&SQL, &HASHES, &JWT] },
    Room { name: "lib", sees: EVERYTHING, never: &[&SQL, &HASHES, &JWT] },
];

const BELOW_APP: &[&str] = &["model", "protocol", "storage", "keys", "passwords", "telemetry"];
const BELOW_DOORS: &[&str] = &["model", "protocol", "storage", "keys", "passwords", "telemetry", "app"];
const BELOW_STARTUP: &[&str] =
    &["model", "protocol", "storage", "keys", "passwords", "telemetry", "app", "http", "settings"];
/// The command line starts the server, so it sees `startup`; it does not see `http`.
const BELOW_CLI: &[&str] =
    &["model", "protocol", "storage", "keys", "passwords", "telemetry", "app", "settings", "startup"];
const EVERYTHING: &[&str] = &[
    "model",
    "protocol",
    "storage",
    "keys",
    "passwords",
    "telemetry",
    "app",
    "http",
    "cli",
    "settings",
    "startup",
];

const ASYNC: Ban = Ban {
    what: "async code: rules are pure and synchronous",
    paths: &["tokio", "futures*", "std::future", "std::task"],
    words: &["async", "await"],
    macros: &[],
};
const SQL: Ban = Ban { what: "sqlx: SQL is the storage room's", paths: &["sqlx*"], words: &[], macros: &[] };
const ACTIX: Ban = Ban {
    what: "actix: HTTP is a door's",
    paths: &["actix*", "oxide_auth_actix", "tracing_actix_web"],
    words: &[],
    macros: &[],
};
const JWT: Ban = Ban {
    what: "jsonwebtoken: signing is the keys' room's",
    paths: &["jsonwebtoken"],
    words: &[],
    macros: &[],
};
const HASHES: Ban = Ban {
    what: "password hashes: they are the passwords' room's",
    paths: &["argon2", "bcrypt"],
    words: &[],
    macros: &[],
};
const CLOCKS: Ban = Ban {
    what: "a clock: now is an argument",
    paths: &[
        "std::time::SystemTime",
        "std::time::Instant",
        "SystemTime::now",
        "Instant::now",
        "chrono::Utc::now",
        "chrono::Local",
        "Utc::now",
        "Local::now",
    ],
    words: &[],
    macros: &[],
};
const RANDOM: Ban = Ban {
    what: "a random source: randomness is an argument",
    paths: &["aws_lc_rs::rand", "rand*", "getrandom", "ring"],
    words: &[],
    macros: &[],
};
const ENVIRONMENT: Ban =
    Ban { what: "the environment: settings are arguments", paths: &["std::env"], words: &[], macros: &[] };
const TEMPLATES: Ban =
    Ban { what: "templates: pages are a door's", paths: &["askama*"], words: &[], macros: &[] };
const PRINTING: Ban = Ban {
    what: "printing: talk is the command line's",
    paths: &["std::io::stdout", "std::io::stderr"],
    words: &[],
    macros: &["print", "println", "eprint", "eprintln"],
};

/// What breaks the map in one file under `src`.
pub(super) fn violations(file: &str, text: &str) -> Vec<String> {
    let module = module_of(file);
    let name = match module.first() {
        Some(name) => name.as_str(),
        None if file == "src/main.rs" => "main",
        None => "lib",
    };
    let Some(room) = MAP.iter().find(|room| room.name == name) else {
        return vec![format!("{file}:1: no room is called {name}; tests/it/tidy/rooms.rs has the map")];
    };

    if module.iter().any(|name| name == "tests") {
        return Vec::new(); // `#[cfg(test)] mod tests;` of a long file
    }

    let tokens = Source::read(text).tokens_outside_tests();
    let mut violations = banned_words(room, &tokens);
    for (line, named) in named_paths(&tokens, &module) {
        match named {
            Named::Here(path) => violations.extend(unseen(room, &path).map(|rule| (line, rule))),
            // The binary is a crate of its own.
            Named::Elsewhere(path) if name == "main" && path[0] == "grantd" => {
                violations.extend(unseen(room, &path[1..]).map(|rule| (line, rule)));
            }
            Named::Elsewhere(path) => violations.extend(banned_path(room, &path).map(|rule| (line, rule))),
        }
    }
    violations.sort();
    violations.dedup();
    violations.into_iter().map(|(line, rule)| format!("{file}:{line}: {rule}")).collect()
}

/// `src/protocol/grants/mod.rs` is `["protocol", "grants"]`; the roots are `[]`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" | "main" => Vec::new(),
        _ => path.split('/').map(str::to_owned).collect(),
    }
}

/// A path inside the crate that leads to a room which this one does not see.
fn unseen(room: &Room, path: &[String]) -> Option<String> {
    let other = path.first()?;
    let known = MAP.iter().any(|room| room.name == other);
    let seen = other == room.name || room.sees.contains(&other.as_str());
    (known && !seen).then(|| format!("{} does not see {other}", room.name))
}

fn banned_path(room: &Room, path: &[String]) -> Option<String> {
    let ban = room.never.iter().find(|ban| ban.paths.iter().any(|banned| begins_with(path, banned)))?;
    Some(format!("{} never contains {}", room.name, ban.what))
}

fn begins_with(path: &[String], banned: &str) -> bool {
    match banned.strip_suffix('*') {
        Some(prefix) => path[0].starts_with(prefix),
        None => {
            banned.split("::").enumerate().all(|(at, segment)| path.get(at).is_some_and(|s| s == segment))
        }
    }
}

fn banned_words(room: &Room, tokens: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_macro = tokens.get(at + 1).is_some_and(|next| next.is("!"));
        let word = token.text.as_str();
        for ban in room.never {
            if ban.words.contains(&word) || (is_macro && ban.macros.contains(&word)) {
                found.push((token.line, format!("{} never contains {}", room.name, ban.what)));
            }
        }
    }
    found
}
