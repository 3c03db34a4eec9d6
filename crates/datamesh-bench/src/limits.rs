//! What this machine can do at best: the figures that ours are compared with.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use datamesh_store::{Directory, Disk};

use crate::accounting::{Meter, own_seconds};
use crate::report::{Report, Row};

/// How long a figure that repeats one thing is taken.
const WHILE: Duration = Duration::from_millis(700);

const MIB: usize = 1 << 20;

/// Repeats `work`, which handles `bytes` each time, for a while: MB/s and processor seconds a GB.
pub(crate) fn repeat(name: &str, bytes: usize, report: &mut Report, mut work: impl FnMut()) {
    // Once before, so that memory and tables are there.
    work();
    let meter = Meter::own();
    let started = Instant::now();
    let mut count = 0u64;
    while started.elapsed() < WHILE {
        work();
        count += 1;
    }
    let (seconds, cpu) = meter.read(own_seconds());
    let handled = (count * bytes as u64) as f64;
    let row = Row::of(name).with(handled / 1e6 / seconds, "MB/s");
    report.row(&row.with(cpu * 1e9 / handled, "CPU s/GB"));
}

pub(crate) fn measure(folder: &Path, report: &mut Report) {
    report.heading("Limits of this machine (one thread where nothing else is said)");
    let source = vec![0x5A_u8; 64 * MIB];
    let mut target = vec![0_u8; 64 * MIB];
    repeat("copy memory, 64 MiB", source.len(), report, || {
        std::hint::black_box(&mut target).copy_from_slice(std::hint::black_box(&source));
    });
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
    let mut frame = vec![0_u8; 64 * 1024];
    repeat("AES-256-GCM, 64 KiB", frame.len(), report, || {
        let nonce = Nonce::assume_unique_for_key([1; 12]);
        let _tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut frame).unwrap();
    });
    repeat("BLAKE3, 1 MiB", MIB, report, || {
        std::hint::black_box(blake3::hash(&source[..MIB]));
    });
    tcp(report);
    for (block, name) in [
        (4096, "disk: 4 KiB, a sync each"),
        (MIB, "disk: 1 MiB, a sync each"),
        (8 * MIB, "disk: 8 MiB, a sync each"),
    ] {
        disk(folder, block, name, report);
    }
    cached(folder, report);
    small_files(folder, report);
}

/// A large file written through the page cache: what a get costs on top of everything else where
/// the disk is too slow to be written directly. Where memory is lent to this machine by another,
/// each fresh page may cost more than all else.
fn cached(folder: &Path, report: &mut Report) {
    let mut file = tempfile::tempfile_in(folder).unwrap();
    let block = vec![0x5A; MIB / 4];
    let meter = Meter::own();
    for _ in 0..4096 {
        file.write_all(&block).unwrap();
    }
    let (seconds, cpu) = meter.read(own_seconds());
    let total = (4096 * block.len()) as f64;
    let row = Row::of("file system: 1 GiB through the page cache");
    report.row(&row.with(total / 1e6 / seconds, "MB/s").with(cpu * 1e9 / total, "CPU s/GB"));
}

/// Small files made under a temporary name and renamed, as a get does it.
fn small_files(folder: &Path, report: &mut Report) {
    let folder = tempfile::Builder::new().prefix("datamesh-bench-").tempdir_in(folder).unwrap();
    let block = vec![0x5A; 64 * 1024];
    let meter = Meter::own();
    for i in 0..1000 {
        let (part, name) = (folder.path().join(".part"), folder.path().join(format!("{i}")));
        std::fs::write(&part, &block).unwrap();
        std::fs::rename(&part, &name).unwrap();
    }
    let (seconds, cpu) = meter.read(own_seconds());
    let total = (1000 * block.len()) as f64;
    let row = Row::of("file system: 1000 files of 64 KiB").with(total / 1e6 / seconds, "MB/s");
    report.row(&row.with(1000.0 / seconds, "files/s").with(cpu * 1e9 / total, "CPU s/GB"));
}

/// One connection over loopback, 1 MiB at once.
fn tcp(report: &mut Report) {
    let total = 4096 * MIB;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let meter = Meter::own();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut block, mut got) = (vec![0; MIB], 0);
        loop {
            match stream.read(&mut block).unwrap() {
                0 => return got,
                count => got += count,
            }
        }
    });
    let mut stream = TcpStream::connect(address).unwrap();
    let block = vec![1; MIB];
    for _ in 0..total / MIB {
        stream.write_all(&block).unwrap();
    }
    drop(stream);
    assert_eq!(reader.join().unwrap(), total);
    let (seconds, cpu) = meter.read(own_seconds());
    let row = Row::of("TCP over loopback, both ends").with(total as f64 / 1e6 / seconds, "MB/s");
    report.row(&row.with(cpu * 1e9 / total as f64, "CPU s/GB"));
}

/// Aligned writes past the page cache into reserved space, each followed by a sync: the way packs
/// are written.
fn disk(folder: &Path, block: usize, name: &str, report: &mut Report) {
    let folder = tempfile::Builder::new().prefix("datamesh-bench-").tempdir_in(folder).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(Directory::open(folder.path()).unwrap());
    let file = disk.create("raw").unwrap();
    let memory = vec![0x5A; block + 4096];
    let start = memory.as_ptr().align_offset(4096);
    let bytes = &memory[start..start + block];
    let count = (512 * MIB / block.max(512 * 1024)) as u64;
    file.allocate(0, count * block as u64).unwrap();
    let meter = Meter::own();
    for number in 0..count {
        file.write_at(number * block as u64, bytes).unwrap();
        file.sync_data().unwrap();
    }
    let (seconds, cpu) = meter.read(own_seconds());
    let total = (count * block as u64) as f64;
    let row = Row::of(name).with(total / 1e6 / seconds, "MB/s");
    let row = row.with(count as f64 / seconds, "syncs/s");
    report.row(&row.with(cpu * 1e9 / total, "CPU s/GB"));
}
