//! The HTTP door: bytes in, protocol types out, and back.

pub mod client_address;
pub mod pages;
pub mod root_span;
pub mod tls;
