//! For tests only: the outside world as it fails, from one seed.

pub mod disk;
pub mod random;

pub use disk::FaultyDisk;
pub use random::SeededEntropy;
