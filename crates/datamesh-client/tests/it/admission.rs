//! What nodes refuse: writes without a grant, forged papers, adverts of strangers.

use std::time::Duration;

use bytes::Bytes;
use datamesh_codec::{Layout, Pool, encode};
use datamesh_core::certificate::NodeClaim;
use datamesh_core::descriptor::SUITE_AES256GCM_BLAKE3_RS;
use datamesh_core::message::{Refusal, Reply, Request};
use datamesh_core::{
    Descriptor, Grant, NodeId, Scheme, Service, Signature, Signer, StoreTicket, wire,
};
use datamesh_crypto::{IssuingKey, SigningKey, authority};
use datamesh_engine::{AskError, ask};
use datamesh_testkit::{fixtures, sim};

use crate::cluster::Cluster;

/// A coded segment and its first shard.
pub(crate) fn segment(cluster: &Cluster, seed: u64) -> (Descriptor, Bytes) {
    let layout = Layout::suited(Scheme::FOUR_TWO, 50_000);
    let mut buffer = Pool::new(1).take(layout.buffer_length());
    layout.scatter(&fixtures::noise(seed, 50_000), &mut buffer);
    let roots = encode(&layout, &mut buffer).unwrap();
    let lease_key = cluster.keys.lease_key(&roots).unwrap();
    let descriptor = Descriptor {
        suite: SUITE_AES256GCM_BLAKE3_RS,
        scheme: layout.scheme,
        cell: layout.cell as u32,
        length: 50_000,
        roots,
        lease_key,
    };
    (descriptor, buffer.into_bytes().slice(..layout.shard_length()))
}

/// Sends a store request as a stranger and returns the refusal, if it is one.
async fn store(
    cluster: &Cluster,
    descriptor: &Descriptor,
    shard: u8,
    ticket: StoreTicket,
    grant: Grant,
    cells: Bytes,
) -> Result<Reply, Refusal> {
    let stranger = cluster.world.attach(NodeId([0xAA; 32]));
    let descriptor = descriptor.clone();
    let request = Request::Store { descriptor, shard, ticket, grant, renewal: None };
    let node = cluster.nodes[0].id;
    let answer = ask(&*stranger, node, &request, cells, Duration::from_secs(5)).await;
    cluster.world.kill(NodeId([0xAA; 32]));
    match answer {
        Ok((reply, _)) => Ok(reply),
        Err(AskError::Refused { refusal, .. }) => Err(refusal),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_shard_is_taken_only_with_papers_that_hold() {
    sim::run(200, |world| async move {
        let cluster = Cluster::seven(&world);
        let mesh = cluster.genesis.mesh_id();
        let (descriptor, cells) = segment(&cluster, 1);
        let id = descriptor.id();
        let length = descriptor.shard_length() as u32;
        let ticket = cluster.keys.grant().store_ticket(&mesh, id, length, 0);
        let grant = (*cluster.grant).clone();
        let entropy = world.entropy(NodeId([0xAB; 32]));

        // A grant by somebody who is not the authority, with a ticket that fits it.
        let thief = SigningKey::draw(&*entropy);
        let delegation = authority::delegate(&thief, &mesh, thief.public_key(), 1, 0);
        let forger = IssuingKey::delegate(mesh, thief.clone(), delegation);
        let forged = forger.grant(thief.public_key(), u64::MAX, 1, 0);
        let own_ticket = thief.store_ticket(&mesh, id, length, 0);
        let got = store(&cluster, &descriptor, 0, own_ticket.clone(), forged, cells.clone()).await;
        assert_eq!(got, Err(Refusal::NotPermitted));

        // The right grant, which everybody can see, with a ticket by another key.
        let got = store(&cluster, &descriptor, 0, own_ticket, grant.clone(), cells.clone()).await;
        assert_eq!(got, Err(Refusal::NotPermitted));

        // A ticket for another segment.
        let other =
            cluster.keys.grant().store_ticket(&mesh, datamesh_core::SegmentId([1; 32]), length, 0);
        let got = store(&cluster, &descriptor, 0, other, grant.clone(), cells.clone()).await;
        assert_eq!(got, Err(Refusal::Mismatch));

        // A grant whose bound was raised.
        let mut raised = grant.clone();
        raised.bytes_per_node -= 1;
        let got = store(&cluster, &descriptor, 0, ticket.clone(), raised, cells.clone()).await;
        assert_eq!(got, Err(Refusal::NotPermitted));

        // Other cells, another shard's number, too few bytes.
        let mut changed = cells.to_vec();
        changed[17] ^= 1;
        let got =
            store(&cluster, &descriptor, 0, ticket.clone(), grant.clone(), changed.into()).await;
        assert_eq!(got, Err(Refusal::Mismatch));
        let got =
            store(&cluster, &descriptor, 1, ticket.clone(), grant.clone(), cells.clone()).await;
        assert_eq!(got, Err(Refusal::Mismatch));
        let short = cells.slice(..cells.len() - 1);
        let got = store(&cluster, &descriptor, 0, ticket.clone(), grant.clone(), short).await;
        assert_eq!(got, Err(Refusal::Mismatch));
        assert_eq!(cluster.nodes[0].store.held(id), 0, "nothing refused was kept");

        // With papers that hold anybody may deliver.
        let got = store(&cluster, &descriptor, 0, ticket, grant, cells).await;
        let Ok(Reply::Stored(receipt)) = got else { panic!("{got:?}") };
        receipt.verify(&mesh).unwrap();
        assert_eq!(cluster.nodes[0].store.held(id), 1);
    });
}

#[test]
fn only_a_shard_with_papers_that_hold_may_bring_a_body_and_makes_its_sender_known() {
    sim::run(202, |world| async move {
        let cluster = Cluster::seven(&world);
        let mesh = cluster.genesis.mesh_id();
        let (descriptor, cells) = segment(&cluster, 1);
        let length = descriptor.shard_length();
        let ticket = cluster.keys.grant().store_ticket(&mesh, descriptor.id(), length as u32, 0);
        let grant = (*cluster.grant).clone();
        let (node, stranger) = (&cluster.nodes[0].liar, NodeId([0xAA; 32]));
        let judge = |head: &Bytes, body| match node.admit(stranger, head, body) {
            Ok(_) => Ok(()),
            Err(reply) => match wire::decode(&reply.head).unwrap() {
                Reply::Refused { refusal, .. } => Err(refusal),
                reply => panic!("{reply:?}"),
            },
        };
        let hello = Request::Hello { mesh }.to_head();
        assert_eq!(judge(&hello, 0), Ok(()));
        assert_eq!(judge(&hello, 1), Err(Refusal::Malformed));
        assert_eq!(judge(&Bytes::from_static(b"\xff?"), 0), Err(Refusal::Malformed));

        let request = |ticket: &StoreTicket, grant: &Grant| {
            let (descriptor, ticket) = (descriptor.clone(), ticket.clone());
            Request::Store { descriptor, shard: 0, ticket, grant: grant.clone(), renewal: None }
                .to_head()
        };
        let right = request(&ticket, &grant);
        assert_eq!(judge(&right, length), Ok(()));
        for wrong in [0, length - 1, length + 1] {
            assert_eq!(judge(&right, wrong), Err(Refusal::Mismatch));
        }
        let mut raised = grant.clone();
        raised.bytes_per_node -= 1;
        assert_eq!(judge(&request(&ticket, &raised), length), Err(Refusal::NotPermitted));
        let other =
            cluster.keys.grant().store_ticket(&mesh, datamesh_core::SegmentId([1; 32]), 1, 0);
        assert_eq!(judge(&request(&other, &grant), length), Err(Refusal::Mismatch));

        // To know the mesh's id is not enough to be known.
        let peer = world.attach(stranger);
        let ask_hello = Request::Hello { mesh };
        let deadline = Duration::from_secs(5);
        ask(&*peer, cluster.nodes[0].id, &ask_hello, Bytes::new(), deadline).await.unwrap();
        world.kill(stranger);
        assert!(!node.knows(stranger));
        assert!(node.knows(cluster.nodes[1].id));
        store(&cluster, &descriptor, 0, ticket, grant, cells).await.unwrap();
        assert!(node.knows(stranger));
    });
}

#[test]
fn adverts_of_nodes_that_are_not_admitted_change_no_view() {
    sim::run(201, |world| async move {
        let cluster = Cluster::seven(&world);
        let engine = cluster.client.engine();
        let mesh = cluster.genesis.mesh_id();
        let entropy = world.entropy(NodeId([0xAB; 32]));
        let thief = SigningKey::draw(&*entropy);
        let delegation = authority::delegate(&thief, &mesh, thief.public_key(), 1, 0);
        let forger = IssuingKey::delegate(mesh, thief.clone(), delegation);
        let mut advert = cluster.adverts[0].clone();
        advert.certificate = forger.certify(NodeClaim {
            node: thief.node_id(),
            ..cluster.adverts[0].certificate.claim.clone()
        });
        let forged = engine.sign_advert(&thief, advert, 1 << 40);
        assert!(!engine.learn_advert(forged.clone()));

        // A member's advert with a changed address, and one signed by somebody else.
        let mut moved = cluster.adverts[1].clone();
        moved.addresses = vec!["/ip4/127.0.0.1/tcp/1".into()];
        moved.sequence += 1;
        assert!(!engine.learn_advert(moved.clone()));
        let stolen = engine.sign_advert(&thief, moved, 1 << 40);
        assert!(!engine.learn_advert(stolen.clone()));

        // Announced to a node, they change its view as little.
        let stranger = world.attach(NodeId([0xAA; 32]));
        let node = cluster.nodes[0].id;
        let request = Request::Announce(vec![forged, stolen]);
        let deadline = Duration::from_secs(5);
        let refused = ask(&*stranger, node, &request, Bytes::new(), deadline).await;
        assert!(matches!(refused, Err(AskError::Refused { refusal: Refusal::NotAdmitted, .. })));
        let knowing = world.attach(NodeId([0xAB; 32]));
        let hello = Request::Hello { mesh };
        ask(&*knowing, node, &hello, Bytes::new(), deadline).await.unwrap();
        ask(&*knowing, node, &request, Bytes::new(), deadline).await.unwrap();
        let zero = NodeId([0; 32]);
        let digest = Request::Digest { after: zero, known: Vec::new(), complete: true };
        // Who the members are is told to those alone who know which mesh this is.
        for hello in [None, Some(datamesh_core::MeshId([9; 32]))] {
            if let Some(mesh) = hello {
                let hello = Request::Hello { mesh };
                let refused = ask(&*stranger, node, &hello, Bytes::new(), deadline).await;
                assert!(refused.is_err());
            }
            let refused = ask(&*stranger, node, &digest, Bytes::new(), deadline).await;
            let Err(AskError::Refused { refusal, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!(refusal, Refusal::NotAdmitted);
        }
        let hello = Request::Hello { mesh };
        ask(&*stranger, node, &hello, Bytes::new(), deadline).await.unwrap();
        let (reply, _) = ask(&*stranger, node, &digest, Bytes::new(), deadline).await.unwrap();
        let Reply::Adverts { fresh, .. } = reply else { panic!("{reply:?}") };
        let mut expected = cluster.adverts.clone();
        expected.sort_by_key(datamesh_core::Advert::node);
        assert_eq!(fresh, expected);

        // A newer one that the node itself signed is taken.
        let mut forged_signature = cluster.adverts[2].clone();
        forged_signature.sequence += 5;
        forged_signature.signature = Signature([7; 64]);
        assert!(!engine.learn_advert(forged_signature));
        assert_eq!(engine.peers().len(), 7);
    });
}

/// Asks a node as `from` does.
async fn ask_as(
    from: &dyn datamesh_core::Transport,
    node: NodeId,
    request: &Request,
    body: Bytes,
) -> Result<Reply, Refusal> {
    match ask(from, node, request, body, Duration::from_secs(5)).await {
        Ok((reply, _)) => Ok(reply),
        Err(AskError::Refused { refusal, .. }) => Err(refusal),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_shard_that_a_member_brings_back_needs_a_grant_that_held_once() {
    sim::run(210, |world| async move {
        let cluster = Cluster::seven(&world);
        let mesh = cluster.genesis.mesh_id();
        let (descriptor, cells) = segment(&cluster, 1);
        let id = descriptor.id();
        let length = descriptor.shard_length() as u32;
        let ticket = cluster.keys.grant().store_ticket(&mesh, id, length, 0);
        // Long ended.
        let ended = cluster.issuing.grant(cluster.keys.grant().public_key(), u64::MAX, 2, 1);
        let restore = |grant: &Grant| Request::Restore {
            descriptor: descriptor.clone(),
            shard: 0,
            ticket: ticket.clone(),
            grant: grant.clone(),
            alone: false,
            renewal: None,
        };
        let node = cluster.nodes[0].id;
        let member = std::sync::Arc::clone(cluster.nodes[1].engine.transport());
        let stranger = world.attach(NodeId([0xAA; 32]));

        let got = ask_as(&*stranger, node, &restore(&ended), cells.clone()).await;
        assert_eq!(got, Err(Refusal::NotAdmitted));
        let store = Request::Store {
            descriptor: descriptor.clone(),
            shard: 0,
            ticket: ticket.clone(),
            grant: ended.clone(),
            renewal: None,
        };
        let got = ask_as(&*member, node, &store, cells.clone()).await;
        assert_eq!(got, Err(Refusal::NotPermitted), "it is no new write's");
        let mut forged = ended.clone();
        forged.bytes_per_node -= 1;
        let got = ask_as(&*member, node, &restore(&forged), cells.clone()).await;
        assert_eq!(got, Err(Refusal::NotPermitted));
        let mut changed = cells.to_vec();
        changed[17] ^= 1;
        let got = ask_as(&*member, node, &restore(&ended), changed.into()).await;
        assert_eq!(got, Err(Refusal::Mismatch));

        // Nobody shows a permission that nobody has.
        let permit = Request::Permit { segment: id };
        assert_eq!(
            ask_as(&*stranger, node, &permit, Bytes::new()).await,
            Err(Refusal::NotAdmitted)
        );
        let hello = Request::Hello { mesh };
        ask_as(&*stranger, node, &hello, Bytes::new()).await.unwrap();
        assert_eq!(ask_as(&*stranger, node, &permit, Bytes::new()).await, Err(Refusal::NotFound));

        let got = ask_as(&*member, node, &restore(&ended), cells.clone()).await;
        let Ok(Reply::Stored(receipt)) = got else { panic!("{got:?}") };
        receipt.verify(&mesh).unwrap();
        let shown = ask_as(&*stranger, node, &permit, Bytes::new()).await;
        let Ok(Reply::Permitted { ticket: shown, grant, .. }) = shown else { panic!("{shown:?}") };
        assert_eq!((shown, grant), (ticket.clone(), ended.clone()));
    });
}
