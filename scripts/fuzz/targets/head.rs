//! Bytes at a door.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| marshal::gate::fuzz::check(bytes));
