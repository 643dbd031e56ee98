//! DPoP over real sockets: RFC 9449. A token that is bound to a key is of no use to whoever has not that key, and a proof
//! is of no use to whoever saw it.

use std::sync::atomic::{AtomicU64, Ordering};

use grantd::app::clock::Clock;
use grantd::app::dpop::ResourceRequest;
use grantd::model::client::Registration;
use grantd::model::jwk::PublicJwk;
use grantd::protocol::bearer::Scheme;
use grantd::protocol::dpop::{InvalidProof, Refused, token_hash};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::database::TestDatabase;
use crate::support::jose::{Key, hmac_signed, unsigned};
use crate::support::refusal::{Challenge, assert_refusal};
use crate::support::relay::Relay;
use crate::support::runner::trials;
use crate::support::server::{Answer, ISSUER, PASSWORD, PUBLIC, START, TestServer, client};

trials! {
    both: [
        rfc_9449_section_5_every_grant_binds_its_access_token_to_the_key,
        rfc_9449_section_4_3_a_proof_that_is_no_good_is_refused_and_nothing_is_consumed,
        rfc_9449_section_5_a_public_client_s_refresh_tokens_are_good_with_its_key_alone,
        rfc_9449_section_5_a_confidential_client_s_refresh_tokens_are_not_bound,
        rfc_9449_section_7_a_bound_token_is_of_use_with_its_key_alone,
        a_proof_that_was_used_is_refused_by_the_next_process_too,
    ],
    sqlite: [
        rfc_9449_section_5_2_a_client_that_is_registered_so_gets_no_token_without_a_proof,
        rfc_9449_section_8_a_nonce_is_asked_for_given_and_taken_for_minutes,
        rfc_9449_section_4_3_item_11_a_fresh_nonce_lets_a_wrong_clock_in,
        a_refresh_without_a_key_is_bound_to_the_first_key_that_comes,
    ],
    postgres: [
        rfc_9449_section_11_1_of_32_uses_at_once_over_two_instances_one_wins,
        rfc_9449_section_8_a_nonce_of_one_instance_is_taken_by_the_other,
        while_the_database_is_away_no_proof_is_taken,
    ],
}

const CLIENT_CREDENTIALS: &[(&str, &str)] = &[("grant_type", "client_credentials")];

pub(crate) fn jkt(key: &Key) -> String {
    let jwk = PublicJwk::parse(key.jwk().as_object().expect("an object")).expect("a key");
    grantd::keys::public_keys::thumbprint(jwk.key())
}

fn header(key: &Key) -> Value {
    let alg = match key {
        Key::P256(_) => "ES256",
        Key::Rsa(_) => "PS256",
        Key::Ed25519(_) => "EdDSA",
    };
    json!({"typ": "dpop+jwt", "alg": alg, "jwk": key.jwk()})
}

/// The claims of a proof for `/token`, with a `jti` of their own.
fn claims() -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let jti = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    json!({"jti": jti, "htm": "POST", "htu": format!("{ISSUER}/token"), "iat": START.as_secs()})
}

pub(crate) fn proof(key: &Key) -> String {
    key.sign(&header(key), &claims())
}

/// A proof for `GET /userinfo` with an access token.
fn for_userinfo(key: &Key, token: &str) -> String {
    let claims = with(with(claims(), "htm", json!("GET")), "htu", json!(format!("{ISSUER}/userinfo")));
    key.sign(&header(key), &with(claims, "ath", json!(token_hash(token))))
}

fn at_userinfo<'a>(access_token: &'a str, jkt: Option<&'a str>) -> ResourceRequest<'a> {
    ResourceRequest { method: "GET", path: "/userinfo", proofs: &[], scheme: Scheme::Dpop, access_token, jkt }
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

async fn ask(server: &TestServer, secret: Option<&str>, form: &[(&str, &str)], proofs: &[&str]) -> Answer {
    let mut request = server.http.post(format!("{}/token", server.url)).form(form);
    if let Some(secret) = secret {
        request = request.basic_auth("app", Some(secret));
    }
    for proof in proofs {
        request = request.header("DPoP", *proof);
    }
    Answer::of(request.send().await.expect("an answer")).await
}

async fn log_in(server: &TestServer, secret: Option<&str>, proofs: &[&str]) -> Answer {
    let form = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
    let spa = [&form[..], &[("client_id", "spa")]].concat();
    ask(server, secret, if secret.is_some() { &form } else { &spa }, proofs).await
}

async fn refresh(server: &TestServer, secret: Option<&str>, token: &str, proofs: &[&str]) -> Answer {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
    let spa = [&form[..], &[("client_id", "spa")]].concat();
    ask(server, secret, if secret.is_some() { &form } else { &spa }, proofs).await
}

fn assert_bound(answer: &Answer, key: &Key) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text("token_type"), "DPoP");
    assert_eq!(answer.claims()["cnf"], json!({"jkt": jkt(key)}));
    assert_eq!(answer.header("dpop-nonce").len(), 22, "{answer:?}");
}

fn assert_bearer(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text("token_type"), "Bearer");
    assert_eq!(answer.claims().get("cnf"), None);
}

fn assert_invalid_proof(answer: &Answer) {
    assert_refusal(answer, 400, "invalid_dpop_proof", Challenge::Absent);
}

async fn rfc_9449_section_5_every_grant_binds_its_access_token_to_the_key(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = Some(secret.as_str());

    for key in [Key::p256(), Key::rsa(), Key::ed25519()] {
        assert_bound(&ask(&server, app, CLIENT_CREDENTIALS, &[&proof(&key)]).await, &key);
        let login = log_in(&server, app, &[&proof(&key)]).await;
        assert_bound(&login, &key);
        assert_bound(&refresh(&server, app, &login.text("refresh_token"), &[&proof(&key)]).await, &key);
        assert_bound(&log_in(&server, None, &[&proof(&key)]).await, &key);
    }
    let named = server.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(
        named["dpop_signing_alg_values_supported"],
        json!(["ES256", "RS256", "PS256", "EdDSA", "Ed25519"])
    );
    let (rsa, ed25519) = (Key::rsa(), Key::ed25519());
    for (key, alg) in [(&rsa, "RS256"), (&ed25519, "Ed25519")] {
        let proof = key.sign(&with(header(key), "alg", json!(alg)), &claims());
        assert_bound(&ask(&server, app, CLIENT_CREDENTIALS, &[&proof]).await, key);
    }
    let without = ask(&server, app, CLIENT_CREDENTIALS, &[]).await;
    assert_bearer(&without);
    assert!(!without.headers.contains_key("dpop-nonce"), "who uses no proofs hears nothing of them");
    server.stop().await;
}

async fn rfc_9449_section_4_3_a_proof_that_is_no_good_is_refused_and_nothing_is_consumed(
    database: TestDatabase,
) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = Some(secret.as_str());
    let (key, other) = (Key::p256(), Key::p256());
    let token = log_in(&server, None, &[&proof(&key)]).await.text("refresh_token");
    let now = START.as_secs();
    let (head, body) = (header(&key), claims());
    let good = key.sign(&head, &body);
    let (message, _) = good.rsplit_once('.').expect("a JWS");
    let others = other.sign(&head, &body);
    let private = with(key.jwk(), "d", json!("AAAA"));
    let twice = |object: &Value, member: &str| format!("{{{member},{}", &object.to_string()[1..]);
    let jwk_twice = head.to_string().replace("\"kty\":", "\"kty\":\"oct\",\"kty\":");
    let hs256 = with(head.clone(), "alg", json!("HS256"));
    let claim = |name: &str, value: Value| key.sign(&head, &with(body.clone(), name, value));
    let member = |name: &str, value: Value| key.sign(&with(head.clone(), name, value), &body);

    let used = proof(&key);
    assert_bound(&ask(&server, app, CLIENT_CREDENTIALS, &[&used]).await, &key);

    for (what, proofs) in [
        ("item 1: two headers", vec![good.clone(), proof(&key)]),
        ("item 1: the same twice", vec![good.clone(), good.clone()]),
        ("item 1: two in one header", vec![format!("{good}, {good}")]),
        ("item 2: no JWT", vec!["proof".to_owned()]),
        ("item 2: nothing", vec![String::new()]),
        (
            "item 2: a header member twice",
            vec![key.sign_text("ES256", &twice(&head, "\"typ\":\"JWT\""), &body.to_string())],
        ),
        ("item 2: a key member twice", vec![key.sign_text("ES256", &jwk_twice, &body.to_string())]),
        (
            "item 2: a claim twice",
            vec![key.sign_text("ES256", &head.to_string(), &twice(&body, "\"htm\":\"GET\""))],
        ),
        ("item 2: crit", vec![member("crit", json!(["htu"]))]),
        ("item 2: too long", vec![member("x", json!("x".repeat(7000)))]),
        ("item 3: no jti", vec![claim("jti", json!(""))]),
        ("item 3: no iat", vec![claim("iat", json!("now"))]),
        ("item 4: typ", vec![member("typ", json!("JWT"))]),
        ("item 5: alg none", vec![unsigned(&with(head.clone(), "alg", json!("none")), &body)]),
        ("item 5: HS256 with the public key", vec![hmac_signed(&key.public_bytes(), &hs256, &body)]),
        ("item 5: HS256 with the JWK", vec![hmac_signed(key.jwk().to_string().as_bytes(), &hs256, &body)]),
        ("item 5: another alg than the key's", vec![member("alg", json!("EdDSA"))]),
        ("item 6: another key", vec![others]),
        ("item 6: no signature", vec![format!("{message}.")]),
        ("item 7: a private key", vec![member("jwk", private)]),
        ("item 7: a symmetric key", vec![member("jwk", json!({"kty": "oct", "k": "AAAA"}))]),
        ("item 7: no key", vec![member("jwk", json!(null))]),
        ("item 8: htm", vec![claim("htm", json!("GET"))]),
        ("item 9: htu", vec![claim("htu", json!(format!("{ISSUER}/userinfo")))]),
        ("item 9: another server's htu", vec![claim("htu", json!("https://auth.example/token"))]),
        ("item 11: too old", vec![claim("iat", json!(now - 300))]),
        ("item 11: from the future", vec![claim("iat", json!(now + 61))]),
        ("section 11.1: used before", vec![used]),
    ] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        for answer in [
            ask(&server, app, CLIENT_CREDENTIALS, &proofs).await,
            refresh(&server, None, &token, &proofs).await,
        ] {
            assert_eq!(answer.status, 400, "{what}: {answer:?}");
            assert_invalid_proof(&answer);
            assert_eq!(answer.header("dpop-nonce").len(), 22, "{what}: {answer:?}");
        }
    }
    let elsewhere = claim("nonce", json!("AAAAAAAAAAAAAAAAAAAAAA"));
    let answer = ask(&server, app, CLIENT_CREDENTIALS, &[&elsewhere]).await;
    assert_refusal(&answer, 400, "use_dpop_nonce", Challenge::Absent);

    // None of it used the id or the refresh token up.
    assert_bound(&refresh(&server, None, &token, &[&good]).await, &key);
    assert_eq!(server.login(("app", "wrong"), "alice").await.status, 401);
    server.stop().await;
}

async fn rfc_9449_section_5_a_public_client_s_refresh_tokens_are_good_with_its_key_alone(
    database: TestDatabase,
) {
    let (server, _) = TestServer::furnished(&database, &[]).await;
    let (key, thief) = (Key::p256(), Key::ed25519());
    let first = log_in(&server, None, &[&proof(&key)]).await.text("refresh_token");
    let second = refresh(&server, None, &first, &[&proof(&key)]).await;
    assert_bound(&second, &key);
    let second = second.text("refresh_token");

    // Whoever stole tokens and not the key can do nothing: not redeem one, and not end the session by an old one.
    for token in [&first, &second] {
        assert_invalid_proof(&refresh(&server, None, token, &[]).await);
        let other = refresh(&server, None, token, &[&proof(&thief)]).await;
        assert_refusal(&other, 400, "invalid_grant", Challenge::Absent);
    }

    // A lost answer may be asked for again, with another proof by the same key.
    let again = refresh(&server, None, &first, &[&proof(&key)]).await;
    assert_eq!(again.text("refresh_token"), second);
    let third = refresh(&server, None, &second, &[&proof(&key)]).await;
    assert_bound(&third, &key);
    // Beyond the retry rule it is reuse, as ever.
    server.pass(11);
    let reused = refresh(&server, None, &first, &[&key.sign(&header(&key), &claims())]).await;
    assert_refusal(&reused, 400, "invalid_grant", Challenge::Absent);
    let ended = refresh(&server, None, &third.text("refresh_token"), &[&proof(&key)]).await;
    assert_refusal(&ended, 400, "invalid_grant", Challenge::Absent);
    server.stop().await;
}

async fn rfc_9449_section_5_a_confidential_client_s_refresh_tokens_are_not_bound(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = Some(secret.as_str());
    let (key, next) = (Key::p256(), Key::p256());
    let login = log_in(&server, app, &[&proof(&key)]).await;

    let second = refresh(&server, app, &login.text("refresh_token"), &[&proof(&next)]).await;
    assert_bound(&second, &next);
    let third = refresh(&server, app, &second.text("refresh_token"), &[]).await;

    assert_bearer(&third);
    server.stop().await;
}

async fn a_refresh_without_a_key_is_bound_to_the_first_key_that_comes(database: TestDatabase) {
    let (server, _) = TestServer::furnished(&database, &[]).await;
    let (key, other) = (Key::p256(), Key::p256());
    let login = log_in(&server, None, &[]).await;
    assert_bearer(&login);
    let unbound = refresh(&server, None, &login.text("refresh_token"), &[]).await;
    assert_bearer(&unbound);

    let bound = refresh(&server, None, &unbound.text("refresh_token"), &[&proof(&key)]).await;

    assert_bound(&bound, &key);
    let token = bound.text("refresh_token");
    assert_invalid_proof(&refresh(&server, None, &token, &[]).await);
    let answer = refresh(&server, None, &token, &[&proof(&other)]).await;
    assert_refusal(&answer, 400, "invalid_grant", Challenge::Absent);
    assert_bound(&refresh(&server, None, &token, &[&proof(&key)]).await, &key);
    server.stop().await;
}

async fn rfc_9449_section_5_2_a_client_that_is_registered_so_gets_no_token_without_a_proof(
    database: TestDatabase,
) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = Some(secret.as_str());
    let kept = log_in(&server, app, &[]).await.text("refresh_token");
    let bound = |registration: Registration| Registration { dpop_bound: true, ..registration };
    server.app.update_client(&"app".parse().expect("an id"), bound, None).await.expect("updated");
    let key = Key::p256();

    assert_invalid_proof(&ask(&server, app, CLIENT_CREDENTIALS, &[]).await);
    assert_invalid_proof(&log_in(&server, app, &[]).await);
    assert_invalid_proof(&refresh(&server, app, &kept, &[]).await);
    // Not before it is known who asks.
    let stranger = ask(&server, Some("wrong"), CLIENT_CREDENTIALS, &[]).await;
    assert_refusal(&stranger, 401, "invalid_client", Challenge::Given);

    assert_bound(&ask(&server, app, CLIENT_CREDENTIALS, &[&proof(&key)]).await, &key);
    assert_bound(&refresh(&server, app, &kept, &[&proof(&key)]).await, &key);
    server.stop().await;
}

async fn rfc_9449_section_8_a_nonce_is_asked_for_given_and_taken_for_minutes(database: TestDatabase) {
    let require = ("GRANTD_DPOP__REQUIRE_NONCE", "true");
    let (server, secret) = TestServer::furnished(&database, &[require]).await;
    let app = Some(secret.as_str());
    let key = Key::p256();
    let made_with = |nonce: &str| key.sign(&header(&key), &with(claims(), "nonce", json!(nonce)));

    let asked = ask(&server, app, CLIENT_CREDENTIALS, &[&proof(&key)]).await;
    assert_refusal(&asked, 400, "use_dpop_nonce", Challenge::Absent);
    let nonce = asked.header("dpop-nonce");

    let granted = ask(&server, app, CLIENT_CREDENTIALS, &[&made_with(&nonce)]).await;
    assert_bound(&granted, &key);
    assert_eq!(granted.header("dpop-nonce"), nonce, "the same for a while");
    server.pass(150);
    let next = ask(&server, app, CLIENT_CREDENTIALS, &[&made_with(&nonce)]).await;
    assert_bound(&next, &key);
    assert_ne!(next.header("dpop-nonce"), nonce, "section 8.2: a new one comes with an answer");
    server.pass(150);
    for old in [nonce.as_str(), "", "AAAAAAAAAAAAAAAAAAAAAA"] {
        let answer = ask(&server, app, CLIENT_CREDENTIALS, &[&made_with(old)]).await;
        assert_refusal(&answer, 400, "use_dpop_nonce", Challenge::Absent);
    }
    let not_text = key.sign(&header(&key), &with(claims(), "nonce", json!([nonce])));
    assert_invalid_proof(&ask(&server, app, CLIENT_CREDENTIALS, &[&not_text]).await);
    let granted = ask(&server, app, CLIENT_CREDENTIALS, &[&made_with(&next.header("dpop-nonce"))]).await;
    assert_bound(&granted, &key);
    server.stop().await;
}

async fn rfc_9449_section_4_3_item_11_a_fresh_nonce_lets_a_wrong_clock_in(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let app = Some(secret.as_str());
    let key = Key::p256();
    let late = with(claims(), "iat", json!(START.as_secs() - 100_000));

    let refused = ask(&server, app, CLIENT_CREDENTIALS, &[&key.sign(&header(&key), &late)]).await;
    assert_invalid_proof(&refused);
    let with_nonce = with(late, "nonce", json!(refused.header("dpop-nonce")));
    let proof = key.sign(&header(&key), &with_nonce);

    assert_bound(&ask(&server, app, CLIENT_CREDENTIALS, &[&proof]).await, &key);
    assert_invalid_proof(&ask(&server, app, CLIENT_CREDENTIALS, &[&proof]).await);
    server.stop().await;
}

async fn rfc_9449_section_7_a_bound_token_is_of_use_with_its_key_alone(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let (key, thief) = (Key::p256(), Key::p256());
    let token = ask(&server, Some(&secret), CLIENT_CREDENTIALS, &[&proof(&key)]).await.text("access_token");
    let jkt = jkt(&key);
    let check = async |scheme, jkt: Option<&str>, proofs: &[&str]| {
        let proofs: Vec<&[u8]> = proofs.iter().map(|proof| proof.as_bytes()).collect();
        let request = ResourceRequest { proofs: &proofs, scheme, ..at_userinfo(&token, jkt) };
        server.app.check_possession(&request).await
    };
    let bound = Some(jkt.as_str());
    let good = for_userinfo(&key, &token);

    assert_eq!(check(Scheme::Dpop, bound, &[&good]).await, Ok(()));
    assert_eq!(check(Scheme::Bearer, None, &[]).await, Ok(()), "a bearer token is as before");

    for (what, scheme, jkt, proofs, why) in [
        ("section 7.2: as a bearer token", Scheme::Bearer, bound, vec![], Refused::Scheme),
        ("a bearer token as DPoP", Scheme::Dpop, None, vec![good.clone()], Refused::Scheme),
        ("no proof", Scheme::Dpop, bound, vec![], InvalidProof::Missing.into()),
        ("two proofs", Scheme::Dpop, bound, vec![good.clone(), good.clone()], InvalidProof::Several.into()),
        ("used before", Scheme::Dpop, bound, vec![good.clone()], InvalidProof::Replayed.into()),
        ("for the token endpoint", Scheme::Dpop, bound, vec![proof(&key)], InvalidProof::Method.into()),
        ("for another token", Scheme::Dpop, bound, vec![for_userinfo(&key, "x")], InvalidProof::Token.into()),
        (
            "another key",
            Scheme::Dpop,
            bound,
            vec![for_userinfo(&thief, &token)],
            InvalidProof::OtherKey.into(),
        ),
    ] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        let refused = check(scheme, jkt, &proofs).await;
        assert_eq!(refused, Err(why), "{what}");
    }
    server.stop().await;
}

async fn a_proof_that_was_used_is_refused_by_the_next_process_too(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let key = Key::p256();
    let used = proof(&key);
    let granted = ask(&server, Some(&secret), CLIENT_CREDENTIALS, &[&used]).await;
    assert_bound(&granted, &key);
    server.stop().await;

    let server = TestServer::start(&database).await;

    assert_invalid_proof(&ask(&server, Some(&secret), CLIENT_CREDENTIALS, &[&used]).await);
    // A nonce of the process before is taken: clients need not begin anew.
    let claims = with(claims(), "nonce", json!(granted.header("dpop-nonce")));
    let answer = ask(&server, Some(&secret), CLIENT_CREDENTIALS, &[&key.sign(&header(&key), &claims)]).await;
    assert_bound(&answer, &key);
    server.stop().await;
}

async fn two_servers(database: &TestDatabase, overrides: &[(&str, &str)]) -> ([TestServer; 2], String) {
    let clock = Clock::manual(START);
    let servers = [
        TestServer::start_at(database, overrides, clock.clone()).await,
        TestServer::start_at(database, overrides, clock).await,
    ];
    let secret = servers[0].full_client("app").await;
    servers[0].client("spa", PUBLIC).await;
    servers[1].app.reload().await.expect("reloaded");
    (servers, secret)
}

async fn rfc_9449_section_11_1_of_32_uses_at_once_over_two_instances_one_wins(database: TestDatabase) {
    let (servers, secret) = two_servers(&database, &[]).await;
    let key = Key::p256();

    for _ in 0..3 {
        let proof = proof(&key);
        let mut tasks = JoinSet::new();
        for index in 0..32 {
            let url = format!("{}/token", servers[index % 2].url);
            let (http, proof, secret) = (client(), proof.clone(), secret.clone());
            tasks.spawn_local(async move {
                let request = http.post(url).basic_auth("app", Some(secret)).header("DPoP", proof);
                request.form(CLIENT_CREDENTIALS).send().await.expect("an answer").status().as_u16()
            });
        }

        let statuses = tasks.join_all().await;

        let count = |status| statuses.iter().filter(|answered| **answered == status).count();
        assert_eq!((count(200), count(400)), (1, 31), "{statuses:?}");
    }
    for server in servers {
        server.stop().await;
    }
}

async fn rfc_9449_section_8_a_nonce_of_one_instance_is_taken_by_the_other(database: TestDatabase) {
    let (servers, secret) = two_servers(&database, &[("GRANTD_DPOP__REQUIRE_NONCE", "true")]).await;
    let key = Key::p256();

    let asked = ask(&servers[0], Some(&secret), CLIENT_CREDENTIALS, &[&proof(&key)]).await;
    assert_eq!(asked.refusal(), (400, "use_dpop_nonce".to_owned()));
    let claims = with(claims(), "nonce", json!(asked.header("dpop-nonce")));
    let answer =
        ask(&servers[1], Some(&secret), CLIENT_CREDENTIALS, &[&key.sign(&header(&key), &claims)]).await;

    assert_bound(&answer, &key);
    for server in servers {
        server.stop().await;
    }
}

async fn while_the_database_is_away_no_proof_is_taken(database: TestDatabase) {
    let relay = Relay::before(&database).await;
    let (server, secret) = TestServer::furnished(&database, &[("GRANTD_DATABASE__URL", &relay.url)]).await;
    let key = Key::p256();
    let token = ask(&server, Some(&secret), CLIENT_CREDENTIALS, &[&proof(&key)]).await.text("access_token");

    relay.cut().await;
    let away = ask(&server, Some(&secret), CLIENT_CREDENTIALS, &[&proof(&key)]).await;
    let bearer = ask(&server, Some(&secret), CLIENT_CREDENTIALS, &[]).await;
    let proof = for_userinfo(&key, &token);
    let jkt = jkt(&key);
    let request = ResourceRequest { proofs: &[proof.as_bytes()], ..at_userinfo(&token, Some(&jkt)) };
    let refused = server.app.check_possession(&request).await.expect_err("nobody knows whether it was used");
    relay.mend().await;

    assert_refusal(&away, 503, "temporarily_unavailable", Challenge::Absent);
    assert_bearer(&bearer);
    assert!(matches!(refused, Refused::Unavailable(_)) && refused.answer().is_none(), "{refused:?}");
    server.stop().await;
}
