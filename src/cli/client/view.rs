//! Clients as programs read them; people see the same fields. Knows no flag and no use case.

use serde::Serialize;

use crate::app::clients::Switch;
use crate::model::client::{AuthMethod, Client, GrantType};
use crate::model::id::ClientId;
use crate::model::resource::Audience;
use crate::model::secret::PlainSecret;

/// What is printed of a secret.
#[derive(Debug)]
pub(in crate::cli) enum Secret {
    /// Nothing: there is none, or it was shown long ago.
    NotShown,
    /// `null`: whoever brought it has it already, and the fewer places it stands in the better.
    BroughtIn,
    /// The secret, this once.
    Generated(PlainSecret),
}

impl Secret {
    /// Of a secret that was just set; a public client has none.
    pub(super) fn of_new(secret: Option<PlainSecret>, brought_in: bool) -> Self {
        match secret {
            None => Self::NotShown,
            Some(_) if brought_in => Self::BroughtIn,
            Some(secret) => Self::Generated(secret),
        }
    }

    /// The outer `None` leaves the field out, the inner one is `null`.
    fn into_field(self) -> Option<Option<String>> {
        match self {
            Self::NotShown => None,
            Self::BroughtIn => Some(None),
            Self::Generated(secret) => Some(Some(secret.expose().to_owned())),
        }
    }
}

#[derive(Serialize)]
pub(in crate::cli) struct ClientView {
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<Option<String>>,
    name: Option<String>,
    grant_types: Vec<&'static str>,
    scope: String,
    audience: Vec<String>,
    resource_servers: Vec<String>,
    may_act_for: Vec<String>,
    token_endpoint_auth_methods: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<&'static str>,
    trust_user_address: bool,
    status: bool,
    /// The kids of its public keys; `null` for a key without one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jwks_kids: Vec<Option<String>>,
    dpop_bound_access_tokens: bool,
    enabled: bool,
    created_at: String,
}

impl ClientView {
    pub(in crate::cli) fn of(client: &Client, secret: Secret) -> Self {
        let registration = &client.registration;
        Self {
            client_id: client.id.to_string(),
            client_secret: secret.into_field(),
            name: registration.name.clone(),
            grant_types: registration.grant_types.iter().copied().map(GrantType::as_str).collect(),
            scope: registration.scope.to_string(),
            audience: registration.audience.iter().map(Audience::to_string).collect(),
            resource_servers: registration.resource_servers.iter().map(Audience::to_string).collect(),
            may_act_for: registration.may_act_for.iter().map(Audience::to_string).collect(),
            token_endpoint_auth_methods: registration
                .auth_methods
                .iter()
                .copied()
                .map(AuthMethod::as_str)
                .collect(),
            access_ttl: registration.access_ttl.map(|ttl| ttl.to_string()),
            refresh_ttl: registration.refresh_ttl.map(|ttl| ttl.to_string()),
            alg: registration.alg.map(|alg| alg.as_str()),
            trust_user_address: registration.trust_user_address,
            status: registration.status,
            jwks_kids: registration
                .jwks
                .iter()
                .flat_map(|set| set.keys())
                .map(|jwk| jwk.kid().map(str::to_owned))
                .collect(),
            dpop_bound_access_tokens: registration.dpop_bound,
            enabled: client.is_enabled(),
            created_at: client.created_at.rfc3339(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct NewSecret {
    client_id: String,
    client_secret: Option<String>,
}

impl NewSecret {
    pub(super) fn of(id: &ClientId, secret: Secret) -> Self {
        Self { client_id: id.to_string(), client_secret: secret.into_field().flatten() }
    }
}

#[derive(Serialize)]
pub(super) struct Switched {
    client_id: String,
    enabled: bool,
    sessions_ended: u64,
    /// When the last service that reads status lists knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    offline_by: Option<String>,
}

impl Switched {
    pub(super) fn of(id: &ClientId, to: Switch, sessions_ended: u64, offline_by: Option<String>) -> Self {
        Self { client_id: id.to_string(), enabled: to == Switch::On, sessions_ended, offline_by }
    }
}

#[derive(Serialize)]
pub(super) struct Deleted {
    client_id: String,
    deleted: bool,
}

impl Deleted {
    pub(super) fn of(id: &ClientId) -> Self {
        Self { client_id: id.to_string(), deleted: true }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::client::Registration;
    use crate::model::key::SigningAlgorithm;
    use crate::model::status::StatusIndex;
    use crate::model::time::{Timestamp, Ttl};

    fn client() -> Client {
        Client {
            id: "app".parse().expect("an id"),
            registration: Registration {
                grant_types: vec![GrantType::Password, GrantType::RefreshToken],
                scope: "b a".parse().expect("a scope"),
                audience: vec!["https://api.example".parse().expect("a URI")],
                auth_methods: vec![AuthMethod::ClientSecretBasic],
                ..Registration::default()
            },
            secrets: Vec::new(),
            disabled_at: None,
            created_at: Timestamp::from_secs(1_700_000_000),
            status_index: StatusIndex::new(0).expect("there"),
        }
    }

    fn json_of(thing: &impl Serialize) -> Value {
        serde_json::to_value(thing).expect("serializes")
    }

    #[test]
    fn a_new_client_is_printed_with_its_secret() {
        let secret = Secret::Generated(PlainSecret::new("gcs_x".into()));

        assert_eq!(
            json_of(&ClientView::of(&client(), secret)),
            json!({
                "client_id": "app", "client_secret": "gcs_x", "name": null,
                "grant_types": ["password", "refresh_token"], "scope": "a b",
                "audience": ["https://api.example"], "resource_servers": [], "may_act_for": [],
                "token_endpoint_auth_methods": ["client_secret_basic"],
                "trust_user_address": false, "status": true, "dpop_bound_access_tokens": false, "enabled": true,
                "created_at": "2023-11-14T22:13:20Z",
            })
        );
    }

    #[test]
    fn a_secret_is_left_out_where_there_is_none_to_show_and_null_where_it_was_brought_in() {
        let shown = json_of(&ClientView::of(&client(), Secret::NotShown));
        let brought = json_of(&ClientView::of(&client(), Secret::BroughtIn));

        assert!(shown.get("client_secret").is_none());
        assert_eq!(brought.get("client_secret"), Some(&Value::Null));
    }

    #[test]
    fn what_differs_from_everybodys_is_printed_where_it_is_set() {
        let mut client = client();
        client.registration.access_ttl = Some(Ttl::from_secs(600));
        client.registration.alg = Some(SigningAlgorithm::Rs256);
        client.disabled_at = Some(Timestamp::from_secs(0));

        let json = json_of(&ClientView::of(&client, Secret::NotShown));

        assert_eq!((&json["access_ttl"], &json["alg"]), (&json!("10m"), &json!("RS256")));
        assert_eq!((json.get("refresh_ttl"), &json["enabled"]), (None, &json!(false)));
    }

    #[test]
    fn a_rotated_secret_is_printed_with_its_client_and_nothing_else() {
        let id = "app".parse().expect("an id");
        let generated = Secret::Generated(PlainSecret::new("gcs_x".into()));

        assert_eq!(
            json_of(&NewSecret::of(&id, generated)),
            json!({"client_id": "app", "client_secret": "gcs_x"})
        );
        assert_eq!(
            json_of(&NewSecret::of(&id, Secret::BroughtIn)),
            json!({"client_id": "app", "client_secret": null})
        );
    }
}
