//! Peers that nobody invited, against nodes that run, and issuers that lie to who joins.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_codec::{Layout, Pool, encode};
use datamesh_core::certificate::NodeClaim;
use datamesh_core::descriptor::SUITE_AES256GCM_BLAKE3_RS;
use datamesh_core::message::{NodeRequest, ReadSpan, Redeem, Refusal, Reply, Request};
use datamesh_core::wire::{self, Decode};
use datamesh_core::{
    Advert, BoxFuture, Descriptor, Genesis, Grant, InviteTicket, MeshId, Message, NodeCertificate,
    NodeId, Scheme, SegmentId, Service, Signature, Signer, Transport,
};
use datamesh_crypto::{IssuingKey, Secret, SigningKey, authority};
use datamesh_engine::{AskError, ask};
use datamesh_net::{Network, NetworkConfig};
use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;

use crate::PROGRAM;

const DEADLINE: Duration = Duration::from_secs(20);

/// Refuses everything.
struct Deaf;

impl Service for Deaf {
    fn serve(&self, _: NodeId, _: Message) -> BoxFuture<'_, Message> {
        Box::pin(async {
            answer(&Reply::Refused { refusal: Refusal::Busy, detail: String::new() })
        })
    }
}

fn answer(reply: &Reply) -> Message {
    Message { head: reply.to_head(), body: Bytes::new() }
}

/// A key that no mesh knows.
fn key(number: u8) -> SigningKey {
    SigningKey::from_secret(&Secret::new([number; 32]))
}

async fn network(key: &SigningKey, listen: bool, service: Arc<dyn Service>) -> Network {
    let mut config = NetworkConfig::new(key.secret(), service);
    if listen {
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    }
    Network::start(config).await.unwrap()
}

/// A record of a home: what is on a wire or a disk can be had.
fn record<T: Decode>(mesh: &Mesh, name: &str) -> T {
    wire::decode(&fs::read(mesh.path(name)).unwrap()).unwrap()
}

/// A stranger that talks to a node of a mesh.
struct Stranger {
    key: SigningKey,
    network: Network,
    node: NodeId,
}

impl Stranger {
    async fn meets(mesh: &Mesh, number: usize) -> Self {
        let key = key(0x51);
        let network = network(&key, false, Arc::new(Deaf)).await;
        let status = fs::read(mesh.path(&format!("n{number}")).join("status.json")).unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        let node: NodeId = status["peer_id"].as_str().unwrap().parse().unwrap();
        network.learn(node, &[status["listen"][0].as_str().unwrap().to_owned()]);
        Self { key, network, node }
    }

    async fn ask(&self, request: &Request, body: Bytes) -> Result<Reply, Refusal> {
        match ask(&self.network, self.node, request, body, DEADLINE).await {
            Ok((reply, _)) => Ok(reply),
            Err(AskError::Refused { refusal, .. }) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    async fn asks(&self, request: Request) -> Result<Reply, Refusal> {
        self.ask(&request, Bytes::new()).await
    }
}

/// A coded segment of nobody's, and its first shard.
fn segment() -> (Descriptor, Bytes) {
    let layout = Layout::suited(Scheme::FOUR_TWO, 50_000);
    let mut buffer = Pool::new(1).take(layout.buffer_length());
    layout.scatter(&noise(1, 50_000), &mut buffer);
    let roots = encode(&layout, &mut buffer).unwrap();
    let descriptor = Descriptor {
        suite: SUITE_AES256GCM_BLAKE3_RS,
        scheme: layout.scheme,
        cell: layout.cell as u32,
        length: 50_000,
        roots,
        lease_key: key(9).public_key(),
    };
    (descriptor, buffer.into_bytes().slice(..layout.shard_length()))
}

/// Somebody who has delegated the authority's power to himself.
fn forger(mesh: MeshId, key: &SigningKey) -> IssuingKey {
    let delegation = authority::delegate(key, &mesh, key.public_key(), 1, 0);
    IssuingKey::delegate(mesh, key.clone(), delegation)
}

fn peers(mesh: &Mesh) -> Vec<(String, serde_json::Value)> {
    let peers = mesh.run("n0", &["peers", "--json"]).ok().json();
    let mut peers: Vec<_> = peers
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| (peer["node"].as_str().unwrap().to_owned(), peer["addresses"].clone()))
        .collect();
    peers.sort_by(|a, b| a.0.cmp(&b.0));
    peers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gives_strangers_nothing_that_they_have_no_right_to() {
    let mesh = Mesh::of(PROGRAM, 6);
    let bytes = noise(2, 700_000);
    mesh.pipe("n0", &["put", "--", "-", "file"], &bytes).ok();
    let genesis: Genesis = record(&mesh, "n0/mesh/genesis");
    let (id, known) = (genesis.mesh_id(), peers(&mesh));
    let stored: Vec<u64> = (0..6).map(|number| mesh.packed(number)).collect();
    let stranger = Stranger::meets(&mesh, 1).await;

    // Who the members are.
    let zero = NodeId([0; 32]);
    let digest = || Request::Digest { after: zero, known: Vec::new(), complete: true };
    assert_eq!(stranger.asks(digest()).await, Err(Refusal::NotAdmitted));
    let other = Request::Hello { mesh: MeshId([7; 32]) };
    assert_eq!(stranger.asks(other).await, Err(Refusal::OtherMesh));
    assert_eq!(stranger.asks(digest()).await, Err(Refusal::NotAdmitted));

    // Membership: of an invite that was never made, at the issuer and elsewhere.
    let node = NodeRequest {
        operator: "stranger".into(),
        domain: "zone-x/host-x".parse().unwrap(),
        capacity: 1 << 40,
    };
    let redeem = |secret: [u8; 32]| {
        let (node, account) = (Some(node.clone()), Some(stranger.key.public_key()));
        Request::Redeem(Redeem { secret, redeemer: [1; 16], node, account })
    };
    assert_eq!(stranger.asks(redeem([3; 32])).await, Err(Refusal::NotIssuer));
    let issuer = Stranger::meets(&mesh, 0).await;
    assert_eq!(issuer.asks(redeem([3; 32])).await, Err(Refusal::InviteUnknown));
    // Of one that was made for accounts alone.
    let ticket = mesh.run("n0", &["invite", "--account-only"]).ok().out;
    let ticket: InviteTicket = ticket.trim().parse().unwrap();
    assert_eq!(issuer.asks(redeem(ticket.secret)).await, Err(Refusal::NotPermitted));

    // Adverts: with a forged certificate, with a member's, in a member's name.
    let mut advert = Advert {
        certificate: forger(id, &stranger.key).certify(NodeClaim {
            node: stranger.key.node_id(),
            operator: "stranger".into(),
            domain: "zone-x/host-x".parse().unwrap(),
            capacity_cap: 1 << 40,
            serial: 9,
            expiry: 0,
        }),
        addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
        capacity: 1 << 40,
        free_class: 16,
        draining: false,
        release: "0".into(),
        sequence: u64::MAX,
        expiry: u64::MAX,
        signature: Signature([0; 64]),
    };
    let sign = |advert: &Advert| {
        let mut advert = advert.clone();
        let part = advert.signed_part();
        advert.signature = stranger.key.sign(datamesh_core::Context::Advert, &id, &part);
        advert
    };
    let forged = sign(&advert);
    advert.certificate = record::<NodeCertificate>(&mesh, "n2/mesh/certificate");
    let stolen = sign(&advert);
    let announce = Request::Announce(vec![forged, stolen]);
    for peer in [&stranger, &issuer] {
        // From who does not know the mesh they are not even looked at.
        assert_eq!(peer.asks(announce.clone()).await, Err(Refusal::NotAdmitted));
        assert!(matches!(peer.asks(Request::Hello { mesh: id }).await, Ok(Reply::Welcome { .. })));
        assert_eq!(peer.asks(announce.clone()).await, Ok(Reply::Done));
    }

    // Memory: bytes that no request of this kind has are not read.
    let have = Request::Have(vec![SegmentId([1; 32])]);
    let body = Bytes::from(vec![0; 100_000]);
    assert_eq!(stranger.ask(&have, body).await, Err(Refusal::Malformed));

    // Room: without a grant that holds, and with one of somebody else.
    let (descriptor, cells) = segment();
    let length = descriptor.shard_length() as u32;
    let ticket = stranger.key.store_ticket(&id, descriptor.id(), length, 0);
    let theirs: Grant = record(&mesh, "n0/mesh/grant");
    let mine = forger(id, &stranger.key).grant(stranger.key.public_key(), u64::MAX, 1, 0);
    let mut altered = theirs.clone();
    altered.key = stranger.key.public_key();
    for grant in [mine, theirs, altered] {
        let (descriptor, ticket) = (descriptor.clone(), ticket.clone());
        let request = Request::Store { descriptor, shard: 0, ticket, grant, renewal: None };
        assert_eq!(stranger.ask(&request, cells.clone()).await, Err(Refusal::NotPermitted));
    }

    // What is not there, and what is no request.
    let nothing = SegmentId([5; 32]);
    let read = Request::Read { segment: nothing, shard: 0, span: ReadSpan::Whole, describe: true };
    assert_eq!(stranger.asks(read).await, Err(Refusal::NotFound));
    assert_eq!(stranger.asks(Request::Have(vec![nothing])).await, Ok(Reply::Holding(vec![0])));
    for garbage in [&b""[..], b"\0", b"\xff\xff\xff\xff", &noise(3, 5000)] {
        let message = Message { head: Bytes::copy_from_slice(garbage), body: Bytes::new() };
        let reply = stranger.network.call(stranger.node, message, DEADLINE).await.unwrap();
        let Reply::Refused { refusal, .. } = wire::decode(&reply.head).unwrap() else { panic!() };
        assert_eq!(refusal, Refusal::Malformed);
    }

    // Nobody has learnt, lost or stored anything by it.
    assert_eq!(peers(&mesh), known);
    for (number, stored) in stored.into_iter().enumerate() {
        assert_eq!(mesh.packed(number), stored, "node {number}");
    }
    mesh.pipe("n0", &["put", "--", "-", "after"], &bytes).ok();
    for name in ["file", "after"] {
        assert!(mesh.bytes("n0", &["get", "--", name, "-"]) == bytes);
    }
}

#[test]
fn a_ticket_that_was_altered_admits_nobody() {
    let mut mesh = Mesh::empty(PROGRAM);
    mesh.init("n0");
    mesh.start(0, &[]);
    mesh.init("guest");
    let ticket = mesh.run("n0", &["invite"]).ok().out.trim().to_owned();
    let altered = |change: &dyn Fn(&mut InviteTicket)| {
        let mut ticket: InviteTicket = ticket.parse().unwrap();
        change(&mut ticket);
        ticket.to_string()
    };
    let secret = altered(&|ticket| ticket.secret[0] ^= 1);
    let done = mesh.run("guest", &["join", &secret]).code(1);
    assert!(done.err.contains("not known"), "{}", done.err);
    let other = altered(&|ticket| ticket.mesh.0[0] ^= 1);
    let done = mesh.run("guest", &["join", &other]).code(1);
    assert!(done.err.contains("another mesh"), "{}", done.err);
    // The address of a node that has not the issuer's key.
    let issuer = altered(&|ticket| ticket.issuer = key(7).node_id());
    mesh.run("guest", &["join", &issuer]).code(5);
    // More than the issuer has granted.
    let limited = mesh.run("n0", &["invite", "--node-only"]).ok().out;
    let mut limited: InviteTicket = limited.trim().parse().unwrap();
    limited.powers.account = true;
    let done = mesh.run("guest", &["join", &limited.to_string()]).code(1);
    assert!(done.err.contains("not permitted"), "{}", done.err);
    // None of it has left a trace that the right one would stumble over.
    mesh.run("guest", &["join", &ticket]).ok();
}

/// An issuer that shows what it likes.
struct False {
    genesis: Genesis,
    grant: Option<Grant>,
}

impl Service for False {
    fn serve(&self, _: NodeId, request: Message) -> BoxFuture<'_, Message> {
        Box::pin(async move {
            let genesis = self.genesis.clone();
            answer(&match wire::decode(&request.head).unwrap() {
                Request::Hello { .. } => Reply::Welcome { genesis, certificate: None, time: 0 },
                Request::Redeem(_) => {
                    Reply::Redeemed { genesis, certificate: None, grant: self.grant.clone() }
                }
                _ => Reply::Refused { refusal: Refusal::Busy, detail: String::new() },
            })
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_lies_leads_nobody_into_its_mesh() {
    let mesh = Mesh::empty(PROGRAM);
    mesh.init("guest");
    let founder = key(1);
    let genesis = authority::found(&founder, 1, 0, [7; 16]);
    let id = genesis.mesh_id();
    let other = authority::found(&key(2), 1, 0, [7; 16]);
    let mut unsigned = genesis.clone();
    unsigned.signature.0[0] ^= 1;
    let elsewhere = forger(id, &key(3)).grant(key(4).public_key(), 1 << 40, 1, 0);
    let lies = [
        // Another mesh than the ticket's.
        (id, False { genesis: other, grant: None }, "another mesh"),
        // The ticket's, which nobody has signed.
        (unsigned.mesh_id(), False { genesis: unsigned, grant: None }, "another mesh"),
        // A grant that the authority did not give, and none.
        (id, False { genesis: genesis.clone(), grant: Some(elsewhere) }, "does not hold"),
        (id, False { genesis, grant: None }, "does not hold"),
    ];
    for (number, (id, service, reason)) in lies.into_iter().enumerate() {
        let liar = key(0x60 + number as u8);
        let network = network(&liar, true, Arc::new(service)).await;
        let ticket = InviteTicket {
            mesh: id,
            issuer: liar.node_id(),
            addresses: network.listening(),
            secret: [1; 32],
            uses: 1,
            expiry: 0,
            powers: datamesh_core::invite::InvitePowers { node: true, account: true },
        };
        let ticket = ticket.to_string();
        let done = std::thread::scope(|scope| {
            scope.spawn(|| mesh.run("guest", &["join", &ticket])).join().unwrap()
        });
        assert!(done.code(1).err.contains(reason), "lie {number}");
        assert!(!mesh.path("guest").join("mesh/genesis").exists(), "lie {number}");
    }
}
