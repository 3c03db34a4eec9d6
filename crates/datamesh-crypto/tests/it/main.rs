//! The integration tests of the cryptography.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod age;
mod compress;
mod content;
mod frame;
mod golden;
mod keys;
mod keystore;
mod share;
#[expect(dead_code, reason = "shared with the tests of core, which check more of a record")]
#[path = "../../../datamesh-core/tests/it/vectors.rs"]
mod vectors;

/// Bytes drawn from a counter: the same in every run.
pub(crate) struct Counter(std::sync::Mutex<u64>);

impl Counter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(std::sync::Mutex::new(seed << 32))
    }
}

impl datamesh_core::Entropy for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        let mut count = self.0.lock().unwrap();
        for part in bytes.chunks_mut(32) {
            *count += 1;
            let block = datamesh_core::Hash::of(&count.to_le_bytes());
            part.copy_from_slice(&block.0[..part.len()]);
        }
    }
}
