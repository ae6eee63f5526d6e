//! What is asked for: a suite, an architecture, packages, and what is there already.

use serde::Serialize;

use super::control::{Stanza, stanzas};
use super::error::Error;
use super::lock::{Lock, LockedPackage};
use super::relation::{self, Operator};
use crate::oci::digest::Digest;
use crate::oci::json;
use crate::oci::platform::Platform;

/// What every base image has besides Python: the C++ and OpenMP runtimes that wheels expect, certificates, time zones,
/// and a shell. `python-is-python3` is the link `python`.
const BASE_PACKAGES: [&str; 10] = [
    "base-files",
    "base-passwd",
    "ca-certificates",
    "dash",
    "libgomp1",
    "libstdc++6",
    "netbase",
    "python-is-python3",
    "python3",
    "tzdata",
];

/// The Python that each suite has (packages.debian.org/python3).
const SUITE_PYTHONS: [(&str, &str); 3] = [("bookworm", "3.11"), ("bullseye", "3.9"), ("trixie", "3.13")];

/// A processor architecture, in Debian's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit x86.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

/// Packages wanted of a suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Name of the release, such as `bookworm`.
    pub suite: String,
    /// Architecture of the packages.
    pub architecture: Architecture,
    /// The packages wanted, as `NAME` or `NAME=VERSION`; what they depend on is found.
    pub packages: Vec<String>,
    /// What the image below has already.
    pub installed: Vec<Installed>,
}

/// A package that the image below has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The virtual packages that it stands for.
    pub provides: Vec<Provided>,
}

/// A virtual package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provided {
    /// Its name.
    pub name: String,
    /// Its version, where it has one.
    pub version: Option<String>,
}

impl Architecture {
    /// The architecture of an image.
    pub fn of(platform: &Platform) -> Result<Self, Error> {
        match (platform.os.as_str(), platform.architecture.as_str()) {
            ("linux", "amd64") => Ok(Self::Amd64),
            ("linux", "arm64") => Ok(Self::Arm64),
            _ => Err(Error::Platform { platform: platform.clone() }),
        }
    }

    /// Debian's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The name of the directory of libraries (Debian policy §9.1.1).
    pub fn triplet(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu",
            Self::Arm64 => "aarch64-linux-gnu",
        }
    }
}

impl Request {
    /// The packages of a base image with Python.
    pub fn python_base(suite: &str, architecture: Architecture) -> Self {
        Self {
            suite: suite.to_owned(),
            architecture,
            packages: BASE_PACKAGES.map(str::to_owned).to_vec(),
            installed: Vec::new(),
        }
    }

    /// More packages on top of those of a lock.
    pub fn on_top(lock: &Lock, packages: Vec<String>) -> Self {
        let installed = |package: &LockedPackage| Installed {
            name: package.name.clone(),
            version: package.version.clone(),
            provides: Vec::new(),
        };
        Self {
            suite: lock.suite.clone(),
            architecture: lock.architecture,
            packages,
            installed: lock.packages.iter().map(installed).collect(),
        }
    }

    /// A name for what is asked for: equal requests have equal digests.
    pub fn digest(&self) -> Digest {
        Digest::of(&json::canonical(self))
    }
}

/// The suite whose own Python is `version` (`MAJOR.MINOR`).
pub fn suite_of_python(version: &str) -> Option<&'static str> {
    SUITE_PYTHONS.iter().find(|(_, python)| *python == version).map(|(suite, _)| *suite)
}

/// The Python (`MAJOR.MINOR`) of a suite.
pub fn python_of_suite(suite: &str) -> Option<&'static str> {
    SUITE_PYTHONS.iter().find(|(name, _)| *name == suite).map(|(_, python)| *python)
}

/// Reads dpkg's database (`/var/lib/dpkg/status`): the packages that are installed, sorted by name.
///
/// Stanzas that say nothing of an installed package are passed over, as dpkg does.
pub fn installed(status: &str) -> Vec<Installed> {
    let mut packages: Vec<_> = stanzas(status).filter_map(installed_package).collect();
    packages.sort_by(|left, right| left.name.cmp(&right.name));
    packages.dedup_by(|left, right| left.name == right.name);
    packages
}

fn installed_package(stanza: Stanza<'_>) -> Option<Installed> {
    // Files of `status.d` have no such field: what they describe is installed.
    let is_installed = stanza.field("Status").is_none_or(|status| status.ends_with(" installed"));
    let name = stanza.field("Package").filter(|name| is_installed && relation::is_name(name))?;
    let version = stanza.field("Version")?.to_owned();
    Some(Installed { name: name.to_owned(), version, provides: provided(stanza) })
}

/// The virtual packages of a stanza.
pub(super) fn provided(stanza: Stanza<'_>) -> Vec<Provided> {
    let provided = relation::parse(stanza.field("Provides").unwrap_or_default()).unwrap_or_default();
    let relations = provided.into_iter().flat_map(|dependency| dependency.0);
    let version = |constraint: Option<(Operator, String)>| constraint.map(|(_, version)| version);
    relations
        .map(|relation| Provided { version: version(relation.constraint), name: relation.name })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let status = "Package: mawk\nStatus: install ok installed\nVersion: 1.3\nProvides: awk\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: base-files\nVersion: 12\n";
        let found = installed(status);
        let names: Vec<_> =
            found.iter().map(|package| (package.name.as_str(), package.version.as_str())).collect();
        assert_eq!(names, [("base-files", "12"), ("mawk", "1.3")]);
        assert_eq!(found[1].provides, [Provided { name: "awk".to_owned(), version: None }]);
    }

    #[test]
    fn suites_and_pythons_belong_together() {
        assert_eq!(suite_of_python("3.11"), Some("bookworm"));
        assert_eq!(python_of_suite("trixie"), Some("3.13"));
        assert_eq!(suite_of_python("3.12"), None);
    }

    #[test]
    fn other_platforms_are_refused() {
        assert_eq!(Architecture::of(&Platform::linux("arm64")).unwrap(), Architecture::Arm64);
        assert!(Architecture::of(&Platform::linux("riscv64")).is_err());
    }
}
