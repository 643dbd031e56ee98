//! The ceiling of a login: Argon2id of the `argon2` crate at grantd's default cost, in memory that is used again.

use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::rig::figures::Durations;
use crate::rig::grantd::PASSWORD;

/// A hasher and its memory.
pub(crate) struct RawHashes {
    argon2: Argon2<'static>,
    memory: Vec<Block>,
}

impl RawHashes {
    pub(crate) fn new() -> Self {
        // `passwords.memory_kib`, `iterations` and `parallelism` by default.
        let params = Params::new(19456, 2, 1, Some(32)).expect("parameters in bounds");
        let memory = vec![Block::new(); params.block_count()];
        let mut made = Self { argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params), memory };
        made.hash();
        made
    }

    /// Hashes per second.
    pub(crate) fn rate(&mut self, window: Duration) -> f64 {
        let (begin, mut count) = (Instant::now(), 0);
        while begin.elapsed() < window {
            self.hash();
            count += 1;
        }
        f64::from(count) / begin.elapsed().as_secs_f64()
    }

    /// What each of so many takes.
    pub(crate) fn times(&mut self, count: usize) -> Durations {
        (0..count).map(|_| self.hash()).collect()
    }

    fn hash(&mut self) -> Duration {
        let (begin, mut output) = (Instant::now(), [0; 32]);
        let hashed = self.argon2.hash_password_into_with_memory(
            PASSWORD.as_bytes(),
            &[9; 16],
            &mut output,
            &mut self.memory,
        );
        hashed.expect("a hash");
        assert_ne!(output, [0; 32], "a hash that was computed");
        begin.elapsed()
    }
}
