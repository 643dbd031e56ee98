//! API keys: secrets that a program sends with every request, in the place of a token. Knows neither who may use one nor
//! what it is worth.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::id::{ClientId, UserId};
use super::resource::Audience;
use super::role::RoleName;
use super::scope::Scope;
use super::secret::{PlainSecret, decode_checked, encode_checked};
use super::status::StatusIndex;
use super::time::Timestamp;
use super::user::Username;

/// The prefix of API keys, and of their ids.
pub const API_KEY_PREFIX: &str = "gak_";

const ID: usize = 12;
const SECRET: usize = 32;
/// The id is a whole number of base64 characters, so that the text of a key begins with that of its id.
const LENGTH: usize = ID + SECRET;

/// Which key it is: `gak_` and 16 characters, with which the key itself begins, so that whoever finds a key can say which.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKeyId([u8; ID]);

/// Why a text is not the id of an API key. It is not repeated: somebody may have given the key itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not the id of an API key: an id is gak_ and 16 characters, copy it from 'grantd apikey list' (a whole key is a secret, which is read from stdin and never from the command line)"
)]
pub struct InvalidApiKeyId;

impl ApiKeyId {
    /// Makes an id of random bytes.
    pub const fn from_random(bytes: [u8; ID]) -> Self {
        Self(bytes)
    }

    /// The same as the id of a client, in tokens that were made from the key without any client. No client has such an id.
    pub fn as_client_id(&self) -> ClientId {
        self.to_string().parse().expect("base64url without padding is a client id")
    }

    /// The key that this `client_id` of a token names, if it names one.
    pub fn of_client_id(id: &ClientId) -> Option<Self> {
        id.as_str().parse().ok()
    }
}

impl FromStr for ApiKeyId {
    type Err = InvalidApiKeyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text.strip_prefix(API_KEY_PREFIX).ok_or(InvalidApiKeyId)?;
        let mut bytes = [0; ID];
        match URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes) {
            Ok(ID) => Ok(Self(bytes)),
            _ => Err(InvalidApiKeyId),
        }
    }
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{API_KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key of this id: `gak_` + base64url(id, 12 bytes | secret, 32 bytes) + checksum.
pub fn api_key(id: ApiKeyId, secret: &[u8; SECRET]) -> PlainSecret {
    let mut body = Zeroizing::new([0; LENGTH]);
    body[..ID].copy_from_slice(&id.0);
    body[ID..].copy_from_slice(secret);
    encode_checked(API_KEY_PREFIX, body.as_slice())
}

/// The id in a text that is formed like a key; whether there is such a key is another question.
pub fn id_in(text: &str) -> Option<ApiKeyId> {
    let body = decode_checked::<LENGTH>(API_KEY_PREFIX, text)?;
    let (id, _) = body.split_first_chunk::<ID>()?;
    Some(ApiKeyId(*id))
}

/// What is stored of a key: HMAC-SHA-256 of the whole text under a key of the server's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ApiKeyHash(pub [u8; 32]);

impl fmt::Debug for ApiKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyHash(..)")
    }
}

/// Whose a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A user's: it stands for them.
    User(UserId),
    /// A client's: it stands for the client by itself.
    Client(ClientId),
}

/// What an operator decided about a key, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whose it is.
    pub owner: Owner,
    /// What it is for, in the operator's words.
    pub name: Option<String>,
    /// The most that it may ever be used for.
    pub scope: Scope,
    /// Where it may be used; empty means the server's default audience.
    pub audience: Vec<Audience>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Which.
    pub id: ApiKeyId,
    /// What an operator decided about it.
    pub terms: Terms,
    /// What is stored of it.
    pub hash: ApiKeyHash,
    /// What the tokens that were made from it carry, to be revoked by. A key whose tokens were revoked gets another one.
    pub status_index: StatusIndex,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is good for nothing any more.
    pub revoked_at: Option<Timestamp>,
}

/// The user of a key, as far as a key asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The name they log in with.
    pub username: Username,
    /// The roles they hold, sorted.
    pub roles: Vec<RoleName>,
    /// Since when they are switched off.
    pub disabled_at: Option<Timestamp>,
}

/// A key with what is to be known of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The key.
    pub key: ApiKey,
    /// Its user; `None` for a client's.
    pub holder: Option<Holder>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_begins_with_its_id_and_any_changed_character_is_seen() {
        let id = ApiKeyId::from_random([251; ID]);
        let key = api_key(id, &[7; SECRET]);
        let text = key.expose();

        assert!(text.starts_with(&id.to_string()), "{text} {id}");
        assert_eq!((text.len(), id.to_string().len()), (69, 20));
        assert_eq!(id_in(text), Some(id));
        for at in 0..text.len() {
            let mut broken = text.to_owned().into_bytes();
            broken[at] = if broken[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(id_in(&String::from_utf8(broken).expect("ascii")), None, "{at}");
        }
    }

    #[test]
    fn an_id_reads_back_also_as_that_of_a_client() {
        for bytes in [[0; ID], [255; ID], [0xfb; ID]] {
            let id = ApiKeyId::from_random(bytes);

            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(ApiKeyId::of_client_id(&id.as_client_id()), Some(id));
        }
        assert_eq!(ApiKeyId::of_client_id(&"gak_app".parse().expect("an id")), None);
    }

    #[test]
    fn what_is_no_id_is_not_repeated() {
        let whole = api_key(ApiKeyId::from_random([1; ID]), &[2; SECRET]);
        for text in [
            whole.expose(),
            "",
            "gak_",
            "gak_AAAAAAAAAAAAAAA",
            "gak_AAAAAAAAAAAAAAA=",
            "AAAAAAAAAAAAAAAA",
            "gak_\u{e4}",
        ] {
            assert_eq!(text.parse::<ApiKeyId>(), Err(InvalidApiKeyId), "{text}");
        }
        assert!(!InvalidApiKeyId.to_string().contains(&whole.expose()[20..]));
    }
}
