//! nginx with the configurations of `deploy/`, on other ports. Knows nothing of grantd but where it listens.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::runner::not_here;

/// A running nginx; ends with the value.
pub(crate) struct Nginx {
    /// `https://127.0.0.1:port`, or `http://…` for [`Nginx::asking`].
    pub(crate) url: String,
    child: Child,
    directory: TempDir,
}

/// A port that nothing listens on at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Ends the test as ignored where there is no nginx.
pub(crate) fn here() -> PathBuf {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let beside = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")];
    let mut places = std::env::split_paths(&on_path).chain(beside).map(|directory| directory.join("nginx"));
    places.find(|program| program.is_file()).unwrap_or_else(|| {
        not_here(String::from("no nginx here (Debian: nginx-light)"));
    })
}

impl Nginx {
    /// In front of two servers on these ports of the loopback interface.
    pub(crate) fn before(upstream: [u16; 2]) -> Self {
        let program = here();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = directory.path();
        let made =
            rcgen::generate_simple_self_signed(["auth.example.com".to_owned()]).expect("a certificate");
        std::fs::write(at.join("fullchain.pem"), made.cert.pem()).expect("a writable directory");
        std::fs::write(at.join("privkey.pem"), made.signing_key.serialize_pem())
            .expect("a writable directory");
        let (http, https) = (free_port(), free_port());
        let site = site(at, upstream, http, https);
        Self::start(&program, directory, &site, https, "https")
    }

    /// In front of a service, asking grantd before each request: `deploy/forward-auth/nginx.conf`, both on these ports.
    pub(crate) fn asking(grantd: u16, service: u16) -> Self {
        let program = here();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let site = replaced(
            include_str!("../../../deploy/forward-auth/nginx.conf"),
            &[
                ("grantd:8080", format!("127.0.0.1:{grantd}")),
                ("notes:9000", format!("127.0.0.1:{service}")),
                ("listen 80;", format!("listen 127.0.0.1:{port};")),
            ],
        );
        Self::start(&program, directory, &site, port, "http")
    }

    /// The same with what `grantd snippet nginx` prints, which knows where grantd is.
    pub(crate) fn printed(snippet: &str, service: u16) -> Self {
        let (program, port) = (here(), free_port());
        let directory = tempfile::tempdir().expect("a temporary directory");
        let places = [
            ("listen 127.0.0.1:9000;", format!("listen 127.0.0.1:{port};")),
            ("http://127.0.0.1:3000;", format!("http://127.0.0.1:{service};")),
        ];
        Self::start(&program, directory, &replaced(snippet, &places), port, "http")
    }

    fn start(program: &Path, directory: TempDir, site: &str, port: u16, scheme: &str) -> Self {
        let at = directory.path();
        std::fs::write(at.join("site.conf"), site).expect("a writable directory");
        std::fs::write(at.join("nginx.conf"), frame(at)).expect("a writable directory");

        let mut command = Command::new(program);
        command.arg("-p").arg(at).arg("-c").arg(at.join("nginx.conf")).arg("-e").arg(at.join("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("nginx starts");
        let mut nginx = Self { url: format!("{scheme}://127.0.0.1:{port}"), child, directory };
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return nginx;
            }
            let ended = nginx.child.try_wait().expect("a child");
            assert!(ended.is_none(), "nginx does not start: {}", nginx.log("error.log"));
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("nginx does not listen: {}", nginx.log("error.log"));
    }

    /// What it wrote to one of its logs.
    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers when it is asked to, not when it is killed.
        let _asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// The file that is shipped, with this machine's places in it. What it replaces must be there.
fn site(at: &Path, upstream: [u16; 2], http: u16, https: u16) -> String {
    let [one, other] = upstream;
    let certificates = format!("{}/", at.display());
    let places = [
        ("grantd-1:8080", format!("127.0.0.1:{one}")),
        ("grantd-2:8080", format!("127.0.0.1:{other}")),
        ("listen 80;", format!("listen 127.0.0.1:{http};")),
        ("listen [::]:80;", String::new()),
        ("listen 443 ssl;", format!("listen 127.0.0.1:{https} ssl;")),
        ("listen [::]:443 ssl;", String::new()),
        ("/etc/nginx/certs/", certificates.clone()),
        ("/var/log/nginx/", certificates),
    ];
    replaced(include_str!("../../../deploy/nginx.conf"), &places)
}

fn replaced(shipped: &str, places: &[(&str, String)]) -> String {
    places.iter().fold(shipped.to_owned(), |text, (shipped, here)| {
        assert!(text.contains(shipped), "the file that is shipped has no {shipped:?} any more");
        text.replace(shipped, here)
    })
}

fn frame(at: &Path) -> String {
    let at = at.display();
    // As root its workers would be nobody, who may not read this directory.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "daemon off; worker_processes 2; pid {at}/pid; error_log {at}/error.log info; {user}
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
    uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
    include {at}/site.conf;
}}
"
    )
}
