//! Computes and checks password hashes in memory that is used again.
//!
//! Synchronous and single-threaded: when, where and how many at once is for `threads` to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::stored::{Argon2Hash, Scheme, StoredHash, needs_rehash};
use crate::model::secret::PlainSecret;

/// bcrypt reads no more of a password than this many bytes, its closing NUL included.
const BCRYPT_READS: usize = 72;

/// What one Argon2id hash costs (RFC 9106 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashParams {
    /// Memory in KiB, `m`; at least 8 for each lane.
    pub memory_kib: u32,
    /// Passes over the memory, `t`.
    pub iterations: u32,
    /// Lanes, `p`. They are computed one after the other on one thread.
    pub parallelism: u32,
}

/// A cost that grantd does not pay, with the bounds in its sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "Argon2 with {} KiB of memory, {} iterations and parallelism {} is out of bounds (memory from 8 KiB for each lane to {} KiB, 1 to {} iterations, parallelism 1 to {}, and memory times iterations at most {} KiB)",
    .0.memory_kib, .0.iterations, .0.parallelism,
    HashParams::MAX_MEMORY_KIB, HashParams::MAX_ITERATIONS, HashParams::MAX_PARALLELISM, HashParams::MAX_WORK_KIB
)]
pub struct CostOutOfBounds(pub HashParams);

impl HashParams {
    /// Bytes of salt in a new hash (RFC 9106 §3.1 recommends 16).
    pub const SALT_LENGTH: usize = 16;
    /// Bytes of output in a new hash.
    pub const OUTPUT_LENGTH: usize = 32;
    /// 1 GiB for one login.
    pub const MAX_MEMORY_KIB: u32 = 1024 * 1024;
    /// Passes.
    pub const MAX_ITERATIONS: u32 = 32;
    /// Lanes.
    pub const MAX_PARALLELISM: u32 = 16;
    /// Memory times passes, about three seconds of one core: libsodium's "sensitive" just fits.
    pub const MAX_WORK_KIB: u64 = 4 * 1024 * 1024;

    /// Whether grantd pays this cost, be it from settings or from a hash brought in from elsewhere.
    pub fn check(&self) -> Result<(), CostOutOfBounds> {
        let &Self { memory_kib, iterations, parallelism } = self;
        let work = u64::from(memory_kib).saturating_mul(u64::from(iterations));
        let payable = (1..=Self::MAX_PARALLELISM).contains(&parallelism)
            && (8 * parallelism..=Self::MAX_MEMORY_KIB).contains(&memory_kib)
            && (1..=Self::MAX_ITERATIONS).contains(&iterations)
            && work <= Self::MAX_WORK_KIB;
        if payable { Ok(()) } else { Err(CostOutOfBounds(*self)) }
    }

    fn argon2(&self, output_length: usize) -> Result<Params, argon2::Error> {
        Params::new(self.memory_kib, self.iterations, self.parallelism, Some(output_length))
    }
}

/// Why a hash could not be computed. Never the fault of the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashFailure {
    /// The system gave no memory.
    #[error(
        "there is not enough memory to hash a password: give the server more, or lower passwords.memory_kib"
    )]
    OutOfMemory,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a salt: check its random source")]
    Randomness,
    /// The Argon2 implementation refused its input.
    #[error("Argon2 could not hash a password: {0}")]
    Argon2(#[from] argon2::Error),
    /// The scrypt implementation refused its input.
    #[error("scrypt could not hash a password: set the password anew")]
    Scrypt,
    /// The AES implementation refused its input.
    #[error("AES could not be used to check a password: set the password anew")]
    Aes,
    /// A bug; the panic message stands in the log.
    #[error("hashing a password panicked: this is a bug in grantd, please report it")]
    Panicked,
}

/// Hashes passwords one after the other in one piece of memory.
pub(super) struct Hasher {
    params: HashParams,
    memory: Memory,
    computed: Arc<AtomicU64>,
}

impl Hasher {
    /// A hasher that takes no memory until its first hash, and counts in `computed` what it hashes.
    pub(super) fn new(params: HashParams, computed: Arc<AtomicU64>) -> Self {
        Self { params, memory: Memory::default(), computed }
    }

    /// The Argon2id PHC string of a password, with a fresh salt.
    pub(super) fn hash(&mut self, password: &PlainSecret) -> Result<String, HashFailure> {
        let salt = random_bytes::<{ HashParams::SALT_LENGTH }>()?;
        self.hash_with_salt(password, &salt)
    }

    /// Whether the password is the one behind `stored`; compares in constant time.
    pub(super) fn verify(
        &mut self,
        password: &PlainSecret,
        stored: &StoredHash,
    ) -> Result<bool, HashFailure> {
        match &stored.scheme {
            Scheme::Argon2(hash) => self.verify_argon2(password, hash),
            Scheme::Bcrypt => {
                self.computed.fetch_add(1, Ordering::Relaxed);
                // Longer passwords are cut at 72 bytes, as every bcrypt library of use did when it
                // made the hash; `recognise` has checked the rest, so an error is a mismatch.
                Ok(bcrypt::verify(password.expose(), stored.as_str()).unwrap_or(false))
            }
            Scheme::Foreign(foreign) => {
                self.computed.fetch_add(1, Ordering::Relaxed);
                foreign.matches(password.expose().as_bytes())
            }
        }
    }

    /// A new hash for a password that matched `stored`, if that one is out of date.
    pub(super) fn rehash(
        &mut self,
        password: &PlainSecret,
        stored: &StoredHash,
    ) -> Result<Option<String>, HashFailure> {
        if !needs_rehash(stored, &self.params) {
            return Ok(None);
        }
        // From 72 bytes on, bcrypt says only that the beginnings match: a new hash of this text could
        // fix a mistyped end and lock out the owner of the right one. Such a hash stays.
        if matches!(stored.scheme, Scheme::Bcrypt) && password.expose().len() >= BCRYPT_READS {
            return Ok(None);
        }
        self.hash(password).map(Some)
    }

    /// Gives the memory back, wiped. The next hash takes it anew.
    pub(super) fn release_memory(&mut self) {
        self.memory = Memory::default();
    }

    /// Whether there is memory to give back.
    pub(super) fn holds_memory(&self) -> bool {
        !self.memory.0.is_empty()
    }

    fn hash_with_salt(&mut self, password: &PlainSecret, salt: &[u8]) -> Result<String, HashFailure> {
        let mut output = [0u8; HashParams::OUTPUT_LENGTH];
        let params = self.params.argon2(output.len())?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        self.compute(&argon2, password, salt, &mut output)?;
        phc_string(argon2.params(), salt, &output)
    }

    fn verify_argon2(&mut self, password: &PlainSecret, hash: &Argon2Hash) -> Result<bool, HashFailure> {
        let expected = hash.output.as_bytes();
        let mut output = Zeroizing::new([0u8; Output::MAX_LENGTH]);
        let output = &mut output[..expected.len()];
        let argon2 = Argon2::new(hash.algorithm, hash.version, hash.params.argon2(expected.len())?);
        self.compute(&argon2, password, &hash.salt, output)?;
        Ok(output.ct_eq(expected).into())
    }

    fn compute(
        &mut self,
        argon2: &Argon2<'_>,
        password: &PlainSecret,
        salt: &[u8],
        output: &mut [u8],
    ) -> Result<(), HashFailure> {
        self.computed.fetch_add(1, Ordering::Relaxed);
        let (own, needed) = (self.params.argon2(output.len())?.block_count(), argon2.params().block_count());
        let mut larger;
        let memory = if needed > own {
            // A foreign hash that wants more gets it for this one call.
            larger = Memory::default();
            &mut larger
        } else {
            &mut self.memory
        };
        memory.grow_to(own.max(needed))?;
        argon2.hash_password_into_with_memory(password.expose().as_bytes(), salt, output, &mut *memory.0)?;
        Ok(())
    }
}

/// Argon2's working memory. Wiped when it is given back, because what is left in it after a hash of
/// one pass would let a thief of the memory test guesses for the price of one BLAKE2b.
#[derive(Default)]
struct Memory(Vec<Block>);

impl Memory {
    /// Never shrinks. Every block is written before it is read, so what is in it does not matter.
    fn grow_to(&mut self, blocks: usize) -> Result<(), HashFailure> {
        let missing = blocks.saturating_sub(self.0.len());
        // Not `resize` alone, which ends the process when there is no memory.
        self.0.try_reserve_exact(missing).map_err(|_| HashFailure::OutOfMemory)?;
        self.0.resize(self.0.len() + missing, Block::new());
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for block in &mut self.0 {
            block.zeroize();
        }
    }
}

/// A stored hash that no password matches, for users who do not exist, or have no password yet. As text, which is read
/// for each of them as it is for those who do.
pub fn unknown_password(params: HashParams) -> Result<String, HashFailure> {
    let salt = random_bytes::<{ HashParams::SALT_LENGTH }>()?;
    let output = random_bytes::<{ HashParams::OUTPUT_LENGTH }>()?;
    phc_string(&params.argon2(output.len())?, &salt, &output)
}

fn phc_string(params: &Params, salt: &[u8], output: &[u8]) -> Result<String, HashFailure> {
    let phc = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(|_| argon2::Error::MemoryTooMuch)?,
        salt: Some(Salt::new(salt).map_err(|_| argon2::Error::SaltTooShort)?),
        hash: Some(Output::new(output).map_err(|_| argon2::Error::OutputTooLong)?),
    };
    Ok(phc.to_string())
}

fn random_bytes<const N: usize>() -> Result<[u8; N], HashFailure> {
    let mut bytes = [0u8; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| HashFailure::Randomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::stored::recognise;
    use super::*;

    const CHEAP: HashParams = HashParams { memory_kib: 8, iterations: 1, parallelism: 1 };
    /// crypt(3) of libxcrypt made the bcrypt hashes here.
    const BCRYPT_72: &str = "$2y$04$CCCCCCCCCCCCCCCCCCCCC.mDyzbhj.9K0apb9O/AGMWwoLXiYAu6u";
    const BCRYPT_71: &str = "$2y$04$CCCCCCCCCCCCCCCCCCCCC.ZP48wSDJeZC4KEEZRkahyfLke0vxZNC";

    fn hasher(params: HashParams) -> Hasher {
        Hasher::new(params, Arc::default())
    }

    fn secret(text: &str) -> PlainSecret {
        PlainSecret::new(text.to_owned())
    }

    fn verifies(password: &str, stored: &str) -> bool {
        let stored = recognise(stored).expect("a hash that is taken");
        hasher(CHEAP).verify(&secret(password), &stored).expect("memory")
    }

    #[test]
    fn the_vectors_of_the_argon2_reference_implementation_hold() {
        // phc-winner-argon2, src/test.c: password "password", salt "somesalt".
        let params = HashParams { memory_kib: 256, iterations: 2, parallelism: 2 };
        let ours = hasher(params).hash_with_salt(&secret("password"), b"somesalt").expect("memory");
        assert_eq!(
            ours,
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"
        );

        for stored in [
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
            "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
            "$argon2i$v=16$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY",
            "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY",
            "$argon2d$v=19$m=65536,t=2,p=1$YzI5dFpYTmhiSFFBQUFBQUFBQUFBQQ$Jxy74cswY2mq9y+u+iJcJy8EqOp4t/C7DWDzGwGB3IM",
        ] {
            assert!(verifies("password", stored), "{stored}");
            assert!(!verifies("passwore", stored), "{stored}");
        }
    }

    #[test]
    fn bcrypt_hashes_of_other_systems_are_checked() {
        for (password, stored) in [
            ("correct horse", "$2a$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"),
            ("correct horse", "$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"),
            ("p\u{e4}ssw\u{f6}rd", "$2b$04$abcdefghijklmnopqrstuuyx2n0Zzopyr9QuYTMCfOJJOj526QVoC"),
        ] {
            assert!(verifies(password, stored), "{stored}");
            assert!(!verifies("wrong", stored), "{stored}");
        }
    }

    #[test]
    fn bcrypt_reads_72_bytes_as_the_libraries_did_that_made_the_hash() {
        assert!(verifies(&"a".repeat(72), BCRYPT_72));
        assert!(verifies(&"a".repeat(80), BCRYPT_72));
        assert!(!verifies(&"a".repeat(71), BCRYPT_72));
        assert!(verifies(&"a".repeat(71), BCRYPT_71));
        assert!(!verifies(&"a".repeat(72), BCRYPT_71));
    }

    #[test]
    fn a_mistyped_end_that_bcrypt_does_not_see_is_never_made_the_password() {
        let mut hasher = hasher(CHEAP);
        let (long, short) = (recognise(BCRYPT_72).expect("bcrypt"), recognise(BCRYPT_71).expect("bcrypt"));

        assert_eq!(hasher.rehash(&secret(&format!("{}typo", "a".repeat(72))), &long), Ok(None));
        assert_eq!(hasher.rehash(&secret(&"a".repeat(72)), &long), Ok(None));
        assert!(hasher.rehash(&secret(&"a".repeat(71)), &short).expect("memory").is_some());
    }

    #[test]
    fn a_hash_reads_back_and_two_of_one_password_differ() {
        let mut hasher = hasher(CHEAP);
        let password = secret("correct horse battery staple");

        let (one, two) = (hasher.hash(&password).expect("memory"), hasher.hash(&password).expect("memory"));

        assert_ne!(one, two);
        assert!(one.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{one}");
        let parts: Vec<&str> = one.split('$').collect();
        assert_eq!((parts.len(), parts[4].len(), parts[5].len()), (6, 22, 43));
        for hash in [one, two] {
            let stored = recognise(&hash).expect("our own");
            assert_eq!(hasher.verify(&password, &stored), Ok(true));
            assert_eq!(hasher.verify(&secret("Correct horse battery staple"), &stored), Ok(false));
            assert_eq!(hasher.rehash(&password, &stored), Ok(None));
        }
    }

    #[test]
    fn used_memory_changes_no_hash_and_a_larger_need_is_met_for_one_call() {
        let larger = HashParams { memory_kib: 64, iterations: 2, parallelism: 2 };
        let mut fresh = hasher(larger);
        let expected = fresh.hash_with_salt(&secret("password"), b"somesalt").expect("memory");
        let stored = recognise(&expected).expect("our own");

        let mut used = hasher(CHEAP);
        used.hash(&secret("something else")).expect("memory");
        let own = used.memory.0.len();

        assert_eq!(used.verify(&secret("password"), &stored), Ok(true));
        assert_eq!(used.memory.0.len(), own);
        assert_eq!(fresh.hash_with_salt(&secret("password"), b"somesalt"), Ok(expected));
        assert_eq!(
            fresh.hash_with_salt(&secret("other"), b"somesalt").map(|hash| hash == stored.as_str()),
            Ok(false)
        );
    }

    #[test]
    fn memory_is_taken_with_the_first_hash_and_can_be_given_back() {
        let mut hasher = hasher(CHEAP);
        assert!(!hasher.holds_memory());

        hasher.hash(&secret("password")).expect("memory");
        assert!(hasher.holds_memory());

        hasher.release_memory();
        assert!(!hasher.holds_memory());
        assert!(hasher.hash(&secret("password")).is_ok());
    }

    #[test]
    fn costs_have_bounds_on_both_sides_and_in_their_product() {
        let cost = |memory_kib, iterations, parallelism| {
            HashParams { memory_kib, iterations, parallelism }.check().is_ok()
        };
        assert!(cost(19_456, 2, 1) && cost(65_536, 3, 4) && cost(8, 1, 1) && cost(128, 32, 16));
        assert!(cost(1_048_576, 4, 1) && !cost(1_048_576, 5, 1) && !cost(1_048_577, 1, 1));
        assert!(!cost(64, 33, 1) && !cost(1024, 1, 17) && !cost(u32::MAX, u32::MAX, u32::MAX));
        assert!(!cost(7, 1, 1) && !cost(15, 1, 2) && !cost(8, 0, 1) && !cost(8, 1, 0));
    }
}
