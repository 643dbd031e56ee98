//! The encryption key is exchanged, with everything that was ever made under the old one staying good: by settings and
//! by key file, cut off at each step, and under a running server.

use std::path::PathBuf;

use grantd::app::App;
use grantd::app::clock::Clock;
use grantd::app::open::{KeySource, StartError};
use grantd::app::reseal::{NewKey, ResealError};
use grantd::keys::{EncryptionKey, RootKey, Sealer, SigningKey};
use grantd::model::key::{KeyState, SigningAlgorithm, SigningKeyInfo};
use grantd::model::secret::PlainSecret;
use grantd::model::time::Ttl;
use grantd::startup::key_source;
use grantd::storage::migrate::migrate;
use grantd::storage::signing_keys::{self, StoredKey};
use grantd::storage::{installation, root_keys};

use crate::first_start::{key_file, mode, plain_settings, start};
use crate::storage::{open, write};
use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{START, TestServer, settings};

trials! {
    both: [
        nothing_is_lost_under_a_new_key_and_the_old_one_opens_nothing,
        an_old_key_may_be_kept_for_a_while,
        of_two_who_reseal_at_once_no_one_loses_the_database,
    ],
    empty: [a_database_of_the_first_schema_opens_and_can_be_resealed],
    alone: [
        a_key_file_is_replaced_and_the_old_one_is_kept,
        a_resealing_that_is_cut_off_is_finished_or_undone_by_the_next_start,
    ],
}

const OLD: &str = "J0bGq0eXo9nH5Yx1mZ3kQv7RtUu2WcLdE8sFa4iPpTg=";
const NEW: &str = "q9Kx2bV7nL0tYw5uRz8eDf3hGj6mCs1oPa4iXkZlBvQ=";
const OTHER: &str = "w1Zr5yB8mQ2kXe7vTn4gLp9sHd0jFa3uCo6iRbYtKxE=";

fn given(key: &str) -> PlainSecret {
    PlainSecret::new(key.to_owned())
}

/// A start with this key at the time of the tests, and its end.
async fn opens_with(database: &TestDatabase, key: &str, clock: &Clock) -> Result<(), StartError> {
    let settings = settings(database, &[("GRANTD_KEYS__ENCRYPTION_KEY", key)]);
    let app =
        grantd::startup::open_app(&settings, grantd::startup::Purpose::Administer, clock.clone()).await?;
    app.close().await;
    Ok(())
}

async fn reseal(app: &App, from: &str, to: &str, keep_old: Ttl) -> Result<(), ResealError> {
    app.reseal(&KeySource::Given(given(from)), NewKey::Given(given(to)), keep_old).await.map(drop)
}

async fn nothing_is_lost_under_a_new_key_and_the_old_one_opens_nothing(database: TestDatabase) {
    let (server, secret) = TestServer::furnished(&database, &[("GRANTD_KEYS__ENCRYPTION_KEY", OLD)]).await;
    let app = ("app", secret.as_str());
    let kept = server.login(app, "alice").await.text("refresh_token");
    let keys = server.get("/.well-known/jwks.json").await.body;

    reseal(&server.app, OLD, NEW, Ttl::ZERO).await.expect("resealed");

    // The running server needs neither key.
    let kept = server.refresh(app, &kept).await.text("refresh_token");
    server.app.rotate_keys(grantd::app::signing_keys::Haste::Now).await.expect("rotated");
    let rotated = server.get("/.well-known/jwks.json").await.body;
    assert_ne!(rotated, keys);
    server.stop().await;
    let refused = opens_with(&database, OLD, &Clock::manual(START)).await.expect_err("replaced");
    assert!(matches!(refused, StartError::WrongKey), "{refused}");
    let server = TestServer::start_with(&database, &[("GRANTD_KEYS__ENCRYPTION_KEY", NEW)]).await;
    assert_eq!(server.get("/.well-known/jwks.json").await.body, rotated, "signing keys");
    assert_eq!(server.refresh(app, &kept).await.status, 200, "refresh tokens and client secrets");
    assert_eq!(server.login(app, "alice").await.status, 200, "users");
    let again = reseal(&server.app, NEW, NEW, Ttl::ZERO).await.expect_err("the same");
    assert!(matches!(again, ResealError::SameKey), "{again}");
    let stranger = reseal(&server.app, OTHER, OLD, Ttl::ZERO).await.expect_err("not the present key");
    assert!(matches!(stranger, ResealError::Start(StartError::WrongKey)), "{stranger}");
    let made = server.app.reseal(&KeySource::Given(given(NEW)), NewKey::Made, Ttl::ZERO).await;
    assert!(matches!(made, Err(ResealError::NoNewKey)), "{made:?}");
    server.stop().await;
}

async fn an_old_key_may_be_kept_for_a_while(database: TestDatabase) {
    let server = TestServer::start_with(&database, &[("GRANTD_KEYS__ENCRYPTION_KEY", OLD)]).await;
    let clock = server.clock.clone();

    reseal(&server.app, OLD, NEW, Ttl::from_secs(100)).await.expect("resealed");

    server.pass(99);
    opens_with(&database, OLD, &clock).await.expect("still accepted");
    opens_with(&database, NEW, &clock).await.expect("accepted");
    server.pass(1);
    let refused = opens_with(&database, OLD, &clock).await.expect_err("over");
    assert!(matches!(refused, StartError::WrongKey), "{refused}");
    opens_with(&database, NEW, &clock).await.expect("accepted");
    // Nor can it be used to replace the new one, and the next look throws it away.
    let refused = reseal(&server.app, OLD, OTHER, Ttl::ZERO).await.expect_err("over");
    assert!(matches!(refused, ResealError::Start(StartError::WrongKey)), "{refused}");
    server.app.purge(server.clock.now()).await.expect("purged");
    let db = open(&database).await;
    assert_eq!(root_keys::list(&db).await.expect("readable").len(), 1);
    db.close().await;
    server.stop().await;
}

async fn of_two_who_reseal_at_once_no_one_loses_the_database(database: TestDatabase) {
    let server = TestServer::start_with(&database, &[("GRANTD_KEYS__ENCRYPTION_KEY", OLD)]).await;
    let app = &server.app;

    let outcomes = tokio::join!(reseal(app, OLD, NEW, Ttl::ZERO), reseal(app, OLD, OTHER, Ttl::ZERO));

    let (winner, loser) = match outcomes {
        (Ok(()), Err(lost)) => (NEW, lost),
        (Err(lost), Ok(())) => (OTHER, lost),
        both => panic!("{both:?}"),
    };
    assert!(
        matches!(loser, ResealError::Raced | ResealError::Start(StartError::WrongKey)),
        "told that nothing was done: {loser}"
    );
    opens_with(&database, winner, &server.clock).await.expect("the winner's key opens it");
    server.stop().await;
}

async fn a_database_of_the_first_schema_opens_and_can_be_resealed(database: TestDatabase) {
    let db = open(&database).await;
    migrate(&db).await.expect("migrated");
    let key = EncryptionKey::from_base64(OLD).expect("a key");
    let name = "encryption_key_fingerprint";
    write!(db, installation::set_once(name, &key.fingerprint())).expect("set");
    let (signs, private) = SigningKey::generate(SigningAlgorithm::Es256).expect("made");
    let stored = StoredKey {
        sealed: Sealer::new(&RootKey::of_first_schema(&key)).seal(&private, signs.kid()),
        info: SigningKeyInfo {
            kid: signs.kid().clone(),
            algorithm: SigningAlgorithm::Es256,
            state: KeyState::Active { since: START },
            created_at: START,
            longest_ttl: Ttl::from_secs(600),
        },
    };
    write!(db, signing_keys::insert(&stored)).expect("inserted");
    db.close().await;

    let refused = opens_with(&database, NEW, &Clock::manual(START)).await.expect_err("not its key");
    assert!(matches!(refused, StartError::WrongKey), "{refused}");
    let server = TestServer::start_with(&database, &[("GRANTD_KEYS__ENCRYPTION_KEY", OLD)]).await;
    let signer = server.app.signer(SigningAlgorithm::Es256).expect("the old key signs");
    assert_eq!(signer.kid(), signs.kid());
    reseal(&server.app, OLD, NEW, Ttl::ZERO).await.expect("resealed");
    server.stop().await;
    opens_with(&database, NEW, &Clock::manual(START)).await.expect("opens");
}

/// The key file, the next one and the kept one.
fn files(database: &TestDatabase) -> [PathBuf; 3] {
    let file = key_file(database);
    [file.clone(), file.with_added_extension("new"), file.with_added_extension("old")]
}

async fn a_key_file_is_replaced_and_the_old_one_is_kept() {
    let database = TestDatabase::empty_sqlite();
    let settings = plain_settings(&database);
    let app = start(&settings).await.expect("a first start");
    let [file, staged, kept] = files(&database);
    let first = std::fs::read(&file).expect("a key file");

    app.reseal(&key_source(&settings), NewKey::Made, Ttl::ZERO).await.expect("resealed");

    assert_ne!(std::fs::read(&file).expect("a key file"), first);
    assert_eq!(std::fs::read(&kept).expect("kept"), first);
    assert_eq!((mode(&file), mode(&kept), staged.exists()), (0o600, 0o600, false));
    start(&settings).await.expect("the new one opens").close().await;
    let again = app.reseal(&key_source(&settings), NewKey::Made, Ttl::ZERO).await.expect_err("refused");
    assert!(again.to_string().contains("move it to where you keep keys"), "{again}");
    std::fs::remove_file(&kept).expect("moved away");
    app.reseal(&key_source(&settings), NewKey::Given(given(NEW)), Ttl::ZERO).await.expect("resealed");
    assert_eq!(std::fs::read_to_string(&file).expect("a key file").trim(), NEW);
    app.close().await;
    start(&settings).await.expect("the newest opens").close().await;
}

async fn a_resealing_that_is_cut_off_is_finished_or_undone_by_the_next_start() {
    let database = TestDatabase::empty_sqlite();
    let settings = plain_settings(&database);
    let source = key_source(&settings);
    let [file, staged, kept] = files(&database);
    start(&settings).await.expect("a first start").close().await;
    let first = std::fs::read(&file).expect("a key file");

    // Before the database took the key: the old one is the one, and doing it again goes on with what is there.
    grantd::keys::key_file::create(&staged, &EncryptionKey::from_base64(NEW).expect("a key"))
        .expect("staged");
    std::fs::hard_link(&file, &kept).expect("kept");
    let app = start(&settings).await.expect("the old key opens");
    assert_eq!((std::fs::read(&file).expect("a key file"), staged.exists()), (first.clone(), true));
    app.reseal(&source, NewKey::Made, Ttl::ZERO).await.expect("resealed");
    assert_eq!(std::fs::read_to_string(&file).expect("a key file").trim(), NEW);
    app.close().await;

    // After the database took the key and before the file did.
    std::fs::rename(&file, &staged).expect("not yet replaced");
    std::fs::rename(&kept, &file).expect("not yet replaced");
    start(&settings).await.expect("the next start finishes it").close().await;
    assert_eq!(std::fs::read_to_string(&file).expect("a key file").trim(), NEW);
    assert!(!staged.exists());
    start(&settings).await.expect("and the one after it").close().await;
}
