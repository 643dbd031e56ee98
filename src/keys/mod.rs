//! The hands that hold keys: the encryption key, the root key that it opens, and the keys that sign tokens.
//!
//! ```text
//! encryption_key   32 bytes that the operator keeps and may exchange
//! key_file         where those bytes live beside a SQLite database
//! root_key         32 bytes from which every purpose derives its own key
//! sealing          the root key and private signing keys at rest
//! algorithm        one row per signature algorithm
//! provider         the parsed private keys that jsonwebtoken signs with
//! signing          one signing key: make, open, sign
//! jwks             the published half of all keys, rendered once
//! ring             the keys in force, as one immutable value
//! verification     what holds of a token and what does not
//! jws              the compact form, taken apart strictly
//! public_keys      keys of others, to verify by
//! ```
//!
//! Must not know of SQL, HTTP, async, passwords, clocks, or of when a key is rotated: rows, `now` and
//! states are handed in. Nothing here prints or logs, and `Debug` never shows a private half.

mod algorithm;
pub mod encryption_key;
pub mod jwks;
pub mod jws;
pub mod key_file;
mod provider;
pub mod public_keys;
pub mod ring;
pub mod root_key;
pub mod sealing;
pub mod signing;
pub mod verification;

pub use encryption_key::{EncryptionKey, InvalidEncryptionKey};
pub use jwks::JwksDocument;
pub use jws::{CompactJws, NotAJws};
pub use key_file::KeyFileError;
pub use provider::{ForeignProvider, install};
pub use public_keys::{ClientKeys, NotVerified, VerifyingKey};
pub use ring::{KeyRing, PublishedKey};
pub use root_key::{Purpose, RootKey};
pub use sealing::{SealError, Sealer, Unsealable};
pub use signing::{KeyError, SigningKey};
pub use verification::{Check, Expectations, Genuine, Inspection, NotValid, Outcome, Proof};
