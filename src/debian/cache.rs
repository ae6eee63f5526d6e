//! What was resolved and fetched before: locks, package lists and packages, each written whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::archive::{Archive, Watch};
use super::error::Error;
use super::index::Index;
use super::lock::{Lock, LockedPackage};
use crate::oci::digest::Digest;

/// Compression of kept package lists: 20 MB become 5, in a tenth of a second.
const INDEX_LEVEL: i32 = 1;
/// Most bytes of a kept package list, unpacked: ten times those of Debian 12.
const INDEX_LIMIT: usize = 256 << 20;
/// How often a cache that somebody else is filling is looked at.
const POLL: Duration = Duration::from_millis(50);

/// A directory of things that can be had again.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// The packages of a lock, by digest, verified.
pub type Packages = BTreeMap<Digest, PathBuf>;

impl Cache {
    /// A cache in `root`, which is made when needed.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Gets the packages of a lock that are not there yet, and verifies all.
    pub fn fetch(&self, lock: &Lock, archive: &dyn Archive, watch: Watch<'_>) -> Result<Packages, Error> {
        let directory = self.directory("debs")?;
        let mut missing = Vec::new();
        for package in &lock.packages {
            watch.interrupt.check()?;
            if !is_intact(&directory.join(package.cache_name()), package)? {
                missing.push(package);
            }
        }
        if !missing.is_empty() {
            download(lock, &missing, archive, &directory, watch)?;
        }
        let located = |package: &LockedPackage| (package.digest, directory.join(package.cache_name()));
        Ok(lock.packages.iter().map(located).collect())
    }

    pub(super) fn lock(&self, key: &Digest) -> Result<Option<Lock>, Error> {
        Ok(read(&self.lock_path(key))?.and_then(|bytes| Lock::from_json(&bytes)))
    }

    pub(super) fn store_lock(&self, key: &Digest, lock: &Lock) -> Result<(), Error> {
        self.directory("debian")?;
        write(&self.lock_path(key), &lock.to_json())
    }

    pub(super) fn index(&self, key: &Digest) -> Result<Option<Index>, Error> {
        let Some(bytes) = read(&self.index_path(key))? else { return Ok(None) };
        // A list that cannot be read is fetched again.
        let text =
            zstd::bulk::decompress(&bytes, INDEX_LIMIT).ok().and_then(|text| String::from_utf8(text).ok());
        Ok(text.and_then(|text| Index::parse(text).ok()))
    }

    pub(super) fn store_index(&self, key: &Digest, index: &Index) -> Result<(), Error> {
        self.directory("debian")?;
        let path = self.index_path(key);
        let bytes = zstd::bulk::compress(index.text().as_bytes(), INDEX_LEVEL)
            .map_err(Error::file("write", &path))?;
        write(&path, &bytes)
    }

    /// Keeps others from resolving in this cache until the returned file is closed.
    pub(super) fn hold(&self, watch: Watch<'_>) -> Result<File, Error> {
        let path = self.directory("debian")?.join("lock");
        let file =
            File::options().create(true).append(true).open(&path).map_err(Error::file("open", &path))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {
                    watch.interrupt.check()?;
                    thread::sleep(POLL);
                }
                Err(TryLockError::Error(error)) => return Err(Error::file("lock", &path)(error)),
            }
        }
    }

    fn lock_path(&self, key: &Digest) -> PathBuf {
        self.root.join("debian").join(format!("{}.json", key.hex()))
    }

    fn index_path(&self, key: &Digest) -> PathBuf {
        self.root.join("debian").join(format!("{}.index.zst", key.hex()))
    }

    fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
        Ok(path)
    }
}

/// Fetches into a directory beside the cache's own files, verifies, and only then moves.
fn download(
    lock: &Lock,
    missing: &[&LockedPackage],
    archive: &dyn Archive,
    directory: &Path,
    watch: Watch<'_>,
) -> Result<(), Error> {
    let incoming = tempfile::Builder::new()
        .prefix(".incoming-")
        .tempdir_in(directory)
        .map_err(Error::file("write", directory))?;
    archive.download(&lock.suite, missing, incoming.path(), watch)?;
    for package in missing {
        watch.interrupt.check()?;
        let path = incoming.path().join(package.cache_name());
        let (actual, _) = digest(&path)?;
        if actual != package.digest {
            return Err(Error::PackageMismatch {
                name: package.name.clone(),
                version: package.version.clone(),
                stated: package.digest,
                actual,
            });
        }
        let target = directory.join(package.cache_name());
        fs::rename(&path, &target).map_err(Error::file("write", &target))?;
    }
    Ok(())
}

/// Whether the cache has a package with the right bytes; hashing them costs less than a wrong image.
fn is_intact(path: &Path, package: &LockedPackage) -> Result<bool, Error> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() == package.size => Ok(digest(path)?.0 == package.digest),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

fn digest(path: &Path) -> Result<(Digest, u64), Error> {
    File::open(path).and_then(Digest::of_reader).map_err(Error::file("read", path))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// Writes a file whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = || Error::file("write", path);
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed())?;
    file.write_all(bytes).map_err(failed())?;
    file.as_file().sync_all().map_err(failed())?;
    file.persist(path).map_err(|error| failed()(error.error))?;
    Ok(())
}
