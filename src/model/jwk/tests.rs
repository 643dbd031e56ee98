//! What a JWK Set may say, and what it must not. Knows no cryptography.

use super::*;

const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

fn ec() -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": "one"})
}

fn rsa(bits: usize) -> Value {
    let mut n = vec![0xff; bits.div_ceil(8)];
    n[0] >>= (8 - bits % 8) % 8;
    json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": "AQAB", "kid": "rsa"})
}

/// A key with one member replaced, or taken away if `value` is null.
fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    let members = jwk.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(name)
    } else {
        members.insert(name.to_owned(), value)
    };
    jwk
}

fn set(keys: &[Value]) -> Result<JwkSet, InvalidJwkSet> {
    JwkSet::parse(json!({"keys": keys}).to_string().as_bytes())
}

fn refusal(jwk: Value) -> Option<InvalidJwk> {
    PublicJwk::parse(jwk.as_object().expect("an object")).err()
}

#[test]
fn a_private_or_symmetric_key_is_never_taken() {
    for name in PRIVATE {
        assert_eq!(refusal(with(ec(), name, json!("AA"))), Some(InvalidJwk::Private(name)));
        assert_eq!(refusal(with(rsa(2048), name, json!(1))), Some(InvalidJwk::Private(name)));
    }
    assert_eq!(refusal(json!({"kty": "oct"})), Some(InvalidJwk::Symmetric));
    // Not even where it would be left out as of no use.
    let encryption = with(with(ec(), "use", json!("enc")), "d", json!("AA"));
    let why = InvalidJwk::Private("d");
    assert_eq!(set(&[ec(), encryption]), Err(InvalidJwkSet::Key { number: 2, why }));
}

#[test]
fn rsa_keys_have_2048_bits_at_least() {
    for (bits, expected) in [
        (1024, Some(InvalidJwk::RsaSize(1024))),
        (2047, Some(InvalidJwk::RsaSize(2047))),
        (2048, None),
        (3072, None),
        (4096, None),
        (4097, Some(InvalidJwk::RsaSize(4097))),
        (8192, Some(InvalidJwk::RsaSize(8192))),
    ] {
        assert_eq!(refusal(rsa(bits)), expected, "{bits}");
    }
    for e in ["", "AAEAAQ"] {
        assert_eq!(refusal(with(rsa(2048), "e", json!(e))), Some(InvalidJwk::Member("e")), "{e}");
    }
    // 1, 2, 3, 17, 65539 and 2^32 + 1.
    for e in ["AQ", "Ag", "Aw", "EQ", "AQAD", "AQAAAAE"] {
        assert_eq!(refusal(with(rsa(2048), "e", json!(e))), Some(InvalidJwk::RsaExponent), "{e}");
    }
    let even = URL_SAFE_NO_PAD.encode([0xfe; 256]);
    assert_eq!(refusal(with(rsa(2048), "n", json!(even))), Some(InvalidJwk::Member("n")));
    let padded = URL_SAFE_NO_PAD.encode([&[0][..], &[0xff; 256]].concat());
    assert_eq!(refusal(with(rsa(2048), "n", json!(padded))), Some(InvalidJwk::Member("n")));
}

#[test]
fn what_signs_nothing_here_is_left_out_and_what_is_malformed_is_a_mistake() {
    for (name, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!([])),
        ("crv", json!("P-384")),
        ("crv", json!("secp256k1")),
        ("kty", json!("AKP")),
        ("alg", json!("ECDH-ES")),
        ("alg", json!("HS256")),
        ("alg", json!("none")),
    ] {
        assert_eq!(refusal(with(ec(), name, value.clone())), Some(InvalidJwk::Unusable), "{name} {value}");
    }
    for (name, value, member) in [
        ("kty", Value::Null, "kty"),
        ("kty", json!(1), "kty"),
        ("crv", Value::Null, "crv"),
        ("x", Value::Null, "x"),
        ("y", json!(Y.to_owned() + "="), "y"),
        ("y", json!("AAAA"), "y"),
        ("kid", json!(""), "kid"),
        ("kid", json!("k".repeat(257)), "kid"),
        ("kid", json!(7), "kid"),
        ("use", json!(["sig"]), "use"),
        ("key_ops", json!("verify"), "key_ops"),
        ("alg", json!("RS256"), "alg"),
        ("alg", json!(256), "alg"),
    ] {
        assert_eq!(
            refusal(with(ec(), name, value.clone())),
            Some(InvalidJwk::Member(member)),
            "{name} {value}"
        );
    }
    assert_eq!(set(&[with(ec(), "use", json!("enc"))]), Err(InvalidJwkSet::NoneUsable));
    let kept = set(&[with(ec(), "use", json!("enc")), rsa(2048)]).expect("one is of use");
    assert_eq!(kept.keys().iter().map(PublicJwk::kid).collect::<Vec<_>>(), [Some("rsa")]);
}

#[test]
fn a_set_has_usable_keys_with_a_name_each_and_no_two_readings() {
    for (json, why) in [
        ("[]", InvalidJwkSet::Json),
        (r#"{"keys":[],"keys":[]}"#, InvalidJwkSet::Json),
        (r#"{"keys":[{"kty":"EC","kty":"oct"}]}"#, InvalidJwkSet::Json),
        (r#"{"kty":"EC"}"#, InvalidJwkSet::NoKeys),
        (r#"{"keys":{}}"#, InvalidJwkSet::NoKeys),
        (r#"{"keys":[1]}"#, InvalidJwkSet::NoKeys),
        (r#"{"keys":[]}"#, InvalidJwkSet::NoneUsable),
    ] {
        assert_eq!(JwkSet::parse(json.as_bytes()), Err(why), "{json}");
    }
    assert_eq!(set(&[ec(), ec()]), Err(InvalidJwkSet::KidTwice("one".into())));
    let many = |number| (0..number).map(|i| with(ec(), "kid", json!(format!("k{i}")))).collect::<Vec<_>>();
    assert!(set(&many(MOST_KEYS)).is_ok());
    assert_eq!(set(&many(MOST_KEYS + 1)), Err(InvalidJwkSet::TooMany));
    let long = format!(r#"{{"keys":[{}],"x":"{}"}}"#, ec(), "x".repeat(LONGEST_SET));
    assert_eq!(JwkSet::parse(long.as_bytes()), Err(InvalidJwkSet::TooLong));
}

#[test]
fn a_set_reads_back_as_it_was_written() {
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": X, "alg": "Ed25519", "use": "sig"});
    let given = set(&[with(ec(), "foo", json!({"bar": 1})), with(rsa(2048), "alg", json!("PS256")), ed]);
    let given = given.expect("a set");

    let stored = given.to_json();

    assert_eq!(JwkSet::parse_stored(stored.as_bytes()), Ok(given));
    assert!(!stored.contains("foo"), "{stored}");
}

#[test]
fn a_set_that_was_stored_before_a_bound_was_drawn_keeps_its_other_keys() {
    let read = |keys: &[Value]| {
        let keys = JwkSet::parse_stored(json!({"keys": keys}).to_string().as_bytes()).expect("readable");
        keys.keys().iter().map(|jwk| jwk.kid().map(str::to_owned)).collect::<Vec<_>>()
    };

    assert_eq!(read(&[rsa(8192), ec(), with(rsa(2048), "e", json!("Aw"))]), [Some("one".to_owned())]);
    assert_eq!(read(&[rsa(8192)]), []);
    let secret = json!({"keys": [{"kty": "oct", "k": "AAAA"}]}).to_string();
    assert!(JwkSet::parse_stored(secret.as_bytes()).is_err(), "nobody has ever stored this");
}

#[test]
fn a_thumbprint_is_computed_over_the_required_members_alone() {
    // RFC 7638 §3.1.
    let jwk = PublicJwk::parse(ec().as_object().expect("an object")).expect("a key");

    assert_eq!(jwk.key().thumbprint_input(), format!(r#"{{"crv":"P-256","kty":"EC","x":"{X}","y":"{Y}"}}"#));
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = JwkSet::parse(&bytes);
    }

    #[test]
    fn whatever_is_taken_reads_back(
        kty in proptest::sample::select(vec!["EC", "RSA", "OKP", "oct"]),
        crv in proptest::sample::select(vec!["P-256", "Ed25519", "P-521"]),
        x in "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]",
        kid in proptest::option::of("\\PC{1,20}"),
    ) {
        let mut jwk = json!({"kty": kty, "crv": crv, "x": x, "y": Y, "n": x, "e": "AQAB"});
        if let Some(kid) = kid {
            jwk["kid"] = json!(kid);
        }
        if let Ok(read) = set(&[jwk]) {
            proptest::prop_assert_eq!(JwkSet::parse_stored(read.to_json().as_bytes()), Ok(read));
        }
    }
}
