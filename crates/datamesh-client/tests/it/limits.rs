//! A grant's bytes on a node: who may pass them, and how far.

use bytes::Bytes;
use datamesh_core::message::{Refusal, Reply, Request};
use datamesh_core::{Descriptor, Grant, Message, NodeId, SegmentId, Service, Signer, wire};
use datamesh_engine::placement::{Candidate, ranking};
use datamesh_testkit::sim;

use crate::admission::segment;
use crate::cluster::{Cluster, Shape};

/// Hands the first shard of a segment to a node as `peer`; members bring it back.
async fn deliver(
    cluster: &Cluster,
    to: usize,
    peer: NodeId,
    grant: &Grant,
    (descriptor, cells): &(Descriptor, Bytes),
) -> Result<(), Refusal> {
    let length = descriptor.shard_length() as u32;
    let mesh = cluster.genesis.mesh_id();
    let ticket = cluster.keys.grant().store_ticket(&mesh, descriptor.id(), length, 0);
    let (descriptor, grant) = (descriptor.clone(), grant.clone());
    let head = if cluster.nodes.iter().any(|node| node.id == peer) {
        Request::Restore { descriptor, shard: 0, ticket, grant, alone: false, renewal: None }
            .to_head()
    } else {
        Request::Store { descriptor, shard: 0, ticket, grant, renewal: None }.to_head()
    };
    let reply = cluster.nodes[to].liar.serve(peer, Message { head, body: cells.clone() }).await;
    match wire::decode::<Reply>(&reply.head).unwrap() {
        Reply::Stored(_) => Ok(()),
        Reply::Refused { refusal, .. } => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// Whether node `place` is among the first `count` of the segment's ranking, where all weigh the
/// same.
fn is_near(cluster: &Cluster, segment: SegmentId, place: usize, count: usize) -> bool {
    let candidates: Vec<Candidate> = cluster
        .nodes
        .iter()
        .map(|node| Candidate {
            node: node.id,
            domain: "any".parse().unwrap(),
            operator: String::new(),
            subnet: None,
            weight: 1,
            eligible: true,
        })
        .collect();
    let ranked = ranking(&segment, &candidates);
    ranked.iter().take(count).any(|candidate| candidate.node == cluster.nodes[place].id)
}

#[test]
fn over_the_limit_only_members_bring_shards_and_only_to_the_next_holders_and_to_half_as_much_more()
{
    sim::run(210, |world| async move {
        let shape = Shape { nodes: 15, ..Shape::default() };
        let cluster = Cluster::new(&world, &shape);
        // The twelve first of fifteen are the next holders of a segment of 4+2.
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for seed in 0..100 {
            let made = segment(&cluster, seed);
            let list = if is_near(&cluster, made.0.id(), 0, 12) { &mut near } else { &mut far };
            list.push(made);
        }
        assert!(near.len() > 12 && far.len() > 4, "{} {}", near.len(), far.len());
        let length = near[0].0.shard_length() as u64;
        let key = cluster.keys.grant().public_key();
        let grant = cluster.issuing.grant(key, 4 * length, 2, 0);
        let (stranger, member) = (NodeId([0xAA; 32]), cluster.nodes[3].id);
        let used_up = Err(Refusal::GrantUsedUp);

        // Within the limit everybody brings everything everywhere.
        for made in far[..2].iter().chain(&near[..2]) {
            assert_eq!(deliver(&cluster, 0, stranger, &grant, made).await, Ok(()));
        }
        // Over it a stranger brings nothing, and a member only to the next holders.
        assert_eq!(deliver(&cluster, 0, stranger, &grant, &near[2]).await, used_up);
        assert_eq!(deliver(&cluster, 0, member, &grant, &far[2]).await, used_up);
        assert_eq!(deliver(&cluster, 0, member, &grant, &near[2]).await, Ok(()));
        assert_eq!(deliver(&cluster, 0, stranger, &grant, &near[3]).await, used_up);
        assert_eq!(deliver(&cluster, 0, member, &grant, &near[3]).await, Ok(()));
        // And at half as much more nobody brings anything.
        assert_eq!(deliver(&cluster, 0, member, &grant, &near[4]).await, used_up);
        // What is there already costs nothing.
        assert_eq!(deliver(&cluster, 0, stranger, &grant, &near[3]).await, Ok(()));
        let held = |(descriptor, _): &(Descriptor, Bytes)| {
            cluster.nodes[0].store.held(descriptor.id()) != 0
        };
        assert_eq!(near.iter().chain(&far).filter(|made| held(made)).count(), 6);
    });
}
