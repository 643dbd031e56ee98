//! The files in `config/` and the schema say the same.

use std::path::PathBuf;

use insta::assert_snapshot;

use super::super::layers::gather;
use super::super::mistake::Mistakes;
use super::super::reader::Reader;
use super::super::schema::{SCHEMA, find};
use super::super::{DEFAULTS, DatabaseUrl, LogFormat, Sources, Stderr, load, sections};
use super::{KEY, file, from_file, load_environment};

/// Keys in the order of `config/default.toml`, each with the number of comment lines right above it.
fn keys_with_comments() -> Vec<(String, usize)> {
    let mut keys = Vec::new();
    let mut section = "";
    let mut comments = 0;
    for line in DEFAULTS.lines() {
        if line.starts_with("# ") {
            comments += 1;
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.push((format!("{section}.{key}"), comments));
        }
        comments = 0;
    }
    keys
}

#[test]
fn default_toml_has_every_key_of_the_schema_with_one_comment_line_each() {
    let keys = keys_with_comments();

    let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
    let expected: Vec<&str> = SCHEMA.iter().map(|key| key.name).collect();
    assert_eq!(names, expected);
    for (key, comments) in keys {
        assert_eq!(comments, 1, "{key} in config/default.toml has one line of comment");
    }
}

#[test]
fn every_key_of_the_schema_is_read_and_shown() {
    let mut mistakes = Mistakes::default();
    let found = gather(&Sources::default(), &|path| panic!("{} is read", path.display()), &mut mistakes)
        .expect("the defaults");
    let mut reader = Reader::new(found, &mut mistakes);

    sections::read(&mut reader, Stderr::File).expect("the defaults");

    for key in SCHEMA {
        assert!(reader.read().contains(key.name), "{} is in the schema, but nothing reads it", key.name);
    }
    for name in reader.read() {
        assert!(find(name).is_some(), "{name} is read, but not in the schema");
    }
    assert_eq!(reader.report().len(), SCHEMA.len());
}

#[test]
fn the_defaults_are_those_that_users_were_promised() {
    let loaded = load_environment(&[]);

    let report: Vec<String> = loaded
        .report
        .iter()
        .filter(|shown| shown.key != "server.workers")
        .map(|shown| {
            assert_eq!(shown.origin, "default", "{}", shown.key);
            format!("{} = {}", shown.key, shown.value)
        })
        .collect();
    assert_snapshot!(report.join("\n"), @r#"
    server.listen = 127.0.0.1:8080
    server.issuer = http://127.0.0.1:8080
    server.trusted_proxies = (none)
    server.shutdown_grace = 20s
    server.docs = true
    server.tls.cert = (none)
    server.tls.key = (none)
    management.listen = 127.0.0.1:8081
    database.url = sqlite://data/grantd.db
    database.max_connections = (by database)
    database.migrate = true
    keys.algorithm = ES256
    keys.rotate_every = 30d
    keys.publish_before = 1h
    keys.encryption_key = (grantd.key beside the database)
    tokens.access_ttl = 10m
    tokens.refresh_ttl = 30d
    tokens.refresh_idle_ttl = 14d
    tokens.refresh_retry_window = 24h
    tokens.refresh_retry_window_public = 10s
    tokens.default_audience = http://127.0.0.1:8080
    status.ttl = 30s
    passwords.memory_kib = 19456
    passwords.iterations = 2
    passwords.parallelism = 1
    passwords.min_length = 8
    passwords.max_length = 1024
    passwords.threads = (by cores)
    passwords.queue = (by threads)
    passwords.queue_deadline = 2s
    throttle.free_attempts = 5
    throttle.max_delay = 15m
    throttle.daily_limit = 100
    dpop.require_nonce = false
    cors.allowed_origins = (none)
    log.format = json
    log.level = info
    telemetry.otlp_endpoint = (none)
    "#);
}

#[test]
fn the_development_example_loads() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/config/development.toml"));

    let loaded = load(&from_file(&path)).expect("the example has no mistakes");

    assert!(loaded.settings.server.issuer.is_loopback());
    assert_eq!(loaded.settings.passwords.min_length, 1);
}

#[test]
fn the_production_example_loads_with_its_two_secrets_and_not_without() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/config/production.toml"));
    let (_url_directory, url) = file("database_url", "postgres://grantd:canary@db.internal/grantd\n");
    let (_key_directory, key) = file("encryption_key", &format!("{KEY}\n"));
    let variable = |name: &str, path: PathBuf| (name.to_owned(), path.display().to_string());
    let environment =
        vec![variable("GRANTD_DATABASE__URL_FILE", url), variable("GRANTD_KEYS__ENCRYPTION_KEY_FILE", key)];

    let without = load(&from_file(&path)).expect_err("the key is missing").to_string();
    let loaded = load(&Sources { environment, ..from_file(&path) }).expect("the example has no mistakes");

    assert!(without.starts_with("keys.encryption_key (default): on Postgres"), "{without}");
    let settings = loaded.settings;
    assert!(!settings.server.issuer.is_loopback());
    assert!(matches!(settings.database.url, DatabaseUrl::Postgres(_)));
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.server.trusted_proxies.len(), 1);
}
