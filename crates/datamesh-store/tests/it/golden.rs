//! The format, byte for byte: what this program writes today every later one must read.
//!
//! `DATAMESH_BLESS=1` writes the files anew; otherwise they are compared.

use std::path::PathBuf;
use std::sync::Arc;

use datamesh_core::lease::{Release, Renewal, SegmentPin};
use datamesh_core::wire::Encode;
use datamesh_core::{PublicKey, Signature, StoreTicket};
use datamesh_store::record::{
    Compacted, Head, Kind, Lease, PackHeader, RECORD_ALIGNMENT, ShardMark, ShardMeta, Tombstone,
    encode_record,
};
use datamesh_store::{
    Damage, LeaseState, ScrubCursor, ShardState, Store, StoreError, StoreId, name_of,
};
use datamesh_testkit::FaultyDisk;

use crate::sample::{MIB, Segment, assert_whole, grant, open, put, receipt};

/// The id that the samples' entropy gives a new store.
fn store_id() -> StoreId {
    open(FaultyDisk::new(0, MIB).mount(), MIB).unwrap().id()
}

fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/pack");
    let path = folder.join(name);
    if std::env::var_os("DATAMESH_BLESS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, written).unwrap();
    }
    let stored = std::fs::read(&path).unwrap();
    assert!(stored == written, "{name} is not what this program writes");
    stored
}

/// A store whose first pack has those bytes.
fn over(pack: &[u8]) -> (FaultyDisk, Arc<Store>) {
    let disk = FaultyDisk::new(0, 64 * MIB);
    drop(open(disk.mount(), MIB).unwrap());
    disk.place(&name_of(1), pack);
    let store = open(disk.mount(), MIB).unwrap();
    (disk, store)
}

/// Lays records of any kind one after the other, each group at a block.
struct Layer {
    bytes: Vec<u8>,
    sequence: u64,
}

impl Layer {
    fn new() -> Self {
        let mut layer = Self { bytes: Vec::new(), sequence: 0 };
        layer.add(Kind::PackHeader as u8, &PackHeader { pack: 1 }.to_bytes(), &[]);
        layer.group();
        layer
    }

    fn add(&mut self, kind: u8, hashed: &[u8], rest: &[u8]) -> &mut Self {
        let place = (1, self.bytes.len() as u64);
        let record = encode_record(&store_id(), place, (kind, 1), self.sequence, hashed, rest);
        self.bytes.extend_from_slice(&record);
        self.sequence += 1;
        self
    }

    fn group(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4096), 0);
    }

    fn shard(&mut self, segment: &Segment, shard: u8) -> &mut Self {
        let meta = ShardMeta {
            descriptor: segment.descriptor.clone(),
            shard,
            ticket: StoreTicket {
                segment: segment.id(),
                shard_length: 2048,
                lease_end: 0,
                signature: Signature([5; 64]),
            },
            grant: grant(1, 1 << 30).id(),
            stored_at: 1_000,
            lease_epoch: 0,
            lease_expiry: 0,
        };
        self.add(Kind::Shard as u8, &meta.to_bytes(), &segment.shards[usize::from(shard)])
    }

    fn mark(&mut self, kind: Kind, segment: &Segment, shard: u8) -> &mut Self {
        let mark = ShardMark { segment: segment.id(), shard, time: 2_000 };
        self.add(kind as u8, &mark.to_bytes(), &[])
    }
}

#[test]
fn a_record_of_each_kind_is_read_and_folded() {
    let (one, two) = (Segment::small(1), Segment::small(2));
    let mut layer = Layer::new();
    layer.add(Kind::Grant as u8, &grant(1, 1 << 30).to_bytes(), &[]);
    layer.shard(&one, 0).shard(&one, 1).shard(&one, 2).shard(&one, 3).shard(&two, 5);
    let given = receipt(one.id(), 0, layer.sequence);
    layer.add(Kind::Receipt as u8, &given.to_bytes(), &[]);
    let signature = Signature([4; 64]);
    let renewal = Renewal { segment: one.id(), epoch: 3, expiry: 1_500, signature };
    layer.add(Kind::Lease as u8, &Lease { renewal, time: 1_200 }.to_bytes(), &[]);
    let release = Release { segment: two.id(), epoch: 4, signature };
    layer.add(Kind::Release as u8, &release.to_bytes(), &[]);
    let head = |revision, head: &[u8]| {
        Head { account: [6; 32], log: [7; 16], revision, head: head.to_vec() }.to_bytes()
    };
    layer.add(Kind::Head as u8, &head(2, b"newer"), &[]);
    layer.add(Kind::Head as u8, &head(1, b"older"), &[]);
    layer.add(99, b"of a later program", b"and not hashed");
    layer.mark(Kind::Trash, &one, 1).mark(Kind::Trash, &one, 2).mark(Kind::Revive, &one, 2);
    layer.mark(Kind::Trash, &one, 3).mark(Kind::Removed, &one, 3);
    layer.group();

    let (_disk, store) = over(&golden("kinds.dmp", &layer.bytes));
    assert_eq!((store.held(one.id()), store.held(two.id())), (0b101, 0b10_0000));
    assert_whole(&store, &one, 0);
    assert_whole(&store, &one, 2);
    assert_whole(&store, &two, 5);
    assert_eq!(store.shard_state(one.id(), 1), Some(ShardState::Trash));
    assert!(matches!(store.read_shard(one.id(), 1), Err(StoreError::NotFound { .. })));
    assert_eq!(store.shard_state(one.id(), 3), None);
    assert_eq!(store.receipt(one.id(), 0).unwrap(), Some(given));
    assert_eq!(store.receipt(two.id(), 5).unwrap(), None);
    assert_eq!(store.grant(&grant(1, 1 << 30).id()).unwrap(), grant(1, 1 << 30));
    let leased = LeaseState { epoch: 3, expiry: 1_500, released: false };
    assert_eq!(store.lease(one.id()), Some(leased));
    let released = LeaseState { epoch: 4, expiry: 0, released: true };
    assert_eq!(store.lease(two.id()), Some(released));
    let kept = store.head(&([6; 32], [7; 16])).unwrap().unwrap();
    assert_eq!((kept.revision, &kept.head[..]), (2, &b"newer"[..]));
    assert_eq!(store.head(&([6; 32], [8; 16])).unwrap(), None);
    assert_eq!(store.heads_after(None, 10), [(([6; 32], [7; 16]), 2)]);
    // Trashed bytes are still kept under the grant, removed ones are not.
    assert_eq!(store.usage().unwrap().grants[0].bytes, 4 * 2048);

    // Whatever is stored again gets a new record, which counts from then on.
    let renewed = put(&store, &one, 3).unwrap();
    assert!(renewed.sequence > layer.sequence);
    put(&store, &one, 1).unwrap();
    assert_eq!(store.held(one.id()), 0b1111);
}

#[test]
fn a_tombstone_outlives_its_shards() {
    let (gone, kept) = (Segment::small(1), Segment::small(2));
    let mut layer = Layer::new();
    layer.add(Kind::Grant as u8, &grant(1, 1 << 30).to_bytes(), &[]);
    layer.shard(&gone, 0).shard(&gone, 1).shard(&kept, 0);
    let release = Release { segment: gone.id(), epoch: 4, signature: Signature([4; 64]) };
    let tombstone = Tombstone { release, lease_key: PublicKey([9; 32]), time: 2_000 };
    layer.add(Kind::Tombstone as u8, &tombstone.to_bytes(), &[]);
    layer.mark(Kind::Trash, &gone, 0).mark(Kind::Trash, &gone, 1).mark(Kind::Removed, &gone, 1);
    layer.add(Kind::Compacted as u8, &Compacted { pack: 7 }.to_bytes(), &[]);
    layer.group();

    let (_disk, store) = over(&golden("collection.dmp", &layer.bytes));
    let released = LeaseState { epoch: 4, expiry: 0, released: true };
    assert_eq!(store.lease(gone.id()), Some(released));
    assert_eq!(store.tombstone(gone.id()).unwrap(), Some(tombstone));
    assert_eq!(store.lease_key(gone.id()).unwrap(), PublicKey([9; 32]));
    assert_eq!(store.shard_state(gone.id(), 0), Some(ShardState::Trash));
    assert_eq!(store.trashed_since(gone.id(), 0), Some(2_000));
    assert_eq!(store.shard_state(gone.id(), 1), None);
    assert_whole(&store, &kept, 0);
}

#[test]
fn a_moved_shard_is_served_and_not_held() {
    let segment = Segment::small(1);
    let mut layer = Layer::new();
    layer.add(Kind::Grant as u8, &grant(1, 1 << 30).to_bytes(), &[]);
    layer.shard(&segment, 0).shard(&segment, 1).shard(&segment, 2).shard(&segment, 3);
    // Its lease ended, so that a shard can be in the trash without a tombstone.
    let signature = Signature([4; 64]);
    let renewal = Renewal { segment: segment.id(), epoch: 1, expiry: 1_500, signature };
    layer.add(Kind::Lease as u8, &Lease { renewal, time: 1_200 }.to_bytes(), &[]);
    layer.mark(Kind::Moved, &segment, 1);
    layer.mark(Kind::Moved, &segment, 2).mark(Kind::Revive, &segment, 2);
    layer.mark(Kind::Moved, &segment, 3).mark(Kind::Trash, &segment, 3);
    layer.group();

    let (_disk, store) = over(&golden("moved.dmp", &layer.bytes));
    assert_eq!(store.held(segment.id()), 0b101);
    assert_eq!(store.shard_state(segment.id(), 1), Some(ShardState::Moved));
    assert_eq!(store.trashed_since(segment.id(), 1), Some(2_000));
    assert_eq!(store.read_shard(segment.id(), 1).unwrap().cells, segment.shards[1]);
    assert_eq!(store.shard_state(segment.id(), 3), Some(ShardState::Trash));
}

#[test]
fn the_newest_pin_counts_whatever_comes_last() {
    let (segment, gone) = (Segment::small(1), Segment::small(2));
    let mut layer = Layer::new();
    layer.add(Kind::Grant as u8, &grant(1, 1 << 30).to_bytes(), &[]);
    layer.shard(&segment, 0);
    let pin = |segment: &Segment, epoch, priority| {
        let (segment, signature) = (segment.id(), Signature([4; 64]));
        SegmentPin { segment, epoch, priority, until: 9_000, signature }.to_bytes()
    };
    layer.add(Kind::Pin as u8, &pin(&segment, 2, 7), &[]);
    layer.add(Kind::Pin as u8, &pin(&segment, 1, 9), &[]);
    layer.add(Kind::Pin as u8, &pin(&gone, 1, 9), &[]);
    layer.group();

    let (_disk, store) = over(&golden("pins.dmp", &layer.bytes));
    assert_eq!((store.priority(segment.id(), 8_999), store.priority(segment.id(), 9_000)), (7, 0));
    assert_eq!(store.kept_pin(segment.id()).unwrap().unwrap().epoch, 2);
    // Of a segment of which nothing is here nothing is remembered.
    assert_eq!(store.kept_pin(gone.id()).unwrap(), None);
}

#[test]
fn the_fold_does_not_depend_on_where_a_record_is() {
    let segment = Segment::small(1);
    // The trash of sequence 9, with its tombstone of 8, stands before the shard of sequence 5 and its
    // revival of 7.
    let mut layer = Layer::new();
    layer.sequence = 9;
    layer.mark(Kind::Trash, &segment, 0);
    layer.sequence = 8;
    let release = Release { segment: segment.id(), epoch: 4, signature: Signature([4; 64]) };
    let tombstone = Tombstone { release, lease_key: PublicKey([9; 32]), time: 2_000 };
    layer.add(Kind::Tombstone as u8, &tombstone.to_bytes(), &[]);
    layer.sequence = 7;
    layer.mark(Kind::Revive, &segment, 0);
    layer.sequence = 5;
    layer.shard(&segment, 0);
    layer.group();
    let (_disk, store) = over(&layer.bytes);
    assert_eq!(store.shard_state(segment.id(), 0), Some(ShardState::Trash));
}

/// Three segments in a sealed pack, and the first of the next.
fn sealed() -> Vec<u8> {
    let disk = FaultyDisk::new(0, 64 * MIB);
    let store = open(disk.mount(), 32 * 1024).unwrap();
    for seed in 0..4 {
        put(&store, &Segment::small(seed), 0).unwrap();
    }
    assert!(disk.contents(&name_of(2)).is_some());
    disk.contents(&name_of(1)).unwrap()
}

fn held(store: &Store) -> Vec<u64> {
    (0..4).filter(|seed| store.read_shard(Segment::small(*seed).id(), 0).is_ok()).collect()
}

#[test]
fn a_sealed_pack_is_known_from_its_table() {
    let pack = golden("sealed.dmp", &sealed());
    let (disk, store) = over(&pack);
    assert_eq!(held(&store), [0, 1, 2]);
    let report = store.scrub_next(ScrubCursor::default(), u64::MAX).unwrap();
    assert!(report.damaged.is_empty() && report.damaged_tables.is_empty());
    // A sealed pack stays as it is: what comes next goes into another.
    put(&store, &Segment::small(3), 0).unwrap();
    assert_eq!(disk.contents(&name_of(1)).unwrap(), pack);
    assert!(disk.contents(&name_of(2)).is_some());
}

/// Where the record of that kind begins.
fn find(pack: &[u8], kind: Kind) -> usize {
    let slots = (0..pack.len()).step_by(RECORD_ALIGNMENT);
    slots
        .filter(|at| pack[*at..].starts_with(b"DMRC"))
        .find(|at| pack[at + 4] == kind as u8)
        .unwrap()
}

#[test]
fn a_damaged_table_is_replaced_by_a_scan() {
    let mut pack = sealed();
    let at = find(&pack, Kind::PackTable);
    pack[at + 200] ^= 0x10;
    let (disk, store) = over(&golden("table-damaged.dmp", &pack));
    assert_eq!(held(&store), [0, 1, 2]);
    // What was there is still there, damage included.
    assert!(disk.contents(&name_of(1)).unwrap().starts_with(&pack));
}

#[test]
fn a_damaged_header_costs_its_record_only() {
    let mut pack = sealed();
    let at = find(&pack, Kind::Shard);
    pack[at + 12] ^= 1;
    let (_disk, store) = over(&golden("header-damaged.dmp", &pack));
    let error = store.read_shard(Segment::small(0).id(), 0).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { damage: Damage::Record, .. }), "{error}");
    assert_eq!(held(&store), [1, 2]);
}

#[test]
fn damaged_cells_cost_their_shard_only() {
    let mut pack = sealed();
    let at = find(&pack, Kind::Shard);
    pack[at + 1500] ^= 1;
    let (_disk, store) = over(&golden("cells-damaged.dmp", &pack));
    assert_eq!(held(&store), [1, 2]);
    let damaged = store.damaged_after(None, 9);
    assert_eq!(
        (damaged[0].segment, damaged[0].shard, damaged.len()),
        (Segment::small(0).id(), 0, 1)
    );
}

#[test]
fn a_torn_tail_leaves_what_came_before() {
    let mut pack = sealed();
    let last = Segment::small(2).shards[0].clone();
    let at = pack.windows(64).position(|window| window == &last[..64]).unwrap();
    pack.truncate(at + 512);
    let (_disk, store) = over(&golden("tail-torn.dmp", &pack));
    assert_eq!(held(&store), [0, 1]);
    put(&store, &Segment::small(2), 0).unwrap();
    put(&store, &Segment::small(3), 0).unwrap();
    assert_eq!(held(&store), [0, 1, 2, 3]);
}

#[test]
fn swapped_blocks_are_no_records() {
    let mut pack = sealed();
    let (first, second) = (pack[4096..8192].to_vec(), pack[8192..12288].to_vec());
    pack[4096..8192].copy_from_slice(&second);
    pack[8192..12288].copy_from_slice(&first);
    let (_disk, store) = over(&golden("swapped.dmp", &pack));
    assert_eq!(held(&store), [2]);
}
