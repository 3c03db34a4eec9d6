//! Fuzzes the parser `peer_book` of datamesh-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| datamesh_fuzz::call("peer_book", bytes));
