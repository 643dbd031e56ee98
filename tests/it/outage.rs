//! A server whose database goes away under it: what needs no database goes on, what needs it says 503 and when to ask
//! again, nothing that is still good is called invalid, and all heals by itself.
//!
//! Between the server and Postgres stands a relay that can be cut (a stopped database) or frozen (a cable pulled out:
//! connections stay open and nobody answers). A SQLite database is away while another process holds its lock.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use grantd::storage::Db;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use url::Url;

use crate::storage::open;
use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, TestServer};

trials! {
    postgres: [
        while_postgres_is_stopped_what_needs_no_database_goes_on,
        while_postgres_is_deaf_what_needs_no_database_goes_on,
    ],
    sqlite: [while_sqlite_is_locked_writes_are_put_off_and_nothing_is_lost],
}

/// Where the relay leads: a path for a Unix socket, else host and port.
#[derive(Clone)]
enum Upstream {
    Socket(PathBuf),
    Tcp(String),
}

impl Upstream {
    fn of(url: &Url) -> Self {
        let port = url.port().unwrap_or(5432);
        let socket = url.query_pairs().find(|(name, value)| name == "host" && value.starts_with('/'));
        match socket {
            Some((_, directory)) => Self::Socket(PathBuf::from(&*directory).join(format!(".s.PGSQL.{port}"))),
            None => Self::Tcp(format!("{}:{port}", url.host_str().expect("a host"))),
        }
    }
}

/// A relay in front of Postgres; ends with the value.
struct Relay {
    address: SocketAddr,
    upstream: Upstream,
    frozen: watch::Sender<bool>,
    /// What accepts, and what carries bytes.
    tasks: Rc<RefCell<Vec<JoinHandle<()>>>>,
}

impl Relay {
    async fn start(url: &Url) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (frozen, upstream) = (watch::Sender::new(false), Upstream::of(url));
        let relay = Self { address, upstream, frozen, tasks: Rc::default() };
        relay.accept(listener);
        relay
    }

    fn accept(&self, listener: TcpListener) {
        let (upstream, frozen, tasks) =
            (self.upstream.clone(), self.frozen.subscribe(), Rc::clone(&self.tasks));
        let accepting = spawn_local(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (upstream, frozen) = (upstream.clone(), frozen.clone());
                let carrying = spawn_local(async move {
                    match upstream {
                        Upstream::Socket(path) => {
                            carry_both(near, UnixStream::connect(path).await.expect("Postgres"), frozen)
                                .await;
                        }
                        Upstream::Tcp(at) => {
                            carry_both(near, TcpStream::connect(at).await.expect("Postgres"), frozen).await;
                        }
                    }
                });
                tasks.borrow_mut().push(carrying);
            }
        });
        self.tasks.borrow_mut().push(accepting);
    }

    /// Ends every connection, and refuses new ones.
    async fn cut(&self) {
        for task in self.tasks.take() {
            task.abort();
            let _aborted = task.await;
        }
    }

    async fn mend(&self) {
        self.accept(TcpListener::bind(self.address).await.expect("the same port"));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for task in self.tasks.take() {
            task.abort();
        }
    }
}

async fn carry_both<S>(near: TcpStream, far: S, frozen: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite,
{
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), tokio::io::split(far));
    // Whichever side ends first takes the other with it.
    tokio::select! {
        () = carry(near_read, far_write, frozen.clone()) => {}
        () = carry(far_read, near_write, frozen) => {}
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// The same database, seen through the relay.
async fn through_relay(database: &TestDatabase) -> (Relay, String) {
    let mut url = Url::parse(&database.url).expect("a URL");
    let relay = Relay::start(&url).await;
    let kept: Vec<_> = url
        .query_pairs()
        .filter(|(name, _)| name != "host")
        .map(|(n, v)| (n.into_owned(), v.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(kept);
    url.set_ip_host(relay.address.ip()).expect("a host");
    url.set_port(Some(relay.address.port())).expect("a port");
    (relay, url.into())
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("this never came: {what}");
}

const CLIENT_CREDENTIALS: &[(&str, &str)] = &[("grant_type", "client_credentials")];

fn assert_put_off(answer: &Answer) {
    assert_eq!(answer.refusal(), (503, "temporarily_unavailable".into()), "{answer:?}");
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    for cause in ["pool", "locked", "Postgres", "SQLite", "127.0.0.1"] {
        assert!(!answer.body.contains(cause), "the cause is the log's, not the client's: {}", answer.body);
    }
}

async fn while_postgres_is_stopped_what_needs_no_database_goes_on(database: TestDatabase) {
    let (relay, url) = through_relay(&database).await;
    outage(&database, &url, async || relay.cut().await, async || relay.mend().await).await;
}

async fn while_postgres_is_deaf_what_needs_no_database_goes_on(database: TestDatabase) {
    let (relay, url) = through_relay(&database).await;
    let freeze = async |frozen| _ = relay.frozen.send_replace(frozen);
    outage(&database, &url, async || freeze(true).await, async || freeze(false).await).await;
}

async fn outage(database: &TestDatabase, url: &str, begin: impl AsyncFn(), end: impl AsyncFn()) {
    let server = TestServer::start_with(database, &[("GRANTD_DATABASE__URL", url)]).await;
    let secret = server.full_client("app").await;
    let app = ("app", secret.as_str());
    server.user("alice", &[]).await;
    let login = server.login(app, "alice").await;
    assert_eq!(login.status, 200, "{login:?}");
    let kept = login.text("refresh_token");
    let keys = server.get("/.well-known/jwks.json").await.body;
    until("readiness", async || server.get("/health/ready").await.status == 200).await;

    begin().await;

    assert_put_off(&server.refresh(app, &kept).await);
    assert_put_off(&server.login(app, "alice").await);
    until("unreadiness", async || server.get("/health/ready").await.status == 503).await;
    let ready = server.get("/health/ready").await;
    assert_eq!(ready.json()["checks"]["database"], "failed");
    assert_eq!(ready.json()["checks"]["keys"], "ok");
    assert_eq!(server.get("/health/live").await.status, 200);
    assert_eq!(server.token_as(app, CLIENT_CREDENTIALS).await.status, 200);
    assert_eq!(server.get("/.well-known/jwks.json").await.body, keys);
    // Who a client is, is known from memory: a wrong secret is still wrong, and a malformed request malformed.
    assert_eq!(server.token_as(("app", "wrong"), CLIENT_CREDENTIALS).await.refusal().0, 401);
    assert_eq!(server.token_as(app, &[]).await.refusal(), (400, "invalid_request".into()));
    // Neither is anything written in haste once it is known that the database is away.
    assert_put_off(&server.refresh(app, &kept).await);

    end().await;

    until("readiness", async || server.get("/health/ready").await.status == 200).await;
    let refreshed = server.refresh(app, &kept).await;
    assert_eq!(refreshed.status, 200, "a refused request consumes nothing: {refreshed:?}");
    assert_eq!(server.refresh(app, &refreshed.text("refresh_token")).await.status, 200);
    assert_eq!(server.login(app, "alice").await.status, 200, "no outage counts as a failed login");
    server.stop().await;
}

async fn while_sqlite_is_locked_writes_are_put_off_and_nothing_is_lost(database: TestDatabase) {
    let server = TestServer::start(&database).await;
    let secret = server.full_client("app").await;
    let app = ("app", secret.as_str());
    server.user("alice", &[]).await;
    let kept = server.login(app, "alice").await.text("refresh_token");
    let other_process = open(&database).await;
    let Db::Sqlite { write, .. } = &other_process else { panic!("this is about SQLite") };

    let lock = write.begin_with("begin immediate").await.expect("the lock");
    let (refresh, login) = tokio::join!(server.refresh(app, &kept), server.login(app, "alice"));
    assert_put_off(&refresh);
    assert_put_off(&login);
    assert_eq!(server.token_as(app, CLIENT_CREDENTIALS).await.status, 200);
    lock.rollback().await.expect("released");

    assert_eq!(server.refresh(app, &kept).await.status, 200, "a refused request consumes nothing");
    assert_eq!(server.login(app, "alice").await.status, 200);
    other_process.close().await;
    server.stop().await;
}
