//! The audit of a running server: one chain over all instances, tampering that is told, and reuse.

use std::collections::BTreeMap;

use grantd::app::App;
use grantd::app::audit::VerifyError;
use grantd::app::audit_chain::Misfit;
use grantd::app::sessions::Sessions;
use grantd::model::audit::{AuditRow, Head};
use grantd::model::session::RevocationReason;
use grantd::model::time::Timestamp;
use grantd::storage::{Db, families};
use sqlx::AssertSqlSafe;

use crate::storage::open;
use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{ClientOf, TestServer};

trials! {
    both: [
        changes_at_once_by_two_instances_make_one_chain_without_a_gap,
        whatever_is_done_to_the_rows_is_told,
        a_family_that_ends_by_reuse_is_one_row_however_often_it_is_presented,
        reuse_that_cannot_be_recorded_ends_the_family_answers_503_and_is_recorded_later,
        logins_and_refreshes_leave_no_row,
    ],
    sqlite: [a_chain_of_many_pages_holds],
    plain: [every_commit_of_a_use_case_is_audited_or_known_not_to_be],
}

/// Runs statements that no grantd would run.
pub(crate) async fn meddle(db: &Db, statements: &[&str]) {
    for statement in statements {
        let text = AssertSqlSafe((*statement).to_owned());
        let done = match db {
            Db::Sqlite { write, .. } => sqlx::query(text).execute(write).await.map(drop),
            Db::Postgres(lender) => {
                sqlx::query(text).execute(&mut lender.connect().await.expect("a connection")).await.map(drop)
            }
        };
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

pub(crate) const BREAK: &[&str] = &["alter table audit rename to audit_away"];
pub(crate) const MEND: &[&str] = &["alter table audit_away rename to audit"];

async fn rows(app: &App) -> Vec<AuditRow> {
    app.list_audit(Timestamp::from_millis(i64::MIN), "", 1000).await.expect("readable")
}

async fn rows_of(app: &App, act: &str) -> Vec<AuditRow> {
    rows(app).await.into_iter().filter(|row| row.act == act).collect()
}

async fn verdict(app: &App, expected: Option<&Head>) -> Result<i64, Misfit> {
    match app.verify_audit(expected).await {
        Ok(head) => Ok(head.seq),
        Err(VerifyError::Misfit(misfit)) => Err(misfit),
        Err(error) => panic!("{error}"),
    }
}

async fn changes_at_once_by_two_instances_make_one_chain_without_a_gap(database: TestDatabase) {
    let one = TestServer::start(&database).await;
    let other = TestServer::start_at(&database, &[], one.clock.clone()).await;
    let before = one.app.verify_audit(None).await.expect("a chain that holds");

    let mut changes = Vec::new();
    for number in 0..16 {
        let server = if number % 2 == 0 { &one } else { &other };
        changes.push(Box::pin(async move {
            let name = format!("x{number}");
            match number % 4 {
                0 => drop(server.client(&name, ClientOf::default()).await),
                1 => server.user(&name, &[]).await,
                2 => server.role(&name, &name).await,
                _ => {
                    server.app.revoke_sessions(&Sessions::All).await.expect("revoked");
                }
            }
        }));
    }
    futures_util::future::join_all(changes).await;

    let mut acts: BTreeMap<String, i32> = BTreeMap::new();
    for row in rows(&one.app).await.into_iter().filter(|row| row.seq > before.seq) {
        *acts.entry(row.act).or_default() += 1;
    }
    // As many as there were clients when all sessions were ended.
    let cut_off = acts.remove("client.tokens_revoked").unwrap_or(0);
    let expected = ["client.created", "role.created", "session.revoked", "user.created"];
    assert_eq!(acts, expected.map(|act| (act.to_owned(), 4)).into());
    assert_eq!(verdict(&other.app, Some(&before)).await, Ok(before.seq + 16 + i64::from(cut_off)));
    one.stop().await;
    other.stop().await;
}

async fn whatever_is_done_to_the_rows_is_told(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    for number in 0..8 {
        server.role(&format!("r{number}"), "x").await;
    }
    let (db, app) = (open(&database).await, &server.app);
    let head = app.verify_audit(None).await.expect("a chain that holds");
    let noted = rows(app).await.swap_remove(7);
    let noted = Head { seq: noted.seq, hash: noted.hash.try_into().expect("a hash") };
    assert!(head.seq == 10 && noted.seq == 8, "{head:?} {noted:?}");
    let keep =
        ["create table kept as select * from audit", "create table kept_head as select * from audit_head"];
    meddle(&db, &keep).await;
    let cut = "delete from audit where seq > 7";
    let head_back =
        "update audit_head set seq = 7, hash = (select hash from audit where seq = 7) where id = 1";
    let forged = "insert into audit select {}, at_ms, actor, act, subject_kind, subject, details, hash \
                  from audit where seq = 6";

    for (tamper, expected, told) in [
        (
            &["update audit set details = '{\"scope\":\"y\"}' where seq = 5"][..],
            None,
            Err(Misfit::Changed(5)),
        ),
        (&["update audit set actor = 'cli:mallory' where seq = 1"], None, Err(Misfit::Changed(1))),
        (
            &["update audit set hash = (select hash from audit where seq = 4) where seq = 5"],
            None,
            Err(Misfit::Changed(5)),
        ),
        (&["delete from audit where seq = 5"], None, Err(Misfit::Missing(5))),
        (&["delete from audit where seq = 1"], None, Err(Misfit::Missing(1))),
        (&["delete from audit where seq = 10"], None, Err(Misfit::Missing(10))),
        (
            &[
                "update audit set seq = -1 where seq = 4",
                "update audit set seq = 4 where seq = 5",
                "update audit set seq = 5 where seq = -1",
            ],
            None,
            Err(Misfit::Changed(4)),
        ),
        (&[&forged.replace("{}", "0")], None, Err(Misfit::Stray(0))),
        (&[&forged.replace("{}", "11")], None, Err(Misfit::Changed(11))),
        (
            &[
                &forged.replace("{}", "11"),
                "update audit_head set seq = 11, hash = (select hash from audit where seq = 11)",
            ],
            None,
            Err(Misfit::Changed(11)),
        ),
        (
            &["update audit_head set hash = (select hash from audit where seq = 9)"],
            None,
            Err(Misfit::Head(10)),
        ),
        (&["delete from audit"], None, Err(Misfit::Missing(1))),
        // The head put back over rows that are there still.
        (&[head_back], None, Err(Misfit::Head(10))),
        // The tail cut off with its head leaves a chain that holds; only who noted a head can tell.
        (&[head_back, cut], None, Ok(7)),
        (&[head_back, cut], Some(&noted), Err(Misfit::Expected(8))),
        (&[], Some(&noted), Ok(10)),
        (&[], Some(&Head { hash: [7; 32], ..noted }), Err(Misfit::Expected(8))),
        (&[], Some(&Head { hash: [7; 32], ..Head::EMPTY }), Err(Misfit::Expected(0))),
        (&[], Some(&Head::EMPTY), Ok(10)),
    ] {
        meddle(&db, tamper).await;

        assert_eq!(verdict(app, expected).await, told, "{tamper:?}");

        let back = [
            "delete from audit",
            "delete from audit_head",
            "insert into audit select * from kept",
            "insert into audit_head select * from kept_head",
        ];
        meddle(&db, &back).await;
    }
    assert_eq!(verdict(app, None).await, Ok(10));
    // Nothing is appended to a chain whose head was put back: it would have two rows of one number.
    meddle(&db, &[head_back]).await;
    let refused = app.revoke_sessions(&Sessions::All).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("audit")));
    db.close().await;
    server.stop().await;
}

async fn a_family_that_ends_by_reuse_is_one_row_however_often_it_is_presented(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", secret.as_str());
    let first = server.login(app, "alice").await.text("refresh_token");
    let second = server.refresh(app, &first).await.text("refresh_token");
    let third = server.refresh(app, &second).await.text("refresh_token");

    let answers = futures_util::future::join_all((0..8).map(|_| server.refresh(app, &first))).await;
    assert!(answers.iter().all(|answer| answer.refusal() == (400, "invalid_grant".into())), "{answers:?}");
    assert_eq!(server.refresh(app, &third).await.status, 400);

    let found = rows_of(&server.app, "session.reuse_detected").await;
    let [row] = &found[..] else { panic!("{found:?}") };
    let session = server.app.list_sessions(&Sessions::All).await.expect("readable").remove(0).family;
    assert_eq!((row.actor.as_str(), row.subject_kind.as_str()), ("client:app", "session"));
    assert_eq!(row.subject, session.id.to_string());
    let details: serde_json::Value = serde_json::from_str(&row.details).expect("JSON");
    let expected = serde_json::json!({
        "client_id": "app", "user_id": session.user_id.to_string(), "source": "127.0.0.1",
    });
    assert_eq!(details, expected);
    verdict(&server.app, None).await.expect("a chain that holds");
    server.stop().await;
}

/// To leave the session to the thief until somebody mends the audit would be worse than a row that comes late.
async fn reuse_that_cannot_be_recorded_ends_the_family_answers_503_and_is_recorded_later(
    database: TestDatabase,
) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let (app, db) = (("app", secret.as_str()), open(&database).await);
    let first = server.login(app, "alice").await.text("refresh_token");
    let second = server.refresh(app, &first).await.text("refresh_token");
    let third = server.refresh(app, &second).await.text("refresh_token");
    let reason = async || {
        let family = server.app.list_sessions(&Sessions::All).await.expect("readable").remove(0).family;
        family.revoked.map(|(_, reason)| reason)
    };
    meddle(&db, BREAK).await;

    let told = server.refresh(app, &first).await;

    assert_eq!(told.refusal(), (503, "temporarily_unavailable".into()), "{told:?}");
    assert!(told.header("retry-after").parse::<u32>().is_ok(), "{told:?}");
    for token in [&third, &second, &first] {
        assert_eq!(server.refresh(app, token).await.refusal(), (400, "invalid_grant".into()));
    }
    assert_eq!(reason().await, Some(RevocationReason::ReuseUnrecorded));
    assert!(server.app.record_reuse().await.is_err(), "it is owed still");
    assert_eq!(reason().await, Some(RevocationReason::ReuseUnrecorded));

    meddle(&db, MEND).await;
    for _ in 0..2 {
        server.app.record_reuse().await.expect("recorded");
    }
    assert_eq!(reason().await, Some(RevocationReason::Reuse));
    assert_eq!(rows_of(&server.app, "session.reuse_detected").await.len(), 1);
    assert_eq!(families::unrecorded(&db).await.expect("readable"), []);
    verdict(&server.app, None).await.expect("a chain that holds");
    db.close().await;
    server.stop().await;
}

async fn logins_and_refreshes_leave_no_row(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = ("app", secret.as_str());
    let before = verdict(&server.app, None).await.expect("a chain that holds");

    let token = server.login(app, "alice").await.text("refresh_token");
    for _ in 0..3 {
        assert_eq!(server.refresh(app, &token).await.status, 200);
        assert_eq!(server.refresh(app, "grt_forged").await.status, 400);
        assert_eq!(server.login(app, "nobody").await.status, 400);
    }
    server.app.purge(server.clock.now()).await.expect("purged");

    assert_eq!(verdict(&server.app, None).await, Ok(before));
    server.stop().await;
}

async fn a_chain_of_many_pages_holds(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    for _ in 0..1010 {
        server.app.revoke_sessions(&Sessions::All).await.expect("revoked");
    }

    assert_eq!(verdict(&server.app, None).await, Ok(1012));
    let db = open(&database).await;
    meddle(&db, &["update audit set details = '{}' where seq = 1001"]).await;
    assert_eq!(verdict(&server.app, None).await, Err(Misfit::Changed(1001)));
    db.close().await;
    server.stop().await;
}

/// What a use case commits past the audit, and why it may. A new line here is a decision: is it an act?
const NOT_AUDITED: &[(&str, usize, &str)] = &[
    ("audit.rs", 1, "the audit itself"),
    ("background.rs", 3, "what is over is purged"),
    ("open.rs", 1, "the root key of a new database"),
    ("refresh.rs", 1, "a rotation or a retry"),
    ("reuse.rs", 1, "an ending whose row is owed"),
    ("signing_keys.rs", 1, "the longest life of what keys sign, which follows from a client"),
    ("status_indexes.rs", 3, "a block of numbers, and numbers for what an older version began"),
    ("throttle.rs", 1, "counts of failed logins"),
];

fn every_commit_of_a_use_case_is_audited_or_known_not_to_be() {
    let mut found = BTreeMap::new();
    let mut paths = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/app")];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let inside = std::fs::read_dir(path).expect("the app room");
            paths.extend(inside.map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("a source file");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name == "audit.rs" || !source.contains("audit::append("), "{name} appends past commit");
        let commits = source.matches(".commit()").count();
        if commits > 0 {
            found.insert(name, commits);
        }
    }

    let known = NOT_AUDITED.iter().map(|(name, commits, _)| ((*name).to_owned(), *commits)).collect();
    assert_eq!(found, known, "commit through App::commit, or say here why not");
}
