//! One member of an archive, whatever the form.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{Timespec, Timestamps};

use super::error::{ArchiveError, Fault};

/// What is kept of a mode: who may read, write and run. Set-user-ID and the like are not for models.
pub(super) const MODE_MASK: u32 = 0o777;

/// Longest name of one file on the file systems of Linux.
const LONGEST_COMPONENT: usize = 255;
/// Longest path that Linux takes, less what the path of a store needs.
const LONGEST_PATH: usize = 3072;

/// A member as its header says, its name checked.
#[derive(Debug)]
pub(super) struct Member {
    /// `/` between components, none at the ends; empty for the root.
    pub(super) path: String,
    pub(super) kind: MemberKind,
    pub(super) mode: u32,
    pub(super) modified: Moment,
}

/// What a member is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MemberKind {
    Directory,
    File { size: u64 },
    Symlink { target: String },
}

/// When a file was changed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

impl Moment {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            seconds: metadata.mtime(),
            nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or_default(),
        }
    }

    /// Reads decimal seconds, as PAX headers write them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let seconds: i64 = whole.parse().ok()?;
        if !is_number(fraction) {
            return None;
        }
        let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
        let nanoseconds: u32 = digits.parse().ok()?;
        // A fraction of a negative number counts downwards.
        if whole.starts_with('-') && nanoseconds > 0 {
            return Some(Self { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds });
        }
        Some(Self { seconds, nanoseconds })
    }

    /// For the call that sets the time of a file.
    pub(super) fn timestamps(self) -> Timestamps {
        let time = Timespec { tv_sec: self.seconds, tv_nsec: self.nanoseconds.into() };
        Timestamps { last_access: time, last_modification: time }
    }
}

/// The path below the root that a name in an archive means.
pub(super) fn checked_path(name: &[u8]) -> Result<String, ArchiveError> {
    let shown = || String::from_utf8_lossy(name).into_owned();
    let faulty = |fault| Err(ArchiveError::Member { path: shown(), fault });
    let Ok(text) = std::str::from_utf8(name) else { return faulty(Fault::NotUtf8) };
    if text.starts_with('/') {
        return faulty(Fault::Absolute);
    }
    if text.contains('\0') {
        return faulty(Fault::Name);
    }
    let mut components = Vec::new();
    for component in text.split('/').filter(|component| !matches!(*component, "" | ".")) {
        if component == ".." {
            return faulty(Fault::Outside);
        }
        if component.len() > LONGEST_COMPONENT {
            return faulty(Fault::Name);
        }
        components.push(component);
    }
    let path = components.join("/");
    if path.len() > LONGEST_PATH { faulty(Fault::Name) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(name: &[u8]) -> Option<Fault> {
        match checked_path(name) {
            Err(ArchiveError::Member { fault, .. }) => Some(fault),
            _ => None,
        }
    }

    #[test]
    fn names_lose_what_means_nothing_and_are_refused_when_they_lead_out() {
        for name in ["a/b", "./a/b", "a//b/", "a/./b/."] {
            assert_eq!(checked_path(name.as_bytes()).unwrap(), "a/b");
        }
        assert_eq!(checked_path(b"./").unwrap(), "");
        assert_eq!(fault(b"/etc/passwd"), Some(Fault::Absolute));
        for name in ["..", "../a", "a/../b", "a/.."] {
            assert_eq!(fault(name.as_bytes()), Some(Fault::Outside));
        }
        assert_eq!(fault(b"a\xff"), Some(Fault::NotUtf8));
        assert_eq!(fault(b"a\0b"), Some(Fault::Name));
        assert_eq!(fault("n".repeat(256).as_bytes()), Some(Fault::Name));
        assert_eq!(fault("n/".repeat(2000).as_bytes()), Some(Fault::Name));
    }

    #[test]
    fn moments_are_read_with_their_fraction() {
        let moment = |seconds, nanoseconds| Some(Moment { seconds, nanoseconds });
        assert_eq!(Moment::parse("12"), moment(12, 0));
        assert_eq!(Moment::parse("12.5"), moment(12, 500_000_000));
        assert_eq!(Moment::parse("12.0000000019"), moment(12, 1));
        assert_eq!(Moment::parse("-1.25"), moment(-2, 750_000_000));
        assert_eq!(Moment::parse("1.x"), None);
        assert_eq!(Moment::parse(""), None);
    }

    proptest! {
        #[test]
        fn no_name_leads_out(name in "[./a-c]{0,12}|\\PC{0,40}|[.]{0,3}(/[.]{0,3}){0,6}") {
            if let Ok(path) = checked_path(name.as_bytes()) {
                prop_assert!(!path.starts_with('/') && !path.ends_with('/'));
                prop_assert!(path.split('/').all(|part| part != ".." && part != "."));
                prop_assert_eq!(checked_path(path.as_bytes()).unwrap(), path);
            }
        }
    }
}
