//! Writing files so that nobody ever sees half of one.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::{NamedTempFile, TempDir};
use thiserror::Error;

/// Prefix of the files and directories that hold unfinished work. Not `.tmp`: that is for other tools to use.
const STAGING_PREFIX: &str = ".ekiben-staging-";

/// Ending of the files whose lock says that somebody works in the directory beside.
const LOCK_SUFFIX: &str = ".lock";

/// Pause between two looks whether another process has given up a lock.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The file system refused something.
#[derive(Debug, Error)]
#[error("cannot {action} `{path}`")]
pub struct FsError {
    /// What was attempted, as a verb.
    pub action: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl FsError {
    /// Makes the function that turns an I/O error into one that says what was attempted and where.
    pub fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

/// Creates a directory and those above it.
pub fn create_dir_all(path: &Path) -> Result<(), FsError> {
    fs::create_dir_all(path).map_err(FsError::of("create directory", path))
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, FsError> {
    fs::read(path).map_err(FsError::of("read", path))
}

/// Reads a whole file, or `None` where there is none.
pub fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>, FsError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FsError::of("read", path)(error)),
    }
}

/// Replaces the file at `path` by one with these bytes: afterwards it has either the old or the new ones.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let mut file = StagedFile::beside(path)?;
    file.write_all(bytes).map_err(FsError::of("write", path))?;
    file.publish()
}

/// The same without waiting for the disk: for caches, whose readers take what a power cut left for nothing.
pub fn write_atomically_unsynced(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let mut file = StagedFile::beside(path)?;
    file.write_all(bytes).map_err(FsError::of("write", path))?;
    file.publish_unsynced()
}

/// Makes sure that files can be made in a directory, by making one and taking it away again.
pub fn check_writable(directory: &Path) -> io::Result<()> {
    tempfile::Builder::new().prefix(STAGING_PREFIX).tempfile_in(directory)?.close()
}

/// A file that appears at its path when it is finished, and leaves nothing when it is not.
pub struct StagedFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl StagedFile {
    /// Starts a file that will be at `path`.
    pub fn beside(path: &Path) -> Result<Self, FsError> {
        let parent = parent_of(path);
        create_dir_all(parent)?;
        let file = tempfile::Builder::new()
            .prefix(STAGING_PREFIX)
            .permissions(permissions(0o666))
            .tempfile_in(parent)
            .map_err(FsError::of("create a file in", parent))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Makes the contents durable and gives the file its name.
    pub fn publish(self) -> Result<(), FsError> {
        self.file.as_file().sync_data().map_err(FsError::of("write", &self.path))?;
        self.publish_unsynced()
    }

    /// Gives the file another name, in the same directory, than the one it was started for, and does not wait for the
    /// disk: for content-addressed caches, whose contents are checked when they are used.
    pub fn publish_as(self, path: &Path) -> Result<(), FsError> {
        Self { file: self.file, path: path.to_owned() }.publish_unsynced()
    }

    /// Gives the file its name without waiting for the disk.
    fn publish_unsynced(self) -> Result<(), FsError> {
        let Self { file, path } = self;
        file.persist(&path).map_err(|error| FsError::of("write", &path)(error.error))?;
        Ok(())
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A directory that appears at its path when it is finished, and leaves nothing when it is not.
pub struct StagedDirectory {
    directory: TempDir,
    path: PathBuf,
}

impl StagedDirectory {
    /// Starts a directory that will be at `path`.
    pub fn beside(path: &Path) -> Result<Self, FsError> {
        let parent = parent_of(path);
        create_dir_all(parent)?;
        let directory = tempfile::Builder::new()
            .prefix(STAGING_PREFIX)
            .permissions(permissions(0o777))
            .tempdir_in(parent)
            .map_err(FsError::of("create a directory in", parent))?;
        Ok(Self { directory, path: path.to_owned() })
    }

    /// Where to write meanwhile.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Gives the directory its name.
    pub fn publish(self) -> Result<(), FsError> {
        let Self { directory, path } = self;
        fs::rename(directory.path(), &path).map_err(FsError::of("create", &path))?;
        // It has another name now, so there is nothing left to remove.
        drop(directory.keep());
        Ok(())
    }
}

/// A directory for unfinished work, removed when dropped; what killed processes left is swept when the next is made.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lock: NamedTempFile,
}

impl Scratch {
    /// Makes one in `parent`. Its lock file beside it tells other processes that somebody works there.
    pub fn inside(parent: &Path) -> Result<Self, FsError> {
        create_dir_all(parent)?;
        sweep(parent);
        loop {
            let lock =
                tempfile::Builder::new().prefix(STAGING_PREFIX).suffix(LOCK_SUFFIX).tempfile_in(parent);
            let lock = lock.map_err(FsError::of("create a file in", parent))?;
            lock.as_file().lock().map_err(FsError::of("lock", lock.path()))?;
            // A sweep between creation and lock may have removed it.
            if lock.path().exists() {
                let path = lock.path().with_extension("");
                create_dir_all(&path)?;
                return Ok(Self { path, lock });
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: what stays is swept by the next process.
        let _ = remove_tree(&self.path);
        let _ = fs::remove_file(self.lock.path());
    }
}

/// Removes the work of processes that ended without removing it: whose lock can be had.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with(STAGING_PREFIX) || !name.ends_with(LOCK_SUFFIX) {
            continue;
        }
        let Ok(lock) = File::options().write(true).open(&path) else { continue };
        if lock.try_lock().is_ok() {
            let _ = remove_tree(&path.with_extension(""));
            let _ = fs::remove_file(&path);
        }
    }
}

/// Removes a tree, also one with directories that its owner may not write.
fn remove_tree(path: &Path) -> io::Result<()> {
    if fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    for entry in walkdir::WalkDir::new(path).into_iter().flatten() {
        if entry.file_type().is_dir() {
            let _ = fs::set_permissions(entry.path(), permissions(0o700));
        }
    }
    fs::remove_dir_all(path)
}

/// Takes the lock file at `path`, waiting for whoever has it; the lock ends with the returned file.
pub fn lock(path: &Path) -> Result<File, FsError> {
    create_dir_all(parent_of(path))?;
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(FsError::of("open", path))?;
    file.lock().map_err(FsError::of("lock", path))?;
    Ok(file)
}

/// The same without blocking the thread, so that the wait can be given up; members of the file's group may take the lock
/// too.
pub async fn lock_when_free(path: &Path) -> Result<File, FsError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    create_dir_all(parent_of(path))?;
    let file = File::options().create(true).truncate(false).write(true).mode(0o664).open(path);
    let file = file.map_err(FsError::of("open", path))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(TRY_AGAIN_AFTER).await,
            Err(TryLockError::Error(source)) => return Err(FsError::of("lock", path)(source)),
        }
    }
}

/// The directory that a path is in: the working directory for a bare name.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn permissions(mode: u32) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut file = StagedFile::beside(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(names(directory.path()), Vec::<String>::new());
        write_atomically(&path, b"whole").unwrap();
        assert_eq!(
            (names(directory.path()), fs::read(&path).unwrap()),
            (vec!["a".to_owned()], b"whole".to_vec())
        );
    }

    #[test]
    fn what_killed_processes_left_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let living = Scratch::inside(directory.path()).unwrap();
        let killed = directory.path().join(".ekiben-staging-killed");
        fs::create_dir(&killed).unwrap();
        fs::write(directory.path().join(".ekiben-staging-killed.lock"), b"").unwrap();
        fs::create_dir(killed.join("deep")).unwrap();
        fs::write(killed.join("deep/half"), b"").unwrap();
        fs::set_permissions(killed.join("deep"), permissions(0o500)).unwrap();
        let next = Scratch::inside(directory.path()).unwrap();
        assert!(living.path().is_dir() && next.path().is_dir() && !killed.exists());
        drop((living, next));
        assert_eq!(names(directory.path()), Vec::<String>::new());
    }

    #[test]
    fn an_unfinished_directory_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d");
        drop(StagedDirectory::beside(&path).unwrap());
        assert_eq!(names(directory.path()), Vec::<String>::new());
        let staged = StagedDirectory::beside(&path).unwrap();
        fs::write(staged.path().join("x"), b"").unwrap();
        staged.publish().unwrap();
        assert_eq!((names(directory.path()), names(&path)), (vec!["d".to_owned()], vec!["x".to_owned()]));
    }
}
