//! `grantd role …`: names for sets of scopes that only some users get. Knows flags and output.

use std::path::Path;

use clap::Subcommand;
use serde::Serialize;

use crate::app::roles::{RoleChange, RoleRow};
use crate::model::role::{Role, RoleName};
use crate::model::scope::Scope;

use super::consent::YesFlag;
use super::failure::Failure;
use super::output::{self, JsonFlag, talk};
use super::settings::with_app;

const BINDING: &str = "\
A scope that some role contains reaches only users who hold such a role; every other
scope reaches every user. How many users lose a scope is said on stderr.

Example:
  grantd role create editor --scope \"notes:write\" --description \"May change notes\"";

#[derive(Debug, Subcommand)]
pub(super) enum RoleCommand {
    /// Make a role, and say how many users lose a scope by it
    #[command(after_help = BINDING)]
    Create {
        /// The role's name
        role: RoleName,
        /// Its scopes, separated by spaces
        #[arg(long, value_name = "\"A B\"")]
        scope: Scope,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// List all roles
    List {
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Show one role
    Show {
        /// Which role
        role: RoleName,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Replace what is named and keep the rest, and say how many users lose a scope by it
    #[command(after_help = BINDING)]
    Update {
        /// Which role
        role: RoleName,
        /// Its scopes, separated by spaces
        #[arg(long, value_name = "\"A B\"")]
        scope: Option<Scope>,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Delete a role and take it from its holders
    Delete {
        /// Which role
        role: RoleName,
        #[command(flatten)]
        yes: YesFlag,
        #[command(flatten)]
        json: JsonFlag,
    },
}

pub(super) async fn run(config: Option<&Path>, command: RoleCommand) -> Result<(), Failure> {
    match command {
        RoleCommand::Create { role, scope, description, json } => {
            with_app(config, async |app| {
                let change = app.create_role(role, scope, description).await?;
                say_who_loses(&change);
                // Nobody can hold a role that did not exist.
                output::record(json.format(), &ChangeView::of(&change, 0))
            })
            .await
        }
        RoleCommand::List { json } => {
            with_app(config, async |app| {
                let rows: Vec<_> = app.list_roles().await?.iter().map(RoleView::of).collect();
                let columns = ["role", "scope", "users", "description"];
                let none = "There are no roles yet, so that every scope reaches every user: make one with 'grantd role create'.";
                output::list(json.format(), &rows, &columns, none)
            })
            .await
        }
        RoleCommand::Show { role, json } => {
            with_app(config, async |app| {
                let row = app.find_role(&role).await?;
                output::record(json.format(), &RoleView::of(&row))
            })
            .await
        }
        RoleCommand::Update { role, scope, description, json } => {
            if scope.is_none() && description.is_none() {
                return Err(Failure::WrongCommandLine(
                    "nothing is named that should change: add --scope or --description".into(),
                ));
            }
            with_app(config, async |app| {
                let change = app.update_role(&role, scope, description).await?;
                say_who_loses(&change);
                let users = app.find_role(&role).await?.users;
                output::record(json.format(), &ChangeView::of(&change, users))
            })
            .await
        }
        RoleCommand::Delete { role, yes, json } => {
            let consent = yes.consent()?;
            with_app(config, async |app| {
                let users = app.find_role(&role).await?.users;
                consent.to(&format!("Delete the role {role} (users who hold it: {users})?"))?;
                let freed = app.delete_role(&role).await?;
                if !freed.is_empty() {
                    talk(&format!("No role contains {freed} any more, so that it reaches every user now."));
                }
                let deleted = Deleted { role: role.to_string(), deleted: true, freed_scope: freed.to_string() };
                output::record(json.format(), &deleted)
            })
            .await
        }
    }
}

/// Says what a change of a role takes from whom.
pub(super) fn say_who_loses(change: &RoleChange) {
    if let Some(sentence) = who_loses(change) {
        talk(&sentence);
    }
}

fn who_loses(change: &RoleChange) -> Option<String> {
    let RoleChange { role, newly_bound, users_losing_scope } = change;
    let who = match users_losing_scope {
        _ if newly_bound.is_empty() => return None,
        0 => "no user loses it".to_owned(),
        1 => "1 user without the role loses it".to_owned(),
        many => format!("{many} users without the role lose it"),
    };
    let give = if *users_losing_scope > 0 {
        format!("; give it with 'grantd user update USERNAME --role {}'", role.name)
    } else {
        String::new()
    };
    Some(format!("From now on {newly_bound} reaches only holders of {}: {who}{give}.", role.name))
}

#[derive(Serialize)]
struct RoleView {
    role: String,
    scope: String,
    description: Option<String>,
    users: i64,
    created_at: String,
}

impl RoleView {
    fn of(row: &RoleRow) -> Self {
        Self::new(&row.role, row.users)
    }

    fn new(role: &Role, users: i64) -> Self {
        Self {
            role: role.name.to_string(),
            scope: role.scope.to_string(),
            description: role.description.clone(),
            users,
            created_at: role.created_at.rfc3339(),
        }
    }
}

#[derive(Serialize)]
struct ChangeView {
    #[serde(flatten)]
    role: RoleView,
    newly_bound: String,
    users_losing_scope: i64,
}

impl ChangeView {
    fn of(change: &RoleChange, users: i64) -> Self {
        Self {
            role: RoleView::new(&change.role, users),
            newly_bound: change.newly_bound.to_string(),
            users_losing_scope: change.users_losing_scope,
        }
    }
}

#[derive(Serialize)]
struct Deleted {
    role: String,
    deleted: bool,
    freed_scope: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::time::Timestamp;

    fn change(newly_bound: &str, users_losing_scope: i64) -> RoleChange {
        RoleChange {
            role: Role {
                name: "editor".parse().expect("a name"),
                scope: "w r".parse().expect("a scope"),
                description: None,
                created_at: Timestamp::from_secs(1_700_000_000),
            },
            newly_bound: newly_bound.parse().expect("a scope"),
            users_losing_scope,
        }
    }

    #[test]
    fn a_changed_role_is_printed_with_what_it_takes_from_whom() {
        assert_eq!(
            serde_json::to_value(ChangeView::of(&change("w", 3), 0)).expect("serializes"),
            json!({
                "role": "editor", "scope": "r w", "description": null, "users": 0,
                "created_at": "2023-11-14T22:13:20Z", "newly_bound": "w", "users_losing_scope": 3,
            })
        );
    }

    #[test]
    fn who_loses_a_scope_is_said_only_where_one_is_bound() {
        assert_eq!(who_loses(&change("", 0)), None);
        assert_eq!(
            who_loses(&change("w", 0)).as_deref(),
            Some("From now on w reaches only holders of editor: no user loses it.")
        );
        assert_eq!(
            who_loses(&change("w", 3)).as_deref(),
            Some(
                "From now on w reaches only holders of editor: 3 users without the role lose it; give it with 'grantd user update USERNAME --role editor'."
            )
        );
    }
}
