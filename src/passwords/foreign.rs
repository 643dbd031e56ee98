//! Reads the password hashes of other systems: PBKDF2, scrypt, SHA-crypt and bcrypt over a digest, as passlib, Werkzeug,
//! Django and Keycloak write them, and Firebase's.
//!
//! Each becomes one canonical text, whoever wrote it, so that nobody but this file knows how many spellings there are.
//! Judges and computes nothing that costs (`foreign_check` does), and must not know whose hash it is.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD_NO_PAD};

use super::stored::{UnusableHash, check_bcrypt};

/// Iterations, times blocks of output (RFC 8018 §5.2), of SHA-1 and SHA-256: ten times what Django 5 and Keycloak 26
/// set, and three to four seconds of one core, which is the bound of all schemes here.
const MOST_PBKDF2_WORK: u64 = 10_000_000;
/// The same of SHA-512, which takes twice as long.
const MOST_PBKDF2_SHA512_WORK: u64 = 5_000_000;
/// Memory of one scrypt (RFC 7914 §2), `128 N r`. Less than Argon2 may have, because the crate takes it from the
/// system's allocator, which ends the process where there is none.
const MOST_SCRYPT_KIB: u64 = 256 * 1024;
/// The same, times `p`: about three seconds of one core.
const MOST_SCRYPT_WORK_KIB: u64 = 1024 * 1024;
/// About a second of one core with a usual password and four with the longest that is looked at; passlib sets 656000.
const MOST_SHA_CRYPT_ROUNDS: u64 = 1_000_000;
/// The format's own least; where a text says less, crypt(3) computes this many, and nobody else agrees.
const LEAST_SHA_CRYPT_ROUNDS: u64 = 1000;

/// Longer ones are no salts.
const MOST_SALT: usize = 128;
/// Of the output: less could be guessed, more is no hash of these systems.
const LEAST_OUTPUT: usize = 16;
const MOST_OUTPUT: usize = 128;

/// A hash that some other system made.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Foreign {
    /// bcrypt over a digest, so that bcrypt reads all of a password.
    BcryptOf(Prehash, String),
    /// RFC 8018 §5.2.
    Pbkdf2 { prf: Prf, iterations: NonZeroU32, salt: Vec<u8>, output: Vec<u8> },
    /// RFC 7914.
    Scrypt { cost: ScryptCost, salt: Vec<u8>, output: Vec<u8> },
    /// Firebase's: AES-256-CTR under a key that scrypt makes, over the project's signer key. That key is taken out
    /// again when the hash is brought in, so that what is left is the keystream, and the key is stored nowhere.
    Firebase { cost: ScryptCost, salt: Vec<u8>, keystream: Vec<u8> },
    /// crypt(3), <https://www.akkadia.org/drepper/SHA-crypt.txt>.
    ShaCrypt(ShaCrypt, String),
}

/// What a password becomes before bcrypt reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prehash {
    /// passlib's `$bcrypt-sha256$`, version 1: SHA-256 in base64.
    Base64Sha256,
    /// passlib's, version 2: HMAC-SHA-256 under bcrypt's salt, in base64.
    Base64HmacSha256,
    /// Django's `bcrypt_sha256`: SHA-256 in hex.
    HexSha256,
}

/// The pseudorandom function of PBKDF2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prf {
    Sha1,
    Sha256,
    Sha512,
}

/// Which of the two SHA-crypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShaCrypt {
    Sha256,
    Sha512,
}

/// RFC 7914 §2, within the bounds of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScryptCost {
    pub(super) log_n: u8,
    pub(super) r: u32,
    pub(super) p: u32,
}

type Read = Result<(Foreign, String), UnusableHash>;

const fn malformed(why: &'static str) -> UnusableHash {
    UnusableHash::Malformed(why)
}

/// The hash and its canonical text; [`UnusableHash::UnknownFormat`] if the text begins like none of these.
pub(super) fn read(text: &str) -> Read {
    if let Some(rest) = text.strip_prefix("$bcrypt-sha256$") {
        return passlib_bcrypt_sha256(rest, text);
    }
    if let Some(bcrypt) = text.strip_prefix("bcrypt_sha256$") {
        check_bcrypt(bcrypt)?;
        return Ok((Foreign::BcryptOf(Prehash::HexSha256, bcrypt.to_owned()), text.to_owned()));
    }
    for (name, prf) in [
        ("$pbkdf2-sha256$", Prf::Sha256),
        ("$pbkdf2-sha512$", Prf::Sha512),
        ("$pbkdf2-sha1$", Prf::Sha1),
        ("$pbkdf2$", Prf::Sha1),
    ] {
        if let Some(rest) = text.strip_prefix(name) {
            return crypt_pbkdf2(prf, rest);
        }
    }
    for (name, prf) in
        [("pbkdf2:sha256:", Prf::Sha256), ("pbkdf2:sha512:", Prf::Sha512), ("pbkdf2:sha1:", Prf::Sha1)]
    {
        if let Some(rest) = text.strip_prefix(name) {
            return werkzeug_pbkdf2(prf, rest);
        }
    }
    for (name, prf) in [("pbkdf2_sha256$", Prf::Sha256), ("pbkdf2_sha1$", Prf::Sha1)] {
        if let Some(rest) = text.strip_prefix(name) {
            return django_pbkdf2(prf, rest);
        }
    }
    if let Some(rest) = text.strip_prefix("$scrypt$") {
        return crypt_scrypt(rest);
    }
    if let Some(rest) = text.strip_prefix("scrypt:") {
        return werkzeug_scrypt(rest);
    }
    if let Some(rest) = text.strip_prefix("scrypt$") {
        return django_scrypt(rest);
    }
    if let Some(rest) = text.strip_prefix("$firebase-scrypt$") {
        return stored_firebase(rest);
    }
    for (name, which, length) in [("$5$", ShaCrypt::Sha256, 43), ("$6$", ShaCrypt::Sha512, 86)] {
        if let Some(rest) = text.strip_prefix(name) {
            check_sha_crypt(rest, length)?;
            return Ok((Foreign::ShaCrypt(which, text.to_owned()), text.to_owned()));
        }
    }
    Err(UnusableHash::UnknownFormat)
}

/// `$bcrypt-sha256$2b,12$salt$hash` or `$bcrypt-sha256$v=2,t=2b,r=12$salt$hash`.
fn passlib_bcrypt_sha256(rest: &str, text: &str) -> Read {
    let wrong = malformed("it is no bcrypt-sha256 hash of passlib ($bcrypt-sha256$v=2,t=2b,r=12$salt$hash)");
    let [params, salt, digest] = parts(rest, '$').ok_or(wrong)?;
    let (prehash, kind, cost) = match params.strip_prefix("v=2,t=") {
        Some(params) => {
            let (kind, cost) = params.split_once(",r=").ok_or(wrong)?;
            (Prehash::Base64HmacSha256, kind, cost)
        }
        None => {
            let (kind, cost) = params.split_once(',').ok_or(wrong)?;
            (Prehash::Base64Sha256, kind, cost)
        }
    };
    let cost = number(cost).filter(|cost| *cost < 100).ok_or(wrong)?;
    if !matches!(kind, "2a" | "2b") || salt.len() != 22 {
        return Err(wrong);
    }
    let bcrypt = format!("${kind}${cost:02}${salt}{digest}");
    check_bcrypt(&bcrypt)?;
    Ok((Foreign::BcryptOf(prehash, bcrypt), text.to_owned()))
}

/// passlib's `rounds$salt$hash`, and the PHC form `i=rounds$salt$hash`, which is ours.
fn crypt_pbkdf2(prf: Prf, rest: &str) -> Read {
    let wrong = malformed("it is no PBKDF2 hash ($pbkdf2-sha256$iterations$salt$hash)");
    let [params, salt, output] = parts(rest, '$').ok_or(wrong)?;
    let (iterations, length) = match params.strip_prefix("i=") {
        Some(params) => match params.split_once(",l=") {
            Some((iterations, length)) => (iterations, Some(number(length).ok_or(wrong)?)),
            None => (params, None),
        },
        None => (params, None),
    };
    let (salt, output) = (bytes(salt).ok_or(wrong)?, bytes(output).ok_or(wrong)?);
    if length.is_some_and(|length| length != output.len() as u64) {
        return Err(malformed("its length is not the one that it names"));
    }
    pbkdf2(prf, number(iterations).ok_or(wrong)?, salt, output)
}

/// `iterations$salt$hex`; the salt's characters are its bytes.
fn werkzeug_pbkdf2(prf: Prf, rest: &str) -> Read {
    let wrong = malformed("it is no PBKDF2 hash of Werkzeug (pbkdf2:sha256:iterations$salt$hex)");
    let [iterations, salt, output] = parts(rest, '$').ok_or(wrong)?;
    let output = hex(output).ok_or(wrong)?;
    pbkdf2(prf, number(iterations).ok_or(wrong)?, salt.as_bytes().to_vec(), output)
}

/// `iterations$salt$base64`; the salt's characters are its bytes.
fn django_pbkdf2(prf: Prf, rest: &str) -> Read {
    let wrong = malformed("it is no PBKDF2 hash of Django (pbkdf2_sha256$iterations$salt$hash)");
    let [iterations, salt, output] = parts(rest, '$').ok_or(wrong)?;
    let output = bytes(output).ok_or(wrong)?;
    pbkdf2(prf, number(iterations).ok_or(wrong)?, salt.as_bytes().to_vec(), output)
}

fn pbkdf2(prf: Prf, iterations: u64, salt: Vec<u8>, output: Vec<u8>) -> Read {
    check_lengths(&salt, &output)?;
    let blocks = output.len().div_ceil(prf.output_length()) as u64;
    let most = match prf {
        Prf::Sha1 | Prf::Sha256 => MOST_PBKDF2_WORK,
        Prf::Sha512 => MOST_PBKDF2_SHA512_WORK,
    };
    let too_much = || UnusableHash::Cost {
        what: "PBKDF2 iterations times blocks of output",
        is: iterations.saturating_mul(blocks),
        most,
    };
    if iterations.saturating_mul(blocks) > most {
        return Err(too_much());
    }
    let iterations = u32::try_from(iterations).map_err(|_| too_much())?;
    let iterations = NonZeroU32::new(iterations).ok_or(malformed("it has 0 iterations"))?;
    let text = format!("${}$i={iterations}${}${}", prf.name(), encode(&salt), encode(&output));
    Ok((Foreign::Pbkdf2 { prf, iterations, salt, output }, text))
}

/// The PHC form, which is passlib's and ours: `ln=16,r=8,p=1$salt$hash`.
fn crypt_scrypt(rest: &str) -> Read {
    let wrong = malformed("it is no scrypt hash ($scrypt$ln=..,r=..,p=..$salt$hash)");
    let [params, salt, output] = parts(rest, '$').ok_or(wrong)?;
    let [log_n, r, p] = parts(params, ',').ok_or(wrong)?;
    let of = |part: &str, name| part.strip_prefix(name).and_then(number);
    let (Some(log_n), Some(r), Some(p)) = (of(log_n, "ln="), of(r, "r="), of(p, "p=")) else {
        return Err(wrong);
    };
    let cost = ScryptCost::check(log_n, r, p)?;
    scrypt(cost, bytes(salt).ok_or(wrong)?, bytes(output).ok_or(wrong)?)
}

/// `N:r:p$salt$hex`; the salt's characters are its bytes.
fn werkzeug_scrypt(rest: &str) -> Read {
    let wrong = malformed("it is no scrypt hash of Werkzeug (scrypt:N:r:p$salt$hex)");
    let [params, salt, output] = parts(rest, '$').ok_or(wrong)?;
    let [n, r, p] = parts(params, ':').ok_or(wrong)?;
    let cost = ScryptCost::of_n(n, r, p)?.ok_or(wrong)?;
    scrypt(cost, salt.as_bytes().to_vec(), hex(output).ok_or(wrong)?)
}

/// `N$salt$r$p$base64`; the salt's characters are its bytes.
fn django_scrypt(rest: &str) -> Read {
    let wrong = malformed("it is no scrypt hash of Django (scrypt$N$salt$r$p$hash)");
    let [n, salt, r, p, output] = parts(rest, '$').ok_or(wrong)?;
    let cost = ScryptCost::of_n(n, r, p)?.ok_or(wrong)?;
    scrypt(cost, salt.as_bytes().to_vec(), bytes(output).ok_or(wrong)?)
}

fn scrypt(cost: ScryptCost, salt: Vec<u8>, output: Vec<u8>) -> Read {
    check_lengths(&salt, &output)?;
    let ScryptCost { log_n, r, p } = cost;
    let text = format!("$scrypt$ln={log_n},r={r},p={p}${}${}", encode(&salt), encode(&output));
    Ok((Foreign::Scrypt { cost, salt, output }, text))
}

/// What a Firebase project's hashes have in common, as its console shows them ("password hash parameters").
pub struct FirebaseConfig {
    signer_key: Vec<u8>,
    salt_separator: Vec<u8>,
    cost: ScryptCost,
}

impl std::fmt::Debug for FirebaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FirebaseConfig(..)")
    }
}

impl FirebaseConfig {
    /// Takes the parameters as they are shown: two texts in base64 and two numbers.
    pub fn new(
        signer_key: &str,
        salt_separator: &str,
        rounds: u64,
        mem_cost: u64,
    ) -> Result<Self, UnusableHash> {
        let signer_key = bytes(signer_key).filter(|key| (LEAST_OUTPUT..=MOST_OUTPUT).contains(&key.len()));
        let salt_separator = bytes(salt_separator).filter(|separator| separator.len() <= MOST_SALT);
        Ok(Self {
            signer_key: signer_key.ok_or(malformed("base64_signer_key is no key in base64"))?,
            salt_separator: salt_separator.ok_or(malformed("base64_salt_separator is no base64"))?,
            // Their names: `rounds` is r, and N is 2 to the power of `mem_cost`.
            cost: ScryptCost::check(mem_cost, rounds, 1)?,
        })
    }

    /// The text to store for one account, of its `salt` and `passwordHash`.
    pub fn hash(&self, salt: &str, password_hash: &str) -> Result<String, UnusableHash> {
        let wrong = malformed("its salt or its hash is no base64");
        let mut salt = bytes(salt).ok_or(wrong)?;
        let mut keystream = bytes(password_hash).ok_or(wrong)?;
        if keystream.len() != self.signer_key.len() {
            return Err(malformed("it is not as long as the signer key, so it is another project's"));
        }
        salt.extend_from_slice(&self.salt_separator);
        check_lengths(&salt, &keystream)?;
        // CTR adds its keystream to the text, so taking the text away leaves the keystream.
        for (byte, key) in keystream.iter_mut().zip(&self.signer_key) {
            *byte ^= key;
        }
        Ok(firebase(self.cost, salt, keystream).1)
    }
}

/// Our own form: `ln=14,r=8$salt$keystream`.
fn stored_firebase(rest: &str) -> Read {
    let wrong =
        malformed("it is no hash of Firebase as grantd stores it ($firebase-scrypt$ln=..,r=..$..$..)");
    let [params, salt, keystream] = parts(rest, '$').ok_or(wrong)?;
    let [log_n, r] = parts(params, ',').ok_or(wrong)?;
    let of = |part: &str, name| part.strip_prefix(name).and_then(number);
    let (Some(log_n), Some(r)) = (of(log_n, "ln="), of(r, "r=")) else { return Err(wrong) };
    let cost = ScryptCost::check(log_n, r, 1)?;
    let (salt, keystream) = (bytes(salt).ok_or(wrong)?, bytes(keystream).ok_or(wrong)?);
    check_lengths(&salt, &keystream)?;
    Ok(firebase(cost, salt, keystream))
}

fn firebase(cost: ScryptCost, salt: Vec<u8>, keystream: Vec<u8>) -> (Foreign, String) {
    let ScryptCost { log_n, r, .. } = cost;
    let text = format!("$firebase-scrypt$ln={log_n},r={r}${}${}", encode(&salt), encode(&keystream));
    (Foreign::Firebase { cost, salt, keystream }, text)
}

/// `rounds=5000$salt$hash`, where the rounds may be left out.
fn check_sha_crypt(rest: &str, length: usize) -> Result<(), UnusableHash> {
    let wrong = malformed("it is no SHA-crypt hash ($6$rounds=5000$salt$hash)");
    let rest = match rest.strip_prefix("rounds=") {
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$').ok_or(wrong)?;
            let is = number(rounds).ok_or(wrong)?;
            if is > MOST_SHA_CRYPT_ROUNDS {
                let what = "number of SHA-crypt rounds";
                return Err(UnusableHash::Cost { what, is, most: MOST_SHA_CRYPT_ROUNDS });
            }
            if is < LEAST_SHA_CRYPT_ROUNDS || rounds.starts_with('0') {
                return Err(malformed("SHA-crypt has at least 1000 rounds"));
            }
            rest
        }
        None => rest,
    };
    let [salt, digest] = parts(rest, '$').ok_or(wrong)?;
    let is_crypt = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"./".contains(&b));
    if !(1..=16).contains(&salt.len()) || !is_crypt(salt) || digest.len() != length || !is_crypt(digest) {
        return Err(wrong);
    }
    Ok(())
}

impl ScryptCost {
    fn check(log_n: u64, r: u64, p: u64) -> Result<Self, UnusableHash> {
        if !(1..=63).contains(&log_n) || !(1..=1024).contains(&r) || !(1..=1024).contains(&p) {
            return Err(malformed("one of the costs of scrypt is 0 or beyond all use"));
        }
        // At most 128 * 2^63 * 2^10 * 2^10.
        let kib = ((128 * u128::from(r)) << log_n).div_ceil(1024);
        for (what, is, most) in [
            ("scrypt memory (128 N r) in KiB", kib, MOST_SCRYPT_KIB),
            ("scrypt memory times p in KiB", kib * u128::from(p), MOST_SCRYPT_WORK_KIB),
        ] {
            if is > u128::from(most) {
                return Err(UnusableHash::Cost { what, is: u64::try_from(is).unwrap_or(u64::MAX), most });
            }
        }
        let narrow =
            |number: u64| u32::try_from(number).map_err(|_| malformed("a cost of scrypt is too large"));
        let log_n = u8::try_from(log_n).map_err(|_| malformed("a cost of scrypt is too large"))?;
        let cost = Self { log_n, r: narrow(r)?, p: narrow(p)? };
        // Whatever else the crate asks of them, so that no login finds it out.
        match scrypt::Params::new(cost.log_n, cost.r, cost.p) {
            Ok(_) => Ok(cost),
            Err(_) => Err(malformed("its costs are none that scrypt can have")),
        }
    }

    /// From N itself; `None` where one of them is no number, or N no power of two.
    fn of_n(n: &str, r: &str, p: &str) -> Result<Option<Self>, UnusableHash> {
        let (Some(n), Some(r), Some(p)) = (number(n), number(r), number(p)) else { return Ok(None) };
        if !n.is_power_of_two() {
            return Ok(None);
        }
        Self::check(u64::from(n.trailing_zeros()), r, p).map(Some)
    }
}

impl Prf {
    const fn output_length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "pbkdf2-sha1",
            Self::Sha256 => "pbkdf2-sha256",
            Self::Sha512 => "pbkdf2-sha512",
        }
    }
}

impl Foreign {
    /// What it is called where hashes are counted.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::BcryptOf(..) => "bcrypt-sha256",
            Self::Pbkdf2 { prf, .. } => prf.name(),
            Self::Scrypt { .. } => "scrypt",
            Self::Firebase { .. } => "firebase-scrypt",
            Self::ShaCrypt(ShaCrypt::Sha256, _) => "sha256-crypt",
            Self::ShaCrypt(ShaCrypt::Sha512, _) => "sha512-crypt",
        }
    }
}

fn check_lengths(salt: &[u8], output: &[u8]) -> Result<(), UnusableHash> {
    if !(1..=MOST_SALT).contains(&salt.len()) {
        return Err(malformed("its salt is missing, or longer than 128 bytes"));
    }
    if !(LEAST_OUTPUT..=MOST_OUTPUT).contains(&output.len()) {
        return Err(malformed("the hash after the salt has less than 16 bytes, or more than 128"));
    }
    Ok(())
}

/// Exactly `N` parts.
fn parts<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    let parts: Vec<&str> = text.splitn(N + 1, separator).collect();
    parts.try_into().ok()
}

/// Digits and nothing else, not even a sign.
fn number(text: &str) -> Option<u64> {
    let is_number = (1..=19).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// Base64 in whichever of its alphabets, padded or not: passlib has `.` for `+`, Firebase's API that of RFC 4648 §5.
fn bytes(text: &str) -> Option<Vec<u8>> {
    const INDIFFERENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let standard: String = text
        .chars()
        .map(|character| match character {
            '.' | '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    INDIFFERENT.decode(standard).ok()
}

fn encode(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests;
