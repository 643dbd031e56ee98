//! Hands what libFuzzer makes up to the property of the same name, and knows nothing else.
#![no_main]

#[path = "../properties/jwt_inspection.rs"]
mod jwt_inspection;

libfuzzer_sys::fuzz_target!(|data: &[u8]| jwt_inspection::holds(data));
