//! The data plane: which nodes there are, which of them hold a segment, and how its shards get
//! there and back. Everything here works on ciphertext; no key and no file name can be named.
//!
//! [`Engine`] is what both a node and a client have; [`Holder`] is a node's answer to its peers.

mod ask;
pub mod audit;
mod collect;
mod engine;
mod findings;
mod head_mover;
mod heads;
mod holder;
mod leases;
mod membership;
pub mod placement;
pub mod points;
pub mod repair;
mod report;
mod scores;
pub mod scrub;
mod transfer;
mod view;
mod ways;
mod work;

pub use ask::{AskError, ask};
pub use collect::{CollectError, Collector, CollectorConfig, CollectorState};
pub use engine::{Engine, EngineParts, PeerView};
pub use findings::{Finding, Findings};
pub use head_mover::HeadMover;
pub use heads::{HeadPublished, HeadsRead, quorum};
pub use holder::{Admissions, Holder, RedeemError, Redeemed};
pub use leases::LeaseTold;
pub use placement::Spread;
pub use scores::PeerScore;
pub use transfer::{
    Fault, FaultKind, ReadError, SegmentBytes, SegmentWrite, Urgency, WriteError, WriteOutcome,
};
pub use view::{AdvertError, Member, Standing, View};
pub use ways::{Flow, WayMeasured};
pub use work::{block, step};
