//! The crypto provider that `jsonwebtoken::encode` signs through: private keys are parsed once and
//! found by a handle, instead of being parsed for every token. Must not know of rings, states or claims.
//!
//! jsonwebtoken builds a signer from an `EncodingKey` for each token. Here that key carries a handle
//! and no secret; the factory looks the parsed key up. A key stays registered while some
//! [`Registered`] of it lives, so several servers and several copies of one key share a process, and
//! nothing stays behind.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, aws_lc};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer};
use jsonwebtoken::{Algorithm, EncodingKey};

use super::algorithm::PrivateKey;

/// Somebody else's provider signs in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "jsonwebtoken was used in this process before grantd installed its own crypto provider, so it would not find grantd's signing keys: call grantd::keys::install() first"
)]
pub struct ForeignProvider;

/// Makes jsonwebtoken sign with the keys registered here. Every way to a signing key calls it; call
/// it yourself only to be first. Safe to call from many threads and any number of times.
///
/// # Errors
/// If jsonwebtoken has settled on another provider already, which it does at its first use.
pub fn install() -> Result<(), ForeignProvider> {
    static PROVIDER: LazyLock<CryptoProvider> = LazyLock::new(|| CryptoProvider {
        signer_factory: registered_signer,
        ..aws_lc::DEFAULT_PROVIDER.clone()
    });
    // jsonwebtoken takes one provider per process and never says which; what counts is that the one
    // attempt made here succeeded. Never fall back to the default one: it would take the handle for a key.
    static IS_OURS: LazyLock<bool> = LazyLock::new(|| LazyLock::force(&PROVIDER).install_default().is_ok());
    if *IS_OURS { Ok(()) } else { Err(ForeignProvider) }
}

/// A private key that jsonwebtoken can sign with as long as this value lives.
#[derive(Debug)]
pub(super) struct Registered {
    handle: Vec<u8>,
    algorithm: Algorithm,
    key: PrivateKey,
}

impl Registered {
    /// Registers `key` under `handle`, or gives the one that is registered there already. A handle names
    /// a public key and an algorithm, so both are the same key.
    pub(super) fn new(handle: Vec<u8>, algorithm: Algorithm, key: PrivateKey) -> Arc<Self> {
        let mut registry = write();
        if let Some(registered) = registry.get(handle.as_slice()).and_then(Weak::upgrade) {
            return registered;
        }
        let registered = Arc::new(Self { handle: handle.clone(), algorithm, key });
        registry.insert(handle, Arc::downgrade(&registered));
        registered
    }

    /// What jsonwebtoken calls its algorithm.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut registry = write();
        // Another copy may have registered itself anew since this one's count reached zero.
        if registry.get(self.handle.as_slice()).is_some_and(|found| found.strong_count() == 0) {
            registry.remove(self.handle.as_slice());
        }
    }
}

type Registry = HashMap<Vec<u8>, Weak<Registered>>;

static REGISTRY: LazyLock<RwLock<Registry>> = LazyLock::new(RwLock::default);

// A panic elsewhere cannot leave the map half changed, so a poisoned lock is as good as a sound one.
fn read() -> RwLockReadGuard<'static, Registry> {
    REGISTRY.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> RwLockWriteGuard<'static, Registry> {
    REGISTRY.write().unwrap_or_else(PoisonError::into_inner)
}

/// jsonwebtoken's question: who signs with `algorithm` under this key? Only who is registered.
fn registered_signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    // The guard is gone before anything can be dropped that would take the lock again.
    let found = read().get(key.as_bytes()).and_then(Weak::upgrade);
    match found {
        Some(registered) if registered.algorithm == *algorithm => Ok(Box::new(ByHandle(registered))),
        _ => Err(ErrorKind::InvalidKeyFormat.into()),
    }
}

struct ByHandle(Arc<Registered>);

impl Signer<Vec<u8>> for ByHandle {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        self.0.key.sign(message).map_err(signature::Error::from_source)
    }
}

impl JwtSigner for ByHandle {
    fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use serde_json::json;

    use super::super::algorithm::row;
    use super::super::signing::{KeyError, SigningKey};
    use super::*;
    use crate::model::key::SigningAlgorithm;

    fn is_registered(handle: &[u8]) -> bool {
        read().contains_key(handle)
    }

    fn registered(handle: &[u8]) -> Arc<Registered> {
        let (key, _) = row(SigningAlgorithm::Es256).generate().expect("made");
        Registered::new(handle.to_vec(), Algorithm::ES256, key)
    }

    #[test]
    fn a_key_stays_registered_until_its_last_copy_is_gone() {
        let one = registered(b"lives");
        let two = registered(b"lives");
        assert!(Arc::ptr_eq(&one, &two), "both copies are the same key");

        drop(one);
        assert!(is_registered(b"lives"));
        drop(two);
        assert!(!is_registered(b"lives"));
    }

    #[test]
    fn copies_that_come_and_go_on_many_threads_never_lose_the_key_of_another() {
        install().expect("ours");
        let together = Barrier::new(8);

        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    together.wait();
                    for _ in 0..50 {
                        let copy = registered(b"contended");
                        let key = EncodingKey::from_ec_der(b"contended");
                        assert!(registered_signer(&Algorithm::ES256, &key).is_ok());
                        drop(copy);
                    }
                });
            }
        });

        assert!(!is_registered(b"contended"));
    }

    #[test]
    fn only_registered_keys_sign_and_only_with_their_algorithm() {
        let _alive = registered(b"es256");
        let signer = |algorithm, key: &EncodingKey| {
            registered_signer(&algorithm, key).map(|signer| signer.algorithm())
        };

        let key = EncodingKey::from_ec_der(b"es256");
        assert_eq!(signer(Algorithm::ES256, &key), Ok(Algorithm::ES256));
        assert!(signer(Algorithm::ES384, &key).is_err());
        assert!(signer(Algorithm::HS256, &EncodingKey::from_secret(b"es256")).is_err());
        assert!(signer(Algorithm::ES256, &EncodingKey::from_ec_der(b"another")).is_err());
        let (_, pkcs8) = row(SigningAlgorithm::Es256).generate().expect("made");
        assert!(signer(Algorithm::ES256, &EncodingKey::from_ec_der(&pkcs8)).is_err());
    }

    #[test]
    fn many_threads_may_install_at_once() {
        let together = Barrier::new(16);

        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    together.wait();
                    assert_eq!(install(), Ok(()));
                    let (key, _) = SigningKey::generate(SigningAlgorithm::EdDsa).expect("made");
                    assert!(key.sign("at+jwt", &json!({"sub": "a"})).is_ok());
                });
            }
        });
    }

    /// A provider is for a whole process, so the story takes place in a process of its own: this test
    /// runs itself again with a mark in the environment.
    #[test]
    fn a_provider_that_was_installed_before_ours_is_an_error_and_no_fallback() {
        const MARK: &str = "FOREIGN_PROVIDER_COMES_FIRST";
        const NAME: &str =
            "keys::provider::tests::a_provider_that_was_installed_before_ours_is_an_error_and_no_fallback";
        if std::env::var_os(MARK).is_none() {
            let this = std::env::current_exe().expect("this program");
            let run = std::process::Command::new(this).args(["--exact", NAME]).env(MARK, "1").output();
            let run = run.expect("started");
            let told = String::from_utf8_lossy(&run.stdout);
            assert!(run.status.success() && told.contains("1 passed"), "{told}");
            return;
        }

        aws_lc::DEFAULT_PROVIDER.install_default().expect("the first in this process");

        assert_eq!(install(), Err(ForeignProvider));
        assert_eq!(install(), Err(ForeignProvider));
        let (_, pkcs8) = row(SigningAlgorithm::Es256).generate().expect("made");
        let made = SigningKey::generate(SigningAlgorithm::Es256);
        let parsed = SigningKey::parse(SigningAlgorithm::Es256, &pkcs8);
        assert!(matches!(made, Err(KeyError::ForeignProvider(_))));
        assert!(matches!(parsed, Err(KeyError::ForeignProvider(_))));
    }
}
