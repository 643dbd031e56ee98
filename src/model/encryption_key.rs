//! An encryption key as an operator writes it: 32 random bytes in base64. Read in one way, whoever asks. Knows no use of it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// The length of an encryption key in bytes.
pub const LENGTH: usize = 32;

/// Why a text is not an encryption key. Never repeats the text: it may be a mistyped key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEncryptionKey {
    /// Not base64, or not of 32 bytes.
    #[error("the encryption key is not 32 bytes in base64: make one with `openssl rand -base64 32`")]
    Malformed,
    /// A placeholder that somebody forgot to replace.
    #[error(
        "the encryption key repeats too few different bytes to be random, so it can be guessed: make one with `openssl rand -base64 32`"
    )]
    NotRandom,
}

/// Reads a key in the standard or the URL-safe alphabet, padded or not; white space around it is ignored, because
/// `openssl` and editors end their output with a newline.
///
/// # Errors
/// If the text is not base64 of exactly 32 bytes, or is evidently a placeholder.
pub fn read(text: &str) -> Result<Zeroizing<[u8; LENGTH]>, InvalidEncryptionKey> {
    let text = text.trim_ascii();
    let alphabet = if text.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let either_padding = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(alphabet, either_padding);

    // One byte more than fits, so that a longer text is seen as such; never a heap copy of the key.
    let mut buffer = Zeroizing::new([0u8; LENGTH + 1]);
    if engine.decode_slice(text, buffer.as_mut_slice()) != Ok(LENGTH) {
        return Err(InvalidEncryptionKey::Malformed);
    }
    let mut key = Zeroizing::new([0u8; LENGTH]);
    key.copy_from_slice(&buffer[..LENGTH]);

    // 32 random bytes hold fewer than 16 different ones less than once in 10^16 keys.
    if distinct(&key) < 16 { Err(InvalidEncryptionKey::NotRandom) } else { Ok(key) }
}

fn distinct(bytes: &[u8; LENGTH]) -> usize {
    let mut seen = Zeroizing::new([false; 256]);
    for byte in bytes {
        seen[usize::from(*byte)] = true;
    }
    seen.iter().filter(|seen| **seen).count()
}
