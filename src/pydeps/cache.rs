//! The directory that keeps locks, trees and tools between runs.
//!
//! Entries appear by renaming finished work into place, so readers need no lock.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::Error;
use crate::fs::{FsError, Scratch};

/// Layout version of the cache; older layouts are not read.
const LAYOUT: &str = "python-1";

/// Places in the cache directory.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(super) fn new(cache_dir: &Path) -> Self {
        Self { root: cache_dir.join(LAYOUT) }
    }

    /// A directory for one kind of entry, which exists.
    pub(super) fn directory(&self, kind: &str) -> Result<PathBuf, Error> {
        let directory = self.root.join(kind);
        fs::create_dir_all(&directory).map_err(Error::file("create directory", &directory))?;
        Ok(directory)
    }

    /// Where an entry of this kind is or would be.
    pub(super) fn entry(&self, kind: &str, key: &str) -> PathBuf {
        self.root.join(kind).join(key)
    }

    /// Reads a small entry; absent and unreadable are the same, since it can be made again.
    pub(super) fn read(&self, kind: &str, key: &str) -> Option<String> {
        fs::read_to_string(self.entry(kind, key)).ok()
    }

    /// Writes a small entry as a whole.
    pub(super) fn write(&self, kind: &str, key: &str, text: &str) -> Result<(), Error> {
        let directory = self.directory(kind)?;
        let path = directory.join(key);
        let failed = |action| Error::file(action, &path);
        let mut file = tempfile::NamedTempFile::new_in(&directory).map_err(failed("create"))?;
        file.write_all(text.as_bytes()).map_err(failed("write"))?;
        file.as_file().sync_data().map_err(failed("write"))?;
        file.persist(&path).map_err(|error| failed("write")(error.error))?;
        Ok(())
    }

    /// Starts work in progress, and removes what ended processes left.
    pub(super) fn stage(&self) -> Result<Scratch, Error> {
        Scratch::inside(&self.root.join("staging")).map_err(|FsError { action, path, source }| Error::File {
            action,
            path,
            source,
        })
    }
}

/// Makes one key of several texts, none of which can run into the next.
pub(super) fn key<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        let part = part.as_ref();
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

/// Writes bytes in lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

/// Identifies a file's present content without reading it.
pub(super) fn file_stamp(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let (size, seconds, nanoseconds) = (metadata.size(), metadata.mtime(), metadata.mtime_nsec());
    Some(format!("{} {size} {seconds}.{nanoseconds:09} {}", path.display(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_boundaries_apart() {
        assert_ne!(key(["ab", "c"]), key(["a", "bc"]));
        assert_eq!(key(["a"]).len(), 64);
        assert_eq!(hex(&[0, 0x9f, 255]), "009fff");
    }

    #[test]
    fn entries_are_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path());
        assert_eq!(cache.read("locks", "k"), None);
        cache.write("locks", "k", "one").unwrap();
        cache.write("locks", "k", "two").unwrap();
        assert_eq!(cache.read("locks", "k").as_deref(), Some("two"));
        assert_eq!(fs::read_dir(cache.directory("locks").unwrap()).unwrap().count(), 1);
    }
}
