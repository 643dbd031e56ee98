//! Counts failed logins: one conditional statement an attempt, before the password is hashed.

use aws_lc_rs::hmac;

use crate::model::login_failures::Failures;
use crate::protocol::error::TokenError;
use crate::protocol::throttle::{DAY, wait};
use crate::storage::login_failures;

use super::App;
use super::login::SOON;

/// Turns a login name into what is stored of it. People type passwords into the wrong field.
pub(crate) struct AccountHasher(hmac::Key);

impl AccountHasher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    pub(super) fn hash(&self, name: &str) -> [u8; 32] {
        hmac::sign(&self.0, name.as_bytes()).as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }
}

/// A login attempt that has been counted as failed until it turns out otherwise.
pub(super) struct Attempt<'a> {
    account: [u8; 32],
    source: &'a str,
    before: Option<Failures>,
    counted: Failures,
}

impl<'a> Attempt<'a> {
    /// Counts an attempt, or refuses it: the same for names that exist and names that do not.
    pub(super) async fn begin(app: &App, account: [u8; 32], source: &'a str) -> Result<Self, TokenError> {
        // Another request may count in between; after a few rounds somebody is guessing in parallel.
        for _ in 0..4 {
            let now = app.clock.now();
            let before = login_failures::find(&app.db, &account, source).await?;
            if let Some(retry_after) = wait(before.as_ref(), &app.policy.throttle, now) {
                return Err(TokenError::Throttled { retry_after });
            }
            let counted = match before.filter(|failures| now < failures.first_at.plus(DAY)) {
                None => Failures { count: 1, first_at: now, last_at: now },
                Some(failures) => {
                    Failures { count: failures.count.saturating_add(1), last_at: now, ..failures }
                }
            };
            let mut tx = app.db.begin().await?;
            if login_failures::count(&mut tx, &account, source, before.as_ref(), &counted).await? {
                tx.commit().await?;
                return Ok(Self { account, source, before, counted });
            }
        }
        Err(TokenError::Throttled { retry_after: SOON })
    }

    /// Puts the count back: the password was right, or nobody looked at it.
    pub(super) async fn take_back(self, app: &App) -> Result<(), TokenError> {
        let mut tx = app.db.begin().await?;
        match &self.before {
            None => login_failures::forget(&mut tx, &self.account, self.source).await?,
            Some(before) => {
                let counted = Some(&self.counted);
                login_failures::count(&mut tx, &self.account, self.source, counted, before).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }
}
