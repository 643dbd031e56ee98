//! Hands what libFuzzer makes up to the property of the same name, and knows nothing else.
#![no_main]

#[path = "../properties/names.rs"]
mod names;

libfuzzer_sys::fuzz_target!(|data: &[u8]| names::holds(data));
