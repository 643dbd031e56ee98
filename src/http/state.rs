//! What the handlers share: the app and what never changes while the server runs.

use std::sync::{Arc, OnceLock};

use actix_web::http::header::HeaderValue;
use actix_web::web::Bytes;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::app::App;
use crate::protocol::key_schedule::jwks_max_age;
use crate::protocol::metadata::Metadata;
use crate::protocol::openapi::{Facts, document};

use super::draining::Draining;

/// The handlers' view of the server.
pub struct HttpState {
    pub(super) app: Arc<App>,
    pub(super) draining: Draining,
    /// The metadata document and its entity tag.
    pub(super) metadata: (Bytes, HeaderValue),
    /// How long the keys may be kept.
    pub(super) jwks_cache_control: HeaderValue,
    /// How long a status list may be kept.
    pub(super) status_cache_control: HeaderValue,
    allowed_origins: Vec<String>,
    issuer_path: String,
    /// Whether the interface is described.
    shows_docs: bool,
    /// Its description, made when somebody first asks for it.
    openapi: OnceLock<(Bytes, HeaderValue)>,
}

impl HttpState {
    /// For the app, with the origins whose pages may ask the endpoints.
    pub fn new(app: Arc<App>, issuer_path: &str, allowed_origins: Vec<String>, draining: Draining) -> Self {
        let metadata = Bytes::from(Metadata::new(&app.policy().issuer).to_json());
        let etag = entity_tag(&metadata);
        let max_age = u32::try_from(jwks_max_age(app.policy().publish_before).as_secs()).unwrap_or(0);
        let jwks_cache_control = HeaderValue::from_str(&format!("public, max-age={max_age}"));
        let status_max_age = app.policy().status_ttl.as_secs();
        let status_cache_control = HeaderValue::from_str(&format!("public, max-age={status_max_age}"));
        Self {
            app,
            draining,
            metadata: (metadata, etag),
            jwks_cache_control: jwks_cache_control.expect("words and a number"),
            status_cache_control: status_cache_control.expect("words and a number"),
            allowed_origins,
            issuer_path: issuer_path.to_owned(),
            shows_docs: true,
            openapi: OnceLock::new(),
        }
    }

    /// The same without `/docs` and `/openapi.json`.
    pub fn without_docs(self) -> Self {
        Self { shows_docs: false, ..self }
    }

    pub(super) fn shows_docs(&self) -> bool {
        self.shows_docs
    }

    /// The OpenAPI document and its entity tag.
    pub(super) fn openapi(&self) -> (Bytes, HeaderValue) {
        let make = || {
            let metadata = serde_json::from_slice(&self.metadata.0).expect("it was made as JSON");
            let facts = Facts { metadata: &metadata, version: env!("CARGO_PKG_VERSION") };
            let document = Bytes::from(document(&facts));
            let etag = entity_tag(&document);
            (document, etag)
        };
        self.openapi.get_or_init(make).clone()
    }

    pub(super) fn allowed_origins(&self) -> &[String] {
        &self.allowed_origins
    }

    pub(super) fn issuer_path(&self) -> &str {
        &self.issuer_path
    }

    /// The full address of something below the issuer.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.app.policy().issuer)
    }
}

fn entity_tag(document: &[u8]) -> HeaderValue {
    let digest = digest::digest(&digest::SHA256, document);
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]));
    HeaderValue::from_str(&etag).expect("base64url between quotes")
}
