//! Streams under a password open with it and with nothing else.

use datamesh_crypto::age::{AgeError, CHUNK_BYTES, ChunkKey, WORK_MAX, begin, check, is_age, open};

use crate::Counter;

const PASSWORD: &str = "correct horse";

fn sealed(plain: &[u8]) -> Vec<u8> {
    let (mut stream, key) = begin(PASSWORD, 2, &Counter::new(1)).unwrap();
    let chunks: Vec<&[u8]> = match plain.is_empty() {
        true => vec![&[]],
        false => plain.chunks(CHUNK_BYTES).collect(),
    };
    for (number, chunk) in chunks.iter().enumerate() {
        let mut chunk = chunk.to_vec();
        key.seal(number as u64, number + 1 == chunks.len(), &mut chunk).unwrap();
        stream.extend_from_slice(&chunk);
    }
    stream
}

fn header(text: &str) -> Result<(usize, ChunkKey), AgeError> {
    open(format!("age-encryption.org/v1\n{text}").as_bytes(), PASSWORD)
}

#[test]
fn a_stream_opens_with_its_password_only_and_damage_is_noticed() {
    let stream = sealed(b"a text");
    assert!(is_age(&stream));
    let (begins, key) = open(&stream, PASSWORD).unwrap();
    let mut chunk = stream[begins..].to_vec();
    key.open(0, true, &mut chunk).unwrap();
    assert_eq!(chunk, b"a text");
    assert_eq!(open(&stream, "correct horsf").err(), Some(AgeError::Password));
    for at in 0..stream.len() {
        let mut changed = stream.clone();
        changed[at] ^= 1;
        let opened = open(&changed, PASSWORD).and_then(|(begins, key)| {
            let mut chunk = changed[begins..].to_vec();
            key.open(0, true, &mut chunk).inspect_err(|_| assert!(chunk.is_empty()))
        });
        assert!(opened.is_err(), "byte {at}");
    }
    for cut in 0..begins {
        assert!(open(&stream[..cut], PASSWORD).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_chunk_opens_in_its_place_only() {
    let (_, key) = begin(PASSWORD, 2, &Counter::new(1)).unwrap();
    let mut sealed = b"a chunk".to_vec();
    key.seal(3, false, &mut sealed).unwrap();
    for (number, last) in [(3, true), (2, false), (4, false), (3 + (1 << 32), false)] {
        let opened = key.open(number, last, &mut sealed.clone());
        assert_eq!(opened, Err(AgeError::Chunk { number }));
    }
    key.open(3, false, &mut sealed).unwrap();
    // Only a stream without content ends in an empty chunk.
    for (number, last, fits) in [(0, true, true), (0, false, false), (1, true, false)] {
        let mut empty = Vec::new();
        key.seal(number, last, &mut empty).unwrap();
        assert_eq!(key.open(number, last, &mut empty).is_ok(), fits);
    }
    // A damaged empty chunk is no empty chunk.
    assert!(key.open(0, true, &mut vec![0; 16]).is_err());
    assert!(key.open(0, true, &mut vec![0; 15]).is_err());
}

#[test]
fn headers_have_one_form_and_their_cost_is_bounded() {
    let stream = sealed(b"");
    let text = String::from_utf8(stream[22..stream.len() - 32].to_vec()).unwrap();
    let again = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        header(&text.replacen(from, to, 1)).err()
    };
    assert_eq!(again(" 2\n", " 21\n"), Some(AgeError::Work { asked: 21 }));
    assert_eq!(again(" 2\n", " 255\n"), Some(AgeError::Work { asked: 255 }));
    for (from, to) in [
        (" 2\n", " 02\n"),
        (" 2\n", " +2\n"),
        (" 2\n", " 256\n"),
        (" 2\n", " 2 x\n"),
        (" 2\n", "\n"),
        ("---", "-> scrypt x 2\nx\n---"),
        ("--- ", "---"),
        ("\n---", "=\n---"),
    ] {
        assert!(matches!(again(from, to), Some(AgeError::Header(_))), "{to:?}");
    }
    assert_eq!(again("scrypt", "X25519"), Some(AgeError::Recipient));
    assert_eq!(header("").err(), Some(AgeError::Header("it ends too early")));
    assert_eq!(
        header(&"-> scrypt ".repeat(200)).err(),
        Some(AgeError::Header("it ends too early"))
    );
    assert_eq!(check(b"age-encryption.org/v2\n"), Err(AgeError::Format));
    assert!(begin(PASSWORD, WORK_MAX + 1, &Counter::new(1)).is_err());
    assert!(begin(PASSWORD, 0, &Counter::new(1)).is_err());
}
