//! A layer's tar that exists only as a recipe: headers in memory, contents where they already are.
//!
//! Being a [`Blob`] it is hashed, pushed and resumed like one, without a copy of the contents on disk. The bytes are a
//! function of the tree and one time stamp (image-spec, layer.md; the rules are in `docs/formats/layers.md`).

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::blob::{Blob, FileBlob};
use super::tree::{Content, Entry, EntryKind, Tree};

/// Size of a tar block (POSIX.1-2017, pax).
const BLOCK: u64 = 512;
/// Largest size that a ustar header holds: eleven octal digits.
const MAX_USTAR_SIZE: u64 = 0o777_7777_7777;
/// Longest name that fits the header's own field.
const MAX_NAME: usize = 100;

/// A tar of a tree, as a blob.
#[derive(Clone, Debug)]
pub struct VirtualTar {
    segments: Arc<[Segment]>,
    size: u64,
}

#[derive(Debug)]
struct Segment {
    start: u64,
    size: u64,
    part: Part,
}

#[derive(Clone, Debug)]
enum Part {
    Inline(Bytes),
    Blob(Arc<dyn Blob>),
}

impl VirtualTar {
    /// Lays out `tree` as a tar in which every entry has the modification time `mtime` (seconds since the epoch).
    pub fn new(tree: &Tree, mtime: u64) -> Self {
        Self::of_members(tree.iter().map(|(path, entry)| (path, entry, mtime)))
    }

    /// Lays out members in the given order, under the given names and with the given times: a tar that is no layer, in
    /// which any name may stand.
    pub fn of_members<'a>(members: impl IntoIterator<Item = (&'a str, &'a Entry, u64)>) -> Self {
        let mut layout = Layout::default();
        for (path, entry, mtime) in members {
            layout.entry(path, entry, mtime);
        }
        layout.zeros(2 * BLOCK);
        layout.flush();
        Self { segments: layout.segments.into(), size: layout.size }
    }
}

impl VirtualTar {
    /// What stands before and after the one content that is not in memory; `None` where there is none, or several.
    pub fn around(&self) -> Option<(Bytes, Bytes)> {
        let parts: Vec<&Part> = self.segments.iter().map(|segment| &segment.part).collect();
        match parts[..] {
            [Part::Inline(before), Part::Blob(_), Part::Inline(after)] => {
                Some((before.clone(), after.clone()))
            }
            _ => None,
        }
    }
}

impl Blob for VirtualTar {
    fn size(&self) -> u64 {
        self.size
    }

    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let next = self.segments.partition_point(|segment| segment.start + segment.size <= offset);
        Ok(Box::new(TarReader { segments: Arc::clone(&self.segments), next, offset, open: None }))
    }
}

#[derive(Default)]
struct Layout {
    segments: Vec<Segment>,
    inline: BytesMut,
    size: u64,
}

impl Layout {
    fn entry(&mut self, path: &str, entry: &Entry, mtime: u64) {
        let is_directory = matches!(entry.kind, EntryKind::Directory);
        let name = if is_directory { format!("{path}/") } else { path.to_owned() };
        let (size, link, kind) = match &entry.kind {
            EntryKind::Directory => (0, None, tar::EntryType::Directory),
            EntryKind::File(content) => (content.size(), None, tar::EntryType::Regular),
            EntryKind::Symlink(target) => (0, Some(target.as_str()), tar::EntryType::Symlink),
            EntryKind::HardLink(target) => (0, Some(target.as_str()), tar::EntryType::Link),
        };
        let records = pax_records(&name, link, size);
        let mut header = ustar(entry, mtime);
        if !records.is_empty() {
            let mut extended = header.clone();
            set_name(&mut extended, "PaxHeaders/entry");
            extended.set_entry_type(tar::EntryType::XHeader);
            extended.set_mode(0o644);
            extended.set_size(records.len() as u64);
            self.header(extended);
            self.bytes(&records);
            self.pad(records.len() as u64);
        }
        set_name(&mut header, &name);
        set_link(&mut header, link.unwrap_or_default());
        header.set_entry_type(kind);
        header.set_size(if size > MAX_USTAR_SIZE { 0 } else { size });
        self.header(header);
        if let EntryKind::File(content) = &entry.kind {
            self.content(content);
            self.pad(size);
        }
    }

    fn header(&mut self, mut header: tar::Header) {
        header.set_cksum();
        self.bytes(header.as_bytes());
    }

    fn content(&mut self, content: &Content) {
        match content {
            Content::Bytes(bytes) => self.bytes(bytes),
            Content::File { path, size } => {
                self.blob(Arc::new(FileBlob { path: path.clone(), start: 0, size: *size }));
            }
            Content::Blob(blob) => self.blob(Arc::clone(blob)),
        }
    }

    fn blob(&mut self, blob: Arc<dyn Blob>) {
        if blob.size() > 0 {
            self.flush();
            self.push(blob.size(), Part::Blob(blob));
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.inline.extend_from_slice(bytes);
    }

    fn pad(&mut self, size: u64) {
        self.zeros(size.next_multiple_of(BLOCK) - size);
    }

    fn zeros(&mut self, count: u64) {
        let count = usize::try_from(count).expect("padding is at most two blocks");
        self.inline.resize(self.inline.len() + count, 0);
    }

    fn flush(&mut self) {
        if !self.inline.is_empty() {
            let bytes = self.inline.split().freeze();
            self.push(bytes.len() as u64, Part::Inline(bytes));
        }
    }

    fn push(&mut self, size: u64, part: Part) {
        self.segments.push(Segment { start: self.size, size, part });
        self.size += size;
    }
}

/// The header fields that every record of an entry shares.
fn ustar(entry: &Entry, mtime: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_mode(entry.mode);
    header.set_uid(entry.owner.uid.into());
    header.set_gid(entry.owner.gid.into());
    header.set_mtime(mtime);
    header
}

/// The pax records that the ustar fields cannot carry: long or non-ASCII names, sizes from 8 GiB.
fn pax_records(name: &str, link: Option<&str>, size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let fits = |text: &str| text.len() <= MAX_NAME && text.is_ascii();
    if let Some(link) = link.filter(|link| !fits(link)) {
        pax_record(&mut records, "linkpath", link);
    }
    if !fits(name) {
        pax_record(&mut records, "path", name);
    }
    if size > MAX_USTAR_SIZE {
        pax_record(&mut records, "size", &size.to_string());
    }
    records
}

/// Appends `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn pax_record(records: &mut Vec<u8>, key: &str, value: &str) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
}

fn set_name(header: &mut tar::Header, name: &str) {
    let field = &mut header.as_ustar_mut().expect("headers are made as ustar").name;
    copy_field(field, name);
}

fn set_link(header: &mut tar::Header, target: &str) {
    let field = &mut header.as_ustar_mut().expect("headers are made as ustar").linkname;
    copy_field(field, target);
}

/// Copies what fits: a reader that knows pax takes the record instead.
fn copy_field(field: &mut [u8; MAX_NAME], text: &str) {
    field.fill(0);
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = if from.is_ascii() { from } else { b'_' };
    }
}

struct TarReader {
    segments: Arc<[Segment]>,
    next: usize,
    offset: u64,
    open: Option<Box<dyn Read + Send>>,
}

impl Read for TarReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let segments = Arc::clone(&self.segments);
        let Some(segment) = segments.get(self.next).filter(|_| !buffer.is_empty()) else {
            return Ok(0);
        };
        let within = self.offset - segment.start;
        let left = segment.size - within;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = match &segment.part {
            Part::Inline(bytes) => {
                let from = usize::try_from(within).expect("an offset into memory fits");
                buffer[..wanted].copy_from_slice(&bytes[from..from + wanted]);
                wanted
            }
            Part::Blob(blob) => self.read_blob(blob.as_ref(), within, &mut buffer[..wanted])?,
        };
        self.offset += count as u64;
        if count as u64 == left {
            self.next += 1;
            self.open = None;
        }
        Ok(count)
    }
}

impl TarReader {
    fn read_blob(&mut self, blob: &dyn Blob, within: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if self.open.is_none() {
            self.open = Some(blob.open_at(within)?);
        }
        let reader = self.open.as_mut().expect("opened just above");
        match reader.read(buffer)? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{blob:?} became shorter while the layer was being made"),
            )),
            count => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::tree::Owner;
    use proptest::prelude::*;

    fn bytes_of(blob: &dyn Blob, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        blob.open_at(offset).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn sample(directory: &std::path::Path) -> Tree {
        let mut tree = Tree::new();
        let owner = Owner { uid: 1034, gid: 1034 };
        let path = directory.join("weights");
        std::fs::write(&path, vec![7; 1500]).unwrap();
        let long = format!("{}/é", "d".repeat(120));
        tree.insert("a/model", Entry::file(Content::File { path, size: 1500 }, 0o644, owner)).unwrap();
        tree.insert("a/empty", Entry::file(Content::Bytes(Bytes::new()), 0o644, owner)).unwrap();
        tree.insert("a/link", Entry::symlink("../x".repeat(40), owner)).unwrap();
        tree.insert(&long, Entry::file(Content::from("text".to_owned()), 0o755, owner)).unwrap();
        tree
    }

    #[test]
    fn another_reader_finds_what_was_put_in() {
        let directory = tempfile::tempdir().unwrap();
        let tree = sample(directory.path());
        let bytes = bytes_of(&VirtualTar::new(&tree, 42), 0);
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            let path = entry.path().unwrap().to_str().unwrap().trim_end_matches('/').to_owned();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            assert_eq!(header.mtime().unwrap(), 42);
            let link = entry.link_name().unwrap().map(|link| link.to_str().unwrap().to_owned());
            seen.push((path, header.mode().unwrap(), header.uid().unwrap(), content.len(), link));
        }
        let long = "d".repeat(120);
        let expected = [
            ("a".to_owned(), 0o755, 0, 0, None),
            ("a/empty".to_owned(), 0o644, 1034, 0, None),
            ("a/link".to_owned(), 0o777, 1034, 0, Some("../x".repeat(40))),
            ("a/model".to_owned(), 0o644, 1034, 1500, None),
            (long.clone(), 0o755, 0, 0, None),
            (format!("{long}/é"), 0o755, 1034, 4, None),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn sizes_from_eight_gibibytes_go_into_a_pax_record() {
        let size = MAX_USTAR_SIZE + 1;
        let mut tree = Tree::new();
        let content = Content::File { path: "nowhere".into(), size };
        tree.insert("big", Entry::file(content, 0o644, Owner::ROOT)).unwrap();
        let tar = VirtualTar::new(&tree, 0);
        assert_eq!(tar.size(), 3 * BLOCK + size + 2 * BLOCK);
        let mut head = vec![0; 1024];
        tar.open_at(0).unwrap().read_exact(&mut head).unwrap();
        assert!(String::from_utf8_lossy(&head).contains("19 size=8589934592\n"));
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let tar = VirtualTar::new(&sample(directory.path()), 0);
        std::fs::write(directory.path().join("weights"), b"short").unwrap();
        let mut bytes = Vec::new();
        let error = tar.open_at(0).unwrap().read_to_end(&mut bytes).unwrap_err();
        assert!(error.to_string().contains("became shorter"), "{error}");
    }

    proptest! {
        #[test]
        fn every_offset_reads_the_same_bytes(offset in 0_u64..8192) {
            let directory = tempfile::tempdir().unwrap();
            let tar = VirtualTar::new(&sample(directory.path()), 0);
            let all = bytes_of(&tar, 0);
            prop_assert_eq!(all.len() as u64, tar.size());
            let from = usize::try_from(offset).unwrap().min(all.len());
            prop_assert_eq!(bytes_of(&tar, offset), &all[from..]);
        }
    }
}
