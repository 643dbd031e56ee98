//! Two real servers behind nginx, with the configuration that is shipped, restarted one after the other under traffic:
//! not one request fails.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::{spawn_blocking, spawn_local};

use crate::crashes::ready;
use crate::support::database::TestDatabase;
use crate::support::figures::{rounds, say};
use crate::support::nginx::{self, Nginx, free_port};
use crate::support::program::{Home, Served};
use crate::support::runner::trials;
use crate::support::server::{PASSWORD, client};

trials! {
    postgres: [a_rolling_restart_behind_nginx_fails_no_request],
}

/// What all who ask have seen.
struct Seen {
    url: String,
    secret: String,
    since: Instant,
    answered: Cell<u32>,
    failed: RefCell<Vec<String>>,
    stopping: Cell<bool>,
}

impl Seen {
    /// Sends a request; the JSON of a 200, else a failure is noted.
    async fn send(&self, what: &str, request: reqwest::RequestBuilder) -> Option<Value> {
        let failure = match request.send().await {
            Ok(answer) => {
                let status = answer.status();
                let body = answer.text().await.unwrap_or_default();
                if status == 200 {
                    self.answered.set(self.answered.get() + 1);
                    return serde_json::from_str(&body).ok();
                }
                format!("{status} {body}")
            }
            Err(error) => format!("{error:?}"),
        };
        self.failed
            .borrow_mut()
            .push(format!("{what} after {} ms: {failure}", self.since.elapsed().as_millis()));
        None
    }

    async fn token(&self, http: &reqwest::Client, what: &str, form: &[(&str, &str)]) -> Option<Value> {
        let request = http.post(format!("{}/token", self.url)).basic_auth("app", Some(&self.secret));
        self.send(what, request.form(form)).await
    }
}

#[derive(Clone, Copy)]
enum Traffic {
    ClientCredentials,
    Refresh,
    Keys,
}

async fn traffic(seen: Rc<Seen>, kind: Traffic) {
    let http = client();
    let login = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
    let mut kept = None;
    while !seen.stopping.get() {
        match (kind, kept.clone()) {
            (Traffic::ClientCredentials, _) => {
                seen.token(&http, "client_credentials", &[("grant_type", "client_credentials")]).await;
            }
            (Traffic::Keys, _) => {
                seen.send("keys", http.get(format!("{}/.well-known/jwks.json", seen.url))).await;
            }
            (Traffic::Refresh, None) => kept = token_in(seen.token(&http, "login", &login).await),
            (Traffic::Refresh, Some(token)) => {
                let form = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
                kept = token_in(seen.token(&http, "refresh", &form).await);
            }
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

fn token_in(answer: Option<Value>) -> Option<String> {
    answer?["refresh_token"].as_str().map(str::to_owned)
}

async fn serve(home: &Arc<Home>) -> Served {
    let (home, since) = (Arc::clone(home), Instant::now());
    let server = spawn_blocking(move || home.serve(&["serve"])).await.expect("it starts");
    ready(&client(), &server.url, since).await;
    server
}

async fn a_rolling_restart_behind_nginx_fails_no_request(database: TestDatabase) {
    nginx::here();
    let ports = [free_port(), free_port()];
    let homes = ports.map(|port| {
        let listen = format!("127.0.0.1:{port}");
        Arc::new(Home::new(&[
            ("GRANTD_DATABASE__URL", &database.url),
            ("GRANTD_KEYS__ENCRYPTION_KEY", "J0bGq0eXo9nH5Yx1mZ3kQv7RtUu2WcLdE8sFa4iPpTg="),
            ("GRANTD_SERVER__LISTEN", &listen),
            ("GRANTD_SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ]))
    });
    let grants = ["--grant", "password", "--grant", "refresh_token", "--grant", "client_credentials"];
    let create: Vec<&str> =
        ["client", "create", "app", "--scope", "read"].into_iter().chain(grants).collect();
    let secret = homes[0].json(&create)["client_secret"].as_str().expect("a secret").to_owned();
    homes[0].json_with(&["user", "create", "alice", "--password-stdin"], PASSWORD);
    let mut servers = vec![serve(&homes[0]).await, serve(&homes[1]).await];
    let nginx = Nginx::before(ports);
    let seen = Rc::new(Seen {
        url: nginx.url.clone(),
        secret,
        since: Instant::now(),
        answered: Cell::new(0),
        failed: RefCell::default(),
        stopping: Cell::new(false),
    });
    let kinds = [
        Traffic::ClientCredentials,
        Traffic::Refresh,
        Traffic::Keys,
        Traffic::ClientCredentials,
        Traffic::Refresh,
    ];
    let asking: Vec<_> = kinds.iter().map(|kind| spawn_local(traffic(Rc::clone(&seen), *kind))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;

    let rounds = rounds(2).min(50);
    for _ in 0..rounds {
        for home in &homes {
            // The one that runs longest goes first.
            let server = servers.remove(0);
            server.terminate();
            let (status, _) = spawn_blocking(move || server.end()).await.expect("it ends");
            assert_eq!(status, 0);
            servers.push(serve(home).await);
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    seen.stopping.set(true);
    for asking in asking {
        asking.await.expect("nobody panics");
    }

    let failed = seen.failed.borrow();
    let log = nginx.log("error.log");
    let log: Vec<&str> =
        log.lines().filter(|line| line.contains("[error]") || line.contains("[warn]")).collect();
    assert!(
        failed.is_empty(),
        "{} of {}:\n{}\n{}",
        failed.len(),
        seen.answered.get(),
        failed.join("\n"),
        log.join("\n")
    );
    assert!(seen.answered.get() > 100, "traffic: {}", seen.answered.get());
    say(&format!(
        "{} restarts behind nginx: {} requests answered 200, none failed",
        rounds * 2,
        seen.answered.get()
    ));
}
