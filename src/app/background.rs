//! What goes on by itself while a server runs: seeing changes, looking after keys, forgetting what is over.

use std::sync::Arc;
use std::time::Duration;

use crate::model::login_attempts::CounterKind;
use crate::model::time::{Timestamp, Ttl};
use crate::protocol::throttle::{DAY, KNOWN_FOR};
use crate::storage::revisions::{self, Revisions};
use crate::storage::{api_keys, families, known_sources, login_attempts, revocations, root_keys, used_ids};

use super::App;
use super::api_keys::KEEP_ENDED_KEYS;
use super::clock::Steadiness;
use super::database_health::Use;
use super::directory::Directory;
use super::error::AdminError;
use super::used_once::KEEP_USED;

/// Changes by anyone are obeyed within a second; most of it is kept for a slow reading.
const WATCH_EVERY: Duration = Duration::from_millis(200);
/// Key times of a few seconds are legal.
const KEYS_EVERY: Duration = Duration::from_secs(1);
/// How long work that nobody waits for may take.
const CARE_PATIENCE: Duration = Duration::from_secs(10);
const PURGE_EVERY: Duration = Duration::from_secs(10 * 60);
/// How long a family that is over stays, so that `session list` and a late reuse still find it.
pub const KEEP_ENDED: Ttl = Ttl::from_secs(24 * 60 * 60);

impl App {
    /// Runs until it is dropped.
    pub async fn run_background(self: Arc<Self>) {
        tokio::join!(
            self.watch(),
            self.keep_asking_for_writes(),
            self.keep_knocking(),
            self.look_after_keys(),
            self.forget()
        );
    }

    /// Takes clients, roles, API keys, signing keys and revocations as the database has them now, if they changed.
    pub async fn reload(&self) -> Result<(), AdminError> {
        let _one_at_a_time = self.reloading.lock().await;
        let seen = self.directory.load().revisions;
        let now = revisions::read(&self.db).await?;
        if now == seen {
            return Ok(());
        }
        // First, and by itself: what is wrong with a client must not keep a token alive.
        self.reload_revocations(now.revocations).await?;
        // What is read further down may fail, and is then still to be read: the next look must not find all as it was seen.
        let partly = Revisions { clients: now.clients, roles: now.roles, ..seen };
        if now.clients != seen.clients {
            self.status_indexes.number_clients(&self.db).await?;
            self.directory.store(Arc::new(Directory::load(&self.db, partly).await?));
        } else {
            if now.revocations != seen.revocations {
                self.renew_status_indexes().await?;
            }
            if now.roles != seen.roles {
                let directory = self.directory.load().at(seen).with_roles(&self.db).await?;
                self.directory.store(Arc::new(directory.at(partly)));
            }
        }
        if now.keys != seen.keys {
            self.reload_keys().await?;
        }
        // Last, so that nothing that is wrong with them holds anything else up.
        self.reload_api_keys(seen, now).await?;
        let directory = self.directory.load();
        if directory.revisions != now {
            self.directory.store(Arc::new(directory.at(now)));
        }
        Ok(())
    }

    async fn watch(&self) {
        loop {
            self.database.pause(WATCH_EVERY).await;
            self.database.ask(Use::Reading, async || self.reload().await).await;
            self.report();
        }
    }

    fn report(&self) {
        metrics::gauge!("grantd_database_up").set(if self.database.is_up() { 1.0 } else { 0.0 });
        metrics::gauge!("grantd_password_queue_depth").set(self.pool.queue_depth() as f64);
        let counts = self.pool.counts();
        metrics::counter!("grantd_password_hashes_total").absolute(counts.hashes);
        metrics::counter!("grantd_password_jobs_refused_total").absolute(counts.refused + counts.expired);
    }

    async fn look_after_keys(&self) {
        let mut steadiness = Steadiness::default();
        loop {
            tokio::time::sleep(KEYS_EVERY).await;
            self.look_after_keys_once(&mut steadiness).await;
        }
    }

    /// Does what is due with the signing keys, unless the clock or the database says not now: by a clock that jumped
    /// ahead keys would go whose tokens are still good.
    pub async fn look_after_keys_once(&self, steadiness: &mut Steadiness) {
        if steadiness.look(&self.clock).is_some()
            && self.database.is_up()
            && self.keys_need_care()
            && let Err(cause) = bounded(CARE_PATIENCE, self.keep_keys_in_order()).await
        {
            self.database.doubt();
            tracing::warn!(cause, "signing keys could not be looked after; tried again in a second");
        }
    }

    /// Lets time pass on a clock of tests, with what is due by then done.
    pub async fn let_time_pass(&self, by: Ttl) -> Result<(), AdminError> {
        self.clock.advance(by);
        self.keep_keys_in_order().await
    }

    async fn forget(&self) {
        let mut steadiness = Steadiness::default();
        loop {
            if let Err(cause) = bounded(CARE_PATIENCE, self.record_reuse()).await {
                tracing::warn!(cause, "sessions that ended by reuse are still missing in the audit");
            }
            self.forget_once(&mut steadiness).await;
            tokio::time::sleep(PURGE_EVERY).await;
        }
    }

    /// Deletes what is over, unless the clock jumped: one that is ahead for a moment must not end every session. For
    /// the same reason nothing is deleted in the first minutes of a process, which knows of no time before.
    pub async fn forget_once(&self, steadiness: &mut Steadiness) {
        if let Some(now) = steadiness.look(&self.clock)
            && let Err(cause) = bounded(CARE_PATIENCE, self.purge(now)).await
        {
            self.database.doubt();
            tracing::warn!(cause, "what is over could not be deleted; tried again later");
        }
    }

    /// Deletes families, revocations, API keys, failed logins, known sources and used ids whose time is over at `now`, and failed
    /// logins that are too many.
    pub async fn purge(&self, now: Timestamp) -> Result<(), AdminError> {
        let mut tx = self.db.begin().await?;
        let over = now.minus(KEEP_ENDED);
        // Also a family that nobody refreshes may still have a token that lives, and must be there to be ended.
        let unused = over.minus(self.policy.families.idle_ttl.max(self.longest_access_ttl()));
        let families = families::purge(&mut tx, over, unused).await?;
        let revocations = revocations::purge(&mut tx, now).await?;
        let keys = api_keys::purge(&mut tx, now.minus(KEEP_ENDED_KEYS)).await?;
        let sources = known_sources::purge(&mut tx, now.minus(KNOWN_FOR)).await?;
        root_keys::purge(&mut tx, now).await?;
        tx.commit().await?;
        self.forget_revocations(now).await;
        let used = self.purge_used_ids(now.minus(KEEP_USED)).await?;
        let mut failures = 0;
        for kind in CounterKind::ALL {
            // A transaction for each kind: a guess locks one row of each, and two that lock several of one kind in
            // different orders would wait for each other.
            let mut tx = self.db.begin().await?;
            failures += login_attempts::purge(&mut tx, kind, now.minus(DAY), now.plus(DAY)).await?;
            failures += login_attempts::keep_newest(&mut tx, kind, most_counters(kind)).await?;
            tx.commit().await?;
        }
        if families + revocations + keys + sources + failures + used > 0 {
            tracing::debug!(families, revocations, keys, sources, failures, used, "deleted what is over");
        }
        Ok(())
    }
}

impl App {
    /// A few at a time: there may be a row for each request of an hour, and others want to write as well.
    async fn purge_used_ids(&self, before: Timestamp) -> Result<u64, AdminError> {
        const AT_A_TIME: u32 = 5000;
        let mut forgotten = 0;
        loop {
            let mut tx = self.db.begin().await?;
            let some = used_ids::purge(&mut tx, before, AT_A_TIME).await?;
            tx.commit().await?;
            forgotten += some;
            if some < u64::from(AT_A_TIME) {
                return Ok(forgotten);
            }
        }
    }
}

/// How many counters of failed logins are kept, 200,000 in all: strangers choose the names that are counted. To have
/// one forgotten before its day is over, they must fail at this many others.
const fn most_counters(kind: CounterKind) -> u32 {
    match kind {
        CounterKind::Pair => 120_000,
        CounterKind::Account => 60_000,
        CounterKind::Source => 20_000,
    }
}

/// A database that hangs must not hold a task for ever, nor the locks that the task holds.
async fn bounded(
    patience: Duration,
    work: impl Future<Output = Result<(), AdminError>>,
) -> Result<(), String> {
    match tokio::time::timeout(patience, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}
