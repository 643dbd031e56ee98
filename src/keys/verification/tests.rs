//! Attacks on token verification, and what `token inspect` says about them. Must not rely on the happy
//! path to write a token: what an attacker sends is put together byte by byte.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::keys::ring::{KeyRing, PublishedKey};
use crate::model::key::{KeyState, SigningKeyInfo};

const ISSUER: &str = "https://auth.example";
const NOW: i64 = 1_700_000_000;

fn expected() -> Expectations<'static> {
    Expectations { issuer: ISSUER, now: Timestamp::from_secs(NOW), clock_skew: Ttl::ZERO }
}

fn key(algorithm: SigningAlgorithm) -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(algorithm).expect("made").0)
}

fn ring(keys: &[&Arc<SigningKey>]) -> KeyRing {
    let since = Timestamp::from_secs(0);
    let entry = |key: &&Arc<SigningKey>| {
        let (kid, algorithm) = (key.kid().clone(), key.algorithm());
        let info = SigningKeyInfo {
            kid,
            algorithm,
            state: KeyState::Active { since },
            created_at: since,
            longest_ttl: crate::model::time::Ttl::ZERO,
        };
        PublishedKey { key: Arc::clone(key), info, seen_at: since, signs_from: since }
    };
    KeyRing::new(keys.iter().map(entry).collect())
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "someone", "aud": "https://api.example", "exp": NOW + 600, "iat": NOW,
        "jti": "1", "client_id": "app", "scope": "read",
    })
}

/// `claims()` with one claim replaced, or taken away if `value` is null.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(name)
    } else {
        members.insert(name.to_owned(), value)
    };
    claims
}

/// A token of these exact bytes, really signed by `key`.
fn signed(key: &SigningKey, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let handle = crate::keys::algorithm::row(key.algorithm())
        .encoding_key(format!("{} {}", key.algorithm(), key.kid()).as_bytes());
    let algorithm = crate::keys::algorithm::row(key.algorithm()).jwt;
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &handle, algorithm).expect("signed");
    format!("{message}.{signature}")
}

fn header(alg: &str, kid: &str) -> String {
    json!({"alg": alg, "typ": "at+jwt", "kid": kid}).to_string()
}

fn refusal(ring: &KeyRing, jwt: &str) -> NotValid {
    let inspection = ring.inspect(jwt, &expected());
    let refused = ring.verify(jwt, &expected()).expect_err(jwt);
    assert!(!inspection.holds(), "inspect and verify agree");
    refused
}

#[test]
fn a_good_token_of_each_algorithm_holds_in_every_check() {
    for algorithm in SigningAlgorithm::ALL {
        let key = key(algorithm);
        let token = key.sign(ACCESS_TOKEN_TYP, &claims()).expect("signed");

        let inspection = ring(&[&key]).inspect(&token, &expected());

        assert!(inspection.holds(), "{:?}", inspection.checks);
        let names: Vec<_> = inspection.checks.iter().map(|check| check.name).collect();
        let all = ["form", "header", "type", "key", "algorithm", "signature"];
        assert_eq!(names, [&all[..], &["required claims", "issuer", "not expired", "issued"]].concat());
        let read = ring(&[&key]).verify(&token, &expected()).expect("valid");
        assert_eq!(Value::Object(read.claims), claims());
    }
}

#[test]
fn alg_none_is_refused_with_and_without_a_known_key() {
    let key = key(SigningAlgorithm::Es256);
    let ring = ring(&[&key]);
    let body = URL_SAFE_NO_PAD.encode(claims().to_string());

    for alg in ["none", "None", "NONE", ""] {
        let token = format!("{}.{body}.", URL_SAFE_NO_PAD.encode(header(alg, key.kid().as_str())));
        assert!(matches!(refusal(&ring, &token), NotValid::Algorithm { .. }), "{alg}");

        let token = format!("{}.{body}.", URL_SAFE_NO_PAD.encode(header(alg, "unknown")));
        let inspection = ring.inspect(&token, &expected());
        let outcomes: Vec<_> = inspection.checks.into_iter().map(|check| check.outcome).collect();
        assert!(outcomes.contains(&Outcome::Fails(NotValid::ForeignAlgorithm(Shown::text(alg)))));
        assert!(outcomes.contains(&Outcome::Fails(NotValid::SignatureUnchecked)));
    }
}

#[test]
fn a_public_key_used_as_an_hmac_secret_forges_nothing() {
    for algorithm in SigningAlgorithm::ALL {
        let key = key(algorithm);
        let public = DecodingKey::from_jwk(key.jwk()).expect("a public key");
        let secrets = [
            match public.kind() {
                DecodingKeyKind::SecretOrDer(bytes) => bytes.clone(),
                DecodingKeyKind::RsaModulusExponent { n, .. } => n.clone(),
            },
            serde_json::to_vec(key.jwk()).expect("json"),
            key.kid().as_str().as_bytes().to_vec(),
            Vec::new(),
        ];

        for secret in secrets {
            let head = URL_SAFE_NO_PAD.encode(header("HS256", key.kid().as_str()));
            let message = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims().to_string()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));

            let refused = refusal(&ring(&[&key]), &token);

            let found = Shown::text("HS256");
            assert_eq!(refused, NotValid::Algorithm { found, key: algorithm });
        }
    }
}

#[test]
fn a_token_cannot_choose_the_algorithm_it_is_verified_by() {
    for algorithm in SigningAlgorithm::ALL {
        let key = key(algorithm);
        for claimed in ["ES256", "ES384", "RS256", "RS512", "PS256", "EdDSA", "HS512", "es256", "Ed448"] {
            if claimed == algorithm.as_str() {
                continue;
            }
            let token = signed(&key, &header(claimed, key.kid().as_str()), &claims().to_string());

            assert!(matches!(refusal(&ring(&[&key]), &token), NotValid::Algorithm { .. }), "{claimed}");
        }
    }
}

#[test]
fn a_token_of_another_issuer_or_of_a_retired_key_is_refused() {
    let (ours, theirs) = (key(SigningAlgorithm::Es256), key(SigningAlgorithm::Es256));

    let foreign = theirs.sign(ACCESS_TOKEN_TYP, &claims()).expect("signed");
    let masked = signed(&theirs, &header("ES256", ours.kid().as_str()), &claims().to_string());
    let nameless = signed(&ours, r#"{"alg":"ES256","typ":"at+jwt"}"#, &claims().to_string());

    let ring = ring(&[&ours]);
    assert_eq!(refusal(&ring, &foreign), NotValid::UnknownKey(Shown::text(theirs.kid().as_str())));
    assert_eq!(refusal(&ring, &masked), NotValid::Signature);
    assert_eq!(refusal(&ring, &nameless), NotValid::NoKid);
}

#[test]
fn keys_addresses_and_critical_extensions_in_a_header_are_refused_even_if_signed() {
    let key = key(SigningAlgorithm::Es256);
    let ring = ring(&[&key]);
    let extended = |name: &str, value: Value| {
        let mut header = json!({"alg": "ES256", "typ": "at+jwt", "kid": key.kid().as_str()});
        header[name] = value;
        refusal(&ring, &signed(&key, &header.to_string(), &claims().to_string()))
    };

    assert_eq!(extended("crit", json!(["exp"])), NotValid::Critical);
    assert_eq!(extended("crit", json!([])), NotValid::Critical);
    assert_eq!(extended("crit", json!(null)), NotValid::Critical);
    for (name, value) in [
        ("jwk", serde_json::to_value(key.jwk()).expect("json")),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5c", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
    ] {
        assert_eq!(extended(name, value), NotValid::ForeignHeader(Shown::text(name)));
    }
}

#[test]
fn another_kind_of_token_is_no_access_token() {
    let key = key(SigningAlgorithm::EdDsa);
    let ring = ring(&[&key]);

    for typ in ["JWT", "jwt", "AT+JWT", "application/at+jwt", "statuslist+jwt", "dpop+jwt", ""] {
        let token = key.sign(typ, &claims()).expect("signed");

        assert_eq!(refusal(&ring, &token), NotValid::Type(Shown::text(typ)));
    }
    let untyped = signed(&key, &json!({"alg": "EdDSA", "kid": key.kid().as_str()}).to_string(), "{}");
    assert_eq!(refusal(&ring, &untyped).to_string().split(" instead").next(), Some("typ is missing"));
}

#[test]
fn a_name_that_stands_twice_is_refused_before_anybody_believes_either() {
    let key = key(SigningAlgorithm::Es256);
    let (ring, kid) = (ring(&[&key]), key.kid().as_str());
    let claims = claims().to_string();
    let twice = claims.replacen('{', r#"{"sub":"admin","#, 1);

    let header_twice = format!(r#"{{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"{kid}"}}"#);
    assert_eq!(refusal(&ring, &signed(&key, &header_twice, &claims)), NotValid::Header);
    assert_eq!(refusal(&ring, &signed(&key, &header("ES256", kid), &twice)), NotValid::Claims);
    for not_an_object in ["", "[]", "null", "1", "\"x\"", "{", "{}{}", "{}x", "\u{feff}{}", "{\"a\":1e999}"] {
        let token = signed(&key, &header("ES256", kid), not_an_object);
        assert_eq!(refusal(&ring, &token), NotValid::Claims, "{not_an_object}");
        let token = signed(&key, not_an_object, &claims);
        assert_eq!(refusal(&ring, &token), NotValid::Header, "{not_an_object}");
    }
}

#[test]
fn every_required_claim_must_be_there_and_of_its_kind() {
    let key = key(SigningAlgorithm::EdDsa);
    let ring = ring(&[&key]);
    let refused = |claims| refusal(&ring, &key.sign(ACCESS_TOKEN_TYP, &claims).expect("signed"));

    for name in REQUIRED {
        assert_eq!(refused(with(name, Value::Null)), NotValid::Missing(name));
        for odd in
            [json!({}), json!([]), json!([""]), json!(""), json!(true), json!("1700000600"), json!(1.5)]
        {
            let text_is_fine = odd == "1700000600" && !["exp", "iat"].contains(&name);
            if text_is_fine {
                continue;
            }
            assert_eq!(refused(with(name, odd.clone())), NotValid::Malformed(name), "{name}: {odd}");
        }
    }
    let null = claims().to_string().replace("\"someone\"", "null");
    assert_eq!(
        refusal(&ring, &signed(&key, &header("EdDSA", key.kid().as_str()), &null)),
        NotValid::Malformed("sub")
    );
    let several = key.sign(ACCESS_TOKEN_TYP, &with("aud", json!(["a", "b"]))).expect("signed");
    assert!(ring.verify(&several, &expected()).is_ok());
}

#[test]
fn numbers_that_wrap_or_round_do_not_keep_a_token_alive() {
    let key = key(SigningAlgorithm::EdDsa);
    let ring = ring(&[&key]);

    for exp in [json!(-1), json!(u64::MAX), json!(i64::MIN), json!(1e300), json!(1_700_000_600.0)] {
        let token = key.sign(ACCESS_TOKEN_TYP, &with("exp", exp.clone())).expect("signed");

        assert_eq!(refusal(&ring, &token), NotValid::Malformed("exp"), "{exp}");
    }
}

#[test]
fn time_is_judged_by_the_clock_that_was_handed_in_to_the_second() {
    let key = key(SigningAlgorithm::EdDsa);
    let ring = ring(&[&key]);
    let token = key.sign(ACCESS_TOKEN_TYP, &with("nbf", json!(NOW + 10))).expect("signed");
    let at = |millis: i64| {
        let now = Timestamp::from_millis(millis);
        ring.verify(&token, &Expectations { now, ..expected() }).map(drop)
    };

    let time = Timestamp::from_secs;
    assert_eq!(at(NOW * 1000 - 1), Err(NotValid::IssuedInTheFuture(time(NOW))));
    assert_eq!(at((NOW + 10) * 1000 - 1), Err(NotValid::NotYet(time(NOW + 10))));
    assert_eq!(at((NOW + 10) * 1000), Ok(()));
    assert_eq!(at((NOW + 600) * 1000 - 1), Ok(()));
    assert_eq!(at((NOW + 600) * 1000), Err(NotValid::Expired(time(NOW + 600))));
}

#[test]
fn what_is_kept_of_a_token_is_judged_by_the_clock_and_the_keys_of_now() {
    let key = key(SigningAlgorithm::EdDsa);
    let other = self::key(SigningAlgorithm::EdDsa);
    let token = key.sign(ACCESS_TOKEN_TYP, &with("nbf", json!(NOW + 10))).expect("signed");
    let early = Expectations { clock_skew: Ttl::from_secs(60), ..expected() };

    let proof = ring(&[&key]).verify(&token, &early).expect("let in early").proof;

    let time = Timestamp::from_secs;
    let at = |millis: i64| proof.is_current(Timestamp::from_millis(millis));
    assert_eq!(at((NOW + 10) * 1000 - 1), Err(NotValid::NotYet(time(NOW + 10))), "no skew once it is kept");
    assert_eq!(at((NOW + 10) * 1000), Ok(()));
    assert_eq!(at((NOW + 600) * 1000 - 1), Ok(()));
    assert_eq!(at((NOW + 600) * 1000), Err(NotValid::Expired(time(NOW + 600))));
    assert!(ring(&[&other, &key]).stands_by(&proof));
    assert!(!ring(&[&other]).stands_by(&proof), "its key was retired");
}

#[test]
fn a_key_that_serves_another_algorithm_now_does_not_stand_by_what_it_signed() {
    let (rs256, pkcs8) = SigningKey::generate(SigningAlgorithm::Rs256).expect("made");
    let rs256 = Arc::new(rs256);
    let ps256 = Arc::new(SigningKey::parse(SigningAlgorithm::Ps256, &pkcs8).expect("the same key"));
    let token = rs256.sign(ACCESS_TOKEN_TYP, &claims()).expect("signed");

    let proof = ring(&[&rs256]).verify(&token, &expected()).expect("valid").proof;

    assert!(ring(&[&rs256]).stands_by(&proof));
    assert!(!ring(&[&ps256]).stands_by(&proof));
}

#[test]
fn clock_skew_lets_a_token_in_early_and_never_out_late() {
    let key = key(SigningAlgorithm::EdDsa);
    let ring = ring(&[&key]);
    let token = key.sign(ACCESS_TOKEN_TYP, &claims()).expect("signed");
    let at = |secs| {
        let now = Timestamp::from_secs(secs);
        ring.verify(&token, &Expectations { now, clock_skew: Ttl::from_secs(5), ..expected() }).is_ok()
    };

    assert!(at(NOW - 5));
    assert!(!at(NOW - 6));
    assert!(!at(NOW + 600));
}

#[test]
fn the_issuer_is_compared_letter_by_letter() {
    let key = key(SigningAlgorithm::EdDsa);
    let ring = ring(&[&key]);

    for near in
        ["https://auth.example/", "https://AUTH.example", "http://auth.example", "https://auth.exampl"]
    {
        let token = key.sign(ACCESS_TOKEN_TYP, &with("iss", json!(near))).expect("signed");

        assert_eq!(refusal(&ring, &token), NotValid::Issuer(Shown::text(near)));
    }
}

#[test]
fn every_changed_character_of_a_token_is_seen() {
    for algorithm in SigningAlgorithm::ALL {
        let key = key(algorithm);
        let ring = ring(&[&key]);
        let token = key.sign(ACCESS_TOKEN_TYP, &claims()).expect("signed");

        for at in 0..token.len() {
            let other = if &token[at..=at] == "A" { "B" } else { "A" };
            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert!(ring.verify(&changed, &expected()).is_err(), "{algorithm}, character {at}");
        }
        let (message, signature) = token.rsplit_once('.').expect("three parts");
        for mutated in [
            format!("{message}."),
            format!("{message}.{signature}="),
            format!("{message}.{signature}A"),
            format!("{token}.AAAA"),
            format!(" {token}"),
            format!("{token}\n"),
            format!("{message}.{}", "A".repeat(signature.len())),
            message.to_owned(),
        ] {
            assert!(ring.verify(&mutated, &expected()).is_err(), "{mutated}");
        }
    }
}

#[test]
fn inspection_names_every_fault_at_once() {
    let (ours, theirs) = (key(SigningAlgorithm::Es256), key(SigningAlgorithm::Es256));
    let mut claims = with("sub", Value::Null);
    claims["iss"] = json!("https://evil.example");
    claims["exp"] = json!(NOW);
    let token =
        signed(&theirs, &header("ES256", ours.kid().as_str()).replace("at+jwt", "JWT"), &claims.to_string());

    let inspection = ring(&[&ours]).inspect(&token, &expected());

    let failed: Vec<_> = inspection
        .checks
        .iter()
        .filter(|check| check.outcome != Outcome::Holds)
        .map(|check| check.name)
        .collect();
    assert_eq!(failed, ["type", "signature", "required claims", "issuer", "not expired"]);
    assert_eq!(inspection.claims.expect("readable")["client_id"], "app");
}

#[test]
fn what_a_stranger_wrote_cannot_play_with_the_terminal() {
    let key = key(SigningAlgorithm::Es256);
    let evil = format!("\u{1b}]0;owned\u{7}\n\u{202e}{}", "x".repeat(1000));
    let token = signed(&key, &header("ES256", &evil), &with("iss", json!(evil)).to_string());

    for check in ring(&[&key]).inspect(&token, &expected()).checks {
        let Outcome::Fails(why) = check.outcome else { continue };
        for said in [why.to_string(), format!("{why:?}")] {
            assert!(!said.contains(['\u{1b}', '\u{7}', '\n', '\u{202e}']), "{said}");
            assert!(said.len() < 400, "{said}");
        }
    }
}

#[test]
fn a_flood_of_bytes_is_refused_without_being_decoded() {
    let key = key(SigningAlgorithm::EdDsa);
    let ring = ring(&[&key]);
    let fine = key.sign(ACCESS_TOKEN_TYP, &claims()).expect("signed");

    for flood in ["A".repeat(1 << 20), ".".repeat(1 << 20), format!("{fine}{}", "A".repeat(1 << 20))] {
        assert_eq!(refusal(&ring, &flood), NotValid::TooLong);
    }
    let deep = "[".repeat(40_000);
    assert_eq!(refusal(&ring, &signed(&key, &deep, "{}")), NotValid::Header);
    let deep = format!(r#"{{"a":{}"#, "[".repeat(40_000));
    assert_eq!(refusal(&ring, &signed(&key, &deep, "{}")), NotValid::Header);
}

#[test]
fn what_is_no_jwt_is_said_to_be_none() {
    let ring = ring(&[]);

    for text in
        ["", ".", "..", "...", "a", "a.b", "ä.ö.ü", "eyJhbGciOiJub25lIn0.e30", "a.b.c.d.e", "\0.\0.\0"]
    {
        assert!(
            matches!(refusal(&ring, text), NotValid::NotAJwt | NotValid::Header),
            "{text}: {:?}",
            refusal(&ring, text)
        );
    }
}

proptest! {
    #[test]
    fn no_text_makes_verification_panic_or_succeed(text in ".{0,200}", header in ".{0,60}", claims in ".{0,60}") {
        let ring = ring(&[]);
        let shaped = format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));

        prop_assert!(ring.verify(&text, &expected()).is_err());
        prop_assert!(ring.verify(&shaped, &expected()).is_err());
    }
}
