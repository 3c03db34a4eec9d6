//! What a node tells of the ways to others: members that it is connected to, and bytes that are sent to
//! measure the way here.

use bytes::Bytes;
use datamesh_core::NodeId;
use datamesh_core::message::{LINKS_MAX, PROBE_BYTES_MAX, Refusal, Reply};

use super::{Answer, Holder, refuse};

impl Holder {
    /// As many bytes as a probe asks for. They are drawn by chance, once for each node: nothing on the way
    /// can make them shorter, and giving them costs nothing but the way.
    pub(super) fn probed(&self, bytes: u32) -> Bytes {
        let probe = self.probe.get_or_init(|| {
            let mut probe = vec![0; PROBE_BYTES_MAX];
            self.engine.entropy.fill(&mut probe);
            Bytes::from(probe)
        });
        probe.slice(..(bytes as usize).min(probe.len()))
    }

    /// The members that this node is connected to, for those who may know the members.
    pub(super) fn links(&self, peer: &NodeId) -> Answer {
        if !self.may_see_members(peer) {
            return refuse(Refusal::NotAdmitted, "say hello first");
        }
        let mut links = self.engine.links();
        let count = u32::try_from(links.len()).unwrap_or(u32::MAX);
        links.truncate(LINKS_MAX);
        Ok((Reply::Links { links, count }, Bytes::new()))
    }
}
