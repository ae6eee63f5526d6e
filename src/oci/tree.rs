//! What a layer contains, before it is a tar: entries by path.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::blob::Blob;

/// Mode of directories that are in a tree only because something is in them.
const PARENT_MODE: u32 = 0o755;

/// The user and group that own an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Owner {
    /// The superuser.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// Where a file's bytes are.
#[derive(Clone, Debug)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// In a file on this machine, which must keep its size until the layer is written.
    File {
        /// The file.
        path: PathBuf,
        /// Its size when it was listed.
        size: u64,
    },
    /// In another blob: how an archive holds the layers of an image.
    Blob(Arc<dyn Blob>),
}

impl Content {
    /// Number of bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
            Self::Blob(blob) => blob.size(),
        }
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Bytes(Bytes::from(text))
    }
}

/// What an entry is.
#[derive(Clone, Debug)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target, as written.
    Symlink(String),
    /// A hard link to another path of the same tree.
    HardLink(String),
}

/// One file, directory or link of a layer.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Who owns it.
    pub owner: Owner,
}

impl Entry {
    /// A directory with mode 0755.
    pub fn directory(owner: Owner) -> Self {
        Self { kind: EntryKind::Directory, mode: PARENT_MODE, owner }
    }

    /// A regular file.
    pub fn file(content: Content, mode: u32, owner: Owner) -> Self {
        Self { kind: EntryKind::File(content), mode, owner }
    }

    /// A symbolic link.
    pub fn symlink(target: impl Into<String>, owner: Owner) -> Self {
        Self { kind: EntryKind::Symlink(target.into()), mode: 0o777, owner }
    }
}

/// A path cannot be in a layer.
#[derive(Debug, Error)]
pub enum TreeError {
    /// The path leaves the root, is empty, absolute or not in its simplest form.
    #[error("`{path}` is not a plain relative path")]
    Path {
        /// The path as given.
        path: String,
    },
    /// The name means "delete this" in a layer (image-spec, Whiteouts).
    #[error("`{path}` cannot be in a layer: names that begin with `.wh.` mark deleted files there")]
    Whiteout {
        /// The path as given.
        path: String,
    },
    /// Something lies below a path that is not a directory.
    #[error("`{path}` lies below `{parent}`, which is not a directory")]
    NotADirectory {
        /// The path as given.
        path: String,
        /// The entry above it.
        parent: String,
    },
}

/// The entries of a layer by path: relative, `/`-separated, each once, parents included, in byte order.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces the entry at `path`; missing parents become directories of the same owner as their own
    /// parent, the superuser at the root.
    pub fn insert(&mut self, path: &str, entry: Entry) -> Result<(), TreeError> {
        check_path(path)?;
        let mut owner = Owner::ROOT;
        for (index, _) in path.match_indices('/') {
            let parent = &path[..index];
            let above = self.entries.entry(parent.to_owned()).or_insert_with(|| Entry::directory(owner));
            if !matches!(above.kind, EntryKind::Directory) {
                return Err(TreeError::NotADirectory { path: path.to_owned(), parent: parent.to_owned() });
            }
            owner = above.owner;
        }
        self.entries.insert(path.to_owned(), entry);
        Ok(())
    }

    /// Removes the entry at `path`, and nothing below it.
    pub fn remove(&mut self, path: &str) -> Option<Entry> {
        self.entries.remove(path)
    }

    /// The entry at `path`.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// The entries in byte order of their paths: parents before what is in them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Sum of the sizes of the files.
    pub fn content_size(&self) -> u64 {
        let size = |entry: &Entry| match &entry.kind {
            EntryKind::File(content) => content.size(),
            _ => 0,
        };
        self.entries.values().map(size).sum()
    }
}

/// Refuses everything but the simplest form of a relative path, and the names that layers reserve.
pub fn check_path(path: &str) -> Result<(), TreeError> {
    let is_plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    if !path.split('/').all(is_plain) {
        return Err(TreeError::Path { path: path.to_owned() });
    }
    if path.split('/').any(|name| name.starts_with(".wh.")) {
        return Err(TreeError::Whiteout { path: path.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_appear_once_and_first() {
        let mut tree = Tree::new();
        let owner = Owner { uid: 7, gid: 7 };
        tree.insert("a/b", Entry::directory(owner)).unwrap();
        tree.insert("a/b/c/d", Entry::symlink("x", owner)).unwrap();
        let owners: Vec<_> = tree.iter().map(|(path, entry)| (path, entry.owner.uid)).collect();
        assert_eq!(owners, [("a", 0), ("a/b", 7), ("a/b/c", 7), ("a/b/c/d", 7)]);
    }

    #[test]
    fn paths_that_escape_are_refused() {
        for path in ["", "/etc", "a//b", "./a", "a/..", "a/.wh.b", "a\0"] {
            assert!(Tree::new().insert(path, Entry::directory(Owner::ROOT)).is_err(), "{path}");
        }
    }

    #[test]
    fn nothing_lies_below_a_file() {
        let mut tree = Tree::new();
        tree.insert("a", Entry::symlink("b", Owner::ROOT)).unwrap();
        let error = tree.insert("a/b", Entry::directory(Owner::ROOT)).unwrap_err();
        assert_eq!(error.to_string(), "`a/b` lies below `a`, which is not a directory");
    }
}
