//! TLS in the process: a certificate that follows its files, and the rustls configuration around it. Knows nothing of HTTP above the handshake.
//!
//! New handshakes take the certificate of the moment; a connection that stands keeps its keys, so a reload
//! drops nobody. HTTP/1.1 only: actix-web's `http2` pins h2 0.3, which has an advisory without a fix.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{self, SHA256};
use rustls::crypto::aws_lc_rs::{default_provider, sign};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};
use zeroize::Zeroizing;

/// How often [`watch`] looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A certificate chain is a few KiB; more than this is the wrong file.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Where certificate and key are: `server.tls.cert`, `server.tls.key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, then its intermediates, in PEM.
    pub cert: PathBuf,
    /// The private key in PEM, without a passphrase.
    pub key: PathBuf,
}

/// Why certificate and key cannot be used. Says nothing of what is in the files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {reason}; check the path and that the server's user may read it", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the operating system says.
        reason: String,
    },
    /// The certificate file holds no PEM certificate, or a broken one.
    #[error("{} holds no certificate that can be read; it must hold PEM blocks CERTIFICATE, the server's own first", file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// The key file holds no PEM private key.
    #[error(
        "{} holds no private key that can be read; it must hold a PEM block PRIVATE KEY, RSA PRIVATE KEY or \
         EC PRIVATE KEY without a passphrase", file.display()
    )]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// The key is of a kind that TLS cannot use.
    #[error("the private key in {} cannot be used for TLS; use RSA (2048 bits or more), ECDSA P-256 or P-384, or Ed25519", file.display())]
    UnusableKey {
        /// The file.
        file: PathBuf,
    },
    /// The key belongs to another certificate.
    #[error("the private key in {} does not belong to the first certificate in {}; replace both together", key.display(), cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// Reads certificate and key and makes sure that they belong together.
pub fn load(files: &CertificateFiles) -> Result<CertifiedKey, TlsError> {
    parse(files, &Pair::read(files)?)
}

/// The certificate in use, replaced when its files change.
pub struct ReloadingCertificate {
    files: CertificateFiles,
    current: ArcSwap<Loaded>,
}

struct Loaded {
    key: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
}

/// What a look at the files brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The files are as they were.
    Unchanged,
    /// There is a new certificate; new connections get it.
    Reloaded,
    /// The files changed but cannot be used (yet); the certificate in use stays, and the next look tries again.
    Kept(TlsError),
}

impl ReloadingCertificate {
    /// Loads the first certificate; a server does not start without one.
    pub fn load(files: CertificateFiles) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(Self::read(&files)?);
        Ok(Self { files, current })
    }

    fn read(files: &CertificateFiles) -> Result<Loaded, TlsError> {
        let pair = Pair::read(files)?;
        Ok(Loaded { key: Arc::new(parse(files, &pair)?), fingerprint: pair.fingerprint() })
    }

    /// Looks at the files once. Blocks on the file system.
    ///
    /// What counts is the content: unlike times and inodes it cannot miss a file rewritten in place within the
    /// clock's resolution, and it sees a rename and Kubernetes' swap of a symlinked directory alike. A pair caught
    /// half-written or half-swapped does not fit together, is refused, and is whole at the next look.
    pub fn reload_if_changed(&self) -> Outcome {
        let pair = match Pair::read(&self.files) {
            Ok(pair) => pair,
            Err(error) => return Outcome::Kept(error),
        };
        let fingerprint = pair.fingerprint();
        if fingerprint == self.current.load().fingerprint {
            return Outcome::Unchanged;
        }
        match parse(&self.files, &pair) {
            Ok(key) => {
                self.current.store(Arc::new(Loaded { key: Arc::new(key), fingerprint }));
                Outcome::Reloaded
            }
            Err(error) => Outcome::Kept(error),
        }
    }
}

/// Only the paths: a key must not find its way into a log through `Debug`.
impl fmt::Debug for ReloadingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadingCertificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for ReloadingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().key))
    }
}

/// The configuration of the listener: TLS 1.2 and 1.3, HTTP/1.1, no client certificates.
pub fn server_config(certificate: Arc<ReloadingCertificate>) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("aws-lc-rs has cipher suites for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Follows the files until the task is dropped, and logs each change once.
pub async fn watch(certificate: Arc<ReloadingCertificate>) {
    let mut story = Story::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let looked = Arc::clone(&certificate);
        // A panic in there has been logged by the panic hook; the next look is as good as any.
        let Ok(outcome) = tokio::task::spawn_blocking(move || looked.reload_if_changed()).await else {
            continue;
        };
        let cert = certificate.files.cert.display();
        match story.next(outcome) {
            None => (),
            Some(Event::Reloaded) => tracing::info!(%cert, "the TLS certificate was reloaded"),
            Some(Event::Failed(error)) => {
                tracing::error!(%error, "the new TLS certificate cannot be used; the old one stays in use");
            }
            Some(Event::Restored) => tracing::info!(%cert, "the TLS files are again those in use"),
        }
    }
}

/// Turns outcomes, which repeat with every look, into events, which do not.
#[derive(Default)]
struct Story {
    failing: Option<TlsError>,
    looks_failed: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Reloaded,
    Failed(TlsError),
    Restored,
}

impl Story {
    fn next(&mut self, outcome: Outcome) -> Option<Event> {
        match outcome {
            Outcome::Reloaded => {
                *self = Self::default();
                Some(Event::Reloaded)
            }
            Outcome::Unchanged => {
                let told = std::mem::take(self).looks_failed > 1;
                told.then_some(Event::Restored)
            }
            Outcome::Kept(error) => {
                let same = self.failing.as_ref() == Some(&error);
                self.looks_failed = if same { self.looks_failed.saturating_add(1) } else { 1 };
                self.failing = Some(error.clone());
                // Told at the second look: the first may have caught a pair half-written.
                (self.looks_failed == 2).then_some(Event::Failed(error))
            }
        }
    }
}

/// The bytes of both files.
struct Pair {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

type Fingerprint = [u8; digest::SHA256_OUTPUT_LEN];

impl Pair {
    fn read(files: &CertificateFiles) -> Result<Self, TlsError> {
        let cert = content(&files.cert)?;
        let key = Zeroizing::new(content(&files.key)?);
        Ok(Self { cert, key })
    }

    /// Tells pairs apart without keeping the key's text in memory.
    fn fingerprint(&self) -> Fingerprint {
        let mut context = digest::Context::new(&SHA256);
        context.update(&self.cert.len().to_be_bytes());
        context.update(&self.cert);
        context.update(&self.key);
        let mut fingerprint = [0; digest::SHA256_OUTPUT_LEN];
        fingerprint.copy_from_slice(context.finish().as_ref());
        fingerprint
    }
}

fn content(file: &Path) -> Result<Vec<u8>, TlsError> {
    let refused = |reason: String| TlsError::Unreadable { file: file.to_owned(), reason };
    // One allocation that does not move, so that no copy of a key is left behind unwiped.
    let opened = std::fs::File::open(file).map_err(|error| refused(error.to_string()))?;
    let length = opened.metadata().map_err(|error| refused(error.to_string()))?.len().min(LARGEST_FILE);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1024);
    opened.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| refused(error.to_string()))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(refused("it is larger than 1 MiB".to_owned()));
    }
    Ok(bytes)
}

/// As `CertifiedKey::from_der`, with an error that names the file at fault.
fn parse(files: &CertificateFiles, pair: &Pair) -> Result<CertifiedKey, TlsError> {
    let no_certificate = || TlsError::NoCertificate { file: files.cert.clone() };
    let chain = CertificateDer::pem_slice_iter(&pair.cert)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| no_certificate())?;
    if chain.is_empty() {
        return Err(no_certificate());
    }
    let key =
        PrivateKeyDer::from_pem_slice(&pair.key).map_err(|_| TlsError::NoKey { file: files.key.clone() })?;
    let key =
        sign::any_supported_type(&key).map_err(|_| TlsError::UnusableKey { file: files.key.clone() })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { cert: files.cert.clone(), key: files.key.clone() })
        }
        Err(_) => Err(no_certificate()),
    }
}

#[cfg(test)]
mod tests;
