//! `grantd token …`: access tokens taken apart, and single tokens ended. Knows output; what must hold is not ours.

use std::path::Path;

use clap::Subcommand;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::inspect::{Finding, TokenReport};
use crate::app::revoke_token::RevokedToken;
use crate::model::time::Timestamp;

use super::failure::Failure;
use super::incident::tell;
use super::output::{self, Format, JsonFlag, talk};
use super::secret_input;
use super::settings::with_app;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Read a JWT on stdin, verify it as this issuer would, and say what holds; exit status 1 if not all does
    #[command(after_help = "Example:\n  printf '%s' \"$ACCESS_TOKEN\" | grantd token inspect")]
    Inspect {
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Read an access token, a refresh token or an API key on stdin and end what it stands for, also if it has expired
    #[command(after_help = REVOKE_EXAMPLE)]
    Revoke {
        #[command(flatten)]
        json: JsonFlag,
    },
}

const REVOKE_EXAMPLE: &str = "\
Example:
  grantd token revoke < found-in-a-log.txt

A user's token stands for its session, which ends. A token that a client got for itself
(client_credentials) stands for all that it got so far; it gets new ones by asking. An API
key ends for good; a token that was made from one stands for all that were, and the key goes on.";

pub(super) async fn run(config: Option<&Path>, command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Inspect { json } => inspect(config, json).await,
        TokenCommand::Revoke { json } => revoke(config, json).await,
    }
}

async fn revoke(config: Option<&Path>, json: JsonFlag) -> Result<(), Failure> {
    let token = secret_input::token_from_stdin()?;
    with_app(config, async |app| {
        let revoked = app.revoke_token(&token).await?;
        let offline_by = match &revoked {
            RevokedToken::Session(id) => Some(tell(app, &format!("Ended the session {id}."))),
            RevokedToken::Client(id) => Some(tell(app, &format!("Revoked all that {id} got for itself."))),
            RevokedToken::ApiKey(id) => Some(tell(app, &format!("Ended the API key {id}."))),
            RevokedToken::TokensOfApiKey(id) => {
                Some(tell(app, &format!("Revoked all that was made from the API key {id}, which goes on.")))
            }
            RevokedToken::Over => {
                talk("What this token stands for had ended before; nothing was changed.");
                None
            }
        };
        output::record(json.format(), &RevokedView::of(&revoked, offline_by))
    })
    .await
}

#[derive(Serialize)]
struct RevokedView {
    /// Sessions, clients and API keys together: one, or none if it was over before.
    revoked: u64,
    session_id: Option<String>,
    /// The client whose own tokens were revoked.
    client_id: Option<String>,
    /// The API key that has ended, or whose tokens were revoked.
    api_key_id: Option<String>,
    /// When the last service that reads status lists knows.
    offline_by: Option<String>,
}

impl RevokedView {
    fn of(revoked: &RevokedToken, offline_by: Option<String>) -> Self {
        let (session_id, client_id, api_key_id) = match revoked {
            RevokedToken::Session(id) => (Some(id.to_string()), None, None),
            RevokedToken::Client(id) => (None, Some(id.to_string()), None),
            RevokedToken::ApiKey(id) | RevokedToken::TokensOfApiKey(id) => (None, None, Some(id.to_string())),
            RevokedToken::Over => (None, None, None),
        };
        let revoked = u64::from(*revoked != RevokedToken::Over);
        Self { revoked, session_id, client_id, api_key_id, offline_by }
    }
}

async fn inspect(config: Option<&Path>, json: JsonFlag) -> Result<(), Failure> {
    let token = secret_input::token_from_stdin()?;
    with_app(config, async |app| {
        let report = app.inspect_token(token.expose()).await?;
        output::write(&match json.format() {
            Format::People => for_people(&report),
            Format::Json => output::json(&ReportView::of(&report))?,
        })?;
        if report.is_valid() { Ok(()) } else { Err(Failure::BadAnswer) }
    })
    .await
}

/// Claims that are times, RFC 7519 §4.1 and RFC 9068 §2.2.1.
const TIMES: [&str; 4] = ["exp", "iat", "nbf", "auth_time"];

fn for_people(report: &TokenReport) -> String {
    let mut text = String::new();
    for (title, part) in [("header", &report.header), ("claims", &report.claims)] {
        let fields: Vec<_> = match part {
            Some(part) => part.iter().map(|(name, value)| (name.clone(), with_time(name, value))).collect(),
            None => vec![("unreadable".to_owned(), Value::Bool(true))],
        };
        text.push_str(&section(title, &fields));
    }
    let checks: Vec<_> =
        report.findings.iter().map(|finding| (finding.name.clone(), outcome(finding))).collect();
    text.push_str(&section("checks", &checks));
    text.push_str(if report.is_valid() { "valid: yes\n" } else { "valid: no\n" });
    text
}

fn outcome(finding: &Finding) -> Value {
    Value::String(finding.problem.as_ref().map_or_else(|| "holds".into(), |why| format!("FAILS: {why}")))
}

fn section(title: &str, fields: &[(String, Value)]) -> String {
    let lines = output::lines(fields);
    let mut text = format!("{title}\n");
    for line in lines.lines() {
        text.push_str("  ");
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn with_time(name: &str, value: &Value) -> Value {
    match value.as_i64().filter(|_| TIMES.contains(&name)) {
        Some(seconds) => Value::String(format!("{seconds} ({})", Timestamp::from_secs(seconds).rfc3339())),
        None => value.clone(),
    }
}

#[derive(Serialize)]
struct ReportView<'a> {
    valid: bool,
    header: Option<&'a Map<String, Value>>,
    claims: Option<&'a Map<String, Value>>,
    checks: Vec<CheckView<'a>>,
}

#[derive(Serialize)]
struct CheckView<'a> {
    name: &'a str,
    holds: bool,
    problem: Option<&'a str>,
}

impl<'a> ReportView<'a> {
    fn of(report: &'a TokenReport) -> Self {
        let checks = report.findings.iter().map(|finding| CheckView {
            name: &finding.name,
            holds: finding.problem.is_none(),
            problem: finding.problem.as_deref(),
        });
        Self {
            valid: report.is_valid(),
            header: report.header.as_ref(),
            claims: report.claims.as_ref(),
            checks: checks.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(claims: Value) -> TokenReport {
        let finding = |name: &str, problem: Option<&str>| Finding {
            name: name.into(),
            problem: problem.map(str::to_owned),
        };
        TokenReport {
            header: None,
            claims: claims.as_object().cloned(),
            findings: vec![finding("signature", None), finding("exp", Some("it has expired"))],
        }
    }

    #[test]
    fn a_report_for_programs_names_every_check() {
        let report = report(json!({"sub": "a"}));

        assert_eq!(
            serde_json::to_value(ReportView::of(&report)).expect("serializes"),
            json!({
                "valid": false, "header": null, "claims": {"sub": "a"},
                "checks": [
                    {"name": "signature", "holds": true, "problem": null},
                    {"name": "exp", "holds": false, "problem": "it has expired"},
                ],
            })
        );
    }

    #[test]
    fn a_report_for_people_reads_times_and_ends_with_the_verdict() {
        let text = for_people(&report(json!({"exp": 1_700_000_000, "sub": "a"})));

        assert_eq!(
            text,
            "header\n  unreadable: yes\n\
             claims\n  exp: 1700000000 (2023-11-14T22:13:20Z)\n  sub: a\n\
             checks\n  signature: holds\n  exp:       FAILS: it has expired\n\
             valid: no\n"
        );
    }

    #[test]
    fn a_hostile_claim_can_forge_no_line_of_the_report() {
        let claims =
            json!({"sub": "a\nvalid: yes\u{1b}[2J\u{9b}2J\u{202e}", "b\nvalid": "yes", "exp": i64::MAX});

        let text = for_people(&report(claims));

        assert_eq!(text.lines().filter(|line| line.starts_with("valid")).count(), 1, "{text}");
        assert!(!text.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{text:?}");
    }
}
