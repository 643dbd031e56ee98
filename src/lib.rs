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
//! 3. *Gather*: client_credentials and token exchange, also of API keys, need nothing but memory; a login reads the user
//!    and has the password hashed; a refresh reads the family and the user.
//! 4. *Decide*: [`protocol::grants`] runs oxide-auth's machine (client_credentials, refresh) or ours (password) to
//!    its end in memory; for token exchange, which asks for nothing on its way, a function does. Everything that can be
//!    refused is refused here, before anything is written.
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
//! - **What is ended is revoked.** Every token carries the status index of its session, client or API key; whatever ends
//!   that puts the index into [`storage::revocations`] in the same transaction, and every instance holds them in memory
//!   ([`app::revocations`]). A login that runs beside the end either counts before it or not at all
//!   ([`storage::families::insert`]). No access token outlives its session ([`app::issue`]), no index is had by two.
//! - **No key signs before it was published.** [`protocol::key_schedule`] decides, compare-and-set statements and
//!   unique indexes carry it out, whichever instance does it.
//! - **A change that cannot be audited does not happen.** Use cases commit through [`app::audit`], whose row is the last
//!   statement of the transaction; each row is chained to the one before by a keyed hash ([`app::audit_chain`]).
//! - **Guessing is slow, and locks nobody out.** A guess takes its place in the database before its password is looked
//!   at ([`app::throttle`], [`storage::login_attempts`]), so that neither many connections nor many instances judge more
//!   of them, and runs to its end when its client hangs up ([`app::to_its_end`]). [`protocol::throttle`] counts it by
//!   account and source; where an account has lately logged in from, only its own failures count
//!   ([`storage::known_sources`]).
//! - **A request has one reading.** [`http::framing`] refuses whatever two servers could take for different requests, and
//!   requests of one connection take turns, so that none changes the answer to another.
//! - **No peer keeps us waiting.** Every wait for a head, a body, the taking of an answer and the next request has an end
//!   ([`http::server::Patience`]), and there are fewer connections than file descriptors.
//! - **Secrets are not logged.** They are [`PlainSecret`](model::secret::PlainSecret) (prints its type) until they
//!   are hashed, and no header, query string or body reaches a log line ([`telemetry`]).
//! - **A verdict on a token is never kept.** [`app::access_tokens`] keeps that a text was signed by one of our keys;
//!   whether that key, its session and its client are good, and its time is now, is judged anew each time, from memory.
//! - **Time and randomness have one source each**: [`app::clock`] and [`app::random`]; a lint forbids others.
//!
//! # Known attacks and where they are prevented
//!
//! | attack | prevented by |
//! |---|---|
//! | a replaced refresh token is used (theft, RFC 9700 §4.14.2) | [`Standing::Reused`](protocol::refresh_family::Standing): the family ends, also if the audit fails ([`app::reuse`]) |
//! | a thief with the client's secret lives behind the retry rule | [`STRANGE_RETRIES`](protocol::refresh_family::STRANGE_RETRIES): the third generation in a row with a retry from elsewhere is reuse |
//! | two redeem one token at once, over any number of instances | `where generation = $2` in [`storage::families::rotate`]; one changed row has won |
//! | a crash or an outage between commit and answer | the successor is computed, not stored ([`protocol::refresh_token`]), and may be asked for again |
//! | a token works after its session was revoked | `revoked_at is null` in every statement that gives one out ([`storage::families`]) |
//! | a token of somebody who was switched off is used on, or revived by switching on again | its index stays revoked, a client that was cut off gets another ([`storage::clients::cut_off`]) |
//! | services that check tokens offline take a revoked one | signed lists of what is revoked, new within a second, short-lived ([`app::status_lists`]) |
//! | a validator is kept from newer status lists | a list is good for ten times its `ttl` and no longer ([`protocol::status_list::lifetime`]) |
//! | issuance is watched by the indexes of tokens | a keyed permutation of each list ([`protocol::status_order`]) |
//! | a refresh token is guessed, changed, or made from a stolen database | HMAC under a derived key and a secret of the family, compared in constant time ([`protocol::refresh_token`]) |
//! | passwords are guessed: by many connections, instances or sources, or over many names | a place in the database before the hash ([`storage::login_attempts`]), three counters ([`protocol::throttle`]) |
//! | a leaked token works on, or its session goes on | [`app::revoke_token`], [`app::sessions`]: whatever it stands for ends, and stays revoked |
//! | a victim is locked out by somebody else's guesses | a source that has lately logged in keeps its own count ([`storage::known_sources`]) |
//! | guesses for nothing by hanging up | [`app::to_its_end`] |
//! | a hash from elsewhere is a bomb that goes off at each login | each scheme's cost has a bound, judged before it is stored and before it is computed ([`passwords`]) |
//! | names are found out by status, bytes or time | one sentence and one status ([`protocol::error`]), the same statements and one hash for nobody ([`passwords`]) |
//! | a storm of logins starves everything else | threads of their own at low priority, a bounded queue with a deadline ([`passwords`]) |
//! | a caller chooses the address that it is counted under | only `server.trusted_proxies` are believed ([`http::client_address`]), only trusted clients state one ([`protocol::user_address`]) |
//! | a client secret is guessed by the time its comparison takes | HMAC first, then constant time, the same for unknown clients ([`app::client_secrets`]) |
//! | a client assertion is caught and sent again, also to another instance | its `jti` is used up by one conditional insert, after its signature ([`storage::used_ids`], [`app::authenticate_client`]) |
//! | an assertion for another server is passed on to this one | its audience is this issuer alone ([`protocol::client_assertion`]) |
//! | an assertion that chooses how it is checked: `none`, HS256 with the public key, a key in its header | the registered key alone says the algorithm ([`keys::public_keys`]); two readings of one JSON are refused ([`model::strict_json`]) |
//! | a stolen token of a client that uses DPoP | it is bound to a key: [`app::dpop`] asks for a proof by it, and a bound refresh token is nothing without its key, not even reuse ([`protocol::grants::refresh_token`]) |
//! | a DPoP proof is used again, elsewhere, for another token, or made ahead | [`protocol::dpop`], [`storage::used_ids`], nonces that every instance computes ([`protocol::dpop_nonce`]) |
//! | a forged token: `alg: none`, another key's `kid`, another issuer's | the key alone says the algorithm, every claim is asked for ([`keys::verification`]) |
//! | a token that verifiers do not know the key of | [`signs_from`](protocol::key_schedule::signs_from) and `publish_before` ([`protocol::key_schedule`]) |
//! | two instances rotate keys at once | compare-and-set statements and unique indexes ([`storage::signing_keys`]) |
//! | a parameter is sent twice, or two ways of authentication | [`Params`](protocol::params::Params) and [`Presented`](protocol::client_auth::Presented) refuse them |
//! | tokens are scanned for, or looked into by whom they are not for | [`protocol::introspection`]: callers prove who they are, and hear one and the same of whatever is not theirs |
//! | a refresh token is shown to a resource server in the place of an access token | [`app::introspection`] tells of it to its own client only |
//! | a signed answer of introspection is used as an access token | its `typ`, and what it leaves out ([`SignedAnswer`](protocol::introspection::SignedAnswer)) |
//! | somebody else's session is ended with a token that was found | [`app::revoke`]: own tokens only, refused and not passed over |
//! | a token that is bound to a key is used without it | refused as a bearer token ([`app::userinfo`]) |
//! | a service is made to swap a token that was not meant for it (confused deputy) | [`SubjectToken::is_for`](protocol::subject_token::SubjectToken::is_for), in the sentence that a token of nobody gets ([`protocol::grants::token_exchange`]) |
//! | an exchange widens scope or audience, loses the key of a token | [`protocol::grants::token_exchange`] |
//! | an exchanged token outlives its session or the token that was given for it | its end and its status index are that token's ([`app::issue`]) |
//! | services exchange in circles | [`MOST_ACTORS`](protocol::subject_token::MOST_ACTORS) |
//! | a service logs its callers' users out | no index is its own: [`app::revoke`] refuses what was exchanged |
//! | a service that was cut off goes on with what it got by exchange, or is revived with it | such a token ends with each client that acts with it ([`protocol::token_id`]) |
//! | a stalled disk makes honest retries look like theft | a refresh whose caller has gone away is not written late (`rotations` in [`app`]) |
//! | an API key is guessed, changed, or made from a stolen database | 256 random bits, a keyed hash compared in constant time, the same work for an id of nobody (`known_api_keys` in [`app`]) |
//! | an API key goes on when its user was switched off, lost a role, or its client a scope | judged at each use by what they are now ([`protocol::api_key`]); its index is cut off with theirs ([`app::users`], [`app::clients`]) |
//! | a service uses an API key that it was shown somewhere else | a key has audiences of its own ([`protocol::grants::token_exchange`]); proxies keep it from services (`deploy/forward-auth`) |
//! | a client takes the id of an API key, which tokens name | [`app::clients`] refuses it |
//! | a caller tells the service behind a proxy who they are | the shipped configurations take those headers away, and every answer that lets somebody through sets all of them ([`protocol::verify::TOLD`]) |
//! | a name or a scope that ends a header | percent-encoded ([`protocol::verify::told`]), or refused when it is parsed |
//! | a caller adds to what the proxy asks for | [`Wanted::parse`](protocol::verify::Wanted::parse): nothing is read after `request=`, what is repeated or misspelt lets nobody through |
//! | `/verify` is asked for a wider, longer or unbound token | of the credential's audiences one, its scope, no later end, the same indexes; bound tokens are refused ([`app::verify`]) |
//! | another client's token, more scope, another audience | [`protocol::grants`], before anything is written |
//! | request smuggling: two lengths, a length and chunks, signs and spaces where none belong, a bare line feed | [`http::framing`] refuses the head and the connection ends |
//! | slow heads, slow bodies, readers that never read, more connections than descriptors | [`http::server::Patience`] and the bounds of [`http::server`] |
//! | a body that grows when it is unpacked, or never ends | refused or cut off before it is read ([`http::form`]); no decompressor is in the binary |
//! | a page that people type passwords into runs somebody else's script | `/docs` has all its files from the binary, under a policy without `unsafe-inline` ([`http::views`]) |
//! | escape sequences or new lines in what reaches a log or a terminal | every field is escaped ([`telemetry`]), and what commands print too |
//! | a clock that jumps makes sessions or keys vanish | [`Steadiness`](app::clock::Steadiness) |
//! | commits to a database file that was deleted or exchanged | [`storage::sqlite_file`] |
//! | a stolen database, or a stolen encryption key, alone | [`RootKey`](keys::RootKey): sealed in the one, opened by the other; `key reseal` exchanges the key ([`app::reseal`]) |
//! | history is rewritten by whoever can write the database | the keyed chain of [`app::audit_chain`], and a head noted elsewhere |
//! | other users of the machine, core files | modes are asked for at the start ([`storage::private_file`], [`keys::key_file`]), [`startup::forbid_core_dumps`] |
//! | a stranger moves the clock of a server | `/clock` is there only with [`Clock::Shifted`](app::clock::Clock::Shifted), which `serve` never makes |
//! | a pipeline ends what it does not know of, or switches on again what an incident switched off | [`app::apply`] deletes what was agreed to by name, and turns no switch that the file does not name |
//! | an older binary damages a newer database | [`storage::migrate::current`] refuses before anything is written |
//!
//! # Where the time goes
//!
//! One client_credentials request with ES256 on one core, read from `perf record` with 32 connections beside; the least
//! program that does the same (`cargo bench --bench ceiling`) took 23.5 of these 27.5 microseconds.
//!
//! | part | share | µs |
//! |---|---|---|
//! | the signature, the HMAC of the client secret, hashes (AWS-LC) | 46 % | 12.7 |
//! | the kernel: receiving, sending, writing log lines | 26 % | 7.1 |
//! | the span of the request, its log line, its numbers ([`http::root_span`], [`telemetry`]) | 4 % | 1.2 |
//! | grantd's own, oxide-auth and jsonwebtoken: form, client, grant, claims, answer | 4 % | 1.1 |
//! | actix-http, actix-web and the layers around a request | 4 % | 1.1 |
//! | allocation | 3 % | 0.8 |
//! | copying, comparing and clearing memory | 3 % | 0.8 |
//! | looks at the clock | 1 % | 0.3 |
//! | tokio, base64, JSON, hash tables, locks and the rest | 9 % | 2.4 |
//!
//! What paid, by the share of its ceiling that an operation reached before and after, or as said:
//!
//! - Request ids from a thread's generator instead of a system call each, handles of metrics kept by each thread, no
//!   clearing of a buffer before it is read into, fewer looks at the clock: a token for a fifth less processor time.
//! - Two futures around a request instead of eight layers: 2 % on tokens, 8 % on documents. Documents that are asked for
//!   plainly are answered in front of the routes ([`http::server`]): 21 %. A head is scanned by tables: half of its
//!   instructions. Together: keys and metadata from 0.63 to 0.87, ES256 from 0.66 to 0.74, EdDSA from 0.59 to 0.64.
//! - One commit of SQLite for all who wait ([`storage::group_commit`]): 32 clients refresh 3 times as fast as with a
//!   transaction each, and their p99 is 5 ms instead of 100. One question and one statement for a refresh instead of
//!   two questions and a transaction of three: another third.
//! - Postgres connections that have just worked are lent on without being asked ([`storage::lending`]): with the former,
//!   refreshes from 0.12 to 0.27 of pgbench's updates.
//! - Log lines in batches ([`telemetry`]): the call of `write` for each was 4 % of a token.
//! - A form as one sorted list, a scope as its text, visible ASCII copied into JSON instead of looked at, routes looked for
//!   once, no large future that is moved: of the 52,000 instructions that a token took more than the least program, a
//!   fifth (counted by callgrind).
//! - Readers of SQLite that are lent without two pings around each question ([`storage::readers`]), and refreshes that ask
//!   nothing before their one statement, because this instance remembers what it left ([`app`], `known_families`).
//! - Refreshes that come together in one statement ([`storage::rotations`]): with the line before, 32 clients on SQLite from
//!   8,600 to 12,700 in a second, and on Postgres from 0.27 to 0.71 of pgbench's updates.
//! - What several wait for is written where its caller is, and handed on only if the caller goes away ([`storage::lasting`]):
//!   on two cores a refresh alone on SQLite takes 0.23 ms instead of 0.34, and 32 clients refresh a fifth faster.
//! - `fdatasync` instead of `fsync` in SQLite (`.cargo/config.toml`): a sync right after another, of a file that does not
//!   grow, 95 microseconds instead of 125.
//! - Link-time optimisation over all crates in one unit: tokens a third faster than without it and in 16 units, 5 % faster
//!   than with `lto = "thin"`, keys a tenth and 3 %; the binary has 20.6 MiB instead of 30.6 and 29.2.
//! - mimalloc instead of the allocator of glibc: 4 % on tokens, nothing on keys, as much memory.
//! - Many small parts of a token together, 7,000 of its 220,000 instructions with EdDSA: no timer for a form beside the
//!   connection's, ids drawn many at a time, room of log lines used again, the caller's address written once for a
//!   connection, the header of a key's tokens made once, fewer handles of spans and looks at the clock. EdDSA from 0.76 to
//!   0.80, ES256 from 0.80 to 0.85.
//! - SQLite's thread goes first where it shares a core with a refresh, which is signed while the disk writes: a tenth of a
//!   refresh alone; in a storm of logins as fast as before or faster.
//!
//! What did not: idle scheduling instead of nice 19 for the hashing threads (the same in a storm); huge pages for Argon2 (the
//! same); `panic = "abort"` (1 % on tokens, 3 % on keys, 3 MiB less); a place in the throttle by one statement of SQLite
//! instead of four, and the user read by the statement that notes the login (both together 0.1 ms of a login, and the
//! latter decides after it has written).
//!
//! The bench's load looks for answers all the time. While it slept, the server woke it, which took two or three microseconds
//! of a token, less of the ceiling's, and some sixty of a refresh alone. What stands above of earlier changes was measured
//! so, and cannot be compared with figures of today: the last ones were ES256 0.84, EdDSA 0.72, documents 0.92, one refresh
//! 0.52.
//!
//! What is left: one refresh alone comes to two thirds of a bare update, 0.66 to 0.77 by what the disk does that minute: the
//! request is read and judged before the disk can begin, and its answer is sent after it. A login on an idle server takes
//! between one and two milliseconds more than its hash: some fourteen questions to SQLite, each of which goes to its thread
//! and back and finds caches that the hash has emptied; a sync after a pause, which takes this disk three times as long as
//! one after another; and a hash that is 0.3 ms slower than its repetition. The same is what a core that does nothing but
//! log people in lacks of the bare hashes' rate, a twelfth. Of an EdDSA token 31,000 instructions are more than in the
//! least program, in parts of a hundredth or less each.
//!
//! What stays as it is: `panic = "unwind"`, for a job or a handler that panics takes nothing with it; every commit whose
//! answer somebody gets is synced; constant-time comparisons.
//!
//! # Where a change goes
//!
//! | to add | begin in |
//! |---|---|
//! | a grant type | [`protocol::grants`] and a variant of `TokenRequest`; the compiler names the rest |
//! | a client authentication method | [`protocol::client_auth`] and [`model::client::AuthMethod`] |
//! | a claim | [`protocol::access_token`] |
//! | a signing algorithm | a row in `keys/algorithm.rs` and a variant of [`model::key::SigningAlgorithm`] |
//! | an endpoint | a line in `http/mod.rs`, a file beside it, a use case in [`app`], a function in [`protocol::openapi`] |
//! | a member of a client | [`Registration`](model::client::Registration) and its `members`; flags, files, storage and audit follow the compiler |
//! | a kind of old password hash | `passwords/foreign.rs`, with a vector that its own library made |
//! | a file that users come in by | [`app::import`] |
//! | code for another framework | a file in `templates/snippets`, a line in `cli/snippet.rs` |
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
