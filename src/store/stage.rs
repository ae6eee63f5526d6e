//! Directories in which items are prepared.
//!
//! Each stands in the home's `tmp/` and holds a locked marker beside its content. A process that
//! is killed leaves both; the lock is then free, and the next writer sweeps them away. An old item that was on its way out
//! while the new one was not yet in its place is put back before, by whoever opens the home next.

use std::fs::{self, File};
use std::io;
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

/// Where an old item waits for a moment while the new one takes its place, under the path that it has in the home.
const REPLACED: &str = "replaced";

/// A directory under preparation; dropped, it is removed.
#[derive(Debug)]
pub struct Staging {
    home: PathBuf,
    directory: tempfile::TempDir,
    content: PathBuf,
    _marker: File,
}

impl Staging {
    pub(super) fn open(home: &Home, kind: Kind, name: &str) -> Result<Self, Error> {
        // No sweeper may see the directory before its marker is locked.
        let _lock = home.lock_staging()?;
        sweep(home);
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
        Ok(Self { home: home.path().to_owned(), directory, content, _marker: marker })
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
        exchange(&self.content, target)
            .or_else(|error| match error {
                Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => self.exchange_by_renames(target),
                error => Err(error.into()),
            })
            .map_err(failed)?;
        let parent = target.parent().unwrap_or(target);
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
        self.close()
    }

    /// Does in three renames what the file system cannot do in one; a failed one is taken back, and after a kill between
    /// the first and the second, the next opener of the home takes the first back.
    fn exchange_by_renames(&self, target: &Path) -> io::Result<()> {
        let replaced = self.directory.path().join(REPLACED);
        let spare = replaced.join(target.strip_prefix(&self.home).unwrap_or(target));
        fs::create_dir_all(spare.parent().unwrap_or(&replaced))?;
        fs::rename(target, &spare)?;
        if let Err(error) = fs::rename(&self.content, target) {
            fs::rename(&spare, target)?;
            return Err(error);
        }
        fs::rename(&spare, &self.content)
    }

    fn close(self) -> Result<(), Error> {
        let leftover = self.directory.path().to_owned();
        self.directory.close().map_err(|source| Error::Delete { path: leftover, source })
    }
}

fn exchange(one: &Path, other: &Path) -> Result<(), Errno> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
}

/// Finishes what processes left that were killed while they replaced an item: the old one is put back where neither
/// it nor the new one is in its place. What cannot be put back stays for the next.
pub(super) fn recover(home: &Home) {
    for directory in left_behind(home) {
        if directory.join(REPLACED).is_dir()
            && let Some(_marker) = claim(&directory)
        {
            let _ = put_back(home.path(), &directory);
        }
    }
}

/// Removes what killed processes left; what cannot be removed is somebody else's.
fn sweep(home: &Home) {
    for directory in left_behind(home) {
        if is_abandoned(&directory) && put_back(home.path(), &directory).is_ok() {
            let _ = fs::remove_dir_all(&directory);
        }
    }
}

fn left_behind(home: &Home) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(home.scratch()) else { return Vec::new() };
    let is_staging = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(PREFIX);
    entries.flatten().filter(is_staging).map(|entry| entry.path()).collect()
}

/// Puts the old item of a staging directory back to its place, if that is empty because the new one never got there.
fn put_back(home: &Path, directory: &Path) -> io::Result<()> {
    // The new one is gone from here as soon as it has its place.
    if !directory.join(CONTENT).is_dir() {
        return Ok(());
    }
    let replaced = directory.join(REPLACED);
    for item in items_below(&replaced)? {
        let target = home.join(item.strip_prefix(&replaced).unwrap_or(&item));
        if target.symlink_metadata().is_ok() {
            continue;
        }
        let parent = target.parent().unwrap_or(home);
        fs::create_dir_all(parent)?;
        match fs::rename(&item, &target) {
            // Somebody else was faster: there is a whole item.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            renamed => renamed.and_then(|()| File::open(parent)?.sync_all())?,
        }
    }
    Ok(())
}

/// The directories three levels down: kind, name, version.
fn items_below(replaced: &Path) -> io::Result<Vec<PathBuf>> {
    let walk = walkdir::WalkDir::new(replaced).min_depth(3).max_depth(3);
    let mut items = Vec::new();
    for entry in walk {
        match entry {
            Ok(entry) => items.push(entry.into_path()),
            Err(error) if error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(items)
}

/// The lock of a directory in which nobody works any more.
fn claim(directory: &Path) -> Option<File> {
    let marker = File::open(directory.join(MARKER)).ok()?;
    marker.try_lock().is_ok().then_some(marker)
}

fn is_abandoned(directory: &Path) -> bool {
    // Without a marker, its maker was killed between two steps under the lock that we hold now.
    claim(directory).is_some() || !directory.join(MARKER).exists()
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

    /// The steps of an exchange by renames, up to the one before the kill.
    fn killed_after(steps: usize, home: &Home) {
        let item = home.path().join("models/m/v1");
        fs::create_dir_all(&item).unwrap();
        fs::write(item.join("which"), "old").unwrap();
        let killed = home.scratch().join("ekiben-staging-models-m-killed");
        let spare = killed.join("replaced/models/m/v1");
        let content = killed.join(CONTENT);
        fs::create_dir_all(&content).unwrap();
        fs::write(killed.join(MARKER), "").unwrap();
        fs::write(content.join("which"), "new").unwrap();
        fs::create_dir_all(spare.parent().unwrap()).unwrap();
        let renames = [(&item, &spare), (&content, &item), (&spare, &content)];
        for (from, to) in &renames[..steps] {
            fs::rename(from, to).unwrap();
        }
    }

    #[test]
    fn a_kill_while_an_item_is_replaced_loses_nothing() {
        for (steps, expected) in [(0, "old"), (1, "old"), (2, "new"), (3, "new")] {
            for writes in [false, true] {
                let directory = tempfile::tempdir().unwrap();
                let home = Home::open(directory.path()).unwrap();
                killed_after(steps, &home);
                // A reader opens the home; a writer that opened it before sweeps, too.
                if writes {
                    drop(Staging::open(&home, Kind::Model, "m").unwrap());
                } else {
                    Home::open(directory.path()).unwrap();
                }
                let which = fs::read_to_string(directory.path().join("models/m/v1/which")).unwrap();
                assert_eq!(which, expected, "killed after {steps} renames");
                drop(Staging::open(&home, Kind::Model, "m").unwrap());
                assert_eq!(left_behind(&home), Vec::<PathBuf>::new());
                let which = fs::read_to_string(directory.path().join("models/m/v1/which")).unwrap();
                assert_eq!(which, expected, "killed after {steps} renames");
            }
        }
    }

    #[test]
    fn what_was_deleted_since_is_not_put_back() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        killed_after(2, &home);
        // By the original tool, which knows nothing of what was left.
        fs::remove_dir_all(directory.path().join("models/m")).unwrap();
        Home::open(directory.path()).unwrap();
        assert!(!directory.path().join("models/m").exists());
    }

    #[test]
    fn what_is_being_replaced_by_a_living_process_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        killed_after(1, &home);
        let marker = File::open(home.scratch().join("ekiben-staging-models-m-killed").join(MARKER)).unwrap();
        marker.lock().unwrap();
        Home::open(directory.path()).unwrap();
        drop(Staging::open(&home, Kind::Model, "m").unwrap());
        assert!(!directory.path().join("models/m/v1").exists());
        drop(marker);
        Home::open(directory.path()).unwrap();
        assert!(directory.path().join("models/m/v1").exists());
    }

    #[test]
    fn three_renames_do_what_an_exchange_does() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let target = home.path().join("bentos/b/v1");
        fs::create_dir_all(&target).unwrap();
        fs::write(target.join("which"), "old").unwrap();
        let staging = Staging::open(&home, Kind::Bento, "b").unwrap();
        fs::write(staging.path().join("which"), "new").unwrap();
        staging.exchange_by_renames(&target).unwrap();
        let which = |path: &Path| fs::read_to_string(path.join("which")).unwrap();
        assert_eq!((which(&target), which(staging.path())), ("new".to_owned(), "old".to_owned()));
        // A second rename that fails is taken back.
        fs::remove_dir_all(staging.path()).unwrap();
        assert!(staging.exchange_by_renames(&target).is_err());
        assert_eq!(which(&target), "new");
    }
}
