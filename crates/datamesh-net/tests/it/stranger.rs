//! A stock libp2p peer, for what ours never would do.

use datamesh_core::{NodeId, Transport};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, noise, tcp, tls, yamux};
use tokio::task::JoinHandle;

use crate::support::{LONG, Node};

pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/datamesh/shard/1");

/// A libp2p peer that is not ours.
pub struct Stranger {
    pub id: NodeId,
    pub control: libp2p_stream::Control,
    pub address: Multiaddr,
    task: JoinHandle<()>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub enum Encryption {
    Noise,
    Tls,
}

fn swarm(encryption: Encryption) -> Swarm<libp2p_stream::Behaviour> {
    let builder = libp2p::SwarmBuilder::with_new_identity().with_tokio();
    let tcp = tcp::Config::default();
    match encryption {
        Encryption::Noise => builder
            .with_tcp(tcp, noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .unwrap()
            .build(),
        Encryption::Tls => builder
            .with_tcp(tcp, tls::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .unwrap()
            .build(),
    }
}

impl Stranger {
    pub async fn new(encryption: Encryption, dial: Option<&Node>) -> Self {
        let mut swarm = swarm(encryption);
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        if let Some(node) = dial {
            swarm.dial(node.listening()[0].parse::<Multiaddr>().unwrap()).unwrap();
            while !matches!(
                swarm.select_next_some().await,
                SwarmEvent::ConnectionEstablished { .. }
            ) {}
        }
        let id = NodeId::from_peer_id_bytes(&swarm.local_peer_id().to_bytes()).unwrap();
        let control = swarm.behaviour().new_control();
        let task = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        Self { id, control, address, task }
    }

    pub async fn open(&self, node: &Node) -> Stream {
        let peer = PeerId::from_bytes(&node.local().peer_id_bytes()).unwrap();
        self.control.clone().open_stream(peer, PROTOCOL).await.unwrap()
    }
}

pub fn prefix(head: usize, body: usize) -> Vec<u8> {
    let mut bytes = (head as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&(body as u32).to_le_bytes());
    bytes
}

pub async fn exchange(stream: &mut Stream, head: &[u8], body: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(&prefix(head.len(), body.len())).await?;
    stream.write_all(head).await?;
    stream.write_all(body).await?;
    stream.flush().await?;
    let mut lengths = [0; 8];
    stream.read_exact(&mut lengths).await?;
    let head = u32::from_le_bytes(lengths[..4].try_into().unwrap()) as usize;
    let body = u32::from_le_bytes(lengths[4..].try_into().unwrap()) as usize;
    let mut reply = vec![0; head + body];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

/// Waits until the other side has ended the stream.
pub async fn ended(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let read = tokio::time::timeout(LONG, stream.read(&mut byte)).await.unwrap();
    matches!(read, Ok(0) | Err(_))
}

pub async fn still_serves(node: &Node, stranger: &Stranger) {
    let mut stream = stranger.open(node).await;
    let reply = exchange(&mut stream, b"fine", b"body").await.unwrap();
    assert_eq!(reply[32..], *b"finebody");
    assert_eq!(reply[..32], stranger.id.0);
}
