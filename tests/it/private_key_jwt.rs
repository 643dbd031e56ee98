//! `private_key_jwt` over real sockets: RFC 7523 as RFC 10070 changes it. What a client signs lets it in once; what
//! anybody else sends looks like every other failed client authentication.

use grantd::app::clock::Clock;
use grantd::model::client::{AuthMethod, GrantType, Registration};
use grantd::model::jwk::JwkSet;
use grantd::protocol::client_assertion::ASSERTION_TYPE;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::database::TestDatabase;
use crate::support::jose::{Key, hmac_signed, unsigned};
use crate::support::python::authenticate_with;
use crate::support::refusal::{Challenge, assert_refusal};
use crate::support::relay::Relay;
use crate::support::runner::trials;
use crate::support::server::{Answer, ISSUER, START, TestServer, client};

trials! {
    both: [
        a_client_is_let_in_by_what_it_signs_with_each_algorithm,
        rfc_7523_section_3_an_assertion_is_used_once,
        rfc_7523_section_3_what_is_not_for_us_or_not_now_is_refused,
        rfc_7515_what_no_registered_key_signed_is_refused,
        rfc_7521_section_4_2_the_client_of_the_assertion_is_the_client_of_the_request,
        an_assertion_that_was_used_is_refused_by_the_next_process_too,
    ],
    sqlite: [
        an_assertion_lets_in_nobody_who_is_switched_off_or_registered_for_other_methods,
        keys_that_are_replaced_are_obeyed_at_once,
        libraries_that_are_not_ours_are_let_in,
        a_refused_assertion_uses_no_id_up_and_a_used_id_is_forgotten_in_time,
    ],
    postgres: [
        rfc_7523_section_3_of_32_uses_at_once_over_two_instances_one_wins,
        while_the_database_is_away_no_assertion_is_taken,
    ],
}

fn registration(keys: &[Value]) -> Registration {
    Registration {
        grant_types: vec![GrantType::ClientCredentials],
        scope: "read".parse().expect("a scope"),
        auth_methods: vec![AuthMethod::PrivateKeyJwt],
        jwks: Some(set(keys)),
        ..Registration::default()
    }
}

fn set(keys: &[Value]) -> JwkSet {
    JwkSet::parse(json!({"keys": keys}).to_string().as_bytes()).expect("a set")
}

async fn register(server: &TestServer, id: &str, keys: &[Value]) {
    let id = Some(id.parse().expect("an id"));
    let made = server.app.create_client(id, registration(keys), None).await.expect("a client");
    assert!(made.secret.is_none() && made.client.secrets.is_empty(), "it has no shared secret");
}

fn claims(jti: &str) -> Value {
    let now = START.as_secs();
    json!({"iss": "svc", "sub": "svc", "aud": ISSUER, "exp": now + 60, "iat": now, "jti": jti})
}

/// The claims with one of them replaced, or taken away if `value` is null.
fn with(mut claims: Value, name: &str, value: Value) -> Value {
    if value.is_null() {
        claims.as_object_mut().expect("an object").remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

fn es256() -> Value {
    json!({"alg": "ES256", "kid": "k"})
}

async fn present(server: &TestServer, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
    ];
    server.token(&[&form[..], more].concat()).await
}

async fn refused(server: &TestServer, what: &str, assertion: &str) {
    let answer = present(server, assertion, &[]).await;
    assert_eq!(answer.status, 401, "{what}: {answer:?}");
    assert_refusal(&answer, 401, "invalid_client", Challenge::Absent);
    // As with every other failed client authentication, so that nothing is learnt from it.
    let nobody = server.token(&[("grant_type", "client_credentials"), ("client_id", "nobody")]).await;
    assert_eq!(answer.body, nobody.body, "{what}");
}

async fn a_client_is_let_in_by_what_it_signs_with_each_algorithm(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let (p256, rsa, ed25519) = (Key::p256(), Key::rsa(), Key::ed25519());
    register(&server, "svc", &[p256.named("p"), rsa.named("r"), ed25519.named("e")]).await;

    let (p256, rsa, ed25519) = ((&p256, "p"), (&rsa, "r"), (&ed25519, "e"));

    for (alg, (key, kid)) in [
        ("ES256", p256),
        ("RS256", rsa),
        ("PS256", rsa),
        ("EdDSA", ed25519),
        // RFC 9864 §2.2 names the curve; newer libraries write that.
        ("Ed25519", ed25519),
    ] {
        for (typ, aud) in [
            (Some("client-authentication+jwt"), json!(ISSUER)),
            (Some("JWT"), json!([ISSUER])),
            (None, json!(ISSUER)),
        ] {
            let mut header = json!({"alg": alg, "kid": kid, "x5t": "ignored"});
            if let Some(typ) = typ {
                header["typ"] = json!(typ);
            }
            let claims = with(claims(&format!("{alg} {typ:?}")), "aud", aud);

            let answer = present(&server, &key.sign(&header, &claims), &[("client_id", "svc")]).await;

            assert_eq!(answer.status, 200, "{alg} {typ:?}: {answer:?}");
            assert_eq!(answer.claims()["sub"], "svc");
        }
    }
    server.stop().await;
}

async fn rfc_7523_section_3_an_assertion_is_used_once(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let key = Key::p256();
    register(&server, "svc", &[key.named("k")]).await;
    register(&server, "other", &[key.named("k")]).await;
    let once = key.sign(&es256(), &claims("1"));

    assert_eq!(present(&server, &once, &[]).await.status, 200);

    refused(&server, "the same again", &once).await;
    refused(&server, "the same id in another", &key.sign(&es256(), &with(claims("1"), "iat", json!(1))))
        .await;
    assert_eq!(present(&server, &key.sign(&es256(), &claims("2")), &[]).await.status, 200);
    // An id is one of its client's: nobody else can use it up.
    let others = with(with(claims("1"), "iss", json!("other")), "sub", json!("other"));
    assert_eq!(present(&server, &key.sign(&es256(), &others), &[]).await.status, 200);
    server.stop().await;
}

async fn rfc_7523_section_3_what_is_not_for_us_or_not_now_is_refused(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let key = Key::p256();
    register(&server, "svc", &[key.named("k")]).await;
    register(&server, "other", &[Key::p256().named("k")]).await;
    let now = START.as_secs();

    for (name, value) in [
        ("aud", json!(format!("{ISSUER}/token"))),
        ("aud", json!(format!("{ISSUER}/"))),
        ("aud", json!([ISSUER, format!("{ISSUER}/token")])),
        ("aud", json!([])),
        ("aud", Value::Null),
        ("iss", json!("other")),
        ("iss", Value::Null),
        ("sub", json!("other")),
        ("sub", json!("nobody")),
        ("sub", Value::Null),
        ("exp", Value::Null),
        ("exp", json!(now)),
        ("exp", json!(now + 2 * 60 * 60)),
        ("exp", json!("soon")),
        ("iat", json!(now + 61)),
        ("nbf", json!(now + 61)),
        ("jti", Value::Null),
        ("jti", json!("")),
    ] {
        let assertion = key.sign(&es256(), &with(claims("same"), name, value.clone()));
        refused(&server, &format!("{name} {value}"), &assertion).await;
    }
    for typ in ["dpop+jwt", "at+jwt", "oauth-authz-req+jwt"] {
        let header = with(es256(), "typ", json!(typ));
        refused(&server, typ, &key.sign(&header, &claims("same"))).await;
    }
    // None of them used its id up.
    assert_eq!(present(&server, &key.sign(&es256(), &claims("same")), &[]).await.status, 200);
    server.stop().await;
}

async fn rfc_7515_what_no_registered_key_signed_is_refused(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let (key, rsa, foreign) = (Key::p256(), Key::rsa(), Key::p256());
    register(&server, "svc", &[key.named("k"), rsa.named("r")]).await;
    let good = key.sign(&es256(), &claims("1"));
    let (message, signature) = good.rsplit_once('.').expect("a JWS");
    let changed = key.sign(&es256(), &claims("2"));
    let (_, other_signature) = changed.rsplit_once('.').expect("a JWS");
    let none = json!({"alg": "none", "kid": "k"});
    let hs256 = json!({"alg": "HS256", "kid": "k"});
    let twice = |text: &str| format!("{{\"alg\":\"none\",{}", &text[1..]);
    let claims_twice = format!("{{\"sub\":\"nobody\",{}", &claims("1").to_string()[1..]);
    let embedded = json!({"alg": "ES256", "jwk": foreign.jwk()});

    for (what, assertion) in [
        ("RFC 8725 §3.1: alg none", unsigned(&none, &claims("1"))),
        ("alg none with a signature", key.sign(&none, &claims("1"))),
        ("RFC 8725 §2.1: HS256 with the public key", hmac_signed(&key.public_bytes(), &hs256, &claims("1"))),
        ("HS256 with the key as a JWK", hmac_signed(key.jwk().to_string().as_bytes(), &hs256, &claims("1"))),
        ("no signature", format!("{message}.")),
        ("the signature of another", format!("{message}.{other_signature}")),
        ("another's key under our kid", foreign.sign(&es256(), &claims("1"))),
        ("a key in the header", foreign.sign(&embedded, &claims("1"))),
        ("an unknown kid", key.sign(&json!({"alg": "ES256", "kid": "x"}), &claims("1"))),
        ("another key's kid", key.sign(&json!({"alg": "ES256", "kid": "r"}), &claims("1"))),
        (
            "another algorithm's name",
            rsa.sign_text("RS256", r#"{"alg":"PS256","kid":"r"}"#, &claims("1").to_string()),
        ),
        (
            "RFC 7515 §4.1.11: crit",
            key.sign(&json!({"alg": "ES256", "kid": "k", "crit": ["exp"]}), &claims("1")),
        ),
        (
            "RFC 7515 §4: a header twice",
            key.sign_text("ES256", &twice(&es256().to_string()), &claims("1").to_string()),
        ),
        ("RFC 7519 §4: a claim twice", key.sign_text("ES256", &es256().to_string(), &claims_twice)),
        ("no JWS", "a.b.c".to_owned()),
        ("nothing but dots", "..".to_owned()),
        ("padding", format!("{message}.{signature}=")),
        ("something behind", format!("{good}.")),
    ] {
        refused(&server, what, &assertion).await;
    }
    let long = key.sign(&with(es256(), "x", json!("x".repeat(11_000))), &claims("1"));
    assert_eq!(present(&server, &long, &[]).await.status, 200, "what fits into a body is read");
    let longer = key.sign(&with(es256(), "x", json!("x".repeat(13_000))), &claims("3"));
    assert_eq!(present(&server, &longer, &[]).await.status, 413);
    server.stop().await;
}

async fn rfc_7521_section_4_2_the_client_of_the_assertion_is_the_client_of_the_request(
    database: TestDatabase,
) {
    let server = TestServer::start(&database).await;
    let key = Key::p256();
    register(&server, "svc", &[key.named("k")]).await;
    let secret = server.full_client("app").await;
    let assertion = key.sign(&es256(), &claims("1"));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
    ];

    for client_id in ["app", "nobody", "SVC"] {
        let answer = present(&server, &assertion, &[("client_id", client_id)]).await;
        assert_refusal(&answer, 401, "invalid_client", Challenge::Absent);
    }
    // RFC 6749 §2.3: one method in each request, whichever of them is right.
    assert_refusal(
        &server.token_as(("app", &secret), &form).await,
        400,
        "invalid_request",
        Challenge::Absent,
    );
    let both = present(&server, &assertion, &[("client_id", "app"), ("client_secret", &secret)]).await;
    assert_refusal(&both, 400, "invalid_request", Challenge::Absent);
    for kind in ["urn:ietf:params:oauth:client-assertion-type:saml2-bearer", "urn:x", ""] {
        let mut form = form;
        form[1].1 = kind;
        assert_refusal(&server.token(&form).await, 401, "invalid_client", Challenge::Absent);
    }
    assert_refusal(&server.token(&form[..2]).await, 401, "invalid_client", Challenge::Absent);
    assert_eq!(present(&server, &assertion, &[("client_id", "svc")]).await.status, 200, "none used it up");
    server.stop().await;
}

async fn an_assertion_that_was_used_is_refused_by_the_next_process_too(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let key = Key::p256();
    register(&server, "svc", &[key.named("k")]).await;
    let used = key.sign(&es256(), &claims("1"));
    assert_eq!(present(&server, &used, &[]).await.status, 200);
    server.stop().await;

    let server = TestServer::start(&database).await;

    refused(&server, "used before the restart", &used).await;
    assert_eq!(present(&server, &key.sign(&es256(), &claims("2")), &[]).await.status, 200);
    server.stop().await;
}

async fn an_assertion_lets_in_nobody_who_is_switched_off_or_registered_for_other_methods(
    database: TestDatabase,
) {
    let server = TestServer::start(&database).await;
    let key = Key::p256();
    register(&server, "svc", &[key.named("k")]).await;
    let id = "svc".parse().expect("an id");
    let both = |mut old: Registration| {
        old.auth_methods = vec![AuthMethod::ClientSecretPost, AuthMethod::PrivateKeyJwt];
        old
    };

    refused(&server, "no secret", "").await;
    let form = [("grant_type", "client_credentials"), ("client_id", "svc")];
    assert_eq!(server.token(&form).await.status, 401, "it is not public");
    assert_eq!(server.token_as(("svc", ""), &form[..1]).await.status, 401);
    let secret = server.app.update_client(&id, both, None).await.expect("updated").secret.expect("a secret");
    let post = [&form[..], &[("client_secret", secret.expose())]].concat();
    assert_eq!(server.token(&post).await.status, 200);
    assert_eq!(present(&server, &key.sign(&es256(), &claims("1")), &[]).await.status, 200);
    let secret_only = |mut old: Registration| {
        (old.auth_methods, old.jwks) = (vec![AuthMethod::ClientSecretPost], None);
        old
    };
    server.app.update_client(&id, secret_only, None).await.expect("updated");
    refused(&server, "no keys any more", &key.sign(&es256(), &claims("2"))).await;

    let back = |old: Registration| Registration { scope: old.scope, ..registration(&[key.named("k")]) };
    let updated = server.app.update_client(&id, back, None).await.expect("updated");
    assert!(updated.client.secrets.is_empty(), "a secret that no method uses does not stay");
    assert_eq!(server.token(&post).await.status, 401);
    server.app.set_client_enabled(&id, grantd::app::clients::Switch::Off).await.expect("switched");
    server.app.reload().await.expect("reloaded");
    refused(&server, "switched off", &key.sign(&es256(), &claims("3"))).await;
    server.stop().await;
}

async fn keys_that_are_replaced_are_obeyed_at_once(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let (old, new) = (Key::p256(), Key::ed25519());
    register(&server, "svc", &[old.named("k")]).await;
    let replace =
        |registration: Registration| Registration { jwks: Some(set(&[new.named("k")])), ..registration };

    let header = json!({"alg": "EdDSA"});
    refused(&server, "not registered yet", &new.sign(&header, &claims("1"))).await;
    server.app.update_client(&"svc".parse().expect("an id"), replace, None).await.expect("updated");

    assert_eq!(present(&server, &new.sign(&header, &claims("1")), &[]).await.status, 200);
    refused(&server, "replaced", &old.sign(&es256(), &claims("2"))).await;
    server.stop().await;
}

async fn libraries_that_are_not_ours_are_let_in(database: TestDatabase) {
    let server = TestServer::start_at(&database, &[], Clock::System).await;
    let token_url = format!("{}/token", server.url);

    for (alg, key) in
        [("ES256", Key::p256()), ("RS256", Key::rsa()), ("PS256", Key::rsa()), ("EdDSA", Key::ed25519())]
    {
        register(&server, alg, &[key.jwk()]).await;
        for library in ["pyjwt", "authlib"] {
            let ask = async |issuer| {
                let place = ["--issuer", issuer, "--token-url", &token_url];
                let who = ["--library", library, "--client-id", alg, "--alg", alg];
                authenticate_with(&[&place[..], &who].concat(), &key.pem()).await
            };

            let answer = ask(ISSUER).await.unwrap_or_else(|why| panic!("{library} {alg}: {why}"));

            assert_eq!(answer["token_type"], "Bearer", "{library} {alg}: {answer}");
            let elsewhere =
                ask(&token_url).await.expect_err("RFC 10070 §4: the token endpoint is no audience");
            assert!(elsewhere.contains("invalid_client"), "{library} {alg}: {elsewhere}");
        }
    }
    server.stop().await;
}

async fn a_refused_assertion_uses_no_id_up_and_a_used_id_is_forgotten_in_time(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let key = Key::p256();
    register(&server, "svc", &[key.named("k")]).await;
    let (used, unused) = (key.sign(&es256(), &claims("1")), Key::p256().sign(&es256(), &claims("2")));
    assert_eq!(present(&server, &used, &[]).await.status, 200);
    refused(&server, "by a stranger", &unused).await;

    let purged = async |at: i64| {
        let db = crate::storage::open(&database).await;
        let mut tx = db.begin().await.expect("a transaction");
        let before = grantd::model::time::Timestamp::from_secs(at);
        let purged = grantd::storage::used_ids::purge(&mut tx, before, 100).await.expect("purged");
        drop(tx);
        db.close().await;
        purged
    };
    assert_eq!(purged(i64::MAX).await, 1, "strangers leave no rows");
    // For an instance whose clock is behind, it is remembered for longer than it is good.
    server.app.purge(START.plus(grantd::model::time::Ttl::from_secs(3600))).await.expect("purged");
    assert_eq!(purged(i64::MAX).await, 1);
    server.app.purge(START.plus(grantd::model::time::Ttl::from_secs(3700))).await.expect("purged");
    assert_eq!(purged(i64::MAX).await, 0);
    server.stop().await;
}

async fn rfc_7523_section_3_of_32_uses_at_once_over_two_instances_one_wins(database: TestDatabase) {
    let clock = Clock::manual(START);
    let servers = [
        TestServer::start_at(&database, &[], clock.clone()).await,
        TestServer::start_at(&database, &[], clock).await,
    ];
    let key = Key::p256();
    register(&servers[0], "svc", &[key.named("k")]).await;
    servers[1].app.reload().await.expect("reloaded");

    for round in 0..3 {
        let assertion = key.sign(&es256(), &claims(&round.to_string()));
        let mut tasks = JoinSet::new();
        for index in 0..32 {
            let url = format!("{}/token", servers[index % 2].url);
            let (http, assertion) = (client(), assertion.clone());
            tasks.spawn_local(async move {
                let form = [
                    ("grant_type", "client_credentials"),
                    ("client_assertion_type", ASSERTION_TYPE),
                    ("client_assertion", &assertion),
                ];
                http.post(url).form(&form).send().await.expect("an answer").status().as_u16()
            });
        }

        let statuses = tasks.join_all().await;

        let count = |status| statuses.iter().filter(|answered| **answered == status).count();
        assert_eq!((count(200), count(401)), (1, 31), "{statuses:?}");
    }
    for server in servers {
        server.stop().await;
    }
}

async fn while_the_database_is_away_no_assertion_is_taken(database: TestDatabase) {
    let relay = Relay::before(&database).await;
    let server = TestServer::start_with(&database, &[("GRANTD_DATABASE__URL", &relay.url)]).await;
    let key = Key::p256();
    register(&server, "svc", &[key.named("k")]).await;
    let secret = server.full_client("app").await;

    relay.cut().await;
    let away = present(&server, &key.sign(&es256(), &claims("1")), &[]).await;
    let by_secret = server.token_as(("app", &secret), &[("grant_type", "client_credentials")]).await;
    relay.mend().await;

    assert_refusal(&away, 503, "temporarily_unavailable", Challenge::Absent);
    assert_eq!(by_secret.status, 200, "a secret is judged from memory");
    server.stop().await;
}
