//! `grantd key …`: the keys that tokens are signed with. Knows flags and output; the schedule is not ours.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;

use crate::app::reseal::{NewKey, Resealed};
use crate::app::signing_keys::{Haste, Retired};
use crate::model::key::{KeyState, Kid, SigningKeyInfo};
use crate::model::time::{Timestamp, Ttl};
use crate::startup::key_source;

use super::failure::Failure;
use super::output::{self, JsonFlag, talk};
use super::secret_input;
use super::settings::{load, with_app};

const COLUMNS: [&str; 6] = ["kid", "alg", "state", "created_at", "activates_at", "retires_at"];
const NONE: &str = "There are no signing keys.";

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// List the published keys and where each stands
    List {
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Let the next key take over as soon as every verifier has seen it
    Rotate {
        /// Take over at once, even if verifiers have not seen the new key
        #[arg(long)]
        now: bool,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Exchange the encryption key; tokens, secrets and sessions stay good, and servers that run need no restart
    #[command(
        after_help = "Example, where a key file is used:\n  grantd key reseal\nExample, where the settings give the key:\n  (umask 077; openssl rand -base64 32 > new_key)\n  grantd key reseal --new-key-file new_key --keep-old 24h"
    )]
    Reseal {
        /// The new key, in a file [default: one is made, where a key file is used]
        #[arg(long, value_name = "FILE")]
        new_key_file: Option<PathBuf>,
        /// The new key, on stdin
        #[arg(long, conflicts_with = "new_key_file")]
        new_key_stdin: bool,
        /// How long servers may still start with the old key
        #[arg(long, value_name = "DURATION", default_value = "0s")]
        keep_old: Ttl,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Take a compromised key out of the JWKS at once; its tokens become invalid
    Retire {
        /// Which key
        #[arg(value_parser = kid, allow_hyphen_values = true)]
        kid: Kid,
        #[command(flatten)]
        json: JsonFlag,
    },
}

pub(super) async fn run(config: Option<&Path>, command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::List { json } => {
            with_app(config, async |app| {
                output::list(json.format(), &views(&app.list_keys().await?), &COLUMNS, NONE)
            })
            .await
        }
        KeyCommand::Rotate { now, json } => {
            let haste = if now { Haste::Now } else { Haste::Safe };
            with_app(config, async |app| {
                let before = app.list_keys().await?;
                let after = app.rotate_keys(haste).await?;
                for sentence in what_rotating_did(haste, &before, &after) {
                    talk(&sentence);
                }
                output::list(json.format(), &views(&after), &COLUMNS, NONE)
            })
            .await
        }
        KeyCommand::Reseal { new_key_file, new_key_stdin, keep_old, json } => {
            let new = match (new_key_file, new_key_stdin) {
                (Some(path), _) => NewKey::File(path),
                (None, true) => NewKey::Given(secret_input::from_stdin("the new encryption key")?),
                (None, false) => NewKey::Made,
            };
            let source = key_source(&load(config, Vec::new())?.settings);
            with_app(config, async |app| {
                let resealed = app.reseal(&source, new, keep_old).await?;
                talk(&what_resealing_did(&resealed));
                output::record(json.format(), &ResealedView::of(&resealed))
            })
            .await
        }
        KeyCommand::Retire { kid, json } => {
            with_app(config, async |app| {
                let retired = app.retire_key(&kid).await?;
                let offline_by = app.retired_keys_seen_by();
                talk(&what_retiring_did(&retired, offline_by));
                output::record(json.format(), &RetiredView::of(&retired, offline_by))
            })
            .await
        }
    }
}

/// A thumbprint is 32 bytes in base64url, and one in 64 begins with `-`; a shorter text that does is a flag.
fn kid(text: &str) -> Result<Kid, String> {
    let base64url = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    if text.starts_with('-') && text.len() < 43 {
        return Err("there is no such flag: 'grantd key retire --help' shows those that exist".to_owned());
    }
    if (1..=128).contains(&text.len()) && text.bytes().all(base64url) {
        return Ok(Kid::new(text.to_owned()));
    }
    Err("this is not a key id: copy one from 'grantd key list'".to_owned())
}

fn what_rotating_did(haste: Haste, before: &[SigningKeyInfo], after: &[SigningKeyInfo]) -> Vec<String> {
    let was_active =
        |kid: &Kid| before.iter().any(|key| key.kid == *kid && matches!(key.state, KeyState::Active { .. }));
    let mut sentences = Vec::new();
    for active in after.iter().filter(|key| matches!(key.state, KeyState::Active { .. })) {
        let SigningKeyInfo { kid, algorithm, .. } = active;
        let successor = after.iter().find_map(|key| match key.state {
            KeyState::Pending { activates_at } if key.algorithm == *algorithm => {
                Some((&key.kid, activates_at))
            }
            _ => None,
        });
        match successor {
            _ if !was_active(kid) => sentences.push(format!("{algorithm}: {kid} signs now.")),
            Some((next, at)) => {
                sentences.push(format!(
                    "{algorithm}: {next} will sign from {}; {kid} signs until then.",
                    at.rfc3339()
                ));
            }
            None => sentences.push(format!("{algorithm}: {kid} still signs.")),
        }
    }
    if haste == Haste::Now {
        sentences.push(
            "warning: verifiers that keep the JWKS in a cache and have not seen the new key refuse new tokens until they fetch it again; tokens of the old key stay valid until they expire (after a leak also run 'grantd key retire KID' on the old key)."
                .into(),
        );
    }
    sentences
}

fn what_retiring_did(retired: &Retired, offline_by: Timestamp) -> String {
    let SigningKeyInfo { kid, algorithm, .. } = &retired.key;
    let signs = match &retired.successor {
        Some(successor) => format!(" {successor} signs {algorithm} now."),
        None => String::new(),
    };
    format!(
        "warning: all tokens signed with {kid} are invalid from now on, and clients must get new ones; verifiers that keep the JWKS in a cache, as long as it says, believe the old ones until {} at the latest.{signs}",
        offline_by.rfc3339()
    )
}

fn what_resealing_did(resealed: &Resealed) -> String {
    let next = match (&resealed.files, resealed.old_key_until) {
        (Some((file, old)), _) => format!(
            "{} holds the new key; keep a copy of it. Backups made until now need the old one, which is in {}.",
            file.display(),
            old.display()
        ),
        (None, Some(until)) => format!(
            "Give every instance the new key in keys.encryption_key before {}; from then on the old one starts no server. Backups made until now need it.",
            until.rfc3339()
        ),
        (None, None) => {
            "Give every instance the new key in keys.encryption_key now: the old one starts no server any more (--keep-old gives you time). Backups made until now need it."
                .to_owned()
        }
    };
    format!(
        "{next} Whoever has the old key and a copy of the database from before can still open that copy: after a leak of both also run 'grantd key rotate --now', 'grantd key retire' on the old signing keys, 'grantd session revoke --all' and 'grantd client rotate-secret'."
    )
}

#[derive(Serialize)]
struct ResealedView {
    /// The key file, if the key is kept in one.
    key_file: Option<String>,
    /// Where the replaced key is kept.
    old_key_file: Option<String>,
    /// Until when servers may still start with the old key.
    old_key_accepted_until: Option<String>,
}

impl ResealedView {
    fn of(resealed: &Resealed) -> Self {
        let (file, old) = match &resealed.files {
            Some((file, old)) => (Some(file.display().to_string()), Some(old.display().to_string())),
            None => (None, None),
        };
        Self {
            key_file: file,
            old_key_file: old,
            old_key_accepted_until: resealed.old_key_until.map(|at| at.rfc3339()),
        }
    }
}

#[derive(Serialize)]
struct KeyView {
    kid: String,
    alg: &'static str,
    state: &'static str,
    created_at: String,
    /// When it signs, for a key that does not sign yet or signs now.
    activates_at: Option<String>,
    /// When it leaves the JWKS, for a key that does not sign any more.
    retires_at: Option<String>,
}

impl KeyView {
    fn of(key: &SigningKeyInfo) -> Self {
        let (activates_at, retires_at) = match key.state {
            KeyState::Pending { activates_at } => (Some(activates_at), None),
            KeyState::Active { since } => (Some(since), None),
            KeyState::Retired { until, .. } => (None, Some(until)),
        };
        Self {
            kid: key.kid.to_string(),
            alg: key.algorithm.as_str(),
            state: key.state.name(),
            created_at: key.created_at.rfc3339(),
            activates_at: activates_at.map(|at| at.rfc3339()),
            retires_at: retires_at.map(|at| at.rfc3339()),
        }
    }
}

fn views(keys: &[SigningKeyInfo]) -> Vec<KeyView> {
    keys.iter().map(KeyView::of).collect()
}

#[derive(Serialize)]
struct RetiredView {
    kid: String,
    alg: &'static str,
    /// Its state until now.
    was: &'static str,
    /// What signs in its place, if it was the one that signed.
    successor: Option<String>,
    /// When the last verifier that keeps the JWKS for as long as it says knows.
    offline_by: String,
}

impl RetiredView {
    fn of(retired: &Retired, offline_by: Timestamp) -> Self {
        Self {
            kid: retired.key.kid.to_string(),
            alg: retired.key.algorithm.as_str(),
            was: retired.key.state.name(),
            successor: retired.successor.as_ref().map(Kid::to_string),
            offline_by: offline_by.rfc3339(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::key::SigningAlgorithm;

    fn key(kid: &str, state: KeyState) -> SigningKeyInfo {
        SigningKeyInfo {
            kid: Kid::new(kid.into()),
            algorithm: SigningAlgorithm::Es256,
            state,
            created_at: Timestamp::from_secs(0),
            longest_ttl: crate::model::time::Ttl::ZERO,
        }
    }

    const PENDING: KeyState = KeyState::Pending { activates_at: Timestamp::from_secs(3600) };
    const ACTIVE: KeyState = KeyState::Active { since: Timestamp::from_secs(60) };
    const RETIRED: KeyState =
        KeyState::Retired { since: Timestamp::from_secs(60), until: Timestamp::from_secs(120) };

    #[test]
    fn keys_are_printed_with_the_times_that_matter_in_their_state() {
        let keys = [key("p", PENDING), key("a", ACTIVE), key("r", RETIRED)];
        let created_at = "1970-01-01T00:00:00Z";

        assert_eq!(
            serde_json::to_value(views(&keys)).expect("serializes"),
            json!([
                {"kid": "p", "alg": "ES256", "state": "pending", "created_at": created_at,
                 "activates_at": "1970-01-01T01:00:00Z", "retires_at": null},
                {"kid": "a", "alg": "ES256", "state": "active", "created_at": created_at,
                 "activates_at": "1970-01-01T00:01:00Z", "retires_at": null},
                {"kid": "r", "alg": "ES256", "state": "retired", "created_at": created_at,
                 "activates_at": null, "retires_at": "1970-01-01T00:02:00Z"},
            ])
        );
    }

    #[test]
    fn a_rotation_says_when_the_next_key_signs() {
        let keys = [key("old", ACTIVE), key("new", PENDING)];

        let said = what_rotating_did(Haste::Safe, &keys, &keys);

        assert_eq!(said, ["ES256: new will sign from 1970-01-01T01:00:00Z; old signs until then."]);
    }

    #[test]
    fn a_rotation_that_is_done_already_says_who_signs_and_haste_says_what_it_breaks() {
        let before = [key("old", ACTIVE), key("new", PENDING)];
        let after = [key("old", RETIRED), key("new", ACTIVE), key("next", PENDING)];

        assert_eq!(what_rotating_did(Haste::Safe, &before, &after), ["ES256: new signs now."]);
        let said = what_rotating_did(Haste::Now, &before, &after);
        assert!(said.last().is_some_and(|last| last.starts_with("warning: verifiers")), "{said:?}");
    }

    #[test]
    fn only_what_looks_like_a_thumbprint_is_a_kid() {
        assert!(kid("kP9_-abcXYZ").is_ok());
        for text in ["", "a b", "a\u{1b}[2J", "ä", "a/b", "-h", "--no"] {
            assert!(kid(text).is_err(), "{text:?}");
        }
    }
}
