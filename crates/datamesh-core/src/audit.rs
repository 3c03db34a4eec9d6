//! What an audit asks of a holder, and what the holder answers.
//!
//! An auditor names cells of shards that the holder says it keeps, and draws a nonce. The holder
//! answers each with the cell and its proof, or says that it does not have the shard, and signs the
//! whole together with the nonce: an answer cannot be made before the question, and cannot be
//! denied afterwards.

use crate::id::{Hash, MeshId, NodeId, SegmentId};
use crate::record;
use crate::seam::Signer;
use crate::signature::{Context, PublicKey, Signature, SignatureError};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// Most challenges in one request. Their cells, of 64 KiB at most, fit into the body of a reply.
pub const CHALLENGES_MAX: usize = 32;

/// Most hashes that prove one cell: the height of the tree over the chunks of 1 KiB of the longest
/// shard, twice over.
pub const CELL_PROOF_MAX: usize = 24;

/// Most bytes of cells in the body of a reply.
pub const CELLS_BYTES_MAX: usize = CHALLENGES_MAX * 64 * 1024;

/// BLAKE3 derive-key context of what was asked.
const CHALLENGES_CONTEXT: &str = "datamesh 2026 audit challenges v1";

record! {
    /// One cell of one shard.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Challenge {
        /// The segment.
        pub segment: SegmentId,
        /// Which of its shards.
        pub shard: u8,
        /// Which of the shard's cells.
        pub cell: u32,
    }
}

/// The answer to one challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proved {
    /// The cell is in the body; these are the chaining values of the tree beside it.
    Cell(Vec<Hash>),
    /// The node does not have the shard, or has found it damaged.
    Missing,
    /// The node does not look now: too much is being asked of it.
    Busy,
}

impl Encode for Proved {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Cell(proof) => out.u8(0).list(proof),
            Self::Missing => out.u8(1),
            Self::Busy => out.u8(2),
        };
    }
}

impl Decode for Proved {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match from.u8()? {
            0 => Self::Cell(from.list("proof", CELL_PROOF_MAX)?),
            1 => Self::Missing,
            2 => Self::Busy,
            _ => return Err(WireError::Invalid { field: "audit answer" }),
        })
    }
}

/// What the holder signs: the nonce, what was asked, and everything that it answers.
fn signed_part(
    nonce: &[u8; 32],
    challenges: &[Challenge],
    answers: &[Proved],
    cells: &[u8],
) -> Vec<u8> {
    let mut asked = Writer::new();
    asked.list(challenges);
    let mut out = Writer::new();
    out.raw(nonce)
        .raw(&Hash::derive(CHALLENGES_CONTEXT, &asked.into_vec()).0)
        .list(answers)
        .raw(&Hash::of(cells).0);
    out.into_vec()
}

/// Signs answers as the node that `signer` is. `cells` is the body of the reply.
pub fn sign_answers(
    signer: &dyn Signer,
    mesh: &MeshId,
    nonce: &[u8; 32],
    challenges: &[Challenge],
    answers: &[Proved],
    cells: &[u8],
) -> Signature {
    signer.sign(Context::Audit, mesh, &signed_part(nonce, challenges, answers, cells))
}

/// Checks that `node` gave these answers to these challenges.
///
/// # Errors
/// [`SignatureError`] where it did not.
pub fn verify_answers(
    node: &NodeId,
    mesh: &MeshId,
    nonce: &[u8; 32],
    challenges: &[Challenge],
    (answers, cells, signature): (&[Proved], &[u8], &Signature),
) -> Result<(), SignatureError> {
    let body = signed_part(nonce, challenges, answers, cells);
    PublicKey::from(*node).verify(Context::Audit, mesh, &body, signature)
}
