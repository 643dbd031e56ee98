//! The hands that hold keys: the one encryption key, what it seals, and the keys that sign tokens.
//!
//! ```text
//! encryption_key   32 bytes from which every purpose derives its own key
//! key_file         where those bytes live beside a SQLite database
//! sealing          private signing keys at rest
//! algorithm        one row per signature algorithm
//! provider         the parsed private keys that jsonwebtoken signs with
//! signing          one signing key: make, open, sign
//! jwks             the published half of all keys, rendered once
//! ring             the keys in force, as one immutable value
//! verification     what holds of a token and what does not
//! ```
//!
//! Must not know of SQL, HTTP, async, passwords, clocks, or of when a key is rotated: rows, `now` and
//! states are handed in. Nothing here prints or logs, and `Debug` never shows a private half.

mod algorithm;
pub mod encryption_key;
pub mod jwks;
pub mod key_file;
mod provider;
pub mod ring;
pub mod sealing;
pub mod signing;
pub mod verification;

pub use encryption_key::{EncryptionKey, InvalidEncryptionKey, Purpose};
pub use jwks::JwksDocument;
pub use key_file::KeyFileError;
pub use provider::{ForeignProvider, install};
pub use ring::KeyRing;
pub use sealing::{Sealer, Unsealable};
pub use signing::{KeyError, SigningKey};
pub use verification::{Check, Expectations, Inspection, NotValid, Outcome};
