//! The one place that draws randomness (private keys and salts are drawn by their own rooms' libraries).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `N` bytes from the operating system's random source.
#[expect(clippy::disallowed_methods, reason = "the one place that draws randomness")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .expect("the operating system's random source does not fail once it works");
    bytes
}

/// A name of 128 random bits, as URL-safe text.
pub fn name() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<16>())
}
