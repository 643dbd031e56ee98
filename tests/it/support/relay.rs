//! A relay in front of Postgres, for what can happen on the way: it can be cut (a stopped database), frozen (a cable
//! pulled out: connections stay open and nobody answers), slow, or lose a connection in the midst of a commit.
//!
//! Knows of Postgres' protocol only what a commit looks like: the word, or the one statement of a refresh, or of several
//! together, which commits itself.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use url::Url;

use super::database::TestDatabase;

/// What happens to bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// They arrive.
    Fair,
    /// They wait until this ends.
    Frozen,
    /// Everything that is sent to the database arrives this much later.
    Slow(Duration),
    /// The order to commit is lost, and the connection with it.
    LosesCommit,
    /// The order to commit is carried out; its answer is lost, and the connection with it.
    LosesCommitted,
    /// The order to commit is lost; the connection stays open and leads nowhere, as after a failover of an address.
    DeafFromCommit,
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

/// A relay; ends with the value.
pub(crate) struct Relay {
    /// The database, seen through it.
    pub(crate) url: String,
    address: SocketAddr,
    upstream: Upstream,
    weather: watch::Sender<Weather>,
    /// What accepts, and what carries bytes.
    tasks: Rc<RefCell<Vec<JoinHandle<()>>>>,
}

impl Relay {
    /// In front of a test's database.
    pub(crate) async fn before(database: &TestDatabase) -> Self {
        let mut url = Url::parse(&database.url).expect("a URL");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let upstream = Upstream::of(&url);
        let kept: Vec<_> = url
            .query_pairs()
            .filter(|(name, _)| name != "host")
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        url.query_pairs_mut().clear().extend_pairs(kept);
        url.set_ip_host(address.ip()).expect("a host");
        url.set_port(Some(address.port())).expect("a port");
        let weather = watch::Sender::new(Weather::Fair);
        let relay = Self { url: url.into(), address, upstream, weather, tasks: Rc::default() };
        relay.accept(listener);
        relay
    }

    /// From now on, for connections that there are and that will be.
    pub(crate) fn turns(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Ends every connection, and refuses new ones.
    pub(crate) async fn cut(&self) {
        for task in self.tasks.take() {
            task.abort();
            let _aborted = task.await;
        }
    }

    /// Accepts connections again.
    pub(crate) async fn mend(&self) {
        self.accept(TcpListener::bind(self.address).await.expect("the same port"));
    }

    fn accept(&self, listener: TcpListener) {
        let (upstream, weather, tasks) =
            (self.upstream.clone(), self.weather.subscribe(), Rc::clone(&self.tasks));
        let accepting = spawn_local(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (upstream, weather) = (upstream.clone(), weather.clone());
                let carrying = spawn_local(async move {
                    match upstream {
                        Upstream::Socket(path) => {
                            let far = UnixStream::connect(path).await.expect("Postgres");
                            carry_both(near, far, weather).await;
                        }
                        Upstream::Tcp(at) => {
                            carry_both(near, TcpStream::connect(at).await.expect("Postgres"), weather).await;
                        }
                    }
                });
                tasks.borrow_mut().push(carrying);
            }
        });
        self.tasks.borrow_mut().push(accepting);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for task in self.tasks.take() {
            task.abort();
        }
    }
}

async fn carry_both<S>(near: TcpStream, far: S, weather: watch::Receiver<Weather>)
where
    S: AsyncRead + AsyncWrite,
{
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), tokio::io::split(far));
    let fate = Cell::new(Weather::Fair);
    // Whichever side ends first takes the other with it.
    tokio::select! {
        () = carry_out(near_read, far_write, weather.clone(), &fate) => {}
        () = carry_back(far_read, near_write, weather, &fate) => {}
    }
}

/// Bytes on their way to the database.
async fn carry_out(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
    fate: &Cell<Weather>,
) {
    let mut orders = Orders::default();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        let bytes = &buffer[..count];
        let commits = orders.commit(bytes);
        let now = match weather.wait_for(|weather| *weather != Weather::Frozen).await {
            Ok(now) => *now,
            Err(_) => return,
        };
        match now {
            Weather::Slow(by) => tokio::time::sleep(by).await,
            Weather::LosesCommit if commits => return,
            Weather::LosesCommitted if commits => fate.set(now),
            Weather::DeafFromCommit if commits => {
                fate.set(now);
                std::future::pending().await
            }
            Weather::Fair
            | Weather::Frozen
            | Weather::LosesCommit
            | Weather::LosesCommitted
            | Weather::DeafFromCommit => {}
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// What has to be known of a connection to tell which message commits.
#[derive(Default)]
struct Orders {
    /// How a message begins that carries out a prepared statement of refreshes: no portal, then its name.
    refreshes: Vec<Vec<u8>>,
}

impl Orders {
    fn commit(&mut self, bytes: &[u8]) -> bool {
        let find =
            |text: &[u8]| bytes.windows(text.len()).position(|window| window.eq_ignore_ascii_case(text));
        // It is prepared first: its name, a zero, its text, in which something may stand before this.
        if let Some(text) = find(b"update families set generation") {
            let begins = bytes[..text].windows(5).rposition(|window| window == b"sqlx_");
            let named = &bytes[begins.expect("sqlx names its statements")..];
            let name = named.split(|byte| *byte == 0).next().unwrap_or_default();
            self.refreshes.push([b"\0", name, b"\0"].concat());
        }
        find(b"commit").is_some() || self.refreshes.iter().any(|carried_out| find(carried_out).is_some())
    }
}

/// Bytes on their way back.
async fn carry_back(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
    fate: &Cell<Weather>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        let thaw = weather.wait_for(|weather| *weather != Weather::Frozen).await.is_ok();
        match fate.get() {
            Weather::DeafFromCommit => std::future::pending().await,
            Weather::LosesCommitted => return,
            Weather::Fair | Weather::Frozen | Weather::Slow(_) | Weather::LosesCommit => {}
        }
        if count == 0 || !thaw || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
