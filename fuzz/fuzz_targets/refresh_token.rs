//! Hands what libFuzzer makes up to the property of the same name, and knows nothing else.
#![no_main]

#[path = "../properties/refresh_token.rs"]
mod refresh_token;

libfuzzer_sys::fuzz_target!(|data: &[u8]| refresh_token::holds(data));
