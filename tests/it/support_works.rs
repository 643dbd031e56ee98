//! The support's own proof: databases are real and private, absence is told from failure, PyJWT judges.

use actix_web::{App, HttpServer, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use libtest_mimic::Completion;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::support::database::{DatabaseKind, TestDatabase};
use crate::support::python::{Verification, verify_with_pyjwt};
use crate::support::runner::{Absence, missing, outcome_of, trials};

trials! {
    both: [what_is_written_is_read_back, two_tests_never_share_a_database],
    empty: [an_empty_database_has_no_table],
    plain: [a_panic_fails_its_trial_with_message_and_place, what_is_missing_is_counted_here_and_fails_in_ci],
    alone: [pyjwt_takes_a_good_token_and_says_what_is_wrong_with_a_bad_one],
}

async fn what_is_written_is_read_back(database: TestDatabase) {
    let read = on(&database, "create table note (id bigint primary key, text text not null)").await;
    assert_eq!(read, None);
    on(&database, "insert into note (id, text) values (1, 'kept')").await;

    let read = on(&database, "select text from note where id = 1").await;

    assert_eq!(read.as_deref(), Some("kept"));
}

async fn two_tests_never_share_a_database(database: TestDatabase) {
    let other = match database.kind {
        DatabaseKind::Sqlite => TestDatabase::sqlite(),
        DatabaseKind::Postgres => TestDatabase::postgres(),
    };

    on(&database, "create table only_here (text text)").await;
    on(&other, "create table only_here (text text)").await;

    assert_ne!(database.url, other.url);
}

async fn an_empty_database_has_no_table(database: TestDatabase) {
    let tables = match database.kind {
        DatabaseKind::Sqlite => "select name from sqlite_master",
        DatabaseKind::Postgres => "select tablename::text from pg_tables where schemaname = 'public'",
    };

    assert_eq!(on(&database, tables).await, None);
}

/// Runs one statement and gives the first column of its first row.
async fn on(database: &TestDatabase, sql: &'static str) -> Option<String> {
    let sql = AssertSqlSafe(sql);
    match database.kind {
        DatabaseKind::Sqlite => {
            let options: SqliteConnectOptions = database.url.parse().expect("a SQLite URL");
            let mut connection = options.create_if_missing(true).connect().await.expect("SQLite opens");
            let row = sqlx::query_scalar(sql).fetch_optional(&mut connection).await.expect("SQLite answers");
            connection.close().await.expect("SQLite closes");
            row
        }
        DatabaseKind::Postgres => {
            let options: PgConnectOptions = database.url.parse().expect("a Postgres URL");
            let mut connection = options.connect().await.expect("Postgres is there");
            let row =
                sqlx::query_scalar(sql).fetch_optional(&mut connection).await.expect("Postgres answers");
            connection.close().await.expect("Postgres says goodbye");
            row
        }
    }
}

fn a_panic_fails_its_trial_with_message_and_place() {
    let outcome = on_its_own_thread(|| outcome_of(|| panic!("no {}", "way"), Absence::IsCounted));

    let failed = outcome.err().expect("a panic fails");
    let message = failed.message().unwrap_or_default();
    assert!(message.contains("no way") && message.contains(file!()), "{message}");
}

fn what_is_missing_is_counted_here_and_fails_in_ci() {
    let outcome_with = |absence| on_its_own_thread(move || outcome_of(|| missing("no moon".into()), absence));

    let here = outcome_with(Absence::IsCounted);
    let in_ci = outcome_with(Absence::IsFailure);

    assert!(matches!(here, Ok(Completion::Ignored { reason: Some(why) }) if why == "no moon"));
    let failed = in_ci.err().expect("CI has everything");
    assert!(failed.message().is_some_and(|message| message.starts_with("no moon")));
}

/// A trial inside a trial needs a thread, as every trial has one.
fn on_its_own_thread<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(run).join().expect("a trial's panic stays inside it")
}

async fn pyjwt_takes_a_good_token_and_says_what_is_wrong_with_a_bad_one() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let how = Verification {
        jwks_url: serve(jwks(&key)),
        issuer: String::from("https://issuer.example"),
        audience: String::from("https://api.example"),
    };
    let good = json!({
        "iss": "https://issuer.example", "aud": "https://api.example", "sub": "app", "client_id": "app",
        "iat": 1_700_000_000, "exp": 4_000_000_000_u64, "jti": "1",
    });

    let accepted = verify_with_pyjwt(&how, &signed(&key, "at+jwt", &good)).await;

    assert_eq!(accepted.as_ref(), Ok(&good));
    for (claim, value, error) in [
        ("iss", json!("https://thief.example"), "InvalidIssuerError"),
        ("aud", json!("https://other.example"), "InvalidAudienceError"),
        ("exp", json!(1_700_000_001), "ExpiredSignatureError"),
        ("client_id", Value::Null, "MissingRequiredClaimError"),
    ] {
        let mut bad = good.clone();
        bad[claim] = value;
        let refused = verify_with_pyjwt(&how, &signed(&key, "at+jwt", &bad)).await;
        let why = refused.expect_err(claim);
        assert!(why.contains(error), "{claim}: {why}");
    }
    let refused = verify_with_pyjwt(&how, &signed(&key, "JWT", &good)).await;
    assert!(refused.expect_err("an ID token").contains("at+jwt"));
    let thief = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let refused = verify_with_pyjwt(&how, &signed(&thief, "at+jwt", &good)).await;
    assert!(refused.expect_err("a forged token").contains("InvalidSignatureError"));
}

fn signed(key: &rcgen::KeyPair, token_type: &str, claims: &Value) -> String {
    let header = Header {
        typ: Some(token_type.to_owned()),
        kid: Some(String::from("one")),
        ..Header::new(Algorithm::ES256)
    };
    let key = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).expect("a PKCS #8 key");
    jsonwebtoken::encode(&header, claims, &key).expect("a signature")
}

fn jwks(key: &rcgen::KeyPair) -> Value {
    // SEC 1 §2.3.3: an uncompressed point is 4, x, y.
    let (x, y) = key.public_key_raw()[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "kid": "one", "alg": "ES256", "x": x, "y": y}]})
}

/// Serves one JSON document to whoever asks, for as long as the test runs; its address.
fn serve(document: Value) -> String {
    let app = move || {
        let document = document.clone();
        App::new().default_service(web::to(move || {
            let document = web::Json(document.clone());
            async move { document }
        }))
    };
    let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0").expect("a free port");
    let address = server.addrs()[0];
    actix_web::rt::spawn(server.run());
    format!("http://{address}/")
}
