//! Sealing, coding, hashing, rebuilding and opening one segment.

use bytes::Bytes;
use datamesh_codec::code::erasure_code;
use datamesh_codec::{Layout, Pool, encode, rebuild};
use datamesh_core::descriptor::SUITE_AES256GCM_BLAKE3_RS;
use datamesh_core::{Descriptor, Entropy, Hash, PublicKey, Scheme};
use datamesh_crypto::frame::{Opener, Sealer, TAG_BYTES};

use crate::limits::repeat;
use crate::report::Report;

const SEGMENT: usize = 4 << 20;
const FRAME: usize = 64 * 1024;

/// Keys of a measurement are no secret.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(1);
    }
}

pub(super) fn measure(report: &mut Report) {
    let layout = Layout { scheme: Scheme::FOUR_TWO, cell: FRAME, length: SEGMENT };
    let mut buffer: Vec<u8> = (0..layout.buffer_length()).map(|i| (i * 31 / 7) as u8).collect();
    let frames = SEGMENT / FRAME;
    let text = vec![0x5A; FRAME - TAG_BYTES];
    repeat("seal", SEGMENT, report, || {
        let (mut sealer, _) = Sealer::draw(&Fixed);
        for (number, frame) in buffer[..SEGMENT].chunks_exact_mut(FRAME).enumerate() {
            sealer.seal(number + 1 == frames, &text, frame).unwrap();
        }
    });
    let (mut sealer, key) = Sealer::draw(&Fixed);
    for (number, frame) in buffer[..SEGMENT].chunks_exact_mut(FRAME).enumerate() {
        sealer.seal(number + 1 == frames, &text, frame).unwrap();
    }
    let mut plain = vec![0; FRAME - TAG_BYTES];
    let opener = Opener::new(&key);
    repeat("open", SEGMENT, report, || {
        for (number, frame) in buffer[..SEGMENT].chunks_exact(FRAME).enumerate() {
            opener.open(number as u32, number + 1 == frames, frame, &mut plain).unwrap();
        }
    });
    let length = layout.shard_length();
    let code = erasure_code(layout.scheme).unwrap();
    repeat("code", SEGMENT, report, || {
        let (data, parity) = buffer.split_at_mut(length * layout.scheme.k());
        let data: Vec<&[u8]> = data.chunks_exact(length).collect();
        let mut parity: Vec<&mut [u8]> = parity.chunks_exact_mut(length).collect();
        code.encode(&data, &mut parity).unwrap();
    });
    repeat("hash the roots of all six shards", SEGMENT, report, || {
        for shard in buffer.chunks_exact(length) {
            std::hint::black_box(Hash::of(shard));
        }
    });
    let mut roots = Vec::new();
    repeat("code and hash", SEGMENT, report, || roots = encode(&layout, &mut buffer).unwrap());
    let descriptor = Descriptor {
        suite: SUITE_AES256GCM_BLAKE3_RS,
        scheme: layout.scheme,
        cell: layout.cell as u32,
        length: layout.length as u32,
        roots,
        lease_key: PublicKey([1; 32]),
    };
    let whole = Bytes::from(buffer);
    let mut shards: Vec<Option<Bytes>> =
        (0..6).map(|i| Some(whole.slice(i * length..(i + 1) * length))).collect();
    shards[0] = None;
    shards[2] = None;
    let pool = Pool::new(16 << 20);
    repeat("rebuild two data shards and check them", SEGMENT, report, || {
        std::hint::black_box(rebuild(&descriptor, &shards, &[0, 2], &pool).unwrap());
    });
}
