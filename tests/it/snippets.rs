//! What `grantd snippet` prints, run as it is printed against the real binary: what is good gets in, what is wrong in one
//! point does not, and keys that cannot be had are nobody's bad token. Where there is no compiler, a parser reads it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use actix_web::{App, HttpServer, web};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::forward_auth::echo;
use crate::outage::until;
use crate::support::database::TestDatabase;
use crate::support::nginx::{self, Nginx};
use crate::support::program::{Ended, Home};
use crate::support::python::python_that_has;
use crate::support::runner::{missing, not_here, trials};
use crate::support::server::{Answer, client};
use crate::support::services::{Service, built, free_port, node_with_express};
use crate::validators::{AUDIENCE, Issuer, bad_tokens, with};

trials! {
    sqlite: [
        snippets_let_in_what_is_good_and_nothing_else,
        the_snippet_for_nginx_lets_through_whom_grantd_lets_through,
        the_snippet_for_the_shell_asks_the_server,
    ],
    plain: [
        the_snippets_in_rust_that_ci_compiles_are_those_that_are_printed,
        snippets_whose_compiler_is_not_here_have_no_mistake_of_syntax,
        a_snippet_is_for_the_deployment_that_prints_it,
    ],
}

/// Where the snippets in Rust, which are compiled before the test, look for their issuer; and where they listen.
const ISSUER: &str = "127.31.9.68:9068";
const ACTIX: &str = "127.31.9.68:9069";
const AXUM: &str = "127.31.9.68:9070";

const PACKAGE: &str = "tests/snippets/rust";
const SCOPE: &str = "notes:read";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    FastApi,
    Flask,
    Django,
    Express,
    NextJs,
    Actix,
    Axum,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::FastApi, Self::Flask, Self::Django, Self::Express, Self::NextJs, Self::Actix, Self::Axum];

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// What is missing for it here.
    fn lacks(self) -> Option<String> {
        match self {
            Self::FastApi | Self::Flask | Self::Django => python().is_none().then(|| {
                "no Python with FastAPI, Flask and Django here: install tests/snippets/requirements.txt beside the others".into()
            }),
            Self::Express | Self::NextJs => node_with_express().err(),
            Self::Actix | Self::Axum => binary(self).err(),
        }
    }

    /// Starts what is printed for it.
    async fn start(self, home: &Home) -> Service<Self> {
        let code = printed(home, &self.name());
        let directory = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("written");
        let port = free_port().to_string();
        let (mut listen, mut command) = (format!("127.0.0.1:{port}"), Command::new("node"));
        command.current_dir(directory.path());
        match self {
            Self::FastApi | Self::Flask | Self::Django => {
                let python = python().expect("seen to be here");
                let env = ["PATH", "HOME"].map(|name| (name, std::env::var_os(name).unwrap_or_default()));
                command = Command::new(python);
                command.current_dir(directory.path()).envs(env).env("PYTHONDONTWRITEBYTECODE", "1");
                write(if self == Self::Django { "views.py" } else { "service.py" }, &code);
                match self {
                    Self::Flask => command.args(["-m", "flask", "--app", "service", "run", "--port", &port]),
                    Self::Django => command
                        .arg(beside("django_service.py"))
                        .arg(&port)
                        .env("PYTHONPATH", directory.path()),
                    _ => command.args(["-m", "uvicorn", "service:app", "--port", &port]),
                };
            }
            Self::Express => {
                symlink(node_with_express().expect("seen to be here"), directory.path().join("node_modules"))
                    .expect("linked");
                assert!(code.contains("listen(9000,"), "{code}");
                write("service.mjs", &code.replace("listen(9000,", &format!("listen({port},")));
                command.arg("service.mjs");
            }
            Self::NextJs => {
                symlink(node_with_express().expect("seen to be here"), directory.path().join("node_modules"))
                    .expect("linked");
                write("package.json", r#"{"type": "module"}"#);
                write("route.js", &code);
                fs::copy(beside("next_service.mjs"), directory.path().join("next_service.mjs"))
                    .expect("copied");
                command.args(["next_service.mjs", &port]);
            }
            Self::Actix | Self::Axum => {
                command = Command::new(binary(self).expect("seen to be here"));
                listen = if self == Self::Actix { ACTIX } else { AXUM }.to_owned();
            }
        }
        Service::run(self, command, directory, &listen).await
    }
}

fn python() -> Option<PathBuf> {
    python_that_has("django, fastapi, flask, tree_sitter, tree_sitter_go, tree_sitter_java, uvicorn")
}

fn binary(kind: Kind) -> Result<PathBuf, String> {
    built(&format!("grantd-snippet-{}", kind.name()), PACKAGE, "src/bin")
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snippets").join(name)
}

/// What a person gets who asks for it.
fn printed(home: &Home, name: &str) -> String {
    let ended = home.run(&["snippet", name, "--audience", AUDIENCE, "--scope", SCOPE]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""), "{ended:?}");
    ended.stdout
}

/// Waits until nobody else's test is at the fixed addresses.
async fn until_the_addresses_are_free() {
    for address in [ISSUER, ACTIX, AXUM] {
        for _ in 0..1200 {
            match TcpListener::bind(address) {
                Ok(_) => break,
                Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
                    not_here(format!("{address} is no address of this machine's loopback interface"))
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

async fn snippets_let_in_what_is_good_and_nothing_else(database: TestDatabase) {
    until_the_addresses_are_free().await;
    let mut issuer = Issuer::start_at(&database, ISSUER).await;
    let login = issuer.login("bob").await;
    let (good, claims) = (login.text("access_token"), login.claims());
    let mut bad = bad_tokens(&issuer, &good, &claims).await;
    // Status lists are more than a snippet, and RFC 9068 §4 asks for no check of iat.
    bad.retain(|(what, _)| !what.starts_with("status: ") && !what.starts_with("iat: "));

    // Keys that cannot be had are no reason to log people out.
    issuer.served.take().expect("a server").kill();
    let here = Kind::ALL.into_iter().filter(|kind| kind.lacks().is_none());
    let services = join_all(here.map(|kind| kind.start(&issuer.home))).await;
    for service in &services {
        let answer = service.get("/me", &good).await;
        let header = answer.header("retry-after");
        assert_eq!((answer.status, header.as_str()), (503, "5"), "{:?}: {}", service.kind, service.log());
    }
    issuer.served = Some(issuer.home.serve(&["serve"]));

    join_all(services.iter().map(async |service| {
        until("the keys", async || service.get("/me", &good).await.status == 200).await;
        lets_in_what_is_good(&issuer, service, &good, &claims).await;
        for (wrong, token) in &bad {
            let answer = service.get("/me", token).await;
            assert_eq!(answer.status, 401, "{:?}: {wrong}: {}", service.kind, service.log());
            let challenge = answer.header("www-authenticate");
            assert!(
                challenge.contains(r#"error="invalid_token""#),
                "{:?}: {wrong}: {challenge}",
                service.kind
            );
            assert_eq!(answer.json(), json!({"error": "invalid_token"}), "{:?}: {wrong}", service.kind);
        }
    }))
    .await;

    // A key of which nobody could know: the second of these is made by the first.
    let mut keys = Value::Null;
    for _ in 0..2 {
        keys = issuer.home.json(&["key", "rotate", "--now"]);
    }
    let signs = keys.as_array().expect("keys").iter().find(|key| key["state"] == "active").expect("a key");
    let mut new = String::new();
    until("a token signed by it", async || {
        let login = issuer.login("bob").await;
        new = login.text("access_token");
        login.jose()["kid"] == signs["kid"]
    })
    .await;
    let new = &new;
    join_all(services.iter().map(async |service| {
        until("the new key", async || service.get("/me", new).await.status == 200).await;
    }))
    .await;

    issuer.app.close().await;
    if let Some(what) = Kind::ALL.into_iter().find_map(Kind::lacks) {
        missing(what);
    }
}

async fn lets_in_what_is_good(issuer: &Issuer, service: &Service<Kind>, good: &str, claims: &Value) {
    let kind = service.kind;
    let said = service.get("/me", good).await.json();
    assert_eq!(said, json!({"sub": claims["sub"], "scope": SCOPE}), "{kind:?}");
    let others = with(claims, "aud", json!(["https://other.example", AUDIENCE]));
    let more = with(claims, "scope", json!("a notes:read z"));
    for good in [("application/at+jwt", claims), ("AT+JWT", claims), ("at+jwt", &others), ("at+jwt", &more)] {
        let answer = service.get("/me", &issuer.signed(good.0, good.1).await).await;
        assert_eq!(answer.status, 200, "{kind:?}: {good:?}: {}", service.log());
    }
    let lower_case = service.get_as("/me", Some(&format!("bearer {good}"))).await;
    assert_eq!(lower_case.status, 200, "{kind:?}: RFC 9110 §11.1: the scheme is case-insensitive");

    // RFC 6750 §3: what is missing is said, and no more to who sent nothing.
    let mut none = claims.clone();
    none.as_object_mut().expect("an object").remove("scope");
    for less in [none, with(claims, "scope", json!("notes:rea notes:read2 notes"))] {
        let answer = service.get("/me", &issuer.signed("at+jwt", &less).await).await;
        let challenge = answer.header("www-authenticate");
        let expected =
            format!(r#"Bearer realm="http://{ISSUER}", error="insufficient_scope", scope="{SCOPE}""#);
        assert_eq!((answer.status, challenge), (403, expected), "{kind:?}: {}", service.log());
        assert_eq!(answer.json(), json!({"error": "insufficient_scope"}), "{kind:?}");
    }
    for nothing in [None, Some("Basic YXBwOnNlY3JldA=="), Some("Bearer"), Some(&*format!("DPoP {good}"))] {
        let answer = service.get_as("/me", nothing).await;
        let challenge = answer.header("www-authenticate");
        let expected = (401, format!(r#"Bearer realm="http://{ISSUER}""#));
        assert_eq!((answer.status, challenge), expected, "{kind:?}: {nothing:?}");
        assert_eq!(answer.json(), json!({"error": "invalid_token"}), "{kind:?}: {nothing:?}");
    }
}

async fn the_snippet_for_nginx_lets_through_whom_grantd_lets_through(database: TestDatabase) {
    nginx::here();
    let mut issuer = Issuer::start_at(&database, &format!("127.0.0.1:{}", free_port())).await;
    let service = HttpServer::new(|| App::new().default_service(web::to(echo))).workers(1);
    let service = service.bind("127.0.0.1:0").expect("a free port");
    let port = service.addrs()[0].port();
    tokio::task::spawn_local(service.run());
    let nginx = Nginx::printed(&printed(&issuer.home, "nginx"), port);
    let login = issuer.login("bob").await;
    let (good, claims) = (format!("Bearer {}", login.text("access_token")), login.claims());
    let less = format!("Bearer {}", issuer.signed("at+jwt", &with(&claims, "scope", json!("other"))).await);
    let elsewhere = issuer.signed("at+jwt", &with(&claims, "aud", json!("https://other.example"))).await;
    let elsewhere = format!("Bearer {elsewhere}");
    let http = client();
    let send = async |headers: &[(&str, &str)]| {
        let request = http.post(format!("{}/notes/1", nginx.url)).body("some words");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Answer::of(request.send().await.expect("an answer")).await
    };

    let answer = send(&[
        ("Authorization", &good),
        ("X-Auth-User", "root"),
        ("X-Auth-Username", "root"),
        ("X-Auth-Roles", "root"),
        ("X-Auth-Scope", "root"),
        ("X_Auth_User", "root"),
    ])
    .await;
    assert_eq!(answer.status, 200, "{answer:?} {}", nginx.log("error.log"));
    let seen = answer.json()["headers"].clone();
    assert_eq!((&seen["x-auth-user"][0], &seen["x-auth-username"][0]), (&claims["sub"], &json!("bob")));
    assert!(!answer.body.contains("root"), "{answer:?}");
    let handed_on = seen["authorization"][0].as_str().expect("a token");
    assert!(handed_on.starts_with("Bearer ey"), "{handed_on}");
    // More fields than grantd reads, which are none of its business.
    let many: Vec<String> = (0..75).map(|number| format!("X-Field-{number}")).collect();
    let mut headers = vec![("Authorization", good.as_str())];
    headers.extend(many.iter().map(|name| (name.as_str(), "z")));
    assert_eq!(send(&headers).await.status, 200, "{}", nginx.log("error.log"));

    for (headers, status, challenge) in [
        (&[][..], 401, "Bearer realm="),
        (&[("Authorization", elsewhere.as_str())], 401, r#"error="invalid_token""#),
        (&[("Authorization", "Bearer stranger")], 401, r#"error="invalid_token""#),
        (&[("Authorization", &less)], 403, r#"error="insufficient_scope""#),
    ] {
        let answer = send(headers).await;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
        let said: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
        let all = format!("{said:?}").replace('\\', "");
        assert!(said.len() == 1 && all.contains(challenge), "{headers:?}: {all}");
        assert!(!answer.body.contains("headers"), "the service was asked: {headers:?}");
    }

    issuer.served.take().expect("a server").kill();
    let away = send(&[("Authorization", &good)]).await;
    assert_eq!((away.status, away.header("retry-after")), (503, "5".into()), "{away:?}");
    issuer.app.close().await;
}

/// With this secret of `app`, and a token to check or none.
fn check(issuer: &Issuer, script: &Path, secret: &str, token: &str) -> Ended {
    let mut command = Command::new("bash");
    command.arg(script).env("CLIENT_ID", "app").env("CLIENT_SECRET", secret).env("TOKEN", token);
    command.env("no_proxy", "127.0.0.1").current_dir(issuer.home.path()).stdin(Stdio::null());
    Ended::of(command.output().expect("bash"))
}

async fn the_snippet_for_the_shell_asks_the_server(database: TestDatabase) {
    for tool in ["bash", "curl", "jq"] {
        if Command::new(tool).arg("--version").output().is_err() {
            not_here(format!("no {tool} here"));
        }
    }
    let issuer = Issuer::start_at(&database, &format!("127.0.0.1:{}", free_port())).await;
    let script = issuer.home.path().join("check.sh");
    fs::write(&script, printed(&issuer.home, "curl")).expect("written");
    issuer.home.json(&[
        "client",
        "update",
        "app",
        "--audience",
        AUDIENCE,
        "--audience",
        "https://other.example",
    ]);
    let secret = issuer.app_secret.as_str();
    let asked = async |name, value| issuer.ask(&[("grant_type", "client_credentials"), (name, value)]).await;
    until("the client's audiences", async || asked("scope", SCOPE).await.claims()["aud"].is_array()).await;
    let elsewhere = asked("resource", "https://other.example").await.text("access_token");
    let less = asked("scope", "notes:write").await.text("access_token");
    let good = asked("scope", "notes:read notes:write").await.text("access_token");

    for (token, status) in [("", 0), (&*good, 0), (&*elsewhere, 1), (&*less, 3), ("stranger", 1)] {
        let ended = check(&issuer, &script, secret, token);
        assert_eq!(ended.status, status, "{token}: {ended:?}");
    }
    assert_eq!(check(&issuer, &script, "wrong", "").status, 1);
    issuer.home.json_with(&["token", "revoke"], &good);
    until("the revocation", async || check(&issuer, &script, secret, &good).status == 1).await;
    issuer.app.close().await;
}

fn the_snippets_in_rust_that_ci_compiles_are_those_that_are_printed() {
    let home = Home::new(&[("GRANTD_SERVER__ISSUER", &format!("http://{ISSUER}"))]);
    for (name, listen) in [("actix", ACTIX), ("axum", AXUM)] {
        let path = format!("{PACKAGE}/src/bin/{name}.rs");
        let compiled = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).expect("a file");

        let printed = printed(&home, name);

        assert!(printed.contains("127.0.0.1:9000"), "{printed}");
        let printed = printed.replace("127.0.0.1:9000", listen);
        assert!(printed == compiled, "{path} is not what is printed, which is:\n{printed}");
    }
}

fn snippets_whose_compiler_is_not_here_have_no_mistake_of_syntax() {
    let Some(python) = python() else { missing(Kind::FastApi.lacks().unwrap_or_default()) };
    let home = Home::new(&[]);
    for (name, language) in [("go", "go"), ("spring", "java")] {
        for scope in ["", "notes:read", "notes:read notes:write"] {
            let code = home.run(&["snippet", name, "--scope", scope]).stdout;
            assert_eq!(syntax(&python, language, &code), (true, String::new()), "{name}: {code}");

            let (well_formed, _) = syntax(&python, language, &code.replacen('{', "", 1));
            assert!(!well_formed, "{name}: the parser reads anything");
        }
    }
}

fn syntax(python: &Path, language: &str, code: &str) -> (bool, String) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), code).expect("written");
    let mut command = Command::new(python);
    command.arg(beside("syntax.py")).arg(language).stdin(file.reopen().expect("a file"));
    let ended = Ended::of(command.output().expect("Python"));
    (ended.status == 0, ended.stderr)
}

fn a_snippet_is_for_the_deployment_that_prints_it() {
    let home = Home::new(&[
        ("GRANTD_SERVER__ISSUER", "https://auth.example.com/one"),
        ("GRANTD_TOKENS__DEFAULT_AUDIENCE", "https://notes.example"),
        ("GRANTD_KEYS__ALGORITHM", "PS256"),
        // What is not on this machine alone wants real hashes.
        ("GRANTD_PASSWORDS__MEMORY_KIB", "19456"),
        ("GRANTD_PASSWORDS__ITERATIONS", "2"),
    ]);
    let ended = home.run(&["snippet", "fastapi"]);
    assert_eq!(ended.status, 0, "{ended:?}");
    let code = ended.stdout;
    for line in [
        r#"ISSUER = "https://auth.example.com/one""#,
        r#"AUDIENCE = "https://notes.example""#,
        r#"ALGORITHMS = ["PS256"]"#,
        r#"KEYS = jwt.PyJWKClient("https://auth.example.com/one/.well-known/jwks.json""#,
    ] {
        assert!(code.contains(line), "{line}: {code}");
    }

    // A client with an algorithm of its own makes a key for it at once.
    let grant = ["--grant", "client_credentials"];
    home.json(&[&["client", "create", "old", "--alg", "RS256"], grant.as_slice()].concat());
    let code = home.run(&["snippet", "fastapi"]).stdout;
    assert!(code.contains(r#"ALGORITHMS = ["RS256", "PS256"]"#), "{code}");

    let unknown = home.run(&["snippet", "cobol"]);
    assert_eq!(unknown.status, 2);
    for name in
        ["fastapi", "flask", "django", "express", "nextjs", "spring", "go", "actix", "axum", "nginx", "curl"]
    {
        assert!(unknown.stderr.contains(name), "{name}: {}", unknown.stderr);
    }
}
