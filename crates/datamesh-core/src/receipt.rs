//! A holder's signed statement that it keeps a shard.

use crate::id::{MeshId, NodeId, SegmentId};
use crate::record;
use crate::seam::{Signer, Timestamp};
use crate::signature::{Context, Signature, SignatureError};
use crate::wire::Writer;

record! {
    /// Signed after the shard was synced to disk. A receipt is a hint where to look; readers trust
    /// shards, not receipts.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Receipt {
        /// The segment.
        pub segment: SegmentId,
        /// Which of its shards.
        pub shard: u8,
        /// The holder.
        pub node: NodeId,
        /// The holder's store sequence: a later receipt for the same shard has a higher one.
        pub sequence: u64,
        /// When the shard's lease ends; 0 where leases do not.
        pub expiry: Timestamp,
        /// The node's signature over the fields above.
        pub signature: Signature,
    }
}

impl Receipt {
    /// Signs a receipt as the node that `signer` is.
    pub fn issue(
        signer: &dyn Signer,
        mesh: &MeshId,
        segment: SegmentId,
        shard: u8,
        sequence: u64,
        expiry: Timestamp,
    ) -> Self {
        let node = NodeId(signer.public_key().0);
        let body = Self::signed_part(&segment, shard, &node, sequence, expiry);
        let signature = signer.sign(Context::Receipt, mesh, &body);
        Self { segment, shard, node, sequence, expiry, signature }
    }

    /// The bytes that the node signs.
    pub fn signed_part(
        segment: &SegmentId,
        shard: u8,
        node: &NodeId,
        sequence: u64,
        expiry: Timestamp,
    ) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&segment.0).u8(shard).raw(&node.0).u64(sequence).u64(expiry);
        out.into_vec()
    }

    /// Checks the node's signature.
    ///
    /// # Errors
    /// [`SignatureError`] where the node did not sign this in this mesh.
    pub fn verify(&self, mesh: &MeshId) -> Result<(), SignatureError> {
        let body =
            Self::signed_part(&self.segment, self.shard, &self.node, self.sequence, self.expiry);
        crate::PublicKey::from(self.node).verify(Context::Receipt, mesh, &body, &self.signature)
    }
}
