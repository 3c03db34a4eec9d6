//! Other programs read what we write, and we read what they write. Those that this machine does not
//! have are named and passed over.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use datamesh_archive::Format;
use datamesh_core::catalog::EntryKind;
use datamesh_testkit::account::Account;
use datamesh_testkit::fixtures::noise;

use super::{PASSWORD, bring_in, exporting, keeping, sealed, take_out};

fn account() -> Account {
    let account = Account::new();
    let kind = EntryKind::File;
    account.store_as("plain.txt", kind, b"plain", 0o640, 1_700_000_000_000);
    account.store_as("bin/run", kind, b"#!/bin/sh\n", 0o755, 1_600_000_001_000);
    account.store_as("ünï/漢字.txt", kind, "漢".as_bytes(), 0o644, 1_500_000_000_000);
    account.store_as(
        &format!("{}/deep", "folder-with-a-name/".repeat(12)).replace("//", "/"),
        kind,
        &noise(3, 5000),
        0o644,
        0,
    );
    account.store_as("large.bin", kind, &noise(4, 3 << 20), 0o644, 1_700_000_000_000);
    account.store_as("large.txt", kind, &[b'x'; 3 << 20], 0o644, 1_700_000_000_000);
    account.store_as("empty", kind, b"", 0o644, 1_700_000_000_000);
    account.store_as("hollow", EntryKind::Folder, b"", 0o755, 1_700_000_000_000);
    account.tag("plain.txt", "a tag");
    account
}

fn has(program: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("command -v {program}")]).stdout(Stdio::null());
    let found = command.status().unwrap().success();
    if !found {
        let mut err = std::io::stderr();
        writeln!(err, "not run: there is no {program} here").unwrap();
    }
    found
}

/// Runs a program in `folder`. It must end well.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Vec<u8> {
    let done = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    let err = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {err}");
    done.stdout
}

/// The files below a folder and their content; of empty folders nothing.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn collect(root: &Path, at: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(folder, folder, &mut found);
    found
}

/// Unpacks by another program and compares.
fn unpacks(name: &str, format: Format, seal: bool, metadata: bool, command: (&str, &[&str])) {
    let folder = tempfile::tempdir().unwrap();
    let (account, out) = (account(), folder.path().join("out"));
    fs::create_dir(&out).unwrap();
    let mut options = if seal { sealed(format) } else { exporting(format) };
    options.metadata = metadata;
    take_out(&account, &folder.path().join(name), &options).unwrap();
    run(&out, command.0, command.1);
    assert!(files(&out) == account.files(), "{command:?} unpacked something else");
    assert!(out.join("hollow").is_dir());
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(out.join(name)).unwrap().permissions().mode() & 0o777
    };
    if command.0 != "python3" {
        assert_eq!((mode("bin/run"), mode("plain.txt")), (0o755, 0o640));
        let modified = fs::metadata(out.join("bin/run")).unwrap().modified().unwrap();
        let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(since, 1_600_000_001);
    }
}

#[test]
fn other_programs_unpack_our_tars() {
    for metadata in [false, true] {
        if has("tar") {
            unpacks("a.tar", Format::Tar, false, metadata, ("tar", &["-xf", "../a.tar"]));
        }
        if has("tar") && has("zstd") {
            let arguments = ["--zstd", "-xf", "../a.tar.zst"];
            unpacks("a.tar.zst", Format::TarZst, false, metadata, ("tar", &arguments));
        }
        if has("python3") {
            let script = "import tarfile; tarfile.open('../a.tar').extractall('.')";
            unpacks("a.tar", Format::Tar, false, metadata, ("python3", &["-c", script]));
        }
        if has("bsdtar") {
            unpacks("a.tar", Format::Tar, false, metadata, ("bsdtar", &["-xf", "../a.tar"]));
        }
    }
}

#[test]
fn other_programs_unpack_our_zips() {
    for metadata in [false, true] {
        if has("unzip") {
            unpacks("a.zip", Format::Zip, false, metadata, ("unzip", &["-q", "../a.zip"]));
        }
        if has("python3") {
            let script = "import zipfile; z = zipfile.ZipFile('../a.zip'); \
                          assert z.testzip() is None; z.extractall('.')";
            unpacks("a.zip", Format::Zip, false, metadata, ("python3", &["-c", script]));
        }
        if has("7z") {
            unpacks("a.zip", Format::Zip, false, metadata, ("7z", &["x", "-y", "../a.zip"]));
        }
    }
}

/// A folder with files of several kinds.
fn folder_of_files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("in");
    for (name, content) in account().files() {
        let path = root.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

/// Brings in what another program packed, and compares.
fn packs(folder: &Path, name: &str, command: (&str, &[&str]), streams: bool) {
    run(&folder.join("in"), command.0, command.1);
    for stream in [false, true].into_iter().filter(|stream| !stream || streams) {
        let account = Account::new();
        let report = bring_in(&account, &folder.join(name), &keeping(), stream).unwrap();
        assert!(!report.is_partial(), "{command:?}: {report:?}");
        assert!(account.files() == files(&folder.join("in")), "{command:?} packed something else");
    }
}

#[test]
fn we_read_the_tars_of_other_programs() {
    let folder = folder_of_files();
    let folder = folder.path();
    if has("tar") {
        for form in ["gnu", "pax", "oldgnu"] {
            let form = format!("--format={form}");
            packs(folder, "a.tar", ("tar", &["-cf", "../a.tar", &form, "."]), true);
        }
        let git =
            ["-cf", "../a.tar", "--format=pax", "--pax-option=globexthdr.name=x,comment=y", "."];
        packs(folder, "a.tar", ("tar", &git), true);
        if has("zstd") {
            packs(folder, "a.tar.zst", ("tar", &["--zstd", "-cf", "../a.tar.zst", "."]), true);
        }
    }
    if has("python3") {
        for form in ["PAX_FORMAT", "GNU_FORMAT"] {
            let script = format!(
                "import tarfile; t = tarfile.open('../p.tar', 'w', format=tarfile.{form}); \
                 t.add('.', arcname=''); t.close()"
            );
            packs(folder, "p.tar", ("python3", &["-c", &script]), true);
        }
    }
}

#[test]
fn we_read_the_zips_of_other_programs() {
    let folder = folder_of_files();
    let folder = folder.path();
    if has("zip") {
        packs(folder, "a.zip", ("zip", &["-qr", "../a.zip", "."]), false);
        // Into a pipe, with sizes behind the contents.
        packs(folder, "b.zip", ("sh", &["-c", "zip -qr - . | cat > ../b.zip"]), false);
        packs(folder, "c.zip", ("sh", &["-c", "zip -q ../c.zip -fz -r ."]), false);
    }
    if has("python3") {
        let script = "import zipfile, os\n\
                      z = zipfile.ZipFile('../p.zip', 'w', zipfile.ZIP_DEFLATED)\n\
                      [z.write(os.path.join(d, f)) for d, _, fs in os.walk('.') for f in fs]\n\
                      z.close()";
        packs(folder, "p.zip", ("python3", &["-c", script]), false);
    }
    if has("7z") {
        packs(folder, "7.zip", ("7z", &["a", "-bd", "../7.zip", "."]), false);
    }
}

#[test]
fn zips_into_which_was_streamed_by_python_are_read() {
    if !has("python3") {
        return;
    }
    let folder = folder_of_files();
    let script = "import zipfile, os, sys\n\
                  class Pipe:\n \
                  def __init__(self): self.f = open('../s.zip', 'wb')\n \
                  def write(self, b): return self.f.write(b)\n \
                  def flush(self): self.f.flush()\n\
                  z = zipfile.ZipFile(Pipe(), 'w', zipfile.ZIP_DEFLATED)\n\
                  [z.write(os.path.join(d, f)) for d, _, fs in os.walk('.') for f in fs]\n\
                  z.close()";
    packs(folder.path(), "s.zip", ("python3", &["-c", script]), false);
}

#[test]
fn age_opens_what_we_sealed() {
    // It asks on a terminal alone, so that it needs one made for it.
    if !has("age") || !has("script") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.tar.age");
    let account = account();
    take_out(&account, &file, &sealed(Format::Tar)).unwrap();
    let mut child = Command::new("script")
        .args(["-qec", "age -d -o a.tar a.tar.age", "/dev/null"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    assert!(child.wait().unwrap().success());
    let back = Account::new();
    bring_in(&back, &folder.path().join("a.tar"), &keeping(), true).unwrap();
    assert!(back.entries().len() == account.entries().len());
    assert!(back.files() == account.files());
}
