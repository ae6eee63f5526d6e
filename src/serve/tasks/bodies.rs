//! Bodies of tasks: small ones in memory, large ones in files.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tempfile::{TempDir, TempPath};
use thiserror::Error;

/// A longer body goes to a file: it may have to stay for a day.
const SMALL: usize = 64 * 1024;

/// Once small bodies take this much together, all go to files.
const MEMORY: usize = 64 << 20;

/// A body that could not be kept, or not be read again.
#[derive(Debug, Error)]
pub enum BodyError {
    /// There is no place for files.
    #[error("cannot make a directory for the bodies of tasks")]
    Directory(#[source] std::io::Error),
    /// It cannot be written.
    #[error("cannot write a task's body to `{}`", path.display())]
    Write {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It cannot be read.
    #[error("cannot read a task's body from `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The server ends.
    #[error("the server ends")]
    Closed,
}

/// Where the bodies of one server's tasks are.
#[derive(Debug, Default)]
pub struct Bodies {
    directory: Mutex<Directory>,
    in_memory: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
enum Directory {
    #[default]
    NotMade,
    Made(Arc<TempDir>),
    Closed,
}

/// A body that is kept; its file, if it has one, goes with it.
#[derive(Debug)]
pub enum Kept {
    /// In memory.
    Memory(Bytes, Lease),
    /// In a file.
    File(TempPath),
}

/// A part of the memory for bodies; dropping it gives it back.
#[derive(Debug)]
pub struct Lease {
    length: usize,
    in_memory: Arc<AtomicUsize>,
}

impl Bodies {
    /// Keeps the pieces of a body.
    pub async fn keep(&self, parts: Vec<Bytes>) -> Result<Kept, BodyError> {
        let length = parts.iter().map(Bytes::len).sum();
        if length <= SMALL
            && let Some(lease) = self.lease(length)
        {
            return Ok(Kept::Memory(join(parts), lease));
        }
        let directory = self.directory()?;
        let path = directory.path().to_owned();
        let written = blocking(move || write(&directory, &parts)).await;
        written.map(Kept::File).map_err(|source| BodyError::Write { path, source })
    }

    /// Removes all files; nothing can be kept any more.
    pub fn close(&self) {
        *self.lock() = Directory::Closed;
    }

    fn lease(&self, length: usize) -> Option<Lease> {
        let taken = self.in_memory.fetch_add(length, Ordering::Relaxed) + length;
        let lease = Lease { length, in_memory: Arc::clone(&self.in_memory) };
        (taken <= MEMORY).then_some(lease)
    }

    fn directory(&self) -> Result<Arc<TempDir>, BodyError> {
        let mut directory = self.lock();
        match &*directory {
            Directory::Made(made) => Ok(Arc::clone(made)),
            Directory::Closed => Err(BodyError::Closed),
            Directory::NotMade => {
                let made = tempfile::Builder::new().prefix("ekiben-tasks-").tempdir();
                let made = Arc::new(made.map_err(BodyError::Directory)?);
                *directory = Directory::Made(Arc::clone(&made));
                Ok(made)
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Directory> {
        // Nothing panics while the lock is held.
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Makes a body of a text of this program's own.
    pub fn constant(text: &'static str) -> Self {
        Self::Memory(Bytes::from_static(text.as_bytes()), Lease { length: 0, in_memory: Arc::default() })
    }

    /// Reads the body.
    pub async fn read(&self) -> Result<Bytes, BodyError> {
        match self {
            Self::Memory(bytes, _) => Ok(bytes.clone()),
            Self::File(path) => {
                let path = path.to_path_buf();
                let read = blocking({
                    let path = path.clone();
                    move || std::fs::read(path)
                });
                read.await.map(Bytes::from).map_err(|source| BodyError::Read { path, source })
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.in_memory.fetch_sub(self.length, Ordering::Relaxed);
    }
}

fn join(mut parts: Vec<Bytes>) -> Bytes {
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => parts.concat().into(),
    }
}

fn write(directory: &TempDir, parts: &[Bytes]) -> std::io::Result<TempPath> {
    let mut file = tempfile::Builder::new().prefix("body-").tempfile_in(directory.path())?;
    for part in parts {
        file.write_all(part)?;
    }
    Ok(file.into_temp_path())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn small_bodies_stay_in_memory_and_give_it_back() {
        let bodies = Bodies::default();
        let kept = run(bodies.keep(vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")])).unwrap();
        assert!(matches!(kept, Kept::Memory(..)));
        assert_eq!(run(kept.read()).unwrap(), "abc");
        assert_eq!(bodies.in_memory.load(Ordering::Relaxed), 3);
        drop(kept);
        assert_eq!(bodies.in_memory.load(Ordering::Relaxed), 0);
        assert!(matches!(*bodies.lock(), Directory::NotMade));
    }

    #[test]
    fn large_bodies_are_files_that_go_with_the_task() {
        let bodies = Bodies::default();
        let large = Bytes::from(vec![7; SMALL + 1]);
        let kept = run(bodies.keep(vec![large.clone()])).unwrap();
        let Kept::File(path) = &kept else { panic!("{kept:?}") };
        let path = path.to_path_buf();
        assert_eq!(run(kept.read()).unwrap(), large);
        drop(kept);
        assert!(!path.exists());
        let kept = run(bodies.keep(vec![large.clone()])).unwrap();
        bodies.close();
        assert!(!path.parent().unwrap().exists());
        assert!(matches!(run(kept.read()), Err(BodyError::Read { .. })));
        assert!(matches!(run(bodies.keep(vec![large])), Err(BodyError::Closed)));
    }

    #[test]
    fn small_bodies_go_to_files_when_there_are_many() {
        let bodies = Bodies::default();
        bodies.in_memory.store(MEMORY, Ordering::Relaxed);
        let kept = run(bodies.keep(vec![Bytes::from_static(b"x")])).unwrap();
        assert!(matches!(kept, Kept::File(_)));
        assert_eq!(run(kept.read()).unwrap(), "x");
        assert_eq!(bodies.in_memory.load(Ordering::Relaxed), MEMORY);
    }
}
