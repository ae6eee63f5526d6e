//! What can go wrong between a list of package names and a file tree.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::command::CommandError;
use super::lock::LockError;
use super::openpgp::SignatureError;
use crate::http::HttpError;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::tree::TreeError;
use crate::report::Interrupted;

/// Packages could not be found, fetched or unpacked.
#[derive(Debug, Error)]
pub enum Error {
    /// Debian has no such architecture, or ekiben does not know it.
    #[error("there are no Debian packages for `{platform}`")]
    Platform {
        /// The platform asked for.
        platform: Platform,
    },
    /// No mirror has the suite.
    #[error("there is no Debian suite `{suite}` at `{mirror}`")]
    UnknownSuite {
        /// The suite asked for.
        suite: String,
        /// Where it was looked for.
        mirror: String,
    },
    /// The suite has no such package.
    #[error("there is no package `{name}` in `{suite}` for `{architecture}`{}", suggest(suggestions))]
    UnknownPackage {
        /// The name asked for.
        name: String,
        /// The suite.
        suite: String,
        /// The architecture.
        architecture: &'static str,
        /// Names that are alike, or that stand for it.
        suggestions: Vec<String>,
    },
    /// A text is not the name of a package.
    #[error("`{text}` is not a package name of the form `NAME` or `NAME=VERSION`")]
    PackageName {
        /// The text.
        text: String,
    },
    /// Nothing in the suite fulfils a dependency.
    #[error("package `{package}` needs `{dependency}`, and the suite has {}", found.as_deref().unwrap_or("none"))]
    Unsatisfiable {
        /// The package that needs it, or the request.
        package: String,
        /// What it needs.
        dependency: String,
        /// The version there is.
        found: Option<String>,
    },
    /// A mirror does not answer.
    #[error("cannot reach `{url}`")]
    Unreachable {
        /// What was asked for, without credentials.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A mirror answers with an error.
    #[error("`GET {url}` was answered with status {status}")]
    Status {
        /// What was asked for, without credentials.
        url: String,
        /// The status.
        status: u16,
    },
    /// A release file is not signed by a key that is trusted for it.
    #[error("the signature of `{subject}` cannot be trusted")]
    Signature {
        /// The release file.
        subject: String,
        /// Why not.
        #[source]
        source: SignatureError,
    },
    /// A release file is too old, or from the future.
    #[error("`{subject}` was valid only until {until}")]
    Expired {
        /// The release file.
        subject: String,
        /// When it expired.
        until: String,
    },
    /// There is no keyring to verify a suite with.
    #[error("there is no keyring to verify `{suite}` with at `{path}`")]
    Keyring {
        /// The suite.
        suite: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A package list is not the one that the signed release file names.
    #[error("`{subject}` is said to be `{stated}`, and is `{actual}`")]
    IndexMismatch {
        /// Where the list was read.
        subject: String,
        /// The digest in the release file.
        stated: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// A package is not the one that the signed list names.
    #[error("package `{name}` {version} is said to be `{stated}`, and is `{actual}`")]
    PackageMismatch {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// The digest in the lock.
        stated: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// A mirror has no longer what was locked.
    #[error("the archive at `{mirror}` has no longer {}", versions(packages))]
    Gone {
        /// Where it was looked for.
        mirror: String,
        /// Names and versions of the packages.
        packages: Vec<(String, String)>,
    },
    /// A package list says what cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A document of a mirror is malformed.
    #[error("`{subject}` has no usable {what}")]
    Document {
        /// Where it was read.
        subject: String,
        /// What is wrong or missing.
        what: &'static str,
    },
    /// A package cannot be unpacked.
    #[error("cannot unpack package `{package}`")]
    Unpack {
        /// Its name.
        package: String,
        /// Why.
        #[source]
        source: DebError,
    },
    /// A package of the lock was not among the files given.
    #[error("package `{package}` of the lock is not in the cache")]
    NotFetched {
        /// Its name.
        package: String,
    },
    /// A child process failed.
    #[error("{purpose} failed")]
    Tool {
        /// What was attempted.
        purpose: String,
        /// Why.
        #[source]
        source: CommandError,
    },
    /// The file system refused.
    #[error("cannot {action} `{path}`")]
    File {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// A file is not a usable Debian package.
#[derive(Debug, Error)]
pub enum DebError {
    /// The file cannot be read or decompressed.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// The outer archive is malformed.
    #[error("it is not a Debian package of format 2")]
    Format,
    /// A member is missing.
    #[error("it has no member `{0}`")]
    Member(&'static str),
    /// A member is compressed in an unknown way.
    #[error("its member `{0}` is compressed in an unknown way")]
    Compression(String),
    /// A path leaves the tree, or cannot be in one.
    #[error("it has an unusable path")]
    Path(#[from] TreeError),
    /// A path is not text.
    #[error("its path `{0}` is not UTF-8")]
    Encoding(String),
    /// An entry is a device or something else that packages have no use for.
    #[error("`{path}` is neither file, directory nor link")]
    Kind {
        /// The entry.
        path: String,
    },
    /// A hard link names a file that the package does not have.
    #[error("`{path}` is a hard link to `{target}`, which is not in the package")]
    HardLink {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// Symbolic links lead in a circle.
    #[error("the links above `{path}` lead nowhere")]
    LinkLoop {
        /// The entry.
        path: String,
    },
    /// It is larger than any package should be.
    #[error("it has more than {limit} entries")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Its control data is not that of the package asked for.
    #[error("it says to be `{found}`")]
    Identity {
        /// Name and version in the control data.
        found: String,
    },
}

impl Error {
    /// Whether the same attempt may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => {
                source.downcast_ref::<HttpError>().is_none_or(HttpError::is_transient)
            }
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// For `map_err` on calls of the file system.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

fn versions(packages: &[(String, String)]) -> String {
    let packages: Vec<_> = packages.iter().map(|(name, version)| format!("`{name}` {version}")).collect();
    packages.join(", ")
}

fn suggest(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("; there is {}", names.join(", "))
}
