//! Directories in which items are prepared.
//!
//! Each stands in the home's `tmp/` and holds a locked marker beside its content. A process that
//! is killed leaves both; the lock is then free, and the next writer sweeps them away.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Error;
use super::layout::{Home, Kind};

/// How staging directories are called.
const PREFIX: &str = "ekiben-staging-";

/// The file whose lock says that somebody works in the directory.
const MARKER: &str = "in-use";

/// The directory that becomes the item.
const CONTENT: &str = "content";

/// Where an old item waits for a moment while the new one takes its place.
const SPARE: &str = "replaced";

/// A directory under preparation; dropped, it is removed.
#[derive(Debug)]
pub struct Staging {
    directory: tempfile::TempDir,
    content: PathBuf,
    _marker: File,
}

impl Staging {
    pub(super) fn open(home: &Home, kind: Kind, name: &str) -> Result<Self, Error> {
        // No sweeper may see the directory before its marker is locked.
        let _lock = home.lock_staging()?;
        sweep(&home.scratch());
        let scratch = home.scratch();
        let write_error = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Write { path, source }
        };
        let prefix = format!("{PREFIX}{}-{name}-", kind.directory());
        let directory =
            tempfile::Builder::new().prefix(&prefix).tempdir_in(&scratch).map_err(write_error(&scratch))?;
        let marker_path = directory.path().join(MARKER);
        let marker = File::create(&marker_path).map_err(write_error(&marker_path))?;
        marker.lock().map_err(|source| Error::Lock { path: marker_path, source })?;
        let content = directory.path().join(CONTENT);
        fs::create_dir(&content).map_err(write_error(&content))?;
        Ok(Self { directory, content, _marker: marker })
    }

    /// Where the files go.
    pub fn path(&self) -> &Path {
        &self.content
    }

    /// Waits until every file and directory is on disk.
    pub(super) fn sync(&self) -> Result<(), Error> {
        for entry in walkdir::WalkDir::new(&self.content).contents_first(true) {
            let entry = entry.map_err(|error| Error::Read {
                path: error.path().unwrap_or(&self.content).to_owned(),
                source: error.into(),
            })?;
            if entry.file_type().is_symlink() {
                continue;
            }
            let synced = File::open(entry.path()).and_then(|file| file.sync_all());
            synced.map_err(|source| Error::Write { path: entry.path().to_owned(), source })?;
        }
        Ok(())
    }

    /// Moves the content to its place.
    pub(super) fn publish(self, target: &Path) -> Result<(), Error> {
        let failed = |source| Error::Write { path: target.to_owned(), source };
        fs::rename(&self.content, target).map_err(failed)?;
        let parent = target.parent().unwrap_or(target);
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
        self.close()
    }

    /// Has the content change places with the item that is at `target`, and removes that.
    pub(super) fn exchange(self, target: &Path) -> Result<(), Error> {
        let failed = |source| Error::Write { path: target.to_owned(), source };
        exchange(&self.content, target, &self.directory.path().join(SPARE)).map_err(failed)?;
        let parent = target.parent().unwrap_or(target);
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
        self.close()
    }

    fn close(self) -> Result<(), Error> {
        let leftover = self.directory.path().to_owned();
        self.directory.close().map_err(|source| Error::Delete { path: leftover, source })
    }
}

/// Has two directories change places. A file system that cannot do that in one step gets three renames, of which a
/// failed one is taken back.
fn exchange(one: &Path, other: &Path, spare: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::rename(other, spare)?;
            if let Err(error) = fs::rename(one, other) {
                fs::rename(spare, other)?;
                return Err(error);
            }
            fs::rename(spare, one)
        }
        result => Ok(result?),
    }
}

/// Removes what killed processes left; what cannot be removed is somebody else's.
fn sweep(scratch: &Path) {
    let Ok(entries) = fs::read_dir(scratch) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_abandoned(directory: &Path) -> bool {
    match File::open(directory.join(MARKER)) {
        Ok(marker) => marker.try_lock().is_ok(),
        // Its maker was killed between two steps under the lock that we hold now.
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_writers_directory_is_swept_and_a_living_ones_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let living = Staging::open(&home, Kind::Model, "a").unwrap();
        let killed = directory.path().join("tmp/ekiben-staging-models-b-x");
        fs::create_dir_all(killed.join(CONTENT)).unwrap();
        fs::write(killed.join(MARKER), "").unwrap();
        let foreign = directory.path().join("tmp/bentoml_bento_c");
        fs::create_dir(&foreign).unwrap();
        drop(Staging::open(&home, Kind::Model, "d").unwrap());
        assert!(living.path().is_dir());
        assert!(!killed.exists());
        assert!(foreign.is_dir());
    }
}
