//! Tests of certificate reload, with real files and real handshakes in memory.

use std::io::Write as _;

use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConnection,
    SupportedProtocolVersion,
};

use super::*;

/// A self-signed certificate with its key, both in PEM.
struct Made {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
}

fn made() -> Made {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    Made { cert: cert.pem(), key: signing_key.serialize_pem(), der: cert.der().clone() }
}

/// A directory with the files of the settings in it.
struct Disk {
    directory: tempfile::TempDir,
    files: CertificateFiles,
}

impl Disk {
    fn empty() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let files = CertificateFiles {
            cert: directory.path().join("tls.crt"),
            key: directory.path().join("tls.key"),
        };
        Self { directory, files }
    }

    fn with(made: &Made) -> Self {
        let disk = Self::empty();
        disk.write(&made.cert, &made.key);
        disk
    }

    fn write(&self, cert: &str, key: &str) {
        std::fs::write(&self.files.cert, cert).expect("written");
        std::fs::write(&self.files.key, key).expect("written");
    }

    fn certificate(&self) -> Arc<ReloadingCertificate> {
        Arc::new(ReloadingCertificate::load(self.files.clone()).expect("a good pair"))
    }
}

/// Both ends of a connection.
struct Connection {
    client: ClientConnection,
    server: ServerConnection,
}

impl Connection {
    /// A handshake of a client that trusts all of `trusted` and speaks `version`.
    fn open(
        config: &Arc<ServerConfig>,
        trusted: &[&Made],
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for made in trusted {
            roots.add(made.der.clone()).expect("a root");
        }
        let client_config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(Arc::new(client_config), name).expect("a client");
        let server = ServerConnection::new(Arc::clone(config)).expect("a server");

        let mut connection = Self { client, server };
        while connection.client.is_handshaking() || connection.server.is_handshaking() {
            connection.pass_bytes();
        }
        connection.pass_bytes();
        connection
    }

    fn pass_bytes(&mut self) {
        let mut wire = Vec::new();
        self.client.write_tls(&mut wire).expect("memory");
        self.server.read_tls(&mut &wire[..]).expect("memory");
        self.server.process_new_packets().expect("the server accepts");
        wire.clear();
        self.server.write_tls(&mut wire).expect("memory");
        self.client.read_tls(&mut &wire[..]).expect("memory");
        self.client.process_new_packets().expect("the client accepts");
    }

    fn seen_by_client(&self) -> &CertificateDer<'static> {
        &self.client.peer_certificates().expect("a certificate")[0]
    }

    /// Sends a text to the server and the answer back.
    fn talk(&mut self) {
        self.client.writer().write_all(b"GET").expect("memory");
        self.pass_bytes();
        let mut question = [0; 3];
        self.server.reader().read_exact(&mut question).expect("the question arrives");
        self.server.writer().write_all(b"200").expect("memory");
        self.pass_bytes();
        let mut answer = [0; 3];
        self.client.reader().read_exact(&mut answer).expect("the answer arrives");
        assert_eq!((&question, &answer), (b"GET", b"200"));
    }
}

#[test]
fn after_a_reload_new_connections_get_the_new_certificate_and_old_ones_go_on() {
    let (old, new) = (made(), made());
    let disk = Disk::with(&old);
    let certificate = disk.certificate();
    let config = Arc::new(server_config(Arc::clone(&certificate)));
    let mut before = Connection::open(&config, &[&old, &new], &TLS13);
    before.talk();
    assert_eq!(before.seen_by_client(), &old.der);

    disk.write(&new.cert, &new.key);
    assert_eq!(certificate.reload_if_changed(), Outcome::Reloaded);

    let mut after = Connection::open(&config, &[&old, &new], &TLS13);
    assert_eq!(after.seen_by_client(), &new.der);
    after.talk();
    before.talk();
    assert_eq!(certificate.reload_if_changed(), Outcome::Unchanged);
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_http_2_is_never_offered() {
    let own = made();
    let config = server_config(Disk::with(&own).certificate());
    assert_eq!(config.alpn_protocols, [b"http/1.1"]);
    let config = Arc::new(config);

    for (version, expected) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let mut connection = Connection::open(&config, &[&own], version);
        connection.talk();
        assert_eq!(connection.server.protocol_version(), Some(expected));
    }
}

#[test]
fn a_pair_caught_half_replaced_keeps_the_old_certificate_until_it_is_whole() {
    let (old, new) = (made(), made());
    let disk = Disk::with(&old);
    let certificate = disk.certificate();
    let config = Arc::new(server_config(Arc::clone(&certificate)));
    let mismatch = TlsError::Mismatch { cert: disk.files.cert.clone(), key: disk.files.key.clone() };
    let cut = &new.cert[..new.cert.len() / 2];
    let no_certificate = TlsError::NoCertificate { file: disk.files.cert.clone() };
    let no_key = TlsError::NoKey { file: disk.files.key.clone() };

    for (cert, key, refusal) in [
        (new.cert.as_str(), old.key.as_str(), mismatch),
        (cut, new.key.as_str(), no_certificate.clone()),
        ("", new.key.as_str(), no_certificate),
        (new.cert.as_str(), "", no_key),
    ] {
        disk.write(cert, key);
        assert_eq!(certificate.reload_if_changed(), Outcome::Kept(refusal.clone()));
        assert_eq!(certificate.reload_if_changed(), Outcome::Kept(refusal));
        assert_eq!(Connection::open(&config, &[&old], &TLS13).seen_by_client(), &old.der);
    }

    disk.write(&new.cert, &new.key);
    assert_eq!(certificate.reload_if_changed(), Outcome::Reloaded);
    assert_eq!(Connection::open(&config, &[&new], &TLS13).seen_by_client(), &new.der);
}

#[test]
fn files_that_vanish_for_a_moment_keep_the_old_certificate() {
    let old = made();
    let disk = Disk::with(&old);
    let certificate = disk.certificate();

    std::fs::remove_file(&disk.files.key).expect("removed");
    assert!(matches!(certificate.reload_if_changed(), Outcome::Kept(TlsError::Unreadable { .. })));

    disk.write(&old.cert, &old.key);
    assert_eq!(certificate.reload_if_changed(), Outcome::Unchanged);
}

#[test]
fn a_rename_over_the_files_is_seen() {
    let (old, new) = (made(), made());
    let disk = Disk::with(&old);
    let certificate = disk.certificate();
    let staged = Disk::with(&new);

    std::fs::rename(&staged.files.cert, &disk.files.cert).expect("renamed");
    std::fs::rename(&staged.files.key, &disk.files.key).expect("renamed");

    assert_eq!(certificate.reload_if_changed(), Outcome::Reloaded);
}

#[cfg(unix)]
#[test]
fn the_symlink_swap_of_a_mounted_kubernetes_secret_is_seen() {
    use std::os::unix::fs::symlink;

    // tls.crt -> ..data/tls.crt, ..data -> ..v1; an update renames a new ..data over the old one.
    let (old, new) = (made(), made());
    let disk = Disk::empty();
    let root = disk.directory.path();
    for (version, made) in [("..v1", &old), ("..v2", &new)] {
        std::fs::create_dir(root.join(version)).expect("a directory");
        std::fs::write(root.join(version).join("tls.crt"), &made.cert).expect("written");
        std::fs::write(root.join(version).join("tls.key"), &made.key).expect("written");
    }
    symlink("..v1", root.join("..data")).expect("linked");
    symlink("..data/tls.crt", &disk.files.cert).expect("linked");
    symlink("..data/tls.key", &disk.files.key).expect("linked");
    let certificate = disk.certificate();
    assert_eq!(certificate.reload_if_changed(), Outcome::Unchanged);

    symlink("..v2", root.join("..new")).expect("linked");
    std::fs::rename(root.join("..new"), root.join("..data")).expect("swapped");

    assert_eq!(certificate.reload_if_changed(), Outcome::Reloaded);
    let config = Arc::new(server_config(certificate));
    assert_eq!(Connection::open(&config, &[&new], &TLS13).seen_by_client(), &new.der);
}

#[test]
fn a_whole_chain_is_sent() {
    let (own, intermediate) = (made(), made());
    let disk = Disk::empty();
    disk.write(&format!("{}{}", own.cert, intermediate.cert), &own.key);

    let loaded = load(&disk.files).expect("a good pair");

    assert_eq!(loaded.cert, [own.der, intermediate.der]);
}

#[test]
fn each_mistake_is_one_sentence_that_names_the_file_and_no_content() {
    let (own, other) = (made(), made());
    let encrypted = own.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let nonsense = "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n";
    let not_x509 = "-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----\n";

    for (cert, key, named, said) in [
        (own.key.as_str(), own.key.as_str(), "tls.crt", "holds no certificate"),
        (not_x509, &own.key, "tls.crt", "holds no certificate"),
        (&own.cert, &own.cert, "tls.key", "holds no private key"),
        (&own.cert, &encrypted, "tls.key", "without a passphrase"),
        (&own.cert, nonsense, "tls.key", "cannot be used for TLS"),
        (&own.cert, &other.key, "tls.key", "does not belong to"),
    ] {
        let disk = Disk::empty();
        disk.write(cert, key);

        let error = load(&disk.files).expect_err("refused").to_string();

        assert!(error.contains(named) && error.contains(said), "{error}");
        assert!(!error.contains('\n') && !error.contains("Y2FuYXJ5") && !error.contains("canary"), "{error}");
    }

    let missing = load(&Disk::empty().files).expect_err("nothing there").to_string();
    assert!(missing.starts_with("cannot read ") && missing.contains("tls.crt: No such file"), "{missing}");
}

#[test]
fn neither_certificate_nor_key_is_in_debug_output() {
    let certificate = Disk::with(&made()).certificate();

    let shown = format!("{certificate:?}");

    assert!(
        shown.starts_with("ReloadingCertificate { files: CertificateFiles {") && shown.ends_with(", .. }"),
        "{shown}"
    );
}

#[test]
fn a_failure_that_lasts_is_told_once_and_one_that_passes_is_not_told() {
    let broken = || Outcome::Kept(TlsError::NoKey { file: "tls.key".into() });
    let told = || Some(Event::Failed(TlsError::NoKey { file: "tls.key".into() }));
    let mut story = Story::default();

    let looks = [
        (Outcome::Unchanged, None),
        // Half-written, then whole.
        (broken(), None),
        (Outcome::Reloaded, Some(Event::Reloaded)),
        // Broken for good.
        (broken(), None),
        (broken(), told()),
        (broken(), None),
        (broken(), None),
        // Rolled back, then broken again.
        (Outcome::Unchanged, Some(Event::Restored)),
        (Outcome::Unchanged, None),
        (broken(), None),
        (broken(), told()),
        (Outcome::Reloaded, Some(Event::Reloaded)),
    ];
    for (number, (outcome, event)) in looks.into_iter().enumerate() {
        assert_eq!(story.next(outcome), event, "look {number}");
    }
}
