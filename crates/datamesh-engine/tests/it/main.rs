//! The integration tests of the engine's pure parts. Transfers are tested in the simulated mesh of
//! the client.

mod audit;
mod checker;
mod placement;
mod rebalance;
