//! The files of a commit: what they are named by, and the answers that carry them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use super::super::fake_server::{Answer, Part, Received};
use super::faults::Chosen;

/// Larger files have to be in the storage on the real hub.
const LARGE: u64 = 10_000_000;

/// What the real hub keeps in the storage whatever its size, of what a new repository says.
const LARGE_KINDS: &[&str] = &[
    "bin",
    "ckpt",
    "gz",
    "h5",
    "model",
    "msgpack",
    "npy",
    "npz",
    "onnx",
    "pkl",
    "pt",
    "pth",
    "safetensors",
    "zip",
];

/// Bytes of a file that are hashed at once.
const PIECE: usize = 1 << 20;

/// Which files of a commit are kept in the storage.
#[derive(Clone)]
pub(crate) struct LfsRule {
    /// Files of at least so many bytes.
    pub(crate) from: u64,
    /// Files whose names end so, after a dot.
    pub(crate) kinds: Vec<String>,
}

impl Default for LfsRule {
    fn default() -> Self {
        Self { from: LARGE, kinds: LARGE_KINDS.iter().map(|&kind| kind.to_owned()).collect() }
    }
}

/// A file of a commit.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// Git's name of the file, or of the pointer to it.
    pub(super) oid: String,
    pub(super) large: Option<Large>,
}

/// What the storage knows of a file.
#[derive(Clone, Debug)]
pub(super) struct Large {
    pub(super) sha256: String,
    pub(super) pointer_size: usize,
}

impl Content {
    /// The value of `ETag`: small files are named by git, large ones by their contents.
    pub(super) fn etag(&self) -> String {
        format!("\"{}\"", self.large.as_ref().map_or(&self.oid, |large| &large.sha256))
    }

    fn read(path: PathBuf, is_large: bool) -> Self {
        let size = path.metadata().unwrap_or_else(|error| panic!("{}: {error}", path.display())).len();
        if !is_large {
            let mut hash = Sha1::new();
            hash.update(format!("blob {size}\0"));
            read(&path, |piece| hash.update(piece));
            return Self { path, size, oid: hex(&hash.finalize()), large: None };
        }
        let mut hash = Sha256::new();
        read(&path, |piece| hash.update(piece));
        let sha256 = hex(&hash.finalize());
        let pointer =
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n");
        let oid = git_name("blob", pointer.as_bytes());
        Self { path, size, oid, large: Some(Large { sha256, pointer_size: pointer.len() }) }
    }

    /// The answer to `GET` or `HEAD`: the file or the range of it that is asked for, with what the faults do to it.
    pub(super) fn answer(&self, request: &Received, faults: &Chosen) -> Answer {
        let size = faults.length().unwrap_or(self.size);
        let is_current = request.header("if-range").is_none_or(|etag| etag == self.etag());
        let range = request.header("range").filter(|_| is_current && !faults.ignores_ranges());
        let answer = Answer::status(200)
            .header("Accept-Ranges", "bytes")
            .header("Content-Type", "application/octet-stream")
            .header("ETag", self.etag());
        match range.and_then(|range| parse_range(range, size)) {
            None => Answer { parts: self.parts(0, size, faults), ..answer },
            Some(None) => Answer::status(416).header("Content-Range", format!("bytes */{size}")),
            Some(Some((start, end))) => Answer {
                status: 206,
                parts: self.parts(start, end - start, faults),
                ..answer.header("Content-Range", format!("bytes {start}-{}/{size}", end - 1))
            },
        }
    }

    /// The whole file, compressed and without a length.
    pub(super) fn compressed_answer(&self) -> Answer {
        let bytes =
            std::fs::read(&self.path).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&bytes).expect("memory takes bytes");
        let bytes = encoder.finish().expect("memory takes bytes");
        let mut body = format!("{:x}\r\n", bytes.len()).into_bytes();
        body.extend_from_slice(&bytes);
        body.extend_from_slice(b"\r\n0\r\n\r\n");
        Answer::status(200)
            .header("Content-Type", "text/plain; charset=utf-8")
            .header("Content-Encoding", "gzip")
            .header("Transfer-Encoding", "chunked")
            .header("Vary", "Accept-Encoding")
            .header("ETag", format!("W/{}", self.etag()))
            .body(body)
    }

    fn parts(&self, start: u64, length: u64, faults: &Chosen) -> Vec<Part> {
        let end = start + length;
        let mut parts = Vec::new();
        let file = |start: u64, end: u64| Part::File {
            path: self.path.clone(),
            start,
            length: end.saturating_sub(start),
        };
        let real = end.min(self.size);
        match faults.wrong_byte().filter(|offset| (start..real).contains(offset)) {
            Some(offset) => {
                parts.push(file(start, offset));
                parts.push(Part::Bytes(vec![!byte_at(&self.path, offset)]));
                parts.push(file(offset + 1, real));
            }
            None => parts.push(file(start, real)),
        }
        // A file that is said to be longer than it is.
        parts.push(Part::Repeat { byte: 0, length: end.saturating_sub(real.max(start)) });
        parts.retain(|part| part.length() > 0);
        parts
    }
}

/// Whether the answer to a request may be compressed.
pub(super) fn takes_gzip(request: &Received) -> bool {
    let encodings = request.header("accept-encoding").unwrap_or_default();
    encodings.split(',').any(|encoding| encoding.split(';').next().unwrap_or_default().trim() == "gzip")
}

/// Every file below a directory by its path there, links followed.
pub(super) fn read_directory(directory: &Path, rule: &LfsRule) -> BTreeMap<String, Content> {
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(directory).follow_links(true) {
        let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        if !entry.file_type().is_file() {
            continue;
        }
        let path = entry.into_path();
        let name =
            path.strip_prefix(directory).expect("the walk started there").to_string_lossy().into_owned();
        let kind = path.extension().map(|kind| kind.to_string_lossy().into_owned()).unwrap_or_default();
        let is_large =
            rule.kinds.contains(&kind) || path.metadata().is_ok_and(|file| file.len() >= rule.from);
        files.insert(name, Content::read(path, is_large));
    }
    assert!(!files.is_empty(), "there are no files below {}", directory.display());
    files
}

/// What git names an object with these contents.
pub(super) fn git_name(kind: &str, contents: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("{kind} {}\0", contents.len()));
    hash.update(contents);
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes text");
        text
    })
}

fn read(path: &Path, mut take: impl FnMut(&[u8])) {
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
            0 => return,
            count => take(&buffer[..count]),
        }
    }
}

fn byte_at(path: &Path, offset: u64) -> u8 {
    use std::os::unix::fs::FileExt as _;
    let mut byte = [0];
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.read_exact_at(&mut byte, offset).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    byte[0]
}

/// None if it is not one range of bytes, which is then not heeded; `Some(None)` if it is outside of the file.
#[expect(clippy::option_option, reason = "not heeded and not satisfiable are two answers")]
fn parse_range(text: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (first, last) {
        ("", last) => (size.saturating_sub(last.parse().ok()?), size),
        (first, "") => (first.parse().ok()?, size),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.saturating_add(1).min(size)),
    };
    Some((start < end).then_some((start, end)))
}
