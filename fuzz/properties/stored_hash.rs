//! Password hashes brought in from elsewhere: PHC strings of Argon2, bcrypt, and what passlib, Werkzeug, Django, Keycloak
//! and Firebase write.
//!
//! The input is the hash's text. Must not know of users or of the pool that computes hashes.

use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use grantd::passwords::{HashParams, needs_rehash, recognise};

/// What is taken can be checked at a login, and at a bounded cost: a hash is data, and one row must not be able
/// to stop the server.
pub(crate) fn holds(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let stored = match recognise(text) {
        Ok(stored) => stored,
        Err(why) => {
            let sentence = why.to_string();
            assert!(sentence.contains("set a password instead") && !sentence.contains(char::is_control));
            return;
        }
    };

    let text = stored.as_str();
    assert!(text.is_ascii() && text.len() <= 512);
    assert_eq!(format!("{stored:?}"), "StoredHash(..)");
    // What is stored is one spelling, which reads back as itself.
    assert!(recognise(text).is_ok_and(|again| again == stored && again.as_str() == text));

    match text.strip_prefix("$argon2") {
        Some(_) => check_argon2(text),
        None => {
            assert!(needs_rehash(&stored, &params(19_456, 2, 1)));
            match stored.scheme() {
                "bcrypt" => check_bcrypt(text),
                "bcrypt-sha256" => assert!(text.contains("bcrypt")),
                _ => check_numbers(text),
            }
        }
    }
}

const fn params(memory_kib: u32, iterations: u32, parallelism: u32) -> HashParams {
    HashParams { memory_kib, iterations, parallelism }
}

/// The costs as they stand in the text, found without a parser of PHC strings.
fn check_argon2(text: &str) {
    let number = |name: &str| -> u32 {
        let fields: Vec<&str> = text.split(['$', ',']).filter_map(|field| field.strip_prefix(name)).collect();
        let [one] = fields[..] else { panic!("{name} stands {} times", fields.len()) };
        one.parse().expect("a number")
    };
    let (m, t, p) = (number("m="), number("t="), number("p="));
    assert!((1..=16).contains(&p) && (1..=32).contains(&t) && (8 * p..=1 << 20).contains(&m));
    assert!(u64::from(m) * u64::from(t) <= 4 << 20, "a login costs {m} KiB, {t} times");
    assert!(needs_rehash(&recognise(text).expect("taken"), &params(m, t, p + 1)));

    // Where that is cheap: Argon2 takes it, so that no login fails for the hash's sake.
    if m <= 16 && t == 1 {
        let phc = PasswordHash::new(text).expect("a PHC string");
        let (salt, output) = (phc.salt.expect("a salt"), phc.hash.expect("a hash"));
        let algorithm = Algorithm::new(phc.algorithm.as_str()).expect("known");
        let version = if text.contains("$v=19$") { Version::V0x13 } else { Version::V0x10 };
        let cost = Params::new(m, t, p, Some(output.len())).expect("Argon2 takes the cost");
        let mut computed = vec![0; output.len()];
        let outcome = Argon2::new(algorithm, version, cost).hash_password_into(b"x", &salt, &mut computed);
        outcome.expect("Argon2 takes the salt");
    }
}

/// The costs as they stand in the text: iterations, `ln`, rounds.
fn check_numbers(text: &str) {
    let costs =
        text.split('$').find(|field| ["i=", "ln=", "rounds="].iter().any(|name| field.starts_with(name)));
    for cost in costs.into_iter().flat_map(|costs| costs.split(',')) {
        let (name, number) = cost.split_once('=').expect("a name and a number");
        let number: u64 = number.parse().expect("a number");
        let most = match name {
            "i" => 10_000_000,
            "ln" => 18 + 3,
            "rounds" => 1_000_000,
            _ => 1024,
        };
        assert!(number <= most, "a login costs {cost}");
    }
}

fn check_bcrypt(text: &str) {
    assert_eq!(text.len(), 60);
    assert!(["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)));
    let cost: u32 = text[4..6].parse().expect("a number");
    assert!((4..=16).contains(&cost), "a login costs 2^{cost}");
}
