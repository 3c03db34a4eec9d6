//! Asking one node for cells, and checking what it answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_codec::proof;
use datamesh_core::audit::{CHALLENGES_MAX, Challenge, Proved, verify_answers};
use datamesh_core::message::{Reply, Request};
use datamesh_core::{Descriptor, MeshId, NodeId, Signature, seam};

use super::outcome::Outcome;
use crate::ask::ask;
use crate::engine::Engine;
use crate::work::block;

/// How long a node may take for one batch: it reads whole shards to prove a cell of each.
const DEADLINE: Duration = Duration::from_secs(20);

/// A shard that a node claims to hold, and what it is to prove.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) descriptor: Arc<Descriptor>,
    pub(super) challenge: Challenge,
}

impl Claim {
    /// Challenges a shard with a cell that nobody can foresee.
    pub(super) fn draw(engine: &Engine, descriptor: Arc<Descriptor>, shard: u8) -> Self {
        let draw = u64::from_le_bytes(seam::random(&*engine.entropy));
        let cell = (draw % descriptor.rows().max(1) as u64) as u32;
        let challenge = Challenge { segment: descriptor.id(), shard, cell };
        Self { descriptor, challenge }
    }

    /// Bytes that the node reads for it.
    pub(super) fn cost(&self) -> u64 {
        self.descriptor.shard_length() as u64
    }

    fn proved(&self, cell: &[u8], hashes: &[datamesh_core::Hash]) -> bool {
        let Some(root) = self.descriptor.roots.get(usize::from(self.challenge.shard)) else {
            return false;
        };
        let size = self.descriptor.cell as usize;
        let from = self.challenge.cell as usize * size;
        proof::verify(root, self.descriptor.shard_length(), from..from + size, cell, hashes)
    }
}

impl Engine {
    /// Challenges one node with at most [`CHALLENGES_MAX`] claims; an outcome for each, in order.
    pub(super) async fn challenge(&self, node: NodeId, claims: &[Claim]) -> Vec<Outcome> {
        debug_assert!(claims.len() <= CHALLENGES_MAX, "a node is asked too much at once");
        let nonce: [u8; 32] = seam::random(&*self.entropy);
        let challenges: Vec<Challenge> = claims.iter().map(|claim| claim.challenge).collect();
        let request = Request::Audit { nonce, challenges };
        let answer = ask(&*self.transport, node, &request, Bytes::new(), DEADLINE).await;
        let all = |outcome| vec![outcome; claims.len()];
        let (answers, signature, body) = match answer {
            Ok((Reply::Audited { answers, signature }, body)) => (answers, signature, body),
            Ok(_) => return all(Outcome::Corrupt),
            Err(error) => {
                if error.is_absence() {
                    self.note_answer(&node, true);
                }
                return all(Outcome::of(&error));
            }
        };
        self.note_answer(&node, false);
        let (mesh, claims) = (self.mesh(), claims.to_vec());
        let count = claims.len();
        let checked = block(&*self.executor, move || {
            check(&node, &mesh, &nonce, &claims, &answers, &body, &signature)
        });
        // Shutting down: nothing was learnt.
        checked.await.unwrap_or_else(|| vec![Outcome::Busy; count])
    }
}

/// Judges the answers to claims. Pure.
fn check(
    node: &NodeId,
    mesh: &MeshId,
    nonce: &[u8; 32],
    claims: &[Claim],
    answers: &[Proved],
    body: &[u8],
    signature: &Signature,
) -> Vec<Outcome> {
    let challenges: Vec<Challenge> = claims.iter().map(|claim| claim.challenge).collect();
    let said = (answers, body, signature);
    if answers.len() != claims.len()
        || verify_answers(node, mesh, nonce, &challenges, said).is_err()
    {
        return vec![Outcome::Corrupt; claims.len()];
    }
    let mut rest = body;
    let mut outcomes: Vec<Outcome> = claims
        .iter()
        .zip(answers)
        .map(|(claim, answer)| match answer {
            Proved::Missing => Outcome::Missing,
            Proved::Busy => Outcome::Busy,
            Proved::Cell(hashes) => {
                let Some((cell, behind)) = rest.split_at_checked(claim.descriptor.cell as usize)
                else {
                    return Outcome::Corrupt;
                };
                rest = behind;
                if claim.proved(cell, hashes) { Outcome::Ok } else { Outcome::Corrupt }
            }
        })
        .collect();
    if !rest.is_empty() {
        outcomes.fill(Outcome::Corrupt);
    }
    outcomes
}
