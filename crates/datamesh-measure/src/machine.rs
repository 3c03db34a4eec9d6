//! Memory, ciphers, hashes, and the network inside the machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::{MIB, MeasureError, Rate, io, repeat};

/// Bytes of a frame as content is sealed in.
const FRAME: usize = 64 * 1024;

/// Copies 64 MiB of memory again and again.
///
/// # Errors
/// None.
pub fn copy(time: Duration) -> Result<Rate, MeasureError> {
    let source = vec![0x5A_u8; 64 * MIB];
    let mut target = vec![0_u8; 64 * MIB];
    repeat(source.len(), time, || {
        std::hint::black_box(&mut target).copy_from_slice(std::hint::black_box(&source));
        Ok(())
    })
}

/// Seals frames of 64 KiB with AES-256-GCM.
///
/// # Errors
/// [`MeasureError::Broken`] where the cipher refuses.
pub fn seal(time: Duration) -> Result<Rate, MeasureError> {
    let broken = || MeasureError::Broken("sealing");
    let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| broken())?;
    let key = LessSafeKey::new(key);
    let mut frame = vec![0_u8; FRAME];
    repeat(FRAME, time, || {
        // Nothing is kept secret here, so that one nonce may serve.
        let nonce = Nonce::assume_unique_for_key([1; 12]);
        key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut frame)
            .map(drop)
            .map_err(|_| broken())
    })
}

/// Hashes 1 MiB with BLAKE3.
///
/// # Errors
/// None.
pub fn hash(time: Duration) -> Result<Rate, MeasureError> {
    let source = vec![0x5A_u8; MIB];
    repeat(MIB, time, || {
        std::hint::black_box(blake3::hash(&source));
        Ok(())
    })
}

/// Sends bytes over one connection on loopback, 1 MiB at once, with a thread at the other end.
///
/// # Errors
/// [`MeasureError::Io`] where there is no loopback.
pub fn loopback(bytes: u64) -> Result<Rate, MeasureError> {
    let wrong = io("TCP over loopback");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(&wrong)?;
    let address = listener.local_addr().map_err(&wrong)?;
    let began = Instant::now();
    let reader = std::thread::spawn(move || -> std::io::Result<u64> {
        let (mut stream, _) = listener.accept()?;
        let (mut block, mut got) = (vec![0; MIB], 0);
        loop {
            match stream.read(&mut block)? {
                0 => return Ok(got),
                count => got += count as u64,
            }
        }
    });
    let mut stream = TcpStream::connect(address).map_err(&wrong)?;
    let block = vec![1; MIB];
    let count = bytes.div_ceil(MIB as u64);
    for _ in 0..count {
        stream.write_all(&block).map_err(&wrong)?;
    }
    drop(stream);
    let got = reader.join().map_err(|_| MeasureError::Broken("reading"))?.map_err(&wrong)?;
    Ok(Rate { count, bytes: got, time: began.elapsed() })
}

/// Fills `bytes` with numbers that no compression makes fewer, others for each seed: SplitMix64 (Steele, Lea
/// and Flood 2014), faster than anything that is measured with them, and no secret.
pub fn noise(seed: u64, bytes: &mut [u8]) {
    let mut state = seed.wrapping_mul(0xD134_2543_DE82_EF95);
    for word in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..word.len()]);
    }
}
