//! How fast exchanges are on this machine: two nodes in one process, over 127.0.0.1.
//!
//! ```text
//! cargo run --release -p datamesh-net --example exchange_rate -- [MiB per line]
//! ```
//!
//! Prints, for bodies of 1 MiB in requests and in replies, MB/s and processor seconds per GB of
//! both ends together, and the latency of small exchanges. The numbers move with the machine's
//! load; compare runs of one machine.
#![allow(clippy::disallowed_methods, reason = "a measurement takes real time on real threads")]
#![expect(clippy::print_stdout, reason = "printing is what this program does")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use datamesh_core::{BoxFuture, Message, NodeId, Service, Transport};
use datamesh_net::{Network, NetworkConfig};
use zeroize::Zeroizing;

const MIB: usize = 1 << 20;
const LONG: Duration = Duration::from_secs(60);

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

/// Processor time of this process, user and system, in seconds.
fn processor_seconds() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = text.rsplit_once(')').ok_or("no process state")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let mut sum = 0;
    for tick in ticks {
        sum += tick?;
    }
    Ok(sum as f64 / 100.0)
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
) -> Result<(), Box<dyn Error>> {
    let (send, want) = sizes;
    let (started, before) = (Instant::now(), processor_seconds()?);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let (client, body) = (client.clone(), body.clone());
        tasks.spawn(async move {
            for _ in 0..count / at_once {
                client.call(peer, request(send, want, &body), LONG).await?;
            }
            Ok::<(), datamesh_core::TransportError>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let seconds = started.elapsed().as_secs_f64();
    let gb = (count / at_once * at_once * send.max(want)) as f64 / 1e9;
    let what = if send > want { "requests" } else { "replies " };
    println!(
        "1 MiB {what}, {at_once} at once: {:7.0} MB/s  {:5.2} CPU s/GB",
        gb * 1000.0 / seconds,
        (processor_seconds()? - before) / gb
    );
    Ok(())
}

async fn latency(
    client: &Network,
    peer: NodeId,
    size: usize,
    body: &Bytes,
) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..5000 {
        let started = Instant::now();
        client.call(peer, request(size, 0, body), LONG).await?;
        times.push(started.elapsed());
    }
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e6;
    println!("{:>2} KiB one by one: p50 {:6.0} µs  p95 {:6.0} µs", size / 1024, at(50), at(95));
    Ok(())
}

async fn rate(
    client: &Network,
    peer: NodeId,
    size: usize,
    body: &Bytes,
) -> Result<(), Box<dyn Error>> {
    let (started, before) = (Instant::now(), processor_seconds()?);
    let mut tasks = tokio::task::JoinSet::new();
    let (at_once, each) = (32, 1000);
    for _ in 0..at_once {
        let (client, body) = (client.clone(), body.clone());
        tasks.spawn(async move {
            for _ in 0..each {
                client.call(peer, request(size, 0, &body), LONG).await?;
            }
            Ok::<(), datamesh_core::TransportError>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let count = f64::from(at_once * each);
    println!(
        "{:>2} KiB, {at_once} at once: {:6.0} exchanges/s  {:5.1} CPU µs each",
        size / 1024,
        count / started.elapsed().as_secs_f64(),
        (processor_seconds()? - before) / count * 1e6
    );
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let count: usize = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 2048,
    };
    let body = Bytes::from((0..MIB).map(|i| (i * 31 / 7) as u8).collect::<Vec<u8>>());
    let service: Arc<dyn Service> = Arc::new(Answer { body: body.clone() });
    let mut config = NetworkConfig::new(Zeroizing::new([1; 32]), Arc::clone(&service));
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    config.limits.peer_requests_per_second = u32::MAX;
    config.limits.peer_bytes_per_second = u64::MAX;
    let node = Network::start(config).await?;
    let client = Network::start(NetworkConfig::new(Zeroizing::new([2; 32]), service)).await?;
    let peer = node.local();
    client.learn(peer, &node.listening());
    client.connect(peer, LONG).await?;
    if let Some(security) = client.peers().into_iter().next().and_then(|status| status.security) {
        println!("{} {} {}", security.protocol, security.cipher_suite, security.key_exchange);
    }
    bulk(&client, peer, 6, (MIB, 0), 128, &body).await?;
    println!("(the line above warms up)");
    for at_once in [1, 6] {
        bulk(&client, peer, at_once, (MIB, 0), count, &body).await?;
        bulk(&client, peer, at_once, (0, MIB), count, &body).await?;
    }
    for size in [0, 16 * 1024] {
        latency(&client, peer, size, &body).await?;
        rate(&client, peer, size, &body).await?;
    }
    client.shutdown().await;
    node.shutdown().await;
    Ok(())
}
