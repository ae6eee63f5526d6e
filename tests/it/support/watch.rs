//! Tells which files of a directory are opened or read, by whomever.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use walkdir::WalkDir;

/// Larger than any event with its name.
const BUFFER: usize = 4096;

/// Watches the regular files that were in a directory when it was made.
pub(crate) struct ReadWatch {
    descriptor: OwnedFd,
    files: Vec<(i32, PathBuf)>,
}

impl ReadWatch {
    pub(crate) fn below(directory: &Path) -> Self {
        let descriptor =
            inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("files can be watched");
        let entries =
            WalkDir::new(directory).into_iter().map(|entry| entry.expect("the directory can be walked"));
        let files: Vec<_> = entries
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| {
                let path = CString::new(entry.path().as_os_str().as_encoded_bytes())
                    .expect("a path has no zero byte");
                let watch = inotify::add_watch(&descriptor, path, WatchFlags::OPEN | WatchFlags::ACCESS);
                (watch.expect("a file can be watched"), entry.into_path())
            })
            .collect();
        assert!(!files.is_empty(), "there is nothing to watch below {}", directory.display());
        Self { descriptor, files }
    }

    /// The files that were opened or read since the last call, each once.
    pub(crate) fn touched(&self) -> Vec<PathBuf> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&self.descriptor, &mut buffer);
        let mut touched = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => {
                    let file = self.files.iter().find(|(watch, _)| *watch == event.wd());
                    touched.extend(file.map(|(_, path)| path.clone()));
                }
                Err(Errno::AGAIN) => break,
                Err(error) => panic!("cannot read what happened to the files: {error}"),
            }
        }
        assert!(touched.iter().all(|path| path.is_file()), "a watched file is gone");
        touched.sort();
        touched.dedup();
        touched
    }
}
