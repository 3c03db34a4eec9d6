//! Requests and replies over the real transport.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use datamesh_core::{BoxFuture, Message, NodeId, Service, Transport};
use datamesh_net::{Network, NetworkConfig};
use zeroize::Zeroizing;

use crate::accounting::{Meter, own_seconds};
use crate::report::{Report, Row};

const MIB: usize = 1 << 20;
const LONG: Duration = Duration::from_secs(60);

/// Bodies of 1 MiB in one row.
const BODIES: usize = 1024;

/// Small exchanges one after the other.
const SMALL: usize = 3000;

/// Answers with as many bytes as the head asks for.
struct Answer {
    body: Bytes,
}

impl Service for Answer {
    fn serve(&self, _: NodeId, request: Message) -> BoxFuture<'_, Message> {
        Box::pin(async move {
            let wanted = request.head.as_ref().try_into().map_or(0, u32::from_le_bytes) as usize;
            Message { head: Bytes::new(), body: self.body.slice(..wanted.min(self.body.len())) }
        })
    }
}

fn request(send: usize, want: usize, body: &Bytes) -> Message {
    let head = Bytes::copy_from_slice(&(want as u32).to_le_bytes());
    Message { head, body: body.slice(..send) }
}

async fn bulk(
    client: &Network,
    peer: NodeId,
    at_once: usize,
    sizes: (usize, usize),
    count: usize,
    body: &Bytes,
) -> (f64, f64) {
    let (send, want) = sizes;
    let meter = Meter::own();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let (client, body) = (client.clone(), body.clone());
        tasks.spawn(async move {
            for _ in 0..count / at_once {
                client.call(peer, request(send, want, &body), LONG).await.unwrap();
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let (seconds, cpu) = meter.read(own_seconds());
    let bytes = (count / at_once * at_once * send.max(want)) as f64;
    (bytes / 1e6 / seconds, cpu * 1e9 / bytes)
}

async fn latency(client: &Network, peer: NodeId, size: usize, body: &Bytes) -> (f64, f64) {
    let mut times = Vec::new();
    for _ in 0..SMALL {
        let started = Instant::now();
        client.call(peer, request(size, 0, body), LONG).await.unwrap();
        times.push(started.elapsed());
    }
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
    (at(50), at(95))
}

pub(super) fn measure(report: &mut Report) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(exchange(report));
}

async fn exchange(report: &mut Report) {
    let body = Bytes::from((0..MIB).map(|i| (i * 31 / 7) as u8).collect::<Vec<u8>>());
    let service: Arc<dyn Service> = Arc::new(Answer { body: body.clone() });
    let mut config = NetworkConfig::new(Zeroizing::new([1; 32]), Arc::clone(&service));
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    config.limits.peer_requests_per_second = u32::MAX;
    config.limits.peer_bytes_per_second = u64::MAX;
    let node = Network::start(config).await.unwrap();
    let config = NetworkConfig::new(Zeroizing::new([2; 32]), service);
    let client = Network::start(config).await.unwrap();
    let peer = node.local();
    client.learn(peer, &node.listening());
    client.connect(peer, LONG).await.unwrap();
    // Once before, so that buffers and windows have grown.
    bulk(&client, peer, 6, (MIB, 0), 128, &body).await;
    for at_once in [1, 6] {
        for (sizes, what) in [((MIB, 0), "requests"), ((0, MIB), "replies")] {
            let (speed, cpu) = bulk(&client, peer, at_once, sizes, BODIES, &body).await;
            let row = Row::of(format!("{what} of 1 MiB, {at_once} at once"));
            report.row(&row.with(speed, "MB/s").with(cpu, "CPU s/GB"));
        }
    }
    for size in [0, 16 * 1024] {
        let (median, high) = latency(&client, peer, size, &body).await;
        let row = Row::of(format!("request of {} KiB, one by one", size / 1024));
        report.row(&row.with(median, "ms p50").with(high, "ms p95"));
    }
    client.shutdown().await;
    node.shutdown().await;
}
