//! Transfers that somebody began and nobody went on with: what of them is here, and when it goes.
//!
//! A broken push or pull keeps what it has in the home's `tmp/`, so that the same command goes on with it. When nobody
//! runs that command again, it would stay for ever.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::artifacts;
use crate::cloud;
use crate::fs::FsError;
use crate::store::Home;

/// For how long a transfer is kept: over a weekend and a holiday; servers forget half an upload about as soon.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What is here of a transfer, or of all pulls from registries, that was not touched for a week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unfinished {
    /// What its files are called, without their endings; the directory of those that are in one.
    pub path: PathBuf,
    /// The bytes of those that are old.
    pub size: u64,
    /// When one of them was changed last.
    pub changed: String,
}

/// Whether what is found goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// It is only shown.
    Show,
    /// It is deleted.
    Delete,
}

/// Finds the transfers that nobody went on with, by path; what a process works with is none of them.
pub fn sweep(home: &Home, now: Timestamp, sweep: Sweep) -> Result<Vec<Unfinished>, FsError> {
    let scratch = home.scratch();
    let mut transfers: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in files(&scratch)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if cloud::UNFINISHED.iter().any(|prefix| name.starts_with(prefix)) {
            let stem = name.split('.').next().unwrap_or_default().to_owned();
            transfers.entry(stem).or_default().push(path);
        }
    }
    let mut found = Vec::new();
    for (name, files) in transfers {
        let lock = cloud::lock_path(&scratch, &name);
        let group = Group { path: scratch.join(name), files, lock };
        // A part of a transfer is of no use without the others.
        found.extend(group.sweep(now, sweep, Together::Yes)?);
    }
    let pulls = artifacts::blobs(&scratch);
    let group = Group { files: files(&pulls)?, path: pulls, lock: artifacts::lock_path(&scratch) };
    found.extend(group.sweep(now, sweep, Together::No)?);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// Whether files are old only when all are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Together {
    Yes,
    No,
}

/// Files that one lock stands for.
struct Group {
    path: PathBuf,
    files: Vec<PathBuf>,
    lock: PathBuf,
}

impl Group {
    fn sweep(self, now: Timestamp, sweep: Sweep, together: Together) -> Result<Option<Unfinished>, FsError> {
        // Held until the files are gone; whoever wants to go on with them waits, and begins anew.
        let Some(_lock) = claim(&self.lock)? else { return Ok(None) };
        let (mut old, mut size, mut changed) = (Vec::new(), 0, None);
        for file in &self.files {
            let Ok(metadata) = fs::symlink_metadata(file) else { continue };
            let modified = metadata.modified().map_err(FsError::of("read", file))?;
            let modified = Timestamp::try_from(modified).unwrap_or(Timestamp::MAX);
            if now.duration_since(modified) < KEPT {
                if together == Together::Yes {
                    return Ok(None);
                }
                continue;
            }
            old.push(file);
            size += metadata.len();
            changed = changed.max(Some(modified));
        }
        let Some(changed) = changed else { return Ok(None) };
        if sweep == Sweep::Delete {
            for file in old {
                match fs::remove_file(file) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    removed => removed.map_err(FsError::of("delete", file))?,
                }
            }
        }
        Ok(Some(Unfinished { path: self.path, size, changed: changed.to_string() }))
    }
}

/// The files directly in a directory, which may not be there.
fn files(directory: &Path) -> Result<Vec<PathBuf>, FsError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FsError::of("read", directory))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FsError::of("read", directory))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Takes a lock, unless somebody has it.
fn claim(path: &Path) -> Result<Option<File>, FsError> {
    crate::fs::create_dir_all(path.parent().unwrap_or(path))?;
    let file = File::options().create(true).append(true).open(path).map_err(FsError::of("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(FsError::of("lock", path)(source)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;
    use std::time::{Duration, SystemTime};

    use super::*;

    const DAY: u64 = 24 * 3600;

    /// A file in the scratch directory that was changed this many days ago.
    fn put(home: &Home, name: &str, days: u64) -> PathBuf {
        let path = home.scratch().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(&path).unwrap();
        file.set_len(10).unwrap();
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs((1000 - days) * DAY);
        file.set_times(FileTimes::new().set_modified(then)).unwrap();
        path
    }

    fn names(found: &[Unfinished]) -> Vec<(String, u64)> {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        found.iter().map(|found| (name(&found.path), found.size)).collect()
    }

    #[test]
    fn what_nobody_went_on_with_for_a_week_goes() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let now = Timestamp::from_second(1000 * 24 * 3600).unwrap();
        let old = [
            put(&home, "ekiben-download-aa.part", 9),
            put(&home, "ekiben-download-aa.json", 8),
            put(&home, "ekiben-upload-bb.json", 7),
            put(&home, "ekiben-pulls/blobs/sha256/cc", 30),
            put(&home, "ekiben-pulls/blobs/sha256/.dd.partial", 30),
        ];
        let stays = [
            put(&home, "ekiben-download-ee.part", 1),
            put(&home, "ekiben-download-ee.json", 9),
            put(&home, "ekiben-upload-ff.json", 6),
            put(&home, "ekiben-pulls/blobs/sha256/gg", 6),
            put(&home, "bentoml-upload", 99),
            put(&home, "ekiben-upload-hh.json", 99),
        ];
        let lock = cloud::lock_path(&home.scratch(), "ekiben-upload-hh");
        let lock = claim(&lock).unwrap().unwrap();
        let expected: Vec<_> = [("ekiben-download-aa", 20), ("sha256", 20), ("ekiben-upload-bb", 10)]
            .map(|(name, size)| (name.to_owned(), size))
            .into();
        assert_eq!(names(&sweep(&home, now, Sweep::Show).unwrap()), expected);
        assert!(old.iter().all(|path| path.exists()));
        assert_eq!(names(&sweep(&home, now, Sweep::Delete).unwrap()), expected);
        assert!(old.iter().all(|path| !path.exists()) && stays.iter().all(|path| path.exists()));
        assert_eq!(sweep(&home, now, Sweep::Delete).unwrap(), []);
        drop(lock);
        assert_eq!(names(&sweep(&home, now, Sweep::Delete).unwrap()), [("ekiben-upload-hh".to_owned(), 10)]);
    }

    #[test]
    fn what_a_pull_works_with_stays() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let now = Timestamp::from_second(1000 * 24 * 3600).unwrap();
        put(&home, "ekiben-pulls/blobs/sha256/cc", 30);
        let (one, other) = (artifacts::in_use(&home).unwrap(), artifacts::in_use(&home).unwrap());
        assert_eq!(sweep(&home, now, Sweep::Delete).unwrap(), []);
        drop(one);
        assert_eq!(sweep(&home, now, Sweep::Delete).unwrap(), []);
        drop(other);
        assert_eq!(names(&sweep(&home, now, Sweep::Delete).unwrap()), [("sha256".to_owned(), 10)]);
    }
}
