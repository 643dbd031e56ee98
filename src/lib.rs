//! grantd: a standalone OAuth 2.0 authorization server in one binary. This page is the map of its code.
//!
//! # Bird's-eye view
//!
//! A client sends credentials to `POST /token` and gets an access token, a JWT by RFC 9068, which other services
//! check by themselves against `/.well-known/jwks.json`. Clients, users, roles, signing keys and refresh-token
//! families live in SQLite or Postgres; the admin commands work on the database directly, and every running server
//! obeys a change within a second.
//!
//! # The rooms
//!
//! Nouns and rules are pure, hands touch the world, doors translate. Imports go down only; rooms on one floor do not
//! see each other, except that [`app`] is the one place where rules meet hands. A test reads the imports and keeps
//! this true.
//!
//! | floor | room | holds |
//! |---|---|---|
//! | 3 | [`http`], [`cli`] | doors: bytes and arguments into the same use cases |
//! | 2 | [`app`] | use cases: gather, decide, persist |
//! | 1 | [`protocol`] | rules: what OAuth 2.0 says; pure, `now` and randomness are arguments |
//! | 1 | [`storage`] | hands: SQL, one text for both databases |
//! | 1 | [`keys`] | hands: key ring, signing, sealing, the JWKS |
//! | 1 | [`passwords`] | hands: Argon2id on threads of its own, password policy |
//! | 0 | [`model`] | nouns: parsed once, right from then on |
//!
//! Beside them stand [`settings`] (files, environment and flags into typed values), [`telemetry`] (logs and metrics)
//! and [`startup`] (settings into an app into a server).
//!
//! # The walk of `POST /token`
//!
//! 1. [`http`]: the body is judged before it is read (type, coding, 16 KiB, 5 s) and parsed into
//!    [`Params`](protocol::params::Params), the Authorization header into
//!    [`Presented`](protocol::client_auth::Presented).
//! 2. [`app::exchange`]: the client proves who it is ([`app::authenticate_client`], the only file that can make an
//!    [`AuthenticatedClient`](app::authenticate_client::AuthenticatedClient)); the request is parsed into a
//!    [`TokenRequest`](protocol::token_request::TokenRequest) and the grant must be the client's.
//! 3. *Gather*: client_credentials needs nothing but memory; a login reads the user and has the password hashed; a
//!    refresh reads the family and the user.
//! 4. *Decide*: [`protocol::grants`] runs oxide-auth's machine (client_credentials, refresh) or ours (password) to
//!    its end in memory. Everything that can be refused is refused here, before anything is written.
//! 5. *Persist*: one transaction, in which one conditional statement decides every race.
//! 6. The token is signed with a key that was parsed once, and the answer written.
//!
//! # Invariants, and what keeps them
//!
//! - **One live refresh token per family.** [`storage::families::rotate`] is one conditional update; the number of
//!   changed rows says who won. Losers read what was decided and get the same successor.
//! - **A received refresh token is never lost.** Tokens are computed from the family ([`protocol::refresh_token`]), so
//!   an answer that was lost can be given again; [`protocol::refresh_family`] says to whom and for how long.
//! - **A refused request consumes nothing.** Step 4 is before step 5, and pure.
//! - **An outage is never called the client's fault.** [`storage::StorageError`] tells it from a mistake by the
//!   database's own code, and [`protocol::error`] answers 503. What is committed to a file that is gone is not
//!   committed ([`storage::sqlite_file`]); an unanswered commit is met by the retry rule.
//! - **A clock that jumped deletes nothing**: [`app::clock::Steadiness`] says when its time can be believed.
//! - **A stolen database forges nothing.** Client secrets are keyed hashes, private keys are sealed, refresh tokens
//!   need a key of the server's, which is not in the database ([`keys::encryption_key`]).
//! - **No key signs before it was published.** [`protocol::key_schedule`] decides, compare-and-set statements and
//!   unique indexes carry it out, whichever instance does it.
//! - **A change that cannot be audited does not happen.** Use cases commit through [`app::audit`], whose row is the last
//!   statement of the transaction; each row is chained to the one before by a keyed hash ([`app::audit_chain`]).
//! - **Guessing is slow, and locks nobody out.** A guess takes its place in the database before its password is looked
//!   at ([`app::throttle`], [`storage::login_attempts`]), so that neither many connections nor many instances judge more
//!   of them, and runs to its end when its client hangs up ([`app::to_its_end`]). [`protocol::throttle`] counts it by
//!   account and source; where an account has lately logged in from, only its own failures count
//!   ([`storage::known_sources`]).
//! - **Secrets are not logged.** They are [`PlainSecret`](model::secret::PlainSecret) (prints its type) until they
//!   are hashed, and no header, query string or body reaches a log line ([`telemetry`]).
//! - **Time and randomness have one source each**: [`app::clock`] and [`app::random`]; a lint forbids others.
//!
//! # Where a change goes
//!
//! | to add | begin in |
//! |---|---|
//! | a grant type | [`protocol::grants`] and a variant of `TokenRequest`; the compiler names the rest |
//! | a client authentication method | [`protocol::client_auth`] and [`model::client::AuthMethod`] |
//! | a claim | [`protocol::access_token`] |
//! | a signing algorithm | a row in `keys/algorithm.rs` and a variant of [`model::key::SigningAlgorithm`] |
//! | an endpoint | a line in `http/mod.rs`, a file beside it, a use case in [`app`] |
//! | a setting | [`settings`] and a line in `config/default.toml` |
//! | an error | a variant in [`protocol::error`], whose one `match` gives code, status and sentence |
//! | an act under audit | a variant of [`Act`](model::audit::Act), given to `commit` ([`app::audit`]) |
//! | a table | a migration of the same name in both folders, a file in [`storage`], a line in the conformance suite |

pub mod app;
pub mod cli;
pub mod http;
pub mod keys;
pub mod model;
pub mod passwords;
pub mod protocol;
pub mod settings;
pub mod startup;
pub mod storage;
pub mod telemetry;
