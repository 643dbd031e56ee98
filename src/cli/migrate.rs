//! `grantd migrate`: the database schema brought up to date, or only looked at. Makes no key.

use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::startup;
use crate::storage::Db;
use crate::storage::db::Location;
use crate::storage::migrate::{SchemaStatus, migrate, status};

use super::failure::Failure;
use super::output::{self, Format, JsonFlag, talk};
use super::settings;

#[derive(Args, Debug)]
#[command(after_help = "It runs also where database.migrate is false; 'serve' then only checks the schema.")]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct MigrateCommand {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    json: JsonFlag,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say which migrations are applied; changes nothing
    Status {
        #[command(flatten)]
        json: JsonFlag,
    },
}

pub(super) async fn run(config: Option<&Path>, command: MigrateCommand) -> Result<(), Failure> {
    let loaded = settings::load(config, Vec::new())?;
    settings::log_as_command(&loaded)?;
    let location = startup::location(&loaded.settings);
    match command.action {
        None => {
            let (ran, status) = on(&location, async |db| Ok((migrate(db).await?, status(db).await?))).await?;
            print(command.json.format(), &StatusView::of(&status, Some(ran)))
        }
        Some(Action::Status { json }) => {
            let status = match &location {
                Location::Sqlite(path) if !path.exists() => {
                    talk(&format!(
                        "There is no database yet at {}: 'grantd migrate' or 'grantd serve' makes it.",
                        path.display()
                    ));
                    status_of_nothing().await?
                }
                location => on(location, async |db| Ok(status(db).await?)).await?,
            };
            print(json.format(), &StatusView::of(&status, None))
        }
    }
}

/// Opens the database alone, does the work and closes it, whatever came of the work.
async fn on<T>(location: &Location, work: impl AsyncFnOnce(&Db) -> Result<T, Failure>) -> Result<T, Failure> {
    let db = Db::open(location, None).await?;
    let outcome = work(&db).await;
    db.close().await;
    outcome
}

/// Opening a SQLite database makes it, which looking must not: an empty one elsewhere has the same status.
async fn status_of_nothing() -> Result<SchemaStatus, Failure> {
    let directory = settings::throwaway_directory()?;
    let elsewhere = Location::Sqlite(directory.path().join("empty.db"));
    on(&elsewhere, async |db| Ok(status(db).await?)).await
}

fn print(format: Format, view: &StatusView) -> Result<(), Failure> {
    output::write(&match format {
        Format::People => for_people(view),
        Format::Json => output::json(view)?,
    })
}

fn for_people(view: &StatusView) -> String {
    let mut text = String::new();
    for migration in &view.migrations {
        let applied = if migration.applied { "applied" } else { "missing" };
        text.push_str(&format!("{applied}  {:04} {}\n", migration.version, migration.name));
    }
    let (applied, known) = (view.applied, view.known);
    text.push_str(&match (view.ran, applied.cmp(&known)) {
        (Some(0), _) => format!("The schema was up to date already, at version {applied}.\n"),
        (Some(ran), _) => format!("The schema is up to date now, at version {applied} (migrations run: {ran}).\n"),
        (None, std::cmp::Ordering::Equal) => format!("The schema is up to date, at version {applied}.\n"),
        (None, std::cmp::Ordering::Less) => {
            format!("The schema is at version {applied} of {known}: bring it up with 'grantd migrate'.\n")
        }
        (None, std::cmp::Ordering::Greater) => {
            format!("The schema is at version {applied}, and this grantd knows only {known}: use a newer grantd.\n")
        }
    });
    text
}

#[derive(Serialize)]
struct StatusView {
    applied: i64,
    known: i64,
    /// How many migrations this command ran; left out by `status`, which runs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    ran: Option<usize>,
    migrations: Vec<MigrationView>,
}

#[derive(Serialize)]
struct MigrationView {
    version: i64,
    name: String,
    applied: bool,
}

impl StatusView {
    fn of(status: &SchemaStatus, ran: Option<usize>) -> Self {
        let migrations = status.migrations.iter().cloned();
        Self {
            applied: status.applied,
            known: status.known,
            ran,
            migrations: migrations
                .map(|(version, name, applied)| MigrationView { version, name, applied })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(applied: i64, ran: Option<usize>) -> StatusView {
        let status = SchemaStatus {
            migrations: vec![(1, "first".into(), applied >= 1), (2, "second".into(), applied >= 2)],
            applied,
            known: 2,
        };
        StatusView::of(&status, ran)
    }

    #[test]
    fn the_status_names_every_migration() {
        assert_eq!(
            serde_json::to_value(view(1, None)).expect("serializes"),
            json!({
                "applied": 1, "known": 2,
                "migrations": [
                    {"version": 1, "name": "first", "applied": true},
                    {"version": 2, "name": "second", "applied": false},
                ],
            })
        );
        assert_eq!(
            for_people(&view(1, None)),
            "applied  0001 first\nmissing  0002 second\n\
             The schema is at version 1 of 2: bring it up with 'grantd migrate'.\n"
        );
    }

    #[test]
    fn migrating_says_what_it_did() {
        assert!(for_people(&view(2, Some(2))).ends_with("at version 2 (migrations run: 2).\n"));
        assert!(for_people(&view(2, Some(0))).contains("up to date already"));
        assert!(for_people(&view(3, None)).contains("use a newer grantd"));
    }

    #[test]
    fn where_there_is_no_database_nothing_is_applied_and_the_migrations_are_known() {
        let status = actix_web::rt::System::new().block_on(status_of_nothing()).expect("a status");

        assert_eq!(status.applied, 0);
        assert!(status.known > 0 && status.migrations.iter().all(|(.., applied)| !applied));
    }
}
