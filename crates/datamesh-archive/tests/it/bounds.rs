//! Archives that ask for more than they may.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use datamesh_archive::{
    Bottom, Entry, Format, ImportOptions, Kind, Limits, Pen, Walk, tar, zip as zips,
};
use datamesh_testkit::account::Account;

use super::making::{ZipFile, header, member, record, summed, tar, zip};
use super::{bring_bytes, bring_in, keeping, refusal};

#[test]
fn a_size_that_nobody_has_is_refused_before_memory_is_taken() {
    let huge = 1u64 << 60;
    let mut block = header(b'0', b"a", "0");
    block[124] = 0x80;
    block[128..136].copy_from_slice(&huge.to_be_bytes());
    let plain = [summed(block), vec![7; 4096]].concat();
    let pax = [
        member(b'x', b"pax", record("size", &huge.to_string()).as_bytes()),
        member(b'0', b"a", b"1"),
        vec![7; 4096],
    ];
    for bytes in [plain, pax.concat()] {
        assert!(refusal(&bytes).contains("bytes of content"));
        // Where so much may come, it is cut short.
        let limits = Limits { bytes: u64::MAX, ..Limits::default() };
        let (_, report) = bring_bytes(&bytes, &ImportOptions { limits, ..keeping() });
        assert!(report.unwrap_err().message.contains("cut short"));
    }
    // Headers whose content would be kept in memory.
    for kind in [b'x', b'g', b'L', b'K'] {
        let bytes = [header(kind, b"long", "77777777777"), vec![b'a'; 4096]].concat();
        assert!(refusal(&bytes).contains("extended header"));
    }
    let two_gigabytes =
        ZipFile { both_sizes: Some(2 << 30), deflate: true, ..ZipFile::new("a", b"x") };
    assert!(refusal(&zip(&[two_gigabytes])).contains("shorter"));
}

#[test]
fn bombs_are_refused() {
    let megabyte = vec![0; 1 << 20];
    let fill = |out: &mut dyn Write| (0..300).for_each(|_| out.write_all(&megabyte).unwrap());
    let mut zst = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    zst.write_all(&header(b'0', b"bomb", &format!("{:011o}", 300u64 << 20))).unwrap();
    fill(&mut zst);
    zst.write_all(&[0; 1024]).unwrap();
    let zst = zst.finish().unwrap();
    assert!(refusal(&zst).contains("bomb"));
    let mut content = Vec::new();
    fill(&mut content);
    let bomb = ZipFile { content, deflate: true, ..ZipFile::new("bomb", b"") };
    let bytes = zip(&[bomb]);
    assert!(refusal(&bytes).contains("bomb"));
    // Somebody who knows what it is may have it.
    let limits = Limits { ratio: 2000, ..Limits::default() };
    let allowing = ImportOptions { limits, dry_run: true, ..keeping() };
    assert!(bring_bytes(&bytes, &allowing).1.is_ok());
    // What is not taken in counts too.
    let mut skipped = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    skipped.write_all(&header(b'S', b"bomb", &format!("{:011o}", 300u64 << 20))).unwrap();
    fill(&mut skipped);
    skipped.write_all(&[0; 1024]).unwrap();
    assert!(refusal(&skipped.finish().unwrap()).contains("bomb"));
}

#[test]
fn entries_and_bytes_are_counted() {
    let members: Vec<_> =
        (0..20).map(|n| member(b'0', format!("{n}").as_bytes(), b"12345")).collect();
    let files: Vec<_> = (0..20).map(|n| ZipFile::new(&n.to_string(), b"12345")).collect();
    for bytes in [tar(&members), zip(&files)] {
        let with = |limits: Limits| bring_bytes(&bytes, &ImportOptions { limits, ..keeping() }).1;
        let usual = Limits::default();
        assert!(with(Limits { entries: 20, ..usual }).is_ok());
        assert!(with(Limits { entries: 19, ..usual }).unwrap_err().message.contains("19 entries"));
        assert!(with(Limits { bytes: 99, ..usual }).unwrap_err().message.contains("99 bytes"));
    }
}

#[test]
fn folders_in_names_and_names_that_are_passed_over_take_no_memory() {
    // Each name has two thousand folders that no other has.
    let deep = |n: usize| {
        let path = format!("{n}/{}x", "a/".repeat(1900));
        [member(b'x', b"pax", record("path", &path).as_bytes()), member(b'0', b"x", b"1")].concat()
    };
    let bytes = tar(&(0..20).map(deep).collect::<Vec<_>>());
    let limits = Limits { entries: 20_000, ..Limits::default() };
    let (_, report) = bring_bytes(&bytes, &ImportOptions { limits, ..keeping() });
    assert!(report.unwrap_err().message.contains("20000 entries"));
    assert!(bring_bytes(&bytes, &keeping()).1.is_ok());
    // Names that no path can have are shown in part, and not all of them.
    let long = |n: usize| {
        let path = format!("{n}{}", "a".repeat(100_000));
        [member(b'x', b"pax", record("path", &path).as_bytes()), member(b'0', b"x", b"1")].concat()
    };
    let mut zst = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    (0..100).for_each(|n| zst.write_all(&long(n)).unwrap());
    (0..11_000).for_each(|_| zst.write_all(&member(b'0', b"a\\b", b"")).unwrap());
    zst.write_all(&[0; 1024]).unwrap();
    let (_, report) = bring_bytes(&zst.finish().unwrap(), &keeping());
    let report = report.unwrap();
    assert_eq!((report.skipped.len(), report.skipped_count), (10_000, 11_100));
    assert!(report.skipped.iter().all(|it| it.path.len() <= 4096));
}

#[test]
fn a_window_that_takes_the_memory_is_refused() {
    // A frame that says it needs a window of 2 GiB, and some content.
    let bytes = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3][..], &[1, 0, 0, 0], &[0; 600]].concat();
    assert!(refusal(&bytes).contains("window above 128 MiB"));
}

#[test]
fn zeros_without_an_end_are_refused() {
    let mut zst = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..70 {
        zst.write_all(&vec![0; 1 << 20]).unwrap();
    }
    assert!(refusal(&zst.finish().unwrap()).contains("zeros"));
}

/// Gives what a tar or zip of one large file and many small ones would, without being there.
struct Zeros(u64);

impl Read for Zeros {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = (out.len() as u64).min(self.0) as usize;
        out[..count].fill(0);
        self.0 -= count as u64;
        Ok(count)
    }
}

#[test]
fn a_file_above_eight_gigabytes_has_its_size_in_a_tar() {
    let size = (8u64 << 30) + 5;
    let out = Arc::new(std::sync::Mutex::new(Vec::new()));
    struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut pen =
        Box::new(tar::TarPen::new(Box::new(Bottom::new(Shared(Arc::clone(&out)), Arc::default()))));
    let entry = Entry {
        name: "large".to_owned(),
        folder: false,
        size,
        mode: 0,
        modified: 0,
        metadata: None,
    };
    pen.begin(&entry).unwrap();
    // Its end is missing.
    assert!(pen.end().is_err());
    assert!(pen.finish().is_ok());
    let begin = out.lock().unwrap().clone();
    let input = std::io::Cursor::new(begin[..1536].to_vec()).chain(Zeros(1 << 34));
    let mut walk = tar::TarWalk::new(Box::new(input), Arc::new(AtomicU64::new(0)));
    let found = walk.next().unwrap().unwrap();
    assert_eq!((found.size, found.kind), (size, Kind::File));
}

/// 70,000 files, more than 16 bits count.
#[test]
fn many_files_are_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    for format in [Format::Zip, Format::TarZst] {
        let file = folder.path().join("archive");
        let out = Box::new(Bottom::new(std::fs::File::create(&file).unwrap(), Arc::default()));
        let mut pen: Box<dyn Pen> = match format {
            Format::Zip => Box::new(zips::ZipPen::new(out)),
            _ => Box::new(tar::TarPen::new(out)),
        };
        for number in 0..70_000 {
            let content = format!("{number}");
            let entry = Entry {
                name: format!("folder {}/{number}", number % 300),
                folder: false,
                size: content.len() as u64,
                mode: 0o600,
                modified: 1_700_000_000_000,
                metadata: None,
            };
            pen.whole(&entry, content.as_bytes()).unwrap();
        }
        pen.finish().unwrap();
        let wanted = ImportOptions { dry_run: true, ..keeping() };
        let report = bring_in(&Account::new(), &file, &wanted, false).unwrap();
        assert_eq!(report.files.len(), 70_000);
        assert!(report.skipped.is_empty());
    }
}
