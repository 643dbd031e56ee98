//! Signed answers of introspection by the letter of RFC 9701: who gets one, what is in it, and that it is good for
//! nothing else.

use grantd::model::key::ACCESS_TOKEN_TYP;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use reqwest::header::HeaderMap;
use serde_json::{Map, Value, json};

use crate::introspection::House;
use crate::support::database::TestDatabase;
use crate::support::refusal::Challenge::Given;
use crate::support::refusal::assert_refusal;
use crate::support::runner::trials;
use crate::support::server::{Answer, ISSUER, START};

trials! {
    sqlite: [
        rfc9701_5_a_signed_answer_verifies_by_the_published_keys_and_is_for_its_caller,
        rfc9701_4_whoever_names_the_signed_form_gets_it_unless_json_is_wanted_more,
        rfc9701_8_1_a_signed_answer_is_no_access_token,
        a_refusal_is_json_whatever_is_accepted,
    ],
}

const SIGNED: &str = "application/token-introspection+jwt";

async fn ask(house: &House, accept: &[&str], token: &str) -> Answer {
    ask_as(house, house.api(), accept, token).await
}

async fn ask_as(house: &House, client: (&str, &str), accept: &[&str], token: &str) -> Answer {
    let mut headers = HeaderMap::new();
    for line in accept {
        headers.append("accept", line.parse().expect("a value"));
    }
    let request = house.server.http.post(format!("{}/introspect", house.server.url)).headers(headers);
    let request = request.basic_auth(client.0, Some(client.1)).form(&[("token", token)]);
    Answer::of(request.send().await.expect("an answer")).await
}

/// Header and claims of a signed answer, verified by what is published.
async fn verified(house: &House, answer: &Answer) -> (Value, Value) {
    assert_eq!((answer.status, answer.header("content-type")), (200, SIGNED.into()), "{answer:?}");
    let keys = house.server.get("/.well-known/jwks.json").await.body;
    let keys: JwkSet = serde_json::from_str(&keys).expect("a JWK set");
    let header = jsonwebtoken::decode_header(&answer.body).expect("a header");
    let key = keys.find(header.kid.as_deref().expect("a kid")).expect("a published key");
    let mut validation = Validation::new(header.alg);
    validation.set_required_spec_claims(&["iss", "aud"]);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&["api"]);
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(key).expect("a public key");
    let read = jsonwebtoken::decode::<Map<String, Value>>(&answer.body, &key, &validation).expect("verifies");
    (serde_json::to_value(read.header).expect("json"), Value::Object(read.claims))
}

async fn rfc9701_5_a_signed_answer_verifies_by_the_published_keys_and_is_for_its_caller(
    database: TestDatabase,
) {
    let house = House::open(&database).await;
    let token = house.server.login(house.app(), "alice").await.text("access_token");
    let plain = house.ask(&token).await.json();

    let signed = ask(&house, &[SIGNED], &token).await;

    assert_eq!(
        (signed.header("cache-control"), signed.header("pragma")),
        ("no-store".into(), "no-cache".into())
    );
    let (header, claims) = verified(&house, &signed).await;
    assert_eq!(header["typ"], "token-introspection+jwt");
    // No exp and no sub: RFC 9701 §5 wants them left out.
    let expected = json!({"iss": ISSUER, "aud": "api", "iat": START.as_secs(), "token_introspection": plain});
    assert_eq!(claims, expected);
    let (_, claims) = verified(&house, &ask(&house, &[SIGNED], "x").await).await;
    assert_eq!(claims["token_introspection"], json!({"active": false}));
    house.server.stop().await;
}

async fn rfc9701_4_whoever_names_the_signed_form_gets_it_unless_json_is_wanted_more(database: TestDatabase) {
    let house = House::open(&database).await;
    let token = house.server.login(house.app(), "alice").await.text("access_token");

    for (accept, signed) in [
        (&[][..], false),
        (&["*/*"], false),
        (&["application/*"], false),
        (&["application/json"], false),
        (&["text/html"], false),
        (&[""], false),
        (&[SIGNED], true),
        (&["Application/Token-Introspection+JWT"], true),
        (&["application/token-introspection+jwt, */*"], true),
        (&["application/json, application/token-introspection+jwt"], true),
        (&["application/json;q=0.9, application/token-introspection+jwt"], true),
        (&["application/json, application/token-introspection+jwt;q=0.9"], false),
        (&["application/json", "application/token-introspection+jwt;q=0.5"], false),
        (&["application/json;q=0.1", "application/token-introspection+jwt;q=0.5"], true),
        (&["*/*;q=0.9, application/token-introspection+jwt;q=0.5"], false),
        (&["application/token-introspection+jwt;q=0"], false),
        (&["application/token-introspection+jwt;q=0, */*"], false),
        (&["application/token-introspection+jwtx"], false),
        (&["application/jwt"], false),
    ] {
        let answer = ask(&house, accept, &token).await;

        let expected = if signed { SIGNED } else { "application/json" };
        assert_eq!((answer.status, answer.header("content-type")), (200, expected.into()), "{accept:?}");
    }
    house.server.stop().await;
}

async fn rfc9701_8_1_a_signed_answer_is_no_access_token(database: TestDatabase) {
    let house = House::open(&database).await;
    let token = house.server.login(house.app(), "alice").await.text("access_token");
    let signed = ask(&house, &[SIGNED], &token).await.body;

    assert_eq!(house.ask(&signed).await.body, r#"{"active":false}"#);
    assert_eq!(house.server.userinfo(&signed).await.status, 401);
    // Nor would its type save it, were it taken for one: what an access token needs is not in it.
    let (_, claims) = verified(&house, &ask(&house, &[SIGNED], &token).await).await;
    let retyped = house.signed(ACCESS_TOKEN_TYP, &claims);
    assert_eq!(house.ask(&retyped).await.body, r#"{"active":false}"#);
    house.server.stop().await;
}

async fn a_refusal_is_json_whatever_is_accepted(database: TestDatabase) {
    let house = House::open(&database).await;

    let refused = ask_as(&house, ("api", "wrong"), &[SIGNED], "x").await;

    assert_refusal(&refused, 401, "invalid_client", Given);
    house.server.stop().await;
}
