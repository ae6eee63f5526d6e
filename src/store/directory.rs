//! Directories, read with few system calls: a list of ten thousand items is mostly the kernel's time.
//!
//! Everything is opened below a directory that is open already, kinds come with the names, and a file that was measured
//! when it was read is not measured again.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, fstat, openat, statat};
use rustix::io::{Errno, read};

/// Bytes of the names that one call gives: those of some hundred items.
const NAMES: usize = 16 << 10;

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    descriptor: OwnedFd,
}

/// Something in a directory.
#[derive(Debug)]
pub(super) struct Entry {
    name: CString,
    kind: FileType,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// Its length when it was opened.
    pub(super) size: u64,
}

/// Why the content of a file was not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is a directory, a pipe, a device.
    NotAFile,
    /// It is longer than the limit.
    TooLong,
    /// The file system refused.
    Failed(io::Error),
}

impl<E: Into<io::Error>> From<E> for Unread {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Directory {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        open(CWD, path.as_os_str().as_bytes())
    }

    /// Opens a directory by its path below this one.
    pub(super) fn below(&self, path: &[u8]) -> io::Result<Self> {
        open(&self.descriptor, path)
    }

    /// What is in it, in the order of the file system.
    pub(super) fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut buffer = [const { MaybeUninit::<u8>::uninit() }; NAMES];
        let mut names = RawDir::new(&self.descriptor, &mut buffer);
        let mut entries = Vec::new();
        while let Some(entry) = names.next() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                entries.push(Entry { name: entry.file_name().to_owned(), kind: entry.file_type() });
            }
        }
        for entry in entries.iter_mut().filter(|entry| entry.kind == FileType::Unknown) {
            // Some file systems do not say.
            entry.kind = kind(&self.descriptor, &entry.name, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(entries)
    }

    /// The names of the directories in it, links to directories included, sorted.
    pub(super) fn directories(&self) -> io::Result<Vec<OsString>> {
        let mut entries = self.entries()?;
        entries.retain(|entry| match entry.kind {
            FileType::Symlink => {
                kind(&self.descriptor, &entry.name, AtFlags::empty()) == Ok(FileType::Directory)
            }
            kind => kind == FileType::Directory,
        });
        let mut names: Vec<_> =
            entries.into_iter().map(|entry| OsString::from_vec(entry.name.into_bytes())).collect();
        names.sort();
        Ok(names)
    }

    /// Reads a whole file of at most `limit` bytes.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Content, Unread> {
        // A pipe that nobody writes to would keep us waiting.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(&self.descriptor, name, flags, Mode::empty())?;
        let status = fstat(&file)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(Unread::NotAFile);
        }
        let size = u64::try_from(status.st_size).unwrap_or_default();
        let length = usize::try_from(size).ok().filter(|_| size <= limit).ok_or(Unread::TooLong)?;
        // One more than there is, so that the first call sees the end.
        let mut bytes = Vec::with_capacity(length + 1);
        loop {
            let wanted = bytes.capacity() - bytes.len();
            match read(&file, rustix::buffer::spare_capacity(&mut bytes)) {
                Err(Errno::INTR) => {}
                Ok(count) if count < wanted => return Ok(Content { bytes, size }),
                // It grows while it is read.
                Ok(_) if bytes.len() as u64 > limit => return Err(Unread::TooLong),
                Ok(_) => bytes.reserve(bytes.len()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The length of a file, of the one that it leads to if it is a link; nothing for everything else.
    pub(super) fn size_of(&self, entry: &Entry) -> Option<u64> {
        if entry.kind == FileType::Directory {
            return None;
        }
        // A link to nothing has no length.
        let status = statat(&self.descriptor, entry.name.as_c_str(), AtFlags::empty()).ok()?;
        let is_file = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
        is_file.then(|| u64::try_from(status.st_size).unwrap_or_default())
    }
}

impl Entry {
    pub(super) fn name(&self) -> &OsStr {
        OsStr::from_bytes(self.name.as_bytes())
    }

    /// Whether it is a directory itself, and no link to one.
    pub(super) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }
}

fn open(below: impl std::os::fd::AsFd, path: &[u8]) -> io::Result<Directory> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    loop {
        match openat(&below, path, flags, Mode::empty()) {
            Ok(descriptor) => return Ok(Directory { descriptor }),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The kind of something that may have gone in the meantime.
fn kind(below: &OwnedFd, name: &CStr, flags: AtFlags) -> Result<FileType, Errno> {
    match statat(below, name, flags) {
        Ok(status) => Ok(FileType::from_raw_mode(status.st_mode)),
        Err(Errno::NOENT) => Ok(FileType::Unknown),
        Err(error) => Err(error),
    }
}
