//! The exact packages that a request came to.

use serde::{Deserialize, Serialize};

use super::request::Architecture;
use crate::oci::digest::Digest;
use crate::oci::json;

/// The form of lock that this version writes and reads.
const FORMAT: u32 = 1;

/// The packages of a tree, each pinned to its bytes; the same lock gives the same tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    format: u32,
    /// Name of the release.
    pub suite: String,
    /// Architecture asked for.
    pub architecture: Architecture,
    /// The packages, sorted by name.
    pub packages: Vec<LockedPackage>,
}

/// One package of a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, which may be `all`.
    pub architecture: String,
    /// The archive that has it: the suite, or the suite's updates or security fixes.
    pub archive: String,
    /// Where the archive's mirrors have it.
    pub filename: String,
    /// Its size in bytes.
    pub size: u64,
    /// Digest of its bytes.
    pub digest: Digest,
}

impl Lock {
    /// A lock of these packages.
    pub fn new(suite: &str, architecture: Architecture, mut packages: Vec<LockedPackage>) -> Self {
        packages.sort_by(|left, right| left.name.cmp(&right.name));
        Self { format: FORMAT, suite: suite.to_owned(), architecture, packages }
    }

    /// The lock's one form as bytes.
    pub fn to_json(&self) -> Vec<u8> {
        json::canonical(self)
    }

    /// Reads what [`to_json`](Self::to_json) gave; nothing if it is not that, or of another version's form.
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|lock: &Self| lock.format == FORMAT)
    }

    /// Digest of the lock: a name for the tree that it gives.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_json())
    }

    /// Number of bytes of all packages.
    pub fn download_size(&self) -> u64 {
        self.packages.iter().map(|package| package.size).sum()
    }

    /// The version of a package, if the lock has it.
    pub fn version_of(&self, name: &str) -> Option<&str> {
        let index = self.packages.binary_search_by(|package| package.name.as_str().cmp(name)).ok()?;
        Some(&self.packages[index].version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_read_back_and_sorted() {
        let package = |name: &str| LockedPackage {
            name: name.to_owned(),
            version: "1".to_owned(),
            architecture: "all".to_owned(),
            archive: "bookworm".to_owned(),
            filename: format!("pool/{name}.deb"),
            size: 3,
            digest: Digest::of(name.as_bytes()),
        };
        let lock = Lock::new("bookworm", Architecture::Amd64, vec![package("b"), package("a")]);
        assert_eq!(Lock::from_json(&lock.to_json()).unwrap(), lock);
        assert_eq!(lock.packages[0].name, "a");
        assert_eq!((lock.download_size(), lock.version_of("b"), lock.version_of("c")), (6, Some("1"), None));
        let other = String::from_utf8(lock.to_json()).unwrap().replace("\"format\":1", "\"format\":2");
        assert!(Lock::from_json(other.as_bytes()).is_none());
    }
}
