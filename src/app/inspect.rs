//! Reads an access token as this issuer would: what holds, and what does not.

use serde_json::{Map, Value};

use crate::keys::{Expectations, Outcome};
use crate::model::api_key::ApiKeyId;
use crate::model::id::{ClientId, UserId};
use crate::model::time::Ttl;
use crate::protocol::token_id::status_indexes_of;
use crate::storage::{clients, users};

use super::App;
use super::error::AdminError;

/// One thing that was looked at.
#[derive(Debug)]
pub struct Finding {
    /// What it is about.
    pub name: String,
    /// `None` if it holds, else why not.
    pub problem: Option<String>,
}

/// A token taken apart.
#[derive(Debug)]
pub struct TokenReport {
    /// The header, if it can be read; not to be believed unless all holds.
    pub header: Option<Map<String, Value>>,
    /// The claims, if they can be read; not to be believed unless all holds.
    pub claims: Option<Map<String, Value>>,
    /// What was looked at, in order.
    pub findings: Vec<Finding>,
}

impl TokenReport {
    /// Whether everything holds.
    pub fn is_valid(&self) -> bool {
        self.findings.iter().all(|finding| finding.problem.is_none())
    }
}

/// A token may have been issued by another instance, whose clock is ahead of this one's.
const CLOCK_SLACK: Ttl = Ttl::from_secs(60);

impl App {
    /// Inspects a token by the keys, clients and users of now.
    pub async fn inspect_token(&self, jwt: &str) -> Result<TokenReport, AdminError> {
        let expectations =
            Expectations { issuer: &self.policy.issuer, now: self.clock.now(), clock_skew: CLOCK_SLACK };
        let inspection = self.ring.load().inspect(jwt, &expectations);
        let genuine = inspection.holds();
        let mut findings: Vec<Finding> = inspection
            .checks
            .into_iter()
            .map(|check| Finding {
                name: check.name.to_owned(),
                problem: match check.outcome {
                    Outcome::Holds => None,
                    Outcome::Fails(why) => Some(why.to_string()),
                },
            })
            .collect();
        // Nobody is looked up for a token that is not ours.
        if genuine && let Some(claims) = &inspection.claims {
            findings.extend(self.inspect_status(claims));
            findings.push(self.inspect_client("client", claims.get("client_id")).await?);
            findings.extend(self.inspect_subject(claims).await?);
        }
        Ok(TokenReport { header: inspection.header, claims: inspection.claims, findings })
    }

    /// By what its id says, also where it does not say where its status is.
    fn inspect_status(&self, claims: &Map<String, Value>) -> Option<Finding> {
        let jti = claims.get("jti").and_then(Value::as_str);
        let (index, actors) = jti.and_then(status_indexes_of)?;
        let revocations = self.revocations.load();
        let problem = [index].iter().chain(&actors).any(|index| revocations.is_revoked(*index)).then(|| {
            "it is revoked: its session or API key was ended, or its client was cut off since".to_owned()
        });
        Some(Finding { name: "status".into(), problem })
    }

    async fn inspect_client(&self, name: &str, id: Option<&Value>) -> Result<Finding, AdminError> {
        let id = id.and_then(Value::as_str).and_then(|id| id.parse::<ClientId>().ok());
        if let Some(key) = id.as_ref().and_then(ApiKeyId::of_client_id) {
            let live = self.api_keys.load().is_live(key, self.clock.now());
            let problem =
                (!live).then(|| "the API key is revoked, has expired, or its user is disabled".to_owned());
            return Ok(Finding { name: "api_key".into(), problem });
        }
        let client = match id {
            Some(id) => clients::find(&mut self.db.begin().await?, &id).await?,
            None => None,
        };
        let problem = match client {
            None => Some("the client does not exist any more"),
            Some(client) if !client.is_enabled() => Some("the client is disabled"),
            Some(_) => None,
        };
        Ok(Finding { name: name.into(), problem: problem.map(str::to_owned) })
    }

    /// A token of client_credentials has the client as its subject, also where another one acts for it.
    async fn inspect_subject(&self, claims: &Map<String, Value>) -> Result<Option<Finding>, AdminError> {
        if claims.get("sub") == claims.get("client_id") {
            return Ok(None);
        }
        // RFC 9068 §5: what is a user's id is never a client's.
        let id = claims.get("sub").and_then(Value::as_str).and_then(|id| id.parse::<UserId>().ok());
        let Some(id) = id else {
            return Ok(Some(self.inspect_client("subject", claims.get("sub")).await?));
        };
        let problem = match users::find(&self.db, id).await? {
            None => Some("the user does not exist any more"),
            Some(user) if !user.is_enabled() => Some("the user is disabled"),
            Some(_) => None,
        };
        Ok(Some(Finding { name: "user".into(), problem: problem.map(str::to_owned) }))
    }
}
