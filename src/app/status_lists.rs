//! Signed status lists, built once for every change and otherwise only when their time is half over: what is asked for
//! in between is a clone.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use tokio::sync::Mutex;

use crate::keys::SigningKey;
use crate::model::key::Kid;
use crate::model::status::StatusIndex;
use crate::protocol::access_token::status_list_uri;
use crate::protocol::status_list::{
    STATUS_LIST_TYP, StatusListClaims, StatusListFacts, aggregation, encode, lifetime,
};

use super::App;
use super::revocations::RevokedPlaces;

/// A document as it is served.
#[derive(Debug)]
pub struct StatusDocument {
    /// The signed JWT in compact form, or JSON.
    pub body: Bytes,
    /// A weak entity tag with its quotes (RFC 9110 §8.8.3): signatures of two instances differ, what they sign does not.
    pub etag: Bytes,
}

/// A list as it was last signed.
struct Signed {
    document: Arc<StatusDocument>,
    made_of: MadeOf,
    /// The compressed bits, which need not be compressed again to be signed again.
    lst: Arc<str>,
}

/// What a signed list follows from.
struct MadeOf {
    /// The version of the revoked places.
    revoked: Option<u64>,
    kid: Kid,
    /// The half of a lifetime that it was signed in. Whoever is told in this half that nothing has changed holds a list
    /// that is good for another half.
    half: i64,
}

/// A list as it is to be.
struct Wanted {
    revoked: Option<Arc<RevokedPlaces>>,
    key: Arc<SigningKey>,
    half: i64,
}

impl Wanted {
    fn version(&self) -> Option<u64> {
        self.revoked.as_ref().map(|places| places.version())
    }

    /// Whether it would be made of the same.
    fn is(&self, MadeOf { revoked, kid, half }: &MadeOf) -> bool {
        *half == self.half && *revoked == self.version() && kid == self.key.kid()
    }
}

/// The lists that somebody has asked for, and the document that names them all.
#[derive(Default)]
pub(crate) struct StatusLists {
    signed: ArcSwap<BTreeMap<u32, Arc<Signed>>>,
    named: ArcSwap<Option<(u32, Arc<StatusDocument>)>>,
    /// Held while a list is built, so that it is built once, and no more than one thread at a time does nothing else.
    building: Arc<Mutex<()>>,
}

/// Why a list is not served.
#[derive(Debug, thiserror::Error)]
pub enum NoStatusList {
    /// No token points to it.
    #[error("there is no status list of this number")]
    NoSuchList,
    /// It cannot be signed now.
    #[error("the status list cannot be signed: {0}")]
    Unsigned(String),
}

impl App {
    /// The signed list of this number, built on a thread of its own if it has to be. Reads no database.
    pub async fn status_list(self: &Arc<Self>, list: u32) -> Result<Arc<StatusDocument>, NoStatusList> {
        if let Some(document) = self.status_list_at_hand(list)? {
            return Ok(document);
        }
        // Kept until the list is built, also if nobody waits for it any more.
        let one_at_a_time = Arc::clone(&self.status_lists.building).lock_owned().await;
        let app = Arc::clone(self);
        let built = tokio::task::spawn_blocking(move || {
            let _one_at_a_time = one_at_a_time;
            app.build(list)
        });
        built.await.unwrap_or_else(|error| Err(NoStatusList::Unsigned(error.to_string())))
    }

    /// The signed list of this number, if it need not be built.
    pub fn status_list_at_hand(&self, list: u32) -> Result<Option<Arc<StatusDocument>>, NoStatusList> {
        Ok(self.built(list, &self.wanted(list)?))
    }

    fn built(&self, list: u32, wanted: &Wanted) -> Option<Arc<StatusDocument>> {
        let signed = self.status_lists.signed.load();
        let signed = signed.get(&list).filter(|signed| wanted.is(&signed.made_of));
        signed.map(|signed| Arc::clone(&signed.document))
    }

    fn wanted(&self, list: u32) -> Result<Wanted, NoStatusList> {
        // One more than there are: another instance may have handed out its first index a moment ago.
        if list > self.newest_status_list() + 1 {
            return Err(NoStatusList::NoSuchList);
        }
        let missing = || NoStatusList::Unsigned(format!("no active {} key yet", self.policy.algorithm));
        let key = self.signer(self.policy.algorithm).ok_or_else(missing)?;
        let revoked = self.revocations.load().of_list(list).cloned();
        let half = self.clock.now().as_secs() / (lifetime(self.policy.status_ttl).as_secs() / 2).max(1);
        Ok(Wanted { revoked, key, half })
    }

    /// The names of all lists that tokens point to: the status list aggregation.
    pub fn status_list_aggregation(&self) -> Arc<StatusDocument> {
        let newest = self.newest_status_list();
        if let Some((named, document)) = &**self.status_lists.named.load()
            && *named == newest
        {
            return Arc::clone(document);
        }
        let uris: Vec<_> = (0..=newest).map(|list| status_list_uri(&self.policy.issuer, list)).collect();
        let body = aggregation(uris.iter().map(String::as_str));
        let etag = tag(&[&body]).into();
        let document = Arc::new(StatusDocument { body: body.into(), etag });
        self.status_lists.named.store(Arc::new(Some((newest, Arc::clone(&document)))));
        document
    }

    /// The list that the newest index is in, as far as this instance has heard.
    fn newest_status_list(&self) -> u32 {
        let handed_out = u64::try_from(self.directory.load().revisions.status_indexes).unwrap_or(0);
        StatusIndex::new(handed_out.saturating_sub(1)).map_or(0, StatusIndex::list)
    }

    /// What there is now, which somebody else may have built meanwhile. Computes for some milliseconds.
    fn build(&self, list: u32) -> Result<Arc<StatusDocument>, NoStatusList> {
        let wanted = self.wanted(list)?;
        if let Some(document) = self.built(list, &wanted) {
            return Ok(document);
        }

        let made_of = MadeOf { revoked: wanted.version(), kid: wanted.key.kid().clone(), half: wanted.half };
        let Wanted { revoked, key, .. } = wanted;
        let known = self.status_lists.signed.load().get(&list).cloned();
        let lst = match known.filter(|signed| signed.made_of.revoked == made_of.revoked) {
            Some(signed) => Arc::clone(&signed.lst),
            None => encode(revoked.iter().flat_map(|places| places.places())).into(),
        };
        let uri = status_list_uri(&self.policy.issuer, list);
        let claims = StatusListClaims::new(&StatusListFacts {
            issuer: &self.policy.issuer,
            uri: &uri,
            issued_at: self.clock.now(),
            ttl: self.policy.status_ttl,
            lst: &lst,
        });
        let jwt =
            key.sign(STATUS_LIST_TYP, &claims).map_err(|error| NoStatusList::Unsigned(error.to_string()))?;
        let etag = tag(&[
            uri.as_bytes(),
            lst.as_bytes(),
            key.kid().as_str().as_bytes(),
            &made_of.half.to_be_bytes(),
        ]);
        let document = Arc::new(StatusDocument { body: jwt.into(), etag: etag.into() });

        let mut signed = (**self.status_lists.signed.load()).clone();
        signed.insert(list, Arc::new(Signed { document: Arc::clone(&document), made_of, lst }));
        self.status_lists.signed.store(Arc::new(signed));
        Ok(document)
    }
}

fn tag(parts: &[&[u8]]) -> String {
    let digest = digest(&SHA256, &parts.join(&0));
    format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]))
}
