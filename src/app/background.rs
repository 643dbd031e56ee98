//! What goes on by itself while a server runs: seeing changes, looking after keys, forgetting what is over.

use std::sync::Arc;
use std::time::Duration;

use crate::model::time::{Timestamp, Ttl};
use crate::protocol::throttle::DAY;
use crate::storage::revisions::{self, Revisions};
use crate::storage::{families, login_failures, root_keys};

use super::App;
use super::clock::Steadiness;
use super::database_health::Use;
use super::directory::Directory;
use super::error::AdminError;

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
        tokio::join!(self.watch(), self.keep_asking_for_writes(), self.look_after_keys(), self.forget());
    }

    /// Takes clients, roles and keys as the database has them now, if they changed.
    pub async fn reload(&self) -> Result<(), AdminError> {
        let _one_at_a_time = self.reloading.lock().await;
        let seen = self.directory.load().revisions;
        let now = revisions::read(&self.db).await?;
        if now == seen {
            return Ok(());
        }
        if (now.clients, now.roles) != (seen.clients, seen.roles) {
            let without_keys = Revisions { keys: seen.keys, ..now };
            let directory = Directory::load(&self.db, without_keys).await?;
            self.directory.store(Arc::new(directory));
        }
        if now.keys != seen.keys {
            self.reload_keys().await?;
            self.directory.store(Arc::new(self.directory.load().at(now)));
        }
        Ok(())
    }

    async fn watch(&self) {
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            self.database.ask(Use::Reading, self.reload()).await;
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

    /// Deletes families and failed logins whose time is over at `now`.
    pub async fn purge(&self, now: Timestamp) -> Result<(), AdminError> {
        let mut tx = self.db.begin().await?;
        let over = now.minus(KEEP_ENDED);
        let families = families::purge(&mut tx, over, over.minus(self.policy.families.idle_ttl)).await?;
        let failures = login_failures::purge(&mut tx, now.minus(DAY)).await?;
        root_keys::purge(&mut tx, now).await?;
        tx.commit().await?;
        if families + failures > 0 {
            tracing::debug!(families, failures, "deleted what is over");
        }
        Ok(())
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
