//! The contract: what a face may ask of a node, and what it is told.
//!
//! Every operation exists once, behind [`Operations`]; the running daemon and a command without one
//! implement the same trait, so nothing can work in one way and not in the other. Field names are
//! a stable contract: `--json` prints these structures.

mod benchmark;
mod collect;
mod error;
mod files;
mod find;
pub mod grammar;
mod internals;
mod keys;
mod leases;
mod mesh;
pub mod moment;
mod operations;
mod optimize;
mod pins;
mod progress;
mod reach;
mod repair;
mod share;
mod source;
mod state;
mod upkeep;
mod ways;

pub use benchmark::{BenchmarkReply, BenchmarkRequest, Figure, FigureGroup, FigureLimit};
pub use collect::{
    CleanupReply, CleanupRequest, DuplicatesReply, LowFile, LowHealthReply, PurgeReply,
    PurgeRequest, ReleaseReply, RepackReply, RewriteReply, UndeleteReply, UndeleteRequest,
};
pub use error::{ErrorKind, OperationError, without_codes};
pub use files::{
    DuplicateRequest, EntryFailure, FileVersion, GetReply, GetRequest, InfoReply, InfoRequest,
    ListEntry, ListReply, ListRequest, PeerFault, PlacedFile, PlacedReply, PutReply, PutRequest,
    RemoveReply, RemoveRequest, RenameRequest, SegmentInfo, ShardInfo, StoredFile, VersionsReply,
    VersionsRequest,
};
pub use find::{
    Filter, LabelReply, LabelRequest, LabelledFile, PopularFile, PopularReply, PopularRequest,
    SearchReply, SearchRequest, Sort,
};
pub use internals::{
    CatalogState, FileBytes, GrantState, InternalsPart, InternalsReply, InternalsRequest,
    JournalState, LogState, StoreState, TransferState,
};
pub use keys::{
    DeviceInfo, EpochInfo, KeysReply, KeysRequest, RekeyReply, RekeyRequest, RotateReply,
    RotateRequest, WordsText,
};
pub use leases::{LeaseEnds, LeaseRun, LeaseState};
pub use mesh::{
    InviteReply, InviteRequest, JoinReply, JoinRequest, PeerInfo, PeerState, PeersReply,
    PeersRequest,
};
pub use operations::{Answer, Call, Operations, OperationsExt};
pub use optimize::{
    Advice, AnalysisReply, CompressReply, CompressRequest, DefragReply, OptimizeReply,
    OptimizeRequest, PacksReply, RebalanceReply, ReschemeReply, ReschemeRequest,
};
pub use pins::{PinReply, PinRequest, PinTerms, PinnedFile, PinnedPath, PinsReply, PinsRequest};
pub use progress::{EventFn, Progress, Totals};
pub use reach::{
    BandwidthLimits, BootstrapPeer, BootstrapReply, BootstrapRequest, BreakerInfo, ConnectionInfo,
    CryptographyUse, DiscoverReply, DiscoverRequest, FoundBy, FoundPeer, KeystoreInfo, LimitInfo,
    NatState, ReachSettings, SecurityReply, SecurityRequest, TrafficStats, TransportReply,
    TransportRequest,
};
pub use repair::{
    DistributionReply, DistributionRequest, DomainShards, DrainState, NodeShards, RepairReply,
    RepairRequest, RepairState, SegmentProblem,
};
pub use share::{
    RecipientReply, RecipientRequest, SecretText, ShareInfo, ShareReply, ShareRequest,
    ShareStanding, ShareTarget, SharesReply, SharesRequest, UnshareReply, UnshareRequest,
};
pub use source::{identity_of, nanoseconds};
pub use state::{
    CatalogStats, Finding, HealthReply, HealthRequest, MeshStats, PeerCounts, Severity, StatsReply,
    StatsRequest, StoreStats,
};
pub use upkeep::{
    AuditHealth, FindingCounts, FlaggedPeer, ScrubHealth, ScrubPass, WorkUnit, WorkerProgress,
    WorkerState, WorkerStats,
};
pub use ways::{
    Asked, BandwidthReply, BandwidthRequest, FlowInfo, NetworkLink, NetworkNode, NetworkReply,
    NetworkRequest, RoundTrips, WayInfo,
};
