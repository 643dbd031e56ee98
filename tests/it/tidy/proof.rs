//! The proof that the checker sees what it should: planted violations are found, innocent lines are not.

use std::collections::BTreeSet;

use super::{rooms, unpaired_migrations, untidy_lines};
use crate::support::runner::trials;

trials! {
    plain: [
        a_planted_import_is_found_however_it_is_written,
        what_only_looks_like_an_import_is_let_through,
        a_room_that_is_not_on_the_map_is_found,
        every_file_rule_finds_its_violation,
        a_mark_in_a_string_is_no_mark,
        a_migration_without_its_twin_is_found,
    ],
}

fn a_planted_import_is_found_however_it_is_written() {
    for (file, source, line, rule) in [
        ("src/app/exchange.rs", "use sqlx::query;", 1, "app never contains sqlx"),
        ("src/app/exchange.rs", "\nuse {std::fmt, sqlx};", 2, "app never contains sqlx"),
        ("src/app/exchange.rs", "fn f() { let rows = ::sqlx::query(SQL); }", 1, "app never contains sqlx"),
        ("src/app/exchange.rs", "#[derive(sqlx::FromRow)] struct Row;", 1, "app never contains sqlx"),
        ("src/app/exchange.rs", "use std::{fmt, env as e};", 1, "app never contains the environment"),
        ("src/app/exchange.rs", "fn f() {\n  println!(\"x\") }", 2, "app never contains printing"),
        ("src/app/exchange.rs", "use crate::http::error;", 1, "app does not see http"),
        ("src/app/exchange.rs", "fn f(s: &crate::settings::Settings) {}", 1, "app does not see settings"),
        ("src/app/mod.rs", "use super::cli;", 1, "app does not see cli"),
        ("src/model/id.rs", "pub async fn f() {}", 1, "model never contains async"),
        ("src/model/id.rs", "fn f() { SystemTime::now(); }", 1, "model never contains a clock"),
        ("src/model/id.rs", "use aws_lc_rs::rand;", 1, "model never contains a random source"),
        ("src/model/id.rs", "use crate::{\n  model::scope,\n  app::{self}\n};", 3, "model does not see app"),
        (
            "src/protocol/grants/password.rs",
            "use super::super::super::storage;",
            1,
            "protocol does not see storage",
        ),
        (
            "src/protocol/grants/mod.rs",
            "mod inner { use super::super::super::keys::Ring; }",
            1,
            "protocol does not see keys",
        ),
        ("src/protocol/oxide.rs", "use oxide_auth_actix::OAuthRequest;", 1, "protocol never contains actix"),
        ("src/protocol/claims.rs", "use jsonwebtoken::Header;", 1, "protocol never contains jsonwebtoken"),
        ("src/storage/db.rs", "use actix_web::web;", 1, "storage never contains actix"),
        ("src/keys/ring.rs", "use crate::passwords::Pool;", 1, "keys does not see passwords"),
        ("src/http/token.rs", "use argon2::Argon2;", 1, "http never contains password hashes"),
        ("src/http/token.rs", "use crate::cli::table;", 1, "http does not see cli"),
        ("src/cli/serve.rs", "use crate::http::routes;", 1, "cli does not see http"),
        ("src/settings.rs", "use crate::app::App;", 1, "settings does not see app"),
        ("src/main.rs", "fn main() { sqlx::any(); }", 1, "main never contains sqlx"),
    ] {
        let found = rooms::violations(file, source);

        assert_eq!(found.len(), 1, "{file}: {source}: {found:?}");
        assert!(found[0].starts_with(&format!("{file}:{line}: {rule}")), "{source}: {found:?}");
    }
}

fn what_only_looks_like_an_import_is_let_through() {
    for (file, source) in [
        ("src/app/exchange.rs", "//! Never sqlx::query; see crate::http.\n/* use sqlx::x; /* nested */ */"),
        ("src/app/exchange.rs", "const S: &str = \"use sqlx::query; \\\" crate::http::x\";"),
        (
            "src/app/exchange.rs",
            "const S: &str = r#\"\"sqlx::query\"\"#; const B: &[u8] = b\"std::env::var\";",
        ),
        (
            "src/app/exchange.rs",
            "fn f<'a>(c: char) -> &'a str { if c == '\"' { x } else { '\\'' } } // sqlx::x",
        ),
        (
            "src/app/exchange.rs",
            "use crate::storage::clients; use super::issue; use crate::model::{self, id::Id};",
        ),
        ("src/app/exchange.rs", "async fn f() { own::sqlx::x().await; self.sqlx::<T>(); }"),
        ("src/app/exchange.rs", "#[cfg(test)]\nmod tests { use sqlx::query; fn f() { println!(); } }"),
        ("src/app/exchange/tests.rs", "use sqlx::query;"),
        ("src/model/time.rs", "use chrono::{DateTime, Utc}; use super::secret; use std::time::Duration;"),
        (
            "src/model/id.rs",
            "#[cfg(test)] use crate::app; #[cfg(test)] fn f() -> [u8; 2] { crate::app::x() }",
        ),
        ("src/model/id.rs", "mod inner { use super::scope; } fn f() -> impl Iterator + use<'_> {}"),
        ("src/cli/serve.rs", "use crate::startup; use crate::settings::Settings;"),
        ("src/main.rs", "use grantd::cli; fn main() { grantd::settings::load(); }"),
        ("src/storage/db.rs", "use sqlx::{Sqlite, Postgres}; use crate::model::id;"),
    ] {
        assert_eq!(rooms::violations(file, source), Vec::<String>::new(), "{source}");
    }
}

fn a_room_that_is_not_on_the_map_is_found() {
    let found = rooms::violations("src/utils/mod.rs", "//! Things.");

    assert_eq!(found, ["src/utils/mod.rs:1: no room is called utils; tests/it/tidy/rooms.rs has the map"]);
}

fn every_file_rule_finds_its_violation() {
    let long = format!("//! Long.\n{}", "\n".repeat(500));
    for (source, line, rule) in [
        ("fn f() {}", 1, "a file begins with //!"),
        (long.as_str(), 501, "a file of 501 lines is two rooms"),
        ("//! A.\n// TODO: later", 2, "TODO is a promise"),
        ("//! A.\n\n/* FIXME */", 3, "FIXME is a promise"),
        ("//! A.\nfn f() { todo!() }", 2, "todo! is unfinished work"),
        ("//! A.\nfn f() { unimplemented!() }", 2, "unimplemented! is unfinished work"),
        ("//! A.\n#[allow(dead_code)]\nfn f() {}", 2, "expect a lint"),
        ("//! A.\n#![allow(dead_code)]", 2, "expect a lint"),
    ] {
        let found = untidy_lines("src/x.rs", source);

        assert_eq!(found.len(), 1, "{source}: {found:?}");
        assert!(found[0].starts_with(&format!("src/x.rs:{line}: {rule}")), "{source}: {found:?}");
    }
}

fn a_mark_in_a_string_is_no_mark() {
    let source =
        "//! A mastodon is no mark.\nconst S: &str = \"TODO #[allow(x)] todo!()\"; fn allow(x: u8) {}";

    assert_eq!(untidy_lines("src/x.rs", source), Vec::<String>::new());
}

fn a_migration_without_its_twin_is_found() {
    let names =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };

    let found =
        unpaired_migrations(&names(&["0001_a.sql", "0002_b.sql"]), &names(&["0001_a.sql", "0002_c.sql"]));

    assert_eq!(
        found,
        [
            "migrations/sqlite/0002_b.sql:1: has no twin in migrations/postgres",
            "migrations/postgres/0002_c.sql:1: has no twin in migrations/sqlite",
        ]
    );
}
