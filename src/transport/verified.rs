//! What is known of files at destinations without reading them again.
//!
//! A file with the right name and size may still have been damaged. Hashing it each time would read every model again
//! and again; so what a file was found to be is remembered together with what the file system says of it, and holds
//! until that changes.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::fs;
use crate::oci::digest::Digest;

/// Smaller files are read each time: that takes less than a millisecond, and leaves nothing to remember.
const MIN_SIZE: u64 = 1 << 18;

/// A directory that remembers what files are. Everything in it can be deleted at any time.
#[derive(Clone, Debug)]
pub struct Verified {
    directory: PathBuf,
}

impl Verified {
    /// Remembers in that directory, which is made when first written to.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Whether the file is `content`: as it is remembered, else as `look` finds out by reading it.
    pub fn check(
        &self,
        path: &Path,
        content: Digest,
        look: impl FnOnce() -> io::Result<bool>,
    ) -> io::Result<bool> {
        // Before the look: a file that is written to meanwhile is another one afterwards.
        let metadata = path.metadata()?;
        let known = fs::read_if_present(&self.entry(&metadata)).ok().flatten();
        if known.is_some_and(|known| known == stamp(&metadata, content).as_bytes()) {
            return Ok(true);
        }
        let is_same = look()?;
        if is_same {
            self.note(&metadata, content);
        }
        Ok(is_same)
    }

    /// Remembers that the file, which was just written, is `content`.
    pub fn remember(&self, path: &Path, content: Digest) {
        if let Ok(metadata) = path.metadata() {
            self.note(&metadata, content);
        }
    }

    /// What cannot be remembered is read again next time.
    fn note(&self, metadata: &Metadata, content: Digest) {
        if metadata.len() < MIN_SIZE {
            return;
        }
        let _ = fs::write_atomically(&self.entry(metadata), stamp(metadata, content).as_bytes());
    }

    /// One entry for a file, whatever becomes of it.
    fn entry(&self, metadata: &Metadata) -> PathBuf {
        self.directory.join(format!("{:x}-{:x}", metadata.dev(), metadata.ino()))
    }
}

/// Content and state of a file. The time of its last change of any kind cannot be set back by anybody.
fn stamp(metadata: &Metadata, content: Digest) -> String {
    format!(
        "{content} {} {}.{:09} {}.{:09}\n",
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = &[1; 1 << 18];
    const DAMAGED: &[u8] = &[2; 1 << 18];

    #[test]
    fn a_file_is_read_again_when_it_changed() {
        let directory = tempfile::tempdir().unwrap();
        let verified = Verified::new(directory.path().join("verified"));
        let path = directory.path().join("blob");
        let content = Digest::of(WHOLE);
        std::fs::write(&path, WHOLE).unwrap();
        assert!(verified.check(&path, content, || Ok(true)).unwrap());
        assert!(verified.check(&path, content, || panic!("it is known")).unwrap());
        assert!(!verified.check(&path, Digest::of(DAMAGED), || Ok(false)).unwrap());

        let times = std::fs::metadata(&path).unwrap().modified().unwrap();
        // Longer than the file system's clock takes for a tick.
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&path, DAMAGED).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_times(std::fs::FileTimes::new().set_modified(times)).unwrap();
        assert!(!verified.check(&path, content, || Ok(false)).unwrap());

        std::fs::write(&path, WHOLE).unwrap();
        verified.remember(&path, content);
        assert!(verified.check(&path, content, || panic!("it is known")).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(verified.check(&path, content, || Ok(true)).is_err());
    }

    #[test]
    fn nothing_is_kept_of_small_files() {
        let directory = tempfile::tempdir().unwrap();
        let verified = Verified::new(directory.path().join("verified"));
        let path = directory.path().join("blob");
        std::fs::write(&path, "small").unwrap();
        verified.remember(&path, Digest::of(b"small"));
        assert!(!verified.check(&path, Digest::of(b"small"), || Ok(false)).unwrap());
        assert!(!directory.path().join("verified").exists());
    }
}
