//! The threads that bring files into the page cache.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use super::files::PlannedFile;

/// Threads that ask for bytes: four, each with one chunk under way, keep a fast disk busy: two are slower, eight no faster.
const THREADS: usize = 4;

/// What a thread asks for and then waits for. What the four have under way is what the imports' own small reads have to
/// wait for at most, and what is still read once the server is to end.
const CHUNK: u64 = 4 << 20;

/// The kernel reads no more for one call than the device's read-ahead, 128 KiB by default, and does not say so.
const STEP: u64 = 128 << 10;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) bytes: u64,
    pub(super) files: usize,
    pub(super) elapsed: Duration,
    /// Whether memory did not suffice for all.
    pub(super) is_cut: bool,
    pub(super) failures: Vec<(PathBuf, io::Error)>,
}

/// What is left to read, shared by the threads.
struct Rest {
    files: std::vec::IntoIter<PlannedFile>,
    current: Option<Open>,
    budget: u64,
    read: Read,
}

/// The file that is being read.
struct Open {
    file: Arc<File>,
    path: PathBuf,
    offset: u64,
    size: u64,
}

/// A part of a file for one thread.
struct Chunk {
    file: Arc<File>,
    path: PathBuf,
    offset: u64,
    length: u64,
}

/// Reads `files` into the page cache, in this order, at most `budget` bytes, until it is stopped.
pub(super) fn read(files: Vec<PlannedFile>, budget: u64, is_stopped: &AtomicBool) -> Read {
    let begun = Instant::now();
    let rest = Rest { files: files.into_iter(), current: None, budget, read: Read::default() };
    let rest = Mutex::new(rest);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| work(&rest, is_stopped));
        }
    });
    let mut rest = rest.into_inner().unwrap_or_else(PoisonError::into_inner);
    rest.read.elapsed = begun.elapsed();
    rest.read
}

fn work(rest: &Mutex<Rest>, is_stopped: &AtomicBool) {
    while !is_stopped.load(Ordering::Relaxed) {
        let Some(chunk) = lock(rest).next() else { return };
        if let Err(error) = chunk.fetch(is_stopped) {
            lock(rest).give_up(chunk.path, error);
        }
    }
}

fn lock(rest: &Mutex<Rest>) -> MutexGuard<'_, Rest> {
    // Nothing panics while the lock is held; a poisoned list is still whole.
    rest.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rest {
    fn next(&mut self) -> Option<Chunk> {
        loop {
            if self.current.as_ref().is_none_or(|open| open.offset >= open.size) {
                self.current = None;
                let planned = self.files.next()?;
                match File::open(&planned.path) {
                    Ok(file) => {
                        let PlannedFile { path, size } = planned;
                        self.read.files += 1;
                        self.current = Some(Open { file: Arc::new(file), path, offset: 0, size });
                    }
                    Err(error) => self.read.failures.push((planned.path, error)),
                }
                continue;
            }
            if self.budget == 0 {
                self.read.is_cut = true;
                return None;
            }
            let open = self.current.as_mut()?;
            let length = CHUNK.min(open.size - open.offset).min(self.budget);
            let chunk =
                Chunk { file: Arc::clone(&open.file), path: open.path.clone(), offset: open.offset, length };
            open.offset += length;
            self.budget -= length;
            self.read.bytes += length;
            return Some(chunk);
        }
    }

    /// Leaves out what remains of a file that cannot be read.
    fn give_up(&mut self, path: PathBuf, error: io::Error) {
        if self.current.as_ref().is_some_and(|open| open.path == path) {
            self.current = None;
        }
        if self.read.failures.iter().all(|(known, _)| *known != path) {
            self.read.failures.push((path, error));
        }
    }
}

impl Chunk {
    /// Asks for the bytes, then waits for the last of them: asking alone would queue whole models before the imports.
    fn fetch(&self, is_stopped: &AtomicBool) -> io::Result<()> {
        let end = self.offset + self.length;
        let mut offset = self.offset;
        while offset < end {
            if is_stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            let length = STEP.min(end - offset);
            fadvise(&*self.file, offset, NonZero::new(length), Advice::WillNeed)?;
            offset += length;
        }
        self.file.read_at(&mut [0], end - 1)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSliceMut;
    use std::path::Path;

    use rustix::io::{ReadWriteFlags, preadv2};

    use super::*;

    fn file(directory: &Path, name: &str, size: u64) -> PlannedFile {
        let path = directory.join(name);
        std::fs::write(&path, vec![7; usize::try_from(size).unwrap()]).unwrap();
        PlannedFile { path, size }
    }

    #[test]
    fn all_files_are_read_and_failures_are_told() {
        let here = tempfile::tempdir().unwrap();
        let missing = PlannedFile { path: here.path().join("missing"), size: 5 };
        let shrunk = PlannedFile { size: 2 * CHUNK, ..file(here.path(), "shrunk", 10) };
        let files = vec![
            file(here.path(), "a", CHUNK + 1),
            missing.clone(),
            shrunk,
            PlannedFile { path: here.path().to_owned(), size: 3 },
            file(here.path(), "b", 1),
        ];
        let read = read(files, u64::MAX, &AtomicBool::new(false));
        assert_eq!((read.bytes, read.files, read.is_cut), (3 * CHUNK + 5, 4, false));
        let failed: Vec<&Path> = read.failures.iter().map(|(path, _)| path.as_path()).collect();
        assert_eq!(failed, [missing.path.as_path(), here.path()]);
    }

    /// Reads a byte only if it is in memory.
    fn is_in_memory(file: &File, offset: u64) -> bool {
        preadv2(file, &mut [IoSliceMut::new(&mut [0])], offset, ReadWriteFlags::NOWAIT).is_ok()
    }

    #[test]
    fn every_page_is_in_memory_afterwards() {
        let here = tempfile::tempdir().unwrap();
        let planned = file(here.path(), "a", 2 * CHUNK + 5);
        let open = File::open(&planned.path).unwrap();
        open.sync_all().unwrap();
        // Some file systems keep all in memory, whatever they are told.
        fadvise(&open, 0, None, Advice::DontNeed).unwrap();
        let size = planned.size;
        let read = read(vec![planned], u64::MAX, &AtomicBool::new(false));
        assert_eq!((read.bytes, read.failures.len()), (size, 0));
        assert!((0..size).step_by(4096).all(|offset| is_in_memory(&open, offset)));
    }

    #[test]
    fn no_more_is_read_than_memory_allows() {
        let here = tempfile::tempdir().unwrap();
        let files = vec![file(here.path(), "a", CHUNK), file(here.path(), "b", CHUNK)];
        let exact = read(files.clone(), 2 * CHUNK, &AtomicBool::new(false));
        assert_eq!((exact.bytes, exact.is_cut), (2 * CHUNK, false));
        let cut = read(files.clone(), CHUNK + 10, &AtomicBool::new(false));
        assert_eq!((cut.bytes, cut.files, cut.is_cut), (CHUNK + 10, 2, true));
        let none = read(files, 0, &AtomicBool::new(false));
        assert_eq!((none.bytes, none.is_cut), (0, true));
    }

    #[test]
    fn a_stop_ends_the_reading() {
        let here = tempfile::tempdir().unwrap();
        let files = vec![file(here.path(), "a", CHUNK)];
        assert_eq!(read(files, u64::MAX, &AtomicBool::new(true)).bytes, 0);
    }

    #[test]
    fn chunks_come_in_the_order_of_the_files() {
        let here = tempfile::tempdir().unwrap();
        let files = vec![file(here.path(), "a", CHUNK + 5), file(here.path(), "b", 3)];
        let mut rest =
            Rest { files: files.into_iter(), current: None, budget: u64::MAX, read: Read::default() };
        let chunks: Vec<_> = std::iter::from_fn(|| rest.next())
            .map(|chunk| (chunk.path.file_name().unwrap().to_owned(), chunk.offset, chunk.length))
            .collect();
        assert_eq!(chunks, [("a".into(), 0, CHUNK), ("a".into(), CHUNK, 5), ("b".into(), 0, 3)]);
    }
}
