//! Tars that are made to do harm, and those of other programs that are not.

use datamesh_archive::ImportOptions;

use super::making::{header, member, record, summed, tar};
use super::{bring_bytes, keeping, refusal};

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for (name, expected) in [
        (&b"/etc/passwd"[..], "absolute"),
        (b"../evil", ".."),
        (b"a/../../evil", ".."),
        (b"a/..", ".."),
        (b"..\\evil", ".."),
        (b"\\\\host\\share", "absolute"),
    ] {
        let message = refusal(&tar(&[member(b'0', b"good", b"1"), member(b'0', name, b"2")]));
        assert!(message.contains(expected), "{name:?}: {message}");
    }
    // The same in the headers for long names.
    let pax = member(b'x', b"pax", record("path", "../evil").as_bytes());
    assert!(refusal(&tar(&[pax, member(b'0', b"good", b"1")])).contains(".."));
    let pax = member(b'x', b"pax", record("path", "a\0b").as_bytes());
    assert!(refusal(&tar(&[pax, member(b'0', b"good", b"1")])).contains("NUL"));
    let gnu = member(b'L', b"././@LongLink", b"/absolute\0");
    assert!(refusal(&tar(&[gnu, member(b'0', b"good", b"1")])).contains("absolute"));
    // Links are not followed, but a name that leads elsewhere shows what the archive is for.
    assert!(refusal(&tar(&[member(b'2', b"../link", b"")])).contains(".."));
}

#[test]
fn odd_names_are_passed_over_unless_they_are_asked_for() {
    let names = [&b"C:/x"[..], b"c:y", b"back\\slash", b"line\nend", b"esc\x1b[2J"];
    let mut members: Vec<_> = names.iter().map(|name| member(b'0', name, b"1")).collect();
    members.push(member(b'0', b"not unicode \xff", b"1"));
    members.push(member(b'0', b"good", b"1"));
    let bytes = tar(&members);
    let (account, report) = bring_bytes(&bytes, &keeping());
    let report = report.unwrap();
    assert_eq!(report.skipped.len(), 6, "{report:?}");
    assert!(report.is_partial());
    assert_eq!(account.files().len(), 1);
    let taking = ImportOptions { odd_names: true, ..keeping() };
    let (account, report) = bring_bytes(&bytes, &taking);
    assert_eq!(report.unwrap().skipped.len(), 1);
    assert_eq!(account.files().len(), 6);
}

#[test]
fn links_and_devices_are_listed_and_nothing_is_followed() {
    let kinds =
        [(b'1', "hard"), (b'2', "symbolic"), (b'3', "device"), (b'4', "device"), (b'6', "pipe")];
    for (kind, expected) in kinds {
        let bytes = tar(&[member(kind, b"link", b""), member(b'0', b"good", b"1")]);
        let (account, report) = bring_bytes(&bytes, &keeping());
        let report = report.unwrap();
        assert!(report.skipped[0].reason.contains(expected), "{report:?}");
        assert_eq!(account.files().len(), 1);
        // Whoever unpacks this writes through the link.
        let through = [member(kind, b"link", b""), member(b'0', b"link/inner", b"1")];
        assert!(refusal(&tar(&through)).contains("folder and something else"));
        let over = [member(kind, b"link", b""), member(b'0', b"link", b"1")];
        assert!(refusal(&tar(&over)).contains("same name"));
    }
}

#[test]
fn one_name_for_two_things_is_refused() {
    let file = |name: &[u8]| member(b'0', name, b"1");
    for members in [
        vec![file(b"a"), file(b"a")],
        vec![file(b"a/b"), file(b"./a//b")],
        vec![file(b"a"), file(b"a/b")],
        vec![file(b"a/b"), file(b"a")],
        vec![file(b"a"), member(b'5', b"a/", b"")],
        vec![member(b'5', b"a/", b""), file(b"a")],
    ] {
        refusal(&tar(&members));
    }
    let twice = [member(b'5', b"a/", b""), member(b'5', b"a/", b""), file(b"a/b")];
    assert!(bring_bytes(&tar(&twice), &keeping()).1.is_ok(), "a folder may be named twice");
    let apart = [file(b"a"), file(b"A"), file("e\u{301}".as_bytes()), file("\u{e9}".as_bytes())];
    let (account, _) = bring_bytes(&tar(&apart), &keeping());
    assert_eq!(account.files().len(), 4, "the mesh tells these apart");
}

#[test]
fn all_refused_entries_are_named() {
    let mut members: Vec<_> =
        (0..300).map(|n| member(b'0', format!("/{n}").as_bytes(), b"1")).collect();
    members.push(member(b'0', b"good", b"1"));
    let message = refusal(&tar(&members));
    assert!(message.contains("\"/0\"") && message.contains("and 290 more"), "{message}");
}

#[test]
fn what_programs_read_in_two_ways_is_refused() {
    // Content behind a link: some programs look for the next header in it.
    refusal(&tar(&[member(b'2', b"link", b"content"), member(b'0', b"a", b"1")]));
    refusal(&tar(&[member(b'5', b"folder/", b"content"), member(b'0', b"a", b"1")]));
    // Two names, two sizes, one for all.
    let two = [record("path", "a"), record("path", "b")].concat();
    refusal(&tar(&[member(b'x', b"pax", two.as_bytes()), member(b'0', b"c", b"1")]));
    let pax = member(b'x', b"pax", record("path", "a").as_bytes());
    refusal(&tar(&[pax.clone(), pax.clone(), member(b'0', b"c", b"1")]));
    let gnu = member(b'L', b"././@LongLink", b"b\0");
    refusal(&tar(&[gnu, pax.clone(), member(b'0', b"c", b"1")]));
    let global = member(b'g', b"pax", record("path", "a").as_bytes());
    refusal(&tar(&[global, member(b'0', b"c", b"1")]));
    let global = member(b'g', b"pax", record("size", "1").as_bytes());
    refusal(&tar(&[global, member(b'0', b"c", b"1")]));
    // Headers for an entry that never comes, and no end of headers.
    refusal(&tar(&[member(b'0', b"a", b"1"), pax]));
    let label = member(b'g', b"pax", record("comment", "x").as_bytes());
    refusal(&tar(&[vec![label; 100].concat(), member(b'0', b"c", b"1")]));
    // A second archive behind the end of the first.
    let first = tar(&[member(b'0', b"a", b"1")]);
    refusal(&[first.clone(), first].concat());
    // Another volume.
    refusal(&tar(&[member(b'M', b"a", b"1")]));
}

#[test]
fn records_that_are_wrong_are_refused() {
    for text in [
        "x",
        "5 path",
        "99 path=a\n",
        "0 path=a\n",
        "-1 path=a\n",
        "9 path=a\nrest",
        "11 path=\n",
        "07 path=a\n",
        "10 path=a ",
        "18446744073709551616 path=a\n",
        "13 size=0x10\n",
        "9 path=\n",
        "12 size=-5\n",
    ] {
        let bytes = tar(&[member(b'x', b"pax", text.as_bytes()), member(b'0', b"c", b"1")]);
        assert!(bring_bytes(&bytes, &keeping()).1.is_err(), "{text:?}");
    }
}

#[test]
fn numbers_that_are_none_are_refused() {
    for size in ["0000000000x", "99999999999", "-0000000001", "0000 000001"] {
        let bytes = [header(b'0', b"a", size), vec![0; 1024]].concat();
        assert!(bring_bytes(&bytes, &keeping()).1.is_err(), "{size}");
    }
    // In binary: negative, and with more than 64 bits.
    for binary in [&[0xff; 12], &[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        let mut block = header(b'0', b"a", "0");
        block[124..136].copy_from_slice(binary);
        let bytes = [summed(block), vec![0; 1024]].concat();
        assert!(bring_bytes(&bytes, &keeping()).1.is_err(), "{binary:?}");
    }
}

#[test]
fn archives_of_other_times_and_programs_are_read() {
    // Before POSIX: no magic, a folder is a file with a slash, type NUL.
    let old = |name: &[u8], content: &[u8]| {
        let mut bytes = member(0, name, content);
        bytes[257..265].fill(0);
        let block = summed(bytes[..512].to_vec());
        bytes[..512].copy_from_slice(&block);
        bytes
    };
    let (account, report) = bring_bytes(&tar(&[old(b"d/", b""), old(b"d/a", b"12")]), &keeping());
    assert!(!report.unwrap().is_partial());
    assert_eq!(account.files()["d/a"], b"12");
    // GNU's magic, base-256 size, long name; a global header as git writes it.
    let mut gnu = member(b'0', b"short", b"12");
    gnu[257..265].copy_from_slice(b"ustar  \0");
    gnu[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    // There GNU tar keeps a time, which is no beginning of a name.
    gnu[345..357].copy_from_slice(b"14000000000\0");
    let block = summed(gnu[..512].to_vec());
    gnu[..512].copy_from_slice(&block);
    let long = format!("{}/name\0", "n".repeat(200));
    let git = member(b'g', b"pax_global_header", record("comment", "0123abcd").as_bytes());
    let bytes = tar(&[git, member(b'L', b"././@LongLink", long.as_bytes()), gnu.clone(), gnu]);
    let (account, report) = bring_bytes(&bytes, &keeping());
    assert!(!report.unwrap().is_partial());
    assert_eq!(
        account.files().into_keys().collect::<Vec<_>>(),
        [long.trim_end_matches('\0'), "short"]
    );
    // A sum of signed bytes, as some programs made it.
    let mut signed = header(b'0', "h\u{e9}".as_bytes(), "00000000000");
    signed[148..156].fill(b' ');
    let sum: i32 = signed.iter().map(|byte| i32::from(byte.cast_signed())).sum();
    signed[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let (account, _) = bring_bytes(&[signed, vec![0; 1024]].concat(), &keeping());
    assert_eq!(account.files().len(), 1);
}

#[test]
fn sparse_files_are_listed_and_what_follows_them_is_found() {
    // The old form, whose map goes on in two blocks more.
    let mut sparse = header(b'S', b"sparse", "00000000003");
    sparse[482] = 1;
    let mut map = vec![0; 1024];
    map[504] = 1;
    let content = [b"abc".to_vec(), vec![0; 509]].concat();
    let sparse = [summed(sparse), map, content].concat();
    let pax = member(b'x', b"pax", record("GNU.sparse.major", "1").as_bytes());
    let bytes = tar(&[sparse, pax, member(b'0', b"also", b"x"), member(b'0', b"good", b"1")]);
    let (account, report) = bring_bytes(&bytes, &keeping());
    assert_eq!(report.unwrap().skipped.len(), 2);
    assert_eq!(account.files().into_keys().collect::<Vec<_>>(), ["good"]);
}

#[test]
fn a_sparse_files_map_ends_somewhere() {
    let mut sparse = header(b'S', b"sparse", "00000000003");
    sparse[482] = 1;
    let mut map = vec![0; 512];
    map[504] = 1;
    let (account, report) = bring_bytes(&[summed(sparse), map.repeat(5000)].concat(), &keeping());
    assert!(report.unwrap_err().message.contains("does not end"));
    assert!(account.files().is_empty());
}

#[test]
fn metadata_of_others_is_a_wish_and_no_more() {
    let with = |text: &str| {
        let pax = member(b'x', b"pax", record("DATAMESH.file", text).as_bytes());
        bring_bytes(&tar(&[pax, member(b'0', b"a", b"1")]), &keeping())
    };
    // Not ours, or not sound: passed over.
    let long = format!("{{\"datamesh\":1,\"tags\":[\"{}\"]}}", "t".repeat(129));
    for text in ["", "null", "{", "{\"datamesh\":2,\"tags\":[\"x\"]}", &long] {
        let (account, report) = with(text);
        assert!(!report.unwrap().is_partial());
        assert_eq!(account.tags("a"), [""; 0]);
    }
    let (account, _) = with("{\"datamesh\":1,\"tags\":[\"x\"],\"more\":[1]}");
    assert_eq!(account.tags("a"), ["x"]);
    // Its hash is not that of the content.
    let (_, report) = with(&format!("{{\"datamesh\":1,\"hash\":\"{}\"}}", "0".repeat(64)));
    assert!(report.unwrap_err().message.contains("hashes differ"));
}
