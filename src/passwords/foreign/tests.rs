//! Hashes of other systems: read, judged, and checked against what the systems themselves made.

use std::sync::Arc;

use proptest::prelude::*;
use sha_crypt::PasswordVerifier as _;

use super::super::hash::{HashParams, Hasher};
use super::super::stored::{StoredHash, recognise};
use super::*;
use crate::model::secret::PlainSecret;

/// Made by the libraries themselves: passlib 1.7.4 (with bcrypt 4.0.1 and argon2-cffi 25.1), Werkzeug 3.1, Django 5.2
/// and bcrypt 4.0.1 of PyPI, with costs as low as they let them be, a few with those that they choose themselves:
/// `passlib.hash.X.using(rounds=…).hash(p)`, `werkzeug.security.generate_password_hash(p, method)`,
/// `django.contrib.auth.hashers.XHasher().encode(p, salt, …)`, `bcrypt.hashpw`. Those of Keycloak are from public
/// examples of its exports, with their passwords, and were computed again with hashlib and argon2-cffi.
const MADE: &str = include_str!("../../../tests/it/foreign_hashes.jsonl");

fn made() -> impl Iterator<Item = (String, String)> {
    MADE.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| row[name].as_str().expect("a text").to_owned();
        (text("plain"), text("password_hash"))
    })
}

fn hasher() -> Hasher {
    Hasher::new(HashParams { memory_kib: 8, iterations: 1, parallelism: 1 }, Arc::default())
}

fn verifies(password: &str, stored: &StoredHash) -> bool {
    hasher().verify(&PlainSecret::new(password.to_owned()), stored).expect("memory")
}

fn taken(text: &str) -> StoredHash {
    recognise(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The sample of <https://github.com/firebase/scrypt>.
fn firebase_sample() -> (FirebaseConfig, &'static str, &'static str) {
    let key = "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==";
    let config = FirebaseConfig::new(key, "Bw==", 8, 14).expect("parameters");
    let hash = "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==";
    (config, "42xEC+ixf3L2lw==", hash)
}

#[test]
fn what_the_libraries_made_is_checked_and_a_password_beside_it_is_refused() {
    let mut schemes = std::collections::BTreeSet::new();
    for (password, text) in made() {
        let stored = taken(&text);

        assert!(verifies(&password, &stored), "{text}");
        let dear = text.contains("$1000000$") || text.contains(":32768:");
        assert!(dear || !verifies(&format!("{password}."), &stored), "{text}");
        assert!(dear || !verifies("", &stored), "{text}");
        schemes.insert(stored.scheme());
    }
    assert_eq!(
        schemes.into_iter().collect::<Vec<_>>(),
        [
            "argon2i",
            "argon2id",
            "bcrypt",
            "bcrypt-sha256",
            "pbkdf2-sha1",
            "pbkdf2-sha256",
            "pbkdf2-sha512",
            "scrypt",
            "sha256-crypt",
            "sha512-crypt",
        ]
    );
}

#[test]
fn what_is_stored_reads_back_as_the_same_hash() {
    for (_, text) in made() {
        let stored = taken(&text);
        let again = taken(stored.as_str());

        assert!(stored == again && again.as_str() == stored.as_str(), "{text}");
        assert!(stored.as_str().len() <= 512 && stored.as_str().is_ascii(), "{text}");
    }
}

#[test]
fn one_hash_in_several_spellings_is_stored_as_one_text() {
    let ours = "$pbkdf2-sha256$i=1000$c2FsdHNhbHRTQUxU$JOyTLuD+tx6NUUbPSX2+rjWy7bKsKn1zRKbzRb0JhyI";
    let hex = "24ec932ee0feb71e8d5146cf497dbeae35b2edb2ac2a7d7344a6f345bd098722";
    for text in [
        "$pbkdf2-sha256$1000$c2FsdHNhbHRTQUxU$JOyTLuD.tx6NUUbPSX2.rjWy7bKsKn1zRKbzRb0JhyI",
        "pbkdf2_sha256$1000$saltsaltSALT$JOyTLuD+tx6NUUbPSX2+rjWy7bKsKn1zRKbzRb0JhyI=",
        &format!("pbkdf2:sha256:1000$saltsaltSALT${hex}"),
        "$pbkdf2-sha256$i=1000,l=32$c2FsdHNhbHRTQUxU$JOyTLuD+tx6NUUbPSX2+rjWy7bKsKn1zRKbzRb0JhyI",
        ours,
    ] {
        assert_eq!(taken(text).as_str(), ours, "{text}");
    }
    assert_eq!(
        taken("bcrypt$$2b$04$ouQ7FlxfWC1LAnVe76lJdeMjJwK3jnSVLF5g/6YnXQSUbuUvbu4J6").as_str(),
        "$2b$04$ouQ7FlxfWC1LAnVe76lJdeMjJwK3jnSVLF5g/6YnXQSUbuUvbu4J6"
    );
}

#[test]
fn firebases_own_sample_is_checked_and_the_signer_key_is_stored_nowhere() {
    let (config, salt, hash) = firebase_sample();

    let text = config.hash(salt, hash).expect("a hash");
    let stored = taken(&text);

    assert_eq!(stored.as_str(), text);
    assert_eq!(stored.scheme(), "firebase-scrypt");
    assert!(verifies("user1password", &stored));
    assert!(!verifies("user1passwore", &stored));
    let raw = |base64: &str| bytes(base64).expect("base64");
    let keystream = raw(text.rsplit('$').next().expect("a part"));
    assert_ne!(keystream, raw(hash));
    // Of another project: no key that is known here fits.
    let other = FirebaseConfig::new(&"A".repeat(86), "Bw==", 8, 14).expect("parameters");
    assert!(!verifies("user1password", &taken(&other.hash(salt, hash).expect("as long"))));
    assert!(config.hash(salt, "AAAA").is_err() && config.hash("*", hash).is_err());
    assert_eq!(format!("{config:?}"), "FirebaseConfig(..)");
}

#[test]
fn a_long_password_cannot_make_sha_crypt_a_bomb() {
    // passlib made it, of 300 times `y`.
    let long = "$5$rounds=1000$abcdefgh$PlOfD0srj06MV.vh8JvpPUkUR8EXkDyhx.rWf91cNd1";
    let crypt = sha_crypt::ShaCrypt::default().verify_password("y".repeat(300).as_bytes(), long);
    assert!(crypt.is_ok());
    assert!(!verifies(&"y".repeat(300), &taken(long)), "it is right, and not looked at");
}

#[test]
fn costs_that_would_stop_the_server_are_refused_in_a_sentence_and_the_greatest_that_are_used_are_taken() {
    let salt_and_hash = "c2FsdHNhbHRzYWx0$bmY2NUVPZ0xyUU1SL3VJUG5BNHJFc0Y1aDdUS3lRd3U";
    let long = "A".repeat(86);
    let hex = "00".repeat(64);
    for text in [
        format!("$pbkdf2-sha256$10000000${salt_and_hash}"),
        format!("$pbkdf2-sha256$5000000$c2FsdA${long}"),
        format!("$pbkdf2-sha512$5000000$c2FsdA${long}"),
        format!("$scrypt$ln=18,r=8,p=1${salt_and_hash}"),
        format!("$scrypt$ln=14,r=8,p=64${salt_and_hash}"),
        format!("scrypt:262144:8:1$salt${hex}"),
        format!("$6$rounds=1000000$salt${long}"),
        "$bcrypt-sha256$v=2,t=2b,r=16$DqqY2hDe0fxkVBlN4XB.le$lx5S9f2U/Ib3Y3Own2EpRDLhRrHSa5q".to_owned(),
    ] {
        assert!(recognise(&text).is_ok(), "{text}: {:?}", recognise(&text));
    }
    for text in [
        format!("$pbkdf2-sha256$10000001${salt_and_hash}"),
        format!("$pbkdf2-sha256$9999999999999999999${salt_and_hash}"),
        format!("$pbkdf2-sha256$5000001$c2FsdA${long}"),
        format!("$pbkdf2-sha512$5000001$c2FsdA${long}"),
        format!("pbkdf2:sha1:5000001$salt${}", "00".repeat(40)),
        format!("pbkdf2_sha256$4294967296$salt${}=", "A".repeat(43)),
        format!("$scrypt$ln=19,r=8,p=1${salt_and_hash}"),
        format!("$scrypt$ln=63,r=1024,p=1024${salt_and_hash}"),
        format!("$scrypt$ln=18,r=8,p=5${salt_and_hash}"),
        format!("scrypt:9223372036854775808:8:1$salt${hex}"),
        format!("scrypt$524288$salt$8$1${}", "A".repeat(86)),
        format!("$firebase-scrypt$ln=19,r=8$c2FsdA${long}"),
        format!("$6$rounds=1000001$salt${long}"),
        format!("$5$rounds=999999999$salt${}", "A".repeat(43)),
        "$bcrypt-sha256$v=2,t=2b,r=17$DqqY2hDe0fxkVBlN4XB.le$lx5S9f2U/Ib3Y3Own2EpRDLhRrHSa5q".to_owned(),
        "bcrypt_sha256$$2b$17$n/YILRoVqQ9l/lKbBQrx9.FxqKS8WJuQQ/45Z5CjeOuRXEx0gHQbC".to_owned(),
    ] {
        let refused = recognise(&text).expect_err(&text);
        assert!(
            matches!(refused, UnusableHash::Cost { .. } | UnusableHash::BcryptCost(_)),
            "{text}: {refused:?}"
        );
        assert!(refused.to_string().contains("costs too much"), "{refused}");
    }
    assert!(FirebaseConfig::new("A".repeat(86).as_str(), "Bw==", 8, 40).is_err());
}

#[test]
fn damaged_hashes_are_refused() {
    let long_salt = "s".repeat(129);
    for text in [
        "$pbkdf2-sha256$0$c2FsdA$bmY2NUVPZ0xyUU1SL3VJUG5BNHJFc0Y1aDdUS3lRd3U",
        "$pbkdf2-sha256$-1$c2FsdA$bmY2NUVPZ0xyUU1SL3VJUG5BNHJFc0Y1aDdUS3lRd3U",
        "$pbkdf2-sha256$+1$c2FsdA$bmY2NUVPZ0xyUU1SL3VJUG5BNHJFc0Y1aDdUS3lRd3U",
        "$pbkdf2-sha256$1000$$bmY2NUVPZ0xyUU1SL3VJUG5BNHJFc0Y1aDdUS3lRd3U",
        "$pbkdf2-sha256$1000$c2FsdA$AAAA",
        "$pbkdf2-sha256$1000$c2FsdA$bmY2NUVPZ0xyUU1SL3VJUG5BNHJFc0Y1aDdUS3lRd3U$x",
        "$pbkdf2-sha256$i=1000,l=20$c2FsdA$bmY2NUVPZ0xyUU1SL3VJUG5BNHJFc0Y1aDdUS3lRd3U",
        "pbkdf2:sha256:1000$salt$zz",
        "pbkdf2:sha256:1000$salt$2a7",
        &format!("pbkdf2:sha256:1000${long_salt}${}", "00".repeat(32)),
        "pbkdf2_sha256$1000$salt",
        "scrypt:1023:8:1$salt$00000000000000000000000000000000",
        "scrypt:1024:0:1$salt$00000000000000000000000000000000",
        "scrypt$1024$salt$8$AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "$6$rounds=999$salt$x",
        "$6$rounds=01000$salt$x",
        "$6$salt$hash",
        "$5$salt$!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
        "$bcrypt-sha256$2y,4$wr.XIkgvXs0ZPNIdhHNsHO$Gimn1ddZSfcUbxQN3xKwmzmbIJJ4wre",
        "$bcrypt-sha256$v=3,t=2b,r=4$wr.XIkgvXs0ZPNIdhHNsHO$Gimn1ddZSfcUbxQN3xKwmzmbIJJ4wre",
        "$bcrypt-sha256$2b,4$short$Gimn1ddZSfcUbxQN3xKwmzmbIJJ4wre",
        "bcrypt_sha256$hunter2",
        "$firebase-scrypt$ln=14$c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        let refused = recognise(text).expect_err(text);
        assert!(matches!(refused, UnusableHash::Malformed(_)), "{text}: {refused:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_what_is_taken_reads_back(
        start in prop::sample::select(vec![
            "$bcrypt-sha256$2b,4$", "$bcrypt-sha256$v=2,t=2b,r=4$", "bcrypt_sha256$$2b$04$", "bcrypt$",
            "argon2$argon2id$", "$pbkdf2-sha256$", "$pbkdf2$", "$pbkdf2-sha512$i=", "pbkdf2:sha256:1000$",
            "pbkdf2:sha1:", "pbkdf2_sha256$1000$", "$scrypt$ln=8,r=8,p=1$", "$scrypt$ln=", "scrypt:1024:8:1$",
            "scrypt:", "scrypt$1024$salt$8$1$", "scrypt$", "$firebase-scrypt$ln=8,r=8$", "$5$", "$6$rounds=",
        ]),
        rest in "([$,=:.ilnrp0-9a-zA-Z+/]|\\PC){0,90}",
    ) {
        let text = format!("{start}{rest}");
        match recognise(&text) {
            Ok(stored) => {
                prop_assert!(recognise(stored.as_str()).is_ok_and(|again| again == stored), "{}", text);
                prop_assert!(stored.as_str().is_ascii() && !stored.as_str().contains('\0'));
            }
            Err(refused) => prop_assert!(refused.to_string().contains("set a password instead")),
        }
    }

    #[test]
    fn a_hash_that_was_changed_anywhere_makes_nothing_panic(at in 0usize..120, with in any::<char>(), which in 0usize..50) {
        let (_, text) = made().nth(which).expect("so many");
        let mut characters: Vec<char> = text.chars().collect();
        let at = at % characters.len();
        characters[at] = with;
        let text: String = characters.into_iter().collect();
        if let Ok(stored) = recognise(&text) {
            prop_assert!(recognise(stored.as_str()).is_ok_and(|again| again == stored));
        }
    }
}
