//! Checks a password against a hash that another system made: what each scheme computes, by other people's crates.
//!
//! The costs were judged when the hash was read. Every comparison of a secret is in constant time.

use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha_crypt::{PasswordVerifier as _, ShaCrypt as Crypt};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::foreign::{Foreign, Prehash, Prf, ScryptCost};
use super::hash::HashFailure;

/// SHA-crypt hashes the password anew in each round, so that a stranger could make each round sixteen times as dear
/// with a password of the greatest length. What is longer than this has no SHA-crypt hash here.
const SHA_CRYPT_READS: usize = 256;

/// Where bcrypt's salt begins and ends in `$2b$12$salt and hash`.
const BCRYPT_SALT: std::ops::Range<usize> = 7..29;

impl Foreign {
    /// Whether the password is the one behind this hash.
    pub(super) fn matches(&self, password: &[u8]) -> Result<bool, HashFailure> {
        match self {
            Self::BcryptOf(prehash, bcrypt) => {
                let prehashed = prehash.of(password, &bcrypt.as_bytes()[BCRYPT_SALT]);
                // The text was checked when it was read, so an error is a mismatch.
                Ok(bcrypt::verify(&**prehashed, bcrypt).unwrap_or(false))
            }
            Self::Pbkdf2 { prf, iterations, salt, output } => {
                let mut computed = Zeroizing::new(vec![0; output.len()]);
                pbkdf2::derive(prf.algorithm(), *iterations, salt, password, &mut computed);
                Ok(computed.ct_eq(output).into())
            }
            Self::Scrypt { cost, salt, output } => {
                let mut computed = Zeroizing::new(vec![0; output.len()]);
                cost.compute(password, salt, &mut computed)?;
                Ok(computed.ct_eq(output).into())
            }
            Self::Firebase { cost, salt, keystream } => {
                let mut derived = Zeroizing::new([0; 64]);
                cost.compute(password, salt, &mut *derived)?;
                let zeros = undone(&derived[..32], keystream)?;
                Ok(zeros.ct_eq(&vec![0; keystream.len()]).into())
            }
            Self::ShaCrypt(_, text) => {
                // Cut, and not refused at once, so that the time does not say how this user's hash was made.
                let (read, rest) = password.split_at(password.len().min(SHA_CRYPT_READS));
                let is_right = Crypt::default().verify_password(read, text.as_str()).is_ok();
                Ok(is_right & rest.is_empty())
            }
        }
    }
}

impl Prehash {
    /// In printable characters, so that bcrypt meets no NUL, and fewer than it reads.
    fn of(self, password: &[u8], salt: &[u8]) -> Zeroizing<Vec<u8>> {
        let sha256 = || digest::digest(&digest::SHA256, password);
        Zeroizing::new(match self {
            Self::Base64Sha256 => STANDARD.encode(sha256()).into_bytes(),
            Self::Base64HmacSha256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
                STANDARD.encode(hmac::sign(&key, password)).into_bytes()
            }
            Self::HexSha256 => sha256().as_ref().iter().flat_map(|byte| hex(*byte)).collect(),
        })
    }
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

impl Prf {
    fn algorithm(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

impl ScryptCost {
    fn compute(self, password: &[u8], salt: &[u8], output: &mut [u8]) -> Result<(), HashFailure> {
        let Self { log_n, r, p } = self;
        // The crate takes its memory in a way that ends the process where there is none, so ask first.
        let memory = (128 * usize::try_from(r).unwrap_or(usize::MAX)).checked_shl(u32::from(log_n));
        let mut asked = Vec::<u8>::new();
        asked.try_reserve_exact(memory.unwrap_or(usize::MAX)).map_err(|_| HashFailure::OutOfMemory)?;
        drop(asked);
        let params = scrypt::Params::new(log_n, r, p).map_err(|_| HashFailure::Scrypt)?;
        scrypt::scrypt(password, salt, &params, output).map_err(|_| HashFailure::Scrypt)
    }
}

/// AES-256-CTR from a counter of zero, of which one direction is the other.
fn undone(key: &[u8], text: &[u8]) -> Result<Zeroizing<Vec<u8>>, HashFailure> {
    let key = UnboundCipherKey::new(&AES_256, key).and_then(DecryptingKey::ctr);
    let key = key.map_err(|_| HashFailure::Aes)?;
    let mut bytes = Zeroizing::new(text.to_vec());
    let start = DecryptionContext::Iv128(FixedLength::from([0; 16]));
    key.decrypt(&mut bytes, start).map_err(|_| HashFailure::Aes)?;
    Ok(bytes)
}
