//! Archives made byte by byte, so that they can say what no sound program writes.

use flate2::{Compress, Compression, Crc, FlushCompress};

/// A tar header block with a fitting checksum.
pub(crate) fn header(kind: u8, name: &[u8], size: &str) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    block[124..124 + size.len()].copy_from_slice(size.as_bytes());
    block[136..147].copy_from_slice(b"14000000000");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    summed(block)
}

/// The same block with the checksum that fits it now.
pub(crate) fn summed(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A member of a tar: header and content, filled up.
pub(crate) fn member(kind: u8, name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, name, &format!("{:011o}", content.len()));
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A tar of these members, with its end.
pub(crate) fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.extend([0; 1024]);
    bytes
}

/// A pax record.
pub(crate) fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let length = (1..).find(|length| length - length.to_string().len() == rest).unwrap();
    format!("{length} {key}={value}\n")
}

/// A file of a zip, and what is wrong with it.
#[derive(Clone)]
pub(crate) struct ZipFile {
    pub(crate) name: Vec<u8>,
    pub(crate) content: Vec<u8>,
    pub(crate) deflate: bool,
    /// What the directory says instead.
    pub(crate) listed_name: Option<Vec<u8>>,
    pub(crate) listed_size: Option<u32>,
    pub(crate) listed_checksum: Option<u32>,
    pub(crate) both_sizes: Option<u32>,
    pub(crate) method: Option<u16>,
    pub(crate) flags: u16,
    /// Upper half of the external attributes.
    pub(crate) mode: u32,
    pub(crate) comment: Vec<u8>,
}

impl ZipFile {
    pub(crate) fn new(name: &str, content: &[u8]) -> Self {
        Self {
            name: name.into(),
            content: content.to_vec(),
            deflate: false,
            listed_name: None,
            listed_size: None,
            listed_checksum: None,
            both_sizes: None,
            method: None,
            flags: 0,
            mode: 0o100_644,
            comment: Vec::new(),
        }
    }

    fn packed(&self) -> Vec<u8> {
        if !self.deflate {
            return self.content.clone();
        }
        let mut packed = Vec::with_capacity(self.content.len() + 1000);
        let mut deflate = Compress::new(Compression::default(), false);
        deflate.compress_vec(&self.content, &mut packed, FlushCompress::Finish).unwrap();
        packed
    }
}

/// A zip in parts, so that each can be changed.
#[derive(Default)]
pub(crate) struct ZipParts {
    pub(crate) files: Vec<u8>,
    pub(crate) directory: Vec<u8>,
    pub(crate) count: u16,
    pub(crate) comment: Vec<u8>,
}

fn le(out: &mut Vec<u8>, values: &[u64], width: usize) {
    for value in values {
        out.extend_from_slice(&value.to_le_bytes()[..width]);
    }
}

impl ZipParts {
    pub(crate) fn of(files: &[ZipFile]) -> Self {
        let mut parts = Self::default();
        for file in files {
            let at = parts.files.len() as u64;
            parts.add(file);
            parts.list(file, at);
        }
        parts
    }

    pub(crate) fn add(&mut self, file: &ZipFile) {
        let packed = file.packed();
        let out = &mut self.files;
        le(out, &[0x0403_4b50], 4);
        self.shared(file, packed.len(), file.name.len(), None, None, true);
        self.files.extend_from_slice(&file.name);
        self.files.extend_from_slice(&packed);
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of a record")]
    fn shared(
        &mut self,
        file: &ZipFile,
        packed: usize,
        name: usize,
        size: Option<u32>,
        checksum: Option<u32>,
        local: bool,
    ) {
        let mut crc = Crc::new();
        crc.update(&file.content);
        let own = file.both_sizes.unwrap_or(file.content.len() as u32);
        let out = if local { &mut self.files } else { &mut self.directory };
        let method = file.method.unwrap_or(if file.deflate { 8 } else { 0 });
        le(out, &[20, u64::from(file.flags), u64::from(method), 0, 33], 2);
        le(out, &[u64::from(checksum.unwrap_or(crc.sum())), packed as u64], 4);
        le(out, &[u64::from(size.unwrap_or(own))], 4);
        le(out, &[name as u64, 0], 2);
    }

    pub(crate) fn list(&mut self, file: &ZipFile, at: u64) {
        let packed = file.packed();
        let name = file.listed_name.as_ref().unwrap_or(&file.name).clone();
        le(&mut self.directory, &[0x0201_4b50], 4);
        le(&mut self.directory, &[3 << 8 | 20], 2);
        self.shared(file, packed.len(), name.len(), file.listed_size, file.listed_checksum, false);
        let out = &mut self.directory;
        le(out, &[file.comment.len() as u64, 0, 0], 2);
        le(out, &[u64::from(file.mode) << 16, at], 4);
        out.extend_from_slice(&name);
        out.extend_from_slice(&file.comment);
        self.count += 1;
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = [&self.files[..], &self.directory].concat();
        le(&mut out, &[0x0605_4b50], 4);
        le(&mut out, &[0, 0, u64::from(self.count), u64::from(self.count)], 2);
        le(&mut out, &[self.directory.len() as u64, self.files.len() as u64], 4);
        le(&mut out, &[self.comment.len() as u64], 2);
        out.extend_from_slice(&self.comment);
        out
    }
}

/// A zip of these files.
pub(crate) fn zip(files: &[ZipFile]) -> Vec<u8> {
    ZipParts::of(files).bytes()
}
