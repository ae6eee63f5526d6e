//! How much a directory holds.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::copy::CopyError;
use super::directory::{Directory, Entry};

/// How much a directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeSize {
    /// The number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl TreeSize {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// Adds up the files of a directory; a link to a file counts as the file.
pub fn tree_size(path: &Path) -> Result<TreeSize, CopyError> {
    let size = Directory::open(path).map_err(|error| (error, Vec::new()));
    let size = size.and_then(|directory| measure(&directory, Directory::size_of));
    size.map_err(|(source, below)| CopyError::Read {
        path: path.join(std::ffi::OsStr::from_bytes(&below)),
        source,
    })
}

/// Adds up what is in an open directory; the length of what is directly in it is what `length` says.
///
/// An error comes with the path below the directory. However deep the tree is, two directories are open at a time.
pub(super) fn measure(
    root: &Directory,
    length: impl Fn(&Directory, &Entry) -> Option<u64>,
) -> Result<TreeSize, (io::Error, Vec<u8>)> {
    let mut size = TreeSize::default();
    let mut ahead: Vec<Vec<u8>> = Vec::new();
    let entries = root.entries().map_err(|error| (error, Vec::new()))?;
    for entry in &entries {
        if entry.is_directory() {
            ahead.push(entry.name().as_bytes().to_owned());
        } else if let Some(bytes) = length(root, entry) {
            size.add(bytes);
        }
    }
    while let Some(below) = ahead.pop() {
        let opened = root.below(&below).and_then(|directory| Ok((directory.entries()?, directory)));
        let (entries, directory) = opened.map_err(|error| (error, below.clone()))?;
        for entry in &entries {
            if entry.is_directory() {
                ahead.push([&below, b"/".as_slice(), entry.name().as_bytes()].concat());
            } else if let Some(bytes) = directory.size_of(entry) {
                size.add(bytes);
            }
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_and_links_to_files_count() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::write(root.join("one"), "1").unwrap();
        fs::write(root.join("a/b/c/three"), "333").unwrap();
        fs::write(directory.path().join("outside"), "4444").unwrap();
        symlink("../../outside", root.join("a/link")).unwrap();
        symlink("b", root.join("a/link-to-directory")).unwrap();
        symlink("nothing", root.join("dangling")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        assert_eq!(tree_size(&root).unwrap(), TreeSize { files: 3, bytes: 8 });
        // The directory may be named by a link.
        symlink(&root, directory.path().join("alias")).unwrap();
        assert_eq!(tree_size(&directory.path().join("alias")).unwrap(), TreeSize { files: 3, bytes: 8 });
        let error = tree_size(&root.join("none")).unwrap_err();
        assert!(matches!(&error, CopyError::Read { path, .. } if *path == root.join("none")), "{error:?}");
    }
}
