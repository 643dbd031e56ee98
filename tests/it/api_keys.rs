//! API keys from outside: a service swaps one for a token, which says no more than the key does, nor than whose it is has
//! now, and which nobody gets for whom the key is not meant.

use grantd::app::api_keys::{KeysOf, NewApiKey, NewOwner};
use grantd::app::error::AdminError;
use grantd::app::users::UserChange;
use grantd::model::api_key::Held;
use grantd::model::client::{GrantType, Registration};
use grantd::model::time::Ttl;
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::program::Home;
use crate::support::refusal::Challenge::Absent;
use crate::support::refusal::assert_refusal;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, ISSUER, START, TestServer};
use crate::token_exchange::{assert_refused_like_any_other, is_active};

trials! {
    both: [
        a_service_swaps_a_user_s_key_for_a_token_of_the_user,
        a_client_s_key_stands_for_the_client_within_its_registration_of_now,
    ],
    sqlite: [
        attack_a_service_that_was_shown_a_key_that_is_not_meant_for_it_gains_nothing,
        attack_a_guessed_changed_or_cut_key_is_refused_in_the_sentence_of_any_other,
        attack_a_key_never_allows_more_than_its_user_may_now_nor_than_it_says_itself,
        attack_a_key_is_no_access_token_and_an_access_token_is_no_key,
        a_key_ends_when_it_says_and_no_token_of_it_lives_longer,
        a_key_that_could_never_be_used_is_not_made,
        attack_a_client_does_not_take_the_name_of_a_key,
    ],
    plain: [an_operator_makes_shows_and_ends_keys],
}

pub(crate) const API: &str = "https://api.example";
pub(crate) const OTHER: &str = "https://other.example";
pub(crate) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(crate) const API_KEY: &str = "urn:grantd:params:oauth:token-type:api-key";

/// `api` serves [`API`] and swaps keys for tokens to itself; `batch` gets tokens for itself; `alice` is a clerk.
pub(crate) struct House {
    pub(crate) server: TestServer,
    api: String,
    pub(crate) batch: String,
}

impl House {
    pub(crate) async fn open(database: &TestDatabase) -> Self {
        let server = TestServer::start(database).await;
        let secret = async |id: &str, with: ClientOf<'_>| {
            server.client(id, with).await.secret.expect("a secret").expose().to_owned()
        };
        let api = secret("api", service(API, &[API])).await;
        let batch = ClientOf { scope: "read write", audience: &[API, OTHER], ..ClientOf::ANY };
        let batch = secret("batch", batch).await;
        server.role("clerk", "write").await;
        server.role("boss", "pay").await;
        server.user("alice", &["clerk"]).await;
        Self { server, api, batch }
    }

    pub(crate) fn api(&self) -> (&str, &str) {
        ("api", &self.api)
    }

    pub(crate) fn batch(&self) -> (&str, &str) {
        ("batch", &self.batch)
    }

    /// Makes a key, which the server knows at once.
    pub(crate) async fn key(&self, new: NewApiKey) -> (Held, String) {
        let (held, secret) = self.server.app.create_api_key(new).await.expect("a key that can be made");
        self.server.app.reload().await.expect("readable");
        (held, secret.expose().to_owned())
    }

    pub(crate) async fn reload(&self) {
        self.server.app.reload().await.expect("readable");
    }

    /// Changes what `alice` holds.
    pub(crate) async fn alice_holds(&self, roles: &[&str]) {
        let roles = roles.iter().map(|role| role.parse().expect("a role")).collect();
        let change = UserChange { roles: Some(roles), ..UserChange::default() };
        self.server.app.update_user(&"alice".parse().expect("a name"), change, None).await.expect("changed");
        self.reload().await;
    }
}

pub(crate) fn service<'a>(serves: &'a str, next: &'a [&'a str]) -> ClientOf<'a> {
    let resource_servers = std::slice::from_ref(Box::leak(Box::new(serves)));
    let grants = &[GrantType::TokenExchange];
    ClientOf { grants, scope: "read write pay", resource_servers, may_act_for: next, ..ClientOf::ANY }
}

pub(crate) fn of_alice(scope: &str, audience: &[&str]) -> NewApiKey {
    NewApiKey {
        owner: NewOwner::User("alice".parse().expect("a name")),
        name: Some("laptop".into()),
        scope: scope.parse().expect("a scope"),
        audience: audience.iter().map(|uri| uri.parse().expect("a URI")).collect(),
        expires: None,
    }
}

pub(crate) fn of_batch(scope: &str, audience: &[&str]) -> NewApiKey {
    NewApiKey { owner: NewOwner::Client("batch".parse().expect("an id")), ..of_alice(scope, audience) }
}

pub(crate) async fn swap(
    server: &TestServer,
    client: (&str, &str),
    key: &str,
    more: &[(&str, &str)],
) -> Answer {
    let form = [("grant_type", EXCHANGE), ("subject_token", key), ("subject_token_type", API_KEY)];
    server.token_as(client, &[&form[..], more].concat()).await
}

async fn a_service_swaps_a_user_s_key_for_a_token_of_the_user(database: TestDatabase) {
    let house = House::open(&database).await;
    let (held, key) = house.key(of_alice("read write", &[API])).await;
    assert!(key.starts_with(&held.key.id.to_string()) && key.len() == 69, "{key}");

    let answer = swap(&house.server, house.api(), &key, &[]).await;

    let token = answer.text("access_token");
    let expected = json!({
        "access_token": token, "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 600,
        "scope": "read write",
    });
    assert_eq!((answer.status, answer.json()), (200, expected), "and no refresh token");
    let claims = answer.claims();
    let index = held.key.status_index;
    let status =
        json!({"status_list": {"idx": index.idx(), "uri": format!("{ISSUER}/status/{}", index.list())}});
    // No auth_time, for nobody has logged in (RFC 9068 §2.2.1).
    let expected = json!({
        "iss": ISSUER, "sub": claims["sub"], "aud": API, "exp": START.as_secs() + 600, "iat": START.as_secs(),
        "jti": claims["jti"], "client_id": "api", "scope": "read write", "preferred_username": "alice",
        "roles": ["clerk"], "act": {"sub": "api"}, "status": status,
    });
    assert_eq!(claims, expected);
    assert_eq!(answer.jose()["typ"], "at+jwt");
    let alice = house.server.app.find_user(&"alice".parse().expect("a name")).await.expect("a user");
    assert_eq!(claims["sub"], alice.id.to_string());
    assert_eq!(house.server.userinfo(&token).await.text("preferred_username"), "alice");
    let told = house.server.introspect(house.api(), &token).await.json();
    assert_eq!((&told["active"], &told["username"]), (&json!(true), &json!("alice")));
    house.server.stop().await;
}

async fn a_client_s_key_stands_for_the_client_within_its_registration_of_now(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let (held, key) = house.key(of_batch("read write", &[])).await;
    assert_eq!(held.key.terms.audience.len(), 2, "all that the client had when the key was made");

    let claims = swap(server, house.api(), &key, &[]).await.claims();
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("batch"), &json!("api")));
    assert_eq!((&claims["scope"], &claims["act"]), (&json!("read write"), &json!({"sub": "api"})));
    assert_eq!((&claims["preferred_username"], &claims["roles"]), (&Value::Null, &Value::Null));

    let change = async |change: &dyn Fn(&mut Registration)| {
        let id = "batch".parse().expect("an id");
        let change = |mut registration| {
            change(&mut registration);
            registration
        };
        server.app.update_client(&id, change, None).await.expect("changed");
        house.reload().await;
        swap(server, house.api(), &key, &[]).await
    };
    let narrower = change(&|it| it.scope = "read pay".parse().expect("a scope")).await;
    assert_eq!(narrower.text("scope"), "read", "neither what was taken nor what came after");
    let nothing = change(&|it| it.scope = "pay".parse().expect("a scope")).await;
    assert_refusal(&nothing, 400, "invalid_scope", Absent);
    let elsewhere = change(&|it| {
        it.scope = "read".parse().expect("a scope");
        it.audience = vec![OTHER.parse().expect("a URI")];
    });
    assert_refused_like_any_other(&elsewhere.await, "API is not among the client's audiences any more");
    let bound = change(&|it| {
        it.audience.push(API.parse().expect("a URI"));
        it.dpop_bound = true;
    });
    assert_refused_like_any_other(&bound.await, "its tokens must be bound to a key");
    let person = change(&|it| {
        it.dpop_bound = false;
        it.grant_types = vec![GrantType::Password];
    });
    assert_refused_like_any_other(&person.await, "it may not get tokens for itself");
    assert_eq!(change(&|it| it.grant_types = vec![GrantType::ClientCredentials]).await.status, 200);
    house.server.stop().await;
}

async fn attack_a_service_that_was_shown_a_key_that_is_not_meant_for_it_gains_nothing(
    database: TestDatabase,
) {
    let house = House::open(&database).await;
    let server = &house.server;
    // It may act for the API as well, and somebody has sent it a key for the API.
    let mallory = server.client("mallory", service(OTHER, &[API])).await;
    let mallory = mallory.secret.expect("a secret").expose().to_owned();
    let mallory = ("mallory", mallory.as_str());
    let (_, key) = house.key(of_alice("read", &[API])).await;
    let (_, nowhere) = house.key(of_alice("read", &[])).await;

    assert_refused_like_any_other(&swap(server, mallory, &key, &[]).await, "a key for another service");
    assert_refused_like_any_other(&swap(server, mallory, &nowhere, &[]).await, "a key for the issuer");
    assert_refused_like_any_other(&swap(server, house.api(), &nowhere, &[]).await, "the same");
    let beyond = swap(server, house.api(), &key, &[("audience", OTHER)]).await;
    assert_refusal(&beyond, 400, "invalid_target", Absent);
    // Whoever may not exchange anything may not exchange keys, nor may somebody who does not say who they are.
    assert_refusal(&swap(server, house.batch(), &key, &[]).await, 400, "unauthorized_client", Absent);
    let wrong = swap(server, ("api", "wrong-secret-of-some-length"), &key, &[]).await;
    assert_eq!(wrong.status, 401);
    assert_eq!(swap(server, house.api(), &key, &[]).await.status, 200, "for whom it is meant");
    house.server.stop().await;
}

async fn attack_a_guessed_changed_or_cut_key_is_refused_in_the_sentence_of_any_other(database: TestDatabase) {
    let house = House::open(&database).await;
    let (held, key) = house.key(of_alice("read", &[API])).await;
    // A thief who has seen the id in a log writes the checksum, too.
    let forged = grantd::model::api_key::api_key(held.key.id, &[7; 32]);
    let unknown =
        grantd::model::api_key::api_key(grantd::model::api_key::ApiKeyId::from_random([7; 12]), &[7; 32]);
    let mut swapped = key.clone().into_bytes();
    swapped[40] = if swapped[40] == b'A' { b'B' } else { b'A' };
    let swapped = String::from_utf8(swapped).expect("ascii");

    for (text, why) in [
        (forged.expose(), "another secret"),
        (unknown.expose(), "another id"),
        (&key[..68], "cut off"),
        (&key[..20], "its id"),
        (&swapped, "a changed character"),
        (&format!("{key}A"), "a character more"),
        ("gak_", "a prefix"),
        ("x", "nonsense"),
    ] {
        assert_refused_like_any_other(&swap(&house.server, house.api(), text, &[]).await, why);
    }
    assert_eq!(swap(&house.server, house.api(), &key, &[]).await.status, 200);
    house.server.stop().await;
}

async fn attack_a_key_never_allows_more_than_its_user_may_now_nor_than_it_says_itself(
    database: TestDatabase,
) {
    let house = House::open(&database).await;
    let server = &house.server;
    let (_, key) = house.key(of_alice("write pay", &[API])).await;
    let granted = async || swap(server, house.api(), &key, &[]).await;

    assert_eq!(granted().await.text("scope"), "write", "pay is for bosses");
    house.alice_holds(&["boss"]).await;
    let answer = granted().await;
    assert_eq!((answer.text("scope"), &answer.claims()["roles"]), ("pay".into(), &json!(["boss"])));
    house.alice_holds(&["boss", "clerk"]).await;
    assert_eq!(granted().await.text("scope"), "pay write");
    let beyond = swap(server, house.api(), &key, &[("scope", "read")]).await;
    assert_refusal(&beyond, 400, "invalid_scope", Absent);
    let less = swap(server, house.api(), &key, &[("scope", "pay")]).await;
    assert_eq!(less.text("scope"), "pay");
    house.alice_holds(&[]).await;
    assert_refusal(&granted().await, 400, "invalid_scope", Absent);
    // A scope that is bound to a role from now on is taken from keys, too.
    let (_, reads) = house.key(of_alice("read", &[API])).await;
    assert_eq!(swap(server, house.api(), &reads, &[]).await.text("scope"), "read");
    server.role("reader", "read").await;
    house.reload().await;
    assert_refusal(&swap(server, house.api(), &reads, &[]).await, 400, "invalid_scope", Absent);
    house.server.stop().await;
}

async fn attack_a_key_is_no_access_token_and_an_access_token_is_no_key(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let (_, key) = house.key(of_alice("read", &[API])).await;
    let token = swap(server, house.api(), &key, &[]).await.text("access_token");

    assert_eq!(server.introspect(house.api(), &key).await.json(), json!({"active": false}));
    assert_eq!(server.userinfo(&key).await.status, 401);
    assert_refused_like_any_other(&swap(server, house.api(), &token, &[]).await, "a token as a key");
    let as_token = [("grant_type", EXCHANGE), ("subject_token", &key), ("subject_token_type", ACCESS_TOKEN)];
    assert_refused_like_any_other(&server.token_as(house.api(), &as_token).await, "a key as a token");
    for (name, value) in [("client_secret", key.as_str()), ("password", &key)] {
        let form = [("grant_type", "client_credentials"), ("client_id", "batch"), (name, value)];
        assert_ne!(server.token(&form).await.status, 200);
    }
    house.server.stop().await;
}

async fn a_key_ends_when_it_says_and_no_token_of_it_lives_longer(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let new = NewApiKey { expires: Some(Ttl::from_secs(700)), ..of_alice("read", &[API]) };
    let (_, key) = house.key(new).await;

    assert_eq!(swap(server, house.api(), &key, &[]).await.json()["expires_in"], 600);
    server.pass(690);
    let last = swap(server, house.api(), &key, &[]).await;
    assert_eq!(last.json()["expires_in"], 10);
    assert!(is_active(server, house.api(), &last.text("access_token")).await);
    server.pass(10);
    assert_refused_like_any_other(&swap(server, house.api(), &key, &[]).await, "expired");
    assert!(!is_active(server, house.api(), &last.text("access_token")).await);
    house.server.stop().await;
}

async fn a_key_that_could_never_be_used_is_not_made(database: TestDatabase) {
    let house = House::open(&database).await;
    let app = &house.server.app;
    let nobody = NewOwner::User("nobody".parse().expect("a name"));
    let no_client = NewOwner::Client("nobody".parse().expect("an id"));
    let cannot = NewOwner::Client("api".parse().expect("an id"));
    for new in [
        NewApiKey { owner: nobody, ..of_alice("read", &[]) },
        NewApiKey { owner: no_client, ..of_alice("read", &[]) },
        NewApiKey { owner: cannot, ..of_alice("read", &[API]) },
        NewApiKey { expires: Some(Ttl::ZERO), ..of_alice("read", &[]) },
        of_batch("pay", &[]),
        of_batch("read", &["urn:elsewhere"]),
    ] {
        let told = format!("{new:?}");
        let refused = app.create_api_key(new).await.expect_err(&told);
        assert!(matches!(refused, AdminError::NotFound { .. } | AdminError::ApiKey(_)), "{refused}");
    }
    assert_eq!(app.list_api_keys(&KeysOf::All).await.expect("readable"), []);
    house.server.stop().await;
}

/// Tokens that were made from a key without any client have its id as `client_id`.
async fn attack_a_client_does_not_take_the_name_of_a_key(database: TestDatabase) {
    let house = House::open(&database).await;
    let (held, _) = house.key(of_alice("read", &[API])).await;
    let registration =
        Registration { grant_types: vec![GrantType::ClientCredentials], ..Registration::default() };

    let taken = house.server.app.create_client(Some(held.key.id.as_client_id()), registration, None).await;

    assert!(matches!(taken, Err(AdminError::ReservedId(_))), "{taken:?}");
    house.server.stop().await;
}

fn an_operator_makes_shows_and_ends_keys() {
    let home = Home::new(&[]);
    home.json(&["role", "create", "clerk", "--scope", "write"]);
    let user = ["user", "create", "alice", "--role", "clerk", "--password-stdin"];
    home.json_with(&user, "correct horse battery staple");
    let create = ["apikey", "create", "--user", "alice", "--scope"];

    let made = home.json(&[&create[..], &["read", "--expires", "90d", "--name", "laptop"]].concat());

    let key = made["api_key"].as_str().expect("a key").to_owned();
    let id = made["id"].as_str().expect("an id").to_owned();
    assert!(key.starts_with(&id) && made["user"] == "alice" && made["state"] == "live", "{made}");
    assert!(made["client_id"].is_null() && made["expires_at"].is_string(), "{made}");
    home.json(&[&create[..], &["write"]].concat());
    let listed = home.json(&["apikey", "list", "--user", "alice"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    assert!(!listed.to_string().contains(&key) && listed[0].get("api_key").is_none(), "{listed}");
    let shown = home.json(&["apikey", "show", &id]);
    assert_eq!((&shown["name"], &shown["scope"]), (&json!("laptop"), &json!("read")));

    let refused = home.run(&["apikey", "revoke", "--id", &key]);
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("stdin"), "{refused:?}");
    assert_eq!(home.json_with(&["apikey", "revoke"], &format!("  {key}\n"))["revoked"], 1);
    assert_eq!(home.json_with(&["apikey", "revoke"], &key)["revoked"], 0, "over already");
    assert_eq!(home.json(&["apikey", "show", &id])["state"], "revoked");
    assert_eq!(home.json(&["apikey", "revoke", "--user", "alice"])["revoked"], 1);
    let foreign = home.run_with(&["apikey", "revoke"], "gak_nonsense");
    assert_eq!((foreign.status, foreign.stderr.contains("API key")), (1, true), "{foreign:?}");

    let history = home.run(&["audit", "export"]).stdout;
    let acts: Vec<Value> = history.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let acts: Vec<&str> = acts.iter().filter_map(|row| row["act"].as_str()).collect();
    let of_keys: Vec<&str> = acts.into_iter().filter(|act| act.starts_with("api_key.")).collect();
    assert_eq!(of_keys, ["api_key.created", "api_key.created", "api_key.revoked", "api_key.revoked"]);
    assert!(history.contains(&id) && !history.contains(&key[20..]));
}
