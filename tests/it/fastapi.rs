//! `examples/fastapi` as its README has it: the real binary, the script that registers its clients, uvicorn, and somebody with
//! a browser who clicks Authorize on the service's own page, which is of another origin than grantd.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::browse;
use crate::support::program::Home;
use crate::support::python::python_that_has;
use crate::support::runner::{missing, trials};
use crate::support::server::{Answer, client};
use crate::support::services::free_port;

trials! {
    alone: [
        the_page_of_a_fastapi_service_logs_in_and_calls_and_refuses_who_was_switched_off,
        the_routes_of_a_fastapi_service_are_for_whom_they_say,
        a_fastapi_service_waits_once_for_a_grantd_that_does_not_answer_and_keeps_the_list_it_has,
    ],
}

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fastapi");
const PASSWORD: &str = "correct horse battery staple";

/// The example, running.
struct Example {
    home: Home,
    grantd: crate::support::program::Served,
    service: Child,
    environment: Vec<(&'static str, String)>,
    url: String,
    /// Of the client items-job, as the script printed it.
    job_secret: String,
    http: reqwest::Client,
}

impl Example {
    async fn start() -> Self {
        let Some(python) = python_that_has("fastapi, fastapi_offline, httpx, uvicorn") else {
            missing("no Python with fastapi-offline here: set GRANTD_TEST_PYTHON to one that has examples/fastapi/requirements.txt installed".into())
        };
        let (listen, port) = (format!("127.0.0.1:{}", free_port()), free_port());
        let (issuer, url) = (format!("http://{listen}"), format!("http://127.0.0.1:{port}"));
        let environment = vec![
            ("GRANTD_SERVER__LISTEN", listen),
            ("GRANTD_SERVER__ISSUER", issuer.clone()),
            ("GRANTD_CORS__ALLOWED_ORIGINS", url.clone()),
            ("GRANTD_STATUS__TTL", "1s".to_owned()),
            ("AUDIENCE", url.clone()),
        ];
        let named: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let home = Home::new(&named);
        let grantd = home.serve(&["serve"]);
        // As if something had cut the script off between its lines.
        home.json(&["role", "create", "admin", "--scope", "admin"]);
        let set_up = home.run_under(&["sh", &format!("{EXAMPLE}/setup.sh")], &[]);
        assert_eq!(set_up.status, 0, "{set_up:?}");
        let secret = set_up.stdout.lines().find_map(|line| line.strip_prefix("client_secret:"));
        let job_secret = secret.expect("a secret").trim().to_owned();
        assert_eq!(home.run_under(&["sh", &format!("{EXAMPLE}/setup.sh")], &[]).status, 0, "a second time");

        let log = File::create(home.path().join("service.log")).expect("a file");
        let mut service = Command::new(python);
        service.args(["-m", "uvicorn", "main:app", "--port", &port.to_string()]).current_dir(EXAMPLE);
        service.env("ISSUER", &issuer).env("AUDIENCE", &url).env("no_proxy", "127.0.0.1");
        service.env("PYTHONDONTWRITEBYTECODE", "1");
        service.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let service = service.spawn().expect("Python starts");
        let mut example = Self { home, grantd, service, environment, url, job_secret, http: client() };
        example.until_it_answers().await;
        example
    }

    async fn until_it_answers(&mut self) {
        for _ in 0..1200 {
            if self.http.get(format!("{}/status", self.url)).send().await.is_ok() {
                return;
            }
            let ended = self.service.try_wait().expect("a process");
            assert!(ended.is_none(), "the service ended: {}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the service does not answer: {}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(Path::new(self.home.path()).join("service.log")).unwrap_or_default()
    }

    /// A token of grantd's for this form.
    async fn token(&self, client: (&str, &str), form: &[(&str, &str)]) -> String {
        let request =
            self.http.post(format!("{}/token", self.grantd.url)).basic_auth(client.0, Some(client.1));
        Answer::of(request.form(form).send().await.expect("an answer")).await.text("access_token")
    }

    async fn login(&self, username: &str, scope: &str) -> String {
        let form =
            [("grant_type", "password"), ("username", username), ("password", PASSWORD), ("scope", scope)];
        self.token(("items-docs", ""), &form).await
    }

    /// A token of a client that another one has swapped.
    async fn exchanged(&self) -> String {
        let of_client = |id: &str, with: &[&str]| {
            let words = [&["client", "create", id, "--scope", "me jobs"], with].concat();
            self.home.json(&words)["client_secret"].as_str().expect("a secret").to_owned()
        };
        let swap = ["--grant", "token-exchange", "--resource-server", &self.url, "--may-act-for", &self.url];
        let gate = of_client("gate", &swap);
        let batch = of_client("batch", &["--grant", "client_credentials", "--audience", &self.url]);
        // Within a second the server knows the second one, and then the first one too.
        for _ in 0..100 {
            let form = [("grant_type", "client_credentials")];
            let request = self.http.post(format!("{}/token", self.grantd.url)).form(&form);
            let request = request.basic_auth("batch", Some(&batch));
            let own = Answer::of(request.send().await.expect("an answer")).await;
            if own.status == 200 {
                let form = [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                    ("subject_token", &own.text("access_token")),
                    ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                    ("audience", &self.url),
                ];
                return self.token(("gate", &gate), &form).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the server does not know the clients");
    }

    async fn ask(&self, method: Method, path: &str, token: &str) -> Answer {
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(token);
        Answer::of(request.send().await.expect("an answer")).await
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ended_already = self.service.kill();
        let _ = self.service.wait();
    }
}

async fn the_page_of_a_fastapi_service_logs_in_and_calls_and_refuses_who_was_switched_off() {
    let example = Example::start().await;
    let environment: serde_json::Map<String, Value> =
        example.environment.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();

    let seen = browse(
        "fastapi.mjs",
        json!({
            "url": example.url, "username": "alice", "password": PASSWORD, "job_secret": example.job_secret,
            "disable": {
                "command": [env!("CARGO_BIN_EXE_grantd"), "user", "disable", "alice"],
                "directory": example.home.path(), "environment": environment,
            },
            "screenshots": std::env::var("GRANTD_TEST_SCREENSHOTS").ok(),
        }),
    )
    .await;

    assert_eq!(seen["prefilled"], "items-docs");
    assert_eq!(seen["stranger"]["status"], 401, "{seen}");
    for refused in ["wrong_password", "login_of_disabled"] {
        let error = seen[refused].as_str().expect("an error");
        assert!(error.contains("The username or password is wrong."), "{refused}: {error}");
    }
    assert_eq!((&seen["right_password"], &seen["client"]), (&json!("authorized"), &json!("authorized")));
    for (route, status) in [("me", 200), ("items", 200), ("overview", 403), ("job", 202), ("disabled", 401)] {
        assert_eq!(seen[route]["status"], status, "{route}: {seen} {}", example.log());
    }
    // The page logs in at grantd, and neither asks anybody else.
    let requests = seen["requests"].as_array().expect("requests").iter().filter_map(Value::as_str);
    let elsewhere: Vec<_> =
        requests.filter(|at| !at.starts_with(&example.url) && !at.starts_with("data:")).collect();
    let token_endpoint = format!("{}/token", example.grantd.url);
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|at| **at == token_endpoint), "{elsewhere:?}");
    assert!(!example.log().contains("Traceback"), "{}", example.log());
}

async fn the_routes_of_a_fastapi_service_are_for_whom_they_say() {
    let example = Example::start().await;
    let alice = example.login("alice", "").await;
    let only_me = example.login("alice", "me").await;
    let root = example.login("root", "").await;
    let job =
        example.token(("items-job", &example.job_secret), &[("grant_type", "client_credentials")]).await;
    let id = example.ask(Method::GET, "/users/me", &alice).await.text("id");
    let exchanged = example.exchanged().await;

    for (who, token, method, path, status) in [
        ("alice", &alice, Method::GET, "/users/me", 200),
        ("alice", &alice, Method::GET, "/users/me/items", 200),
        ("alice without the scope", &only_me, Method::GET, "/users/me/items", 403),
        ("alice", &alice, Method::GET, &format!("/profile/{id}"), 200),
        ("root", &root, Method::GET, &format!("/profile/{id}"), 403),
        ("alice", &alice, Method::GET, "/profile/nobody", 403),
        ("alice", &alice, Method::GET, "/admin/overview", 403),
        ("root", &root, Method::GET, "/admin/overview", 200),
        ("the job", &job, Method::POST, "/jobs/nightly", 202),
        ("alice", &alice, Method::POST, "/jobs/nightly", 403),
        ("the job", &job, Method::GET, "/users/me", 403),
        // The subject is one client, and it was issued to another one.
        ("a client for a client", &exchanged, Method::GET, "/users/me", 403),
        ("a client for a client", &exchanged, Method::POST, "/jobs/nightly", 403),
        ("a liar", &"x.y.z".to_owned(), Method::GET, "/users/me", 401),
        ("a liar", &"x.y.z".to_owned(), Method::POST, "/jobs/nightly", 401),
        ("a forger", &format!("{}x", &alice[..alice.len() - 6]), Method::GET, "/users/me", 401),
    ] {
        let answer = example.ask(method, path, token).await;

        assert_eq!(answer.status, status, "{who} at {path}: {} {}", answer.body, example.log());
        let challenged = answer.header("www-authenticate").starts_with("Bearer ");
        assert!(status != 401 || challenged, "{who} at {path}: RFC 6750 §3");
    }
    let elsewhere =
        example.home.run(&["client", "update", "items-docs", "--audience", "https://other.example"]);
    assert_eq!(elsewhere.status, 0, "{elsewhere:?}");
    let mut status = 200;
    // Within a second the server knows.
    for _ in 0..100 {
        let other = example.login("alice", "").await;
        status = example.ask(Method::GET, "/users/me", &other).await.status;
        if status != 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(status, 401, "a token for another service");
}

/// What a service does whose grantd is away, with a clock of its own.
const OUTAGE: &str = r#"
import threading
import httpx, jwt, security

now, asked, answer = 1000.0, [], None
security.time.monotonic = lambda: now


def fetch(self):
    asked.append(now)
    if answer is None:
        raise httpx.ReadTimeout("no answer")
    return answer


security.StatusList.fetch = fetch
claims = {"status": {"status_list": {"uri": "https://auth.example.com/status/0", "idx": 1}}}


def outcome():
    try:
        return security.is_revoked(claims)
    except security.HTTPException as refused:
        return refused.status_code


assert [outcome() for _ in range(50)] == [503] * 50 and len(asked) == 1, asked
now += security.PAUSE
# While one asks again, nobody waits for it.
status_list, = security.status_lists.values()
status_list.lock.acquire()
waiting = threading.Thread(target=outcome, daemon=True)
waiting.start()
waiting.join(60)
assert not waiting.is_alive() and len(asked) == 1
status_list.lock.release()

answer = (b"\x00", now + 600, now + 30)
assert outcome() is False and len(asked) == 2
now += 29
assert outcome() is False and len(asked) == 2
# It is due, and cannot be had: the old one is good until it expires, and is asked for once in a while.
answer, now = None, now + 1
assert [outcome() for _ in range(50)] == [False] * 50 and len(asked) == 3, asked
now += 600
assert [outcome() for _ in range(50)] == [503] * 50 and len(asked) == 4, asked
answer, now = (b"\x02", now + 600, now + 30), now + security.PAUSE
assert outcome() is True

# The keys are fetched under a lock of PyJWT's.
asked = []


class Silent:
    def open(self, request, timeout):
        asked.append(request)
        raise TimeoutError


jwt.jwks_client.urllib.request.build_opener = lambda *handlers: Silent()
for _ in range(50):
    try:
        security.keys.get_signing_key("any")
        raise AssertionError("there is no key")
    except jwt.PyJWKClientConnectionError:
        pass
assert len(asked) == 1, asked
"#;

async fn a_fastapi_service_waits_once_for_a_grantd_that_does_not_answer_and_keeps_the_list_it_has() {
    let Some(python) = python_that_has("fastapi, httpx, jwt") else {
        missing("no Python with FastAPI here: set GRANTD_TEST_PYTHON to one that has examples/fastapi/requirements.txt installed".into())
    };
    let ended = Command::new(python)
        .args(["-c", OUTAGE])
        .current_dir(EXAMPLE)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("Python starts");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
