//! The user behind a token, by the letter of RFC 6750: how the token is sent, what each refusal says, and that the user
//! is told as they are now.

use grantd::app::clients::Switch;
use grantd::app::sessions::Sessions;
use grantd::app::users::UserChange;
use grantd::model::key::ACCESS_TOKEN_TYP;
use grantd::protocol::dpop::token_hash;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::json;

use crate::introspection::House;
use crate::support::database::TestDatabase;
use crate::support::jose::Key;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, ISSUER, PASSWORD, START, TestServer};

trials! {
    both: [
        the_user_is_told_as_they_are_now,
        a_token_that_has_ended_tells_nothing,
    ],
    sqlite: [
        rfc6750_2_a_token_is_sent_in_the_header_or_in_a_posted_form_and_nowhere_else,
        rfc6750_3_1_each_refusal_has_its_status_and_its_challenge,
        rfc6750_3_1_a_token_without_a_user_has_not_enough,
        with_the_scope_openid_more_is_told_under_profile_and_email_only,
        rfc9449_7_1_a_bound_token_tells_of_its_user_to_who_proves_to_have_its_key,
        rfc9449_7_2_a_token_that_is_bound_to_a_key_is_no_bearer_token,
    ],
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn send(
    server: &TestServer,
    method: Method,
    query: &str,
    headers: &[(&'static str, &str)],
    body: &str,
) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().expect("a value"));
    }
    let request = server.http.request(method, format!("{}/userinfo{query}", server.url));
    Answer::of(request.headers(map).body(body.to_owned()).send().await.expect("an answer")).await
}

/// A refusal of RFC 6750 §3: no code where no token was sent.
#[track_caller]
fn assert_refused(answer: &Answer, status: u16, error: Option<&str>) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(
        (answer.header("cache-control"), answer.header("pragma")),
        ("no-store".into(), "no-cache".into())
    );
    let challenge = answer.header("www-authenticate");
    let Some(error) = error else {
        assert_eq!((challenge, answer.body.as_str()), (format!(r#"Bearer realm="{ISSUER}""#), ""));
        let dpop = answer.headers.get_all("www-authenticate").iter().nth(1).expect("both schemes are taken");
        assert!(dpop.to_str().expect("text").starts_with("DPoP "), "{dpop:?}");
        return;
    };
    assert_eq!(answer.refusal(), (status, error.to_owned()));
    assert_eq!(answer.header("content-type"), "application/json");
    let sentence = answer.text("error_description");
    let expected = format!(r#"Bearer realm="{ISSUER}", error="{error}", error_description="{sentence}""#);
    assert_eq!(challenge, if status == 405 { String::new() } else { expected });
    assert!(sentence.bytes().all(|b| (0x20..=0x7e).contains(&b) && b != b'"' && b != b'\\'), "{sentence}");
}

async fn change(house: &House, change: UserChange) {
    let alice = "alice".parse().expect("a name");
    house.server.app.update_user(&alice, change, None).await.expect("a user");
}

async fn the_user_is_told_as_they_are_now(database: TestDatabase) {
    let house = House::open(&database).await;
    let login = house.server.login(house.app(), "alice").await;
    let token = login.text("access_token");

    let told = house.server.userinfo(&token).await;

    let sub = login.claims()["sub"].clone();
    assert_eq!((told.status, told.json()), (200, json!({"sub": sub, "preferred_username": "alice"})));
    assert_eq!(told.header("content-type"), "application/json");
    assert_eq!((told.header("cache-control"), told.header("pragma")), ("no-store".into(), "no-cache".into()));
    house.server.role("boss", "write").await;
    let email = Some("alice@example.com".into());
    let roles = Some(["boss".parse().expect("a role")].into());
    change(&house, UserChange { email, name: Some("Alice A.".into()), roles }).await;
    let expected = json!({
        "sub": sub, "preferred_username": "alice", "name": "Alice A.", "email": "alice@example.com",
        "roles": ["boss"],
    });
    assert_eq!(house.server.userinfo(&token).await.json(), expected);
    house.server.stop().await;
}

async fn a_token_that_has_ended_tells_nothing(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let login = async || server.login(house.app(), "alice").await.text("access_token");
    let refused =
        async |token: &str| assert_refused(&server.userinfo(token).await, 401, Some("invalid_token"));

    let token = login().await;
    server.pass(599);
    assert_eq!(server.userinfo(&token).await.status, 200);
    server.pass(1);
    refused(&token).await;

    let token = login().await;
    server.app.revoke_sessions(&Sessions::All).await.expect("sessions");
    server.app.reload().await.expect("a database");
    refused(&token).await;

    let (token, alice) = (login().await, "alice".parse().expect("a name"));
    assert_eq!(server.userinfo(&token).await.status, 200);
    // No reload: the user is read from the database of now.
    server.app.set_user_enabled(&alice, Switch::Off).await.expect("a user");
    refused(&token).await;
    server.app.set_user_enabled(&alice, Switch::On).await.expect("a user");
    let token = login().await;
    server.app.delete_user(&alice).await.expect("a user");
    refused(&token).await;
    house.server.stop().await;
}

async fn rfc6750_2_a_token_is_sent_in_the_header_or_in_a_posted_form_and_nowhere_else(
    database: TestDatabase,
) {
    let house = House::open(&database).await;
    let token = house.server.login(house.app(), "alice").await.text("access_token");
    let server = &house.server;
    let bearer = format!("Bearer {token}");
    let header = ("authorization", bearer.as_str());
    let (lower, spaced) = (format!("bearer {token}"), format!("BEARER   {token}  "));
    let form = format!("access_token={token}");
    let query = format!("?access_token={token}");

    for (method, headers, body) in [
        (Method::GET, vec![header], ""),
        (Method::POST, vec![header], ""),
        (Method::POST, vec![header, FORM], ""),
        (Method::POST, vec![header, FORM], "x=y"),
        (Method::POST, vec![header, ("content-type", "application/json")], "{}"),
        (Method::GET, vec![("authorization", &lower)], ""),
        (Method::GET, vec![("authorization", &spaced)], ""),
        // OpenID Connect Core §5.3.1 takes what RFC 6750 §2.2 says.
        (Method::POST, vec![FORM], &form),
    ] {
        let answer = send(server, method, "", &headers, body).await;
        assert_eq!(
            (answer.status, answer.text("preferred_username")),
            (200, "alice".into()),
            "{headers:?} {body}"
        );
    }
    for (method, query, headers, body) in [
        (Method::GET, "", vec![], ""),
        // RFC 6750 §2.3, and RFC 9700 §4.3.2 against it.
        (Method::GET, query.as_str(), vec![], ""),
        (Method::POST, &query, vec![FORM], ""),
        (Method::POST, "", vec![("content-type", "text/plain")], &form),
        (Method::GET, "", vec![("authorization", "Basic YTpi")], ""),
        (Method::GET, "", vec![("authorization", "Bearer")], ""),
    ] {
        assert_refused(&send(server, method, query, &headers, body).await, 401, None);
    }
    let twice = send(server, Method::POST, "", &[header, FORM], &form).await;
    assert_refused(&twice, 400, Some("invalid_request"));
    assert_refused(&send(server, Method::GET, "", &[header, header], "").await, 400, Some("invalid_request"));
    house.server.stop().await;
}

async fn rfc6750_3_1_each_refusal_has_its_status_and_its_challenge(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let long = "x".repeat(17_000);

    for garbage in ["x", "a.b.c", "....", &"A".repeat(8_000)] {
        assert_refused(&server.userinfo(garbage).await, 401, Some("invalid_token"));
    }
    let not_text = send(server, Method::GET, "", &[("authorization", "Bearer ä")], "").await;
    assert_eq!(not_text.status, 401, "{not_text:?}");
    for (headers, body, status) in [
        (vec![FORM], "access_token=a&access_token=b", 400),
        (vec![FORM], "access_token=%ff", 400),
        (vec![FORM, ("content-encoding", "gzip")], "", 415),
        (vec![FORM], long.as_str(), 413),
    ] {
        let answer = send(server, Method::POST, "", &headers, body).await;
        assert_eq!(answer.refusal(), (status, "invalid_request".into()), "{answer:?}");
        let challenged = answer.headers.contains_key("www-authenticate");
        assert_eq!(challenged, status == 400, "{answer:?}");
    }
    for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let answer = send(server, method, "", &[], "").await;
        assert_refused(&answer, 405, Some("invalid_request"));
        assert_eq!(answer.header("allow"), "GET, POST, OPTIONS");
    }
    house.server.stop().await;
}

async fn rfc6750_3_1_a_token_without_a_user_has_not_enough(database: TestDatabase) {
    let house = House::open(&database).await;
    let machine = house.server.token_as(house.app(), &[("grant_type", "client_credentials")]).await;

    let refused = house.server.userinfo(&machine.text("access_token")).await;

    assert_refused(&refused, 403, Some("insufficient_scope"));
    house.server.stop().await;
}

async fn with_the_scope_openid_more_is_told_under_profile_and_email_only(database: TestDatabase) {
    let house = House::open(&database).await;
    let oidc = ClientOf { scope: "openid profile email", ..ClientOf::ANY };
    let secret = house.server.client("oidc", oidc).await.secret.expect("a secret");
    let email = Some("alice@example.com".into());
    change(&house, UserChange { email, name: Some("Alice".into()), ..UserChange::default() }).await;

    for (scope, name, email) in [
        ("openid", false, false),
        ("openid profile", true, false),
        ("openid email", false, true),
        ("profile", true, true),
    ] {
        let form = [
            ("grant_type", "password"),
            ("username", "alice"),
            ("password", crate::support::server::PASSWORD),
            ("scope", scope),
        ];
        let login = house.server.token_as(("oidc", secret.expose()), &form).await;
        let told = house.server.userinfo(&login.text("access_token")).await.json();

        assert_eq!((told.get("name").is_some(), told.get("email").is_some()), (name, email), "{scope}");
    }
    house.server.stop().await;
}

async fn rfc9449_7_1_a_bound_token_tells_of_its_user_to_who_proves_to_have_its_key(database: TestDatabase) {
    let house = House::open(&database).await;
    let (key, thief) = (Key::p256(), Key::p256());
    let proof = |key: &Key, method: &str, htu: &str, jti: &str, token: Option<&str>| {
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": key.jwk()});
        let mut claims = json!({"jti": jti, "htm": method, "htu": htu, "iat": START.as_secs()});
        if let Some(token) = token {
            claims["ath"] = token_hash(token).into();
        }
        key.sign(&header, &claims)
    };
    let login = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
    let request = house.server.http.post(format!("{}/token", house.server.url)).form(&login);
    let request = request.basic_auth("app", Some(&house.app));
    let request = request.header("DPoP", proof(&key, "POST", &format!("{ISSUER}/token"), "login", None));
    let token = Answer::of(request.send().await.expect("an answer")).await.text("access_token");
    let authorization = format!("DPoP {token}");
    let at = format!("{ISSUER}/userinfo");
    let ask = async |method: Method, proof: &str| {
        let headers = [("authorization", authorization.as_str()), ("dpop", proof)];
        send(&house.server, method, "", &headers, "").await
    };

    let good = proof(&key, "GET", &at, "1", Some(&token));
    let told = ask(Method::GET, &good).await;
    assert_eq!((told.status, told.text("preferred_username").as_str()), (200, "alice"));
    assert_eq!(told.header("dpop-nonce").len(), 22, "RFC 9449 §8.2");
    let posted = ask(Method::POST, &proof(&key, "POST", &at, "2", Some(&token))).await;
    assert_eq!(posted.status, 200);

    for (what, proof, error) in [
        ("used before", good.clone(), "invalid_dpop_proof"),
        ("of another key", proof(&thief, "GET", &at, "3", Some(&token)), "invalid_token"),
        ("for another method", proof(&key, "POST", &at, "4", Some(&token)), "invalid_dpop_proof"),
        ("for another place", proof(&key, "GET", ISSUER, "5", Some(&token)), "invalid_dpop_proof"),
        ("for no token", proof(&key, "GET", &at, "6", None), "invalid_dpop_proof"),
        ("for another token", proof(&key, "GET", &at, "7", Some("x")), "invalid_dpop_proof"),
    ] {
        let refused = ask(Method::GET, &proof).await;
        assert_eq!(refused.refusal(), (401, error.to_owned()), "{what}");
        let challenge = refused.header("www-authenticate");
        assert!(challenge.starts_with(&format!(r#"DPoP realm="{ISSUER}", algs="ES256 "#)), "{challenge}");
        assert!(challenge.contains(&format!(r#"error="{error}""#)), "{what}: {challenge}");
    }
    let bare = send(&house.server, Method::GET, "", &[("authorization", &authorization)], "").await;
    assert_eq!(bare.refusal(), (401, "invalid_dpop_proof".to_owned()));
    house.server.stop().await;
}

async fn rfc9449_7_2_a_token_that_is_bound_to_a_key_is_no_bearer_token(database: TestDatabase) {
    let house = House::open(&database).await;
    let mut claims = house.claims().await;
    assert_eq!(house.server.userinfo(&house.signed(ACCESS_TOKEN_TYP, &claims)).await.status, 200);

    claims["cnf"] = json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
    let bound = house.signed(ACCESS_TOKEN_TYP, &claims);

    let refused = house.server.userinfo(&bound).await;
    assert_eq!(refused.refusal(), (401, "invalid_token".to_owned()));
    assert!(refused.header("www-authenticate").starts_with("DPoP "), "{refused:?}");
    claims["cnf"] = json!({"x5t#S256": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
    let elsewhere = house.signed(ACCESS_TOKEN_TYP, &claims);
    assert_refused(&house.server.userinfo(&elsewhere).await, 401, Some("invalid_token"));
    claims["cnf"] = json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
    let told = house.ask(&bound).await.json();
    assert_eq!((&told["token_type"], &told["cnf"]), (&json!("DPoP"), &claims["cnf"]), "RFC 9449 §6.2");
    house.server.stop().await;
}
