//! The exact packages that a request came to.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::archive::{archives, is_suite};
use super::relation;
use super::request::Architecture;
use crate::oci::digest::Digest;
use crate::oci::json;

/// The form of lock that this version writes and reads.
const FORMAT: u32 = 1;
/// Most bytes of one package: the largest of Debian 12 has 1.3 GB.
const PACKAGE_LIMIT: u64 = 8 << 30;
/// Most bytes of a version or a path; Debian's longest have 60 and 160.
const TEXT_LIMIT: usize = 512;

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

/// A lock says something that no archive says of its packages.
#[derive(Debug, Error)]
pub enum LockError {
    /// It has the form of another version.
    #[error("the lock of Debian packages has the unknown format {format}")]
    Format {
        /// The number it gives.
        format: u32,
    },
    /// No release has such a name.
    #[error("`{suite}` is not the name of a Debian suite")]
    Suite {
        /// The name.
        suite: String,
    },
    /// A package is not described as packages are.
    #[error("the package `{name}` has an unusable {what}")]
    Package {
        /// The name it gives.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
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
        serde_json::from_slice(bytes).ok().filter(|lock: &Self| lock.check().is_ok())
    }

    /// Refuses what an archive never says: its names become part of URLs, paths and package databases.
    pub fn check(&self) -> Result<(), LockError> {
        if self.format != FORMAT {
            return Err(LockError::Format { format: self.format });
        }
        if !is_suite(&self.suite) {
            return Err(LockError::Suite { suite: self.suite.clone() });
        }
        let archives = archives(&self.suite);
        for (index, package) in self.packages.iter().enumerate() {
            let unusable = |what| LockError::Package { name: package.name.clone(), what };
            if index > 0 && self.packages[index - 1].name >= package.name {
                return Err(unusable("place: packages are sorted, and each is there once"));
            }
            package.check(self.architecture, &archives).map_err(unusable)?;
        }
        Ok(())
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

impl LockedPackage {
    fn check(&self, architecture: Architecture, archives: &[String]) -> Result<(), &'static str> {
        let is_version = |byte: u8| byte.is_ascii_alphanumeric() || b".+-:~".contains(&byte);
        // A query or fragment would end the path of a URL.
        let is_plain = |ch: char| !ch.is_control() && !"?#\\".contains(ch);
        let is_path = self.filename.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let rules = [
            ("name", relation::is_name(&self.name)),
            ("version", !self.version.is_empty() && self.version.bytes().all(is_version)),
            ("version", self.version.len() <= TEXT_LIMIT),
            ("architecture", self.architecture == "all" || self.architecture == architecture.name()),
            ("archive", archives.contains(&self.archive)),
            ("file name", is_path && self.filename.chars().all(is_plain)),
            ("file name", self.filename.len() <= TEXT_LIMIT),
            ("size", self.size <= PACKAGE_LIMIT),
        ];
        rules.into_iter().find(|(_, holds)| !holds).map_or(Ok(()), |(what, _)| Err(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> LockedPackage {
        LockedPackage {
            name: name.to_owned(),
            version: "1:2.0~rc1+b1-3".to_owned(),
            architecture: "all".to_owned(),
            archive: "bookworm-security".to_owned(),
            filename: format!("pool/main/{name}_2.0~rc1+b1-3_all.deb"),
            size: 3,
            digest: Digest::of(name.as_bytes()),
        }
    }

    #[test]
    fn what_no_archive_says_is_refused() {
        type Spoil = fn(&mut LockedPackage);
        let spoils: [(&str, Spoil); 13] = [
            ("name", |package| package.name = "../bb".to_owned()),
            ("name", |package| package.name = "bb\n".to_owned()),
            ("version", |package| package.version = String::new()),
            ("version", |package| package.version = "1\nStatus: x".to_owned()),
            ("version", |package| package.version = "1".repeat(1000)),
            ("architecture", |package| package.architecture = "arm64".to_owned()),
            ("archive", |package| package.archive = "../x".to_owned()),
            ("file name", |package| package.filename = "/etc/passwd".to_owned()),
            ("file name", |package| package.filename = "pool/../../x.deb".to_owned()),
            ("file name", |package| package.filename = "pool/x.deb?y".to_owned()),
            ("file name", |package| package.filename = "pool/x\n.deb".to_owned()),
            ("file name", |package| package.filename = "p/".repeat(1000) + "x"),
            ("size", |package| package.size = u64::MAX),
        ];
        for (what, spoil) in spoils {
            let mut lock = Lock::new("bookworm", Architecture::Amd64, vec![package("aa"), package("bb")]);
            lock.check().unwrap();
            spoil(&mut lock.packages[1]);
            let error = lock.check().unwrap_err();
            let LockError::Package { what: found, .. } = error else { panic!("{error}") };
            assert!(found.starts_with(what) || found.starts_with("place"), "{what}: {found}");
            assert!(Lock::from_json(&lock.to_json()).is_none());
        }
        let twice = Lock::new("bookworm", Architecture::Amd64, vec![package("aa"), package("aa")]);
        let text = twice.check().unwrap_err().to_string();
        assert_eq!(
            text,
            "the package `aa` has an unusable place: packages are sorted, and each is there once"
        );
        let error = Lock::new("../x", Architecture::Amd64, Vec::new()).check().unwrap_err();
        assert_eq!(error.to_string(), "`../x` is not the name of a Debian suite");
    }

    #[test]
    fn a_lock_is_read_back_and_sorted() {
        let lock = Lock::new("bookworm", Architecture::Amd64, vec![package("bb"), package("aa")]);
        assert_eq!(Lock::from_json(&lock.to_json()).unwrap(), lock);
        assert_eq!(lock.packages[0].name, "aa");
        let version = Some("1:2.0~rc1+b1-3");
        assert_eq!((lock.download_size(), lock.version_of("bb"), lock.version_of("cc")), (6, version, None));
        let other = String::from_utf8(lock.to_json()).unwrap().replace("\"format\":1", "\"format\":2");
        assert!(Lock::from_json(other.as_bytes()).is_none());
    }
}
