//! Hands what libFuzzer makes up to the property of the same name, and knows nothing else.
#![no_main]

#[path = "../properties/stored_hash.rs"]
mod stored_hash;

libfuzzer_sys::fuzz_target!(|data: &[u8]| stored_hash::holds(data));
