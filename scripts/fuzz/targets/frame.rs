//! Texts of a WebSocket client.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| marshal::ws::fuzz::check(bytes));
