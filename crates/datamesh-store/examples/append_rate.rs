//! How fast shards become durable in a directory, beside what its disk can do at best.
//!
//! `cargo run -p datamesh-store --example append_rate -- <empty directory> [MiB per row]`
#![allow(clippy::disallowed_methods, reason = "a measurement takes real time on real threads")]
#![expect(clippy::print_stdout, reason = "a program that reports on standard output")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use datamesh_core::certificate::Issuer;
use datamesh_core::descriptor::SUITE_AES256GCM_BLAKE3_RS;
use datamesh_core::{
    Descriptor, Entropy, Grant, Hash, NodeId, PublicKey, Receipt, Scheme, Signature, StoreTicket,
};
use datamesh_store::{Directory, Disk, Owner, ShardWrite, Store, StoreConfig};

const NODE: NodeId = NodeId([7; 32]);

/// A store's id in a measurement is no secret.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(1);
    }
}

/// User and system time of this process in seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    // utime and stime, in ticks of 10 ms.
    (ticks(11) + ticks(12)) / 100.0
}

/// Write calls of this process so far.
fn writes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("syscw: "));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn put(store: &Store, cells: &Bytes, number: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.to_le_bytes());
    let descriptor = Descriptor {
        suite: SUITE_AES256GCM_BLAKE3_RS,
        scheme: Scheme::FOUR_TWO,
        cell: 64 * 1024,
        length: 4 * cells.len() as u32,
        roots: vec![Hash([1; 32]); 6],
        // Makes each segment another one.
        lease_key: PublicKey(key),
    };
    let segment = descriptor.id();
    store.put_shard(ShardWrite {
        descriptor,
        shard: 0,
        ticket: StoreTicket {
            segment,
            shard_length: cells.len() as u32,
            signature: Signature([5; 64]),
        },
        grant: Grant {
            key: PublicKey([1; 32]),
            bytes_per_node: u64::MAX,
            serial: 1,
            expiry: 0,
            issuer: Issuer::Authority,
            signature: Signature([1; 64]),
        },
        cells: cells.clone(),
        stored_at: 0,
        lease_epoch: 0,
        lease_expiry: 0,
        sign_receipt: &|sequence| Receipt {
            segment,
            shard: 0,
            node: NODE,
            sequence,
            expiry: 0,
            signature: Signature([3; 64]),
        },
    })?;
    Ok(())
}

fn measure(
    disk: &Arc<dyn Disk>,
    shard: usize,
    threads: u64,
    total: u64,
    numbers: &AtomicU64,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let owner = Owner { node: NODE, store: None };
    let store = Store::open(disk.clone(), StoreConfig::new(1 << 40), &owner, &Fixed)?;
    let cells = Bytes::from(vec![0xA5; shard]);
    // The first writes make the buffers and the pack.
    for _ in 0..4 {
        put(&store, &cells, numbers.fetch_add(1, Ordering::Relaxed))?;
    }
    let left = AtomicU64::new(total / shard as u64);
    let (start, cpu, groups) = (Instant::now(), cpu_seconds(), writes());
    std::thread::scope(|scope| -> Result<(), Box<dyn Error + Send + Sync>> {
        let writers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<(), Box<dyn Error + Send + Sync>> {
                    let take = |left: u64| left.checked_sub(1);
                    let next =
                        || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
                    while next() {
                        put(&store, &cells, numbers.fetch_add(1, Ordering::Relaxed))?;
                    }
                    Ok(())
                })
            })
            .collect();
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        Ok(())
    })?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let groups = writes() - groups;
    println!(
        "{:>5} KiB shards, {threads} threads: {:>6.0} MB/s, {:>6.0} shards/s, {:.3} CPU s/GB, \
         {:.1} shards a write",
        shard / 1024,
        total as f64 / 1e6 / seconds,
        total as f64 / shard as f64 / seconds,
        cpu * 1e9 / total as f64,
        total as f64 / shard as f64 / groups.max(1) as f64,
    );
    Ok(())
}

/// Appends of one block with a sync each, by the same way.
fn raw(disk: &Arc<dyn Disk>, block: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
    let file = disk.create("raw")?;
    let memory = vec![0x5A; block + 4096];
    let start = memory.as_ptr().align_offset(4096);
    let bytes = &memory[start..start + block];
    let count = (256 << 20) / block.max(512 * 1024) as u64;
    file.allocate(0, count * block as u64)?;
    let begun = Instant::now();
    for number in 0..count {
        file.write_at(number * block as u64, bytes)?;
        file.sync_data()?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{:>5} KiB raw writes, a sync each: {:>6.0} MB/s, {:>6.0} syncs/s",
        block / 1024,
        (count * block as u64) as f64 / 1e6 / seconds,
        count as f64 / seconds
    );
    disk.remove("raw")?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: append_rate <empty directory> [MiB per row]";
    let path = arguments.next().ok_or(usage)?;
    let mib: u64 = arguments.next().map_or(Ok(512), |text| text.parse())?;
    let disk: Arc<dyn Disk> = Arc::new(Directory::open(Path::new(&path))?);
    let numbers = AtomicU64::new(0);
    for shard in [1 << 20, 64 << 10] {
        for threads in [1, 8] {
            // A row of small shards has fewer bytes, as each costs a sync.
            let total = if shard < 1 << 20 { mib << 17 } else { mib << 20 };
            measure(&disk, shard, threads, total, &numbers)?;
        }
    }
    raw(&disk, 4096)?;
    raw(&disk, 1 << 20)?;
    Ok(())
}
