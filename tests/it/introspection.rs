//! Introspection by the letter of RFC 7662: who may ask, what they learn, and that a token which has ended in any way is
//! nothing but `{"active":false}` at once. Signed answers are in `introspection_signed`.

use grantd::app::clients::Switch;
use grantd::app::sessions::Sessions;
use grantd::app::signing_keys::Haste;
use grantd::app::users::NewPassword;
use grantd::model::client::{AuthMethod, GrantType, Registration};
use grantd::model::key::{ACCESS_TOKEN_TYP, Kid, SigningAlgorithm};
use grantd::model::secret::PlainSecret;
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::program::Home;
use crate::support::refusal::Challenge::{Absent, Given};
use crate::support::refusal::assert_refusal;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, ISSUER, PASSWORD, PUBLIC, START, TestServer};

trials! {
    both: [
        rfc7662_2_2_a_token_is_told_to_its_client_and_to_who_serves_its_audience_and_to_nobody_else,
        every_end_of_a_token_is_known_to_every_instance_as_soon_as_it_has_looked,
        a_refresh_token_is_told_to_its_own_client_while_it_is_the_live_one,
    ],
    sqlite: [
        rfc7662_2_1_only_a_client_that_proves_who_it_is_may_ask,
        what_is_no_live_token_of_ours_is_inactive_and_never_an_error,
        our_own_clock_has_no_skew_also_for_a_token_that_is_kept,
        a_verdict_ends_with_the_key_that_signed_the_token,
        any_token_type_hint_is_taken_and_none_is_believed,
        a_client_learns_of_an_audience_from_when_it_is_registered_for_it,
    ],
    plain: [an_operator_registers_a_resource_server],
}

/// The audience of the tokens of [`House`].
pub(crate) const API: &str = "https://api.example";

/// A server with the client `app`, whose tokens are for [`API`], the resource server `api`, and `alice`.
pub(crate) struct House {
    pub(crate) server: TestServer,
    pub(crate) app: String,
    api: String,
}

impl House {
    pub(crate) async fn open(database: &TestDatabase) -> Self {
        let server = TestServer::start(database).await;
        let app = server.client("app", ClientOf { audience: &[API, "urn:two"], ..ClientOf::ANY }).await;
        let app = app.secret.expect("a secret").expose().to_owned();
        let api = server.resource_server("api", &[API]).await;
        server.user("alice", &[]).await;
        Self { server, app, api }
    }

    pub(crate) fn app(&self) -> (&str, &str) {
        ("app", &self.app)
    }

    pub(crate) fn api(&self) -> (&str, &str) {
        ("api", &self.api)
    }

    /// What the resource server hears of a token.
    pub(crate) async fn ask(&self, token: &str) -> Answer {
        self.server.introspect(self.api(), token).await
    }

    /// The claims of a new token of `alice`.
    pub(crate) async fn claims(&self) -> Value {
        self.server.login(self.app(), "alice").await.claims()
    }

    /// A token that this server itself has signed, whatever it says.
    pub(crate) fn signed(&self, typ: &str, claims: &Value) -> String {
        let key = self.server.app.signer(SigningAlgorithm::Es256).expect("a key");
        key.sign(typ, claims).expect("signed")
    }
}

fn is_active(answer: &Answer) -> bool {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["active"].as_bool().expect("RFC 7662 §2.2: active is REQUIRED and a boolean")
}

/// RFC 7662 §2.2: "SHOULD NOT include any additional information about an inactive token, including why".
#[track_caller]
fn assert_inactive(answer: &Answer, why: &str) {
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"active":false}"#), "{why}: {answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// `claims` with one of them replaced, or taken away if `value` is null.
fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    let members = claims.as_object_mut().expect("claims");
    if value.is_null() {
        members.remove(name)
    } else {
        members.insert(name.to_owned(), value)
    };
    claims
}

async fn rfc7662_2_2_a_token_is_told_to_its_client_and_to_who_serves_its_audience_and_to_nobody_else(
    database: TestDatabase,
) {
    let house = House::open(&database).await;
    let server = &house.server;
    server.role("boss", "write").await;
    server.user("bob", &["boss"]).await;
    let stranger = server.full_client("stranger").await;
    let elsewhere = server.resource_server("elsewhere", &["https://api.example/", "urn:three"]).await;
    let login = server.login(house.app(), "bob").await;
    let token = login.text("access_token");

    let told = house.ask(&token).await;

    let claims = login.claims();
    let expected = json!({
        "active": true, "scope": "read write", "client_id": "app", "username": "bob", "token_type": "Bearer",
        "exp": claims["exp"], "iat": claims["iat"], "sub": claims["sub"], "aud": [API, "urn:two"],
        "iss": ISSUER, "jti": claims["jti"], "auth_time": claims["auth_time"], "roles": ["boss"],
    });
    assert_eq!((told.status, told.json()), (200, expected));
    assert_eq!(told.header("content-type"), "application/json");
    assert_eq!((told.header("cache-control"), told.header("pragma")), ("no-store".into(), "no-cache".into()));
    assert_eq!(server.introspect(house.app(), &token).await.body, told.body, "the client it was issued to");
    assert_eq!(house.ask(&token).await.body, told.body, "asked again");
    for (id, secret) in [("stranger", &stranger), ("elsewhere", &elsewhere)] {
        assert_inactive(&server.introspect((id, secret), &token).await, id);
    }

    let machine = server.token_as(house.app(), &[("grant_type", "client_credentials")]).await;
    let told = house.ask(&machine.text("access_token")).await.json();
    assert_eq!((&told["sub"], &told["client_id"]), (&json!("app"), &json!("app")));
    assert_eq!((told.get("username"), told.get("auth_time"), told.get("roles")), (None, None, None));
    // Whose tokens are for nobody in particular are for the issuer, and known to their own client.
    let own = server.token_as(("stranger", &stranger), &[("grant_type", "client_credentials")]).await;
    let own = own.text("access_token");
    assert!(is_active(&server.introspect(("stranger", &stranger), &own).await));
    assert_inactive(&house.ask(&own).await, "for another audience");
    house.server.stop().await;
}

async fn rfc7662_2_1_only_a_client_that_proves_who_it_is_may_ask(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    server.client("spa", PUBLIC).await;
    let token = server.login(house.app(), "alice").await.text("access_token");
    let post = async |authorization: Option<String>, form: &[(&str, &str)]| {
        let mut request = server.http.post(format!("{}/introspect", server.url)).form(form);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        Answer::of(request.send().await.expect("an answer")).await
    };
    let token = ("token", token.as_str());

    for (authorization, form, challenge) in [
        (None, &[token][..], Absent),
        // RFC 6749 §2.1: anybody can act as a public client.
        (None, &[token, ("client_id", "spa")], Absent),
        (None, &[token, ("client_id", "app")], Absent),
        (None, &[token, ("client_id", "api"), ("client_secret", "wrong")], Absent),
        (Some("Basic c3BhOg=="), &[token], Given),
        // RFC 7662 §2.1 lets a bearer token authorize the question; here none does.
        (Some("Bearer x"), &[token], Given),
        (Some("Bearer x"), &[token, ("client_id", "api")], Given),
    ] {
        let authorization = authorization.map(str::to_owned);
        assert_refusal(&post(authorization, form).await, 401, "invalid_client", challenge);
    }
    let bearer = Some(format!("Bearer {}", token.1));
    assert_refusal(&post(bearer, &[token]).await, 401, "invalid_client", Given);
    assert_refusal(&server.introspect(("api", "wrong"), token.1).await, 401, "invalid_client", Given);
    let in_body = [token, ("client_id", "api"), ("client_secret", house.api.as_str())];
    assert!(is_active(&post(None, &in_body).await), "by the method client_secret_post");

    let nothing = server.post_as("/introspect", house.api(), &[]).await;
    assert_refusal(&nothing, 400, "invalid_request", Absent);
    assert_eq!(nothing.text("error_description"), "The parameter token is missing.");
    let id = "api".parse().expect("an id");
    server.app.set_client_enabled(&id, Switch::Off).await.expect("a client");
    server.app.reload().await.expect("a database");
    assert_refusal(&house.ask(token.1).await, 401, "invalid_client", Given);
    house.server.stop().await;
}

async fn what_is_no_live_token_of_ours_is_inactive_and_never_an_error(database: TestDatabase) {
    let house = House::open(&database).await;
    let claims = house.claims().await;
    let good = house.signed(ACCESS_TOKEN_TYP, &claims);
    assert!(is_active(&house.ask(&good).await));
    let (message, signature) = good.rsplit_once('.').expect("a JWT");
    let (header, body) = message.split_once('.').expect("a JWT");
    let part = |value: &Value| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
    };
    let kid = house.server.app.signer(SigningAlgorithm::Es256).expect("a key").kid().to_string();
    let foreign = grantd::keys::SigningKey::generate(SigningAlgorithm::Es256).expect("made").0;

    for (why, token) in [
        ("nothing", "x".to_owned()),
        ("no token at all", "ä\u{1f600} \"\\".into()),
        ("64 KiB would be too long", format!("{good}{}", "A".repeat(12_000))),
        ("alg none", format!("{}.{body}.", part(&json!({"alg": "none", "typ": "at+jwt", "kid": kid})))),
        (
            "alg none with a signature",
            format!("{}.{body}.{signature}", part(&json!({"alg": "none", "kid": kid}))),
        ),
        (
            "HS256",
            format!("{}.{body}.{signature}", part(&json!({"alg": "HS256", "typ": "at+jwt", "kid": kid}))),
        ),
        ("another key", foreign.sign(ACCESS_TOKEN_TYP, &claims).expect("signed")),
        ("other claims", format!("{header}.{}.{signature}", part(&with(&claims, "scope", json!("all"))))),
        ("no signature", format!("{message}.")),
        ("the signature in another spelling", format!("{good}=")),
        ("RFC 9068 §4: typ", house.signed("JWT", &claims)),
        ("an answer of introspection", house.signed("token-introspection+jwt", &claims)),
        (
            "another issuer",
            house.signed(ACCESS_TOKEN_TYP, &with(&claims, "iss", json!("https://other.example"))),
        ),
        ("no audience", house.signed(ACCESS_TOKEN_TYP, &with(&claims, "aud", Value::Null))),
        ("another audience", house.signed(ACCESS_TOKEN_TYP, &with(&claims, "aud", json!("urn:other")))),
        ("expired", house.signed(ACCESS_TOKEN_TYP, &with(&claims, "exp", json!(START.as_secs())))),
        ("not yet", house.signed(ACCESS_TOKEN_TYP, &with(&claims, "nbf", json!(START.as_secs() + 1)))),
        (
            "from the future",
            house.signed(ACCESS_TOKEN_TYP, &with(&claims, "iat", json!(START.as_secs() + 61))),
        ),
        ("a client that is gone", house.signed(ACCESS_TOKEN_TYP, &with(&claims, "client_id", json!("gone")))),
        ("no client", house.signed(ACCESS_TOKEN_TYP, &with(&claims, "client_id", json!("a b")))),
        ("no jti", house.signed(ACCESS_TOKEN_TYP, &with(&claims, "jti", Value::Null))),
        ("a refresh token of nobody", format!("grt_{}", "A".repeat(76))),
    ] {
        assert_inactive(&house.ask(&token).await, why);
        assert_inactive(&house.ask(&token).await, why);
    }
    let spaced = format!(" {good}");
    assert_inactive(&house.ask(&spaced).await, "a token is its exact text");
    assert!(is_active(&house.ask(&good).await));
    house.server.stop().await;
}

async fn our_own_clock_has_no_skew_also_for_a_token_that_is_kept(database: TestDatabase) {
    let house = House::open(&database).await;
    let claims = house.claims().await;
    let now = START.as_secs();
    let later = with(&with(&claims, "nbf", json!(now + 10)), "exp", json!(now + 20));
    let later = house.signed(ACCESS_TOKEN_TYP, &later);

    assert_inactive(&house.ask(&later).await, "RFC 7519 §4.1.5: not before its time");
    house.server.pass(9);
    assert_inactive(&house.ask(&later).await, "a second before its time");
    house.server.pass(1);
    let told = house.ask(&later).await;
    assert!(is_active(&told), "at its time");
    assert_eq!(told.json()["nbf"], now + 10);
    house.server.pass(9);
    assert!(is_active(&house.ask(&later).await), "in its last second");
    house.server.pass(1);
    assert_inactive(&house.ask(&later).await, "RFC 7519 §4.1.4: on or after the expiration time");

    // Another instance's clock may be ahead, which says nothing of when a token is good.
    let iat = house.signed(ACCESS_TOKEN_TYP, &with(&claims, "iat", json!(now + 21)));
    assert!(is_active(&house.ask(&iat).await));
    house.server.stop().await;
}

async fn a_verdict_ends_with_the_key_that_signed_the_token(database: TestDatabase) {
    let house = House::open(&database).await;
    let other = TestServer::start_at(&database, &[], house.server.clock.clone()).await;
    let login = house.server.login(house.app(), "alice").await;
    let (token, kid) = (login.text("access_token"), login.jose()["kid"].as_str().expect("a kid").to_owned());
    house.server.app.rotate_keys(Haste::Now).await.expect("another key");
    other.app.reload().await.expect("a database");
    for server in [&house.server, &other] {
        assert!(is_active(&server.introspect(house.api(), &token).await), "a retired key stays published");
    }

    house.server.app.retire_key(&Kid::new(kid)).await.expect("a key");

    assert_inactive(&house.ask(&token).await, "here at once");
    other.app.reload().await.expect("a database");
    assert_inactive(&other.introspect(house.api(), &token).await, "there as soon as it has looked");
    other.stop().await;
    house.server.stop().await;
}

async fn every_end_of_a_token_is_known_to_every_instance_as_soon_as_it_has_looked(database: TestDatabase) {
    let house = House::open(&database).await;
    let other = TestServer::start_at(&database, &[], house.server.clock.clone()).await;
    let app = &house.server.app;
    let id = "app".parse().expect("an id");
    let alice = "alice".parse().expect("a name");
    let off = async || {
        app.set_client_enabled(&id, Switch::Off).await.expect("a client");
        app.set_client_enabled(&id, Switch::On).await.expect("a client");
    };
    let disable = async || {
        app.set_user_enabled(&alice, Switch::Off).await.expect("a user");
        app.set_user_enabled(&alice, Switch::On).await.expect("a user");
    };
    let all = async |sessions: Sessions| _ = app.revoke_sessions(&sessions).await.expect("sessions");

    for end in
        ["all", "user", "client", "password", "user disabled", "client disabled", "user deleted", "reuse"]
    {
        other.app.reload().await.expect("a database");
        let login = house.server.login(house.app(), "alice").await;
        let spared = house.server.token_as(house.app(), &[("grant_type", "client_credentials")]).await;
        let (token, spared) = (login.text("access_token"), spared.text("access_token"));
        for server in [&house.server, &other] {
            assert!(is_active(&server.introspect(house.api(), &token).await), "{end}");
            assert!(is_active(&server.introspect(house.api(), &spared).await), "{end}");
        }

        match end {
            "all" => all(Sessions::All).await,
            "user" => all(Sessions::OfUser(alice.clone())).await,
            "client" => all(Sessions::OfClient(id.clone())).await,
            "password" => {
                let password = NewPassword::Plain(PlainSecret::new(PASSWORD.into()));
                _ = app.set_password(&alice, password).await.expect("a user");
            }
            "user disabled" => disable().await,
            "client disabled" => off().await,
            "user deleted" => {
                app.delete_user(&alice).await.expect("a user");
                house.server.user("alice", &[]).await;
            }
            _ => {
                let first = login.text("refresh_token");
                let second = house.server.refresh(house.app(), &first).await.text("refresh_token");
                assert_eq!(house.server.refresh(house.app(), &second).await.status, 200);
                let reuse = house.server.refresh(house.app(), &first).await;
                assert_eq!(reuse.refusal(), (400, "invalid_grant".into()));
            }
        }

        app.reload().await.expect("a database");
        other.app.reload().await.expect("a database");
        for server in [&house.server, &other] {
            assert_inactive(&server.introspect(house.api(), &token).await, end);
            // What a client got for itself ends with the client, and with no user.
            let alive = is_active(&server.introspect(house.api(), &spared).await);
            if end.contains("client") || end == "all" {
                assert!(!alive || end != "client disabled", "{end}");
            } else {
                assert!(alive, "{end}");
            }
        }
    }

    let token = house.server.login(house.app(), "alice").await.text("access_token");
    assert!(is_active(&house.ask(&token).await));
    app.delete_client(&id).await.expect("a client");
    app.reload().await.expect("a database");
    assert_inactive(&house.ask(&token).await, "its client was deleted");
    other.stop().await;
    house.server.stop().await;
}

async fn a_refresh_token_is_told_to_its_own_client_while_it_is_the_live_one(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let stranger = server.full_client("stranger").await;
    let login = server.login(house.app(), "alice").await;
    let first = login.text("refresh_token");
    let own = async |token: &str| server.introspect(house.app(), token).await;

    let told = own(&first).await;

    let expected = json!({
        "active": true, "scope": "read write", "client_id": "app", "username": "alice", "iss": ISSUER,
        "sub": login.claims()["sub"], "iat": START.as_secs(), "auth_time": START.as_secs(),
        "exp": START.as_secs() + 14 * 24 * 60 * 60,
    });
    assert_eq!((told.status, told.json()), (200, expected));
    // A resource server that takes one for an access token would let in whoever stole it.
    assert_inactive(&house.ask(&first).await, "never active to a resource server");
    assert_inactive(&server.introspect(("stranger", &stranger), &first).await, "another client's");
    let second = server.refresh(house.app(), &first).await.text("refresh_token");
    assert_inactive(&own(&first).await, "replaced");
    assert!(is_active(&own(&second).await), "asking for the replaced one is no reuse, and redeems nothing");
    assert_eq!(server.refresh(house.app(), &first).await.text("refresh_token"), second);

    let update = |grants: Vec<GrantType>| {
        let id = "app".parse().expect("an id");
        let change = |it| Registration { grant_types: grants, ..it };
        async move { server.app.update_client(&id, change, None).await.map(drop).expect("a client") }
    };
    update(vec![GrantType::Password]).await;
    assert_inactive(&own(&second).await, "its client may not redeem it");
    update(ClientOf::ANY.grants.to_vec()).await;
    server.pass(14 * 24 * 60 * 60 - 1);
    assert!(is_active(&own(&second).await));
    server.pass(1);
    assert_inactive(&own(&second).await, "unused for too long");

    let third = server.login(house.app(), "alice").await.text("refresh_token");
    assert!(is_active(&own(&third).await));
    server.app.revoke_sessions(&Sessions::All).await.expect("sessions");
    assert_inactive(&own(&third).await, "its session was ended");
    house.server.stop().await;
}

async fn any_token_type_hint_is_taken_and_none_is_believed(database: TestDatabase) {
    let house = House::open(&database).await;
    let login = house.server.login(house.app(), "alice").await;

    for hint in ["access_token", "refresh_token", "id_token", "x", "", "ä"] {
        for token in ["access_token", "refresh_token"] {
            let form = [("token", login.text(token)), ("token_type_hint", hint.to_owned())];
            let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
            let answer = house.server.post_as("/introspect", house.app(), &form).await;

            assert!(is_active(&answer), "{token} as {hint}: {answer:?}");
        }
    }
    house.server.stop().await;
}

async fn a_client_learns_of_an_audience_from_when_it_is_registered_for_it(database: TestDatabase) {
    let house = House::open(&database).await;
    let token = house.server.login(house.app(), "alice").await.text("access_token");
    let id = "api".parse().expect("an id");
    let serve = async |uris: &[&str]| {
        let resource_servers = uris.iter().map(|uri| uri.parse().expect("a URI")).collect();
        let grant_types = vec![GrantType::ClientCredentials];
        let change = |it| Registration { resource_servers, grant_types, ..it };
        house.server.app.update_client(&id, change, None).await.expect("a client");
    };

    assert!(is_active(&house.ask(&token).await));
    serve(&["urn:other"]).await;
    assert_inactive(&house.ask(&token).await, "for another audience now");
    serve(&["urn:other", "urn:two"]).await;
    assert!(is_active(&house.ask(&token).await));
    serve(&[]).await;
    assert_inactive(&house.ask(&token).await, "for none");
    house.server.stop().await;
}

fn an_operator_registers_a_resource_server() {
    let home = Home::new(&[]);

    let made =
        home.json(&["client", "create", "api", "--resource-server", API, "--resource-server", "urn:two"]);
    assert_eq!((&made["resource_servers"], &made["grant_types"]), (&json!([API, "urn:two"]), &json!([])));
    assert!(made["client_secret"].is_string());
    let renamed = home.json(&["client", "update", "api", "--name", "API"]);
    assert_eq!(renamed["resource_servers"], json!([API, "urn:two"]), "what is not named stays");
    for (arguments, advice) in [
        (&["client", "update", "api", "--resource-server", ""][..], "--grant or --resource-server"),
        (&["client", "update", "api", "--auth-method", "none"], "--resource-server"),
        (
            &[
                "client",
                "create",
                "x",
                "--grant",
                "password",
                "--auth-method",
                "none",
                "--resource-server",
                API,
            ],
            "secret",
        ),
    ] {
        let refused = home.run(arguments);
        assert_eq!(refused.status, 1, "{refused:?}");
        assert!(refused.stderr.contains(advice), "{refused:?}");
    }
    let other = home.json(&["client", "update", "api", "--resource-server", "urn:three"]);
    assert_eq!(other["resource_servers"], json!(["urn:three"]));
    let methods = json!([AuthMethod::ClientSecretBasic.as_str(), AuthMethod::ClientSecretPost.as_str()]);
    assert_eq!(other["token_endpoint_auth_methods"], methods);
}
