//! Whether a destination can be written to, found out before the work and not after it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::error::TransportError;
use super::layout::MARKER;
use super::name::TransportName;
use crate::fs::check_writable;
use crate::oci::reference::Reference;

/// Makes sure that an image can be written there, as far as that can be seen without writing it. Registries and engines
/// are not asked.
pub(super) fn check(name: &TransportName) -> Result<(), TransportError> {
    let explain = |source| TransportError::Destination { name: name.to_string(), source };
    match name {
        TransportName::Registry(_) | TransportName::Engine(_) => Ok(()),
        TransportName::Layout { path, .. } => {
            let is_fit = directory(path).map_err(explain)?;
            if is_fit { Ok(()) } else { Err(TransportError::NotALayout { path: path.clone() }) }
        }
        TransportName::OciArchive { path, name: named } => {
            if named.as_ref().is_some_and(|named| named.parse::<Reference>().is_err()) {
                return Err(unsupported(name, "written to: the image's name is not a reference"));
            }
            file(path).map_err(explain)
        }
        TransportName::DockerArchive { path, .. } => file(path).map_err(explain),
        TransportName::Debian { .. } | TransportName::Scratch => {
            Err(unsupported(name, "written to: it is a base only"))
        }
    }
}

pub(super) fn unsupported(name: &TransportName, attempted: &'static str) -> TransportError {
    TransportError::Unsupported { name: name.to_string(), attempted }
}

/// Whether the directory is a layout or can become one.
fn directory(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Err(other(io::ErrorKind::NotADirectory, path, "no directory")),
        Ok(_) => {
            check_writable(path)?;
            Ok(path.join(MARKER).exists() || fs::read_dir(path)?.next().is_none())
        }
        Err(error) if is_absent(&error) => directory_above(path).map(|()| true),
        Err(error) => Err(error),
    }
}

/// Whether a file can be put there, in place of the one that is there now.
fn file(path: &Path) -> io::Result<()> {
    if path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(other(io::ErrorKind::IsADirectory, path, "a directory, not a file"));
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            Err(other(io::ErrorKind::IsADirectory, path, "a directory, not a file"))
        }
        // It would be replaced by a file, which is never meant.
        Ok(metadata) if !metadata.is_file() => {
            Err(other(io::ErrorKind::InvalidInput, path, "a device or pipe, not a file"))
        }
        Err(error) if !is_absent(&error) => Err(error),
        _ => directory_above(path),
    }
}

/// Whether nothing has that path yet, or something that is no directory is on the way there.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether something can be put into the directory that the path is in, which is made if it is not there.
fn directory_above(path: &Path) -> io::Result<()> {
    let absolute = std::path::absolute(path)?;
    let there = absolute.ancestors().skip(1).find(|above| fs::symlink_metadata(above).is_ok());
    let there = there.unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Err(other(io::ErrorKind::NotADirectory, there, "no directory"));
    }
    check_writable(there)
}

fn other(kind: io::ErrorKind, path: &Path, what: &str) -> io::Error {
    io::Error::new(kind, format!("`{}` is {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_become_an_image_is_found_without_a_trace() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        fs::create_dir_all(directory.path().join("dir/sub")).unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", directory.path().join("dangling")).unwrap();
        let refused = |text: &str| check(&text.parse().unwrap()).unwrap_err().to_string();
        for scheme in ["oci-archive", "docker-archive"] {
            for path in ["dir", "dir/", "new/", "file/x.tar", "file/a/b/x.tar", "dangling/x.tar"] {
                let name = format!("{scheme}:{root}/{path}");
                assert_eq!(refused(&name), format!("`{name}` cannot be written to"));
            }
        }
        assert_eq!(refused("oci-archive:/dev/null"), "`oci-archive:/dev/null` cannot be written to");
        assert_eq!(refused(&format!("oci:{root}/file")), format!("`oci:{root}/file` cannot be written to"));
        assert!(refused(&format!("oci:{root}/dir")).ends_with("is neither empty nor an image layout"));
        assert_eq!(refused("scratch"), "`scratch` cannot be written to: it is a base only");
        assert!(refused("debian:bookworm").starts_with("`debian:bookworm` cannot be written to"));
        for path in ["new", "a/b/new", "dir/sub"] {
            check(&format!("oci:{root}/{path}").parse().unwrap()).unwrap();
        }
        for path in ["new.tar", "a/b/new.tar", "file", "dangling"] {
            check(&format!("oci-archive:{root}/{path}").parse().unwrap()).unwrap();
        }
        let mut left: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["dangling", "dir", "file"]);
        assert_eq!(fs::read_dir(directory.path().join("dir/sub")).unwrap().count(), 0);
    }
}
