//! The node's key as libp2p wants it, and node ids as peer ids and back.

use datamesh_core::NodeId;
use libp2p::PeerId;
use libp2p::identity::Keypair;
use zeroize::Zeroizing;

use crate::NetworkError;

/// The key pair of the Ed25519 `secret`.
pub(crate) fn keypair(secret: &Zeroizing<[u8; 32]>) -> Result<Keypair, NetworkError> {
    // The callee wipes what it is given, hence the copy.
    let mut copy = Zeroizing::new(**secret);
    Keypair::ed25519_from_bytes(&mut copy[..]).map_err(|_| NetworkError::Key)
}

/// The node behind a peer id; `None` for identities that are not Ed25519.
pub(crate) fn node_id(peer: &PeerId) -> Option<NodeId> {
    NodeId::from_peer_id_bytes(&peer.to_bytes()).ok()
}

/// The peer id of a node; `None` where libp2p refuses the bytes.
pub(crate) fn peer_id(node: &NodeId) -> Option<PeerId> {
    PeerId::from_bytes(&node.peer_id_bytes()).ok()
}
