//! The end of a family whose replaced token was presented (RFC 9700 §4.14.2), and its row in the audit.
//!
//! Everything else that cannot be written to the audit does not happen: an operator is told, and mends it. Nobody
//! stands behind this act, and putting it off leaves the session to the thief. So the family ends even without its
//! row, the answer is 503 because not all was done, and the row is owed: the family says so itself, and the row is
//! written as soon as the audit takes it again.

use crate::model::audit::{Act, Actor};
use crate::model::session::{Family, RevocationReason};
use crate::model::time::Timestamp;
use crate::protocol::error::TokenError;
use crate::storage::families::Which;
use crate::storage::{Tx, families};

use super::App;
use super::audit::AuditError;
use super::error::AdminError;

/// Ends a family under audit; who comes second finds it ended and does nothing.
pub(super) async fn end_family(
    app: &App,
    mut tx: Tx,
    family: &Family,
    source: &str,
    now: Timestamp,
) -> Result<(), TokenError> {
    if families::revoke(&mut tx, Which::Family(family.id), RevocationReason::Reuse, now).await? == 0 {
        return Ok(tx.rollback().await?);
    }
    let actor = Actor::Client(family.client_id.clone());
    let recorded = app.commit_as(&actor, tx, &[detected(family, Some(source.to_owned()))]).await;
    metrics::counter!("grantd_refresh_reuse_total").increment(1);
    let Err(AuditError::Unwritable(cause)) = recorded else {
        recorded?;
        app.learn_what_was_revoked(family.status_index).await;
        return Ok(());
    };

    let mut tx = app.db.begin().await?;
    let reason = RevocationReason::ReuseUnrecorded;
    families::revoke(&mut tx, Which::Family(family.id), reason, now).await?;
    tx.commit().await?;
    app.learn_what_was_revoked(family.status_index).await;
    tracing::error!(
        family_id = %family.id, client_id = %family.client_id, user_id = %family.user_id, source, %cause,
        "a session ended by reuse and is not in the audit: 'grantd audit verify' says what is wrong with it"
    );
    Err(TokenError::Unavailable(format!("the audit cannot be written: {cause}")))
}

impl App {
    /// Writes the rows that are owed, each once, whichever instance does it.
    pub async fn record_reuse(&self) -> Result<(), AdminError> {
        for id in families::unrecorded(&self.db).await? {
            let Some(family) = families::find(&self.db, id).await? else { continue };
            let mut tx = self.db.begin().await?;
            if families::set_recorded(&mut tx, id).await? {
                self.commit(tx, &[detected(&family, None)]).await?;
            } else {
                tx.rollback().await?;
            }
        }
        Ok(())
    }
}

fn detected(family: &Family, source: Option<String>) -> Act {
    Act::SessionReuseDetected {
        family: family.id,
        client: family.client_id.clone(),
        user: family.user_id,
        source,
    }
}
