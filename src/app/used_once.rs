//! Things that are used once over all instances: the ids of client assertions and of DPoP proofs.

use aws_lc_rs::digest::{SHA256, digest};

use crate::model::time::{Timestamp, Ttl};
use crate::storage::{StorageError, Tx, used_ids};

use super::App;
use super::refresh::decide_by;

/// How much longer than it is good a used id is remembered: an instance whose clock is behind may still take it when one
/// whose clock is right forgets it.
pub(super) const KEEP_USED: Ttl = Ttl::from_secs(60 * 60);

/// What is used once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Once<'a> {
    /// The id of an assertion, among all of its client.
    ClientAssertion {
        /// Whose it is.
        client: &'a str,
        /// Its `jti`.
        jti: &'a str,
    },
    /// The id of a DPoP proof, among all of its key.
    DpopProof {
        /// The thumbprint of the key.
        jkt: &'a str,
        /// Its `jti`.
        jti: &'a str,
    },
}

impl Once<'_> {
    /// A name of fixed length for what has any length. The parts are kept apart by a byte that no client id and no thumbprint
    /// contains.
    fn id(self) -> [u8; 32] {
        let name = match self {
            Self::ClientAssertion { client, jti } => format!("client assertion\0{client}\0{jti}"),
            Self::DpopProof { jkt, jti } => format!("dpop proof\0{jkt}\0{jti}"),
        };
        digest(&SHA256, name.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// Uses something up; `false` if it was used before. Call it only for what somebody proved to have made, because each
/// leaves a row. What was used is so after a power cut too.
///
/// # Errors
/// If the database does not say that it is so: then nobody may count it as used for the first time.
pub(super) async fn use_up(app: &App, what: Once<'_>, expires_at: Timestamp) -> Result<bool, StorageError> {
    let id = what.id();
    let first = decide_by(app, move |mut tx: Tx| async move {
        let used = used_ids::use_up(&mut tx, &id, expires_at).await;
        (tx, used.map(|first| first.then_some(())))
    });
    Ok(first.await?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_of_one_client() {
        let of = |client, jti| Once::ClientAssertion { client, jti }.id();

        assert_eq!(of("a", "1"), of("a", "1"));
        assert_ne!(of("a", "1"), of("b", "1"));
        assert_ne!(of("a", "b1"), of("ab", "1"));
        assert_ne!(of("a", "1"), Once::DpopProof { jkt: "a", jti: "1" }.id());
    }
}
