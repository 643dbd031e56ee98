//! Settings as operators mistype them: a file, the environment, and the files of secrets, none of them real.
//!
//! The input is the settings file, a line `---`, and lines `NAME=VALUE`. A first line `#!` puts a secret in its
//! place: `k` and `u` into the file as key and as password in the URL, `K` and `U` into the environment, `F` and
//! `G` into a file of its own; the rest of the line is the secret's end. Must not know of what settings do.

use std::io;
use std::path::Path;
use std::sync::LazyLock;

use grantd::settings::{DatabaseUrl, Loaded, SettingsErrors, Sources, load_with};

const FILE: &str = "grantd.toml";
/// What no output may contain; what a stranger would look for.
const CANARY: &str = "kanarienvogel";
const KEY: &str = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=";

static VARIABLES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let defaults = load("", Vec::new(), "").expect("the defaults are good");
    let secrets = ["GRANTD_KEYS__ENCRYPTION_KEY_FILE", "GRANTD_DATABASE__URL_FILE"].map(str::to_owned);
    defaults.report.iter().map(|shown| variable(shown.key)).chain(secrets).collect()
});

/// Settings that fit together, or every mistake in a line of its own; never a secret.
pub(crate) fn holds(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.contains(CANARY) {
        return;
    }
    let (mut file, environment) = text.split_once("\n---\n").unwrap_or((text, ""));
    let mut environment: Vec<(String, String)> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let (mut first, mut secret) = (String::new(), String::new());
    if let Some(rest) = file.strip_prefix("#!") {
        let (line, rest) = rest.split_once('\n').unwrap_or((rest, ""));
        file = rest;
        (first, secret) = place_secret(line, &mut environment);
    }
    let file = first + file;

    match load(&file, environment.clone(), &secret) {
        Ok(loaded) => check_loaded(&loaded, &environment, text),
        Err(mistakes) => check_mistakes(&mistakes, &file),
    }
}

/// Loads without a file system: there is the settings file, and every other file holds `secret`.
fn load(file: &str, environment: Vec<(String, String)>, secret: &str) -> Result<Loaded, SettingsErrors> {
    let sources = Sources { file: Some(FILE.into()), environment, ..Sources::default() };
    load_with(&sources, |path: &Path| match path.to_str() {
        Some(FILE) => Ok(file.to_owned()),
        _ if secret.is_empty() => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(secret.to_owned()),
    })
}

/// What begins the settings file, and what stands in the files of secrets.
fn place_secret(line: &str, environment: &mut Vec<(String, String)>) -> (String, String) {
    let mut rest = line.chars();
    let kind = rest.next();
    let end: String = rest.filter(|c| !c.is_control() && !"\"\\".contains(*c)).collect();
    let key = format!("{CANARY}{end}");
    let url = format!("postgres://u:{CANARY}{end}@h/d");
    let mut set = |name: &str, value: String| environment.insert(0, (name.to_owned(), value));
    match kind {
        Some('k') => return (format!("keys.encryption_key = \"{key}\"\n"), String::new()),
        Some('u') => return (format!("database.url = \"{url}\"\n"), String::new()),
        Some('K') => set("GRANTD_KEYS__ENCRYPTION_KEY", key),
        Some('U') => set("GRANTD_DATABASE__URL", url),
        Some('F') => {
            set("GRANTD_KEYS__ENCRYPTION_KEY_FILE", "key".to_owned());
            return (String::new(), key);
        }
        Some('G') => {
            set("GRANTD_DATABASE__URL_FILE", "url".to_owned());
            return (String::new(), url);
        }
        _ => {}
    }
    (String::new(), String::new())
}

fn check_mistakes(mistakes: &SettingsErrors, file: &str) {
    let said = mistakes.to_string();
    assert!(!said.contains(CANARY) && !format!("{mistakes:?}").contains(CANARY), "a secret is told: {said}");
    assert!(!mistakes.mistakes().is_empty());
    assert_eq!(said.lines().count(), mistakes.mistakes().len(), "one line each: {said}");
    assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
    for mistake in mistakes.mistakes() {
        assert!(!mistake.origin().is_empty() && !mistake.reason().is_empty(), "{mistake}");
        if let Some(line) = mistake.origin().strip_prefix("file grantd.toml:") {
            let line: usize = line.parse().expect("a line number");
            assert!((1..=file.split('\n').count()).contains(&line), "{mistake}");
        }
    }
}

fn check_loaded(loaded: &Loaded, environment: &[(String, String)], text: &str) {
    assert!(!format!("{loaded:?}").contains(CANARY), "a secret is told");
    // INTERFACE: an unknown variable under the prefix is an error, because it is a misspelt one.
    for (name, _) in environment {
        let setting =
            name.starts_with("GRANTD_") && !name.starts_with("GRANTD_TEST_") && name != "GRANTD_CONFIG";
        assert!(!setting || VARIABLES.contains(name), "{name} was passed over");
    }

    let settings = &loaded.settings;
    let (server, tokens) = (&settings.server, &settings.tokens);
    assert!(server.issuer.is_loopback() || server.issuer.as_str().starts_with("https://"));
    assert!(server.workers > 0 && server.trusted_proxies.iter().all(|network| network.prefix_len() > 0));
    assert!(
        settings.keys.publish_before < settings.keys.rotate_every && !settings.keys.publish_before.is_zero()
    );
    assert!(!tokens.access_ttl.is_zero() && !tokens.refresh_ttl.is_zero());
    assert!(tokens.refresh_retry_window <= tokens.refresh_idle_ttl);
    assert!(settings.passwords.min_length <= settings.passwords.max_length);
    assert!(settings.passwords.memory_kib >= 8 * settings.passwords.parallelism);
    assert!(server.issuer.is_loopback() || settings.passwords.min_length >= 8);
    assert!(settings.throttle.daily_limit > 0);
    if let DatabaseUrl::Postgres(_) = settings.database.url {
        assert!(settings.keys.encryption_key.is_some(), "each instance would make a key of its own");
    }

    // What stands in parentheses is explained, not quoted; a comma would divide one item of a list into two. It
    // takes as long as all the rest, so one input in four will do.
    if text.len().is_multiple_of(4) && !text.contains(['(', ',', char::REPLACEMENT_CHARACTER]) {
        check_that_what_is_shown_can_be_set(loaded);
    }
}

/// `config show` says what to write to get the same settings again.
fn check_that_what_is_shown_can_be_set(loaded: &Loaded) {
    let shown = |loaded: &Loaded| -> Vec<(&'static str, String)> {
        loaded.report.iter().map(|shown| (shown.key, shown.value.clone())).collect()
    };
    let environment = loaded.report.iter().map(|shown| match shown.value.as_str() {
        "(secret)" => (variable(shown.key), KEY.to_owned()),
        // What stands in parentheses is what an empty value means, which need not be the default.
        value if value.starts_with('(') => (variable(shown.key), String::new()),
        value => (variable(shown.key), value.to_owned()),
    });
    let again = load("", environment.collect(), "");
    let again = again.unwrap_or_else(|mistakes| panic!("what is shown is refused: {mistakes}"));
    assert_eq!(shown(&again), shown(loaded));
}

fn variable(key: &str) -> String {
    format!("GRANTD_{}", key.replace('.', "__").to_uppercase())
}
