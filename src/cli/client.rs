//! `grantd client …`: registered clients. Knows flags and output, nothing of what makes a registration right.

mod flags;
pub(super) mod view;

use std::path::Path;

use clap::{Args, Subcommand};

use crate::app::App;
use crate::app::clients::{Switch, has_weak_secret};
use crate::app::error::AdminError;
use crate::model::client::{Client, GrantType, Registration};
use crate::model::id::ClientId;
use crate::model::secret::PlainSecret;
use crate::model::time::Ttl;

pub(super) use self::flags::read_jwks;

use self::flags::RegistrationFlags;
use self::view::{ClientView, Deleted, NewSecret, Secret, Switched};
use super::consent::YesFlag;
use super::failure::Failure;
use super::incident::{count, tell};
use super::output::{self, JsonFlag, talk};
use super::secret_input;
use super::settings::with_app;

const CREATE_EXAMPLES: &str = "\
Examples:
  grantd client create batch --grant client_credentials --scope \"reports:read\"
  grantd client create app --grant password --grant refresh_token --auth-method none
  grantd client create old --grant password --secret-stdin < secret.txt
  grantd client create svc --grant client_credentials --auth-method private_key_jwt --jwks keys.json
  grantd client create notes-api --resource-server https://notes.example.com
  grantd client create orders --grant token-exchange --may-act-for https://billing.example.com \\
      --resource-server https://orders.example.com --scope \"invoices:write\"

A generated secret is printed once. One brought in on stdin is never printed: in JSON
client_secret is then null. A client with --auth-method none or private_key_jwt has no secret.";

#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Register a client; its secret is printed once
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Create),
    /// List all clients
    List {
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Show one client
    Show {
        /// Which client
        client_id: ClientId,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Replace what is named and keep the rest; an empty text takes a value away
    #[command(
        after_help = "Example:\n  grantd client update app --scope \"notes:read notes:write\" --name \"\""
    )]
    Update(Update),
    /// Give a client a new secret; it is printed once
    #[command(after_help = "Example:\n  grantd client rotate-secret app --keep-old 24h")]
    RotateSecret {
        /// Which client
        client_id: ClientId,
        /// How long the old secret stays good [default: it ends at once]
        #[arg(long, value_name = "TIME")]
        keep_old: Option<Ttl>,
        /// Read the new secret from stdin instead of generating one
        #[arg(long)]
        secret_stdin: bool,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Let a disabled client act again
    Enable {
        /// Which client
        client_id: ClientId,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Let a client act no more, end its sessions and revoke its tokens
    Disable {
        /// Which client
        client_id: ClientId,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Delete a client and its sessions
    Delete {
        /// Which client
        client_id: ClientId,
        #[command(flatten)]
        yes: YesFlag,
        #[command(flatten)]
        json: JsonFlag,
    },
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// The client's id [default: a random one]
    client_id: Option<ClientId>,
    /// What the client may do: password, client_credentials, refresh_token, token-exchange (repeatable)
    #[arg(long = "grant", value_name = "GRANT", value_parser = GrantType::named, required_unless_present = "resource_servers")]
    grants: Vec<GrantType>,
    #[command(flatten)]
    flags: RegistrationFlags,
    /// Read the client's secret from stdin instead of generating one
    #[arg(long)]
    secret_stdin: bool,
    #[command(flatten)]
    json: JsonFlag,
}

#[derive(Args, Debug)]
pub(super) struct Update {
    /// Which client
    client_id: ClientId,
    /// What the client may do: password, client_credentials, refresh_token, token-exchange (repeatable)
    #[arg(long = "grant", value_name = "GRANT", value_parser = GrantType::named)]
    grants: Vec<GrantType>,
    #[command(flatten)]
    flags: RegistrationFlags,
    /// Read a new secret from stdin; the old one ends at once
    #[arg(long)]
    secret_stdin: bool,
    #[command(flatten)]
    json: JsonFlag,
}

pub(super) async fn run(config: Option<&Path>, command: ClientCommand) -> Result<(), Failure> {
    match command {
        ClientCommand::Create(flags) => create(config, flags).await,
        ClientCommand::List { json } => {
            with_app(config, async |app| {
                let clients = app.list_clients().await?;
                let rows: Vec<_> =
                    clients.iter().map(|client| ClientView::of(client, Secret::NotShown)).collect();
                let columns = ["client_id", "name", "grant_types", "scope", "audience", "enabled"];
                let none = "There are no clients yet: register one with 'grantd client create'.";
                output::list(json.format(), &rows, &columns, none)
            })
            .await
        }
        ClientCommand::Show { client_id, json } => {
            with_app(config, async |app| {
                let client = app.find_client(&client_id).await?;
                warn_if_weak(&client);
                output::record(json.format(), &ClientView::of(&client, Secret::NotShown))
            })
            .await
        }
        ClientCommand::Update(flags) => update(config, flags).await,
        ClientCommand::RotateSecret { client_id, keep_old, secret_stdin, json } => {
            let brought = brought_in(secret_stdin)?;
            with_app(config, async |app| {
                let shown = rotate(app, &client_id, keep_old, brought).await?;
                match keep_old.filter(|keep| !keep.is_zero()) {
                    Some(keep) => talk(&format!("The old secret of {client_id} works for {keep} more.")),
                    None => talk(&format!("The old secret of {client_id} does not work any more.")),
                }
                output::record(json.format(), &NewSecret::of(&client_id, shown))
            })
            .await
        }
        ClientCommand::Enable { client_id, json } => switch(config, &client_id, Switch::On, json).await,
        ClientCommand::Disable { client_id, json } => switch(config, &client_id, Switch::Off, json).await,
        ClientCommand::Delete { client_id, yes, json } => {
            let consent = yes.consent()?;
            with_app(config, async |app| {
                app.find_client(&client_id).await?;
                consent.to(&format!("Delete the client {client_id} and all of its sessions?"))?;
                app.delete_client(&client_id).await?;
                output::record(json.format(), &Deleted::of(&client_id))
            })
            .await
        }
    }
}

async fn create(config: Option<&Path>, create: Create) -> Result<(), Failure> {
    let registration =
        create.flags.laid_over(Registration { grant_types: create.grants, ..Registration::default() });
    let brought = brought_in(create.secret_stdin)?;
    with_app(config, async |app| {
        let made = app.create_client(create.client_id, registration, brought).await?;
        warn_if_weak(&made.client);
        let secret = Secret::of_new(made.secret, create.secret_stdin);
        say_that_it_is_shown_once(&secret);
        output::record(create.json.format(), &ClientView::of(&made.client, secret))
    })
    .await
}

async fn update(config: Option<&Path>, update: Update) -> Result<(), Failure> {
    if update.grants.is_empty() && update.flags.names_nothing() && !update.secret_stdin {
        return Err(Failure::WrongCommandLine(
            "nothing is named that should change: add at least one flag, such as --scope or --name ('grantd client update --help' lists them)".into(),
        ));
    }
    let id = update.client_id;
    let brought = brought_in(update.secret_stdin)?;
    with_app(config, async |app| {
        let flags = update.flags;
        let changed = app
            .update_client(
                &id,
                |mut old| {
                    if !update.grants.is_empty() {
                        old.grant_types = update.grants;
                    }
                    flags.laid_over(old)
                },
                brought,
            )
            .await?;
        let secret = match changed.secret {
            Some(generated) => Secret::Generated(generated),
            None if update.secret_stdin => Secret::BroughtIn,
            None => Secret::NotShown,
        };
        warn_if_weak(&changed.client);
        say_that_it_is_shown_once(&secret);
        output::record(update.json.format(), &ClientView::of(&changed.client, secret))
    })
    .await
}

async fn rotate(
    app: &App,
    id: &ClientId,
    keep_old: Option<Ttl>,
    brought: Option<PlainSecret>,
) -> Result<Secret, AdminError> {
    let from_outside = brought.is_some();
    let secret = app.rotate_client_secret(id, keep_old, brought).await?;
    if from_outside {
        warn_if_weak(&app.find_client(id).await?);
    }
    let secret = Secret::of_new(Some(secret), from_outside);
    say_that_it_is_shown_once(&secret);
    Ok(secret)
}

async fn switch(config: Option<&Path>, id: &ClientId, to: Switch, json: JsonFlag) -> Result<(), Failure> {
    with_app(config, async |app| {
        let sessions_ended = app.set_client_enabled(id, to).await?;
        let offline_by = (to == Switch::Off).then(|| {
            let sessions = count(sessions_ended, "session");
            tell(app, &format!("Ended {sessions} and revoked what the client got for itself."))
        });
        output::record(json.format(), &Switched::of(id, to, sessions_ended, offline_by))
    })
    .await
}

fn brought_in(from_stdin: bool) -> Result<Option<PlainSecret>, Failure> {
    from_stdin.then(|| secret_input::from_stdin("the secret")).transpose()
}

fn say_that_it_is_shown_once(secret: &Secret) {
    if let Secret::Generated(_) = secret {
        talk("The client_secret is shown this once and never again: keep it now.");
    }
}

fn warn_if_weak(client: &Client) {
    if has_weak_secret(client) {
        talk(&format!(
            "warning: the secret of {} is guessable, so that each check of it costs a slow hash: let grantd make one with 'grantd client rotate-secret {}'",
            client.id, client.id
        ));
    }
}
