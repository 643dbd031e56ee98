//! DPoP, RFC 9449: whether a request proves that its sender has a key, at the token endpoint and wherever an access token
//! is presented to this server.
//!
//! A proof is read before anything else and used up last of all: whoever is refused leaves no row.

use crate::keys::public_keys::thumbprint;
use crate::keys::{CompactJws, VerifyingKey};
use crate::model::time::Ttl;
use crate::protocol::bearer::Scheme;
use crate::protocol::dpop::{self, Expected, InvalidProof, Nonce, Refused};
use crate::protocol::error::TokenError;
use crate::storage::StorageError;

use super::App;
use super::used_once::{Once, use_up};

/// Longer than any proof is taken: by its own time for [`dpop::OLDEST`] and a clock that is ahead, by a nonce for two of
/// its steps and one ahead.
const TAKEN_FOR: Ttl = Ttl::from_secs(10 * 60);

/// A proof that holds, and is not used up yet.
#[derive(Clone, Debug)]
pub(super) struct Proven {
    /// The RFC 7638 thumbprint of the key that made it.
    pub(super) jkt: String,
    jti: String,
}

impl Proven {
    /// Uses the proof up; call it when everything else that could be refused is decided.
    pub(super) async fn use_up(&self, app: &App) -> Result<(), TokenError> {
        match self.is_first_use(app).await? {
            true => Ok(()),
            false => Err(TokenError::Dpop(InvalidProof::Replayed)),
        }
    }

    async fn is_first_use(&self, app: &App) -> Result<bool, StorageError> {
        // By key, so that nobody can use up the ids of others.
        let once = Once::DpopProof { jkt: &self.jkt, jti: &self.jti };
        Box::pin(use_up(app, once, app.clock.now().plus(TAKEN_FOR))).await
    }
}

/// A request for something that an access token gives access to.
#[derive(Clone, Copy, Debug)]
pub struct ResourceRequest<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its address below the issuer, such as `/userinfo`.
    pub path: &'a str,
    /// The values of its `DPoP` headers.
    pub proofs: &'a [&'a [u8]],
    /// How it presents the access token.
    pub scheme: Scheme,
    /// The access token, which is good otherwise.
    pub access_token: &'a str,
    /// The `cnf.jkt` of the access token.
    pub jkt: Option<&'a str>,
}

impl App {
    /// The nonce that proofs are to be made with from now on, RFC 9449 §8.2.
    pub fn dpop_nonce(&self) -> String {
        self.dpop_nonces.at(self.clock.now())
    }

    /// The proof that comes with a token request, if there is one, RFC 9449 §5.
    pub(super) fn read_proof(&self, proofs: &[&[u8]]) -> Result<Option<Proven>, InvalidProof> {
        self.prove("POST", "/token", proofs, None)
    }

    /// Whether whoever presents an access token has the key that it is bound to, RFC 9449 §7. To be asked last, when the
    /// token is known to be good: the proof is used up by it.
    ///
    /// # Errors
    /// If it is not so, or cannot be known now.
    pub async fn check_possession(&self, request: &ResourceRequest<'_>) -> Result<(), Refused> {
        let ResourceRequest { method, path, proofs, scheme, access_token, jkt } = *request;
        let jkt = match (scheme, jkt) {
            (Scheme::Bearer, None) => return Ok(()),
            // RFC 9449 §7.2: else a stolen token would be as good as before.
            (Scheme::Bearer, Some(_)) | (Scheme::Dpop, None) => return Err(Refused::Scheme),
            (Scheme::Dpop, Some(jkt)) => jkt,
        };
        let proven = self.prove(method, path, proofs, Some(access_token))?.ok_or(InvalidProof::Missing)?;
        if proven.jkt != jkt {
            return Err(InvalidProof::OtherKey.into());
        }
        match proven.is_first_use(self).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(InvalidProof::Replayed.into()),
            Err(error) => Err(Refused::Unavailable(error.to_string())),
        }
    }

    /// RFC 9449 §4.3.
    fn prove(
        &self,
        method: &str,
        path: &str,
        proofs: &[&[u8]],
        access_token: Option<&str>,
    ) -> Result<Option<Proven>, InvalidProof> {
        let Some(proof) = dpop::single(proofs)? else { return Ok(None) };
        let jws =
            CompactJws::read(proof, dpop::LONGEST).map_err(|why| InvalidProof::Unreadable(why.as_str()))?;
        let jwk = dpop::key(&jws.header)?;
        let jkt = thumbprint(jwk.key());
        let now = self.clock.now();
        // RFC 9449 §8: one that is there must be ours, whether or not there must be one.
        let nonce = match dpop::nonce(&jws.claims)? {
            Some(nonce) if self.dpop_nonces.is_fresh(nonce, now) => Nonce::Fresh,
            None if !self.policy.dpop_require_nonce => Nonce::None,
            Some(_) | None => return Err(InvalidProof::Nonce),
        };
        let uri = format!("{}{path}", self.policy.issuer);
        let expected = Expected { method, uri: &uri, access_token, now };
        let jti = dpop::judge(&jws.claims, nonce, &expected)?.to_owned();
        // Last, because it costs the most, and who sends it has chosen the key.
        VerifyingKey::new(jwk).verify(&jws).map_err(|why| InvalidProof::Signature(why.as_str()))?;
        Ok(Some(Proven { jkt, jti }))
    }
}
