//! Fuzzes the parser `share` of datamesh-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| datamesh_fuzz::call("share", bytes));
