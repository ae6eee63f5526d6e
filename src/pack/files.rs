//! The files of a directory: listed without being read, and placed into a tree.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::PackError;
use crate::fs::FsError;
use crate::oci::digest::Digest;
use crate::oci::json::canonical;
use crate::oci::tree::{Content, Entry, EntryKind, Owner, Tree};

/// How the files of a directory look in an image.
#[derive(Clone, Copy, Debug)]
pub struct FileRules {
    /// Who owns them.
    pub owner: Owner,
    /// Mode of directories.
    pub directory_mode: u32,
}

/// A file, directory or link as it was when listed.
#[derive(Clone, Debug, Serialize)]
pub struct InventoryFile {
    /// Size, for a regular file.
    pub size: u64,
    /// Whether it may be executed: the only part of its mode that counts.
    pub is_executable: bool,
    /// Target, for a link.
    pub link: Option<String>,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Device, inode, and times of last change in nanoseconds: equal stamps mean an unchanged file.
    stamp: (u64, u64, i128, i128),
}

/// The files below a directory by relative path, with what tells whether they changed.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// The directory.
    pub root: PathBuf,
    /// The files, in byte order.
    pub files: BTreeMap<String, InventoryFile>,
}

/// Lists everything below `root` that `keep` accepts (given relative paths); a refused directory is not entered.
pub fn inventory(root: &Path, keep: &dyn Fn(&str) -> bool) -> Result<Inventory, PackError> {
    let mut files = BTreeMap::new();
    let is_kept = |entry: &walkdir::DirEntry| {
        let relative = entry.path().strip_prefix(root).unwrap_or(entry.path());
        relative.to_str().is_none_or(|relative| relative.is_empty() || keep(relative))
    };
    for entry in walkdir::WalkDir::new(root).min_depth(1).into_iter().filter_entry(is_kept) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            FsError { action: "list", path, source: error.into() }
        })?;
        let path = entry.path();
        let relative = path.strip_prefix(root).unwrap_or(path);
        let relative = relative.to_str().ok_or_else(|| PackError::NotUtf8 { path: path.to_owned() })?;
        files.insert(relative.to_owned(), describe(path)?);
    }
    Ok(Inventory { root: root.to_owned(), files })
}

pub(super) fn describe(path: &Path) -> Result<InventoryFile, PackError> {
    let metadata = path.symlink_metadata().map_err(FsError::of("read", path))?;
    let nanoseconds =
        |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let stamp = (
        metadata.dev(),
        metadata.ino(),
        nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    );
    let kind = metadata.file_type();
    let link = if kind.is_symlink() {
        let target = std::fs::read_link(path).map_err(FsError::of("read", path))?;
        Some(target.to_str().ok_or_else(|| PackError::NotUtf8 { path: path.to_owned() })?.to_owned())
    } else {
        None
    };
    if !kind.is_file() && !kind.is_dir() && !kind.is_symlink() {
        return Err(PackError::Special { path: path.to_owned() });
    }
    Ok(InventoryFile {
        size: if kind.is_file() { metadata.len() } else { 0 },
        is_executable: kind.is_file() && metadata.mode() & 0o111 != 0,
        link,
        is_directory: kind.is_dir(),
        stamp,
    })
}

impl InventoryFile {
    /// Changes whenever the file was replaced or written to. Its content is not read.
    pub(super) fn fingerprint(&self) -> Digest {
        Digest::of(&canonical(self))
    }
}

impl Inventory {
    /// Changes whenever a file was added, removed, renamed, replaced or written to. No content is read.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&canonical(&self.files))
    }

    /// Puts the files into `tree` below `prefix`.
    pub fn add_to(&self, tree: &mut Tree, prefix: &str, rules: FileRules) -> Result<(), PackError> {
        for (relative, file) in &self.files {
            let path = self.root.join(relative);
            let kind = match (&file.link, file.is_directory) {
                (Some(target), _) => EntryKind::Symlink(target.clone()),
                (None, true) => EntryKind::Directory,
                (None, false) => EntryKind::File(Content::File { path: path.clone(), size: file.size }),
            };
            let mode = match kind {
                EntryKind::Directory => rules.directory_mode,
                EntryKind::Symlink(_) => 0o777,
                _ if file.is_executable => 0o755,
                _ => 0o644,
            };
            let entry = Entry { kind, mode, owner: rules.owner };
            let explain = |source| PackError::Tree { path, source };
            tree.insert(&format!("{prefix}/{relative}"), entry).map_err(explain)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn modes_are_normalised_and_refused_files_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("skip")).unwrap();
        fs::write(root.join("skip/x"), b"").unwrap();
        fs::write(root.join("private"), b"weights").unwrap();
        fs::set_permissions(root.join("private"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(root.join("run"), b"#!").unwrap();
        fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("private", root.join("link")).unwrap();
        let mut tree = Tree::new();
        let rules = FileRules { owner: Owner { uid: 1, gid: 2 }, directory_mode: 0o755 };
        let listed = inventory(root, &|path| path != "skip").unwrap();
        listed.add_to(&mut tree, "a/b", rules).unwrap();
        let seen: Vec<_> = tree.iter().map(|(path, entry)| (path, entry.mode)).collect();
        let expected =
            [("a", 0o755), ("a/b", 0o755), ("a/b/link", 0o777), ("a/b/private", 0o644), ("a/b/run", 0o755)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_changed_file_changes_the_fingerprint() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"one").unwrap();
        let print = || inventory(directory.path(), &|_| true).unwrap().fingerprint();
        let before = print();
        assert_eq!(print(), before);
        fs::write(&path, b"two").unwrap();
        assert_ne!(print(), before);
    }
}
