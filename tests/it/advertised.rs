//! The metadata (RFC 8414) held to its word: everything that it advertises is done, and what it does not advertise is
//! refused. A member that is not known here fails, so that nobody adds one without a proof.
//!
//! All addresses and names come from the document as a client reads it; only the address of the socket does not, because
//! nothing listens at the issuer of tests. No setting takes a member away: there is none that switches a feature off.

use std::cell::Cell;

use grantd::model::client::{AuthMethod, GrantType, Registration};
use grantd::model::jwk::JwkSet;
use grantd::model::key::SigningAlgorithm;
use grantd::model::resource::Audience;
use grantd::protocol::client_assertion::ASSERTION_TYPE;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Map, Value, json};

use crate::support::database::TestDatabase;
use crate::support::jose::{Key, hmac_signed, unsigned};
use crate::support::refusal::Challenge::Absent;
use crate::support::refusal::assert_refusal;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, ISSUER, PASSWORD, START, TestServer};

trials! {
    sqlite: [
        everything_that_is_advertised_is_done_and_nothing_else,
        everything_that_is_advertised_below_a_path_is_done_there,
    ],
}

const API: &str = "https://api.example";
const METADATA: &str = "/.well-known/oauth-authorization-server";
/// Grants of the registry of OAuth parameters, whether or not they are here.
const GRANTS: [&str; 9] = [
    "authorization_code",
    "implicit",
    "password",
    "client_credentials",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "urn:ietf:params:oauth:grant-type:saml2-bearer",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "urn:ietf:params:oauth:grant-type:device_code",
];
/// Methods of the registry that can be tried without a certificate.
const METHODS: [&str; 5] =
    ["client_secret_basic", "client_secret_post", "private_key_jwt", "none", "client_secret_jwt"];
/// What proofs and assertions may be signed with, and what they must not be.
const ALGORITHMS: [&str; 13] = [
    "ES256", "RS256", "PS256", "EdDSA", "Ed25519", "ES384", "ES256K", "RS384", "PS512", "Ed448", "HS256",
    "none", "RS1",
];

async fn everything_that_is_advertised_is_done_and_nothing_else(database: TestDatabase) {
    everything_of(&database, ISSUER, METADATA).await;
}

async fn everything_that_is_advertised_below_a_path_is_done_there(database: TestDatabase) {
    let (issuer, path) = (format!("{ISSUER}/tenant/one"), format!("{METADATA}/tenant/one"));
    everything_of(&database, &issuer, &path).await;
}

async fn everything_of(database: &TestDatabase, issuer: &str, path: &str) {
    let house = House::open(database, issuer, path).await;
    let document = house.document.as_object().expect("an object").clone();

    for (member, value) in &document {
        match member.as_str() {
            "issuer" => {
                assert_eq!((value, &house.login().await.claims()["iss"]), (&json!(issuer), value));
            }
            // RFC 8414 §2: REQUIRED, and empty because nobody is sent anywhere to agree to anything.
            "response_types_supported" => {
                assert_eq!(value, &json!([]));
                assert_eq!(document.get("authorization_endpoint"), None);
            }
            "token_endpoint" => assert_eq!(house.login().await.status, 200),
            "jwks_uri" => house.keys_verify_tokens().await,
            "introspection_endpoint" => house.introspection_tells().await,
            "revocation_endpoint" => house.revocation_ends().await,
            "userinfo_endpoint" => house.userinfo_tells().await,
            "status_list_aggregation_endpoint" => house.status_lists_answer().await,
            "grant_types_supported" => house.grants_give_tokens().await,
            "token_endpoint_auth_methods_supported" => house.methods_authenticate("token").await,
            "introspection_endpoint_auth_methods_supported" => {
                house.methods_authenticate("introspection").await
            }
            "revocation_endpoint_auth_methods_supported" => house.methods_authenticate("revocation").await,
            "token_endpoint_auth_signing_alg_values_supported" => house.assertions_are_taken("token").await,
            "introspection_endpoint_auth_signing_alg_values_supported" => {
                house.assertions_are_taken("introspection").await;
            }
            "revocation_endpoint_auth_signing_alg_values_supported" => {
                house.assertions_are_taken("revocation").await;
            }
            "dpop_signing_alg_values_supported" => house.proofs_are_taken().await,
            "introspection_signing_alg_values_supported" => house.answers_are_signed().await,
            unknown => panic!("{unknown} is advertised, and nothing here shows that it is true"),
        }
        // RFC 8414 §3.2: "Claims with zero elements MUST be omitted", but for the one that must be there.
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        assert!(!value.is_null() && (!is_empty || member == "response_types_supported"), "{member}");
    }
    house.server.stop().await;
}

/// A server as its clients know it: by its metadata.
struct House {
    server: TestServer,
    document: Value,
    app: String,
    post: String,
    keys: [(&'static str, Key); 3],
    jti: Cell<u32>,
}

impl House {
    async fn open(database: &TestDatabase, issuer: &str, path: &str) -> Self {
        let server = TestServer::start_with(database, &[("GRANTD_SERVER__ISSUER", issuer)]).await;
        let secret = async |id: &str, with: ClientOf<'_>| {
            server.client(id, with).await.secret.expect("a secret").expose().to_owned()
        };
        let app = ClientOf {
            grants: &GrantType::ALL,
            may_act_for: &["urn:next"],
            audience: &[API],
            ..ClientOf::ANY
        };
        let app = secret("app", ClientOf { methods: &[AuthMethod::ClientSecretBasic], ..app }).await;
        let serving = ClientOf { resource_servers: &[API], ..ClientOf::ANY };
        let post = secret("post", ClientOf { methods: &[AuthMethod::ClientSecretPost], ..serving }).await;
        server.client("none", crate::support::server::PUBLIC).await;
        let keys = [("p", Key::p256()), ("r", Key::rsa()), ("e", Key::ed25519())];
        let set = json!({"keys": keys.each_ref().map(|(kid, key)| key.named(kid))});
        let signs = Registration {
            grant_types: vec![GrantType::Password],
            scope: "read write".parse().expect("a scope"),
            resource_servers: vec![API.parse::<Audience>().expect("a URI")],
            auth_methods: vec![AuthMethod::PrivateKeyJwt],
            jwks: Some(JwkSet::parse(set.to_string().as_bytes()).expect("a set")),
            ..Registration::default()
        };
        let id = Some("signs".parse().expect("an id"));
        server.app.create_client(id, signs, None).await.expect("a client");
        server.user("alice", &[]).await;
        let document = server.get(path).await.json();
        Self { server, document, app, post, keys, jti: Cell::new(0) }
    }

    /// Where an advertised address is on this machine.
    fn url(&self, member: &str) -> String {
        self.local(self.document[member].as_str().unwrap_or_else(|| panic!("no {member}")))
    }

    fn local(&self, address: &str) -> String {
        let issuer = self.document["issuer"].as_str().expect("an issuer");
        assert!(address.starts_with(issuer), "{address}: the issuer answers for its own addresses only");
        address.replacen(ISSUER, &self.server.url, 1)
    }

    fn names(&self, member: &str) -> Vec<String> {
        let names = self.document[member].as_array().unwrap_or_else(|| panic!("no {member}"));
        names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
    }

    fn fresh_jti(&self) -> String {
        self.jti.set(self.jti.get() + 1);
        self.jti.get().to_string()
    }

    async fn get(&self, address: &str) -> Answer {
        Answer::of(self.server.http.get(self.local(address)).send().await.expect("an answer")).await
    }

    /// Posts to an advertised endpoint, without authentication of its own.
    async fn post(&self, endpoint: &str, form: &[(&str, &str)]) -> Answer {
        let request = self.server.http.post(self.url(&format!("{endpoint}_endpoint"))).form(form);
        Answer::of(request.send().await.expect("an answer")).await
    }

    /// The same as `app`.
    async fn post_as_app(&self, endpoint: &str, form: &[(&str, &str)]) -> Answer {
        let request = self.server.http.post(self.url(&format!("{endpoint}_endpoint"))).form(form);
        let request = request.basic_auth("app", Some(&self.app));
        Answer::of(request.send().await.expect("an answer")).await
    }

    async fn login(&self) -> Answer {
        self.post_as_app("token", LOGIN).await
    }

    async fn is_active(&self, token: &str) -> bool {
        self.post_as_app("introspection", &[("token", token)]).await.json()["active"] == true
    }

    /// Claims of a JWT, verified by the keys that are advertised.
    async fn verified(&self, jwt: &str, audience: &str) -> (Value, Map<String, Value>) {
        let keys = self.get(self.document["jwks_uri"].as_str().expect("an address")).await;
        let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&keys.body).expect("a JWK Set");
        let header = jsonwebtoken::decode_header(jwt).expect("a header");
        let key = keys.find(header.kid.as_deref().expect("a kid")).expect("a published key");
        let mut validation = Validation::new(header.alg);
        validation.validate_exp = false;
        validation.set_issuer(&[self.document["issuer"].as_str().expect("an issuer")]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["iss"]);
        let key = DecodingKey::from_jwk(key).expect("a public key");
        let read = jsonwebtoken::decode::<Map<String, Value>>(jwt, &key, &validation).expect("verifies");
        (serde_json::to_value(read.header).expect("json"), read.claims)
    }

    async fn keys_verify_tokens(&self) {
        let (header, claims) = self.verified(&self.login().await.text("access_token"), API).await;
        assert_eq!((&header["typ"], &claims["client_id"]), (&json!("at+jwt"), &json!("app")));
    }

    async fn introspection_tells(&self) {
        assert!(self.is_active(&self.login().await.text("access_token")).await);
        assert!(!self.is_active("x").await);
    }

    async fn revocation_ends(&self) {
        let login = self.login().await;
        let form = login.text("refresh_token");
        let answer = self.post_as_app("revocation", &[("token", &form)]).await;
        assert_eq!(answer.status, 200);
        assert!(!self.is_active(&login.text("access_token")).await);
    }

    async fn userinfo_tells(&self) {
        let token = self.login().await.text("access_token");
        for (bearer, status) in [(token.as_str(), 200), ("x", 401)] {
            let request = self.server.http.get(self.url("userinfo_endpoint")).bearer_auth(bearer);
            let answer = Answer::of(request.send().await.expect("an answer")).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }

    async fn status_lists_answer(&self) {
        let token = self.login().await;
        let named = &token.claims()["status"]["status_list"]["uri"];
        let lists =
            self.get(self.document["status_list_aggregation_endpoint"].as_str().expect("a URI")).await;

        let lists =
            lists.json()["status_lists"].as_array().expect("draft-ietf-oauth-status-list §9.3").clone();
        assert!(lists.contains(named), "{named} of {lists:?}");
        for list in &lists {
            let answer = self.get(list.as_str().expect("an address")).await;
            assert_eq!(answer.header("content-type"), "application/statuslist+jwt", "{answer:?}");
        }
    }

    async fn grants_give_tokens(&self) {
        let named = self.names("grant_types_supported");
        assert!(named.iter().all(|name| GRANTS.contains(&name.as_str())), "{named:?}");
        let login = self.login().await;
        let (subject, refresh) = (login.text("access_token"), login.text("refresh_token"));
        let all = [
            ("username", "alice"),
            ("password", PASSWORD),
            ("refresh_token", &refresh),
            ("subject_token", &subject),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("assertion", &subject),
            ("code", "x"),
            ("device_code", "x"),
        ];
        for grant in GRANTS {
            let form = [&[("grant_type", grant)], &all[..]].concat();
            let answer = self.post_as_app("token", &form).await;
            if named.iter().any(|name| name == grant) {
                assert_eq!((answer.status, answer.text("token_type")), (200, "Bearer".into()), "{grant}");
            } else {
                assert_refusal(&answer, 400, "unsupported_grant_type", Absent);
                let sentence = answer.text("error_description");
                assert!(
                    named.iter().all(|name| sentence.contains(name)),
                    "it names what there is: {sentence}"
                );
            }
        }
    }

    /// A request that any client may make there.
    fn question(endpoint: &str) -> &'static [(&'static str, &'static str)] {
        if endpoint == "token" { LOGIN } else { &[("token", "x")] }
    }

    fn assertion(&self, client: &str, alg: &str) -> String {
        let issuer = &self.document["issuer"];
        let exp = START.as_secs() + 60;
        let claims =
            json!({"iss": client, "sub": client, "aud": issuer, "exp": exp, "jti": self.fresh_jti()});
        let (kid, _) = self.key_for(alg);
        self.signed(alg, &json!({"alg": alg, "kid": kid}), &claims)
    }

    /// The key that comes nearest to what an algorithm signs with.
    fn key_for(&self, alg: &str) -> &(&'static str, Key) {
        match alg.as_bytes() {
            [b'R' | b'P', ..] => &self.keys[1],
            [b'E', b'd', ..] => &self.keys[2],
            _ => &self.keys[0],
        }
    }

    fn signed(&self, alg: &str, header: &Value, claims: &Value) -> String {
        let (_, key) = self.key_for(alg);
        match alg {
            "none" => unsigned(header, claims),
            // The classic confusion: the public key taken for a secret.
            "HS256" => hmac_signed(&key.public_bytes(), header, claims),
            _ => key.sign(header, claims),
        }
    }

    async fn methods_authenticate(&self, endpoint: &str) {
        let named = self.names(&format!("{endpoint}_endpoint_auth_methods_supported"));
        assert!(named.iter().all(|name| METHODS.contains(&name.as_str())), "{named:?}");
        let question = Self::question(endpoint);
        for method in METHODS {
            let assertion = match method {
                "client_secret_jwt" => {
                    let claims = json!({"iss": "post", "sub": "post", "aud": self.document["issuer"],
                        "exp": START.as_secs() + 60, "jti": self.fresh_jti()});
                    hmac_signed(self.post.as_bytes(), &json!({"alg": "HS256"}), &claims)
                }
                _ => self.assertion("signs", "ES256"),
            };
            let credentials = match method {
                "client_secret_basic" => &[][..],
                "client_secret_post" => &[("client_id", "post"), ("client_secret", self.post.as_str())],
                "none" => &[("client_id", "none")],
                _ => &[("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion.as_str())],
            };
            let form = [question, credentials].concat();
            let answer = match method {
                "client_secret_basic" => self.post_as_app(endpoint, &form).await,
                _ => self.post(endpoint, &form).await,
            };
            if named.iter().any(|name| name == method) {
                assert_eq!(answer.status, 200, "{method} at {endpoint}: {answer:?}");
            } else {
                assert_refusal(&answer, 401, "invalid_client", Absent);
            }
        }
    }

    async fn assertions_are_taken(&self, endpoint: &str) {
        // RFC 8414 §2: none "MUST NOT be used".
        let named = self.names(&format!("{endpoint}_endpoint_auth_signing_alg_values_supported"));
        assert!(named.iter().all(|name| ALGORITHMS.contains(&name.as_str()) && name != "none"), "{named:?}");
        for alg in ALGORITHMS {
            let assertion = self.assertion("signs", alg);
            let proof = [("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &assertion)];
            let answer = self.post(endpoint, &[Self::question(endpoint), &proof].concat()).await;
            if named.iter().any(|name| name == alg) {
                assert_eq!(answer.status, 200, "{alg} at {endpoint}: {answer:?}");
            } else {
                assert_refusal(&answer, 401, "invalid_client", Absent);
            }
        }
    }

    async fn proofs_are_taken(&self) {
        let named = self.names("dpop_signing_alg_values_supported");
        assert!(named.iter().all(|name| ALGORITHMS.contains(&name.as_str())), "{named:?}");
        for alg in ALGORITHMS {
            let header = json!({"typ": "dpop+jwt", "alg": alg, "jwk": self.key_for(alg).1.jwk()});
            let (htu, iat) = (&self.document["token_endpoint"], START.as_secs());
            let claims = json!({"jti": self.fresh_jti(), "htm": "POST", "htu": htu, "iat": iat});
            let proof = self.signed(alg, &header, &claims);
            let request = self.server.http.post(self.url("token_endpoint")).form(LOGIN);
            let request = request.basic_auth("app", Some(&self.app)).header("DPoP", proof);
            let answer = Answer::of(request.send().await.expect("an answer")).await;
            if named.iter().any(|name| name == alg) {
                assert_eq!((answer.status, answer.text("token_type")), (200, "DPoP".into()), "{alg}");
            } else {
                assert_refusal(&answer, 400, "invalid_dpop_proof", Absent);
            }
        }
    }

    async fn answers_are_signed(&self) {
        let named = self.names("introspection_signing_alg_values_supported");
        let token = self.login().await.text("access_token");
        for alg in &named {
            let id = "app".parse().expect("an id");
            let alg = alg.parse::<SigningAlgorithm>().expect("one that a client can be registered for");
            let change = |it| Registration { alg: Some(alg), ..it };
            self.server.app.update_client(&id, change, None).await.expect("a client");
            let request =
                self.server.http.post(self.url("introspection_endpoint")).form(&[("token", &token)]);
            let request = request.basic_auth("app", Some(&self.app));
            let request = request.header("accept", "application/token-introspection+jwt");
            let answer = Answer::of(request.send().await.expect("an answer")).await;

            let (header, claims) = self.verified(&answer.body, "app").await;
            assert_eq!(header["alg"], alg.as_str());
            assert_eq!(claims["token_introspection"]["active"], true);
        }
        // Any other is none that a client's answers could be signed with.
        for alg in ALGORITHMS.iter().filter(|alg| !named.iter().any(|name| name == *alg)) {
            assert!(alg.parse::<SigningAlgorithm>().is_err(), "{alg}");
        }
    }
}

const LOGIN: &[(&str, &str)] = &[("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
