//! The bytes of the peer book; the layout is in the parent module.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use datamesh_core::NodeId;
use datamesh_core::wire::{Reader, WireError, Writer};

use super::{Known, KnownAddress};
use crate::address;

const MAGIC: &[u8; 14] = b"datamesh-peers";
const VERSION: u8 = 1;

/// Largest file that is read: 4096 peers with 8 addresses of 100 bytes are 4 MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Longest address in characters.
const ADDRESS_CHARS_MAX: usize = 600;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the file is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the file is not a peer book")]
    Magic,
    #[error("version {0} of the peer book is not known")]
    Version(u8),
    #[error("the checksum does not match")]
    Checksum,
    #[error("the file does not follow its layout: {0}")]
    Layout(#[from] WireError),
}

/// Reads the book. A file that does not exist is an empty one.
pub(super) fn read(path: &Path) -> Result<BTreeMap<NodeId, Known>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLarge);
    }
    decode(&bytes)
}

/// Replaces the file: after a crash there is the old one or the new one.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = folder.join(name);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

pub(super) fn encode(peers: &BTreeMap<NodeId, Known>) -> Vec<u8> {
    let mut out = Writer::new();
    out.raw(MAGIC).u8(VERSION).u32(peers.len() as u32);
    for (id, known) in peers {
        out.raw(&id.0).u64(known.last_success).u32(known.failures);
        out.u8(known.addresses.len().min(usize::from(u8::MAX)) as u8);
        for it in known.addresses.iter().take(usize::from(u8::MAX)) {
            out.u64(it.last_success).text(&it.address.to_string());
        }
    }
    let mut bytes = out.into_vec();
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<BTreeMap<NodeId, Known>, FileError> {
    if !bytes.starts_with(MAGIC) {
        return Err(FileError::Magic);
    }
    let (content, checksum) = bytes.split_last_chunk::<32>().ok_or(FileError::Checksum)?;
    if blake3::hash(content) != blake3::Hash::from_bytes(*checksum) {
        return Err(FileError::Checksum);
    }
    let mut from = Reader::new(content);
    from.take(MAGIC.len())?;
    let version = from.u8()?;
    if version != VERSION {
        return Err(FileError::Version(version));
    }
    let mut peers = BTreeMap::new();
    for _ in 0..from.u32()? {
        let id = NodeId(from.array()?);
        let mut known =
            Known { last_success: from.u64()?, failures: from.u32()?, ..Known::default() };
        for _ in 0..from.u8()? {
            let last_success = from.u64()?;
            let text = from.text("address", ADDRESS_CHARS_MAX)?;
            if let Some(address) = address::dialable(&text) {
                known.addresses.push(KnownAddress { address, last_success });
            }
        }
        peers.insert(id, known);
    }
    from.finish()?;
    Ok(peers)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use proptest::prelude::*;

    fn book(peers: u8) -> BTreeMap<NodeId, Known> {
        let address = |n: u8| KnownAddress {
            address: format!("/ip4/127.0.0.{n}/tcp/4001").parse().unwrap(),
            last_success: u64::from(n) * 1000,
        };
        (1..=peers)
            .map(|n| {
                let known = Known {
                    addresses: (1..=n).map(address).collect(),
                    last_success: 1_700_000_000_000,
                    failures: u32::from(n),
                    ..Known::default()
                };
                (NodeId([n; 32]), known)
            })
            .collect()
    }

    fn summary(peers: &BTreeMap<NodeId, Known>) -> Vec<(NodeId, u64, u32, Vec<KnownAddress>)> {
        let line =
            |(id, it): (&NodeId, &Known)| (*id, it.last_success, it.failures, it.addresses.clone());
        peers.iter().map(line).collect()
    }

    #[test]
    fn the_bytes_are_those_of_the_golden_file() {
        let bytes = encode(&book(3));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/peer-book/three.bin");
        if std::env::var_os("DATAMESH_BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let golden = fs::read(&path).unwrap();
        assert_eq!(bytes, golden);
        assert_eq!(summary(&decode(&golden).unwrap()), summary(&book(3)));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = encode(&book(2));
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
        }
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << (place % 8);
            assert!(decode(&damaged).is_err(), "bit flipped in byte {place}");
        }
    }

    proptest! {
        #[test]
        fn bytes_with_a_right_checksum_are_a_book_or_an_error(
            content in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut bytes = MAGIC.to_vec();
            bytes.push(VERSION);
            bytes.extend_from_slice(&content);
            let checksum = blake3::hash(&bytes);
            bytes.extend_from_slice(checksum.as_bytes());
            if let Ok(peers) = decode(&bytes) {
                prop_assert!(peers.len() * 45 <= content.len());
            }
        }
    }
}
