//! `grantd session …`: logins that go on, which are refresh-token families. Knows flags and output.

use std::path::Path;

use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;

use crate::app::clock::Clock;
use crate::app::sessions::{Ended, SessionRow, Sessions};
use crate::model::id::{ClientId, FamilyId};
use crate::model::resource::Audience;
use crate::model::user::Username;

use super::audit::Since;
use super::failure::Failure;
use super::incident::{count, tell};
use super::output::{self, JsonFlag};
use super::settings::with_app;

const REVOKE_EXAMPLES: &str = "\
Examples:
  grantd session revoke --user alice
  grantd session revoke --issued-before 2026-05-01T00:00:00Z

With --client, --issued-before and --all the tokens that clients got for themselves
(client_credentials) are revoked too; they get new ones by asking. So are the tokens that
were made from API keys of whoever is meant; the keys go on: 'grantd apikey revoke' ends them.";

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// List sessions that have not expired, the newest first [default: all]
    List {
        #[command(flatten)]
        which: WhichFlags,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// End sessions and revoke their tokens at once
    #[command(after_help = REVOKE_EXAMPLES)]
    #[command(group = ArgGroup::new("which").args(["user", "client", "id", "issued_before", "all"]).required(true))]
    Revoke {
        #[command(flatten)]
        which: WhichFlags,
        #[command(flatten)]
        json: JsonFlag,
    },
}

/// Which sessions are meant: at most one of these.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub(super) struct WhichFlags {
    /// All sessions of this user
    #[arg(long, value_name = "USERNAME")]
    user: Option<Username>,
    /// All sessions at this client
    #[arg(long, value_name = "CLIENT_ID")]
    client: Option<ClientId>,
    /// This one session
    #[arg(long, value_name = "ID")]
    id: Option<FamilyId>,
    /// All sessions that began before, such as 24h (ago) or 2026-05-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    issued_before: Option<Since>,
    /// All sessions of everybody
    #[arg(long)]
    all: bool,
}

impl WhichFlags {
    /// What is meant; nothing named means all, which `revoke` does not let happen.
    fn sessions(self) -> Sessions {
        match (self.user, self.client, self.id, self.issued_before) {
            (Some(username), ..) => Sessions::OfUser(username),
            (_, Some(client), ..) => Sessions::OfClient(client),
            (.., Some(id), _) => Sessions::One(id),
            (.., Some(time)) => Sessions::BegunBefore(time.before(Clock::default().now())),
            (None, None, None, None) => Sessions::All,
        }
    }
}

pub(super) async fn run(config: Option<&Path>, command: SessionCommand) -> Result<(), Failure> {
    match command {
        SessionCommand::List { which, json } => {
            let sessions = which.sessions();
            with_app(config, async |app| {
                let rows: Vec<_> = app.list_sessions(&sessions).await?.iter().map(SessionView::of).collect();
                let columns = [
                    "id",
                    "user",
                    "client_id",
                    "scope",
                    "created_at",
                    "rotated_at",
                    "idle_at",
                    "revoked_reason",
                ];
                output::list(json.format(), &rows, &columns, "There are no such sessions.")
            })
            .await
        }
        SessionCommand::Revoke { which, json } => {
            let sessions = which.sessions();
            with_app(config, async |app| {
                let Ended { sessions, clients, api_keys } = app.revoke_sessions(&sessions).await?;
                let clients_too = match clients {
                    0 => String::new(),
                    _ => format!(" and revoked what {} got for themselves", count(clients, "client")),
                };
                let keys_too = match api_keys {
                    0 => String::new(),
                    _ => format!(" and what was made from {}, which go on", count(api_keys, "API key")),
                };
                let ended = count(sessions, "session");
                let offline_by = tell(app, &format!("Ended {ended}{clients_too}{keys_too}."));
                output::record(
                    json.format(),
                    &Revoked {
                        revoked: sessions,
                        clients_cut_off: clients,
                        api_keys_cut_off: api_keys,
                        offline_by,
                    },
                )
            })
            .await
        }
    }
}

#[derive(Serialize)]
struct Revoked {
    /// Sessions.
    revoked: u64,
    /// Clients whose own tokens were revoked.
    clients_cut_off: u64,
    /// API keys whose tokens were revoked.
    api_keys_cut_off: u64,
    /// When the last service that reads status lists knows.
    offline_by: String,
}

#[derive(Serialize)]
struct SessionView {
    id: String,
    user: Option<String>,
    user_id: String,
    client_id: String,
    scope: String,
    audience: Vec<String>,
    created_at: String,
    /// When it was last used.
    rotated_at: String,
    /// When it ends if nobody uses it.
    idle_at: String,
    expires_at: String,
    revoked_at: Option<String>,
    revoked_reason: Option<&'static str>,
}

impl SessionView {
    fn of(row: &SessionRow) -> Self {
        let family = &row.family;
        Self {
            id: family.id.to_string(),
            user: row.username.as_ref().map(Username::to_string),
            user_id: family.user_id.to_string(),
            client_id: family.client_id.to_string(),
            scope: family.granted.to_string(),
            audience: family.audience.iter().map(Audience::to_string).collect(),
            created_at: family.auth_time.rfc3339(),
            rotated_at: family.rotated_at.rfc3339(),
            idle_at: row.idle_at.rfc3339(),
            expires_at: family.expires_at.rfc3339(),
            revoked_at: family.revoked.map(|(at, _)| at.rfc3339()),
            revoked_reason: family.revoked.map(|(_, reason)| reason.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::id::UserId;
    use crate::model::session::{Family, FamilySecret, RevocationReason};
    use crate::model::status::StatusIndex;
    use crate::model::time::Timestamp;

    #[test]
    fn a_session_is_printed_without_anything_that_makes_its_tokens() {
        let at = Timestamp::from_secs;
        let family = Family {
            id: FamilyId::from_bytes([1; 16]),
            client_id: "app".parse().expect("an id"),
            user_id: UserId::from_bytes([2; 16]),
            requested: "a b".parse().expect("a scope"),
            granted: "a".parse().expect("a scope"),
            audience: Vec::new(),
            secret: FamilySecret([3; 32]),
            generation: 4,
            retries: 0,
            source: "192.0.2.1".into(),
            jkt: None,
            strange: None,
            auth_time: at(0),
            rotated_at: at(1),
            expires_at: at(9),
            status_index: StatusIndex::new(0),
            revoked: Some((at(2), RevocationReason::Reuse)),
        };
        let row = SessionRow { family, username: None, idle_at: at(5) };

        assert_eq!(
            serde_json::to_value(SessionView::of(&row)).expect("serializes"),
            json!({
                "id": "01010101-0101-0101-0101-010101010101",
                "user": null, "user_id": "02020202-0202-0202-0202-020202020202",
                "client_id": "app", "scope": "a", "audience": [],
                "created_at": "1970-01-01T00:00:00Z", "rotated_at": "1970-01-01T00:00:01Z",
                "idle_at": "1970-01-01T00:00:05Z", "expires_at": "1970-01-01T00:00:09Z",
                "revoked_at": "1970-01-01T00:00:02Z", "revoked_reason": "reuse",
            })
        );
    }
}
