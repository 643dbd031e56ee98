//! Password hashes as they are stored: Argon2 in PHC strings, and what was brought in from elsewhere: bcrypt here, the
//! rest in `foreign`.
//!
//! Reads and judges them, and must not compute one (`hash` does) or know whose they are.

use std::fmt;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, PasswordHash, Version};

use super::foreign::{self, Foreign};
use super::hash::{CostOutOfBounds, HashParams};

/// No hash that grantd reads is longer.
const MAX_LENGTH: usize = 512;
const BCRYPT_LENGTH: usize = 60;
/// About four seconds of one core; libraries default to 10 or 12.
const MAX_BCRYPT_COST: u32 = 16;
const MIN_BCRYPT_COST: u32 = 4;

/// A password hash that grantd can check, at a cost that it is ready to pay.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash {
    text: String,
    pub(super) scheme: Scheme,
}

/// What a stored hash says.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Scheme {
    Argon2(Argon2Hash),
    Bcrypt,
    Foreign(Foreign),
}

/// The parts of an Argon2 PHC string.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Argon2Hash {
    pub(super) algorithm: Algorithm,
    pub(super) version: Version,
    pub(super) params: HashParams,
    pub(super) salt: Salt,
    pub(super) output: Output,
}

/// Why a password hash is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusableHash {
    /// Nothing that is known here.
    #[error(
        "the password hash is in a format that grantd does not read: bring Argon2 ($argon2id$), bcrypt ($2b$), or a hash of passlib ($bcrypt-sha256$, $pbkdf2-sha256$, $scrypt$, $6$, $5$), Werkzeug (scrypt:, pbkdf2:sha256:) or Django (pbkdf2_sha256$, argon2$, bcrypt_sha256$, scrypt$), or set a password instead"
    )]
    UnknownFormat,
    /// Begins like one of them and does not go on like it.
    #[error("the password hash is damaged: {0}; bring it whole, or set a password instead")]
    Malformed(&'static str),
    /// Each login would cost the server too much.
    #[error("the password hash costs too much to check at each login: {0}; set a password instead")]
    Argon2Cost(#[from] CostOutOfBounds),
    /// The same, for bcrypt.
    #[error(
        "the password hash costs too much to check at each login: its bcrypt cost is {0}, and {MAX_BCRYPT_COST} is the most; set a password instead"
    )]
    BcryptCost(u32),
    /// The same, for the others.
    #[error(
        "the password hash costs too much to check at each login: its {what} is {is}, and {most} is the most; set a password instead"
    )]
    Cost {
        /// Which cost.
        what: &'static str,
        /// How much it is.
        is: u64,
        /// How much it may be.
        most: u64,
    },
}

/// Reads a password hash, whoever made it.
///
/// Refused are formats that grantd cannot check, damaged text, and costs beyond what a login may
/// spend (a hash is data: one row must not be able to stop the server).
pub fn recognise(text: &str) -> Result<StoredHash, UnusableHash> {
    if text.len() > MAX_LENGTH {
        return Err(UnusableHash::UnknownFormat);
    }
    // Django puts its own name before a whole hash of these two.
    let text = text.strip_prefix("argon2").filter(|rest| rest.starts_with("$argon2")).unwrap_or(text);
    let text = text.strip_prefix("bcrypt$").unwrap_or(text);
    // `$2x$` marks hashes of a faulty old PHP; checking them as bcrypt would refuse right passwords.
    let scheme = if text.starts_with("$argon2") {
        Scheme::Argon2(Argon2Hash::read(text)?)
    } else if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
        check_bcrypt(text)?;
        Scheme::Bcrypt
    } else {
        let (foreign, text) = foreign::read(text)?;
        return Ok(StoredHash { text, scheme: Scheme::Foreign(foreign) });
    };
    Ok(StoredHash { text: text.to_owned(), scheme })
}

/// Whether a password that matched `stored` should be hashed anew with `params`.
pub fn needs_rehash(stored: &StoredHash, params: &HashParams) -> bool {
    match &stored.scheme {
        Scheme::Bcrypt | Scheme::Foreign(_) => true,
        Scheme::Argon2(hash) => {
            hash.algorithm != Algorithm::Argon2id
                || hash.version != Version::V0x13
                || hash.params != *params
                || hash.salt.len() < HashParams::SALT_LENGTH
                || hash.output.len() < HashParams::OUTPUT_LENGTH
        }
    }
}

impl StoredHash {
    /// The text to store: the same for all spellings of one hash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the scheme, such as `argon2id` or `pbkdf2-sha256`.
    pub fn scheme(&self) -> &'static str {
        match &self.scheme {
            Scheme::Argon2(hash) => match hash.algorithm {
                Algorithm::Argon2d => "argon2d",
                Algorithm::Argon2i => "argon2i",
                Algorithm::Argon2id => "argon2id",
            },
            Scheme::Bcrypt => "bcrypt",
            Scheme::Foreign(foreign) => foreign.name(),
        }
    }
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredHash(..)")
    }
}

impl Argon2Hash {
    fn read(text: &str) -> Result<Self, UnusableHash> {
        let phc = PasswordHash::new(text).map_err(|_| {
            UnusableHash::Malformed("it is no PHC string ($id$v=..$m=..,t=..,p=..$salt$hash)")
        })?;
        let algorithm = Algorithm::new(phc.algorithm.as_str()).map_err(|_| UnusableHash::UnknownFormat)?;
        // The reference decoder reads a hash without `v=` as version 1.0 (0x10), not as the newest.
        let version = phc.version.map_or(Ok(Version::V0x10), Version::try_from);
        let version =
            version.map_err(|_| UnusableHash::Malformed("its Argon2 version is neither 16 nor 19"))?;
        let params = read_params(&phc.params)?;
        params.check()?;
        let salt = phc.salt.ok_or(UnusableHash::Malformed("its salt is missing"))?;
        let output = phc.hash.ok_or(UnusableHash::Malformed("the hash after the salt is missing"))?;
        Ok(Self { algorithm, version, params, salt, output })
    }
}

/// Exactly m, t and p: a missing one must not become a default, and `data` is not what RFC 9106 writes.
fn read_params(params: &ParamsString) -> Result<HashParams, UnusableHash> {
    let (mut memory_kib, mut iterations, mut parallelism) = (None, None, None);
    for (name, value) in params.iter() {
        let place = match name.as_str() {
            "m" => &mut memory_kib,
            "t" => &mut iterations,
            "p" => &mut parallelism,
            _ => return Err(UnusableHash::Malformed("it has parameters besides m, t and p")),
        };
        let value = value.decimal();
        let value = value.map_err(|_| UnusableHash::Malformed("one of m, t and p is no number"))?;
        // Of two, another reader could take the other one.
        if place.replace(value).is_some() {
            return Err(UnusableHash::Malformed("one of m, t and p stands twice"));
        }
    }
    let (Some(memory_kib), Some(iterations), Some(parallelism)) = (memory_kib, iterations, parallelism)
    else {
        return Err(UnusableHash::Malformed("one of m, t and p is missing"));
    };
    Ok(HashParams { memory_kib, iterations, parallelism })
}

/// `$2b$12$` and 53 characters.
pub(super) fn check_bcrypt(text: &str) -> Result<(), UnusableHash> {
    if text.len() != BCRYPT_LENGTH {
        return Err(UnusableHash::Malformed("a bcrypt hash has 60 characters"));
    }
    let parts: bcrypt::HashParts = text.parse().map_err(|_| {
        UnusableHash::Malformed("it is no bcrypt hash ($2b$cost$salt and hash in 53 characters)")
    })?;
    let cost = parts.get_cost();
    if cost > MAX_BCRYPT_COST {
        return Err(UnusableHash::BcryptCost(cost));
    }
    if cost < MIN_BCRYPT_COST {
        return Err(UnusableHash::Malformed("a bcrypt cost is at least 4"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT_AND_HASH: &str = "c29tZXNhbHRzb21lc2FsdA$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    const BCRYPT_TAIL: &str = "CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    fn argon2(params: &str) -> Result<StoredHash, UnusableHash> {
        recognise(&format!("$argon2id$v=19${params}${SALT_AND_HASH}"))
    }

    #[test]
    fn what_is_taken_is_kept_as_it_came() {
        for text in [
            format!("$argon2id$v=19$m=19456,t=2,p=1${SALT_AND_HASH}"),
            format!("$argon2d$m=8,t=1,p=1${SALT_AND_HASH}"),
            format!("$2b$16${BCRYPT_TAIL}"),
        ] {
            assert_eq!(recognise(&text).expect("taken").as_str(), text);
        }
    }

    #[test]
    fn unknown_formats_are_refused() {
        for text in [
            "",
            "hunter2",
            "5f4dcc3b5aa765d61d8327deb882cf99",
            "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
            "$7$salt$hash",
            "pbkdf2_md5$1000$salt$hash",
            "pbkdf2:sha256$salt$abcd",
            "sha256$salt$abcdef",
            "bcrypt$hunter2",
            "argon2$hunter2",
            "!unusable",
            "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$argon2x$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            &"$argon2id$".repeat(100),
        ] {
            assert_eq!(recognise(text), Err(UnusableHash::UnknownFormat), "{text}");
        }
    }

    #[test]
    fn damaged_hashes_are_refused() {
        for text in [
            "$argon2id$".to_owned(),
            "$argon2id$v=19$m=8,t=1,p=1".to_owned(),
            "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA".to_owned(),
            "$argon2id$v=19$m=8,t=1,p=1$c29t$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4".to_owned(),
            "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$AAAA".to_owned(),
            format!("$argon2id$v=18$m=8,t=1,p=1${SALT_AND_HASH}"),
            format!("$argon2id$v=19${SALT_AND_HASH}"),
            format!("$argon2id$v=19$m=8,t=1${SALT_AND_HASH}"),
            format!("$argon2id$v=19$m=8,t=1,p=1,data=AAAA${SALT_AND_HASH}"),
            format!("$argon2id$v=19$m=99999999999,t=1,p=1${SALT_AND_HASH}"),
            format!("$2b$05${}", &BCRYPT_TAIL[1..]),
            format!("$2b$xx${BCRYPT_TAIL}"),
            format!("$2b$03${BCRYPT_TAIL}"),
            format!("$2b$05${}!", &BCRYPT_TAIL[1..]),
        ] {
            assert!(matches!(recognise(&text), Err(UnusableHash::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn a_hash_that_names_a_cost_twice_is_refused() {
        for params in ["m=8,t=1,p=1,m=9", "m=8,t=1,t=1,p=1", "m=8,t=1,p=1,p=2"] {
            assert_eq!(
                argon2(params),
                Err(UnusableHash::Malformed("one of m, t and p stands twice")),
                "{params}"
            );
        }
    }

    #[test]
    fn a_hash_that_would_stop_the_server_at_each_login_is_refused() {
        for params in [
            "m=1048577,t=1,p=1",
            "m=8,t=33,p=1",
            "m=1024,t=1,p=17",
            "m=1048576,t=5,p=1",
            "m=4294967295,t=1,p=1",
        ] {
            assert!(matches!(argon2(params), Err(UnusableHash::Argon2Cost(_))), "{params}");
        }
        assert!(argon2("m=1048576,t=4,p=4").is_ok());
        assert_eq!(recognise(&format!("$2b$17${BCRYPT_TAIL}")), Err(UnusableHash::BcryptCost(17)));
        assert_eq!(recognise(&format!("$2b$31${BCRYPT_TAIL}")), Err(UnusableHash::BcryptCost(31)));
    }

    #[test]
    fn a_refusal_says_what_why_and_what_to_do() {
        let sentence = argon2("m=8,t=33,p=1").expect_err("too many iterations").to_string();

        assert_eq!(
            sentence,
            "the password hash costs too much to check at each login: Argon2 with 8 KiB of memory, 33 iterations \
             and parallelism 1 is out of bounds (memory from 8 KiB for each lane to 1048576 KiB, 1 to 32 \
             iterations, parallelism 1 to 16, and memory times iterations at most 4194304 KiB); set a password \
             instead"
        );
    }

    #[test]
    fn any_difference_from_the_settings_asks_for_a_new_hash() {
        let params = HashParams { memory_kib: 64, iterations: 2, parallelism: 1 };
        let outdated = |text: String| needs_rehash(&recognise(&text).expect("taken"), &params);

        assert!(!outdated(format!("$argon2id$v=19$m=64,t=2,p=1${SALT_AND_HASH}")));
        for text in [
            format!("$argon2id$v=19$m=128,t=2,p=1${SALT_AND_HASH}"),
            format!("$argon2id$v=19$m=64,t=1,p=1${SALT_AND_HASH}"),
            format!("$argon2id$v=19$m=64,t=2,p=2${SALT_AND_HASH}"),
            format!("$argon2i$v=19$m=64,t=2,p=1${SALT_AND_HASH}"),
            format!("$argon2id$v=16$m=64,t=2,p=1${SALT_AND_HASH}"),
            "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4".to_owned(),
            "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$nf65EOgLrQMR/uIPnA4rEg".to_owned(),
            format!("$2b$12${BCRYPT_TAIL}"),
        ] {
            assert!(outdated(text.clone()), "{text}");
        }
    }

    #[test]
    fn debug_never_shows_a_hash() {
        let stored = argon2("m=8,t=1,p=1").expect("taken");
        assert_eq!(format!("{stored:?}"), "StoredHash(..)");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            start in prop::sample::select(vec!["", "$argon2id$", "$argon2id$v=19$", "$argon2i$m=8,t=1,p=1$", "$2b$05$"]),
            rest in "([$,=vmtp0-9a-zA-Z+/.]|\\PC){0,70}",
        ) {
            let _ = recognise(&format!("{start}{rest}"));
        }
    }
}
