//! Where packages come from.

use std::path::Path;

use super::error::Error;
use super::lock::LockedPackage;
use super::request::Architecture;
use crate::report::{Interrupt, Report};

/// Debian's own archive keys (package `debian-archive-keyring` 2025.1, as distributed: keys are not under copyright),
/// for machines that have none.
pub const ARCHIVE_KEYRING: &[u8] = include_bytes!("debian-archive-keyring.gpg");

/// Debian's mirror network.
pub const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";
/// Debian's mirror network for security fixes.
pub const DEFAULT_SECURITY_MIRROR: &str = "http://deb.debian.org/debian-security";

/// Somebody who has packages, and whose lists of them are verified.
pub trait Archive: Send + Sync {
    /// What decides which packages there are: mirrors and keys. Cached answers of other identities are not used.
    fn identity(&self, suite: &str) -> Result<String, Error>;

    /// Gets the package lists of a suite, its updates and security fixes, verifies them, and gives them in the kept
    /// form of `Index`.
    fn update(&self, suite: &str, architecture: Architecture, watch: Watch<'_>) -> Result<String, Error>;

    /// Gets packages of a suite into `directory`, each named [`LockedPackage::cache_name`]; the caller verifies them.
    fn download(
        &self,
        suite: &str,
        packages: &[&LockedPackage],
        directory: &Path,
        watch: Watch<'_>,
    ) -> Result<(), Error>;
}

/// Who watches a long operation, and may stop it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Hears what is done.
    pub report: &'a dyn Report,
    /// Asks to stop.
    pub interrupt: &'a Interrupt,
}

/// The names of the archives that make up a suite: itself, its updates, its security fixes.
pub(super) fn archives(suite: &str) -> [String; 3] {
    [suite.to_owned(), format!("{suite}-updates"), format!("{suite}-security")]
}

/// Whether this can be the name of a suite.
pub(super) fn is_suite(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_plain)
}

/// Refuses what cannot be the name of a suite, before it becomes part of a path or URL.
pub(super) fn check_suite(suite: &str) -> Result<(), Error> {
    if is_suite(suite) {
        return Ok(());
    }
    Err(Error::UnknownSuite { suite: suite.to_owned(), mirror: DEFAULT_MIRROR.to_owned() })
}

impl LockedPackage {
    /// The name of the package's file in a cache.
    pub fn cache_name(&self) -> String {
        format!("{}.deb", self.digest.hex())
    }

    /// Where a mirror has the package. `+` is written as apt does: some mirrors take it for a space.
    pub(super) fn url(&self, mirror: &str) -> String {
        let filename = self.filename.replace('%', "%25").replace('+', "%2b").replace(' ', "%20");
        format!("{}/{filename}", mirror.trim_end_matches('/'))
    }
}
