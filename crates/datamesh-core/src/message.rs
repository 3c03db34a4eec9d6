//! What nodes say to each other: one request, one reply (`docs/specs/protocol.md`).
//!
//! Requests and replies are the heads of [`Message`](crate::Message)s; shard bytes are the bodies.
//! Lists that may outgrow a head are asked for in pages.

use bytes::Bytes;

use crate::advert::Advert;
use crate::audit::{CELLS_BYTES_MAX, CHALLENGES_MAX, Challenge, Proved};
use crate::certificate::{NodeCertificate, OPERATOR_BYTES_MAX};
use crate::descriptor::Descriptor;
use crate::domain::Domain;
use crate::genesis::Genesis;
use crate::grant::{Grant, StoreTicket};
use crate::head::{Head, Pseudonym};
use crate::id::{Hash, LogId, MeshId, NodeId, SegmentId};
use crate::lease::{LeaseAnswer, Listed, Listing, Release, Renewal, SegmentPin};
use crate::receipt::Receipt;
use crate::record;
use crate::seam::{BODY_BYTES_MAX, Timestamp};
use crate::signature::{PublicKey, Signature};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// Most entries of an advert digest in one request.
pub const DIGEST_MAX: usize = 1024;

/// Most adverts in one message: each takes under 3 KiB at its bounds.
pub const ADVERTS_MAX: usize = 20;

/// Most nodes named as wanted in one reply, so that it fits a message's head beside
/// [`ADVERTS_MAX`] adverts; what is left out shows in the next comparison.
pub const WANTED_MAX: usize = 256;

/// Most segments asked about in one request.
pub const SEGMENTS_MAX: usize = 1024;

/// Most hashes of a proof. A range has a tree path at each end, 12 high in a shard of 4 MiB over
/// chunks of 1 KiB.
pub const PROOF_MAX: usize = 64;

/// Longest text of a refusal in bytes.
const DETAIL_BYTES_MAX: usize = 512;

/// Most heads that an asking side says it knows.
pub const HEADS_KNOWN_MAX: usize = 256;

/// Most renewals or releases in one request, and most segments asked about in one for releases.
pub const LEASES_MAX: usize = 256;

/// Most segments of a grant in one reply.
pub const LISTED_MAX: usize = 512;

/// Most bytes of a body of [`Request::Probe`] or of the reply to it.
pub const PROBE_BYTES_MAX: usize = 1024 * 1024;

/// Most links in one reply.
pub const LINKS_MAX: usize = 512;

/// Most bytes of heads in the body of one reply; at least one head fits.
pub const HEADS_BODY_BYTES_MAX: usize = 1024 * 1024;

record! {
    /// A head that the asking side has.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct KnownHead {
        /// The log.
        pub log: LogId,
        /// The head's revision.
        pub revision: u64,
    }
}

record! {
    /// A node and the sequence of the newest advert known of it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct DigestEntry {
        /// The node.
        pub node: NodeId,
        /// Sequence of its newest advert.
        pub sequence: u64,
    }
}

/// A live connection of a node to a member, as the node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The member.
    pub peer: NodeId,
    /// The newest round trip in microseconds; nothing where none was measured.
    pub round_trip_us: Option<u32>,
    /// The connection leads through a relay.
    pub relayed: bool,
}

impl Encode for Link {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.peer.0).flag(self.round_trip_us.is_some());
        out.u32(self.round_trip_us.unwrap_or(0)).flag(self.relayed);
    }
}

impl Decode for Link {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let (peer, measured, time) = (NodeId::decode(from)?, from.flag("round trip")?, from.u32()?);
        if !measured && time != 0 {
            return Err(WireError::Invalid { field: "round trip" });
        }
        let round_trip_us = measured.then_some(time);
        Ok(Self { peer, round_trip_us, relayed: from.flag("relayed")? })
    }
}

record! {
    /// Shards of a segment that are wanted from wherever they lie.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct WantedShards {
        /// The segment.
        pub segment: SegmentId,
        /// Bit i is set for shard i.
        pub shards: u32,
    }
}

/// What a bearer of an invite asks for itself as a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRequest {
    /// Who answers for it.
    pub operator: String,
    /// What it fails together with.
    pub domain: Domain,
    /// Bytes that it offers.
    pub capacity: u64,
}

impl Encode for NodeRequest {
    fn encode(&self, out: &mut Writer) {
        out.text(&self.operator);
        self.domain.encode(out);
        out.u64(self.capacity);
    }
}

impl Decode for NodeRequest {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            operator: from.line("operator", OPERATOR_BYTES_MAX)?,
            domain: Domain::decode(from)?,
            capacity: from.u64()?,
        })
    }
}

/// The use of an invite. Its [`Debug`](std::fmt::Debug) leaves the secret out.
#[derive(Clone, PartialEq, Eq)]
pub struct Redeem {
    /// The ticket's secret.
    pub secret: [u8; 32],
    /// Drawn once by the home that redeems: asking again with the same number is not another use.
    pub redeemer: [u8; 16],
    /// Asks for a certificate for the asking peer.
    pub node: Option<NodeRequest>,
    /// Asks for a grant for this grant key.
    pub account: Option<PublicKey>,
}

impl std::fmt::Debug for Redeem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redeem")
            .field("node", &self.node)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// What part of a shard is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadSpan {
    /// All of it; the receiver checks the root.
    Whole,
    /// Cells `first` up to, not including, `end`, with a proof.
    Cells {
        /// First cell.
        first: u32,
        /// One after the last cell.
        end: u32,
    },
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Introduces the asking side to the mesh; answered by [`Reply::Welcome`].
    Hello {
        /// The mesh that the asking side means.
        mesh: MeshId,
    },
    /// Uses an invite; answered by [`Reply::Redeemed`].
    Redeem(Redeem),
    /// Compares membership views, a page in the order of node ids; answered by
    /// [`Reply::Adverts`].
    Digest {
        /// The page begins after this id; zero begins at the start.
        after: NodeId,
        /// What the asking side knows, in order, at most [`DIGEST_MAX`].
        known: Vec<DigestEntry>,
        /// The asking side knows nothing above its last entry, so the page has no upper end.
        complete: bool,
    },
    /// Hands over adverts, at most [`ADVERTS_MAX`]; answered by [`Reply::Done`].
    Announce(Vec<Advert>),
    /// Stores a shard, whose cells are the message's body; answered by [`Reply::Stored`] once it
    /// is synced.
    Store {
        /// What the shard belongs to.
        descriptor: Descriptor,
        /// Which shard it is.
        shard: u8,
        /// The permission for this segment.
        ticket: StoreTicket,
        /// The permission that the ticket rests on.
        grant: Grant,
        /// The newest renewal of the segment that is known: with it the lease ends when the renewal says,
        /// without it when the ticket says.
        renewal: Option<Renewal>,
    },
    /// Reads a shard; answered by [`Reply::Shard`] with the cells as the body.
    Read {
        /// The segment.
        segment: SegmentId,
        /// Which shard.
        shard: u8,
        /// What part.
        span: ReadSpan,
        /// The reply must bring the descriptor: the asking side does not know it yet.
        describe: bool,
    },
    /// Reads the descriptor of a segment; answered by [`Reply::Described`].
    Describe {
        /// The segment.
        segment: SegmentId,
    },
    /// Asks which shards of each segment the node holds; answered by [`Reply::Holding`].
    Have(Vec<SegmentId>),
    /// Asks for the permission that came with a segment's shards; answered by
    /// [`Reply::Permitted`].
    Permit {
        /// The segment.
        segment: SegmentId,
    },
    /// Stores a shard that a member has rebuilt or copied. As [`Request::Store`], but the end of the
    /// grant does not keep it out.
    Restore {
        /// What the shard belongs to.
        descriptor: Descriptor,
        /// Which shard it is.
        shard: u8,
        /// The permission for this segment.
        ticket: StoreTicket,
        /// The permission that the ticket rests on.
        grant: Grant,
        /// It is moved, and is not wanted where another shard of the segment is.
        alone: bool,
        /// The newest renewal of the segment that is known: with it the lease ends when the renewal says,
        /// without it when the ticket says.
        renewal: Option<Renewal>,
    },
    /// Keeps the head of a log; answered by [`Reply::Done`] once it is synced, or by
    /// [`Reply::HeadKept`] where the node has another of that revision or a later one.
    PutHead(Head),
    /// Reads the heads of an account's logs, in the order of the logs' ids; answered by
    /// [`Reply::Heads`].
    Heads {
        /// The account.
        account: Pseudonym,
        /// Begin behind this log; zeros: at the start.
        after: LogId,
        /// Heads that the asking side has: only newer ones come, at most [`HEADS_KNOWN_MAX`].
        known: Vec<KnownHead>,
    },
    /// Ends leases, at most [`LEASES_MAX`] and one of each segment; answered by [`Reply::Leases`].
    Release(Vec<Release>),
    /// Renews leases, at most [`LEASES_MAX`] and one of each segment; answered by
    /// [`Reply::Leases`].
    Renew(Vec<Renewal>),
    /// Asks for the releases of segments whose leases were ended, at most [`LEASES_MAX`]; answered by
    /// [`Reply::Releases`].
    Releases(Vec<SegmentId>),
    /// Asks what is kept under a grant; answered by [`Reply::Segments`].
    Segments(Listing),
    /// Asks for cells with proofs, at most [`CHALLENGES_MAX`]; answered by [`Reply::Audited`].
    Audit {
        /// Drawn for this request alone.
        nonce: [u8; 32],
        /// What is asked for.
        challenges: Vec<Challenge>,
    },
    /// Tells a holder that a reader found a shard's bytes to be wrong; answered by
    /// [`Reply::Examined`].
    Report {
        /// The segment.
        segment: SegmentId,
        /// Which shard.
        shard: u8,
    },
    /// Asks for shards that nobody else has to be taken out of the trash, where they were put because
    /// they were moved, at most [`LEASES_MAX`]; answered by [`Reply::Holding`] with those of them
    /// that the node holds then.
    TakeBack(Vec<WantedShards>),
    /// Tells how much the owner cares for segments, at most [`LEASES_MAX`] and one of each segment;
    /// answered by [`Reply::Leases`].
    Pin(Vec<SegmentPin>),
    /// Measures the way between two nodes: the body, at most [`PROBE_BYTES_MAX`], says nothing and is
    /// dropped; answered by [`Reply::Probed`] with a body of as many bytes as asked for.
    Probe {
        /// Bytes of the reply's body, at most [`PROBE_BYTES_MAX`].
        reply_bytes: u32,
    },
    /// Asks which members a node is connected to; answered by [`Reply::Links`].
    Links,
}

/// Why a node does not do what it was asked. Numbers are part of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Refusal {
    /// The request could not be read or breaks the protocol's rules.
    Malformed = 1,
    /// The node belongs to another mesh.
    OtherMesh = 2,
    /// Only members may ask this, or the certificate shown does not hold.
    NotAdmitted = 3,
    /// The node does not have what was asked for.
    NotFound = 4,
    /// It has it, but its bytes are damaged.
    Damaged = 5,
    /// The shard does not match its descriptor, or the descriptor its id.
    Mismatch = 6,
    /// The grant or ticket does not permit it.
    NotPermitted = 7,
    /// The grant's bytes on this node are used up.
    GrantUsedUp = 8,
    /// No space left for shards.
    Full = 9,
    /// The store cannot write now; it may still be read.
    ReadOnly = 10,
    /// Too much is being asked at once; try later.
    Busy = 11,
    /// The invite is not known to this node.
    InviteUnknown = 12,
    /// The invite has expired.
    InviteExpired = 13,
    /// The invite has no use left.
    InviteUsedUp = 14,
    /// This node cannot issue certificates or grants.
    NotIssuer = 15,
    /// The node failed on its own side.
    Internal = 16,
}

impl Refusal {
    fn from_number(number: u8) -> Result<Self, WireError> {
        Ok(match number {
            1 => Self::Malformed,
            2 => Self::OtherMesh,
            3 => Self::NotAdmitted,
            4 => Self::NotFound,
            5 => Self::Damaged,
            6 => Self::Mismatch,
            7 => Self::NotPermitted,
            8 => Self::GrantUsedUp,
            9 => Self::Full,
            10 => Self::ReadOnly,
            11 => Self::Busy,
            12 => Self::InviteUnknown,
            13 => Self::InviteExpired,
            14 => Self::InviteUsedUp,
            15 => Self::NotIssuer,
            16 => Self::Internal,
            _ => return Err(WireError::Invalid { field: "refusal" }),
        })
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the request is malformed",
            Self::OtherMesh => "the node belongs to another mesh",
            Self::NotAdmitted => "not admitted to the mesh",
            Self::NotFound => "not held by this node",
            Self::Damaged => "damaged on the node's disk",
            Self::Mismatch => "the bytes do not match their description",
            Self::NotPermitted => "not permitted by the grant",
            Self::GrantUsedUp => "the grant's space on this node is used up",
            Self::Full => "the node is full",
            Self::ReadOnly => "the node's store is read-only",
            Self::Busy => "the node is busy",
            Self::InviteUnknown => "the invite is not known to this node",
            Self::InviteExpired => "the invite has expired",
            Self::InviteUsedUp => "the invite has no use left",
            Self::NotIssuer => "this node cannot issue certificates or grants",
            Self::Internal => "the node failed",
        })
    }
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Hello`].
    Welcome {
        /// The mesh's first record.
        genesis: Genesis,
        /// The node's admission; nothing while it has none.
        certificate: Option<NodeCertificate>,
        /// The node's clock.
        time: Timestamp,
    },
    /// To [`Request::Redeem`].
    Redeemed {
        /// The mesh's first record.
        genesis: Genesis,
        /// The certificate that was asked for.
        certificate: Option<NodeCertificate>,
        /// The grant that was asked for.
        grant: Option<Grant>,
    },
    /// To [`Request::Digest`].
    Adverts {
        /// Adverts that the asking side lacks, at most [`ADVERTS_MAX`].
        fresh: Vec<Advert>,
        /// Nodes whose adverts this side lacks, at most [`WANTED_MAX`].
        wanted: Vec<NodeId>,
        /// More than `fresh` were due: ask again.
        more: bool,
    },
    /// To [`Request::Announce`].
    Done,
    /// To [`Request::Store`]: the shard is on disk.
    Stored(Receipt),
    /// To [`Request::Read`]; the body has the cells.
    Shard {
        /// The segment's descriptor, where it was asked for.
        descriptor: Option<Descriptor>,
        /// Chaining values of the tree beside the cells; empty for a whole shard.
        proof: Vec<Hash>,
    },
    /// To [`Request::Describe`].
    Described(Descriptor),
    /// To [`Request::Have`]: for each segment asked for, in order, a bit for each shard held.
    Holding(Vec<u32>),
    /// To [`Request::Permit`].
    Permitted {
        /// The permission for the segment.
        ticket: StoreTicket,
        /// The permission that the ticket rests on.
        grant: Grant,
        /// The newest renewal of the segment that the node knows.
        renewal: Option<Renewal>,
    },
    /// To [`Request::PutHead`]: the head that the node keeps instead.
    HeadKept(Head),
    /// To [`Request::Heads`]; the body has the heads one behind another, each after its length as a
    /// u32.
    Heads {
        /// There are more behind the last one.
        more: bool,
    },
    /// To [`Request::Release`], [`Request::Renew`] and [`Request::Pin`]: an answer for each, in order, durable.
    Leases(Vec<LeaseAnswer>),
    /// To [`Request::Releases`]: the releases that count at the node, at most [`LEASES_MAX`].
    Releases(Vec<Release>),
    /// To [`Request::Segments`]: the next segments, at most [`LISTED_MAX`].
    Segments {
        /// They, in order.
        listed: Vec<Listed>,
        /// There are more behind the last one.
        more: bool,
    },
    /// To [`Request::Audit`]; the body has the cells, one behind another.
    Audited {
        /// For each challenge, in order.
        answers: Vec<Proved>,
        /// The node's, over nonce, challenges, answers and body ([`crate::audit`]).
        signature: Signature,
    },
    /// To [`Request::Report`]: the node has looked for itself.
    Examined {
        /// The shard is damaged, and no longer held.
        damaged: bool,
    },
    /// To [`Request::Probe`]; the body has the bytes that were asked for.
    Probed,
    /// To [`Request::Links`].
    Links {
        /// Members with a live connection, in the order of their ids, at most [`LINKS_MAX`].
        links: Vec<Link>,
        /// Members with a live connection, those with them that are not listed.
        count: u32,
    },
    /// The request was not done.
    Refused {
        /// Why.
        refusal: Refusal,
        /// More for people; never parsed.
        detail: String,
    },
}

fn encode_option<T: Encode>(value: &Option<T>, out: &mut Writer) {
    out.flag(value.is_some());
    if let Some(value) = value {
        value.encode(out);
    }
}

fn decode_option<T: Decode>(
    field: &'static str,
    from: &mut Reader<'_>,
) -> Result<Option<T>, WireError> {
    if from.flag(field)? { Ok(Some(T::decode(from)?)) } else { Ok(None) }
}

/// Who makes a message keeps to its bounds; one that does not is a mistake of the program, which
/// tests find here and not as a refusal of the other side.
fn head<T: Encode + Decode>(message: &T) -> Bytes {
    let bytes = message.to_bytes();
    debug_assert!(
        crate::wire::decode::<T>(&bytes).is_ok_and(|read| read.to_bytes() == bytes),
        "a message that its receiver cannot read"
    );
    bytes.into()
}

impl Request {
    /// The request as the head of a message.
    pub fn to_head(&self) -> Bytes {
        head(self)
    }

    /// Most bytes that the body of a reply to it may have.
    pub fn reply_max(&self) -> usize {
        match self {
            Self::Read { .. } => BODY_BYTES_MAX,
            Self::Heads { .. } => HEADS_BODY_BYTES_MAX,
            Self::Audit { .. } => CELLS_BYTES_MAX,
            Self::Probe { reply_bytes } => (*reply_bytes as usize).min(PROBE_BYTES_MAX),
            _ => 0,
        }
    }
}

impl Reply {
    /// The reply as the head of a message.
    pub fn to_head(&self) -> Bytes {
        head(self)
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Hello { mesh } => {
                out.u8(1);
                mesh.encode(out);
            }
            Self::Redeem(redeem) => {
                out.u8(2).raw(&redeem.secret).raw(&redeem.redeemer);
                encode_option(&redeem.node, out);
                encode_option(&redeem.account, out);
            }
            Self::Digest { after, known, complete } => {
                out.u8(3).raw(&after.0).list(known).flag(*complete);
            }
            Self::Announce(adverts) => {
                out.u8(4).list(adverts);
            }
            Self::Store { descriptor, shard, ticket, grant, renewal } => {
                out.u8(5);
                descriptor.encode(out);
                out.u8(*shard);
                ticket.encode(out);
                grant.encode(out);
                encode_option(renewal, out);
            }
            Self::Read { segment, shard, span, describe } => {
                out.u8(6).raw(&segment.0).u8(*shard);
                match span {
                    ReadSpan::Whole => out.u8(0),
                    ReadSpan::Cells { first, end } => out.u8(1).u32(*first).u32(*end),
                };
                out.flag(*describe);
            }
            Self::Describe { segment } => {
                out.u8(7).raw(&segment.0);
            }
            Self::Have(segments) => {
                out.u8(8).list(segments);
            }
            Self::Permit { segment } => {
                out.u8(9).raw(&segment.0);
            }
            Self::Restore { descriptor, shard, ticket, grant, alone, renewal } => {
                out.u8(10);
                descriptor.encode(out);
                out.u8(*shard);
                ticket.encode(out);
                grant.encode(out);
                out.flag(*alone);
                encode_option(renewal, out);
            }
            Self::PutHead(head) => {
                out.u8(13);
                head.encode(out);
            }
            Self::Heads { account, after, known } => {
                out.u8(14).raw(&account.0).raw(&after.0).list(known);
            }
            Self::Audit { nonce, challenges } => {
                out.u8(21).raw(nonce).list(challenges);
            }
            Self::Report { segment, shard } => {
                out.u8(22).raw(&segment.0).u8(*shard);
            }
            Self::TakeBack(wanted) => {
                out.u8(23).list(wanted);
            }
            Self::Pin(pins) => {
                out.u8(24).list(pins);
            }
            Self::Probe { reply_bytes } => {
                out.u8(25).u32(*reply_bytes);
            }
            Self::Links => {
                out.u8(26);
            }
            Self::Release(releases) => {
                out.u8(17).list(releases);
            }
            Self::Renew(renewals) => {
                out.u8(18).list(renewals);
            }
            Self::Releases(segments) => {
                out.u8(19).list(segments);
            }
            Self::Segments(listing) => {
                out.u8(20);
                listing.encode(out);
            }
        }
    }
}

impl Decode for Request {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match from.u8()? {
            1 => Self::Hello { mesh: MeshId::decode(from)? },
            2 => Self::Redeem(Redeem {
                secret: from.array()?,
                redeemer: from.array()?,
                node: decode_option("node request", from)?,
                account: decode_option("grant key", from)?,
            }),
            3 => Self::Digest {
                after: NodeId::decode(from)?,
                known: from.list("digest", DIGEST_MAX)?,
                complete: from.flag("complete")?,
            },
            4 => Self::Announce(from.list("adverts", ADVERTS_MAX)?),
            5 => Self::Store {
                descriptor: Descriptor::decode(from)?,
                shard: from.u8()?,
                ticket: StoreTicket::decode(from)?,
                grant: Grant::decode(from)?,
                renewal: decode_option("renewal", from)?,
            },
            6 => Self::Read {
                segment: SegmentId::decode(from)?,
                shard: from.u8()?,
                span: match from.u8()? {
                    0 => ReadSpan::Whole,
                    1 => ReadSpan::Cells { first: from.u32()?, end: from.u32()? },
                    _ => return Err(WireError::Invalid { field: "read span" }),
                },
                describe: from.flag("describe")?,
            },
            7 => Self::Describe { segment: SegmentId::decode(from)? },
            8 => Self::Have(from.list("segments", SEGMENTS_MAX)?),
            9 => Self::Permit { segment: SegmentId::decode(from)? },
            10 => Self::Restore {
                descriptor: Descriptor::decode(from)?,
                shard: from.u8()?,
                ticket: StoreTicket::decode(from)?,
                grant: Grant::decode(from)?,
                alone: from.flag("alone")?,
                renewal: decode_option("renewal", from)?,
            },
            13 => Self::PutHead(Head::decode(from)?),
            14 => Self::Heads {
                account: PublicKey::decode(from)?,
                after: LogId::decode(from)?,
                known: from.list("known heads", HEADS_KNOWN_MAX)?,
            },
            17 => Self::Release(from.list("releases", LEASES_MAX)?),
            18 => Self::Renew(from.list("renewals", LEASES_MAX)?),
            19 => Self::Releases(from.list("segments", LEASES_MAX)?),
            20 => Self::Segments(Listing::decode(from)?),
            21 => Self::Audit {
                nonce: from.array()?,
                challenges: from.list("challenges", CHALLENGES_MAX)?,
            },
            22 => Self::Report { segment: SegmentId::decode(from)?, shard: from.u8()? },
            23 => Self::TakeBack(from.list("wanted shards", LEASES_MAX)?),
            24 => Self::Pin(from.list("pins", LEASES_MAX)?),
            25 => match from.u32()? {
                reply_bytes if reply_bytes as usize <= PROBE_BYTES_MAX => {
                    Self::Probe { reply_bytes }
                }
                _ => return Err(WireError::Invalid { field: "reply bytes" }),
            },
            26 => Self::Links,
            _ => return Err(WireError::Invalid { field: "request" }),
        })
    }
}

impl Encode for Reply {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Welcome { genesis, certificate, time } => {
                out.u8(1);
                genesis.encode(out);
                encode_option(certificate, out);
                out.u64(*time);
            }
            Self::Redeemed { genesis, certificate, grant } => {
                out.u8(2);
                genesis.encode(out);
                encode_option(certificate, out);
                encode_option(grant, out);
            }
            Self::Adverts { fresh, wanted, more } => {
                out.u8(3).list(fresh).list(wanted).flag(*more);
            }
            Self::Done => {
                out.u8(4);
            }
            Self::Stored(receipt) => {
                out.u8(5);
                receipt.encode(out);
            }
            Self::Shard { descriptor, proof } => {
                out.u8(6);
                encode_option(descriptor, out);
                out.list(proof);
            }
            Self::Described(descriptor) => {
                out.u8(7);
                descriptor.encode(out);
            }
            Self::Holding(held) => {
                out.u8(8).list(held);
            }
            Self::Permitted { ticket, grant, renewal } => {
                out.u8(9);
                ticket.encode(out);
                grant.encode(out);
                encode_option(renewal, out);
            }
            Self::HeadKept(head) => {
                out.u8(13);
                head.encode(out);
            }
            Self::Heads { more } => {
                out.u8(14).flag(*more);
            }
            Self::Leases(answers) => {
                out.u8(17).list(answers);
            }
            Self::Releases(releases) => {
                out.u8(19).list(releases);
            }
            Self::Segments { listed, more } => {
                out.u8(20).list(listed).flag(*more);
            }
            Self::Audited { answers, signature } => {
                out.u8(21).list(answers);
                signature.encode(out);
            }
            Self::Examined { damaged } => {
                out.u8(22).flag(*damaged);
            }
            Self::Probed => {
                out.u8(25);
            }
            Self::Links { links, count } => {
                out.u8(26).list(links).u32(*count);
            }
            Self::Refused { refusal, detail } => {
                let mut end = detail.len().min(DETAIL_BYTES_MAX);
                while !detail.is_char_boundary(end) {
                    end -= 1;
                }
                out.u8(255).u8(*refusal as u8).text(&detail[..end]);
            }
        }
    }
}

impl Decode for Reply {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match from.u8()? {
            1 => Self::Welcome {
                genesis: Genesis::decode(from)?,
                certificate: decode_option("certificate", from)?,
                time: from.u64()?,
            },
            2 => Self::Redeemed {
                genesis: Genesis::decode(from)?,
                certificate: decode_option("certificate", from)?,
                grant: decode_option("grant", from)?,
            },
            3 => Self::Adverts {
                fresh: from.list("adverts", ADVERTS_MAX)?,
                wanted: from.list("wanted", WANTED_MAX)?,
                more: from.flag("more")?,
            },
            4 => Self::Done,
            5 => Self::Stored(Receipt::decode(from)?),
            6 => Self::Shard {
                descriptor: decode_option("descriptor", from)?,
                proof: from.list("proof", PROOF_MAX)?,
            },
            7 => Self::Described(Descriptor::decode(from)?),
            8 => Self::Holding(from.list("holding", SEGMENTS_MAX)?),
            9 => Self::Permitted {
                ticket: StoreTicket::decode(from)?,
                grant: Grant::decode(from)?,
                renewal: decode_option("renewal", from)?,
            },
            13 => Self::HeadKept(Head::decode(from)?),
            14 => Self::Heads { more: from.flag("more")? },
            17 => Self::Leases(from.list("lease answers", LEASES_MAX)?),
            19 => Self::Releases(from.list("releases", LEASES_MAX)?),
            20 => Self::Segments {
                listed: from.list("listed", LISTED_MAX)?,
                more: from.flag("more")?,
            },
            21 => Self::Audited {
                answers: from.list("answers", CHALLENGES_MAX)?,
                signature: Signature::decode(from)?,
            },
            22 => Self::Examined { damaged: from.flag("damaged")? },
            25 => Self::Probed,
            26 => Self::Links { links: from.list("links", LINKS_MAX)?, count: from.u32()? },
            255 => Self::Refused {
                refusal: Refusal::from_number(from.u8()?)?,
                detail: from.text("detail", DETAIL_BYTES_MAX)?,
            },
            _ => return Err(WireError::Invalid { field: "reply" }),
        })
    }
}
