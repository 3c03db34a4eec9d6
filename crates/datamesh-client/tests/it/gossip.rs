//! How views are compared, with peers that mean well and peers that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::certificate::NodeClaim;
use datamesh_core::message::{ADVERTS_MAX, Reply};
use datamesh_core::{Advert, BoxFuture, Message, NodeId, Service, TransportError};
use datamesh_crypto::SigningKey;
use datamesh_engine::{AskError, Engine, EngineParts};
use datamesh_testkit::sim;

use crate::cluster::{Cluster, Shape};

/// Answers every request with the next of its adverts, and always has more.
struct Tease {
    adverts: Vec<Advert>,
    delay: Duration,
    asked: AtomicUsize,
}

impl Service for Tease {
    fn serve(&self, _: NodeId, _: Message) -> BoxFuture<'_, Message> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let fresh = self.adverts.get(asked).cloned().into_iter().collect();
        Box::pin(async move {
            tokio::time::sleep(self.delay).await;
            let reply = Reply::Adverts { fresh, wanted: Vec::new(), more: true };
            Message { head: reply.to_head(), body: Bytes::new() }
        })
    }
}

fn one_node() -> Shape {
    Shape { nodes: 1, ..Shape::default() }
}

/// Adverts of `count` admitted nodes, in the order of their ids.
fn admitted(cluster: &Cluster, count: usize) -> Vec<(SigningKey, Advert)> {
    let entropy = cluster.world.entropy(NodeId([0xAB; 32]));
    let mut made: Vec<_> = (0..count)
        .map(|_| {
            let key = SigningKey::draw(&*entropy);
            let claim = &cluster.adverts[0].certificate.claim;
            let claim = NodeClaim { node: key.node_id(), ..claim.clone() };
            let certificate = cluster.issuing.certify(claim);
            let advert = Advert { certificate, ..cluster.adverts[0].clone() };
            let advert = cluster.client.engine().sign_advert(&key, advert, 1 << 40);
            (key, advert)
        })
        .collect();
    made.sort_by_key(|(_, advert)| advert.node());
    made
}

/// A process that knows nobody yet.
fn newcomer(cluster: &Cluster) -> Engine {
    let (world, id) = (&cluster.world, NodeId([0xC2; 32]));
    Engine::new(EngineParts {
        transport: world.attach(id),
        clock: world.clock(id),
        entropy: world.entropy(id),
        executor: world.executor(id),
        node_db: None,
        genesis: cluster.genesis.clone(),
        offline_after_ms: 300_000,
    })
}

#[test]
fn a_peer_that_always_has_more_is_left_after_ten_seconds() {
    sim::run(300, |world| async move {
        let cluster = Cluster::new(&world, &one_node());
        let adverts = admitted(&cluster, 20).into_iter().map(|(_, advert)| advert).collect();
        let delay = Duration::from_millis(4900);
        let peer = NodeId([0xAA; 32]);
        let tease = Arc::new(Tease { adverts, delay, asked: AtomicUsize::new(0) });
        world.join(peer, Arc::clone(&tease) as Arc<dyn Service>);
        let before = world.elapsed();
        let error = cluster.client.engine().exchange_adverts(peer).await.unwrap_err();
        assert!(matches!(error, AskError::Transport(TransportError::Timeout { .. })), "{error}");
        // The world's time, which nothing but the exchange moves.
        assert_eq!(world.elapsed() - before, Duration::from_secs(10));
        assert!(cluster.client.engine().member_count() > 1, "what was learnt stays");
    });
}

#[test]
fn a_page_is_not_asked_for_again_where_the_answer_led_no_further() {
    sim::run(301, |world| async move {
        let cluster = Cluster::new(&world, &one_node());
        let engine = cluster.client.engine();
        let (key, mut advert) = admitted(&cluster, 1).remove(0);
        let mut adverts = Vec::new();
        for _ in 0..300 {
            advert = engine.sign_advert(&key, advert, 1 << 40);
            adverts.push(advert.clone());
        }
        let peer = NodeId([0xAA; 32]);
        let tease = Arc::new(Tease { adverts, delay: Duration::ZERO, asked: AtomicUsize::new(0) });
        world.join(peer, Arc::clone(&tease) as Arc<dyn Service>);
        assert_eq!(engine.exchange_adverts(peer).await.unwrap(), 2);
        assert_eq!(tease.asked.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn a_newcomer_learns_a_view_of_many_pages_in_one_exchange() {
    sim::run(302, |world| async move {
        let cluster = Cluster::new(&world, &one_node());
        let node = cluster.nodes[0].id;
        let adverts: Vec<Advert> =
            admitted(&cluster, 90).into_iter().map(|(_, advert)| advert).collect();
        for some in adverts.chunks(ADVERTS_MAX) {
            cluster.client.engine().announce(node, some.to_vec()).await.unwrap();
        }
        let newcomer = newcomer(&cluster);
        // It knows some in the middle already.
        for advert in &adverts[30..35] {
            assert!(newcomer.learn_advert(advert.clone()));
        }
        assert_eq!(newcomer.exchange_adverts(node).await.unwrap(), 86);
        assert_eq!(newcomer.member_count(), 91);
    });
}

#[test]
fn a_view_comes_from_whoever_answers_first() {
    sim::run(303, |world| async move {
        let cluster = Cluster::new(&world, &one_node());
        let node = cluster.nodes[0].id;
        let adverts: Vec<Advert> =
            admitted(&cluster, 20).into_iter().map(|(_, advert)| advert).collect();
        let delay = Duration::from_millis(4900);
        let (slow, absent) = (NodeId([0xAA; 32]), NodeId([0xAC; 32]));
        let tease = Tease { adverts, delay, asked: AtomicUsize::new(0) };
        world.join(slow, Arc::new(tease) as Arc<dyn Service>);
        let newcomer = newcomer(&cluster);
        let before = world.elapsed();
        newcomer.fetch_view(&[slow, node, absent]).await;
        assert_eq!(newcomer.member_count(), 1);
        let took = world.elapsed() - before;
        assert!(took < Duration::from_secs(4), "{took:?} of the world's time");
        // Nobody is there, or nobody was named: it ends.
        newcomer.fetch_view(&[absent, slow]).await;
        newcomer.fetch_view(&[]).await;
    });
}
