//! `--reload`: the files of a service, and when they change.
//!
//! The files are looked at again and again instead of being told of by the kernel: that works on every file system
//! and for every editor, and costs at most a twentieth of a core.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ignore::WalkBuilder;

use crate::blocking;

/// The shortest pause between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// How many times as long as a look the pause is.
const PAUSE_FACTOR: u32 = 20;

/// How long files must stay as they are before they count as written: editors and checkouts write in steps.
const SETTLED: Duration = Duration::from_millis(100);

/// What leaves files out of its directory and those below, as of a bento.
const IGNORE_FILE: &str = ".bentoignore";

/// Directories that are not code.
const NO_CODE: [&str; 5] = [".git", ".venv", "__pycache__", "node_modules", "venv"];

/// Lists the files of a directory.
pub type Listing = Arc<dyn Fn(&Path) -> io::Result<Vec<PathBuf>> + Send + Sync>;

/// Which files are watched.
#[derive(Clone)]
pub struct Watch {
    directory: PathBuf,
    listing: Listing,
}

/// A file that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    kind: Kind,
    path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Added,
    Modified,
    Deleted,
}

/// What a file is told by: replaced files have another number, written ones another time or size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

type Files = BTreeMap<PathBuf, Stamp>;

/// Looks for changes.
#[derive(Debug)]
pub struct Watcher {
    watch: Watch,
    files: Files,
    pause: Duration,
}

impl Watch {
    /// Watches the files that `listing` gives for a directory.
    pub fn new(directory: PathBuf, listing: Listing) -> Self {
        Self { directory, listing }
    }

    /// Watches all files of a directory, except those that are clearly no code or are left out of bentos.
    pub fn everything(directory: PathBuf) -> Self {
        Self::new(directory, Arc::new(everything))
    }
}

impl Watcher {
    /// Takes note of the files as they are now.
    pub async fn start(watch: Option<Watch>) -> Option<Self> {
        let mut watcher = Self { watch: watch?, files: Files::new(), pause: PAUSE };
        watcher.files = watcher.look().await.unwrap_or_default();
        Some(watcher)
    }

    /// Waits for the next change; where nothing is watched, for ever.
    pub async fn next_of(watcher: Option<&mut Self>) -> Change {
        match watcher {
            Some(watcher) => watcher.next().await,
            None => std::future::pending().await,
        }
    }

    /// Waits for the next change.
    pub async fn next(&mut self) -> Change {
        loop {
            tokio::time::sleep(self.pause).await;
            // A directory that cannot be read just now may be in the middle of a checkout.
            let Some(mut files) = self.look().await else { continue };
            if files == self.files {
                continue;
            }
            loop {
                tokio::time::sleep(SETTLED).await;
                match self.look().await {
                    Some(later) if later == files => break,
                    Some(later) => files = later,
                    None => {}
                }
            }
            let before = std::mem::replace(&mut self.files, files);
            if let Some(change) = self.difference(&before) {
                return change;
            }
        }
    }

    async fn look(&mut self) -> Option<Files> {
        let watch = self.watch.clone();
        let begun = Instant::now();
        let files = blocking::run(move || {
            let paths = (watch.listing)(&watch.directory).ok()?;
            // A file that is gone since it was listed is as good as one that was never there.
            let stamp = |path: PathBuf| Some((path.clone(), Stamp::of(&path).ok()?));
            Some(paths.into_iter().filter_map(stamp).collect())
        });
        let files = files.await;
        self.pause = (begun.elapsed() * PAUSE_FACTOR).max(PAUSE);
        files
    }

    /// The first file, by name, that differs.
    fn difference(&self, before: &Files) -> Option<Change> {
        let kind = |path: &PathBuf| match (before.get(path), self.files.get(path)) {
            (None, Some(_)) => Some(Kind::Added),
            (Some(_), None) => Some(Kind::Deleted),
            (before, after) => (before != after).then_some(Kind::Modified),
        };
        let mut paths: Vec<&PathBuf> = before.keys().chain(self.files.keys()).collect();
        paths.sort();
        let (path, kind) = paths.into_iter().find_map(|path| Some((path, kind(path)?)))?;
        let path = path.strip_prefix(&self.watch.directory).unwrap_or(path).to_owned();
        Some(Change { kind, path })
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        // Of links that is what they lead to.
        let found = std::fs::metadata(path)?;
        Ok(Self { inode: found.ino(), size: found.size(), modified: (found.mtime(), found.mtime_nsec()) })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Added => "ADDED",
            Kind::Modified => "MODIFIED",
            Kind::Deleted => "DELETED",
        };
        write!(f, "{kind}: '{}'", self.path.display())
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("directory", &self.directory).finish_non_exhaustive()
    }
}

fn everything(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let walk = WalkBuilder::new(directory)
        .standard_filters(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .filter_entry(|entry| !NO_CODE.iter().any(|name| entry.file_name() == *name))
        .build();
    let mut files = Vec::new();
    for entry in walk {
        let entry = entry.map_err(io::Error::other)?;
        if entry.file_type().is_some_and(|kind| !kind.is_dir()) {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(watcher: &mut Watcher) -> String {
        tokio::time::timeout(Duration::from_secs(20), watcher.next()).await.unwrap().to_string()
    }

    #[tokio::test]
    async fn changes_are_told_once_and_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("service.py"), "a = 1\n").unwrap();
        let watch = Watch::everything(directory.path().to_owned());
        let mut watcher = Watcher::start(Some(watch)).await.unwrap();
        std::fs::write(path("service.py"), "a = 22\n").unwrap();
        assert_eq!(next(&mut watcher).await, "MODIFIED: 'service.py'");
        std::fs::create_dir(path("inner")).unwrap();
        std::fs::write(path("inner/more.py"), "").unwrap();
        assert_eq!(next(&mut watcher).await, "ADDED: 'inner/more.py'");
        std::fs::write(path("new"), "a = 33\n").unwrap();
        std::fs::rename(path("new"), path("service.py")).unwrap();
        assert_eq!(next(&mut watcher).await, "MODIFIED: 'service.py'");
        std::fs::remove_file(path("inner/more.py")).unwrap();
        assert_eq!(next(&mut watcher).await, "DELETED: 'inner/more.py'");
        assert!(tokio::time::timeout(Duration::from_secs(1), watcher.next()).await.is_err());
    }

    #[test]
    fn what_is_no_code_is_not_watched() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["service.py", "venv/a.py", "sub/__pycache__/a.pyc", "sub/b.log", ".git/HEAD", ".env"] {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::write(directory.path().join(IGNORE_FILE), "*.log\n").unwrap();
        let mut found = everything(directory.path()).unwrap();
        found.sort();
        let names: Vec<_> = found.iter().map(|path| path.strip_prefix(directory.path()).unwrap()).collect();
        assert_eq!(names, [Path::new(".bentoignore"), Path::new(".env"), Path::new("service.py")]);
    }
}
