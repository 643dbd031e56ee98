//! Two real servers on one Postgres, and commands beside them: what a command changed is obeyed by both within a
//! second of its end. The figure is told; what fails is a bound that a busy machine keeps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use crate::support::database::TestDatabase;
use crate::support::figures::say;
use crate::support::program::{Home, Served};
use crate::support::runner::trials;
use crate::support::server::{Answer, client};

trials! {
    postgres: [
        what_a_command_changed_is_obeyed_by_all_servers_within_a_second,
        a_token_that_ended_is_inactive_on_all_servers_within_a_second,
    ],
}

/// One second is promised.
const BOUND: Duration = Duration::from_secs(10);

/// Runs a command to its end, and measures how long the servers then take until all obey it.
async fn obeyed(
    home: &Arc<Home>,
    arguments: &'static [&'static str],
    servers: &[Served],
    obeys: impl AsyncFn(&Served) -> bool,
) -> Duration {
    let command = Arc::clone(home);
    let ended = spawn_blocking(move || command.run(arguments)).await.expect("a command that ends");
    assert_eq!(ended.status, 0, "{ended:?}");
    let since = Instant::now();
    for server in servers {
        while !obeys(server).await {
            assert!(since.elapsed() < BOUND, "{arguments:?} is not obeyed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    since.elapsed()
}

async fn what_a_command_changed_is_obeyed_by_all_servers_within_a_second(database: TestDatabase) {
    let environment = [
        ("GRANTD_DATABASE__URL", database.url.as_str()),
        ("GRANTD_KEYS__ENCRYPTION_KEY", "J0bGq0eXo9nH5Yx1mZ3kQv7RtUu2WcLdE8sFa4iPpTg="),
    ];
    let home = Arc::new(Home::new(&environment));
    let grant = ["client", "create", "app", "--grant", "client_credentials", "--scope", "read"];
    let secret = home.json(&grant)["client_secret"].as_str().expect("a secret").to_owned();
    let servers = [home.serve(&["serve"]), home.serve(&["serve"])];
    let http = client();
    let status = async |server: &Served, scope: &str| {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let request = http.post(format!("{}/token", server.url)).basic_auth("app", Some(&secret)).form(&form);
        request.send().await.expect("an answer").status().as_u16()
    };
    let keys = async |server: &Served| {
        let answer = http.get(format!("{}/.well-known/jwks.json", server.url)).send().await;
        answer.expect("an answer").text().await.expect("a body")
    };

    let mut slowest = Duration::ZERO;
    for _ in 0..2 {
        let off = obeyed(&home, &["client", "disable", "app"], &servers, async |server| {
            status(server, "read").await == 401
        });
        let off = off.await;
        let on = obeyed(&home, &["client", "enable", "app"], &servers, async |server| {
            status(server, "read").await == 200
        });
        let on = on.await;
        let before = keys(&servers[0]).await;
        let rotated =
            obeyed(&home, &["key", "rotate", "--now"], &servers, async |server| keys(server).await != before);
        slowest = slowest.max(off).max(on).max(rotated.await);
    }
    let wider =
        obeyed(&home, &["client", "update", "app", "--scope", "read write"], &servers, async |server| {
            status(server, "write").await == 200
        });
    slowest = slowest.max(wider.await);
    assert_eq!(keys(&servers[0]).await, keys(&servers[1]).await, "the same bytes, so that caches agree");
    say(&format!("a command is obeyed by two servers after {} ms at most", slowest.as_millis()));
}

async fn a_token_that_ended_is_inactive_on_all_servers_within_a_second(database: TestDatabase) {
    let environment = [
        ("GRANTD_DATABASE__URL", database.url.as_str()),
        ("GRANTD_KEYS__ENCRYPTION_KEY", "J0bGq0eXo9nH5Yx1mZ3kQv7RtUu2WcLdE8sFa4iPpTg="),
        ("GRANTD_PASSWORDS__MEMORY_KIB", "64"),
    ];
    let home = Arc::new(Home::new(&environment));
    let app = home.json(&["client", "create", "app", "--grant", "password", "--grant", "client_credentials"]);
    let secret = app["client_secret"].as_str().expect("a secret").to_owned();
    let password = "correct horse battery staple";
    home.json_with(&["user", "create", "alice", "--password-stdin"], password);
    let servers = [home.serve(&["serve"]), home.serve(&["serve"])];
    let http = client();
    let post = async |server: &Served, path: &str, form: &[(&str, &str)]| {
        let request = http.post(format!("{}{path}", server.url)).basic_auth("app", Some(&secret)).form(form);
        Answer::of(request.send().await.expect("an answer")).await
    };
    let login = async || {
        let form = [("grant_type", "password"), ("username", "alice"), ("password", password)];
        post(&servers[0], "/token", &form).await.text("access_token")
    };
    let own = async || {
        post(&servers[0], "/token", &[("grant_type", "client_credentials")]).await.text("access_token")
    };
    let is_over = async |server: &Served, token: &str| {
        post(server, "/introspect", &[("token", token)]).await.json()["active"] == false
    };

    let mut slowest = Duration::ZERO;
    for command in [
        &["session", "revoke", "--user", "alice"][..],
        &["user", "disable", "alice"],
        &["client", "disable", "app"],
        &["key", "retire"],
    ] {
        let token = if command[0] == "client" { own().await } else { login().await };
        for server in &servers {
            assert!(!is_over(server, &token).await, "{command:?}");
        }
        let kid = home.json(&["key", "list"]).as_array().expect("keys").iter().find_map(|key| {
            (key["state"] == "active").then(|| key["kid"].as_str().expect("a kid").to_owned())
        });
        let kid = kid.expect("an active key");
        let more = if command[0] == "key" { vec![kid.as_str()] } else { vec![] };
        let ended = home.run(&[command, &more].concat());
        assert_eq!(ended.status, 0, "{ended:?}");
        let since = Instant::now();
        // Who asks proves who it is, so a client that is off cannot ask.
        let refused = async |server: &Served| {
            command[0] == "client" && post(server, "/introspect", &[("token", &token)]).await.status == 401
        };
        for server in &servers {
            while !refused(server).await && !is_over(server, &token).await {
                assert!(since.elapsed() < BOUND, "{command:?} is not obeyed");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        slowest = slowest.max(since.elapsed());
        if matches!(command[1], "disable") {
            home.json(&[command[0], "enable", command[2]]);
            let open = async || {
                let form = [("grant_type", "client_credentials")];
                for server in &servers {
                    if post(server, "/token", &form).await.status != 200 {
                        return false;
                    }
                }
                true
            };
            crate::outage::until("the client is on again", open).await;
            for server in &servers {
                assert!(is_over(server, &token).await, "what ended does not come back");
            }
        }
    }
    say(&format!("a token that ended is inactive on two servers after {} ms at most", slowest.as_millis()));
}
