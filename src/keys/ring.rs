//! The keys in force at one moment, as one immutable value that is exchanged whole. Must not know when
//! a key changes its state, nor where keys come from.

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::jwks::JwksDocument;
use super::signing::SigningKey;
use super::verification::{self, Expectations, Inspection, NotValid};
use crate::model::key::{KeyState, SigningAlgorithm, SigningKeyInfo};

/// All published keys: those that will sign, sign, or have signed tokens that are still good.
#[derive(Debug)]
pub struct KeyRing {
    /// In the order of the JWK set, each key id once.
    keys: Vec<(Arc<SigningKey>, SigningKeyInfo)>,
    jwks: JwksDocument,
}

impl KeyRing {
    /// A ring of the keys that are to be published. What a key says of itself (id and algorithm)
    /// counts more than what was written down about it.
    pub fn new(mut keys: Vec<(Arc<SigningKey>, SigningKeyInfo)>) -> Self {
        for (key, info) in &mut keys {
            info.kid = key.kid().clone();
            info.algorithm = key.algorithm();
        }
        // Every instance must publish the same bytes, whatever order its database gave the rows in.
        keys.sort_by_cached_key(|(_, info)| (rank(info.state), info.created_at, info.kid.clone()));
        let mut seen = std::collections::HashSet::new();
        keys.retain(|(_, info)| seen.insert(info.kid.clone()));

        let jwks = JwksDocument::render(keys.iter().map(|(key, _)| key.jwk()));
        Self { keys, jwks }
    }

    /// The key that signs with `algorithm` now. While instances disagree for a moment there may be two
    /// active ones; then all choose the newest.
    pub fn signer(&self, algorithm: SigningAlgorithm) -> Option<&Arc<SigningKey>> {
        self.keys
            .iter()
            .filter(|(_, info)| info.algorithm == algorithm)
            .filter_map(|(key, info)| match info.state {
                KeyState::Active { since } => Some((since, &info.kid, key)),
                KeyState::Pending { .. } | KeyState::Retired { .. } => None,
            })
            .max_by_key(|(since, kid, _)| (*since, Reverse(*kid)))
            .map(|(_, _, key)| key)
    }

    /// The algorithms that some key signs with now, in the order of [`SigningAlgorithm::ALL`].
    pub fn algorithms(&self) -> Vec<SigningAlgorithm> {
        SigningAlgorithm::ALL.into_iter().filter(|algorithm| self.signer(*algorithm).is_some()).collect()
    }

    /// The published key with this id, if there is one.
    pub fn find(&self, kid: &str) -> Option<&Arc<SigningKey>> {
        self.keys.iter().find(|(key, _)| key.kid().as_str() == kid).map(|(key, _)| key)
    }

    /// Every published key without its private half: active ones first, then pending, then retired.
    pub fn published(&self) -> impl Iterator<Item = &SigningKeyInfo> {
        self.keys.iter().map(|(_, info)| info)
    }

    /// The JWK set of all published keys, in the same order.
    pub fn jwks(&self) -> &JwksDocument {
        &self.jwks
    }

    /// The claims of an access token, if everything about it holds.
    ///
    /// # Errors
    /// The first thing that does not hold. Nothing of a token that fails is ever returned.
    pub fn verify(&self, jwt: &str, expected: &Expectations<'_>) -> Result<Map<String, Value>, NotValid> {
        self.inspect(jwt, expected).into_claims()
    }

    /// Everything that holds and does not hold of an access token, for a person to read.
    pub fn inspect(&self, jwt: &str, expected: &Expectations<'_>) -> Inspection {
        verification::inspect(jwt, expected, |kid| self.find(kid).map(Arc::as_ref))
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
    use serde_json::json;

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

    fn entry(
        algorithm: SigningAlgorithm,
        state: KeyState,
        created: i64,
    ) -> (Arc<SigningKey>, SigningKeyInfo) {
        let (key, _) = SigningKey::generate(algorithm).expect("made");
        let info = SigningKeyInfo {
            kid: key.kid().clone(),
            algorithm,
            state,
            created_at: at(created),
            longest_ttl: crate::model::time::Ttl::ZERO,
        };
        (Arc::new(key), info)
    }

    #[test]
    fn the_active_key_of_the_asked_algorithm_signs() {
        let wanted = entry(SigningAlgorithm::Es256, active(100), 1);
        let kid = wanted.1.kid.clone();
        let ring = KeyRing::new(vec![
            entry(SigningAlgorithm::Es256, PENDING, 3),
            wanted,
            entry(SigningAlgorithm::Es256, RETIRED, 0),
            entry(SigningAlgorithm::EdDsa, active(200), 4),
            entry(SigningAlgorithm::Es384, PENDING, 4),
        ]);

        assert_eq!(ring.signer(SigningAlgorithm::Es256).expect("one").kid(), &kid);
        assert!(ring.signer(SigningAlgorithm::Es384).is_none(), "a pending key does not sign");
        assert!(ring.signer(SigningAlgorithm::Rs256).is_none());
        assert_eq!(ring.algorithms(), [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa]);
    }

    #[test]
    fn of_several_active_keys_all_instances_choose_the_same() {
        let old = entry(SigningAlgorithm::EdDsa, active(100), 9);
        let new = entry(SigningAlgorithm::EdDsa, active(200), 1);
        let same_age = entry(SigningAlgorithm::EdDsa, active(200), 2);
        let expected = new.1.kid.clone().min(same_age.1.kid.clone());
        let keys = [old, new, same_age];

        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]] {
            let ring = KeyRing::new(order.iter().map(|i| keys[*i].clone()).collect());

            assert_eq!(ring.signer(SigningAlgorithm::EdDsa).expect("one").kid(), &expected);
        }
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
        let expected: Vec<_> = keys.iter().map(|(key, _)| key.kid().as_str().to_owned()).collect();
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
        let again = (Arc::clone(&one.0), SigningKeyInfo { state: RETIRED, ..one.1.clone() });

        let ring = KeyRing::new(vec![again, one.clone()]);

        assert_eq!(ring.published().collect::<Vec<_>>(), [&one.1]);
    }

    #[test]
    fn what_any_key_signs_verifies_from_the_published_document_alone() {
        let ring = KeyRing::new(
            SigningAlgorithm::ALL.map(|algorithm| entry(algorithm, active(1), 1)).into_iter().collect(),
        );
        let set: JwkSet = serde_json::from_slice(&ring.jwks().body).expect("json");

        for algorithm in SigningAlgorithm::ALL {
            let claims = json!({"sub": algorithm.as_str(), "exp": 4_102_444_800_u32});
            let token = ring.signer(algorithm).expect("one").sign("at+jwt", &claims).expect("signed");

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

        assert!(ring.find(one.1.kid.as_str()).is_some());
        assert!(ring.find("").is_none());
        assert!(ring.find(&one.1.kid.as_str()[1..]).is_none());
    }
}
