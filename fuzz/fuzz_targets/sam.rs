#![no_main]

#[path = "../../tests/src/fuzz.rs"]
#[allow(dead_code, reason = "each target runs one of the functions")]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::sam(data));
