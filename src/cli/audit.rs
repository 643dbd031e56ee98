//! `grantd audit …`: what was done, by whom, and whether the record of it holds. Knows flags and output.

use std::path::Path;
use std::str::FromStr;

use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;

use crate::app::clock::Clock;
use crate::model::audit::{AuditRow, Head, hex};
use crate::model::time::{Timestamp, Ttl};

use super::failure::Failure;
use super::output::{self, JsonFlag};
use super::settings::with_app;

const LIST_EXAMPLES: &str = "\
Examples:
  grantd audit list --since 24h --act key
  grantd audit list --since 2026-05-01T00:00:00Z --limit 1000 --json";

const VERIFY_HELP: &str = "\
Nobody without the encryption key can change, add, delete or exchange rows unnoticed.
Cutting off the end is noticed against a head from before: keep the head that this
prints elsewhere, and give it with --expect next time.

Example:
  grantd audit verify --expect \"$(cat /elsewhere/head)\"";

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List what was done last, the newest at the end
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// At most so many rows, the newest
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        /// Only what was done since, such as 24h or 2026-05-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<Since>,
        /// Only acts that begin so, such as client or key.retired
        #[arg(long, value_name = "PREFIX", default_value = "")]
        act: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Check that no row was changed, added or deleted; prints the head
    #[command(after_help = VERIFY_HELP)]
    Verify {
        /// A head from before that must still be in the chain
        #[arg(long, value_name = "SEQ:HASH")]
        expect: Option<Head>,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Print all rows as JSON lines, the oldest first
    #[command(after_help = "Example:\n  grantd audit export | gzip > audit.jsonl.gz")]
    Export,
}

/// A moment, or how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    Ago(Ttl),
    At(Timestamp),
}

impl Since {
    /// The moment, where it is `now`.
    pub(super) fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ttl) => now.minus(ttl),
            Self::At(at) => at,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = || Timestamp::from_rfc3339(text).map(Self::At);
        text.parse().ok().map(Self::Ago).or_else(at).ok_or_else(|| {
            "this is no time: write how long ago, such as 30m or 7d, or 2026-05-01T00:00:00Z".to_owned()
        })
    }
}

pub(super) async fn run(config: Option<&Path>, command: AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::List { limit, since, act, json } => {
            with_app(config, async |app| {
                let beginning = Timestamp::from_millis(i64::MIN);
                let since = since.map_or(beginning, |since| since.before(Clock::default().now()));
                let rows = app.list_audit(since, &act, limit).await?;
                let rows: Vec<_> = rows.iter().map(RowView::of).collect();
                let columns = ["seq", "at", "actor", "act", "subject_kind", "subject", "details"];
                output::list(json.format(), &rows, &columns, "There are no such rows.")
            })
            .await
        }
        AuditCommand::Verify { expect, json } => {
            with_app(config, async |app| {
                let head = app.verify_audit(expect.as_ref()).await?;
                output::record(json.format(), &HeadView::of(&head))
            })
            .await
        }
        AuditCommand::Export => {
            with_app(config, async |app| {
                let mut from = i64::MIN;
                loop {
                    let rows = app.audit_page(from).await?;
                    let Some(last) = rows.last() else { return Ok(()) };
                    from = last.seq.saturating_add(1);
                    let mut lines = String::new();
                    for row in &rows {
                        lines.push_str(&output::json_line(&RowView::of(row))?);
                    }
                    output::write(&lines)?;
                }
            })
            .await
        }
    }
}

#[derive(Serialize)]
struct RowView<'a> {
    seq: i64,
    at: String,
    actor: &'a str,
    act: &'a str,
    subject_kind: &'a str,
    subject: &'a str,
    details: Value,
    hash: String,
}

impl<'a> RowView<'a> {
    fn of(row: &'a AuditRow) -> Self {
        // What somebody else wrote there is shown as it is; `verify` is what judges it.
        let details = serde_json::from_str(&row.details).unwrap_or_else(|_| row.details.as_str().into());
        Self {
            seq: row.seq,
            at: row.at.rfc3339_millis(),
            actor: &row.actor,
            act: &row.act,
            subject_kind: &row.subject_kind,
            subject: &row.subject,
            details,
            hash: hex(&row.hash),
        }
    }
}

#[derive(Serialize)]
struct HeadView {
    valid: bool,
    seq: i64,
    hash: String,
    /// Both in one, for `--expect`.
    head: String,
}

impl HeadView {
    fn of(head: &Head) -> Self {
        Self { valid: true, seq: head.seq, hash: hex(&head.hash), head: head.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row() -> AuditRow {
        AuditRow {
            seq: 7,
            at: Timestamp::from_millis(1_700_000_000_007),
            actor: "cli:alice".into(),
            act: "client.disabled".into(),
            subject_kind: "client".into(),
            subject: "app".into(),
            details: r#"{"sessions_ended":2}"#.into(),
            hash: vec![0, 0xab],
        }
    }

    #[test]
    fn a_row_is_printed_with_its_details_inside() {
        assert_eq!(
            serde_json::to_value(RowView::of(&row())).expect("serializes"),
            json!({
                "seq": 7, "at": "2023-11-14T22:13:20.007Z", "actor": "cli:alice", "act": "client.disabled",
                "subject_kind": "client", "subject": "app", "details": {"sessions_ended": 2}, "hash": "00ab",
            })
        );
    }

    #[test]
    fn a_forged_row_makes_no_line_of_its_own() {
        let forged =
            AuditRow { actor: "a\n{}\u{1b}[2J\u{202e}".into(), details: "not\njson".into(), ..row() };

        let line = output::json_line(&RowView::of(&forged)).expect("serializes");

        assert_eq!(line.lines().count(), 1, "{line:?}");
        assert!(line.is_ascii() && !line.contains('\u{1b}'), "{line:?}");
        let read: Value = serde_json::from_str(&line).expect("still JSON");
        assert_eq!((&read["actor"], &read["details"]), (&json!(forged.actor), &json!("not\njson")));
    }

    #[test]
    fn since_is_a_moment_or_how_long_ago() {
        let now = Timestamp::from_secs(1_700_000_000);
        let since = |text: &str| text.parse::<Since>().map(|since| since.before(now));

        assert_eq!(since("1h"), Ok(Timestamp::from_secs(1_700_000_000 - 3600)));
        assert_eq!(since("2023-11-14T22:13:20Z"), Ok(now));
        for text in ["", "yesterday", "2023-11-14", "-1h"] {
            assert!(since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_head_reads_back_from_what_verify_prints() {
        let head = Head { seq: 42, hash: std::array::from_fn(|i| i as u8 * 7) };
        let text = HeadView::of(&head).head;

        assert_eq!(text.parse(), Ok(head));
        let (seq, hash) = text.split_once(':').expect("two parts");
        for wrong in [
            String::new(),
            hash.to_owned(),
            format!("{seq}:"),
            format!("-1:{hash}"),
            format!("+1:{hash}"),
            format!("99999999999999999999:{hash}"),
            format!("{seq}:{}", &hash[1..]),
            format!("{seq}:{hash}0"),
            format!("{seq}:{}\u{e9}", &hash[2..]),
        ] {
            assert!(wrong.parse::<Head>().is_err(), "{wrong}");
        }
    }
}
