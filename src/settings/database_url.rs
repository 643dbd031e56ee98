//! Where the data lives, from `database.url`. Knows no driver.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::model::secret::PlainSecret;

/// The database, parsed from its URL. Prints without the password.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file; a relative path is relative to the working directory.
    Sqlite(PathBuf),
    /// The whole URL, since it may hold a password.
    Postgres(PlainSecret),
}

/// Why a text is not a database. Never quotes the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    /// Neither of the two.
    #[error(
        "this names neither SQLite nor Postgres: write sqlite://data/grantd.db or postgres://USER:PASSWORD@HOST/DATABASE"
    )]
    Scheme,
    /// SQLite without a file.
    #[error(
        "a database in memory would lose every client, user and key: name a file such as sqlite://data/grantd.db, or use `grantd dev` for a throwaway one"
    )]
    Memory,
    /// SQLite with something that is no path of a file.
    #[error(
        "this does not name a file: write sqlite:// and its path, such as sqlite:///var/lib/grantd/grantd.db, without parameters"
    )]
    Path,
    /// Postgres with something that is no URL.
    #[error(
        "this Postgres address cannot be read: write postgres://USER:PASSWORD@HOST:PORT/DATABASE and percent-encode what is not a letter or digit in the password"
    )]
    Postgres,
}

impl DatabaseUrl {
    /// Reads `sqlite://PATH` or `postgres://…`.
    pub fn parse(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return sqlite(path.strip_prefix("//").unwrap_or(path));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return match Url::parse(text) {
                Ok(url) if url.fragment().is_none() => Ok(Self::Postgres(PlainSecret::new(text.to_owned()))),
                Ok(_) | Err(_) => Err(InvalidDatabaseUrl::Postgres),
            };
        }
        Err(InvalidDatabaseUrl::Scheme)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => f.write_str(&without_password(url.expose())),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

fn sqlite(path: &str) -> Result<DatabaseUrl, InvalidDatabaseUrl> {
    if path.starts_with(":memory:") || path.contains("mode=memory") {
        return Err(InvalidDatabaseUrl::Memory);
    }
    if path.contains(['?', '#']) {
        return Err(InvalidDatabaseUrl::Path);
    }
    let path = percent_decode_str(path).decode_utf8().map_err(|_| InvalidDatabaseUrl::Path)?;
    if path.is_empty() || path.ends_with(['/', '.']) || path.contains('\0') {
        return Err(InvalidDatabaseUrl::Path);
    }
    Ok(DatabaseUrl::Sqlite(PathBuf::from(path.into_owned())))
}

fn without_password(text: &str) -> String {
    const HIDDEN: &str = "***";
    let Ok(mut url) = Url::parse(text) else { return format!("postgres://{HIDDEN}") };
    if url.password().is_some() && url.set_password(Some(HIDDEN)).is_err() {
        return format!("postgres://{HIDDEN}");
    }
    // libpq's `?password=` and `?sslpassword=`.
    let is_password = |name: &str| name.to_lowercase().contains("password");
    if url.query_pairs().any(|(name, _)| is_password(&name)) {
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let hide = |(name, value): (String, String)| {
            let value = if is_password(&name) { HIDDEN.to_owned() } else { value };
            (name, value)
        };
        url.query_pairs_mut().clear().extend_pairs(pairs.into_iter().map(hide));
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlite_url_is_a_path() {
        for (url, path) in [
            ("sqlite://data/grantd.db", "data/grantd.db"),
            ("sqlite:data/grantd.db", "data/grantd.db"),
            ("sqlite:///var/lib/grantd.db", "/var/lib/grantd.db"),
            ("sqlite:///with%20space.db", "/with space.db"),
        ] {
            assert_eq!(DatabaseUrl::parse(url), Ok(DatabaseUrl::Sqlite(path.into())), "{url}");
        }
    }

    #[test]
    fn a_database_that_would_be_lost_or_is_none_is_refused() {
        for (url, why) in [
            ("sqlite::memory:", InvalidDatabaseUrl::Memory),
            ("sqlite://:memory:", InvalidDatabaseUrl::Memory),
            ("sqlite://a.db?mode=memory", InvalidDatabaseUrl::Memory),
            ("sqlite://a.db?mode=ro", InvalidDatabaseUrl::Path),
            ("sqlite://", InvalidDatabaseUrl::Path),
            ("sqlite://data/", InvalidDatabaseUrl::Path),
            ("sqlite://a%00b", InvalidDatabaseUrl::Path),
            ("sqlite://a%ff", InvalidDatabaseUrl::Path),
            ("mysql://u:p@h/d", InvalidDatabaseUrl::Scheme),
            ("grantd.db", InvalidDatabaseUrl::Scheme),
            ("postgres://u:p@:99999/d", InvalidDatabaseUrl::Postgres),
            ("postgres://u:pa#ss@h/d", InvalidDatabaseUrl::Postgres),
        ] {
            assert_eq!(DatabaseUrl::parse(url), Err(why), "{url}");
        }
    }

    #[test]
    fn no_password_is_printed() {
        for (url, printed) in [
            ("postgres://grantd:canary@h:5432/d", "postgres://grantd:***@h:5432/d"),
            ("postgresql://grantd:can%40ary@h/d", "postgresql://grantd:***@h/d"),
            (
                "postgres://h/d?sslmode=require&password=canary&sslpassword=canary",
                "postgres://h/d?sslmode=require&password=***&sslpassword=***",
            ),
            ("postgres://h/d?PassWord=canary", "postgres://h/d?PassWord=***"),
            ("postgres:///d?host=/run/postgresql", "postgres:///d?host=/run/postgresql"),
        ] {
            let url = DatabaseUrl::parse(url).expect(url);

            assert_eq!(url.to_string(), printed);
            assert_eq!(format!("{url:?}"), format!("DatabaseUrl({printed})"));
        }
    }
}
