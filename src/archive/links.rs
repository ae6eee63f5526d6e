//! Where symbolic links lead.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{ArchiveError, Fault};

/// Links that are followed before they count as a circle, as in Linux.
const MOST_LINKS: usize = 40;

/// Refuses a directory in which a link leads out, or in a circle. One that leads to nothing inside is harmless.
pub fn check_links(root: &Path) -> Result<(), ArchiveError> {
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.map_err(|error| ArchiveError::Read {
            path: error.path().unwrap_or(root).to_owned(),
            source: error.into(),
        })?;
        if entry.path_is_symlink() {
            check(root, entry.path())?;
        }
    }
    Ok(())
}

/// Follows a link through all others, and gives the text of the link itself.
///
/// Every step is looked at: `a/link/..` is not where it seems when `link` leads elsewhere.
pub(super) fn check(root: &Path, link: &Path) -> Result<String, ArchiveError> {
    let shown = link.strip_prefix(root).unwrap_or(link).to_string_lossy().into_owned();
    let faulty = |fault| ArchiveError::Member { path: shown.clone(), fault };
    let text = |path: &Path| {
        let target = fs::read_link(path).map_err(ArchiveError::read(path))?;
        target.into_os_string().into_string().map_err(|_| faulty(Fault::NotUtf8))
    };
    let target = text(link)?;
    let out = || faulty(Fault::LinkOut { target: target.clone() });
    // What is still to be walked, the next step last.
    let mut ahead: Vec<String> = steps(&target);
    let mut place = link.parent().unwrap_or(root).to_owned();
    let mut followed = 1;
    if target.starts_with('/') {
        return Err(out());
    }
    while let Some(step) = ahead.pop() {
        if step == ".." {
            if place == root || !place.pop() {
                return Err(out());
            }
            continue;
        }
        let next = place.join(step);
        if !is_link(&next)? {
            place = next;
            continue;
        }
        followed += 1;
        if followed > MOST_LINKS {
            return Err(faulty(Fault::LinkLoop));
        }
        let onward = text(&next)?;
        if onward.starts_with('/') {
            return Err(out());
        }
        ahead.extend(steps(&onward));
    }
    Ok(target)
}

fn steps(target: &str) -> Vec<String> {
    target.split('/').filter(|step| !matches!(*step, "" | ".")).rev().map(str::to_owned).collect()
}

/// What is not there is no link; what lies below a file is not there.
fn is_link(path: &PathBuf) -> Result<bool, ArchiveError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_symlink()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(ArchiveError::read(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn fault(links: &[(&str, &str)]) -> Option<Fault> {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("a/b/c")).unwrap();
        for (link, target) in links {
            symlink(target, directory.path().join(link)).unwrap();
        }
        match check_links(directory.path()) {
            Ok(()) => None,
            Err(ArchiveError::Member { fault, .. }) => Some(fault),
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn links_are_followed_step_by_step() {
        let out = |target: &str| Some(Fault::LinkOut { target: target.to_owned() });
        assert_eq!(fault(&[("l", "a/b"), ("a/up", "../l/c"), ("dangling", "a/none/x")]), None);
        assert_eq!(fault(&[("l", "/etc/passwd")]), out("/etc/passwd"));
        assert_eq!(fault(&[("a/l", "../../x")]), out("../../x"));
        // Lexically `a/b/c/x`, in truth a step above the root.
        assert_eq!(fault(&[("a/b/c/l", "../../.."), ("sly", "a/b/c/l/../x")]), out("a/b/c/l/../x"));
        assert_eq!(fault(&[("l", "m"), ("m", "l")]), Some(Fault::LinkLoop));
        assert_eq!(fault(&[("l", "a/..")]), None);
        assert_eq!(fault(&[("l", "..")]), out(".."));
    }
}
