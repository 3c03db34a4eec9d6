//! For tests only: the outside world as it fails, from one seed.

#[cfg(feature = "sim")]
pub mod account;
pub mod census;
pub mod disk;
pub mod fixtures;
pub mod namespaces;
pub mod numbers;
pub mod processes;
pub mod random;
#[cfg(feature = "sim")]
pub mod sim;
pub mod wire;

pub use disk::{Crash, FaultyDisk};
pub use random::SeededEntropy;
