//! The crates `oauth2` and `jsonwebtoken`, as they are, against a grantd: does what each is for and prints what worked, as
//! JSON. `tests/it/clients.rs` starts it and says what ISSUER, CLIENT_ID and the other variables are.

use std::env::var;
use std::io;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
    get_current_timestamp,
};
use oauth2::basic::{BasicClient, BasicTokenResponse};
use oauth2::{
    AccessToken, ClientId, ClientSecret, HttpRequest, HttpResponse, IntrospectionUrl,
    ResourceOwnerPassword, ResourceOwnerUsername, Scope, TokenIntrospectionResponse as _,
    TokenResponse as _, TokenUrl,
};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let (oauth2, token) = oauth2(&http).await?;
    let jsonwebtoken = jsonwebtoken(&http, token.secret()).await?;
    println!(
        "{}",
        json!({"oauth2": oauth2, "jsonwebtoken": jsonwebtoken})
    );
    Ok(())
}

async fn send(http: &reqwest::Client, request: HttpRequest) -> io::Result<HttpResponse> {
    let request = request.try_into().map_err(io::Error::other)?;
    let response = http.execute(request).await.map_err(io::Error::other)?;
    let mut answer = HttpResponse::new(Vec::new());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    *answer.body_mut() = response.bytes().await.map_err(io::Error::other)?.to_vec();
    Ok(answer)
}

async fn oauth2(http: &reqwest::Client) -> Outcome<(Vec<&'static str>, AccessToken)> {
    let issuer = var("ISSUER")?;
    let client = BasicClient::new(ClientId::new(var("CLIENT_ID")?))
        .set_client_secret(ClientSecret::new(var("CLIENT_SECRET")?))
        .set_token_uri(TokenUrl::new(format!("{issuer}/token"))?)
        .set_introspection_url(IntrospectionUrl::new(format!("{issuer}/introspect"))?);
    let http = |request| send(http, request);

    let read = || Scope::new("notes:read".to_owned());
    let asked = client.exchange_client_credentials().add_scope(read());
    let own = asked.request_async(&http).await?;
    assert_eq!(own.scopes(), Some(&vec![read()]));

    let (name, password) = (var("USER_NAME")?, var("PASSWORD")?);
    let (name, password) = (
        ResourceOwnerUsername::new(name),
        ResourceOwnerPassword::new(password),
    );
    let asked = client.exchange_password(&name, &password).add_scope(read());
    let mut tokens: BasicTokenResponse = asked.request_async(&http).await?;

    for _ in 0..2 {
        let old = tokens.refresh_token().ok_or("a refresh token")?.clone();
        tokens = client
            .exchange_refresh_token(&old)
            .request_async(&http)
            .await?;
        assert_ne!(
            tokens.refresh_token().ok_or("its successor")?.secret(),
            old.secret()
        );
    }

    let said = client
        .introspect(tokens.access_token())
        .request_async(&http)
        .await?;
    assert!(said.active() && said.username() == Some(&var("USER_NAME")?));
    let other = AccessToken::new("another".to_owned());
    assert!(
        !client
            .introspect(&other)
            .request_async(&http)
            .await?
            .active()
    );

    let worked = vec![
        "client_credentials",
        "password",
        "refresh_token",
        "introspection",
    ];
    Ok((worked, tokens.access_token().clone()))
}

async fn jsonwebtoken(http: &reqwest::Client, token: &str) -> Outcome<Vec<&'static str>> {
    let issuer = var("ISSUER")?;
    let keys = http
        .get(format!("{issuer}/.well-known/jwks.json"))
        .send()
        .await?;
    let keys: JwkSet = keys.json().await?;
    let kid = decode_header(token)?.kid.ok_or("a kid")?;
    let key = DecodingKey::from_jwk(keys.find(&kid).ok_or("its key")?)?;
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_issuer(&[&issuer]);
    rules.set_audience(&[var("AUDIENCE")?]);
    let claims = decode::<Value>(token, &key, &rules)?.claims;
    assert_eq!(claims["preferred_username"], *var("USER_NAME")?);
    rules.set_audience(&["https://other.example"]);
    assert!(decode::<Value>(token, &key, &rules).is_err());

    let (svc, now) = (var("KEY_CLIENT_ID")?, get_current_timestamp());
    let assertion = json!({"iss": svc, "sub": svc, "aud": issuer, "jti": "made in Rust", "iat": now, "exp": now + 60});
    let key = EncodingKey::from_ec_pem(var("KEY_PEM")?.as_bytes())?;
    let assertion = encode(&Header::new(Algorithm::ES256), &assertion, &key)?;
    let form = [
        ("grant_type", "client_credentials"),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        ("client_assertion", &assertion),
    ];
    let answer = http
        .post(format!("{issuer}/token"))
        .form(&form)
        .send()
        .await?;
    assert_eq!(answer.status(), 200);
    Ok(vec!["JWKS", "private_key_jwt"])
}
