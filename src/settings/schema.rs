//! Every key there is: its name, its kind, who may see it, what an empty value means. Knows no values.

use crate::model::nearest::nearest;

/// What a value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text in quotes.
    Text,
    /// A whole number.
    Count,
    /// `true` or `false`.
    Switch,
    /// A length of time in quotes.
    Time,
    /// Texts; separated by commas in the environment.
    List,
}

/// Who may see a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Privacy {
    /// Everybody.
    Open,
    /// Everybody, without the password inside the URL.
    Password,
    /// Nobody.
    Secret,
}

/// One row of the schema.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Its path, with dots.
    pub(super) name: &'static str,
    /// What its value is made of.
    pub(super) kind: Kind,
    /// Who may see its value.
    pub(super) privacy: Privacy,
    /// What an empty value means, in words; `None` if it must not be empty.
    pub(super) if_empty: Option<&'static str>,
}

impl Key {
    const fn required(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, privacy: Privacy::Open, if_empty: None }
    }

    const fn optional(name: &'static str, kind: Kind, if_empty: &'static str) -> Self {
        Self { name, kind, privacy: Privacy::Open, if_empty: Some(if_empty) }
    }

    /// The variable that sets this key.
    pub(super) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.replace('.', "__").to_uppercase())
    }

    /// The variable that names a file with this key's value; only secrets have one.
    pub(super) fn file_variable(&self) -> Option<String> {
        (self.privacy != Privacy::Open).then(|| format!("{}{FILE_SUFFIX}", self.variable()))
    }
}

/// What the names of all of grantd's variables begin with.
pub(super) const PREFIX: &str = "GRANTD_";
/// What the name of a variable ends in that names a file with a secret.
pub(super) const FILE_SUFFIX: &str = "_FILE";
/// The variable that names the settings file where `--config` does not.
pub(super) const CONFIG_VARIABLE: &str = "GRANTD_CONFIG";
/// What the variables of grantd's own tests begin with, which a developer's shell may have set.
const TEST_PREFIX: &str = "GRANTD_TEST_";

/// Whether a variable of the environment means a setting.
pub(super) fn is_setting(variable: &str) -> bool {
    variable.starts_with(PREFIX) && variable != CONFIG_VARIABLE && !variable.starts_with(TEST_PREFIX)
}

/// Every key, in the order of `config/default.toml`.
pub(super) const SCHEMA: &[Key] = &[
    Key::required("server.listen", Kind::Text),
    Key::required("server.issuer", Kind::Text),
    Key::optional("server.workers", Kind::Count, "by cores"),
    Key::optional("server.trusted_proxies", Kind::List, "none"),
    Key::required("server.shutdown_grace", Kind::Time),
    Key::required("server.docs", Kind::Switch),
    Key::optional("server.tls.cert", Kind::Text, "none"),
    Key::optional("server.tls.key", Kind::Text, "none"),
    Key::optional("management.listen", Kind::Text, "off"),
    Key { privacy: Privacy::Password, ..Key::required("database.url", Kind::Text) },
    Key::optional("database.max_connections", Kind::Count, "by database"),
    Key::required("database.migrate", Kind::Switch),
    Key::required("keys.algorithm", Kind::Text),
    Key::required("keys.rotate_every", Kind::Time),
    Key::required("keys.publish_before", Kind::Time),
    Key {
        privacy: Privacy::Secret,
        ..Key::optional("keys.encryption_key", Kind::Text, "grantd.key beside the database")
    },
    Key::required("tokens.access_ttl", Kind::Time),
    Key::required("tokens.refresh_ttl", Kind::Time),
    Key::required("tokens.refresh_idle_ttl", Kind::Time),
    Key::required("tokens.refresh_retry_window", Kind::Time),
    Key::required("tokens.refresh_retry_window_public", Kind::Time),
    Key::optional("tokens.default_audience", Kind::Text, "the issuer"),
    Key::required("status.ttl", Kind::Time),
    Key::required("passwords.memory_kib", Kind::Count),
    Key::required("passwords.iterations", Kind::Count),
    Key::required("passwords.parallelism", Kind::Count),
    Key::required("passwords.min_length", Kind::Count),
    Key::required("passwords.max_length", Kind::Count),
    Key::optional("passwords.threads", Kind::Count, "by cores"),
    Key::optional("passwords.queue", Kind::Count, "by threads"),
    Key::required("passwords.queue_deadline", Kind::Time),
    Key::required("throttle.free_attempts", Kind::Count),
    Key::required("throttle.max_delay", Kind::Time),
    Key::required("throttle.daily_limit", Kind::Count),
    Key::required("dpop.require_nonce", Kind::Switch),
    Key::optional("cors.allowed_origins", Kind::List, "none"),
    Key::optional("log.format", Kind::Text, "pretty on a terminal, else json"),
    Key::required("log.level", Kind::Text),
    Key::optional("telemetry.otlp_endpoint", Kind::Text, "none"),
];

/// The row of a key.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    SCHEMA.iter().find(|key| key.name == name)
}

/// Whether keys stand below this name, as below `server`.
pub(super) fn is_section(name: &str) -> bool {
    SCHEMA.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// The key whose name is most like one that does not exist.
pub(super) fn nearest_key(unknown: &str) -> &'static str {
    let names = SCHEMA.iter().map(|key| key.name);
    nearest(unknown, names).unwrap_or_default()
}

/// The variable whose name is most like one that does not exist.
pub(super) fn nearest_variable(unknown: &str) -> String {
    let dotted =
        |variable: &str| variable.strip_prefix(PREFIX).unwrap_or(variable).replace("__", ".").to_lowercase();
    let variables: Vec<String> =
        SCHEMA.iter().flat_map(|key| [Some(key.variable()), key.file_variable()]).flatten().collect();
    let names: Vec<String> = variables.iter().map(|variable| dotted(variable)).collect();

    let found = nearest(&dotted(unknown), names.iter().map(String::as_str));
    let index = names.iter().position(|name| Some(name.as_str()) == found);
    index.and_then(|index| variables.get(index)).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_told_the_nearest_one() {
        for (unknown, nearest) in [
            ("server.lisen", "server.listen"),
            ("sever.issuer", "server.issuer"),
            ("listen", "server.listen"),
            ("encryption_key", "keys.encryption_key"),
            ("tokens.encryption_key", "keys.encryption_key"),
            ("password.memory", "passwords.memory_kib"),
            ("LOG.LEVEL", "log.level"),
        ] {
            assert_eq!(nearest_key(unknown), nearest, "{unknown}");
        }
    }

    #[test]
    fn a_misspelt_variable_is_told_the_nearest_one() {
        for (unknown, nearest) in [
            ("GRANTD_SERVER_LISTEN", "GRANTD_SERVER__LISTEN"),
            ("GRANTD_ISSUER", "GRANTD_SERVER__ISSUER"),
            ("GRANTD_server__listen", "GRANTD_SERVER__LISTEN"),
            ("GRANTD_ENCRYPTION_KEY", "GRANTD_KEYS__ENCRYPTION_KEY"),
            ("GRANTD_ENCRYPTION_KEY_FILE", "GRANTD_KEYS__ENCRYPTION_KEY_FILE"),
            ("GRANTD_DATABASE_URL", "GRANTD_DATABASE__URL"),
        ] {
            assert_eq!(nearest_variable(unknown), nearest, "{unknown}");
        }
    }

    #[test]
    fn only_the_two_secrets_are_read_from_files() {
        let variables: Vec<String> = SCHEMA.iter().filter_map(Key::file_variable).collect();

        assert_eq!(variables, ["GRANTD_DATABASE__URL_FILE", "GRANTD_KEYS__ENCRYPTION_KEY_FILE"]);
    }
}
