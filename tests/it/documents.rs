//! The documents that machines poll: keys (RFC 7517) and metadata (RFC 8414). What they say is what the server does,
//! and polling costs little.

use std::collections::BTreeSet;

use grantd::app::signing_keys::Haste;
use reqwest::Method;

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, ClientOf, TestServer};

trials! {
    both: [every_published_key_is_there_also_the_pending_one_and_nothing_private],
    sqlite: [
        keys_may_be_kept_for_no_longer_than_a_new_one_is_published_before_it_signs,
        who_has_the_document_already_is_told_so_without_it,
        a_rotation_changes_the_tag_and_keeps_the_old_key,
        the_metadata_reads_alike_under_both_names,
        under_an_issuer_with_a_path_everything_is_below_that_path,
        head_gives_the_headers_of_get_and_no_body,
        a_document_is_only_read,
        the_short_way_to_a_document_gives_what_its_route_would_and_counts_it_the_same,
    ],
}

const JWKS: &str = "/.well-known/jwks.json";
const METADATA: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

async fn send(server: &TestServer, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = server.http.request(method, format!("{}{path}", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.expect("an answer")).await
}

fn kids(document: &Answer) -> BTreeSet<String> {
    let keys = document.json()["keys"].as_array().cloned().expect("keys");
    keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
}

async fn every_published_key_is_there_also_the_pending_one_and_nothing_private(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    for alg in ["RS256", "EdDSA"] {
        server.client(&format!("of-{alg}"), ClientOf { alg: Some(alg), ..ClientOf::default() }).await;
    }
    server.app.keep_keys_in_order().await.expect("keys");

    let document = server.get(JWKS).await;

    assert_eq!((document.status, document.header("content-type")), (200, "application/json".into()));
    let listed = server.app.list_keys().await.expect("keys");
    let states: Vec<_> = listed.iter().map(|key| key.state.name()).collect();
    assert_eq!(states.iter().filter(|state| **state == "pending").count(), 3, "{states:?}");
    assert_eq!(kids(&document), listed.iter().map(|key| key.kid.to_string()).collect());
    for key in document.json()["keys"].as_array().expect("keys") {
        for (member, _) in key.as_object().expect("a key") {
            let public = ["kty", "use", "alg", "kid", "crv", "x", "y", "n", "e"];
            assert!(public.contains(&member.as_str()), "{member} is published");
        }
        assert_eq!(key["use"], "sig");
    }
    server.stop().await;
}

async fn keys_may_be_kept_for_no_longer_than_a_new_one_is_published_before_it_signs(database: TestDatabase) {
    for (publish_before, max_age) in [("1h", 300), ("5m", 300), ("60s", 60), ("2s", 2)] {
        let server =
            TestServer::start_with(&database, &[("GRANTD_KEYS__PUBLISH_BEFORE", publish_before)]).await;

        let document = server.get(JWKS).await;

        assert_eq!(
            document.header("cache-control"),
            format!("public, max-age={max_age}"),
            "{publish_before}"
        );
        server.stop().await;
    }
}

async fn who_has_the_document_already_is_told_so_without_it(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    for path in [JWKS, METADATA, OPENID] {
        let first = server.get(path).await;
        let tag = first.header("etag");
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "a strong tag: {tag}");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".into()] {
            let again = send(&server, Method::GET, path, &[("if-none-match", &known)]).await;

            assert_eq!((again.status, again.body.as_str()), (304, ""), "{path} {known}");
            for name in ["etag", "cache-control", "vary"] {
                assert_eq!(again.header(name), first.header(name), "{path} {name}");
            }
            assert_eq!(again.header("x-request-id").len(), 36);
        }
        let stale = send(&server, Method::GET, path, &[("if-none-match", "\"other\"")]).await;
        assert_eq!((stale.status, &stale.body), (200, &first.body));
        let broken = send(&server, Method::GET, path, &[("if-none-match", "not a tag")]).await;
        assert_eq!((broken.status, &broken.body), (200, &first.body));
    }
    server.stop().await;
}

/// A plain GET is answered in front of the routes; a query, which changes nothing, sends one through them.
async fn the_short_way_to_a_document_gives_what_its_route_would_and_counts_it_the_same(
    database: TestDatabase,
) {
    let server = TestServer::start(&database).await;
    let headers_of = |answer: &Answer| -> BTreeSet<(String, String)> {
        let headers = answer.headers.iter().map(|(name, value)| {
            let mut words: Vec<_> = value.to_str().expect("text").split(", ").collect();
            // Lists of names come in any order.
            words.sort_unstable();
            (name.to_string(), words.join(", "))
        });
        headers.filter(|(name, _)| name != "date" && name != "x-request-id").collect()
    };
    let counted = async |path: &str| {
        let series = format!("grantd_http_requests_total{{method=\"GET\",route=\"{path}\",status=\"200\"}} ");
        let metrics = reqwest::get(format!("{}/metrics", server.management)).await.expect("an answer");
        let metrics = metrics.text().await.expect("text");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok());
        count.unwrap_or(0)
    };

    for path in [JWKS, METADATA, OPENID] {
        let before = counted(path).await;
        let short = server.get(path).await;
        let between = counted(path).await;
        let long = server.get(&format!("{path}?")).await;
        let after = counted(path).await;

        assert_eq!((short.status, &short.body), (long.status, &long.body), "{path}");
        assert_eq!(headers_of(&short), headers_of(&long), "{path}");
        assert_ne!(short.header("x-request-id"), long.header("x-request-id"));
        assert_eq!(short.header("x-request-id").len(), 36);
        // Other tests of this process ask for documents, too.
        assert!(before < between && between < after, "{path}: {before} {between} {after}");
    }
    assert_eq!(reqwest::get(format!("{}{JWKS}", server.management)).await.expect("an answer").status(), 404);
    server.stop().await;
}

async fn a_rotation_changes_the_tag_and_keeps_the_old_key(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    let token = async || server.token_as(("app", &secret), &[("grant_type", "client_credentials")]).await;
    let before = server.get(JWKS).await;
    let old = token().await.jose()["kid"].as_str().expect("a kid").to_owned();

    server.app.rotate_keys(Haste::Now).await.expect("a rotation");

    let after = send(&server, Method::GET, JWKS, &[("if-none-match", &before.header("etag"))]).await;
    assert_eq!(after.status, 200);
    assert_ne!(after.header("etag"), before.header("etag"));
    let new = token().await.jose()["kid"].as_str().expect("a kid").to_owned();
    assert_ne!(new, old);
    assert!(kids(&before).contains(&new), "a key is published before it signs");
    assert!(kids(&after).contains(&new) && kids(&after).contains(&old), "{after:?}");
    server.stop().await;
}

async fn the_metadata_reads_alike_under_both_names(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    let (metadata, openid) = (server.get(METADATA).await, server.get(OPENID).await);

    assert_eq!((metadata.status, metadata.header("content-type")), (200, "application/json".into()));
    assert_eq!(metadata.body, openid.body);
    assert_eq!(metadata.header("etag"), openid.header("etag"));
    server.stop().await;
}

async fn under_an_issuer_with_a_path_everything_is_below_that_path(database: TestDatabase) {
    let issuer = "http://127.0.0.1:8080/tenant/one";
    let server = TestServer::start_with(&database, &[("GRANTD_SERVER__ISSUER", issuer)]).await;
    let secret = server.full_client("app").await;

    // RFC 8414 §3.1 inserts the well-known string before the path; OpenID Connect Discovery §4 appends it.
    let inserted = server.get("/.well-known/oauth-authorization-server/tenant/one").await;
    assert_eq!(inserted.status, 200);
    let document = inserted.json();
    assert_eq!(document["issuer"], issuer);
    for path in [METADATA, OPENID] {
        assert_eq!(server.get(&format!("/tenant/one{path}")).await.body, inserted.body, "{path}");
    }
    assert_eq!(document["token_endpoint"], format!("{issuer}/token"));
    assert_eq!(document["jwks_uri"], format!("{issuer}{JWKS}"));
    assert_eq!(server.get(&format!("/tenant/one{JWKS}")).await.body, server.get(JWKS).await.body);
    let request = server.http.post(format!("{}/tenant/one/token", server.url));
    let request = request.basic_auth("app", Some(&secret)).form(&[("grant_type", "client_credentials")]);
    let answer = Answer::of(request.send().await.expect("an answer")).await;
    assert_eq!(answer.claims()["iss"], issuer);
    for path in ["/tenant/one", "/tenant/one/", "/tenant/one/health/live", "/tenant/one/health/ready"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    for path in ["/.well-known/oauth-authorization-server/tenant", "/tenant/token", "/tenant/onetoken"] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    server.stop().await;
}

async fn head_gives_the_headers_of_get_and_no_body(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    for path in [JWKS, METADATA, OPENID] {
        let (get, head) = (server.get(path).await, send(&server, Method::HEAD, path, &[]).await);

        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        for name in
            ["etag", "cache-control", "content-type", "content-length", "vary", "x-content-type-options"]
        {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
        let known = send(&server, Method::HEAD, path, &[("if-none-match", &get.header("etag"))]).await;
        assert_eq!(known.status, 304);
    }
    server.stop().await;
}

async fn a_document_is_only_read(database: TestDatabase) {
    let server = TestServer::start(&database).await;

    for path in [JWKS, METADATA, OPENID] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = send(&server, method.clone(), path, &[]).await;

            assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD".into()), "{method} {path}");
            assert_eq!(answer.text("error"), "method_not_allowed");
        }
        let with_query = server.get(&format!("{path}?x=1")).await;
        assert_eq!(with_query.status, 200);
    }
    server.stop().await;
}
