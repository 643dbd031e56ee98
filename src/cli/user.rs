//! `grantd user …`: people who log in with a password. Knows flags and output, nothing of what a password must be.

use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::app::clients::Switch;
use crate::app::users::{NewPassword, UserChange};
use crate::model::role::RoleName;
use crate::model::user::{User, Username};

use super::consent::YesFlag;
use super::failure::Failure;
use super::incident::{count, tell};
use super::or_nothing::{self, OrNothing};
use super::output::{self, JsonFlag, talk};
use super::secret_input;
use super::settings::with_app;
use super::user_import;

const CREATE_EXAMPLES: &str = "\
Examples:
  grantd user create alice --email alice@example.com --role editor
  printf '%s' \"$PASSWORD\" | grantd user create alice --password-stdin

Without one of the two password flags the password is asked for on the terminal.";

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Register a user
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// The name they log in with
        username: Username,
        #[command(flatten)]
        profile: ProfileFlags,
        #[command(flatten)]
        password: PasswordFlags,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Move users in from elsewhere, with their old password hashes
    Import(Box<user_import::ImportCommand>),
    /// List all users
    List {
        /// Count how passwords are hashed, and how many are as the settings say
        #[arg(long)]
        hashes: bool,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Show one user
    Show {
        /// Which user
        username: Username,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Replace what is named and keep the rest; an empty text takes a value away
    #[command(
        after_help = "Examples:\n  grantd user update alice --role editor --role admin\n  grantd user update alice --role \"\"        takes all roles away"
    )]
    Update {
        /// Which user
        username: Username,
        #[command(flatten)]
        profile: ProfileFlags,
        #[command(flatten)]
        password: PasswordFlags,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Set a user's password and end their sessions
    #[command(after_help = "Without one of the two flags the password is asked for on the terminal.")]
    SetPassword {
        /// Which user
        username: Username,
        #[command(flatten)]
        password: PasswordFlags,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Let a disabled user log in again
    Enable {
        /// Which user
        username: Username,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Let a user log in no more, and end their sessions
    Disable {
        /// Which user
        username: Username,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Delete a user and their sessions
    Delete {
        /// Which user
        username: Username,
        #[command(flatten)]
        yes: YesFlag,
        #[command(flatten)]
        json: JsonFlag,
    },
}

/// What `create` and `update` have in common.
#[derive(Args, Debug)]
pub(super) struct ProfileFlags {
    /// Their e-mail address
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,
    /// Their full name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A role they hold (repeatable)
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<OrNothing<RoleName>>,
}

impl ProfileFlags {
    fn names_nothing(&self) -> bool {
        self.email.is_none() && self.name.is_none() && self.roles.is_empty()
    }

    fn into_change(self) -> UserChange {
        UserChange { email: self.email, name: self.name, roles: or_nothing::list(self.roles) }
    }
}

/// Where a password comes from; without a flag from the terminal.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct PasswordFlags {
    /// Read the password from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Read a password hash of another system from stdin, such as $2b$… or pbkdf2_sha256$…
    #[arg(long, conflicts_with = "password_stdin")]
    password_hash_stdin: bool,
}

impl PasswordFlags {
    fn read(self) -> Result<Option<NewPassword>, Failure> {
        if self.password_stdin {
            return Ok(Some(NewPassword::Plain(secret_input::from_stdin("the password")?)));
        }
        if self.password_hash_stdin {
            return Ok(Some(NewPassword::Hash(secret_input::from_stdin("the password hash")?)));
        }
        Ok(None)
    }

    fn read_or_ask(self) -> Result<NewPassword, Failure> {
        match self.read()? {
            Some(password) => Ok(password),
            None => {
                let instead = "pipe it in with --password-stdin";
                secret_input::ask_twice("the password", instead).map(NewPassword::Plain)
            }
        }
    }
}

pub(super) async fn run(config: Option<&Path>, command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Create { username, profile, password, json } => {
            let password = password.read_or_ask()?;
            with_app(config, async |app| {
                let user = app.create_user(username, profile.into_change(), password).await?;
                output::record(json.format(), &UserView::of(&user))
            })
            .await
        }
        UserCommand::Import(command) => user_import::run(config, *command).await,
        UserCommand::List { hashes: true, json } => user_import::count_hashes(config, json).await,
        UserCommand::List { hashes: false, json } => {
            with_app(config, async |app| {
                let users = app.list_users().await?;
                let rows: Vec<_> = users.iter().map(UserView::of).collect();
                let columns = ["username", "name", "email", "roles", "enabled", "id"];
                let none = "There are no users yet: register one with 'grantd user create'.";
                output::list(json.format(), &rows, &columns, none)
            })
            .await
        }
        UserCommand::Show { username, json } => {
            with_app(config, async |app| {
                let user = app.find_user(&username).await?;
                output::record(json.format(), &UserView::of(&user))
            })
            .await
        }
        UserCommand::Update { username, profile, password, json } => {
            update(config, &username, profile, password, json).await
        }
        UserCommand::SetPassword { username, password, json } => {
            let password = password.read_or_ask()?;
            with_app(config, async |app| {
                let sessions_ended = app.set_password(&username, password).await?;
                output::record(json.format(), &PasswordSet { username: username.to_string(), sessions_ended })
            })
            .await
        }
        UserCommand::Enable { username, json } => switch(config, &username, Switch::On, json).await,
        UserCommand::Disable { username, json } => switch(config, &username, Switch::Off, json).await,
        UserCommand::Delete { username, yes, json } => {
            let consent = yes.consent()?;
            with_app(config, async |app| {
                app.find_user(&username).await?;
                consent.to(&format!("Delete the user {username} and all of their sessions?"))?;
                app.delete_user(&username).await?;
                output::record(json.format(), &Deleted { username: username.to_string(), deleted: true })
            })
            .await
        }
    }
}

async fn update(
    config: Option<&Path>,
    username: &Username,
    profile: ProfileFlags,
    password: PasswordFlags,
    json: JsonFlag,
) -> Result<(), Failure> {
    let password = password.read()?;
    if profile.names_nothing() && password.is_none() {
        return Err(Failure::WrongCommandLine(
            "nothing is named that should change: add --email, --name, --role or --password-stdin".into(),
        ));
    }
    with_app(config, async |app| {
        let new_password = password.is_some();
        let (user, ended) = app.update_user(username, profile.into_change(), password).await?;
        if new_password {
            talk(&format!("The password of {username} is set; sessions ended: {ended}."));
        }
        output::record(json.format(), &UserView::of(&user))
    })
    .await
}

async fn switch(
    config: Option<&Path>,
    username: &Username,
    to: Switch,
    json: JsonFlag,
) -> Result<(), Failure> {
    with_app(config, async |app| {
        let sessions_ended = app.set_user_enabled(username, to).await?;
        let enabled = to == Switch::On;
        let offline_by =
            (!enabled).then(|| tell(app, &format!("Ended {}.", count(sessions_ended, "session"))));
        let username = username.to_string();
        output::record(json.format(), &Switched { username, enabled, sessions_ended, offline_by })
    })
    .await
}

#[derive(Serialize)]
pub(super) struct UserView {
    id: String,
    username: String,
    email: Option<String>,
    name: Option<String>,
    roles: Vec<String>,
    enabled: bool,
    created_at: String,
}

impl UserView {
    pub(super) fn of(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.username.to_string(),
            email: user.email.clone(),
            name: user.name.clone(),
            roles: user.roles.iter().map(RoleName::to_string).collect(),
            enabled: user.is_enabled(),
            created_at: user.created_at.rfc3339(),
        }
    }
}

#[derive(Serialize)]
struct Switched {
    username: String,
    enabled: bool,
    sessions_ended: u64,
    /// When the last service that reads status lists knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    offline_by: Option<String>,
}

#[derive(Serialize)]
struct PasswordSet {
    username: String,
    sessions_ended: u64,
}

#[derive(Serialize)]
struct Deleted {
    username: String,
    deleted: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::id::UserId;
    use crate::model::time::Timestamp;

    #[test]
    fn a_user_is_printed_without_anything_of_their_password() {
        let user = User {
            id: UserId::from_bytes([1; 16]),
            username: "alice".parse().expect("a name"),
            email: None,
            name: Some("Alice".into()),
            roles: vec!["editor".parse().expect("a role")],
            password_hash: "$argon2id$canary".into(),
            disabled_at: None,
            created_at: Timestamp::from_secs(1_700_000_000),
            last_login_at: None,
        };

        assert_eq!(
            serde_json::to_value(UserView::of(&user)).expect("serializes"),
            json!({
                "id": "01010101-0101-0101-0101-010101010101", "username": "alice", "email": null,
                "name": "Alice", "roles": ["editor"], "enabled": true, "created_at": "2023-11-14T22:13:20Z",
            })
        );
    }
}
