//! The owner's side in a simulated mesh: real engine, store and catalog over a simulated network
//! and disk, from one seed.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod admission;
mod audits;
mod batches;
mod chaos;
mod cluster;
mod collection;
mod compression;
mod crash;
mod devices;
mod gossip;
mod heads;
mod known;
mod leases;
mod liars;
mod limits;
mod losses;
mod moved;
mod packs;
mod pins;
mod places;
mod repack;
mod repair;
mod rescheme;
mod resumption;
mod rotation;
mod shares;
mod streams;
