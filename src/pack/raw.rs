//! Files that are blobs as they are: hashed once, as long as nobody writes to them.

use std::fs::File;
use std::path::Path;

use serde_json::json;

use super::cache::{Cache, Record};
use super::error::PackError;
use super::files::describe;
use crate::fs::FsError;
use crate::oci::compress::Compression;
use crate::oci::digest::{DiffId, Digest};
use crate::oci::json::canonical;
use crate::report::{Activity, Watched};

/// The digest and size of a file: from the cache where the file has not changed since, else by reading it.
pub fn file_digest(path: &Path, cache: &Cache, activity: &Activity) -> Result<(Digest, u64), PackError> {
    activity.interrupt.check()?;
    let before = describe(path)?;
    let key = Digest::of(&canonical(&json!({"raw": before.fingerprint()})));
    if let Some(record) = cache.record(key) {
        return Ok((record.digest, record.size));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let progress = activity.report.task(&format!("hash {name}"), Some(before.size));
    let file = File::open(path).map_err(FsError::of("read", path))?;
    let reader = Watched::new(file, progress.as_ref(), &activity.interrupt);
    let (digest, size) = Digest::of_reader(reader).map_err(|source| match activity.interrupt.check() {
        Ok(()) => PackError::File(FsError::of("read", path)(source)),
        Err(interrupted) => interrupted.into(),
    })?;
    // Written to while it was read: what was seen is not worth remembering.
    if describe(path)?.fingerprint() == before.fingerprint() {
        let compression = Compression::None;
        let record = Record { digest, size, diff_id: DiffId(digest), compression, is_virtual: true };
        cache.store_record(key, &record)?;
    }
    Ok((digest, size))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_again_only_after_it_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weights.bin");
        fs::write(&path, b"one").unwrap();
        let cache = Cache::new(directory.path().join("cache"));
        let digest = || file_digest(&path, &cache, &Activity::silent()).unwrap();
        assert_eq!(digest(), (Digest::of(b"one"), 3));
        let kept = fs::read_dir(directory.path().join("cache/layers")).unwrap().count();
        assert_eq!((digest().0, kept), (Digest::of(b"one"), 1));
        fs::write(&path, b"other").unwrap();
        assert_eq!(digest(), (Digest::of(b"other"), 5));
    }
}
