//! Which live access token of ours is this? What introspection, revocation and userinfo all ask first.
//!
//! A verdict is never kept. What is kept is that a text was signed by one of our keys and what it says. Whether that key is still published, the token's time is now, it was revoked and its client may
//! act is judged anew each time, from memory, so that it goes on without the database.

use std::mem::size_of;
use std::sync::Arc;

use aws_lc_rs::digest;
use serde_json::{Map, Value};

use crate::keys::{Expectations, Genuine, NotValid, Proof};
use crate::model::api_key::ApiKeyId;
use crate::model::id::{ClientId, UserId};
use crate::model::status::StatusIndex;
use crate::model::time::Ttl;
use crate::protocol::introspection::active_access_token;
use crate::protocol::token_id::status_indexes_of;

use super::App;

/// How far the clock of the instance that issued a token may be ahead of ours. It is for `iat` alone, which says when
/// a token was made and not when it is good; `exp` and `nbf` are judged by our own clock without any skew.
const CLOCK_SLACK: Ttl = Ttl::from_secs(60);

/// SHA-256 of a token's whole text. Its signature is part of that, so that only the text that was verified is found.
pub(crate) type TokenDigest = [u8; 32];

/// An access token of ours, genuine when it was read.
#[derive(Debug)]
pub(crate) struct AccessToken {
    proof: Proof,
    /// What it is revoked by.
    pub(super) status_index: StatusIndex,
    /// By these too: those of the clients that act with it.
    actor_indexes: Box<[StatusIndex]>,
    /// The client it was issued to.
    pub(super) client_id: ClientId,
    /// The user it stands for; `None` where it stands for a client.
    pub(super) user_id: Option<UserId>,
    /// Who it is for.
    pub(super) audience: Box<[Box<str>]>,
    /// Whether it was exchanged for another (RFC 8693), whose index it has.
    pub(super) is_exchanged: bool,
    /// What it allows: names separated by single spaces.
    pub(super) scope: Box<str>,
    /// The thumbprint of the key whose holder alone it is good for (RFC 9449 §6).
    pub(super) jkt: Option<Box<str>>,
    /// What introspection says of it while it is live.
    pub(super) introspection: Box<str>,
}

/// Why a text is no live access token. The caller learns none of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotLive {
    /// Not ours, not an access token, or not now.
    #[error(transparent)]
    NotValid(#[from] NotValid),
    /// The key that signed it is not published any more.
    #[error("its signing key was retired")]
    KeyRetired,
    /// Its session or its client was cut off.
    #[error("it was revoked")]
    Revoked,
    /// Its client was deleted or is switched off, or its API key has ended.
    #[error("its client or API key does not exist or is disabled")]
    Client,
}

impl App {
    /// The access token that `jwt` is, if it is live at this moment.
    pub(super) fn live_access_token(&self, jwt: &str) -> Result<Arc<AccessToken>, NotLive> {
        let token = self.genuine_access_token(jwt)?;
        if !self.ring.load().stands_by(&token.proof) {
            return Err(NotLive::KeyRetired);
        }
        token.proof.is_current(self.clock.now())?;
        if self.is_revoked(&token) {
            return Err(NotLive::Revoked);
        }
        if !self.may_act(&token.client_id) {
            return Err(NotLive::Client);
        }
        Ok(token)
    }

    /// Whether whoever a token was issued to is still there: a client, or an API key that was shown to `/verify`.
    fn may_act(&self, id: &ClientId) -> bool {
        match ApiKeyId::of_client_id(id) {
            Some(key) => self.api_keys.load().is_live(key, self.clock.now()),
            None => self.directory.load().client(id).is_some_and(|client| client.is_enabled()),
        }
    }

    fn genuine_access_token(&self, jwt: &str) -> Result<Arc<AccessToken>, NotValid> {
        let digest = digest_of(jwt);
        if let Some(token) = self.verified_tokens.find(&digest) {
            return Ok(token);
        }
        let (issuer, now) = (&self.policy.issuer, self.clock.now());
        let expected = Expectations { issuer, now, clock_skew: CLOCK_SLACK };
        let genuine = self.ring.load().verify(jwt, &expected)?;
        let token = Arc::new(AccessToken::read(genuine)?);
        self.verified_tokens.keep(digest, Arc::clone(&token), token.bytes());
        Ok(token)
    }

    fn is_revoked(&self, token: &AccessToken) -> bool {
        let revocations = self.revocations.load();
        revocations.is_revoked(token.status_index)
            || token.actor_indexes.iter().any(|index| revocations.is_revoked(*index))
    }
}

impl AccessToken {
    fn read(Genuine { claims, proof }: Genuine) -> Result<Self, NotValid> {
        // RFC 9068 §5: what is a user's id is never a client's. A client may stand in `sub` and another one act for it.
        let user_id = match parsed::<UserId>(&claims, "sub") {
            Ok(id) => Some(id),
            // Nor has a client ever logged in.
            Err(wrong) if claims.contains_key("auth_time") => return Err(wrong),
            Err(_) => parsed::<ClientId>(&claims, "sub").map(|_| None)?,
        };
        let audience = match claims.get("aud") {
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(Into::into).collect(),
            Some(Value::String(one)) => [one.as_str().into()].into(),
            _ => return Err(NotValid::Malformed("aud")),
        };
        // What cannot be revoked is never called live: a token of a version that gave it no index.
        let jti = claims.get("jti").and_then(Value::as_str).unwrap_or_default();
        let (status_index, actor_indexes) = status_indexes_of(jti).ok_or(NotValid::Malformed("jti"))?;
        Ok(Self {
            status_index,
            actor_indexes: actor_indexes.into(),
            client_id: parsed(&claims, "client_id")?,
            user_id,
            audience,
            scope: claims.get("scope").and_then(Value::as_str).unwrap_or_default().into(),
            jkt: bound_to(&claims)?,
            is_exchanged: claims.contains_key("act"),
            introspection: active_access_token(&claims).into(),
            proof,
        })
    }

    /// About how much memory it takes; whatever is in it is in `introspection` too.
    fn bytes(&self) -> usize {
        size_of::<Self>() + 4 * self.introspection.len()
    }
}

/// What is bound in a way that is not known here is good for nobody.
fn bound_to(claims: &Map<String, Value>) -> Result<Option<Box<str>>, NotValid> {
    let Some(cnf) = claims.get("cnf") else { return Ok(None) };
    let jkt = cnf.get("jkt").and_then(Value::as_str).ok_or(NotValid::Malformed("cnf"))?;
    Ok(Some(jkt.into()))
}

fn parsed<T: std::str::FromStr>(claims: &Map<String, Value>, name: &'static str) -> Result<T, NotValid> {
    let text = claims.get(name).and_then(Value::as_str).ok_or(NotValid::Malformed(name))?;
    text.parse().map_err(|_| NotValid::Malformed(name))
}

fn digest_of(jwt: &str) -> TokenDigest {
    let digest = digest::digest(&digest::SHA256, jwt.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}
