//! What `grantd dev` says of a server for tests: where it is and what it was filled with, secrets and passwords too, for
//! they are of no use anywhere else.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::app::App;
use crate::cli::client::view::{ClientView, Secret};
use crate::cli::failure::Failure;
use crate::cli::user::UserView;
use crate::model::declared::Declared;
use crate::model::id::ClientId;
use crate::model::secret::PlainSecret;

use super::welcome::{Places, heading};

#[derive(Serialize)]
pub(super) struct Seeded {
    issuer: String,
    management: Option<String>,
    /// Where the clock is told and moved, if it can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<String>,
    clients: Vec<ClientView>,
    users: Vec<SeededUser>,
    roles: Vec<SeededRole>,
    environment: BTreeMap<String, String>,
    /// For people.
    #[serde(skip)]
    lines: Vec<String>,
}

#[derive(Serialize)]
struct SeededUser {
    #[serde(flatten)]
    user: UserView,
    password: Option<String>,
}

#[derive(Serialize)]
struct SeededRole {
    role: String,
    scope: String,
}

impl Seeded {
    /// What is there now that this was declared and these secrets were generated.
    pub(super) async fn read(
        app: &App,
        places: &Places<'_>,
        declared: &Declared,
        generated: &[(ClientId, PlainSecret)],
        environment: Vec<(String, String)>,
    ) -> Result<Self, Failure> {
        let declared_secrets = declared
            .clients
            .iter()
            .flatten()
            .filter_map(|client| Some((&client.id, client.secret.as_ref()?)));
        let secrets: BTreeMap<&ClientId, &PlainSecret> =
            generated.iter().map(|(id, secret)| (id, secret)).chain(declared_secrets).collect();
        let users = declared.users.iter().flatten();
        let passwords: BTreeMap<_, _> =
            users.filter_map(|user| Some((&user.username, user.password.as_ref()?))).collect();

        let mut lines = Vec::new();
        let mut clients = Vec::new();
        for client in app.list_clients().await? {
            let secret = secrets.get(&client.id).map(|secret| (*secret).clone());
            let shown = secret.as_ref().map_or("(none)", PlainSecret::expose);
            lines.push(format!("# Client {} with the secret {shown}\n", client.id));
            clients.push(ClientView::of(&client, secret.map_or(Secret::NotShown, Secret::Generated)));
        }
        let mut seeded_users = Vec::new();
        for user in app.list_users().await? {
            let password = passwords.get(&user.username).map(|password| password.expose().to_owned());
            let shown = password.as_deref().unwrap_or("(none)");
            lines.push(format!("# User {} with the password {shown}\n", user.username));
            seeded_users.push(SeededUser { user: UserView::of(&user), password });
        }
        let roles = app
            .list_roles()
            .await?
            .into_iter()
            .map(|row| SeededRole { role: row.role.name.to_string(), scope: row.role.scope.to_string() });
        let management = places.management.map(|address| format!("http://{address}"));
        Ok(Self {
            issuer: places.issuer.to_owned(),
            clock: management.as_ref().filter(|_| places.has_clock).map(|url| format!("{url}/clock")),
            management,
            clients,
            users: seeded_users,
            roles: roles.collect(),
            environment: environment.into_iter().collect(),
            lines,
        })
    }

    /// The same for people, every line of it a comment for shells.
    pub(super) fn for_people(&self, places: &Places<'_>) -> String {
        heading(places)
            + &self.lines.iter().map(|line| crate::cli::output::printable(line)).collect::<String>()
    }
}
