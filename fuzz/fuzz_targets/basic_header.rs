//! Hands what libFuzzer makes up to the property of the same name, and knows nothing else.
#![no_main]

#[path = "../properties/basic_header.rs"]
mod basic_header;

libfuzzer_sys::fuzz_target!(|data: &[u8]| basic_header::holds(data));
