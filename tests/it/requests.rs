//! What a stranger may say to `/token` in good form, and what he hears: RFC 6749 §5.2 for each mistake, and that a
//! mistake changes nothing. Forms that are none are in `hostile_bodies`.

use grantd::app::sessions::Sessions;
use grantd::model::client::GrantType;
use grantd::model::session::Family;
use reqwest::Method;

use crate::support::database::TestDatabase;
use crate::support::refusal::Challenge::{Absent, Given};
use crate::support::refusal::{assert_refusal, assert_refusal_headers};
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, PASSWORD, PUBLIC, TestServer};
use crate::support::wire::basic;

trials! {
    both: [a_refused_request_changes_nothing],
    sqlite: [
        each_mistake_has_its_code_its_status_and_one_sentence,
        each_failed_client_authentication_is_401_with_a_challenge_only_for_the_header,
        no_refusal_repeats_anything_of_the_request,
        a_parameter_stands_once_whatever_it_is_and_targets_alone_may_stand_again,
        what_real_clients_send_besides_is_accepted,
        any_other_method_is_told_which_one_is_taken,
        parameters_in_the_query_are_not_read,
        two_ways_to_authenticate_at_once_are_refused,
        basic_is_read_however_clients_write_it,
        a_throttled_login_says_in_whole_seconds_when_to_come_back,
    ],
}

const GOOD: &str = "grant_type=client_credentials";
const AUDIENCE: &[&str] = &["urn:api:a", "urn:api:b"];

/// A server with the client `app` for everything, and the Authorization header of that client.
async fn server_with_app(database: &TestDatabase) -> (TestServer, String) {
    let server = TestServer::start(database).await;
    let made = server.client("app", ClientOf { audience: AUDIENCE, ..ClientOf::default() }).await;
    let secret = made.secret.expect("a secret").expose().to_owned();
    (server, basic(&format!("app:{secret}")))
}

/// Sends a body as it is.
async fn ask(server: &TestServer, authorization: Option<&str>, body: &str) -> Answer {
    let request = server
        .http
        .post(format!("{}/token", server.url))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.to_owned());
    let request = match authorization {
        Some(value) => request.header("authorization", value),
        None => request,
    };
    Answer::of(request.send().await.expect("an answer")).await
}

async fn each_mistake_has_its_code_its_status_and_one_sentence(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;
    server.user("alice", &[]).await;
    server.role("boss", "write").await;
    let machine = ClientOf { grants: &[GrantType::ClientCredentials], ..ClientOf::default() };
    let machine = server.client("machine", machine).await.secret.expect("a secret");
    let machine = basic(&format!("machine:{}", machine.expose()));
    let login = format!("grant_type=password&username=alice&password={}", PASSWORD.replace(' ', "+"));

    let missing = |name| format!("The parameter {name} is missing.");
    let malformed = "The scope is malformed: names separated by single spaces (RFC 6749 section 3.3).";
    let beyond = "The scope goes beyond what this client may ask for.";
    let target = "The resource is not among the audiences that this client may ask for.";
    let unsupported = "This server offers the grant types client_credentials, password, refresh_token and urn:ietf:params:oauth:grant-type:token-exchange.";
    let stale = "The refresh token is invalid, expired, revoked or was issued to another client or key.";
    for (body, code, sentence) in [
        (String::new(), "invalid_request", missing("grant_type")),
        ("scope=read".into(), "invalid_request", missing("grant_type")),
        ("grant_type=".into(), "invalid_request", missing("grant_type")),
        ("grant_type".into(), "invalid_request", missing("grant_type")),
        ("grant_type=password&password=x".into(), "invalid_request", missing("username")),
        ("grant_type=password&username=alice".into(), "invalid_request", missing("password")),
        ("grant_type=password&username=alice&password=".into(), "invalid_request", missing("password")),
        ("grant_type=refresh_token".into(), "invalid_request", missing("refresh_token")),
        ("grant_type=implicit".into(), "unsupported_grant_type", unsupported.into()),
        ("grant_type=CLIENT_CREDENTIALS".into(), "unsupported_grant_type", unsupported.into()),
        ("grant_type=client_credentials+".into(), "unsupported_grant_type", unsupported.into()),
        (format!("{GOOD}&scope=read++write"), "invalid_scope", malformed.into()),
        (format!("{GOOD}&scope=+read"), "invalid_scope", malformed.into()),
        (format!("{GOOD}&scope=%22read%22"), "invalid_scope", malformed.into()),
        (format!("{GOOD}&scope=re%C3%A4d"), "invalid_scope", malformed.into()),
        (format!("{GOOD}&scope=admin"), "invalid_scope", beyond.into()),
        (format!("{GOOD}&scope=read+admin"), "invalid_scope", beyond.into()),
        (format!("{login}&scope=admin"), "invalid_scope", beyond.into()),
        (
            format!("{login}&scope=write"),
            "invalid_scope",
            "Nothing of the requested scope can be granted.".into(),
        ),
        (format!("{GOOD}&resource=nowhere"), "invalid_target", target.into()),
        (format!("{GOOD}&resource=urn:api:c"), "invalid_target", target.into()),
        (format!("{GOOD}&resource=urn:api:a%23part"), "invalid_target", target.into()),
        (format!("{GOOD}&resource=urn:api:a&resource=urn:api:c"), "invalid_target", target.into()),
        (format!("{login}&resource=urn:api:c"), "invalid_target", target.into()),
        (
            "grant_type=password&username=alice&password=wrong".into(),
            "invalid_grant",
            "The username or password is wrong.".into(),
        ),
        (
            "grant_type=password&username=nobody&password=wrong".into(),
            "invalid_grant",
            "The username or password is wrong.".into(),
        ),
        ("grant_type=refresh_token&refresh_token=grt_x".into(), "invalid_grant", stale.into()),
        ("grant_type=refresh_token&refresh_token=%C3%A4".into(), "invalid_grant", stale.into()),
    ] {
        let answer = ask(&server, Some(&app), &body).await;

        assert_refusal(&answer, 400, code, Absent);
        assert_eq!(answer.text("error_description"), sentence, "{body}");
    }
    for body in [login.as_str(), "grant_type=refresh_token&refresh_token=grt_x"] {
        assert_refusal(&ask(&server, Some(&machine), body).await, 400, "unauthorized_client", Absent);
    }
    server.stop().await;
}

async fn each_failed_client_authentication_is_401_with_a_challenge_only_for_the_header(
    database: TestDatabase,
) {
    let (server, app) = server_with_app(&database).await;
    server.client("spa", PUBLIC).await;
    let assertion = format!("{GOOD}&client_assertion=a.b.c&client_assertion_type=urn:x");

    let mut sentences = Vec::new();
    for (header, body, challenge) in [
        (None, GOOD.to_owned(), Absent),
        (None, format!("{GOOD}&client_id="), Absent),
        (None, format!("{GOOD}&client_id=nobody"), Absent),
        (None, format!("{GOOD}&client_id=app"), Absent),
        (None, format!("{GOOD}&client_id=app&client_secret=wrong"), Absent),
        (None, format!("{GOOD}&client_id=spa&client_secret=wrong"), Absent),
        (None, format!("{GOOD}&client_secret=alone"), Absent),
        (None, assertion.clone(), Absent),
        (Some(app.as_str()), assertion, Given),
        (Some("Bearer abc"), GOOD.to_owned(), Given),
        (Some("Basic"), GOOD.to_owned(), Given),
        (Some("Basic !!!!"), GOOD.to_owned(), Given),
        (Some("Basic bm9jb2xvbg=="), GOOD.to_owned(), Given),
        (Some("Basic //8="), GOOD.to_owned(), Given),
        (Some(basic("app:wrong").as_str()), GOOD.to_owned(), Given),
        (Some(basic("nobody:wrong").as_str()), GOOD.to_owned(), Given),
        (Some(basic(":").as_str()), GOOD.to_owned(), Given),
        (Some(basic("app\0:x").as_str()), GOOD.to_owned(), Given),
        // The header was used and failed: the body is not a second chance.
        (Some("Bearer abc"), format!("{GOOD}&client_id=spa"), Given),
    ] {
        let answer = ask(&server, header, &body).await;

        assert_refusal(&answer, 401, "invalid_client", challenge);
        sentences.push(answer.text("error_description"));
    }
    sentences.dedup();
    assert_eq!(sentences.len(), 1, "whoever fails learns nothing about why: {sentences:?}");
    server.stop().await;
}

async fn no_refusal_repeats_anything_of_the_request(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;

    for body in [
        "grant_type=canary".to_owned(),
        format!("{GOOD}&scope=canary"),
        format!("{GOOD}&scope=%22canary"),
        format!("{GOOD}&resource=canary"),
        format!("{GOOD}&resource=urn:canary"),
        "grant_type=password&username=canary&password=canary".into(),
        "grant_type=refresh_token&refresh_token=grt_canary".into(),
        format!("{GOOD}&client_id=canary"),
        format!("{GOOD}&client_secret=canary"),
        format!("{GOOD}&client_assertion=canary"),
        "canary=1&canary=2".into(),
        "canary=%zz".into(),
        "canary=%ff".into(),
        "canary=%00".into(),
    ] {
        for header in [Some(app.as_str()), Some("Bearer canary"), None] {
            let answer = ask(&server, header, &body).await;

            assert!((400..500).contains(&answer.status), "{body}: {answer:?}");
            assert!(!answer.body.contains("canary"), "{body}: {answer:?}");
            assert!(!format!("{:?}", answer.headers).contains("canary"), "{body}: {answer:?}");
        }
    }
    server.stop().await;
}

async fn a_parameter_stands_once_whatever_it_is_and_targets_alone_may_stand_again(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;

    for twice in [
        "grant_type=client_credentials",
        "scope=read&scope=read",
        "scope=read&scope=write",
        "scope=&scope=",
        "scope&scope=read",
        "s%63ope=read&scope=write",
        "client_id=app&client_id=app",
        "unknown=1&unknown=2",
        "unknown=&unknown=",
        "=1&=2",
    ] {
        let answer = ask(&server, Some(&app), &format!("{GOOD}&{twice}")).await;

        assert_refusal(&answer, 400, "invalid_request", Absent);
        assert!(answer.text("error_description").contains("more than once"), "{twice}: {answer:?}");
    }

    // RFC 8707 §2 and RFC 8693 §2.1; audience says something in a token exchange only.
    let twice = "resource=urn:api:b&resource=urn:api:a&audience=x&audience=y";
    let answer = ask(&server, Some(&app), &format!("{GOOD}&{twice}")).await;
    assert_eq!(answer.claims()["aud"], serde_json::json!(AUDIENCE));
    server.stop().await;
}

async fn what_real_clients_send_besides_is_accepted(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;

    for body in [
        format!("{GOOD}&unknown=%F0%9F%98%80&audience=x&state=&nonce="),
        format!("{GOOD}&scope="),
        format!("{GOOD}&scope&resource=&resource="),
        format!("{GOOD}&client_secret=&client_assertion="),
        format!("&&{GOOD}&&"),
        "grant%5Ftype=client%5fcredentials".into(),
    ] {
        let answer = ask(&server, Some(&app), &body).await;

        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        assert_eq!(answer.text("scope"), "read write", "left out asks for all: {body}");
        assert_eq!(answer.claims()["aud"], serde_json::json!(AUDIENCE), "{body}");
    }
    server.stop().await;
}

async fn any_other_method_is_told_which_one_is_taken(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;

    for name in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"] {
        let method = Method::from_bytes(name.as_bytes()).expect("a method");
        let request = server.http.request(method, format!("{}/token?{GOOD}", server.url));
        let answer = Answer::of(request.header("authorization", &app).send().await.expect("an answer")).await;

        assert_eq!((answer.status, answer.header("allow")), (405, "POST, OPTIONS".into()), "{name}");
        match name {
            "HEAD" => {
                assert_eq!(answer.body, "");
                assert_refusal_headers(&answer, Absent);
            }
            _ => assert_refusal(&answer, 405, "invalid_request", Absent),
        }
    }
    server.stop().await;
}

async fn parameters_in_the_query_are_not_read(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;
    let send = async |query: &str, body: &str| {
        let request = server.http.post(format!("{}/token?{query}", server.url));
        let request = request.header("authorization", &app).body(body.to_owned());
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        Answer::of(request.send().await.expect("an answer")).await
    };

    let beside = send("grant_type=password&scope=admin&client_id=other&client_secret=x", GOOD).await;
    let alone = send(GOOD, "").await;

    assert_eq!((beside.status, beside.text("scope")), (200, "read write".into()));
    assert_refusal(&alone, 400, "invalid_request", Absent);
    server.stop().await;
}

async fn two_ways_to_authenticate_at_once_are_refused(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;
    server.client("spa", PUBLIC).await;

    for body in ["client_secret=x", "client_id=app&client_secret=x", "client_id=spa", "client_id=nobody"] {
        let answer = ask(&server, Some(&app), &format!("{GOOD}&{body}")).await;
        assert_refusal(&answer, 400, "invalid_request", Absent);
    }
    for second in [app.as_str(), "Bearer abc", ""] {
        let request = server.http.post(format!("{}/token", server.url)).form(&[("grant_type", "x")]);
        let request = request.header("authorization", &app).header("authorization", second);
        let answer = Answer::of(request.send().await.expect("an answer")).await;
        assert_refusal(&answer, 400, "invalid_request", Absent);
    }
    assert_eq!(ask(&server, Some(&app), &format!("{GOOD}&client_id=app")).await.status, 200);
    server.stop().await;
}

async fn basic_is_read_however_clients_write_it(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("my-app").await;
    server.client("spa", PUBLIC).await;
    server.user("alice", &[]).await;
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();

    let raw = basic(&format!("my-app:{secret}"));
    for header in [
        raw.clone(),
        raw.replace("Basic", "basic"),
        raw.replace("Basic", "BASIC"),
        raw.replace("Basic ", "Basic   "),
        raw.trim_end_matches('=').to_owned(),
        basic(&format!("{}:{}", encoded("my-app"), encoded(&secret))),
    ] {
        assert_eq!(ask(&server, Some(&header), GOOD).await.status, 200, "{header}");
    }
    let login = format!("grant_type=password&username=alice&password={}", PASSWORD.replace(' ', "%20"));
    for (header, body) in [
        (basic("spa:"), login.clone()),
        (basic("spa:"), format!("{login}&client_id=spa")),
        (basic("%73pa:"), login),
    ] {
        assert_eq!(ask(&server, Some(&header), &body).await.status, 200, "{header} {body}");
    }
    server.stop().await;
}

async fn a_throttled_login_says_in_whole_seconds_when_to_come_back(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;
    server.user("alice", &[]).await;

    let mut told = Vec::new();
    for name in ["alice", "nobody"] {
        let body = format!("grant_type=password&username={name}&password=wrong");
        for _ in 0..5 {
            assert_refusal(&ask(&server, Some(&app), &body).await, 400, "invalid_grant", Absent);
        }
        let answer = ask(&server, Some(&app), &body).await;
        assert_refusal(&answer, 429, "temporarily_unavailable", Absent);
        told.push((answer.header("retry-after"), answer.body));
    }

    assert_eq!(told[0].0, "1");
    assert_eq!(told[0], told[1], "a name that exists and one that does not look alike");
    server.pass(1);
    let login = format!("grant_type=password&username=alice&password={}", PASSWORD.replace(' ', "+"));
    assert_eq!(ask(&server, Some(&app), &login).await.status, 200, "who waits that long is let in");
    server.stop().await;
}

async fn a_refused_request_changes_nothing(database: TestDatabase) {
    let (server, app) = server_with_app(&database).await;
    let other = server.full_client("other").await;
    let other = basic(&format!("other:{other}"));
    server.user("alice", &[]).await;
    let login = format!("grant_type=password&username=alice&password={}", PASSWORD.replace(' ', "+"));
    let token = ask(&server, Some(&app), &login).await.text("refresh_token");
    let refresh = format!("grant_type=refresh_token&refresh_token={token}");
    let before = families(&server).await;
    assert_eq!(before.len(), 1);

    for (header, body) in [
        (Some(app.as_str()), format!("{refresh}&scope=admin")),
        (Some(&app), format!("{refresh}&scope=a++b")),
        (Some(&app), format!("{refresh}&resource=urn:api:c")),
        (Some(&app), format!("{refresh}&refresh_token={token}")),
        (Some(&app), format!("{refresh}&unknown=1&unknown=2")),
        (Some(&app), format!("{refresh}&unknown=%00")),
        (Some(&app), format!("{refresh}&unknown=%ff")),
        (Some(&app), format!("{refresh}&unknown={}", "x".repeat(17_000))),
        (Some(&app), format!("{refresh}&client_secret=x")),
        (Some(&app), format!("{refresh}x")),
        (Some(&other), refresh.clone()),
        (Some("Basic YXBwOndyb25n"), refresh.clone()),
        (None, format!("{refresh}&client_id=app")),
        (Some(&app), format!("{login}x")),
        (Some(&app), format!("{login}&scope=admin")),
        (Some(&app), format!("{login}&resource=urn:api:c")),
        (Some(&app), format!("{login}&username=alice")),
    ] {
        let answer = ask(&server, header, &body).await;

        assert!((400..500).contains(&answer.status), "{body}: {answer:?}");
        assert!(families(&server).await == before, "{body} changed a session");
    }

    assert_eq!(ask(&server, Some(&app), &refresh).await.status, 200, "the token is as good as it was");
    server.stop().await;
}

async fn families(server: &TestServer) -> Vec<Family> {
    let rows = server.app.list_sessions(&Sessions::All).await.expect("a database");
    rows.into_iter().map(|row| row.family).collect()
}
