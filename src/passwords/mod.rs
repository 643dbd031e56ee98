//! Passwords: how they are prepared, hashed and checked, and how many at a time.
//!
//! Knows nothing of users, databases, HTTP or settings: a password and a stored hash come in, a
//! verdict goes out. Three rules hold in here:
//!
//! - **One way in.** [`PasswordPolicy`] prepares each password by RFC 8265 before anything hashes it,
//!   so that the same password typed on two keyboards is the same bytes.
//! - **One bound.** [`PasswordPool`] hashes on its own few threads at low priority behind a short
//!   queue: a storm of logins is refused, and everything else goes on as if there were none.
//! - **One price.** An unknown user costs the same hash as a known one, so that the time of an answer
//!   does not say who has an account.
//!
//! `policy` judges plain passwords, `stored` reads hashes (those of other systems with `foreign`), `hash`
//! computes them (with `foreign_check`), `threads` is the bounded pool (`ticket` says where each job stands), and `pool` puts them together.

mod foreign;
mod foreign_check;
mod hash;
mod policy;
mod pool;
mod stored;
mod threads;
mod ticket;

pub use foreign::FirebaseConfig;
pub use hash::{CostOutOfBounds, HashFailure, HashParams, unknown_password};
pub use policy::{PasswordPolicy, RefusedPassword};
pub use pool::{PasswordPool, PoolCounts, PoolError, PoolSettings, Verdict};
pub use stored::{StoredHash, UnusableHash, needs_rehash, recognise};
pub use threads::Admission;
