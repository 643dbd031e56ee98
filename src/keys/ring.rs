//! The keys in force at one moment, as one immutable value that is exchanged whole. Must not know when
//! a key changes its state, nor where keys come from.

use std::cmp::Reverse;
use std::sync::Arc;

use super::jwks::JwksDocument;
use super::signing::SigningKey;
use super::verification::{self, Expectations, Genuine, Inspection, NotValid, Proof};
use crate::model::key::{KeyState, SigningAlgorithm, SigningKeyInfo};
use crate::model::time::Timestamp;

/// All published keys: those that will sign, sign, or have signed tokens that are still good.
#[derive(Debug)]
pub struct KeyRing {
    /// In the order of the JWK set, each key id once.
    keys: Vec<PublishedKey>,
    jwks: JwksDocument,
}

/// A key in the JWK set of this instance.
#[derive(Clone, Debug)]
pub struct PublishedKey {
    /// The key itself.
    pub key: Arc<SigningKey>,
    /// What is written down about it.
    pub info: SigningKeyInfo,
    /// Since when this instance has published it, by a clock that does not jump.
    pub seen_at: Timestamp,
    /// From when on this instance signs with it, by the same clock, if it is active.
    pub signs_from: Timestamp,
}

impl KeyRing {
    /// A ring of the keys that are to be published. What a key says of itself (id and algorithm)
    /// counts more than what was written down about it.
    pub fn new(mut keys: Vec<PublishedKey>) -> Self {
        for PublishedKey { key, info, .. } in &mut keys {
            info.kid = key.kid().clone();
            info.algorithm = key.algorithm();
        }
        // Every instance must publish the same bytes, whatever order its database gave the rows in.
        keys.sort_by_cached_key(|published| {
            let info = &published.info;
            (rank(info.state), info.created_at, info.kid.clone())
        });
        let mut seen = std::collections::HashSet::new();
        keys.retain(|published| seen.insert(published.info.kid.clone()));

        let jwks = JwksDocument::render(keys.iter().map(|published| published.key.jwk()));
        Self { keys, jwks }
    }

    /// The key that signs with `algorithm` at `now`: the active one, as soon as this instance may sign with it; until
    /// then the newest retired one that stays published for as long as what it signs now. If there is none, the
    /// active one, because no token at all is worse than one that some verifiers do not know yet.
    ///
    /// While instances disagree for a moment there may be two active ones; then all choose the newest.
    pub fn signer(&self, algorithm: SigningAlgorithm, now: Timestamp) -> Option<&Arc<SigningKey>> {
        let of_it = || self.keys.iter().filter(|published| published.info.algorithm == algorithm);
        let active = of_it()
            .filter_map(|published| match published.info.state {
                KeyState::Active { since } => Some((since, published)),
                KeyState::Pending { .. } | KeyState::Retired { .. } => None,
            })
            .max_by_key(|(since, published)| (*since, Reverse(&published.info.kid)))
            .map(|(_, published)| published)?;
        if active.signs_from <= now {
            return Some(&active.key);
        }
        let retired = of_it()
            .filter_map(|published| match published.info.state {
                KeyState::Retired { since, until } => Some((since, until, published)),
                KeyState::Active { .. } | KeyState::Pending { .. } => None,
            })
            .max_by_key(|(since, _, published)| (*since, Reverse(&published.info.kid)))
            .filter(|(_, until, published)| now.plus(published.info.longest_ttl) <= *until)
            .map(|(_, _, published)| published);
        Some(&retired.unwrap_or(active).key)
    }

    /// The algorithms that some key is active for, in the order of [`SigningAlgorithm::ALL`].
    pub fn algorithms(&self) -> Vec<SigningAlgorithm> {
        let active = |algorithm: &SigningAlgorithm| {
            self.published()
                .any(|info| info.algorithm == *algorithm && matches!(info.state, KeyState::Active { .. }))
        };
        SigningAlgorithm::ALL.into_iter().filter(active).collect()
    }

    /// The published key with this id, if there is one.
    pub fn find(&self, kid: &str) -> Option<&PublishedKey> {
        self.keys.iter().find(|published| published.key.kid().as_str() == kid)
    }

    /// Every published key without its private half: active ones first, then pending, then retired.
    pub fn published(&self) -> impl Iterator<Item = &SigningKeyInfo> {
        self.keys.iter().map(|published| &published.info)
    }

    /// The JWK set of all published keys, in the same order.
    pub fn jwks(&self) -> &JwksDocument {
        &self.jwks
    }

    /// An access token, if everything about it holds, to be kept: what does not change is not looked at twice.
    ///
    /// # Errors
    /// The first thing that does not hold. Nothing of a token that fails is ever returned.
    pub fn verify(&self, jwt: &str, expected: &Expectations<'_>) -> Result<Genuine, NotValid> {
        let mut signer = None;
        let find = |kid: &str| {
            signer = self.find(kid).map(|published| published.key.as_ref());
            signer
        };
        let claims = verification::inspect(jwt, expected, find).into_claims()?;
        Genuine::new(claims, signer.ok_or(NotValid::NoKid)?)
    }

    /// Whether the key that a token was verified with is still published, and for the same algorithm.
    pub fn stands_by(&self, proof: &Proof) -> bool {
        self.find(proof.kid.as_str()).is_some_and(|published| published.key.algorithm() == proof.algorithm)
    }

    /// Everything that holds and does not hold of an access token, for a person to read.
    pub fn inspect(&self, jwt: &str, expected: &Expectations<'_>) -> Inspection {
        verification::inspect(jwt, expected, |kid| self.find(kid).map(|published| published.key.as_ref()))
    }
}

const fn rank(state: KeyState) -> u8 {
    match state {
        KeyState::Active { .. } => 0,
        KeyState::Pending { .. } => 1,
        KeyState::Retired { .. } => 2,
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::model::time::Timestamp;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    const fn active(since: i64) -> KeyState {
        KeyState::Active { since: at(since) }
    }

    const PENDING: KeyState = KeyState::Pending { activates_at: at(1000) };
    const RETIRED: KeyState = KeyState::Retired { since: at(50), until: at(2000) };

    fn entry(algorithm: SigningAlgorithm, state: KeyState, created: i64) -> PublishedKey {
        let (key, _) = SigningKey::generate(algorithm).expect("made");
        let info = SigningKeyInfo {
            kid: key.kid().clone(),
            algorithm,
            state,
            created_at: at(created),
            longest_ttl: crate::model::time::Ttl::ZERO,
        };
        PublishedKey { key: Arc::new(key), info, seen_at: at(0), signs_from: at(0) }
    }

    fn signer(ring: &KeyRing, algorithm: SigningAlgorithm) -> Option<&Arc<SigningKey>> {
        ring.signer(algorithm, at(0))
    }

    #[test]
    fn the_active_key_of_the_asked_algorithm_signs() {
        let wanted = entry(SigningAlgorithm::Es256, active(100), 1);
        let kid = wanted.info.kid.clone();
        let ring = KeyRing::new(vec![
            entry(SigningAlgorithm::Es256, PENDING, 3),
            wanted,
            entry(SigningAlgorithm::Es256, RETIRED, 0),
            entry(SigningAlgorithm::EdDsa, active(200), 4),
            entry(SigningAlgorithm::Es384, PENDING, 4),
        ]);

        assert_eq!(signer(&ring, SigningAlgorithm::Es256).expect("one").kid(), &kid);
        assert!(signer(&ring, SigningAlgorithm::Es384).is_none(), "a pending key does not sign");
        assert!(signer(&ring, SigningAlgorithm::Rs256).is_none());
        assert_eq!(ring.algorithms(), [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa]);
    }

    #[test]
    fn of_several_active_keys_all_instances_choose_the_same() {
        let old = entry(SigningAlgorithm::EdDsa, active(100), 9);
        let new = entry(SigningAlgorithm::EdDsa, active(200), 1);
        let same_age = entry(SigningAlgorithm::EdDsa, active(200), 2);
        let expected = new.info.kid.clone().min(same_age.info.kid.clone());
        let keys = [old, new, same_age];

        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]] {
            let ring = KeyRing::new(order.iter().map(|i| keys[*i].clone()).collect());

            assert_eq!(signer(&ring, SigningAlgorithm::EdDsa).expect("one").kid(), &expected);
        }
    }

    #[test]
    fn a_key_that_was_seen_late_leaves_the_signing_to_the_one_before_while_that_stays_published() {
        let algorithm = SigningAlgorithm::EdDsa;
        let late = PublishedKey { signs_from: at(500), ..entry(algorithm, active(100), 2) };
        let mut before = entry(algorithm, KeyState::Retired { since: at(100), until: at(400) }, 1);
        before.info.longest_ttl = crate::model::time::Ttl::from_secs(50);
        let older = entry(algorithm, KeyState::Retired { since: at(90), until: at(9000) }, 0);
        let kid = |published: &PublishedKey| published.info.kid.clone();
        let (late_kid, before_kid) = (kid(&late), kid(&before));
        let ring = KeyRing::new(vec![older, before, late.clone()]);
        let signs = |ring: &KeyRing, now| ring.signer(algorithm, at(now)).expect("one").kid().clone();

        assert_eq!(signs(&ring, 101), before_kid);
        assert_eq!(signs(&ring, 350), before_kid);
        // What the old key signed now would outlive it in the JWKS, and no token at all is worse than a late one.
        assert_eq!(signs(&ring, 351), late_kid);
        assert_eq!(signs(&ring, 500), late_kid);
        assert_eq!(signs(&KeyRing::new(vec![late]), 101), late_kid);
    }

    #[test]
    fn the_document_lists_active_then_pending_then_retired_whatever_the_order_of_the_rows() {
        let keys = [
            entry(SigningAlgorithm::EdDsa, active(1), 3),
            entry(SigningAlgorithm::Es256, active(1), 4),
            entry(SigningAlgorithm::EdDsa, PENDING, 5),
            entry(SigningAlgorithm::EdDsa, RETIRED, 1),
            entry(SigningAlgorithm::EdDsa, RETIRED, 2),
        ];
        let expected: Vec<_> = keys.iter().map(|published| published.key.kid().as_str().to_owned()).collect();
        let first = KeyRing::new(keys.to_vec());
        let second = KeyRing::new(keys.iter().rev().cloned().collect());

        assert_eq!(first.jwks(), second.jwks());
        let set: JwkSet = serde_json::from_slice(&first.jwks().body).expect("json");
        let kids: Vec<_> = set.keys.iter().filter_map(|jwk| jwk.common.key_id.clone()).collect();
        assert_eq!(kids, expected);
        let listed: Vec<_> = first.published().map(|info| info.kid.as_str().to_owned()).collect();
        assert_eq!(listed, expected);
    }

    #[test]
    fn a_key_named_twice_is_published_once() {
        let one = entry(SigningAlgorithm::Es256, active(1), 1);
        let again =
            PublishedKey { info: SigningKeyInfo { state: RETIRED, ..one.info.clone() }, ..one.clone() };

        let ring = KeyRing::new(vec![again, one.clone()]);

        assert_eq!(ring.published().collect::<Vec<_>>(), [&one.info]);
    }

    #[test]
    fn what_any_key_signs_verifies_from_the_published_document_alone() {
        let ring = KeyRing::new(
            SigningAlgorithm::ALL.map(|algorithm| entry(algorithm, active(1), 1)).into_iter().collect(),
        );
        let set: JwkSet = serde_json::from_slice(&ring.jwks().body).expect("json");

        for algorithm in SigningAlgorithm::ALL {
            let claims = json!({"sub": algorithm.as_str(), "exp": 4_102_444_800_u32});
            let token = signer(&ring, algorithm).expect("one").sign("at+jwt", &claims).expect("signed");

            let header = jsonwebtoken::decode_header(&token).expect("a header");
            let jwk = set.find(header.kid.as_deref().expect("a kid")).expect("published");
            let public = DecodingKey::from_jwk(jwk).expect("a public key");
            let alg: Algorithm = algorithm.as_str().parse().expect("known");
            let read = jsonwebtoken::decode::<Map<String, Value>>(&token, &public, &Validation::new(alg));

            assert_eq!(read.expect("verifies").claims["sub"], algorithm.as_str());
        }
    }

    #[test]
    fn only_published_keys_are_found() {
        let one = entry(SigningAlgorithm::Es256, RETIRED, 1);
        let ring = KeyRing::new(vec![one.clone()]);

        assert!(ring.find(one.info.kid.as_str()).is_some());
        assert!(ring.find("").is_none());
        assert!(ring.find(&one.info.kid.as_str()[1..]).is_none());
    }
}
