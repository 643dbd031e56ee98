//! Token Status Lists, draft-ietf-oauth-status-list, as those read them who check tokens by themselves: what is revoked
//! is in the list within the second, the list is what an independent decoder makes of it, and polling it costs little.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join;
use futures_util::poll;
use grantd::app::clients::Switch;
use grantd::app::sessions::Sessions;
use grantd::model::id::FamilyId;
use grantd::model::key::{KeyState, Kid};
use grantd::model::secret::PlainSecret;
use grantd::model::session::{Family, RevocationReason};
use grantd::model::status::StatusIndex;
use grantd::model::time::Ttl;
use grantd::storage::families::{self, Which};
use grantd::storage::revisions;
use miniz_oxide::inflate::decompress_to_vec_zlib;
use reqwest::Method;
use serde_json::{Value, json};

use crate::outage::until;
use crate::storage::open;
use crate::storage_families::family;
use crate::support::database::TestDatabase;
use crate::support::figures::Lots;
use crate::support::python::read_status_list;
use crate::support::runner::trials;
use crate::support::server::{Answer, ISSUER, START, TestServer};

trials! {
    both: [who_was_switched_off_is_in_the_list_by_the_poll_alone],
    sqlite: [
        an_independent_decoder_reads_ten_thousand_revocations_bit_by_bit,
        a_list_is_a_signed_jwt_of_its_own_type_that_everybody_may_read,
        a_list_is_no_access_token,
        a_list_is_built_beside_the_requests_and_once_for_all_of_them,
        a_list_is_signed_anew_for_a_change_of_its_own_or_when_half_its_time_is_over_and_not_else,
        a_list_whose_key_was_retired_is_signed_by_the_next_at_once,
        the_short_way_to_a_list_gives_what_its_route_would,
        the_ttl_is_what_the_setting_says,
        lists_are_there_up_to_the_next_one_and_the_aggregation_names_those_in_use,
        what_is_asked_for_and_not_kept_is_refused,
    ],
}

async fn send(server: &TestServer, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = server.http.request(method, format!("{}{path}", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.expect("an answer")).await
}

fn part(list: &Answer, index: usize) -> Value {
    assert_eq!(list.status, 200, "{list:?}");
    let part = list.body.split('.').nth(index).expect("a JWT has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("json")
}

fn is_set(list: &Answer, idx: u64) -> bool {
    let lst = part(list, 1)["status_list"]["lst"].as_str().expect("a list").to_owned();
    let bits = decompress_to_vec_zlib(&URL_SAFE_NO_PAD.decode(lst).expect("base64url")).expect("zlib");
    bits[idx as usize / 8] >> (idx % 8) & 1 == 1
}

/// Where the status of a token is, as the token says.
fn status(answer: &Answer) -> (String, u64) {
    let status = &answer.claims()["status"]["status_list"];
    let path = status["uri"].as_str().and_then(|uri| uri.strip_prefix(ISSUER)).expect("below the issuer");
    (path.to_owned(), status["idx"].as_u64().expect("an index"))
}

async fn active_key(server: &TestServer) -> Kid {
    let keys = server.app.list_keys().await.expect("keys");
    keys.into_iter().find(|key| matches!(key.state, KeyState::Active { .. })).expect("one signs").kid
}

async fn who_was_switched_off_is_in_the_list_by_the_poll_alone(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    server.user("bob", &[]).await;
    let app = ("app", secret.as_str());
    let (alice, bob) = (server.login(app, "alice").await, server.login(app, "bob").await);
    let ((path, idx), (other_path, other)) = (status(&alice), status(&bob));
    assert!(!is_set(&server.get(&path).await, idx), "a fresh token is never out of bounds, nor revoked");

    server.app.set_user_enabled(&"alice".parse().expect("a name"), Switch::Off).await.expect("switched");

    until("the bit", async || is_set(&server.get(&path).await, idx)).await;
    assert!(!is_set(&server.get(&other_path).await, other));
    server.stop().await;
}

async fn a_list_is_built_beside_the_requests_and_once_for_all_of_them(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let (app, client) = (&server.app, ("app", secret.as_str()));
    let list = || Box::pin(app.status_list(0));

    // The thread that builds it may be done before it is asked, but not each time.
    let (mut waited, mut changes) = (0, 0);
    while waited < 2 {
        assert!(changes < 50, "a worker computes it");
        changes += 1;
        let (mut one, mut two) = (list(), list());
        if poll!(&mut one).is_pending() && poll!(&mut two).is_pending() {
            waited += 1;
            // Its reader has hung up, and it is built all the same.
            drop(one);
            let (two, three) = join(two, list()).await;
            let (two, three) = (two.expect("a list"), three.expect("a list"));
            assert!(Arc::ptr_eq(&two, &three), "another signature would be another text");
            let at_hand = app.status_list_at_hand(0).expect("a list").expect("built");
            assert!(Arc::ptr_eq(&at_hand, &two));
        }

        let login = server.login(client, "alice").await;
        assert_eq!(status(&login).0, "/status/0");
        let token = PlainSecret::new(login.text("refresh_token"));
        app.revoke_token(&token).await.expect("revoked");
        app.reload().await.expect("readable");
    }
    server.stop().await;
}

async fn an_independent_decoder_reads_ten_thousand_revocations_bit_by_bit(database: TestDatabase) {
    const MANY: usize = 10_000;
    let server = TestServer::start_at(&database, &[], grantd::app::clock::Clock::System).await;
    server.full_client("app").await;
    server.user("alice", &[]).await;
    let alice = server.app.list_users().await.expect("readable").remove(0);
    let (mut lots, mut chosen) = (Lots::of("status list"), BTreeSet::new());
    while chosen.len() < 2 * MANY {
        chosen.insert(lots.below(StatusIndex::PER_LIST.into()));
    }

    // Every second one is revoked, the others live.
    let db = open(&database).await;
    let mut tx = db.begin().await.expect("a transaction");
    for (number, place) in (0u128..).zip(&chosen) {
        let id = FamilyId::from_random(number.to_be_bytes());
        let status_index = StatusIndex::new((1 << 20) + place).expect("there");
        let family =
            Family { id, user_id: alice.id, status_index: Some(status_index), ..family(1, "app", 1) };
        let expires_at = server.clock.now().plus(Ttl::from_secs(3600));
        assert!(families::insert(&mut tx, &Family { expires_at, ..family }).await.expect("inserted"));
        if number % 2 == 1 {
            let reason = RevocationReason::Operator;
            let ended = families::revoke(&mut tx, Which::Family(id), reason, server.clock.now()).await;
            assert_eq!(ended.expect("revoked"), 1);
        }
    }
    tx.commit().await.expect("committed");
    db.close().await;
    server.app.reload().await.expect("readable");

    let jwks = format!("{}/.well-known/jwks.json", server.url);
    let url = format!("{}/status/1", server.url);
    let read = read_status_list(&jwks, &url, &format!("{ISSUER}/status/1")).await.expect("a good list");
    assert_eq!(read["size"], 1 << 20);
    assert_eq!((&read["claims"]["iss"], &read["claims"]["ttl"]), (&json!(ISSUER), &json!(30)));
    let ones: Vec<_> = read["ones"].as_array().expect("an array").iter().filter_map(Value::as_u64).collect();
    let revoked: Vec<_> = chosen.iter().skip(1).step_by(2).copied().collect();
    assert_eq!((revoked.len(), ones == revoked), (MANY, true));
    server.stop().await;
}

async fn a_list_is_a_signed_jwt_of_its_own_type_that_everybody_may_read(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let kid = active_key(&server).await.to_string();

    let list = send(&server, Method::GET, "/status/0", &[("origin", "https://page.example")]).await;

    assert_eq!(part(&list, 0), json!({"alg": "ES256", "typ": "statuslist+jwt", "kid": kid}));
    let claims = part(&list, 1);
    let now = START.as_secs();
    assert_eq!(claims["sub"], format!("{ISSUER}/status/0"));
    assert_eq!(
        (&claims["iat"], &claims["exp"], &claims["ttl"]),
        (&json!(now), &json!(now + 300), &json!(30))
    );
    assert_eq!(claims["status_list"]["bits"], 1);
    for (name, value) in [
        ("content-type", "application/statuslist+jwt"),
        ("cache-control", "public, max-age=30"),
        ("access-control-allow-origin", "*"),
        ("content-encoding", ""),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(list.header(name), value, "{name}");
    }
    let head = send(&server, Method::HEAD, "/status/0", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for name in ["content-type", "content-length", "etag", "cache-control"] {
        assert_eq!(head.header(name), list.header(name), "{name}");
    }
    for path in ["/status", "/status/0"] {
        let posted = send(&server, Method::POST, path, &[]).await;
        assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD".into()));
    }
    server.stop().await;
}

async fn a_list_is_no_access_token(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let list = server.get("/status/0").await;

    let report = server.app.inspect_token(&list.body).await.expect("inspected");

    let problems: Vec<_> = report.findings.iter().filter_map(|finding| finding.problem.clone()).collect();
    assert!(problems[0].starts_with("typ is \"statuslist+jwt\" instead of \"at+jwt\""), "{problems:?}");
    server.stop().await;
}

async fn a_list_is_signed_anew_for_a_change_of_its_own_or_when_half_its_time_is_over_and_not_else(
    database: TestDatabase,
) {
    let (server, secret) = TestServer::furnished(&database, &[]).await;
    let login = server.login(("app", &secret), "alice").await;
    let (list, next) = (server.get("/status/0").await, server.get("/status/1").await);
    let known = async |list: &Answer, path: &str| {
        send(&server, Method::GET, path, &[("if-none-match", &list.header("etag"))]).await.status
    };

    // The start of the test's clock is the start of a half.
    server.clock.advance(Ttl::from_secs(149));
    let same = server.get("/status/0").await;
    assert_eq!((same.body.as_str(), known(&list, "/status/0").await), (list.body.as_str(), 304));

    server.app.revoke_sessions(&Sessions::All).await.expect("ended");
    server.app.reload().await.expect("readable");
    let changed = server.get("/status/0").await;
    assert!(is_set(&changed, status(&login).1));
    assert_eq!(known(&list, "/status/0").await, 200);
    assert_eq!(part(&changed, 1)["iat"], START.as_secs() + 149);
    assert_eq!(
        (server.get("/status/1").await.body, known(&next, "/status/1").await),
        (next.body.clone(), 304)
    );

    // Whoever was told so is told again before the list that they have is over.
    server.clock.advance(Ttl::from_secs(1));
    let later = server.get("/status/0").await;
    assert_eq!(known(&changed, "/status/0").await, 200);
    assert_eq!(known(&next, "/status/1").await, 200);
    assert_eq!(part(&later, 1)["iat"], START.as_secs() + 150);
    assert_eq!(part(&later, 1)["status_list"], part(&changed, 1)["status_list"]);
    server.stop().await;
}

async fn a_list_whose_key_was_retired_is_signed_by_the_next_at_once(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let list = server.get("/status/0").await;
    let active = active_key(&server).await;

    let retired = server.app.retire_key(&active).await.expect("retired");

    let after = send(&server, Method::GET, "/status/0", &[("if-none-match", &list.header("etag"))]).await;
    assert_eq!(part(&after, 0)["kid"], retired.successor.expect("one").to_string());
    server.stop().await;
}

async fn the_short_way_to_a_list_gives_what_its_route_would(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let headers_of = |answer: &Answer| -> BTreeSet<(String, String)> {
        let headers = answer.headers.iter().map(|(name, value)| {
            let mut words: Vec<_> = value.to_str().expect("text").split(", ").collect();
            words.sort_unstable();
            (name.to_string(), words.join(", "))
        });
        headers.filter(|(name, _)| name != "date" && name != "x-request-id").collect()
    };

    let (short, long) = (server.get("/status/0").await, server.get("/status/0?").await);

    assert_eq!((short.status, &short.body), (long.status, &long.body));
    assert_eq!(headers_of(&short), headers_of(&long));
    let metrics = reqwest::get(format!("{}/metrics", server.management)).await.expect("an answer");
    let metrics = metrics.text().await.expect("text");
    assert!(metrics.contains("route=\"/status/{list}\""), "one series for all lists");
    server.stop().await;
}

async fn the_ttl_is_what_the_setting_says(database: TestDatabase) {
    let server = TestServer::start_with(&database, &[("GRANTD_STATUS__TTL", "1s")]).await;

    let list = server.get("/status/0").await;

    assert_eq!(list.header("cache-control"), "public, max-age=1");
    let claims = part(&list, 1);
    assert_eq!((&claims["ttl"], &claims["exp"]), (&json!(1), &json!(START.as_secs() + 10)));
    server.stop().await;
}

async fn lists_are_there_up_to_the_next_one_and_the_aggregation_names_those_in_use(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let named = async || -> Vec<String> {
        let aggregation = server.get("/status").await;
        assert_eq!(
            (aggregation.status, aggregation.header("content-type")),
            (200, "application/json".into())
        );
        serde_json::from_value(aggregation.json()["status_lists"].clone()).expect("names")
    };
    let there = async |list: &str| server.get(&format!("/status/{list}")).await.status;
    assert_eq!(named().await, [format!("{ISSUER}/status/0")]);
    assert_eq!((there("0").await, there("1").await, there("2").await), (200, 200, 404));

    // A list and one index more are handed out.
    let db = open(&database).await;
    let mut tx = db.begin().await.expect("a transaction");
    let more = StatusIndex::PER_LIST + 1;
    revisions::take_status_indexes(&mut tx, more).await.expect("an answer").expect("there are enough");
    tx.commit().await.expect("committed");
    db.close().await;
    server.app.reload().await.expect("readable");

    assert_eq!(named().await, [0, 1].map(|list| format!("{ISSUER}/status/{list}")));
    assert_eq!((there("2").await, there("3").await), (200, 404));
    for strange in ["00", "01", "+1", "-1", "1.0", "x", "", "4294967296", "99999999999999999999", "0/1"] {
        let answer = server.get(&format!("/status/{strange}")).await;
        assert_eq!(answer.refusal(), (404, "not_found".into()), "{strange}");
    }
    let again = server.get("/status").await;
    let tag = again.header("etag");
    assert_eq!(send(&server, Method::GET, "/status", &[("if-none-match", &tag)]).await.status, 304);
    server.stop().await;
}

async fn what_is_asked_for_and_not_kept_is_refused(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let asked = async |accept: &str| send(&server, Method::GET, "/status/0", &[("accept", accept)]).await;

    for accept in ["application/statuslist+jwt", "*/*", "application/*;q=0.5", "text/html, */*;q=0.1", ""] {
        assert_eq!(asked(accept).await.status, 200, "{accept}");
    }
    let both = "application/statuslist+cwt, Application/StatusList+JWT";
    assert_eq!(asked(both).await.status, 200);
    for accept in [
        "application/statuslist+cwt",
        "application/json",
        "*/*;q=0",
        "application/statuslist+jwt;q=0",
        "*/*, application/statuslist+jwt;q=0",
        "application/statuslist+jwt; Q=0.0, application/*",
    ] {
        assert_eq!(asked(accept).await.refusal(), (406, "not_acceptable".into()), "{accept}");
    }
    for query in ["time=1686925000", "x=1&time=0", "time"] {
        let past = server.get(&format!("/status/0?{query}")).await;
        assert_eq!(past.refusal(), (406, "not_acceptable".into()), "{query}");
    }
    assert_eq!(server.get("/status/0?x=1").await.status, 200, "unknown parameters change nothing");
    server.stop().await;
}
