//! `grantd user import` and `user list --hashes`: flags, a progress bar and a report. Knows no format and no hash.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, stderr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::app::import::{FieldMap, Format, HashCounts, ImportWish, Imported, Mapping, Progress, Source};
use crate::model::audit::hex;
use crate::passwords::FirebaseConfig;
use crate::settings::DatabaseUrl;
use crate::storage::db::Location;

use super::failure::Failure;
use super::incident::count;
use super::output::{self, Format as Reader, JsonFlag, talk};
use super::settings::with_app;

const EXPLAINED: &str = "\
Examples:
  grantd user import users.csv --dry-run
  grantd user import users.jsonl --map email=username --map is_superuser=role:admin --create-roles
  python manage.py dumpdata auth.group auth.user > users.json && grantd user import users.json
  grantd user import realm-export.json --skip-refused
  grantd user import export.json --firebase-config parameters.txt
  grantd user import --from sqlite://app.db --table users
  grantd user import --from env:DATABASE_URL --table users

Formats, told apart by how a file begins:
  csv       a header, then rows; , ; or tab between values
  jsonl     a JSON object a line, or an array of objects
  django    manage.py dumpdata; groups become roles
  keycloak  a realm export with users; ids stay, realm roles become roles (not Keycloak's own),
            service accounts stay behind
  firebase  firebase auth:export --format=json; the e-mail address becomes the user name
  passlib, werkzeug
            csv, jsonl or lines NAME:HASH, with hashes of that library only
Hashes of all of these are taken in every format: bcrypt, Argon2, PBKDF2, scrypt, SHA-crypt.

Columns with usual names need no --map: username, email, full_name, hashed_password, roles, is_active, disabled
and the like. Fields: username, email, name, first_name, last_name, password_hash, roles (names with commas
between, or a JSON array), role:NAME (a true/false column that gives one role), enabled, disabled, id (a UUID
that stays the 'sub' of tokens), - (the column stays behind). A row with nothing in its column 'enabled' is
refused; nothing in 'disabled' means that they are not.

Roles that exist are given by name, as the source has it: --dry-run says how many users would hold each.

If a row is refused, nothing is imported, and all that is wrong is told; --skip-refused imports the others.
Users who are there already stay as they are, so that the same import can be run again. Two rows of one name
are both refused. Whatever ends the command leaves everybody imported or nobody.";

#[derive(Args, Debug)]
#[command(after_help = EXPLAINED)]
pub(super) struct ImportCommand {
    /// The file
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    file: Option<PathBuf>,
    /// How the file is written
    #[arg(
        long, value_name = "FORMAT", default_value = "auto", conflicts_with = "from",
        value_parser = PossibleValuesParser::new(Format::NAMES).try_map(|name| name.parse::<Format>())
    )]
    format: Format,
    /// Read a table of this database instead: sqlite://PATH, postgres://…, or env:NAME for a URL with a password
    #[arg(long, value_name = "URL", requires = "table")]
    from: Option<From>,
    /// Which table or view, with its schema before a dot if it has another than the usual one
    #[arg(long, value_name = "TABLE", requires = "from")]
    table: Option<String>,
    /// What a column means (repeatable)
    #[arg(long = "map", value_name = "COLUMN=FIELD")]
    map: Vec<Mapping>,
    /// A Firebase project's hash parameters, as its console shows them
    #[arg(long, value_name = "FILE")]
    firebase_config: Option<PathBuf>,
    /// Make roles that do not exist; they give no scope until you say which
    #[arg(long)]
    create_roles: bool,
    /// Take users along who have no password; they get one by 'user set-password'
    #[arg(long)]
    without_password: bool,
    /// Import the others where rows are refused
    #[arg(long)]
    skip_refused: bool,
    /// Say what would be imported and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: JsonFlag,
}

/// Another system's database.
#[derive(Clone, Debug)]
enum From {
    Url(DatabaseUrl),
    /// The name of a variable that holds the URL.
    Environment(String),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("env:") {
            return Ok(Self::Environment(name.to_owned()));
        }
        let url = parse_url(text)?;
        // Every user of the machine sees the arguments of a process.
        if let DatabaseUrl::Postgres(given) = &url
            && url.to_string() != given.expose()
        {
            return Err("the URL holds a password, which every user of this machine could read from the list of processes: put the URL into a variable and give --from env:NAME, or put the password into PGPASSWORD or ~/.pgpass".to_owned());
        }
        Ok(Self::Url(url))
    }
}

/// As SQLAlchemy writes them, too: with a driver, and with a relative path after three slashes.
fn parse_url(text: &str) -> Result<DatabaseUrl, String> {
    let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
    let scheme = scheme.split_once('+').map_or(scheme, |(scheme, _driver)| scheme);
    let rest = match rest.strip_prefix("///./") {
        Some(relative) if scheme == "sqlite" => format!("//./{relative}"),
        _ => rest.to_owned(),
    };
    DatabaseUrl::parse(&format!("{scheme}:{rest}")).map_err(|error| error.to_string())
}

impl From {
    fn location(self) -> Result<Location, Failure> {
        let url = match self {
            Self::Url(url) => url,
            Self::Environment(name) => {
                let text = std::env::var(&name).map_err(|_| {
                    Failure::because(format!("there is no variable {name}, which --from names: export it"))
                })?;
                parse_url(&text).map_err(|why| Failure::because(format!("{name}: {why}")))?
            }
        };
        Ok(match url {
            DatabaseUrl::Sqlite(path) => Location::Sqlite(path),
            DatabaseUrl::Postgres(url) => Location::Postgres(url),
        })
    }
}

pub(super) async fn run(config: Option<&Path>, command: ImportCommand) -> Result<(), Failure> {
    let ImportCommand { file, format, from, table, map, firebase_config, .. } = command;
    let json = command.json.format();
    let (source, length) = match (file, from, table) {
        (Some(file), ..) => {
            let length = std::fs::metadata(&file).ok().map(|metadata| metadata.len());
            (Source::File(file, format), length)
        }
        (None, Some(from), Some(table)) => (Source::Table(from.location()?, table), None),
        _ => {
            let sentence = "name a file, or a database with --from and --table".to_owned();
            return Err(Failure::WrongCommandLine(sentence));
        }
    };
    let wish = ImportWish {
        source,
        map: FieldMap::new(map),
        firebase: firebase_config.as_deref().map(read_firebase_config).transpose()?,
        skip_refused: command.skip_refused,
        without_password: command.without_password,
        create_roles: command.create_roles,
        dry_run: command.dry_run,
    };
    let skips = command.skip_refused;
    with_app(config, async |app| {
        let bar = bar(length);
        let outcome = app.import_users(wish, &|progress| show(&bar, length, progress)).await;
        bar.finish_and_clear();
        report(json, &outcome?, skips)
    })
    .await
}

/// On a terminal; else nobody is shown anything.
fn bar(length: Option<u64>) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = match length {
        Some(length) => ProgressBar::new(length),
        None => ProgressBar::no_length(),
    };
    let template = match length {
        Some(_) => "{bar:32} {percent}%  {msg}  {elapsed}, {eta} left",
        None => "{spinner} {msg}  {elapsed}",
    };
    // A template that is wrong costs its looks only.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn show(bar: &ProgressBar, length: Option<u64>, progress: Progress) {
    match progress {
        Progress::Read { rows, bytes } => {
            bar.set_position(bytes.min(length.unwrap_or(rows)));
            bar.set_message(format!("{rows} read"));
        }
        Progress::Arranging => bar.set_message("looking for rows in each other's way"),
        Progress::Writing => bar.set_message("writing"),
    }
}

fn report(json: Reader, imported: &Imported, skips: bool) -> Result<(), Failure> {
    let view = ImportView::of(imported);
    match json {
        Reader::Json => output::record(json, &view)?,
        Reader::People => {
            for refused in &view.refused {
                let name = refused.username.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
                talk(&format!("{} {}{name}: {}", imported.unit, refused.row, refused.reason));
            }
            let of_all = |(scheme, users): (&&str, &u64)| format!("{users} {scheme}");
            let hashes: Vec<String> = imported.schemes.iter().map(of_all).collect();
            let roles = view.roles.iter().map(|(role, users)| format!("{users} {role}")).collect();
            output::record(json, &ForPeople { summary: view.summary, roles, hashes })?;
        }
    }
    if imported.refused.is_empty() || skips {
        return Ok(());
    }
    let rows = count(imported.refused.len() as u64, imported.unit);
    let verb = if imported.refused.len() == 1 { "was" } else { "were" };
    Err(Failure::because(format!(
        "nothing {}imported, because {rows} {verb} refused: correct what is wrong, or import the others with --skip-refused",
        if imported.dry_run { "would be " } else { "was " }
    )))
}

#[derive(Serialize)]
struct ImportView<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    /// New users by the role that they hold; somebody with two is in both.
    roles: BTreeMap<&'a str, u64>,
    /// Users by the way in which their password is hashed.
    hashes: &'a BTreeMap<&'static str, u64>,
    refused: Vec<RefusedView<'a>>,
}

#[derive(Serialize)]
struct Summary<'a> {
    format: &'a str,
    dry_run: bool,
    read: u64,
    created: u64,
    existing: u64,
    left_out: u64,
    refused_rows: usize,
    roles_created: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

#[derive(Serialize)]
struct ForPeople<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    roles: Vec<String>,
    hashes: Vec<String>,
}

#[derive(Serialize)]
struct RefusedView<'a> {
    row: u64,
    username: Option<&'a str>,
    reason: String,
}

impl<'a> ImportView<'a> {
    fn of(imported: &'a Imported) -> Self {
        let refused = imported.refused.iter().map(|refused| RefusedView {
            row: refused.row,
            username: refused.username.as_deref(),
            reason: refused.reason.to_string(),
        });
        Self {
            summary: Summary {
                format: imported.format,
                dry_run: imported.dry_run,
                read: imported.read,
                created: imported.created,
                existing: imported.existing,
                left_out: imported.left_out,
                refused_rows: imported.refused.len(),
                roles_created: imported.roles_created.iter().map(ToString::to_string).collect(),
                sha256: imported.sha256.as_ref().map(|hash| hex(hash)),
            },
            roles: imported.roles.iter().map(|(role, users)| (role.as_str(), *users)).collect(),
            hashes: &imported.schemes,
            refused: refused.collect(),
        }
    }
}

/// The parameters as the console shows them, `name: value,` in a block, or as JSON.
fn read_firebase_config(path: &Path) -> Result<FirebaseConfig, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::because(format!("{} cannot be read ({error})", path.display())))?;
    let value = |name: &'static str| {
        let rest = text.split_once(name)?.1.trim_start_matches(['"', ':', '=', ' ', '\t', '\r', '\n']);
        let end = rest.find(['"', ',', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
        Some(&rest[..end])
    };
    let needed = |name| {
        value(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Failure::because(format!(
                "{} has no {name}: copy the password hash parameters whole from the Firebase console",
                path.display()
            ))
        })
    };
    let number = |name| {
        needed(name)?
            .parse()
            .map_err(|_| Failure::because(format!("{name} in {} is no number", path.display())))
    };
    FirebaseConfig::new(
        needed("base64_signer_key")?,
        // It may be empty.
        value("base64_salt_separator").unwrap_or_default(),
        number("rounds")?,
        number("mem_cost")?,
    )
    .map_err(|error| Failure::because(format!("{} cannot be used: {error}", path.display())))
}

/// How passwords are hashed, and how far the hashing anew has come.
pub(super) async fn count_hashes(config: Option<&Path>, json: JsonFlag) -> Result<(), Failure> {
    with_app(config, async |app| {
        let counts = app.count_hashes().await?;
        match json.format() {
            Reader::Json => output::record(json.format(), &HashesView::of(&counts)),
            Reader::People => {
                let rows = HashesView::of(&counts).schemes;
                let none = "There are no users yet: register one with 'grantd user create'.";
                output::list(json.format(), &rows, &["scheme", "users", "current"], none)?;
                if counts.users > 0 {
                    talk(&format!(
                        "{} of {} have the hash that the settings say; each other one is hashed anew at the next login.",
                        counts.current,
                        count(counts.users, "user")
                    ));
                }
                Ok(())
            }
        }
    })
    .await
}

#[derive(Serialize)]
struct HashesView {
    users: u64,
    current: u64,
    schemes: Vec<SchemeView>,
}

#[derive(Serialize)]
struct SchemeView {
    scheme: &'static str,
    users: u64,
    current: u64,
}

impl HashesView {
    fn of(counts: &HashCounts) -> Self {
        let view = |count: &crate::app::import::SchemeCount| SchemeView {
            scheme: count.scheme,
            users: count.users,
            current: count.current,
        };
        let schemes = counts.schemes.iter().map(view).collect();
        Self { users: counts.users, current: counts.current, schemes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_database_may_be_written_as_sqlalchemy_does_and_holds_no_password() {
        let read = |text: &str| text.parse::<From>().map(|from| format!("{from:?}"));
        for (text, url) in [
            ("sqlite:///./sql_app.db", "sqlite://./sql_app.db"),
            ("sqlite:////var/app.db", "sqlite:////var/app.db"),
            ("sqlite+aiosqlite:///./a.db", "sqlite://./a.db"),
            ("postgresql+asyncpg://u@h/d", "postgresql://u@h/d"),
        ] {
            assert_eq!(read(text), Ok(format!("Url(DatabaseUrl({url}))")), "{text}");
        }
        for text in
            ["postgres://u:canary@h/d", "postgresql+psycopg://u:canary@h/d", "postgres://h/d?password=canary"]
        {
            let refused = read(text).expect_err("a password");
            assert!(refused.contains("env:NAME") && !refused.contains("canary"), "{refused}");
        }
    }

    #[test]
    fn firebase_parameters_are_read_as_the_console_shows_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("parameters.txt");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            read_firebase_config(&path).map(drop)
        };
        let key = "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==";
        let shown = format!(
            "hash_config {{\n  algorithm: SCRYPT,\n  base64_signer_key: {key},\n  base64_salt_separator: Bw==,\n  rounds: 8,\n  mem_cost: 14,\n}}\n"
        );

        assert_eq!(read(&shown), Ok(()));
        let json = format!(
            r#"{{"base64_signer_key":"{key}","base64_salt_separator":"Bw==","rounds":8,"mem_cost":14}}"#
        );
        assert_eq!(read(&json), Ok(()));
        for broken in
            [shown.replace("rounds", "r"), shown.replace("14", "x"), shown.replace(key, ""), String::new()]
        {
            let refused = format!("{:?}", read(&broken).expect_err("refused"));
            assert!(!refused.contains("jxspr8"), "{refused}");
        }
    }
}
