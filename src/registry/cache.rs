//! The cache of downloads: blobs by digest, complete or absent.
//!
//! `blobs/sha256/<hex>` is a blob whose digest was checked before it got that name. While it is downloaded it is
//! `blobs/sha256/.<hex>.partial`, locked by the process that writes it and removed when that fails.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::RegistryError;
use crate::oci::digest::Digest;

/// How often a process that waits for another one's download looks whether it has ended.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// A directory of blobs.
#[derive(Clone, Debug)]
pub struct BlobCache {
    directory: PathBuf,
}

/// The right to put one blob into the cache.
#[derive(Debug)]
pub(super) struct Reservation {
    file: Option<File>,
    partial: PathBuf,
    complete: PathBuf,
}

impl BlobCache {
    /// The cache below `root`, which is made when something is put into it.
    pub fn new(root: impl AsRef<Path>) -> Self {
        Self { directory: root.as_ref().join("blobs/sha256") }
    }

    /// Where a blob is, once it is there.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    /// The blob's file, if it is there with the size it should have.
    pub fn find(&self, digest: &Digest, size: u64) -> Option<PathBuf> {
        let path = self.path(digest);
        path.metadata().is_ok_and(|found| found.is_file() && found.len() == size).then_some(path)
    }

    /// A small blob's bytes, if they are there and still have the digest.
    pub fn read_small(&self, digest: &Digest) -> Option<bytes::Bytes> {
        let bytes = fs::read(self.path(digest)).ok()?;
        (Digest::of(&bytes) == *digest).then(|| bytes.into())
    }

    /// Puts a small blob into the cache.
    pub fn write_small(&self, digest: &Digest, bytes: &[u8]) -> Result<(), RegistryError> {
        let path = self.path(digest);
        let refuse = |source| RegistryError::Cache { action: "write", path: path.clone(), source };
        fs::create_dir_all(&self.directory).map_err(refuse)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory).map_err(refuse)?;
        io::Write::write_all(&mut file, bytes).map_err(refuse)?;
        file.as_file().sync_data().map_err(refuse)?;
        file.persist(&path).map_err(|error| refuse(error.error))?;
        Ok(())
    }

    /// Waits for the right to download a blob; nothing when another process has done so meanwhile.
    pub(super) async fn reserve(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Reservation>, RegistryError> {
        let partial = self.directory.join(format!(".{}.partial", digest.hex()));
        let refuse = |source| RegistryError::Cache { action: "lock", path: partial.clone(), source };
        fs::create_dir_all(&self.directory).map_err(refuse)?;
        loop {
            if self.find(digest, size).is_some() {
                return Ok(None);
            }
            let file = File::options().create(true).append(true).read(true).open(&partial).map_err(refuse)?;
            match file.try_lock() {
                Ok(()) if is_same_file(&file, &partial) => {
                    // What a process that was killed left behind is not trusted.
                    file.set_len(0).map_err(refuse)?;
                    let complete = self.path(digest);
                    if self.find(digest, size).is_none() {
                        return Ok(Some(Reservation { file: Some(file), partial, complete }));
                    }
                    fs::remove_file(&partial).map_err(refuse)?;
                }
                // The one who had the lock has renamed or removed the file: look again.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_INTERVAL).await,
                Err(TryLockError::Error(source)) => return Err(refuse(source)),
            }
        }
    }
}

impl Reservation {
    /// Another handle of the file to be filled.
    pub(super) fn file(&self) -> Result<File, RegistryError> {
        let file =
            self.file.as_ref().expect("the file is taken by `commit` only, which consumes the reservation");
        file.try_clone().map_err(|source| self.refuse("open", source))
    }

    pub(super) fn path(&self) -> &Path {
        &self.partial
    }

    /// Gives the file, which is complete and checked, its name.
    pub(super) fn commit(mut self) -> Result<(), RegistryError> {
        let file = self.file.take().expect("a reservation is committed once");
        let finish = || {
            file.sync_data()?;
            fs::rename(&self.partial, &self.complete)
        };
        finish().map_err(|source| {
            // Best effort: the error that matters is the first one.
            let _ = fs::remove_file(&self.partial);
            self.refuse("write", source)
        })
    }

    fn refuse(&self, action: &'static str, source: io::Error) -> RegistryError {
        RegistryError::Cache { action, path: self.complete.clone(), source }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Best effort; the next one who reserves the blob truncates what is left.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn is_same_file(file: &File, path: &Path) -> bool {
    let pair = file.metadata().ok().zip(path.metadata().ok());
    pair.is_some_and(|(one, other)| (one.dev(), one.ino()) == (other.dev(), other.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn a_second_reservation_waits_and_finds_the_blob() {
        let directory = tempfile::tempdir().unwrap();
        let cache = BlobCache::new(directory.path());
        let digest = Digest::of(b"abc");
        let first = cache.reserve(&digest, 3).await.unwrap().unwrap();
        let waiting = tokio::spawn({
            let cache = cache.clone();
            async move { cache.reserve(&digest, 3).await.unwrap().is_none() }
        });
        tokio::task::yield_now().await;
        first.file().unwrap().write_all(b"abc").unwrap();
        assert!(cache.find(&digest, 3).is_none());
        first.commit().unwrap();
        assert!(waiting.await.unwrap());
        assert_eq!(cache.read_small(&digest).unwrap(), "abc");
        assert!(cache.find(&digest, 4).is_none());
    }

    #[tokio::test]
    async fn a_failed_download_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let cache = BlobCache::new(directory.path());
        let digest = Digest::of(b"abc");
        let first = cache.reserve(&digest, 3).await.unwrap().unwrap();
        first.file().unwrap().write_all(b"ab").unwrap();
        drop(first);
        assert_eq!(fs::read_dir(directory.path().join("blobs/sha256")).unwrap().count(), 0);
        let second = cache.reserve(&digest, 3).await.unwrap().unwrap();
        second.file().unwrap().write_all(b"abc").unwrap();
        second.commit().unwrap();
        assert_eq!(cache.read_small(&digest).unwrap(), "abc");
    }

    #[test]
    fn a_small_blob_is_checked_when_read() {
        let directory = tempfile::tempdir().unwrap();
        let cache = BlobCache::new(directory.path());
        let digest = Digest::of(b"abc");
        cache.write_small(&digest, b"abc").unwrap();
        assert_eq!(cache.read_small(&digest).unwrap(), "abc");
        fs::write(cache.path(&digest), "abd").unwrap();
        assert!(cache.read_small(&digest).is_none());
    }
}
