//! A real server in this process: real sockets, a database of its own, a clock that tests move.

use std::collections::BTreeMap;
use std::sync::Arc;

use grantd::app::App;
use grantd::app::clients::WithSecret;
use grantd::app::clock::Clock;
use grantd::app::users::{NewPassword, UserChange};
use grantd::http::tls::{CertificateFiles, ReloadingCertificate};
use grantd::model::client::{AuthMethod, GrantType, Registration};
use grantd::model::resource::Audience;
use grantd::model::secret::PlainSecret;
use grantd::model::time::{Timestamp, Ttl};
use grantd::settings::{Settings, Sources, load};
use grantd::startup::{Purpose, Server, open_app};
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::database::TestDatabase;

/// Where every test clock starts.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_800_000_000);
/// The password of every test user.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// The issuer of every test server; nothing listens there.
pub(crate) const ISSUER: &str = "http://127.0.0.1:8080";

/// A running server; stopped in good order by [`TestServer::stop`], at once when dropped.
pub(crate) struct TestServer {
    /// `http://127.0.0.1:port`.
    pub(crate) url: String,
    /// `http://127.0.0.1:port` of the management listener.
    pub(crate) management: String,
    /// The app behind it, for what an operator would do.
    pub(crate) app: Arc<App>,
    /// The clock it lives by.
    pub(crate) clock: Clock,
    /// A client that follows no redirect and keeps no cookie.
    pub(crate) http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

/// An HTTP answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// Reads a response.
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.text().await.expect("a body that ends") }
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// A member that is text.
    pub(crate) fn text(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_else(|| panic!("no {member} in {}", self.body)).to_owned()
    }

    /// A header that is text; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
    }

    /// Status and error code.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.text("error"))
    }

    /// The claims of the access token, unverified.
    pub(crate) fn claims(&self) -> Value {
        part(&self.text("access_token"), 1)
    }

    /// The header of the access token.
    pub(crate) fn jose(&self) -> Value {
        part(&self.text("access_token"), 0)
    }
}

fn part(jwt: &str, index: usize) -> Value {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = jwt.split('.').nth(index).expect("a JWT has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("json")
}

/// The settings of a test server: cheap hashes, free ports, and whatever `overrides` say.
pub(crate) fn settings(database: &TestDatabase, overrides: &[(&str, &str)]) -> Settings {
    let mut environment: BTreeMap<String, String> = [
        ("GRANTD_SERVER__LISTEN", "127.0.0.1:0"),
        ("GRANTD_SERVER__WORKERS", "2"),
        ("GRANTD_SERVER__SHUTDOWN_GRACE", "2s"),
        ("GRANTD_MANAGEMENT__LISTEN", "127.0.0.1:0"),
        ("GRANTD_DATABASE__URL", &database.url),
        ("GRANTD_KEYS__ENCRYPTION_KEY", "J0bGq0eXo9nH5Yx1mZ3kQv7RtUu2WcLdE8sFa4iPpTg="),
        ("GRANTD_PASSWORDS__MEMORY_KIB", "64"),
        ("GRANTD_PASSWORDS__ITERATIONS", "1"),
        ("GRANTD_PASSWORDS__THREADS", "2"),
        ("GRANTD_PASSWORDS__QUEUE", "64"),
        // So that a slow machine changes no answer.
        ("GRANTD_PASSWORDS__QUEUE_DEADLINE", "60s"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    for (name, value) in overrides {
        environment.insert((*name).to_owned(), (*value).to_owned());
    }
    let sources = Sources { environment: environment.into_iter().collect(), ..Sources::default() };
    load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}")).settings
}

impl TestServer {
    /// A server with the defaults of the tests.
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, &[]).await
    }

    /// A server with some settings of the environment set, on a clock that stands still.
    pub(crate) async fn start_with(database: &TestDatabase, overrides: &[(&str, &str)]) -> Self {
        Self::start_at(database, overrides, Clock::manual(START)).await
    }

    /// A server with the confidential client `app`, whose secret is given as well, the public client `spa` and the
    /// user `alice`.
    pub(crate) async fn furnished(database: &TestDatabase, overrides: &[(&str, &str)]) -> (Self, String) {
        let server = Self::start_with(database, overrides).await;
        let secret = server.full_client("app").await;
        server.client("spa", PUBLIC).await;
        server.user("alice", &[]).await;
        (server, secret)
    }

    /// A server on a given clock; two that share one are two instances on one database.
    pub(crate) async fn start_at(database: &TestDatabase, overrides: &[(&str, &str)], clock: Clock) -> Self {
        let settings = settings(database, overrides);
        let app = open_app(&settings, Purpose::Serve, clock.clone()).await.expect("an app that opens");
        let certificate = settings.server.tls.as_ref().map(|tls| {
            let files = CertificateFiles { cert: tls.cert.clone(), key: tls.key.clone() };
            Arc::new(ReloadingCertificate::load(files).expect("a certificate"))
        });
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let server = Server::bind(&settings, Arc::clone(&app), certificate).expect("a free port");
        let url = format!("{scheme}://{}", server.public_address());
        let management = server.management_address().map(|at| format!("http://{at}")).unwrap_or_default();

        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::task::spawn_local(async move {
            let stop = async { drop(stopped.await) };
            server.run_until(stop).await.expect("a server that ends well");
        });
        Self { url, management, app, clock, http: client(), stop: Some(stop), running }
    }

    /// Stops it as SIGTERM does, and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.begin_to_stop();
        (&mut self.running).await.expect("a server that ends");
    }

    /// Gives the order to stop.
    pub(crate) fn begin_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Moves the clock on.
    pub(crate) fn pass(&self, seconds: u32) {
        self.clock.advance(Ttl::from_secs(seconds));
    }

    /// Registers a client with this secret method and everything else as given.
    pub(crate) async fn client(&self, id: &str, with: ClientOf<'_>) -> WithSecret {
        let registration = Registration {
            grant_types: with.grants.to_vec(),
            scope: with.scope.parse().expect("a scope"),
            audience: audiences(with.audience),
            resource_servers: audiences(with.resource_servers),
            may_act_for: audiences(with.may_act_for),
            auth_methods: with.methods.to_vec(),
            alg: with.alg.map(|alg| alg.parse().expect("an algorithm")),
            trust_user_address: with.trust_user_address,
            ..Registration::default()
        };
        let id = Some(id.parse().expect("a client id"));
        self.app.create_client(id, registration, None).await.expect("a client that can be made")
    }

    /// Registers a client for all grants and gives its secret.
    pub(crate) async fn full_client(&self, id: &str) -> String {
        let made = self.client(id, ClientOf::default()).await;
        made.secret.expect("a confidential client").expose().to_owned()
    }

    /// Registers a client that does nothing but serve these audiences, and gives its secret.
    pub(crate) async fn resource_server(&self, id: &str, resource_servers: &[&str]) -> String {
        let made = self.client(id, ClientOf { grants: &[], resource_servers, ..ClientOf::ANY }).await;
        made.secret.expect("a confidential client").expose().to_owned()
    }

    /// Registers a user with [`PASSWORD`].
    pub(crate) async fn user(&self, username: &str, roles: &[&str]) {
        let change = UserChange {
            roles: Some(roles.iter().map(|role| role.parse().expect("a role's name")).collect()),
            ..UserChange::default()
        };
        let password = NewPassword::Plain(PlainSecret::new(PASSWORD.into()));
        let username = username.parse().expect("a user name");
        self.app.create_user(username, change, password).await.expect("a user that can be made");
    }

    /// Makes a role.
    pub(crate) async fn role(&self, name: &str, scope: &str) {
        let (name, scope) = (name.parse().expect("a name"), scope.parse().expect("a scope"));
        self.app.create_role(name, scope, None).await.expect("a role that can be made");
    }

    /// Sends a form to `/token`, without client authentication of its own.
    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Answer {
        let request = self.http.post(format!("{}/token", self.url)).form(form);
        Answer::of(request.send().await.expect("an answer")).await
    }

    /// Sends a form to `/token` with HTTP Basic.
    pub(crate) async fn token_as(&self, client: (&str, &str), form: &[(&str, &str)]) -> Answer {
        self.post_as("/token", client, form).await
    }

    /// Sends a form to `path` with HTTP Basic.
    pub(crate) async fn post_as(&self, path: &str, client: (&str, &str), form: &[(&str, &str)]) -> Answer {
        let request = self.http.post(format!("{}{path}", self.url)).basic_auth(client.0, Some(client.1));
        Answer::of(request.form(form).send().await.expect("an answer")).await
    }

    /// Asks as `client` what `token` is worth.
    pub(crate) async fn introspect(&self, client: (&str, &str), token: &str) -> Answer {
        self.post_as("/introspect", client, &[("token", token)]).await
    }

    /// Asks with `token` who its user is.
    pub(crate) async fn userinfo(&self, token: &str) -> Answer {
        let request = self.http.get(format!("{}/userinfo", self.url)).bearer_auth(token);
        Answer::of(request.send().await.expect("an answer")).await
    }

    /// Logs `username` in.
    pub(crate) async fn login(&self, client: (&str, &str), username: &str) -> Answer {
        let form = [("grant_type", "password"), ("username", username), ("password", PASSWORD)];
        self.token_as(client, &form).await
    }

    /// Redeems a refresh token.
    pub(crate) async fn refresh(&self, client: (&str, &str), token: &str) -> Answer {
        self.token_as(client, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// Reads an address.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.http.get(format!("{}{path}", self.url)).send().await.expect("an answer")).await
    }
}

fn audiences(uris: &[&str]) -> Vec<Audience> {
    uris.iter().map(|uri| uri.parse().expect("an audience")).collect()
}

/// An HTTP client that does nothing by itself.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .danger_accept_invalid_certs(true)
        .no_proxy()
        .build()
        .expect("a client can be made")
}

/// What a test client is registered for.
pub(crate) struct ClientOf<'a> {
    pub(crate) grants: &'a [GrantType],
    pub(crate) methods: &'a [AuthMethod],
    pub(crate) scope: &'a str,
    pub(crate) audience: &'a [&'a str],
    pub(crate) resource_servers: &'a [&'a str],
    pub(crate) may_act_for: &'a [&'a str],
    pub(crate) alg: Option<&'a str>,
    pub(crate) trust_user_address: bool,
}

impl ClientOf<'_> {
    /// A confidential client that may do everything for itself and for users.
    pub(crate) const ANY: ClientOf<'static> = ClientOf {
        grants: &[GrantType::ClientCredentials, GrantType::Password, GrantType::RefreshToken],
        methods: &[AuthMethod::ClientSecretBasic, AuthMethod::ClientSecretPost],
        scope: "read write",
        audience: &[],
        resource_servers: &[],
        may_act_for: &[],
        alg: None,
        trust_user_address: false,
    };
}

impl Default for ClientOf<'_> {
    fn default() -> Self {
        Self::ANY
    }
}

/// A public client for people.
pub(crate) const PUBLIC: ClientOf<'static> = ClientOf {
    grants: &[GrantType::Password, GrantType::RefreshToken],
    methods: &[AuthMethod::None],
    ..ClientOf::ANY
};
