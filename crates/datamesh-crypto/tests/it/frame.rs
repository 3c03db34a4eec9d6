//! Frames open only as what they were sealed as.

use datamesh_crypto::frame::{Opener, Sealer, TAG_BYTES, frame_count, sealed_length};
use proptest::prelude::*;

use crate::Counter;

fn seal(plain: &[u8], frame: usize, seed: u64) -> (Vec<Vec<u8>>, datamesh_crypto::Secret) {
    let (mut sealer, key) = Sealer::draw(&Counter::new(seed));
    let count = frame_count(plain.len(), frame);
    let mut frames = Vec::new();
    for number in 0..count {
        let start = number * (frame - TAG_BYTES);
        let end = plain.len().min(start + frame - TAG_BYTES);
        let mut bytes = vec![0; end - start + TAG_BYTES];
        sealer.seal(number + 1 == count, &plain[start..end], &mut bytes).unwrap();
        frames.push(bytes);
    }
    (frames, key)
}

proptest! {
    #[test]
    fn what_was_sealed_opens_and_nothing_else(
        plain in proptest::collection::vec(any::<u8>(), 0..5000), flip in any::<u32>(),
    ) {
        let (frames, key) = seal(&plain, 1024, 1);
        prop_assert_eq!(
            frames.iter().map(Vec::len).sum::<usize>(), sealed_length(plain.len(), 1024));
        let opener = Opener::new(&key);
        let mut opened = Vec::new();
        for (number, frame) in frames.iter().enumerate() {
            let last = number + 1 == frames.len();
            let mut out = vec![0; frame.len() - TAG_BYTES];
            opener.open(number as u32, last, frame, &mut out).unwrap();
            opened.extend_from_slice(&out);

            // Another number, the other flag, another key, a flipped bit: nothing comes out.
            prop_assert!(opener.open(number as u32 + 1, last, frame, &mut out).is_err());
            prop_assert!(opener.open(number as u32, !last, frame, &mut out).is_err());
            let other = Opener::new(&seal(b"", 1024, 2).1);
            prop_assert!(other.open(number as u32, last, frame, &mut out).is_err());
            let mut changed = frame.clone();
            let at = flip as usize % changed.len();
            changed[at] ^= 1 << (flip % 8);
            prop_assert!(opener.open(number as u32, last, &changed, &mut out).is_err());
            prop_assert!(out.iter().all(|byte| *byte == 0));
        }
        prop_assert_eq!(opened, plain);
    }
}

#[test]
fn a_frame_without_room_for_its_tag_is_an_error() {
    let (mut sealer, key) = Sealer::draw(&Counter::new(1));
    assert!(sealer.seal(true, &[], &mut [0; 15]).is_err());
    assert!(sealer.seal(true, &[7; 5], &mut [0; 5]).is_err());
    assert!(sealer.seal(true, &[7; 5], &mut [0; 22]).is_err());
    assert!(Opener::new(&key).open(0, true, &[0; 15], &mut []).is_err());
}
