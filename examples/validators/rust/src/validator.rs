//! Whether a token is one of this grantd, for this service, and not revoked: RFC 9068 §4, and the Token Status List.
//!
//! It asks grantd nothing for a request: metadata, keys and status lists are [`Shared`] by all requests and kept as long
//! as grantd says. Must not know of HTTP servers. The steps have the numbers of ../../README.md.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, get_current_timestamp};
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_slice, from_value};

use crate::extractor::Token;
use crate::shared::{Fault, Fetched, Shared, Unavailable};

// RFC 8725 §3.1: signatures by keys that stay with the issuer, and nothing else; each key names its own.
const ALGORITHMS: [&str; 5] = ["ES256", "ES384", "RS256", "PS256", "EdDSA"];
const LEEWAY: u64 = 5; // seconds that the clocks may differ
const TIMEOUT: Duration = Duration::from_secs(3); // that a document may take
const STALE_KEYS: u64 = 3600; // seconds beyond their max-age that keys are good for, if no newer ones can be had
const LARGEST_LIST: usize = 1 << 20; // bytes of a status list when it is unpacked; grantd's have 1 << 17
const FOREVER: u64 = 10 * 365 * 24 * 3600; // seconds

type StatusList = (u64, Vec<u8>); // how many bits a token has, and all bits
type Keys = HashMap<String, (Algorithm, DecodingKey)>; // by their kid

/// Takes tokens of `issuer` for `audience`. Where no status list can be had, `fail_open` takes what may be revoked.
pub struct Validator {
    issuer: String,
    pub audience: String,
    fail_open: bool,
    http: reqwest::Client,
    jwks_uri: Shared<String>,
    keys: Shared<Keys>,
    lists: Mutex<HashMap<String, Arc<Shared<StatusList>>>>,
}

impl Validator {
    pub fn new(issuer: &str, audience: &str, fail_open: bool) -> Self {
        let here = ["https://", "http://127.0.0.1", "http://localhost", "http://[::1]"];
        let is_safe = here.iter().any(|here| issuer.starts_with(here));
        assert!(is_safe, "the issuer must be https, except on this machine");
        // A redirect would lead to addresses of somebody else's choice.
        let http = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        let http = http.build().expect("a TLS library");
        let (jwks_uri, keys, lists) = Default::default();
        Self { issuer: issuer.into(), audience: audience.into(), fail_open, http, jwks_uri, keys, lists }
    }

    /// The claims of a good token.
    pub async fn check(&self, token: &str) -> Result<Token, Fault> {
        let (required, audience) = (["iss", "exp", "aud", "sub"], Some(&self.audience));
        let mut token: Token = self.verify(token, "at+jwt", &required, audience).await?;
        if token.iat > get_current_timestamp() + LEEWAY {
            return Err("it was issued in the future".into());
        }
        // Step 7. RFC 9449 §7.2: bound to a key; who presents it as a bearer token may be a thief.
        if token.cnf.is_some() {
            return Err("it is bound to a key, and this service checks no proofs".into());
        }
        if let Some(status) = &token.status {
            self.check_status(&status["status_list"]).await?;
        }
        token.realm.clone_from(&self.audience);
        Ok(token)
    }

    /// Steps 3 to 6: signature, type and claims of a JWT of this issuer.
    async fn verify<C: DeserializeOwned>(
        &self,
        jwt: &str,
        typ: &str,
        required: &[&str],
        audience: Option<&String>,
    ) -> Result<C, Fault> {
        let header = decode_header(jwt)?;
        let sent = header.typ.unwrap_or_default().to_ascii_lowercase();
        if sent.strip_prefix("application/").unwrap_or(&sent) != typ || header.crit.is_some() {
            return Err(format!("its typ is {sent:?}, or it asks for an extension").into());
        }
        let kid = header.kid.unwrap_or_default();
        let keys = self.keys.get(|keys| !keys.contains_key(&kid), async || self.fetch_keys().await).await?;
        let (algorithm, key) = keys.get(&kid).ok_or_else(|| format!("no key {kid:?} is known"))?;
        let mut rules = Validation::new(*algorithm);
        (rules.leeway, rules.validate_nbf, rules.validate_aud) = (LEEWAY, true, audience.is_some());
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(audience.as_slice());
        rules.set_required_spec_claims(required);
        Ok(decode(jwt, key, &rules)?.claims)
    }

    /// Steps 8 to 11.
    async fn check_status(&self, at: &Value) -> Result<(), Fault> {
        let (Some(idx), Some(uri)) = (at["idx"].as_u64(), at["uri"].as_str()) else {
            return Err("its status is of no kind that this service knows".into());
        };
        if !uri.strip_prefix(&self.issuer).is_some_and(|path| path.starts_with('/')) {
            return Err("its status is at no address of the issuer".into());
        }
        let list = self.lists.lock().expect("nobody panics with it").entry(uri.into()).or_default().clone();
        let list = match list.get(|_| false, async || self.fetch_list(uri).await).await {
            Err(Unavailable) if self.fail_open => return Ok(()),
            list => list?,
        };
        let (bits, packed) = &*list;
        let first = idx.saturating_mul(*bits); // the first is in the least significant bits of the first byte
        match packed.get(usize::try_from(first / 8)?) {
            Some(byte) if u64::from(*byte) >> (first % 8) & ((1 << *bits) - 1) == 0 => Ok(()),
            _ => Err("it is revoked".into()),
        }
    }

    async fn fetch(&self, url: &str, accept: &str) -> Result<(Vec<u8>, u64, Option<u64>), Fault> {
        let response = self.http.get(url).header("accept", accept).send().await?;
        if response.status() != 200 {
            return Err(format!("{url} answers {}", response.status()).into());
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let max_age = header("cache-control").split([',', ' ']).find_map(|part| part.strip_prefix("max-age="));
        // How long a cache on the way has kept it already.
        let (age, max_age) = (header("age").parse().unwrap_or(0), max_age.and_then(|age| age.parse().ok()));
        Ok((response.bytes().await?.into(), age, max_age))
    }

    /// Step 1. RFC 8414 §3.1: the well-known path stands between host and path of the issuer.
    async fn fetch_jwks_uri(&self) -> Fetched<String> {
        let mut url = reqwest::Url::parse(&self.issuer)?;
        url.set_path(&format!("/.well-known/oauth-authorization-server{}", url.path().trim_end_matches('/')));
        let metadata: Value = from_slice(&self.fetch(url.as_str(), "application/json").await?.0)?;
        let jwks_uri = metadata["jwks_uri"].as_str().unwrap_or_default();
        let is_safe = jwks_uri.starts_with("https://") || jwks_uri.starts_with(&format!("{}/", self.issuer));
        if metadata["issuer"] != *self.issuer || !is_safe {
            return Err(format!("the metadata is that of {}, with keys at {jwks_uri}", metadata["issuer"]).into());
        }
        Ok((jwks_uri.into(), FOREVER, FOREVER))
    }

    /// Step 2.
    async fn fetch_keys(&self) -> Fetched<Keys> {
        let uri = self.jwks_uri.get(|_| false, async || self.fetch_jwks_uri().await).await?;
        let (body, age, max_age) = self.fetch(&uri, "application/json").await?;
        let fresh = max_age.unwrap_or(60).saturating_sub(age).clamp(1, FOREVER);
        let mut set: HashMap<String, Vec<Value>> = from_slice(&body)?;
        let keys = set.remove("keys").unwrap_or_default().into_iter().filter_map(|key| {
            let algorithm = ALGORITHMS.into_iter().find(|algorithm| key["alg"] == *algorithm)?.parse().ok()?;
            Some((key["kid"].as_str()?.to_owned(), (algorithm, DecodingKey::from_jwk(&from_value(key).ok()?).ok()?)))
        });
        Ok((keys.collect(), fresh, fresh + STALE_KEYS))
    }

    /// Steps 9 and 10.
    async fn fetch_list(&self, uri: &str) -> Fetched<StatusList> {
        let (body, age, _) = self.fetch(uri, "application/statuslist+jwt").await?;
        let claims: Value = self.verify(str::from_utf8(&body)?, "statuslist+jwt", &["iss", "sub", "exp"], None).await?;
        let list = &claims["status_list"];
        let (Some(bits @ (1 | 2 | 4 | 8)), Some(lst)) = (list["bits"].as_u64(), list["lst"].as_str()) else {
            return Err("it is no list".into());
        };
        if claims["sub"] != *uri {
            return Err(format!("it is the list of {}", claims["sub"]).into());
        }
        let unpacked = decompress_to_vec_zlib_with_limit(&URL_SAFE_NO_PAD.decode(lst)?, LARGEST_LIST);
        let fresh = claims["ttl"].as_u64().unwrap_or(60).saturating_sub(age).clamp(1, FOREVER);
        let good = (claims["exp"].as_u64().unwrap_or(0) + LEEWAY).saturating_sub(get_current_timestamp());
        Ok(((bits, unpacked.map_err(|error| error.to_string())?), fresh, good.clamp(fresh, FOREVER)))
    }
}
