//! Copying a user's directory.

use std::fs::{self, File, FileTimes, FileType};
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::size::TreeSize;
use crate::report::{Interrupt, Interrupted};

/// A directory could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source cannot be walked.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The copy cannot be written.
    #[error("cannot copy `{}` to `{}`", from.display(), to.display())]
    Copy {
        /// The original.
        from: PathBuf,
        /// The copy.
        to: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A link to nothing.
    #[error("cannot copy `{}`: it is a link to `{}`, which is not there", path.display(), target.display())]
    Dangling {
        /// The link.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// A link that leads to itself, or to a directory that it is in.
    #[error("cannot copy `{}`: it is a link that leads back to where it is", path.display())]
    Loop {
        /// The link.
        path: PathBuf,
    },
    /// Neither a file nor a directory.
    #[error("cannot copy `{}`: it is {what}, not a file or directory", path.display())]
    Special {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Copies what is in `from` into the existing directory `to`, following symbolic links.
///
/// Modes and times are kept. The copy shares blocks with the original only where the file system
/// copies them on write, so that editing the original later changes nothing.
pub fn copy_tree(from: &Path, to: &Path, interrupt: &Interrupt) -> Result<TreeSize, CopyError> {
    let mut size = TreeSize::default();
    let walk = walkdir::WalkDir::new(from).min_depth(1).follow_links(true).sort_by_file_name();
    for entry in walk {
        interrupt.check()?;
        let entry = entry.map_err(|error| unreadable(from, error))?;
        let target = to.join(entry.path().strip_prefix(from).unwrap_or(entry.path()));
        let failed = |source| CopyError::Copy { from: entry.path().to_owned(), to: target.clone(), source };
        if entry.file_type().is_dir() {
            fs::create_dir(&target).map_err(failed)?;
        } else if entry.file_type().is_file() {
            copy_file(entry.path(), &target).map_err(failed)?;
            let length = entry.metadata().map_err(|error| unreadable(from, error))?.len();
            size.files += 1;
            size.bytes += length;
        } else {
            let what = describe(entry.file_type());
            return Err(CopyError::Special { path: entry.path().to_owned(), what });
        }
    }
    Ok(size)
}

/// Copies one file with its mode and time to a path where nothing is yet; shares its blocks where
/// the file system copies them on write.
pub fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let metadata = source.metadata()?;
    let copy = File::options().write(true).create_new(true).open(to)?;
    if rustix::fs::ioctl_ficlone(&copy, &source).is_err() {
        let (mut reader, mut writer) = (&source, &copy);
        // The kernel copies without passing the bytes through us, where it can.
        io::copy(&mut reader, &mut writer)?;
    }
    copy.set_permissions(metadata.permissions())?;
    copy.set_times(FileTimes::new().set_modified(metadata.modified()?))
}

fn describe(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

fn unreadable(root: &Path, error: walkdir::Error) -> CopyError {
    let path = error.path().unwrap_or(root).to_owned();
    let number = error.io_error().and_then(io::Error::raw_os_error);
    let is_loop = error.loop_ancestor().is_some() || number == Some(Errno::LOOP.raw_os_error());
    let source = io::Error::from(error);
    match fs::read_link(&path) {
        Ok(_) if is_loop => CopyError::Loop { path },
        Ok(target) if source.kind() == io::ErrorKind::NotFound => CopyError::Dangling { path, target },
        _ => CopyError::Read { path, source },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_copy_is_independent_and_keeps_mode_and_time() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("sub/a"), "one").unwrap();
        fs::set_permissions(from.join("sub/a"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("sub/a", from.join("link")).unwrap();
        let size = copy_tree(&from, &to, &Interrupt::default()).unwrap();
        assert_eq!(size, TreeSize { files: 2, bytes: 6 });
        let (old, new) = (fs::metadata(from.join("sub/a")).unwrap(), fs::metadata(to.join("sub/a")).unwrap());
        assert_eq!(new.mode(), old.mode());
        assert_eq!(new.mtime(), old.mtime());
        assert_ne!(new.ino(), old.ino());
        assert!(fs::symlink_metadata(to.join("link")).unwrap().is_file());
        fs::write(from.join("sub/a"), "changed").unwrap();
        assert_eq!(fs::read_to_string(to.join("sub/a")).unwrap(), "one");
    }

    #[test]
    fn loops_and_special_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir_all(&from).unwrap();
        fs::create_dir(&to).unwrap();
        symlink(".", from.join("loop")).unwrap();
        let error = copy_tree(&from, &to, &Interrupt::default()).unwrap_err();
        assert!(matches!(error, CopyError::Loop { .. }), "{error:?}");
        fs::remove_file(from.join("loop")).unwrap();
        symlink("itself", from.join("itself")).unwrap();
        let error = copy_tree(&from, &to, &Interrupt::default()).unwrap_err();
        assert!(matches!(error, CopyError::Loop { .. }), "{error:?}");
        fs::remove_file(from.join("itself")).unwrap();
        symlink("gone", from.join("dangling")).unwrap();
        let error = copy_tree(&from, &to, &Interrupt::default()).unwrap_err();
        assert!(
            matches!(&error, CopyError::Dangling { target, .. } if target == Path::new("gone")),
            "{error:?}"
        );
        fs::remove_file(from.join("dangling")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        let error = copy_tree(&from, &to, &Interrupt::default()).unwrap_err();
        assert!(matches!(error, CopyError::Special { what: "a socket", .. }), "{error:?}");
    }
}
