//! Hands what libFuzzer makes up to the property of the same name, and knows nothing else.
#![no_main]

#[path = "../properties/framing.rs"]
mod framing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| framing::holds(data));
