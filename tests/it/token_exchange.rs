//! Token exchange by the letter of RFC 8693: a service swaps the token that it was called with for one to the next service,
//! which says who acts for whom, and which gains nobody anything. Who may exchange for what is in `protocol`'s own tests
//! case by case; here it is attacked from outside.

use grantd::app::sessions::Sessions;
use grantd::model::client::{GrantType, Registration};
use grantd::model::key::{ACCESS_TOKEN_TYP, SigningAlgorithm};
use grantd::model::resource::Audience;
use serde_json::{Value, json};

use crate::dpop::{jkt, proof};
use crate::support::database::TestDatabase;
use crate::support::jose::Key;
use crate::support::program::Home;
use crate::support::refusal::Challenge::Absent;
use crate::support::refusal::assert_refusal;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, ISSUER, PASSWORD, PUBLIC, START, TestServer};

trials! {
    both: [
        rfc8693_2_2_1_a_service_gets_a_token_for_the_next_service_that_says_who_acts_for_whom,
        rfc8693_4_1_each_service_on_the_way_is_named_and_five_are_the_most,
    ],
    sqlite: [
        attack_a_service_that_was_given_somebody_elses_token_gains_nothing_by_it,
        rfc8693_2_2_2_what_is_no_live_token_of_ours_is_refused_in_one_sentence,
        rfc8693_2_2_2_a_target_that_the_client_may_not_act_for_is_invalid_target,
        attack_an_exchange_never_widens_a_scope,
        only_clients_that_are_registered_for_it_may_exchange_and_only_while_they_are,
        a_token_is_bound_to_the_key_of_the_service_that_gets_it,
    ],
    plain: [an_operator_lets_a_service_act_for_others],
}

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(crate) const ORDERS: &str = "https://orders.example";
const BILLING: &str = "https://billing.example";
pub(crate) const LEDGER: &str = "urn:ledger";

/// `app` logs people in and calls `orders`, which calls `billing`, which calls the ledger.
pub(crate) struct House {
    pub(crate) server: TestServer,
    app: String,
    orders: String,
    billing: String,
}

impl House {
    pub(crate) async fn open(database: &TestDatabase) -> Self {
        Self::open_with(database, &[]).await
    }

    pub(crate) async fn open_with(database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        let server = TestServer::start_with(database, settings).await;
        let scope = "read write pay";
        let app = ClientOf { audience: &[ORDERS], scope, ..ClientOf::ANY };
        let app = server.client("app", app).await.secret.expect("a secret").expose().to_owned();
        let orders = service(&server, "orders", ORDERS, &[BILLING]).await;
        let billing = service(&server, "billing", BILLING, &[LEDGER, ORDERS, "urn:mail"]).await;
        server.role("clerk", "write").await;
        server.user("alice", &["clerk"]).await;
        Self { server, app, orders, billing }
    }

    pub(crate) fn app(&self) -> (&str, &str) {
        ("app", &self.app)
    }

    pub(crate) fn orders(&self) -> (&str, &str) {
        ("orders", &self.orders)
    }

    pub(crate) fn billing(&self) -> (&str, &str) {
        ("billing", &self.billing)
    }

    pub(crate) async fn login(&self) -> Answer {
        self.server.login(self.app(), "alice").await
    }

    pub(crate) async fn change(&self, id: &str, change: impl FnOnce(Registration) -> Registration) {
        let id = id.parse().expect("an id");
        self.server.app.update_client(&id, change, None).await.expect("a client");
    }
}

/// A service that is called with tokens for `serves`, and may call `next`. It needs its scopes to pass them on.
async fn service(server: &TestServer, id: &str, serves: &str, next: &[&str]) -> String {
    let grants = &[GrantType::TokenExchange, GrantType::ClientCredentials];
    let scope = "read write";
    let with = ClientOf { grants, scope, resource_servers: &[serves], may_act_for: next, ..ClientOf::ANY };
    server.client(id, with).await.secret.expect("a secret").expose().to_owned()
}

pub(crate) async fn exchange(
    server: &TestServer,
    client: (&str, &str),
    token: &str,
    more: &[(&str, &str)],
) -> Answer {
    let form = [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", ACCESS_TOKEN)];
    server.token_as(client, &[&form[..], more].concat()).await
}

pub(crate) async fn is_active(server: &TestServer, client: (&str, &str), token: &str) -> bool {
    server.introspect(client, token).await.json()["active"] == true
}

/// RFC 8693 §2.2.2, in the sentence that tells nothing.
#[track_caller]
pub(crate) fn assert_refused_like_any_other(answer: &Answer, why: &str) {
    let sentence = "The subject token is invalid, expired or revoked, or was not meant for this client.";
    let expected = json!({"error": "invalid_request", "error_description": sentence});
    assert_eq!((answer.status, answer.json()), (400, expected), "{why}");
}

async fn rfc8693_2_2_1_a_service_gets_a_token_for_the_next_service_that_says_who_acts_for_whom(
    database: TestDatabase,
) {
    let house = House::open(&database).await;
    let login = house.login().await;
    let given = login.claims();
    house.server.pass(60);

    let answer = exchange(&house.server, house.orders(), &login.text("access_token"), &[]).await;

    let token = answer.text("access_token");
    let expected = json!({
        "access_token": token, "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 540,
        "scope": "read write",
    });
    assert_eq!((answer.status, answer.json()), (200, expected), "and no refresh token");
    assert_eq!(answer.header("cache-control"), "no-store");
    let claims = answer.claims();
    let expected = json!({
        "iss": ISSUER, "sub": given["sub"], "aud": BILLING, "exp": given["exp"], "iat": START.as_secs() + 60,
        "jti": claims["jti"], "client_id": "orders", "scope": "read write", "auth_time": given["auth_time"],
        "preferred_username": "alice", "roles": ["clerk"], "act": {"sub": "orders"}, "status": given["status"],
    });
    assert_eq!(claims, expected);
    assert_ne!(claims["jti"], given["jti"]);
    assert_eq!(answer.jose()["typ"], "at+jwt");
    // RFC 8693 §4.1 names act for introspection too.
    let told = house.server.introspect(house.billing(), &token).await.json();
    assert_eq!((&told["active"], &told["act"]), (&json!(true), &json!({"sub": "orders"})));
    assert_eq!((&told["username"], &told["client_id"]), (&json!("alice"), &json!("orders")));
    assert_eq!(house.server.userinfo(&token).await.text("sub"), given["sub"]);
    assert!(is_active(&house.server, house.orders(), &login.text("access_token")).await, "as good as before");

    let jwt = "urn:ietf:params:oauth:token-type:jwt";
    let wanted = [("requested_token_type", jwt), ("audience", BILLING), ("resource", BILLING)];
    let answer = exchange(&house.server, house.orders(), &login.text("access_token"), &wanted).await;
    assert_eq!((answer.text("issued_token_type"), &answer.claims()["aud"]), (jwt.into(), &json!(BILLING)));
    let actor = [("actor_token", token.as_str()), ("actor_token_type", ACCESS_TOKEN)];
    let answer = exchange(&house.server, house.orders(), &login.text("access_token"), &actor).await;
    assert_refusal(&answer, 400, "invalid_request", Absent);
    house.server.stop().await;
}

async fn rfc8693_4_1_each_service_on_the_way_is_named_and_five_are_the_most(database: TestDatabase) {
    let house = House::open(&database).await;
    let login = house.login().await;
    let first = exchange(&house.server, house.orders(), &login.text("access_token"), &[]).await;

    let second =
        exchange(&house.server, house.billing(), &first.text("access_token"), &[("audience", LEDGER)]).await;

    let claims = second.claims();
    assert_eq!(claims["act"], json!({"sub": "billing", "act": {"sub": "orders"}}));
    assert_eq!((&claims["client_id"], &claims["aud"]), (&json!("billing"), &json!(LEDGER)));
    assert_eq!((&claims["sub"], &claims["preferred_username"]), (&login.claims()["sub"], &json!("alice")));

    // Two services that call each other.
    let mut token = first.text("access_token");
    for (hop, (client, next)) in
        [(house.billing(), ORDERS), (house.orders(), BILLING)].into_iter().cycle().take(4).enumerate()
    {
        let answer = exchange(&house.server, client, &token, &[("audience", next)]).await;
        assert_eq!(answer.status, 200, "actor {}: {answer:?}", hop + 2);
        token = answer.text("access_token");
    }
    let answer = exchange(&house.server, house.billing(), &token, &[("audience", ORDERS)]).await;
    assert_refusal(&answer, 400, "invalid_request", Absent);
    assert!(answer.text("error_description").contains("too often"), "{answer:?}");
    house.server.stop().await;
}

async fn attack_a_service_that_was_given_somebody_elses_token_gains_nothing_by_it(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    // It may call billing as well, and somebody has shown it a token that was meant for orders.
    let mallory = service(server, "mallory", "https://mallory.example", &[BILLING]).await;
    let mallory = ("mallory", mallory.as_str());
    let login = house.login().await;
    let token = login.text("access_token");

    assert_refused_like_any_other(&exchange(server, mallory, &token, &[]).await, "for another service");
    let onward = exchange(server, house.orders(), &token, &[]).await.text("access_token");
    assert_refused_like_any_other(&exchange(server, mallory, &onward, &[]).await, "for the one after");
    // orders has sent its token on to billing, and is not the one it is for; but it was issued to it.
    assert_eq!(exchange(server, house.orders(), &onward, &[]).await.status, 200);
    // billing serves what orders may act for, and not what the user's token is for.
    let answer = exchange(server, house.billing(), &token, &[("audience", LEDGER)]).await;
    assert_refused_like_any_other(&answer, "the token before");

    // An audience that only looks like its own.
    let lookalike = vec![format!("{ORDERS}/").parse::<Audience>().expect("a URI")];
    house.change("mallory", |it| Registration { resource_servers: lookalike, ..it }).await;
    assert_refused_like_any_other(&exchange(server, mallory, &token, &[]).await, "a look-alike");
    house.server.stop().await;
}

async fn rfc8693_2_2_2_what_is_no_live_token_of_ours_is_refused_in_one_sentence(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let login = house.login().await;
    let (token, claims) = (login.text("access_token"), login.claims());
    let ours = server.app.signer(SigningAlgorithm::Es256).expect("a key");
    let signed = |typ: &str, name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        ours.sign(typ, &claims).expect("signed")
    };
    let theirs = Key::p256().sign(&login.jose(), &claims);
    let stranger = signed(ACCESS_TOKEN_TYP, "iss", json!("https://elsewhere.example"));
    let answer = signed("token-introspection+jwt", "iat", claims["iat"].clone());
    let later = signed(ACCESS_TOKEN_TYP, "nbf", json!(START.as_secs() + 10));
    assert_eq!(exchange(server, house.orders(), &token, &[]).await.status, 200, "as it is");

    for (subject, why) in [
        ("x", "no token"),
        (&token[..token.len() - 2], "cut off"),
        (&login.text("refresh_token"), "a refresh token"),
        (&theirs, "by another key"),
        (&stranger, "by another issuer"),
        (&answer, "no access token"),
        (&later, "not yet"),
    ] {
        assert_refused_like_any_other(&exchange(server, house.orders(), subject, &[]).await, why);
    }
    house.server.pass(599);
    assert_eq!(exchange(server, house.orders(), &token, &[]).await.status, 200, "in its last second");
    house.server.pass(1);
    assert_refused_like_any_other(&exchange(server, house.orders(), &token, &[]).await, "expired");
    let token = house.login().await.text("access_token");
    server.app.revoke_sessions(&Sessions::All).await.expect("sessions");
    server.app.reload().await.expect("a database");
    assert_refused_like_any_other(&exchange(server, house.orders(), &token, &[]).await, "revoked");
    house.server.stop().await;
}

async fn rfc8693_2_2_2_a_target_that_the_client_may_not_act_for_is_invalid_target(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let token = house.login().await.text("access_token");
    let onward = exchange(server, house.orders(), &token, &[]).await.text("access_token");

    for targets in [
        &[("audience", LEDGER)][..],
        &[("resource", LEDGER)],
        &[("audience", BILLING), ("resource", LEDGER)],
        &[("audience", "billing")],
        // What it serves itself, and what the user's token is for, is nothing that it may act for.
        &[("audience", ORDERS)],
    ] {
        let answer = exchange(server, house.orders(), &token, targets).await;
        assert_refusal(&answer, 400, "invalid_target", Absent);
    }
    let answer = exchange(server, house.billing(), &onward, &[]).await;
    assert_refusal(&answer, 400, "invalid_target", Absent);
    assert!(answer.text("error_description").contains("several"), "{answer:?}");
    let both = [("audience", LEDGER), ("audience", ORDERS)];
    let answer = exchange(server, house.billing(), &onward, &both).await;
    assert_eq!(answer.claims()["aud"], json!([LEDGER, ORDERS]));
    house.server.stop().await;
}

async fn attack_an_exchange_never_widens_a_scope(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let reading = [("grant_type", "password"), ("username", "alice"), ("scope", "read")];
    let reading = [&reading[..], &[("password", PASSWORD)]].concat();
    let token = server.token_as(house.app(), &reading).await.text("access_token");

    for (scope, expected) in [
        (None, Ok("read")),
        (Some("read"), Ok("read")),
        // What orders may ask for by itself, and the user's token does not allow.
        (Some("write"), Err("invalid_scope")),
        (Some("read write"), Err("invalid_scope")),
        // What the user has, and orders may never pass on.
        (Some("pay"), Err("invalid_scope")),
        (Some("admin"), Err("invalid_scope")),
    ] {
        let more: Vec<_> = scope.map(|scope| ("scope", scope)).into_iter().collect();
        let answer = exchange(server, house.orders(), &token, &more).await;
        match expected {
            Ok(granted) => {
                assert_eq!(
                    (answer.text("scope"), &answer.claims()["scope"]),
                    (granted.into(), &json!(granted))
                );
            }
            Err(error) => assert_refusal(&answer, 400, error, Absent),
        }
    }
    house.change("orders", |it| Registration { scope: "write".parse().expect("a scope"), ..it }).await;
    let answer = exchange(server, house.orders(), &token, &[]).await;
    assert_refusal(&answer, 400, "invalid_scope", Absent);
    // A narrow token stays so on the way.
    house.change("orders", |it| Registration { scope: "read write".parse().expect("a scope"), ..it }).await;
    let onward = exchange(server, house.orders(), &token, &[]).await.text("access_token");
    let more = [("audience", LEDGER), ("scope", "write")];
    let answer = exchange(server, house.billing(), &onward, &more).await;
    assert_refusal(&answer, 400, "invalid_scope", Absent);
    house.server.stop().await;
}

async fn only_clients_that_are_registered_for_it_may_exchange_and_only_while_they_are(
    database: TestDatabase,
) {
    let house = House::open(&database).await;
    let server = &house.server;
    let token = house.login().await.text("access_token");
    server.client("spa", PUBLIC).await;

    let answer = exchange(server, house.app(), &token, &[]).await;
    assert_refusal(&answer, 400, "unauthorized_client", Absent);
    let form = [("grant_type", EXCHANGE), ("subject_token", &token), ("subject_token_type", ACCESS_TOKEN)];
    let public = server.token(&[&form[..], &[("client_id", "spa")]].concat()).await;
    assert_refusal(&public, 400, "unauthorized_client", Absent);
    let nobody = server.token(&form).await;
    assert_refusal(&nobody, 401, "invalid_client", Absent);
    let short = [("grant_type", "token-exchange"), ("subject_token", &token)];
    assert_refusal(&server.token_as(house.orders(), &short).await, 400, "unsupported_grant_type", Absent);

    assert_eq!(exchange(server, house.orders(), &token, &[("audience", BILLING)]).await.status, 200);
    let mail = vec!["urn:mail".parse::<Audience>().expect("a URI")];
    house.change("orders", |it| Registration { may_act_for: mail, ..it }).await;
    let answer = exchange(server, house.orders(), &token, &[("audience", BILLING)]).await;
    assert_refusal(&answer, 400, "invalid_target", Absent);
    let grant_types = vec![GrantType::ClientCredentials];
    house.change("orders", |it| Registration { may_act_for: Vec::new(), grant_types, ..it }).await;
    let answer = exchange(server, house.orders(), &token, &[]).await;
    assert_refusal(&answer, 400, "unauthorized_client", Absent);
    house.server.stop().await;
}

async fn a_token_is_bound_to_the_key_of_the_service_that_gets_it(database: TestDatabase) {
    let house = House::open(&database).await;
    let server = &house.server;
    let (users, services) = (Key::p256(), Key::p256());
    let ask = async |client: (&str, &str), form: &[(&str, &str)], proof: Option<&str>| {
        let request = server.http.post(format!("{}/token", server.url)).basic_auth(client.0, Some(client.1));
        let request =
            proof.into_iter().fold(request.form(form), |request, proof| request.header("DPoP", proof));
        Answer::of(request.send().await.expect("an answer")).await
    };
    let login = [("grant_type", "password"), ("username", "alice")];
    let login = [&login[..], &[("password", PASSWORD)]].concat();
    let bound = ask(house.app(), &login, Some(&proof(&users))).await;
    assert_eq!(bound.claims()["cnf"], json!({"jkt": jkt(&users)}));
    let bound = bound.text("access_token");
    let swap =
        |token| [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", ACCESS_TOKEN)];

    // The resource server has checked the user's proof, and has not the user's key.
    let answer = ask(house.orders(), &swap(&bound), None).await;
    assert_eq!((answer.text("token_type"), answer.claims().get("cnf")), ("Bearer".into(), None));
    let used = proof(&services);
    let answer = ask(house.orders(), &swap(&bound), Some(&used)).await;
    assert_eq!(answer.text("token_type"), "DPoP");
    assert_eq!(answer.claims()["cnf"], json!({"jkt": jkt(&services)}));
    let again = ask(house.orders(), &swap(&bound), Some(&used)).await;
    assert_refusal(&again, 400, "invalid_dpop_proof", Absent);

    // Its own token it does not get rid of the key of, nor does whoever has stolen it with the client's secret.
    let own = answer.text("access_token");
    for (key, status) in [(None, 400), (Some(&users), 400), (Some(&services), 200)] {
        let proof = key.map(proof);
        assert_eq!(ask(house.orders(), &swap(&own), proof.as_deref()).await.status, status);
    }
    house.change("orders", |it| Registration { dpop_bound: true, ..it }).await;
    let answer = ask(house.orders(), &swap(&bound), None).await;
    assert_refusal(&answer, 400, "invalid_dpop_proof", Absent);
    house.server.stop().await;
}

fn an_operator_lets_a_service_act_for_others() {
    let home = Home::new(&[]);
    let create = ["client", "create", "orders", "--grant", "token-exchange", "--resource-server", ORDERS];

    let made = home.json(&[&create[..], &["--may-act-for", BILLING, "--may-act-for", LEDGER]].concat());

    assert_eq!((&made["grant_types"], &made["may_act_for"]), (&json!([EXCHANGE]), &json!([BILLING, LEDGER])));
    let renamed = home.json(&["client", "update", "orders", "--name", "Orders", "--grant", EXCHANGE]);
    assert_eq!(
        (&renamed["grant_types"], &renamed["may_act_for"]),
        (&json!([EXCHANGE]), &json!([BILLING, LEDGER]))
    );
    let fewer = home.json(&["client", "update", "orders", "--may-act-for", LEDGER]);
    assert_eq!(fewer["may_act_for"], json!([LEDGER]));
    let history = home.json(&["audit", "list"]);
    let changes: Vec<_> = history.as_array().expect("rows").iter().map(|row| &row["details"]).collect();
    assert!(changes.iter().any(|it| it["values"]["may_act_for"]["to"] == json!([LEDGER])), "{changes:?}");
    for (arguments, advice) in [
        (&["client", "update", "orders", "--may-act-for", ""][..], "--may-act-for"),
        (&["client", "update", "orders", "--grant", "client_credentials"], "--grant token-exchange"),
        (&["client", "update", "orders", "--auth-method", "none", "--resource-server", ""], "token"),
        (&["client", "create", "x", "--grant", "token-exchange"], "--may-act-for"),
    ] {
        let refused = home.run(arguments);
        assert_eq!(refused.status, 1, "{refused:?}");
        assert!(refused.stderr.contains(advice), "{refused:?}");
    }
}
