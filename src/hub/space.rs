//! Room on the disk.

use std::path::Path;

/// Bytes that a user may still write below a path; `None` where the system does not tell.
pub(super) fn available(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|ancestor| ancestor.exists())?;
    let found = rustix::fs::statvfs(there).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_directory_above_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let below = available(&directory.path().join("a/b/c")).unwrap();
        assert!(below > 0);
        assert_eq!(available(Path::new("relative/nonexistent")), None);
    }
}
