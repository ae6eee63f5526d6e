//! What goes into an archive: a directory, and what is laid over it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::error::{ArchiveError, Fault};
use super::links;
use super::member::{MODE_MASK, Moment};
use crate::report::Interrupt;

/// The members of an archive to be, in the order in which they are written: each directory before what is in it.
#[derive(Debug)]
pub struct Contents {
    nodes: BTreeMap<Vec<String>, Node>,
}

/// What becomes of links that lead out of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinksOut {
    /// Each becomes the file that it leads to: the directory is ours, and its maker could read that file.
    Followed,
    /// None may be there: who made the directory is not known.
    Refused,
}

/// One member.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) mode: u32,
    pub(super) modified: Moment,
}

/// Where the bytes of a member are.
#[derive(Debug)]
pub(super) enum NodeKind {
    Directory,
    File { path: PathBuf, size: u64 },
    Bytes(Vec<u8>),
    Symlink { target: String },
}

/// A member, for who packs it in a way of their own.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// Its path in the contents; empty for the root.
    pub path: String,
    /// What it is.
    pub kind: ItemKind<'a>,
    /// Its permission bits.
    pub mode: u32,
    /// When it was changed last: seconds since the epoch, and nanoseconds.
    pub modified: (i64, u32),
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind<'a> {
    /// A directory.
    Directory,
    /// A file on this machine.
    File {
        /// Where it is.
        source: &'a Path,
        /// Its size when it was listed.
        size: u64,
    },
    /// A file in memory.
    Bytes(&'a [u8]),
    /// A symbolic link, as written.
    Symlink(&'a str),
}

/// A file that travels by itself.
#[derive(Clone, Debug)]
pub struct LargeFile {
    /// Its path in the contents.
    pub path: String,
    /// Where its bytes are.
    pub source: PathBuf,
    /// Its size.
    pub size: u64,
    /// Its permission bits.
    pub mode: u32,
    /// When it was changed last: seconds since the epoch, and nanoseconds.
    pub modified: (i64, u32),
}

impl Contents {
    /// Everything in a directory. Links stay links as long as they lead to a place inside.
    pub fn of_directory(
        root: &Path,
        links_out: LinksOut,
        interrupt: &Interrupt,
    ) -> Result<Self, ArchiveError> {
        let mut nodes = BTreeMap::new();
        for entry in walkdir::WalkDir::new(root).follow_root_links(true).sort_by_file_name() {
            interrupt.check()?;
            let entry = entry.map_err(|error| ArchiveError::Read {
                path: error.path().unwrap_or(root).to_owned(),
                source: error.into(),
            })?;
            let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
            let key = components(below).ok_or_else(|| unfit(entry.path(), Fault::NotUtf8))?;
            nodes.insert(key, node(root, entry.path(), links_out)?);
        }
        Ok(Self { nodes })
    }

    /// Whether there is something at a path.
    pub fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(&key(path))
    }

    /// Lays `other` below `path`, whose parents have to be there.
    pub fn add(&mut self, path: &str, other: Self) {
        let prefix = key(path);
        let below = other.nodes.into_iter().map(|(path, node)| ([prefix.clone(), path].concat(), node));
        self.nodes.extend(below);
    }

    /// Adds a directory with the time of the root.
    pub fn add_directory(&mut self, path: &str) {
        self.insert(path, NodeKind::Directory, 0o755);
    }

    /// Adds a file with the time of the root.
    pub fn add_file(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.insert(path, NodeKind::Bytes(bytes.into()), 0o644);
    }

    /// Leaves out what is at a path, and everything below.
    pub fn remove(&mut self, path: &str) {
        let prefix = key(path);
        self.nodes.retain(|path, _| !path.starts_with(&prefix));
    }

    /// All members, in order.
    pub fn items(&self) -> impl Iterator<Item = Item<'_>> {
        self.members().map(|(path, node)| {
            let kind = match &node.kind {
                NodeKind::Directory => ItemKind::Directory,
                NodeKind::File { path, size } => ItemKind::File { source: path, size: *size },
                NodeKind::Bytes(bytes) => ItemKind::Bytes(bytes),
                NodeKind::Symlink { target } => ItemKind::Symlink(target),
            };
            let modified = (node.modified.seconds, node.modified.nanoseconds);
            Item { path, kind, mode: node.mode, modified }
        })
    }

    /// The bytes of all files.
    pub fn size(&self) -> u64 {
        self.nodes.values().map(Node::size).sum()
    }

    /// Takes out the files of at least `least` bytes: at most `most` of them, the largest first.
    pub fn take_large(&mut self, least: u64, most: usize) -> Vec<LargeFile> {
        let is_large = |node: &Node| matches!(node.kind, NodeKind::File { size, .. } if size >= least);
        let found = self.nodes.iter().filter(|(_, node)| is_large(node));
        let mut found: Vec<_> = found.map(|(path, node)| (node.size(), path.clone())).collect();
        found.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
        found.truncate(most);
        found.sort_by(|one, other| one.1.cmp(&other.1));
        let mut files = Vec::new();
        for (_, key) in found {
            if let Some(Node { kind: NodeKind::File { path, size }, mode, modified }) =
                self.nodes.remove(&key)
            {
                let modified = (modified.seconds, modified.nanoseconds);
                files.push(LargeFile { path: key.join("/"), source: path, size, mode, modified });
            }
        }
        files
    }

    fn insert(&mut self, path: &str, kind: NodeKind, mode: u32) {
        let modified = self.nodes.get(&Vec::new()).map(|root| root.modified).unwrap_or_default();
        self.nodes.insert(key(path), Node { kind, mode, modified });
    }

    /// The members with their paths; the root's is empty.
    pub(super) fn members(&self) -> impl Iterator<Item = (String, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.join("/"), node))
    }
}

impl Node {
    pub(super) fn size(&self) -> u64 {
        match &self.kind {
            NodeKind::File { size, .. } => *size,
            NodeKind::Bytes(bytes) => bytes.len() as u64,
            NodeKind::Directory | NodeKind::Symlink { .. } => 0,
        }
    }

    /// Hands the bytes to `take`; a file that is not as long as it was is an error.
    pub(super) fn copy_to(
        &self,
        mut take: impl FnMut(&[u8]) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let (path, size) = match &self.kind {
            NodeKind::Bytes(bytes) => return take(bytes),
            NodeKind::File { path, size } => (path, *size),
            NodeKind::Directory | NodeKind::Symlink { .. } => return Ok(()),
        };
        let mut file = fs::File::open(path).map_err(ArchiveError::read(path))?;
        let mut buffer = vec![0; 1 << 20];
        let mut left = size;
        loop {
            let count = match io::Read::read(&mut file, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(ArchiveError::read(path))?,
            };
            left =
                left.checked_sub(count as u64).ok_or_else(|| ArchiveError::Changed { path: path.clone() })?;
            match count {
                0 if left == 0 => return Ok(()),
                0 => return Err(ArchiveError::Changed { path: path.clone() }),
                _ => take(&buffer[..count])?,
            }
        }
    }
}

fn key(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn components(path: &Path) -> Option<Vec<String>> {
    path.components().map(|part| part.as_os_str().to_str().map(str::to_owned)).collect()
}

fn unfit(path: &Path, fault: Fault) -> ArchiveError {
    ArchiveError::Unfit { path: path.to_owned(), fault }
}

fn node(root: &Path, path: &Path, links_out: LinksOut) -> Result<Node, ArchiveError> {
    let is_root = path == root;
    let read = if is_root { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let mut metadata = read.map_err(ArchiveError::read(path))?;
    if metadata.is_symlink() {
        match links::check(root, path) {
            Ok(target) => return Ok(Node { kind: NodeKind::Symlink { target }, ..bare(&metadata) }),
            Err(ArchiveError::Member { fault: fault @ Fault::LinkOut { .. }, .. }) => {
                if links_out == LinksOut::Followed {
                    metadata = fs::metadata(path).map_err(ArchiveError::read(path))?;
                }
                if !metadata.is_file() {
                    return Err(unfit(path, fault));
                }
            }
            Err(ArchiveError::Member { fault, .. }) => return Err(unfit(path, fault)),
            Err(error) => return Err(error),
        }
    }
    let kind = metadata.file_type();
    let kind = if kind.is_dir() {
        NodeKind::Directory
    } else if kind.is_file() {
        NodeKind::File { path: path.to_owned(), size: metadata.len() }
    } else if kind.is_block_device() || kind.is_char_device() {
        return Err(unfit(path, Fault::Device));
    } else {
        return Err(unfit(path, Fault::Pipe));
    };
    Ok(Node { kind, ..bare(&metadata) })
}

fn bare(metadata: &fs::Metadata) -> Node {
    Node { kind: NodeKind::Directory, mode: metadata.mode() & MODE_MASK, modified: Moment::of(metadata) }
}
