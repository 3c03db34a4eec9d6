//! Fuzzes the parser `sync` of datamesh-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| datamesh_fuzz::call("sync", bytes));
