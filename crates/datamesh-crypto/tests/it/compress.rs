//! What shrinks comes back as it was, and no frame takes more than it was given.

use datamesh_crypto::compress::{CompressError, Effort, Zstd};
use proptest::prelude::*;

use crate::Counter;

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    datamesh_core::Entropy::fill(&Counter::new(seed), &mut bytes);
    bytes
}

/// Text of so many bytes that shrinks well.
fn text(length: usize) -> Vec<u8> {
    (0..)
        .flat_map(|line: u32| format!("line {line} of a log\n").into_bytes())
        .take(length)
        .collect()
}

proptest! {
    #[test]
    fn what_shrinks_comes_back_whatever_follows_it(
        piece in proptest::collection::vec(any::<u8>(), 1..200),
        times in 1usize..400, padding in 0usize..5000,
    ) {
        let (zstd, content) = (Zstd::default(), piece.repeat(times));
        if let Some(mut frame) = zstd.shrunk(&content, Effort::Put) {
            prop_assert!(frame.len() <= content.len() - content.len() / 8);
            let length = frame.len();
            frame.resize(length + padding, 0);
            let mut plain = vec![1; content.len()];
            prop_assert_eq!(zstd.expand(&frame, &mut plain), Ok(()));
            prop_assert!(plain == content);
            // Neither more nor less than the manifest says, and not from a part of the frame.
            let mut less = vec![0; content.len() - 1];
            prop_assert_eq!(zstd.expand(&frame, &mut less), Err(CompressError::Length));
            let mut more = vec![0; content.len() + 1];
            prop_assert_eq!(zstd.expand(&frame, &mut more), Err(CompressError::Length));
            prop_assert!(zstd.expand(&frame[..length - 1], &mut plain).is_err());
        }
    }

    #[test]
    fn foreign_bytes_are_refused_or_give_what_was_asked_for(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), room in 0usize..2000,
    ) {
        let mut plain = vec![0; room];
        let _ = Zstd::default().expand(&bytes, &mut plain);
        prop_assert_eq!(plain.len(), room);
    }
}

#[test]
fn text_shrinks_at_every_size_and_noise_at_none() {
    let zstd = Zstd::default();
    for length in [4097, 12 * 1024, 12 * 1024 + 1, 70_000, 4_193_280] {
        assert!(
            zstd.shrunk(&text(length), Effort::Put).is_some_and(|frame| frame.len() < length / 3),
            "{length}"
        );
        assert!(zstd.shrunk(&noise(1, length), Effort::Put).is_none(), "{length}");
    }
    assert!(zstd.shrunk(&[], Effort::Put).is_none());
}

#[test]
fn a_sample_that_promises_too_much_costs_the_attempt_and_nothing_else() {
    // Text where the sample is taken, noise between: the whole does not shrink by an eighth.
    let mut content = noise(2, 1_000_000);
    let (piece, step) = (4096, (1_000_000 - 4096) / 2);
    for number in 0..3 {
        content[number * step..number * step + piece].copy_from_slice(&text(piece));
    }
    assert!(Zstd::default().shrunk(&content, Effort::Put).is_none());
}

#[test]
fn a_frame_that_claims_gigabytes_gets_the_room_of_its_slice() {
    let zstd = Zstd::default();
    // A header that says 2^60 bytes, and one run-length block of the largest size, again and again.
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    bomb.extend_from_slice(&(1u64 << 60).to_le_bytes());
    for _ in 0..100_000 {
        bomb.extend_from_slice(&[0x02, 0x00, 0x10, 0x00]);
    }
    bomb.extend_from_slice(&[0x03, 0x00, 0x10, 0x00]);
    let mut plain = vec![0; 1000];
    assert!(zstd.expand(&bomb, &mut plain).is_err());
}
