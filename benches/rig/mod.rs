//! What the benches have in common: a real grantd, neighbours who use it at a fixed rate, and figures.
//!
//! Knows nothing of what the neighbours are to be troubled with.

pub(crate) mod figures;
pub(crate) mod grantd;
pub(crate) mod machine;
pub(crate) mod neighbours;
pub(crate) mod options;
pub(crate) mod timeline;
pub(crate) mod wire;
