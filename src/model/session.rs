//! Refresh-token families: one login of one user at one client, and all tokens that follow from it. A client that may
//! not refresh gets no refresh token; its families end with their access token.

use super::id::{ClientId, FamilyId, UserId};
use super::resource::Audience;
use super::scope::Scope;
use super::status::StatusIndex;
use super::time::Timestamp;

/// Why a family was ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationReason {
    /// A refresh token was presented that had been replaced (RFC 9700 §4.14.2).
    Reuse,
    /// The same, and its row in the audit is still owed: writing it failed, and the family could not wait.
    ReuseUnrecorded,
    /// An operator ended it.
    Operator,
    /// Its client gave a token of it back (RFC 7009).
    Client,
    /// Its user was switched off.
    UserDisabled,
    /// Its client was switched off.
    ClientDisabled,
    /// Its user's password was set anew.
    PasswordChanged,
}

impl RevocationReason {
    /// Every reason, to read one back from the database.
    pub const ALL: [Self; 7] = [
        Self::Reuse,
        Self::ReuseUnrecorded,
        Self::Operator,
        Self::Client,
        Self::UserDisabled,
        Self::ClientDisabled,
        Self::PasswordChanged,
    ];

    /// The name that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reuse => "reuse",
            Self::ReuseUnrecorded => "reuse_unrecorded",
            Self::Operator => "operator",
            Self::Client => "client",
            Self::UserDisabled => "user_disabled",
            Self::ClientDisabled => "client_disabled",
            Self::PasswordChanged => "password_changed",
        }
    }
}

/// A refresh-token family. Its tokens are computed from `secret`, not stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Family {
    /// Its id, part of each of its tokens.
    pub id: FamilyId,
    /// The client it belongs to.
    pub client_id: ClientId,
    /// The user it belongs to.
    pub user_id: UserId,
    /// What the first request asked for; a refresh may name any of it.
    pub requested: Scope,
    /// What the first request was granted; a refresh gets at most this.
    pub granted: Scope,
    /// The audiences of the first request; empty means the server's default.
    pub audience: Vec<Audience>,
    /// 32 random bytes that the tokens are derived from, together with a key of the server's.
    pub secret: FamilySecret,
    /// The generation of the one live token; the first is 0.
    pub generation: u32,
    /// How often the live token was handed out again because an answer was lost.
    pub retries: u32,
    /// The network address that the live token was first asked for from.
    pub source: String,
    /// The thumbprint of the key that its tokens are bound to (RFC 9449 §5), of public clients that use DPoP.
    pub jkt: Option<String>,
    /// The last time that the live token was handed out again to somebody elsewhere.
    pub strange: Option<StrangeRetry>,
    /// When the user gave their password.
    pub auth_time: Timestamp,
    /// When the live token was issued.
    pub rotated_at: Timestamp,
    /// When the family ends, used or not.
    pub expires_at: Timestamp,
    /// What all of its tokens carry, to be revoked by. `None` where a server of a version without indexes began it, beside
    /// one that had migrated the database: then it gets one before its next token.
    pub status_index: Option<StatusIndex>,
    /// Since when and why it is ended.
    pub revoked: Option<(Timestamp, RevocationReason)>,
}

/// A lost answer that was asked for from elsewhere than the token it replaced: a client that moved, or a thief.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrangeRetry {
    /// The generation that was handed out again.
    pub generation: u32,
    /// In how many generations in a row, up to this one, that happened.
    pub in_a_row: u32,
}

/// The random bytes of a family; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct FamilySecret(pub [u8; 32]);

impl std::fmt::Debug for FamilySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FamilySecret(..)")
    }
}

impl std::fmt::Debug for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Family")
            .field("id", &self.id)
            .field("generation", &self.generation)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}
