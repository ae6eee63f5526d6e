//! Every form there and back, and everything that must not be unpacked.

use std::fs;
use std::io::{Cursor, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;
use crate::report::Silent;

const FORMATS: [Format; 6] =
    [Format::Xz, Format::Gzip, Format::Bzip2, Format::Zstd, Format::Tar, Format::Zip];

const LIMITS: Limits =
    Limits { members: 1000, names: 100_000, bytes: 64 << 20, ratio: 100, unsuspected: 4 << 20 };

fn packed(root: &Path, format: Format) -> Vec<u8> {
    let contents = Contents::of_directory(root, LinksOut::Followed, &Interrupt::default()).unwrap();
    write(&contents, format, Vec::new(), &Silent, &Interrupt::default()).unwrap()
}

/// Unpacks from a file: the way of zips that can be read here and there.
fn unpack_file(bytes: &[u8], into: &Path, limits: Limits) -> Result<Unpacked, ArchiveError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    unpack(Input::File(file), into, limits, into, &Silent, &Interrupt::default())
}

fn unpack_stream(bytes: &[u8], into: &Path) -> Result<Unpacked, ArchiveError> {
    let scratch = tempfile::tempdir().unwrap();
    let input = Input::Stream(Box::new(Cursor::new(bytes.to_vec())));
    unpack(input, into, LIMITS, scratch.path(), &Silent, &Interrupt::default())
}

fn refusal(bytes: &[u8]) -> ArchiveError {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    let error = unpack_stream(bytes, &root).expect_err("a hostile archive was taken");
    let beside: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(beside.len(), 1, "something was written beside the directory");
    error
}

fn fault(bytes: &[u8]) -> Fault {
    match refusal(bytes) {
        ArchiveError::Member { fault, .. } => fault,
        error => panic!("{error:?}"),
    }
}

/// Path, kind with content, mode and time of everything below a directory.
fn tree(root: &Path) -> Vec<(String, String, u32, i64, i64)> {
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(|entry| {
        let entry = entry.unwrap();
        let metadata = entry.path().symlink_metadata().unwrap();
        let content = if metadata.is_symlink() {
            format!("-> {}", fs::read_link(entry.path()).unwrap().display())
        } else if metadata.is_file() {
            String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned()
        } else {
            "directory".to_owned()
        };
        let path = entry.path().strip_prefix(root).unwrap().display().to_string();
        // The mode of a link means nothing.
        let mode = if metadata.is_symlink() { 0 } else { metadata.mode() & 0o777 };
        (path, content, mode, metadata.mtime(), metadata.mtime_nsec())
    });
    entries.collect()
}

fn sample(root: &Path) {
    fs::create_dir_all(root.join("sub/deep")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("model.yaml"), "name: a\n").unwrap();
    fs::write(root.join("sub/run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("sub/run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::write(root.join("sub.txt"), "between").unwrap();
    fs::write(root.join("sub/deep/nothing"), "").unwrap();
    fs::write(root.join(format!("{}.bin", "long".repeat(40))), vec![b'x'; 100_000]).unwrap();
    fs::write(root.join("h\u{e9}llo \u{1f371}"), "not ASCII").unwrap();
    symlink("sub/run.sh", root.join("link")).unwrap();
    symlink("../model.yaml", root.join("sub/up")).unwrap();
    symlink("sub", root.join("directory")).unwrap();
    let time = rustix::fs::Timespec { tv_sec: 1_700_000_001, tv_nsec: 123_456_789 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    for entry in walkdir::WalkDir::new(root).contents_first(true) {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, entry.unwrap().path(), &times, flags).unwrap();
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn every_form_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    fs::create_dir(&original).unwrap();
    sample(&original);
    for format in FORMATS {
        let bytes = packed(&original, format);
        assert_eq!(Format::of_bytes(&bytes), Some(format));
        assert_eq!(packed(&original, format), bytes, "{format} has other bytes the second time");
        for is_stream in [false, true] {
            let copy = directory.path().join(format!("{format}-{is_stream}"));
            fs::create_dir(&copy).unwrap();
            let unpacked =
                if is_stream { unpack_stream(&bytes, &copy) } else { unpack_file(&bytes, &copy, LIMITS) };
            assert_eq!(unpacked.unwrap().files, 6, "{format}");
            let mut expected = tree(&original);
            if format == Format::Zip {
                // Whole seconds, links without a time of their own, and no root.
                for entry in &mut expected {
                    entry.4 = 0;
                }
                expected.remove(0);
            }
            let mut found = tree(&copy);
            if format == Format::Zip {
                found.remove(0);
            }
            assert_eq!(found, expected, "{format}");
        }
    }
}

#[test]
fn a_directory_is_copied_like_an_archive() {
    let directory = tempfile::tempdir().unwrap();
    let (original, copy) = (directory.path().join("original"), directory.path().join("copy"));
    fs::create_dir(&original).unwrap();
    fs::create_dir(&copy).unwrap();
    sample(&original);
    let interrupt = Interrupt::default();
    unpack(Input::Directory(original.clone()), &copy, LIMITS, &copy, &Silent, &interrupt).unwrap();
    assert_eq!(tree(&copy), tree(&original));
}

#[test]
fn a_link_to_a_file_outside_becomes_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    fs::create_dir(&original).unwrap();
    fs::write(directory.path().join("weights"), "1234").unwrap();
    symlink("../weights", original.join("link")).unwrap();
    let copy = directory.path().join("copy");
    fs::create_dir(&copy).unwrap();
    unpack_stream(&packed(&original, Format::Tar), &copy).unwrap();
    assert!(copy.join("link").symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read_to_string(copy.join("link")).unwrap(), "1234");
    // The directory of a stranger may not name files of ours.
    let error = Contents::of_directory(&original, LinksOut::Refused, &Interrupt::default()).unwrap_err();
    assert!(matches!(error, ArchiveError::Unfit { fault: Fault::LinkOut { .. }, .. }), "{error:?}");
    symlink("..", original.join("out")).unwrap();
    let error = Contents::of_directory(&original, LinksOut::Followed, &Interrupt::default()).unwrap_err();
    assert!(matches!(error, ArchiveError::Unfit { fault: Fault::LinkOut { .. }, .. }), "{error:?}");
}

/// A tar whose headers say whatever they are told to.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn add(mut self, kind: EntryType, name: &str, target: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str) -> Self {
        self.add(EntryType::Regular, name, "", b"x")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, name, target, b"")
    }

    /// A file of which the header says that it is of that size.
    fn claiming(mut self, name: &str, size: u64) -> Self {
        let at = self.0.len();
        self = self.file(name);
        let mut header = Header::from_byte_slice(&self.0[at..at + 512]).clone();
        header.set_size(size);
        header.set_cksum();
        self.0[at..at + 512].copy_from_slice(header.as_bytes());
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

#[test]
fn hostile_members_are_refused() {
    let tar = Tar::default;
    let out = |target: &str| Fault::LinkOut { target: target.to_owned() };
    let special = |kind| tar().add(kind, "special", "", b"").end();
    let cases = [
        (tar().file("/etc/evil").end(), Fault::Absolute),
        (tar().file("../evil").end(), Fault::Outside),
        (tar().file("a/../../evil").end(), Fault::Outside),
        (tar().file("./..").end(), Fault::Outside),
        (tar().file("a").file("a").end(), Fault::Duplicate),
        (tar().file("./a").file("a").end(), Fault::Duplicate),
        (tar().file("a").file(".//a").end(), Fault::Duplicate),
        (tar().file("a").link("a", "b").end(), Fault::Duplicate),
        (tar().file(".").end(), Fault::Duplicate),
        (tar().file("a").file("a/b").end(), Fault::BelowFile),
        (tar().link("l", "sub").file("l/x").end(), Fault::BelowFile),
        (tar().link("l", "/etc").end(), out("/etc")),
        (tar().link("l", "../x").end(), out("../x")),
        (tar().file("a/b/f").link("a/b/l", "../..").link("sly", "a/b/l/../x").end(), out("a/b/l/../x")),
        (tar().link("l", "l").end(), Fault::LinkLoop),
        (tar().link("l", "").end(), Fault::Target),
        (tar().file("a").add(EntryType::Link, "b", "a", b"").end(), Fault::HardLink),
        (special(EntryType::Char), Fault::Device),
        (special(EntryType::Block), Fault::Device),
        (special(EntryType::Fifo), Fault::Pipe),
        (special(EntryType::GNUSparse), Fault::Sparse),
        (special(EntryType::new(b'V')), Fault::Kind),
    ];
    for (bytes, expected) in cases {
        assert_eq!(fault(&bytes), expected);
    }
    let two = tar().add(EntryType::Directory, "d/", "", b"").add(EntryType::Directory, "./d", "", b"").end();
    assert_eq!(fault(&two), Fault::Duplicate);
    let sparse = tar().add(EntryType::XHeader, "x", "", b"22 GNU.sparse.major=1\n").file("a").end();
    assert_eq!(fault(&sparse), Fault::Sparse);
    let renamed = tar().add(EntryType::XHeader, "x", "", b"16 path=../evil\n").file("a").end();
    assert_eq!(fault(&renamed), Fault::Outside);
    let long = tar().add(EntryType::GNULongName, "././@LongLink", "", b"/evil\0").file("a").end();
    assert_eq!(fault(&long), Fault::Absolute);
}

#[test]
fn damaged_archives_are_refused() {
    let whole = Tar::default().file("a").end();
    for length in [513, 1024, 1025, 1536, 2047] {
        let error = refusal(&whole[..length]);
        assert!(matches!(error, ArchiveError::Truncated), "{length}: {error:?}");
    }
    assert!(matches!(refusal(b""), ArchiveError::UnknownForm));
    assert!(matches!(refusal(&[b'?'; 2000]), ArchiveError::UnknownForm));
    assert!(matches!(refusal(&[whole.as_slice(), b"garbage"].concat()), ArchiveError::Trailing));
    let padded = [whole.as_slice(), &[0; 8192]].concat();
    unpack_stream(&padded, tempfile::tempdir().unwrap().path()).unwrap();
    let mut flipped = whole.clone();
    flipped[1024] = 1;
    assert!(matches!(refusal(&flipped), ArchiveError::Malformed { .. }));
    let sized = Tar::default().add(EntryType::Directory, "d", "", b"x").end();
    assert!(matches!(refusal(&sized), ArchiveError::Malformed { .. }));
    let huge = Tar::default().add(EntryType::XHeader, "x", "", &vec![b'0'; 2 << 20]).file("a").end();
    assert!(matches!(refusal(&huge), ArchiveError::Malformed { .. }));
    for claim in [u64::MAX, 65 << 20] {
        let error = refusal(&Tar::default().claiming("a", claim).end());
        assert!(matches!(error, ArchiveError::NoRoom { .. }), "{error:?}");
    }
    let error = refusal(&Tar::default().claiming("a", 5000).end());
    assert!(matches!(error, ArchiveError::Truncated), "{error:?}");
}

#[test]
fn compressed_archives_are_read_to_their_very_end() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), vec![7; 50_000]).unwrap();
    for format in FORMATS {
        let bytes = packed(directory.path(), format);
        // The end of a tar is two blocks; what fills it up to its record may be missing.
        let cuts = if format == Format::Tar { [8192, 20_000, 50_000] } else { [1, 12, bytes.len() / 2] };
        for length in cuts.map(|cut| bytes.len() - cut) {
            let error = refusal(&bytes[..length]);
            let is_cut = matches!(error, ArchiveError::Truncated | ArchiveError::Damaged(_));
            assert!(is_cut, "{format}: {error:?}");
        }
        refusal(&[bytes.as_slice(), b"garbage behind the end"].concat());
    }
    // Two streams are one file: what pixz and `cat` make.
    let tar = packed(directory.path(), Format::Tar);
    let half = |bytes: &[u8]| {
        let mut encoder = encode::Encoder::new(Format::Xz, Vec::new(), &Interrupt::default()).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let joined = [half(&tar[..20_000]), vec![0; 8], half(&tar[20_000..])].concat();
    unpack_stream(&joined, tempfile::tempdir().unwrap().path()).unwrap();
}

#[test]
fn archives_that_fill_the_disk_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("zeros"), vec![0; 6 << 20]).unwrap();
    for format in [Format::Xz, Format::Gzip, Format::Zstd, Format::Bzip2, Format::Zip] {
        let error = refusal(&packed(directory.path(), format));
        assert!(matches!(error, ArchiveError::Bomb { ratio: 100 }), "{format}: {error:?}");
    }
    let into = tempfile::tempdir().unwrap();
    let small = Limits { bytes: 1000, ..LIMITS };
    for format in FORMATS {
        let error = unpack_file(&packed(directory.path(), format), into.path(), small).unwrap_err();
        assert!(matches!(error, ArchiveError::NoRoom { limit: 1000, .. }), "{format}: {error:?}");
    }
    let few = Limits { members: 1, ..LIMITS };
    let error = unpack_file(&packed(directory.path(), Format::Tar), into.path(), few).unwrap_err();
    assert!(matches!(error, ArchiveError::TooMany { limit: 1 }), "{error:?}");
}

/// A link that leads to so many bytes.
fn long_link(tar: Tar, name: &str, length: usize) -> Tar {
    let mut target = "t/".repeat(length / 2);
    target.push('\0');
    tar.add(EntryType::GNULongLink, "././@LongLink", "", target.as_bytes()).link(name, "short")
}

#[test]
fn archives_that_fill_the_memory_are_refused() {
    // Directories that no member announces take as much as those that one does.
    let deep = |name: char| format!("{name}/").repeat(45) + "f";
    let tar = ('a'..='z').fold(Tar::default(), |tar, name| tar.file(&deep(name)));
    let error = refusal(&tar.end());
    assert!(matches!(error, ArchiveError::TooMany { limit: 1000 }), "{error:?}");
    assert_eq!(fault(&long_link(Tar::default(), "l", 4096).end()), Fault::Target);
    let links = (0..30).fold(Tar::default(), |tar, number| long_link(tar, &format!("l{number}"), 4000));
    let error = refusal(&links.end());
    assert!(matches!(error, ArchiveError::LongNames { limit: 100_000 }), "{error:?}");
    let record = Tar::default().add(EntryType::XHeader, "x", "", b"16 linkpath=a\0b\n").link("l", "x");
    assert_eq!(fault(&record.end()), Fault::Target);
}

/// A zip whose members say whatever they are told to.
fn zip_with(names: &[(&str, u32)]) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, mode) in names {
        let options = ::zip::write::SimpleFileOptions::default().unix_permissions(0o644);
        writer.start_file(*name, options.external_attributes(*mode << 16)).unwrap();
        writer.write_all(b"/etc").unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn hostile_zips_are_refused() {
    assert_eq!(fault(&zip_with(&[("../evil", 0o100_644)])), Fault::Outside);
    assert_eq!(fault(&zip_with(&[("/evil", 0o100_644)])), Fault::Absolute);
    assert_eq!(fault(&zip_with(&[("a", 0o100_644), ("./a", 0o100_644)])), Fault::Duplicate);
    assert_eq!(fault(&zip_with(&[("l", 0o120_777)])), Fault::LinkOut { target: "/etc".to_owned() });
    assert_eq!(fault(&zip_with(&[("p", 0o010_644)])), Fault::Pipe);
    assert_eq!(fault(&zip_with(&[("c", 0o020_644)])), Fault::Device);
    let good = zip_with(&[("a", 0o100_644), ("b", 0o100_644)]);
    unpack_stream(&good, tempfile::tempdir().unwrap().path()).unwrap();
    assert!(matches!(refusal(&[b"prefix", good.as_slice()].concat()), ArchiveError::UnknownForm));
    // Two members of one name, which no library writes.
    let twice: Vec<u8> = good.iter().map(|byte| if *byte == b'b' { b'a' } else { *byte }).collect();
    let error = refusal(&twice);
    assert!(matches!(error, ArchiveError::Malformed { .. } | ArchiveError::Damaged(_)), "{error:?}");
}

#[test]
fn whoever_asks_to_stop_is_heard() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), vec![7; 5000]).unwrap();
    let contents =
        Contents::of_directory(directory.path(), LinksOut::Followed, &Interrupt::default()).unwrap();
    let raised = Interrupt::default();
    raised.raise();
    let into = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let error = write(&contents, format, Vec::new(), &Silent, &raised).unwrap_err();
        assert!(matches!(error, ArchiveError::Interrupted(_)), "{format}: {error:?}");
        let stream: Box<dyn Read + Send> = Box::new(Cursor::new(packed(directory.path(), format)));
        let error = unpack(Input::Stream(stream), into.path(), LIMITS, into.path(), &Silent, &raised);
        assert!(matches!(error, Err(ArchiveError::Interrupted(_))), "{format}: {error:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Archives with bytes changed, cut and doubled: refused or taken, but nothing lands outside and nothing panics.
    #[test]
    fn spoilt_archives_do_no_harm(
        format in 0_usize..6,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
        doubled in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let original = directory.path().join("original");
        fs::create_dir(&original).unwrap();
        fs::write(original.join("model.yaml"), "name: a\nversion: b\n").unwrap();
        fs::create_dir(original.join("sub")).unwrap();
        symlink("../model.yaml", original.join("sub/link")).unwrap();
        let mut bytes = packed(&original, FORMATS[format]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(at) = doubled {
            let from = at.index(bytes.len()) / 512 * 512;
            let again = bytes[from..].to_vec();
            bytes.extend(again);
        }
        if let Some(at) = cut {
            bytes.truncate(at.index(bytes.len()));
        }
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        if unpack_stream(&bytes, &root).is_ok() {
            check_links(&root).unwrap();
        }
        let beside: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        prop_assert_eq!(beside.len(), 2);
    }

    /// Directories of any names come out as they went in.
    #[test]
    fn any_names_come_back(
        names in prop::collection::btree_set("[^/\0]{1,40}", 1..6),
        format in 0_usize..6,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (original, copy) = (directory.path().join("original"), directory.path().join("copy"));
        fs::create_dir(&original).unwrap();
        fs::create_dir(&copy).unwrap();
        for name in names.iter().filter(|name| !matches!(name.as_str(), "." | "..")) {
            fs::write(original.join(name), name).unwrap();
        }
        unpack_stream(&packed(&original, FORMATS[format]), &copy).unwrap();
        let content = |root: &Path| tree(root).into_iter().skip(1).map(|entry| (entry.0, entry.1)).collect::<Vec<_>>();
        prop_assert_eq!(content(&copy), content(&original));
    }
}
