//! Lines of the log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| marshal::event_log::fuzz::check(bytes));
