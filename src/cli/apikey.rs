//! `grantd apikey …`: secrets that programs send with every request. Knows flags and output.

use std::path::Path;

use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;

use crate::app::api_keys::{KeysOf, NewApiKey, NewOwner};
use crate::model::api_key::{ApiKeyId, Held, Owner};
use crate::model::id::ClientId;
use crate::model::resource::Audience;
use crate::model::scope::Scope;
use crate::model::secret::PlainSecret;
use crate::model::time::{Timestamp, Ttl};
use crate::model::user::Username;

use super::failure::Failure;
use super::incident::{count, tell};
use super::output::{self, JsonFlag, talk};
use super::secret_input;
use super::settings::with_app;

const CREATE_EXAMPLES: &str = "\
Examples:
  grantd apikey create --user alice --scope \"notes:read\" --expires 90d --name laptop
  grantd apikey create --client batch --scope \"reports:read\" --audience https://reports.example.com

The key is printed once. It never allows more than its scope, nor more than its user's
roles or its client's registration allow at the moment of use.";

const REVOKE_EXAMPLES: &str = "\
Examples:
  grantd apikey revoke < found-in-a-repository.txt
  grantd apikey revoke --id gak_sOmEsIxTeEnChArS
  grantd apikey revoke --user alice";

#[derive(Debug, Subcommand)]
pub(super) enum ApiKeyCommand {
    /// Make a key for a user or a client; it is printed once
    #[command(after_help = CREATE_EXAMPLES)]
    #[command(group = ArgGroup::new("owner").args(["user", "client"]).required(true))]
    Create(Create),
    /// List keys, the newest first, with those that ended in the last 30 days [default: all]
    List {
        #[command(flatten)]
        owner: OwnerFlags,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Show one key, without its secret
    Show {
        /// Which key, such as gak_ and 16 characters
        id: ApiKeyId,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// End the key that is read on stdin, or those that are named, and all tokens made from them
    #[command(after_help = REVOKE_EXAMPLES)]
    #[command(group = ArgGroup::new("which").args(["id", "user", "client", "all"]).multiple(false))]
    Revoke {
        /// This one key, such as gak_ and 16 characters
        #[arg(long, value_name = "ID")]
        id: Option<ApiKeyId>,
        #[command(flatten)]
        owner: OwnerFlags,
        /// All keys of everybody
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        json: JsonFlag,
    },
}

/// Whose keys are meant: at most one of these.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub(super) struct OwnerFlags {
    /// The keys of this user
    #[arg(long, value_name = "USERNAME")]
    user: Option<Username>,
    /// The keys of this client
    #[arg(long, value_name = "CLIENT_ID")]
    client: Option<ClientId>,
}

#[derive(Args, Debug)]
pub(super) struct Create {
    #[command(flatten)]
    owner: OwnerFlags,
    /// What the key may be used for at most, separated by spaces; "" for nothing but saying who it is
    #[arg(long)]
    scope: Scope,
    /// What it is for, to tell it from others
    #[arg(long)]
    name: Option<String>,
    /// How long it is good [default: until it is revoked]
    #[arg(long, value_name = "TIME")]
    expires: Option<Ttl>,
    /// Where it may be used (repeatable) [default: all audiences of the client; for a user the default audience]
    #[arg(long, value_name = "URI")]
    audience: Vec<Audience>,
    #[command(flatten)]
    json: JsonFlag,
}

pub(super) async fn run(config: Option<&Path>, command: ApiKeyCommand) -> Result<(), Failure> {
    match command {
        ApiKeyCommand::Create(flags) => create(config, flags).await,
        ApiKeyCommand::List { owner, json } => {
            let of = owner.keys().unwrap_or(KeysOf::All);
            with_app(config, async |app| {
                let now = app.clock().now();
                let found = app.list_api_keys(&of).await?;
                let rows: Vec<_> = found.iter().map(|held| KeyView::of(held, None, now)).collect();
                let columns = ["id", "user", "client_id", "name", "scope", "audience", "expires_at", "state"];
                output::list(json.format(), &rows, &columns, "There are no such keys.")
            })
            .await
        }
        ApiKeyCommand::Show { id, json } => {
            with_app(config, async |app| {
                let held = app.find_api_key(id).await?;
                output::record(json.format(), &KeyView::of(&held, None, app.clock().now()))
            })
            .await
        }
        ApiKeyCommand::Revoke { id, owner, all, json } => {
            let named = id.map(KeysOf::One).or_else(|| owner.keys()).or_else(|| all.then_some(KeysOf::All));
            let found = if named.is_none() { Some(secret_input::token_from_stdin()?) } else { None };
            with_app(config, async |app| {
                let of = match (named, found) {
                    (Some(of), _) => of,
                    (None, found) => {
                        let found = found.unwrap_or_else(|| PlainSecret::new(String::new()));
                        KeysOf::One(app.identify_api_key(&found).await?)
                    }
                };
                let revoked = app.revoke_api_keys(&of).await?;
                let offline_by =
                    (revoked > 0).then(|| tell(app, &format!("Ended {}.", count(revoked, "API key"))));
                if revoked == 0 {
                    talk("There was no such key that had not ended before; nothing was changed.");
                }
                output::record(json.format(), &Revoked { revoked, offline_by })
            })
            .await
        }
    }
}

async fn create(config: Option<&Path>, flags: Create) -> Result<(), Failure> {
    let Create { owner, scope, name, expires, audience, json } = flags;
    let owner = match (owner.user, owner.client) {
        (Some(username), _) => NewOwner::User(username),
        (None, Some(id)) => NewOwner::Client(id),
        (None, None) => {
            return Err(Failure::WrongCommandLine("name whose key it is: --user or --client".into()));
        }
    };
    with_app(config, async |app| {
        let (held, secret) = app.create_api_key(NewApiKey { owner, name, scope, audience, expires }).await?;
        talk("The api_key is shown this once and never again: keep it now.");
        output::record(json.format(), &KeyView::of(&held, Some(&secret), app.clock().now()))
    })
    .await
}

impl OwnerFlags {
    fn keys(self) -> Option<KeysOf> {
        self.user.map(KeysOf::User).or(self.client.map(KeysOf::Client))
    }
}

#[derive(Serialize)]
struct Revoked {
    /// Keys that had not ended before.
    revoked: u64,
    /// When the last service that reads status lists knows.
    offline_by: Option<String>,
}

#[derive(Serialize)]
struct KeyView<'a> {
    id: String,
    /// The key itself, when it was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<&'a str>,
    user: Option<String>,
    user_id: Option<String>,
    client_id: Option<String>,
    name: Option<&'a str>,
    scope: String,
    audience: Vec<String>,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    /// `live`, `expired` or `revoked`; a key of somebody who is disabled is live and good for nothing meanwhile.
    state: &'static str,
}

impl<'a> KeyView<'a> {
    fn of(held: &'a Held, secret: Option<&'a PlainSecret>, now: Timestamp) -> Self {
        let (key, terms) = (&held.key, &held.key.terms);
        let (user_id, client_id) = match &terms.owner {
            Owner::User(id) => (Some(id.to_string()), None),
            Owner::Client(id) => (None, Some(id.to_string())),
        };
        Self {
            id: key.id.to_string(),
            api_key: secret.map(PlainSecret::expose),
            user: held.holder.as_ref().map(|holder| holder.username.to_string()),
            user_id,
            client_id,
            name: terms.name.as_deref(),
            scope: terms.scope.to_string(),
            audience: terms.audience.iter().map(Audience::to_string).collect(),
            created_at: key.created_at.rfc3339(),
            expires_at: terms.expires_at.map(Timestamp::rfc3339),
            revoked_at: key.revoked_at.map(Timestamp::rfc3339),
            state: match (key.revoked_at, terms.expires_at) {
                (Some(_), _) => "revoked",
                (None, Some(end)) if end <= now => "expired",
                (None, _) => "live",
            },
        }
    }
}
