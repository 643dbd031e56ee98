//! Families as this instance left them, so that the next refresh of each asks nothing before its one statement.
//!
//! Nothing here is believed: a decision that rests on it is carried out by a statement that asks for the very generation
//! that was seen here, for a family that has not ended, and for users who have not changed since. Whatever else it comes
//! to, a refusal above all, is decided anew on what the database has.

use std::mem::size_of;
use std::sync::Arc;

use crate::model::id::FamilyId;
use crate::storage::families::Owned;

use super::lately::Lately;

/// The families.
#[derive(Default)]
pub(crate) struct KnownFamilies(Lately<FamilyId, Owned>);

impl KnownFamilies {
    /// The family as it was left, if it was lately.
    pub(super) fn find(&self, id: FamilyId) -> Option<Arc<Owned>> {
        self.0.find(&id)
    }

    /// Keeps what was left.
    pub(super) fn keep(&self, owned: Owned) {
        let bytes = bytes(&owned);
        self.0.keep(owned.family.id, Arc::new(owned), bytes);
    }
}

/// About how much memory it takes.
fn bytes(Owned { family, user, .. }: &Owned) -> usize {
    let scopes = family.requested.as_str().len() + family.granted.as_str().len();
    let audience: usize = family.audience.iter().map(|uri| 32 + uri.as_str().len()).sum();
    let roles: usize = user.roles.iter().map(|role| 32 + role.as_str().len()).sum();
    let texts = [
        user.email.as_deref(),
        user.name.as_deref(),
        Some(&user.password_hash),
        Some(user.username.as_str()),
    ];
    let texts: usize = texts.iter().flatten().map(|text| text.len()).sum();
    2 * size_of::<Owned>() + scopes + audience + roles + texts
}
