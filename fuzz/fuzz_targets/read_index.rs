#![no_main]

#[allow(dead_code, reason = "each target uses one of them")]
#[path = "../functions.rs"]
mod functions;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| functions::read_index(bytes));
