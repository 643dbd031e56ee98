//! A TCP address in front of a Postgres, which can be led to another one: what a failover looks like from outside.
//! Knows nothing of what it carries, and runs on threads of its own, so that a test may block.

use std::io::copy;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::spawn;

/// A relay from a TCP address to a Unix socket; ends with the value.
pub(crate) struct Switchboard {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    /// Nowhere once it is over.
    leads_to: Option<PathBuf>,
    open: Vec<(TcpStream, UnixStream)>,
}

impl Switchboard {
    /// One that leads to this socket.
    pub(crate) fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(Shared { leads_to: Some(socket), open: Vec::new() }));
        let switchboard = Self { address, shared: Arc::clone(&shared) };
        spawn(move || {
            for near in listener.incoming().flatten() {
                let mut shared = shared.lock().expect("nobody panics with it");
                let Some(socket) = &shared.leads_to else { break };
                // Who is not there is a connection that ends at once.
                let Ok(far) = UnixStream::connect(socket) else { continue };
                shared.open.push((near.try_clone().expect("a stream"), far.try_clone().expect("a stream")));
                carry(near, far);
            }
        });
        switchboard
    }

    /// Ends every connection; from now on they lead elsewhere.
    pub(crate) fn lead_to(&self, socket: PathBuf) {
        let mut shared = self.shared();
        shared.leads_to = Some(socket);
        hang_up(&mut shared);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("nobody panics with it")
    }
}

/// Both ways until either side ends, which ends the other.
fn carry(near: TcpStream, far: UnixStream) {
    let (near_again, far_again) = (near.try_clone().expect("a stream"), far.try_clone().expect("a stream"));
    spawn(move || {
        let _ended = copy(&mut &near, &mut &far);
        let _gone = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Both));
    });
    spawn(move || {
        let _ended = copy(&mut &far_again, &mut &near_again);
        let _gone = (near_again.shutdown(Shutdown::Both), far_again.shutdown(Shutdown::Both));
    });
}

fn hang_up(shared: &mut Shared) {
    for (near, far) in shared.open.drain(..) {
        let _gone = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Both));
    }
}

impl Drop for Switchboard {
    fn drop(&mut self) {
        let mut shared = self.shared();
        shared.leads_to = None;
        hang_up(&mut shared);
        drop(shared);
        let _wakes_who_accepts = TcpStream::connect(self.address);
    }
}
