//! The trait behind which every operation lives.

use datamesh_core::BoxFuture;
use datamesh_core::stream::{Sink, Source};
use serde::{Deserialize, Serialize};

use crate::benchmark::{BenchmarkReply, BenchmarkRequest};
use crate::collect::{
    CleanupReply, CleanupRequest, PurgeReply, PurgeRequest, UndeleteReply, UndeleteRequest,
};
use crate::error::{ErrorKind, OperationError};
use crate::files::{
    DuplicateRequest, GetReply, GetRequest, InfoReply, InfoRequest, ListReply, ListRequest,
    PlacedReply, PutReply, PutRequest, RemoveReply, RemoveRequest, RenameRequest, VersionsReply,
    VersionsRequest,
};
use crate::find::{
    LabelReply, LabelRequest, PopularReply, PopularRequest, SearchReply, SearchRequest,
};
use crate::internals::{InternalsReply, InternalsRequest};
use crate::keys::{KeysReply, KeysRequest, RekeyReply, RekeyRequest, RotateReply, RotateRequest};
use crate::mesh::{InviteReply, InviteRequest, JoinReply, JoinRequest, PeersReply, PeersRequest};
use crate::optimize::{OptimizeReply, OptimizeRequest};
use crate::pins::{PinReply, PinRequest, PinsReply, PinsRequest};
use crate::progress::EventFn;
use crate::reach::{
    BootstrapReply, BootstrapRequest, DiscoverReply, DiscoverRequest, SecurityReply,
    SecurityRequest, TransportReply, TransportRequest,
};
use crate::repair::{DistributionReply, DistributionRequest, RepairReply, RepairRequest};
use crate::share::{
    RecipientReply, RecipientRequest, ShareReply, ShareRequest, SharesReply, SharesRequest,
    UnshareReply, UnshareRequest,
};
use crate::state::{HealthReply, HealthRequest, StatsReply, StatsRequest};
use crate::ways::{BandwidthReply, BandwidthRequest, NetworkReply, NetworkRequest};

macro_rules! calls {
    ($($(#[$meta:meta])* $method:ident $name:ident($request:ty) -> $reply:ty;)*) => {
        /// An operation that takes a request and gives a reply, and moves no files.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub enum Call { $($(#[$meta])* $name($request),)* }

        /// The reply to a [`Call`] of the same name.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[allow(clippy::large_enum_variant, reason = "one reply exists at a time")]
        pub enum Answer { $($(#[$meta])* $name($reply),)* }

        /// The calls as methods with their own types.
        pub trait OperationsExt: Operations {
            $(
                $(#[$meta])*
                fn $method(
                    &self,
                    request: $request,
                ) -> impl Future<Output = Result<$reply, OperationError>> + Send {
                    async move {
                        match self.call(Call::$name(request)).await? {
                            Answer::$name(reply) => Ok(reply),
                            _ => Err(OperationError::new(
                                ErrorKind::Failed,
                                "the daemon answered another question: is it of the same version?",
                            )),
                        }
                    }
                }
            )*
        }

        impl<T: Operations + ?Sized> OperationsExt for T {}
    };
}

calls! {
    /// Lists files.
    list List(ListRequest) -> ListReply;
    /// Tells everything about one file.
    info Info(InfoRequest) -> InfoReply;
    /// Lists the versions of a path.
    versions Versions(VersionsRequest) -> VersionsReply;
    /// Marks files as deleted.
    remove Remove(RemoveRequest) -> RemoveReply;
    /// Gives files another name too.
    duplicate Duplicate(DuplicateRequest) -> PlacedReply;
    /// Gives a file or folder another name.
    rename Rename(RenameRequest) -> PlacedReply;
    /// Finds files.
    search Search(SearchRequest) -> SearchReply;
    /// Names the files that were fetched most often here.
    popular Popular(PopularRequest) -> PopularReply;
    /// Changes tags and notes.
    label Label(LabelRequest) -> LabelReply;
    /// Pins files, or pins them no longer.
    pin Pin(PinRequest) -> PinReply;
    /// Lists what is pinned.
    pins Pins(PinsRequest) -> PinsReply;
    /// Gives versions of files up.
    purge Purge(PurgeRequest) -> PurgeReply;
    /// Takes a deleted or older version back.
    undelete Undelete(UndeleteRequest) -> UndeleteReply;
    /// Gives back what nothing refers to.
    cleanup Cleanup(CleanupRequest) -> CleanupReply;
    /// Stores things better, or tells what would be worth doing.
    optimize Optimize(OptimizeRequest) -> OptimizeReply;
    /// Shares a file.
    share Share(ShareRequest) -> ShareReply;
    /// Lists shares.
    shares Shares(SharesRequest) -> SharesReply;
    /// Ends shares.
    unshare Unshare(UnshareRequest) -> UnshareReply;
    /// Tells the key by which others share with this account.
    recipient Recipient(RecipientRequest) -> RecipientReply;
    /// Lists the account's devices.
    keys Keys(KeysRequest) -> KeysReply;
    /// Begins a new epoch of the catalog and revokes devices.
    rotate Rotate(RotateRequest) -> RotateReply;
    /// Seals everything anew that was sealed before the newest epoch.
    rekey Rekey(RekeyRequest) -> RekeyReply;
    /// Lists the nodes of the mesh.
    peers Peers(PeersRequest) -> PeersReply;
    /// Makes an invite.
    invite Invite(InviteRequest) -> InviteReply;
    /// Enters a mesh.
    join Join(JoinRequest) -> JoinReply;
    /// Counts.
    stats Stats(StatsRequest) -> StatsReply;
    /// Judges the state of things.
    health Health(HealthRequest) -> HealthReply;
    /// Checks segments and mends those that need it.
    repair Repair(RepairRequest) -> RepairReply;
    /// Tells where shards are.
    distribution Distribution(DistributionRequest) -> DistributionReply;
    /// Tells how the node is connected.
    transport Transport(TransportRequest) -> TransportReply;
    /// Looks for peers.
    discover Discover(DiscoverRequest) -> DiscoverReply;
    /// Shows, changes and tries the list of bootstrap peers.
    bootstrap Bootstrap(BootstrapRequest) -> BootstrapReply;
    /// Asks nodes whom they are connected to.
    network Network(NetworkRequest) -> NetworkReply;
    /// Measures what moves, and the way to a node.
    bandwidth Bandwidth(BandwidthRequest) -> BandwidthReply;
    /// Measures what the machine, its store and the mesh do.
    benchmark Benchmark(BenchmarkRequest) -> BenchmarkReply;
    /// Tells what lies inside.
    internals Internals(InternalsRequest) -> InternalsReply;
    /// Looks over what protects the home.
    security Security(SecurityRequest) -> SecurityReply;
}

/// Everything that can be asked of a node or of a home without a running one.
pub trait Operations: Send + Sync {
    /// Does a call.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, OperationError>>;

    /// Stores the entries of `source`. What the reply lists as stored is durable.
    fn put<'a>(
        &'a self,
        request: PutRequest,
        source: &'a mut dyn Source,
        events: EventFn,
    ) -> BoxFuture<'a, Result<PutReply, OperationError>>;

    /// Fetches files into `sink`.
    fn get<'a>(
        &'a self,
        request: GetRequest,
        sink: &'a mut dyn Sink,
        events: EventFn,
    ) -> BoxFuture<'a, Result<GetReply, OperationError>>;
}
