//! `grantd apply` and `grantd export`: clients, roles and users as a file. Knows flags and output.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::app::apply::{Applied, Difference, Step, Undeclared, What};
use crate::model::declared::Declared;
use crate::model::id::ClientId;
use crate::model::secret::PlainSecret;

use super::consent::YesFlag;
use super::document::{self, Secrets};
use super::failure::Failure;
use super::incident::{count, tell};
use super::output::{self, Format, JsonFlag, talk};
use super::role::say_who_loses;
use super::settings::with_app;

const FILE: &str = "\
The file is TOML; 'grantd export' writes one. What it does not say of a client, role or user
is as if nobody had said it, but for 'enabled' and secrets, which stay as they are. A client
without client_secret_file gets a generated secret, printed once; a user gets a password that
nobody knows, until 'grantd user set-password'. With --prune, what is not in the file is
deleted, but only of the kinds of which the file has a list.

Example:
  [[roles]]
  role = \"editor\"
  scope = \"notes:write\"

  [[clients]]
  client_id = \"notes-app\"
  grant_types = [\"password\", \"refresh_token\"]
  scope = \"notes:read notes:write\"
  client_secret_file = \"notes-app.secret\"

  [[users]]
  username = \"alice\"
  roles = [\"editor\"]";

#[derive(Args, Debug)]
#[command(after_help = FILE)]
pub(super) struct ApplyCommand {
    /// The file, or - for stdin
    file: PathBuf,
    /// Delete clients, roles and users that are not in the file
    #[arg(long)]
    prune: bool,
    /// Change nothing, and exit with status 3 if something would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    yes: YesFlag,
    #[command(flatten)]
    json: JsonFlag,
}

/// More than any file of clients and users; a bound against a stdin that never ends.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

pub(super) async fn run(config: Option<&Path>, command: ApplyCommand) -> Result<(), Failure> {
    let declared = read(&command.file, Secrets::ByReference)?;
    let undeclared = if command.prune { Undeclared::Goes } else { Undeclared::Stays };
    let format = command.json.format();
    let consent = (command.prune && !command.dry_run).then(|| command.yes.consent()).transpose()?;
    with_app(config, async |app| {
        let plan = app.plan(&declared, undeclared).await?;
        if command.dry_run {
            print(format, &plan, &[], false)?;
            return if plan.is_empty() { Ok(()) } else { Err(Failure::WouldChange) };
        }
        let deletions: Vec<_> =
            plan.iter().filter(|step| step.what == What::Delete).map(|step| step.named.clone()).collect();
        if let Some(consent) = consent.filter(|_| !deletions.is_empty()) {
            let lost = plan.iter().filter(|step| step.what == What::Delete).map(line).collect::<Vec<_>>();
            consent.to(&format!("{}\nDelete these, with all of their sessions?", lost.join("\n")))?;
        }
        let applied = app.apply(&declared, &deletions).await?;
        say_what_it_means(app, &applied);
        print(format, &applied.steps, &applied.generated, true)
    })
    .await
}

/// Prints the file that changes nothing.
pub(super) async fn export(config: Option<&Path>) -> Result<(), Failure> {
    with_app(config, async |app| output::write(&document::write(&app.export().await?)?)).await
}

/// What a file, or stdin, declares.
pub(super) fn read(path: &Path, secrets: Secrets) -> Result<Declared, Failure> {
    let is_stdin = path.as_os_str() == "-";
    let place = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let mut text = String::new();
    let read = match is_stdin {
        true => std::io::stdin().lock().take(MOST_BYTES + 1).read_to_string(&mut text),
        false => {
            std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text))
        }
    };
    let length = read.map_err(|error| {
        Failure::because(format!("{place} cannot be read ({error}): name a TOML file, or - for stdin"))
    })?;
    if length as u64 > MOST_BYTES {
        return Err(Failure::because(format!("{place} is longer than {MOST_BYTES} bytes: split it")));
    }
    let base = if is_stdin { None } else { path.parent() };
    document::read(&text, &place, base.unwrap_or(Path::new("")), secrets)
}

fn say_what_it_means(app: &crate::app::App, applied: &Applied) {
    applied.bound.iter().for_each(say_who_loses);
    if !applied.freed.is_empty() {
        talk(&format!("No role contains {} any more, so that it reaches every user now.", applied.freed));
    }
    if let Some(sessions) = applied.ended {
        tell(
            app,
            &format!(
                "Ended {} and revoked what switched-off and deleted clients and users had.",
                count(sessions, "session")
            ),
        );
    }
    if !applied.generated.is_empty() {
        talk("A generated client_secret is shown this once and never again: keep it now.");
    }
}

fn print(
    format: Format,
    steps: &[Step],
    generated: &[(ClientId, PlainSecret)],
    applied: bool,
) -> Result<(), Failure> {
    match format {
        Format::Json => output::record(format, &View::of(steps, generated, applied)),
        Format::People if steps.is_empty() => {
            talk("Nothing to do: everything is as the file says.");
            Ok(())
        }
        Format::People => {
            let lines = steps.iter().map(line);
            let secrets =
                generated.iter().map(|(id, secret)| format!("client_secret of {id}: {}", secret.expose()));
            let text: String = lines.chain(secrets).map(|line| line + "\n").collect();
            output::write(&text)
        }
    }
}

/// `~ client shop  scope: "a b" -> "a"`
fn line(step: &Step) -> String {
    let sign = match step.what {
        What::Create => '+',
        What::Change => '~',
        What::Delete => '-',
    };
    let mut line = format!("{sign} {} {}", step.named.kind(), step.named.name());
    for Difference { member, from, to } in &step.differences {
        let from = from.as_ref().map(|from| format!("{} -> ", shown(member, from))).unwrap_or_default();
        line.push_str(&format!("  {member}: {from}{}", shown(member, to)));
    }
    line
}

/// A value as it would stand in the file; of a secret, where it comes from.
fn shown(member: &str, value: &Value) -> String {
    let text = match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) if member == "client_secret" => text.clone(),
        value => value.to_string(),
    };
    output::printable(&text).replace('\n', "\\n")
}

#[derive(Serialize)]
struct View {
    applied: bool,
    changes: Vec<Change>,
    /// Those that were generated.
    client_secrets: Vec<Generated>,
}

#[derive(Serialize)]
struct Change {
    action: &'static str,
    kind: &'static str,
    name: String,
    differences: Map<String, Value>,
}

#[derive(Serialize)]
struct Generated {
    client_id: String,
    client_secret: String,
}

impl View {
    fn of(steps: &[Step], generated: &[(ClientId, PlainSecret)], applied: bool) -> Self {
        let changes = steps.iter().map(|step| Change {
            action: match step.what {
                What::Create => "create",
                What::Change => "change",
                What::Delete => "delete",
            },
            kind: step.named.kind(),
            name: step.named.name().to_owned(),
            differences: step
                .differences
                .iter()
                .map(|Difference { member, from, to }| {
                    ((*member).to_owned(), json!({"from": from, "to": to}))
                })
                .collect(),
        });
        let client_secrets = generated.iter().map(|(id, secret)| Generated {
            client_id: id.to_string(),
            client_secret: secret.expose().to_owned(),
        });
        Self { applied, changes: changes.collect(), client_secrets: client_secrets.collect() }
    }
}
