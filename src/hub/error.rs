//! What can go wrong with a hub.

use std::path::PathBuf;

use thiserror::Error;

use super::repository::{Commit, ParseRepositoryError, Repository};
use super::snapshot::ContentId;
use crate::fs::FsError;
use crate::http::{HttpError, StatusCode};
use crate::report::Interrupted;

/// Why a hub does not give something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such repository, or the user may not know of it.
    NoRepository,
    /// Its owners let in only who asked them.
    Gated,
    /// The repository has no such branch, tag or commit.
    NoRevision,
    /// The commit has no such file.
    NoFile,
    /// The token is not valid.
    Token,
    /// Its owners or the hub disabled it.
    Disabled,
}

/// A model cannot be had from a hub.
#[derive(Debug, Error)]
pub enum HubError {
    /// The name of a repository is none.
    #[error(transparent)]
    Name(#[from] ParseRepositoryError),
    /// The name of a branch or tag is none.
    #[error("`{revision}` is no revision of `{repository}`")]
    RevisionName {
        /// The repository.
        repository: Repository,
        /// The name.
        revision: String,
    },
    /// The hub is no URL that can be asked.
    #[error("`{endpoint}` is no hub: it has to begin with `https://` or `http://`")]
    Endpoint {
        /// The hub as given, without what is secret in it.
        endpoint: String,
    },
    /// The hub refuses.
    #[error("{} says no to `{repository}`{}: {message}", .repository.endpoint, Subject(.subject))]
    Refused {
        /// The repository.
        repository: Repository,
        /// What of it was asked for.
        subject: Option<String>,
        /// The reason.
        refusal: Refusal,
        /// What the hub says.
        message: String,
        /// Whether the user's token was sent along.
        with_token: bool,
    },
    /// An answer that means something for a while.
    #[error("`{url}` answers with status {status}{}", Said(.message))]
    Status {
        /// The redacted URL.
        url: String,
        /// The status.
        status: StatusCode,
        /// What the server says.
        message: String,
        /// Seconds after which the server wants to be asked again.
        retry_after: Option<u64>,
    },
    /// An answer is not what hubs answer.
    #[error("`{url}` does not answer as a hub does: {reason}")]
    Answer {
        /// The redacted URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of a repository cannot be put into a directory.
    #[error("`{repository}` has a file `{path}` that cannot be taken: {reason}")]
    Listing {
        /// The repository.
        repository: Repository,
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The request did not get its answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Nothing may be asked of hubs, and what is here does not suffice.
    #[error("`{repository}` at revision `{revision}` is not in `{}`, and nothing may be downloaded", cache.display())]
    Offline {
        /// The repository.
        repository: Repository,
        /// The revision.
        revision: String,
        /// The cache.
        cache: PathBuf,
    },
    /// The bytes that arrived are not those that the hub promised.
    #[error("`{path}` of `{repository}` arrived damaged: it should have been {expected} and is {found}")]
    Damaged {
        /// The repository.
        repository: Repository,
        /// The file.
        path: String,
        /// What the hub promised.
        expected: ContentId,
        /// What arrived.
        found: ContentId,
    },
    /// A file is shorter or longer than the hub promised.
    #[error("`{path}` of `{repository}` has {found} bytes where {expected} were promised")]
    Length {
        /// The repository.
        repository: Repository,
        /// The file.
        path: String,
        /// What the listing says.
        expected: u64,
        /// What the server says.
        found: u64,
    },
    /// A transfer ended before everything was there.
    #[error("`{url}` broke off with {missing} bytes missing")]
    Short {
        /// The redacted URL.
        url: String,
        /// Bytes that are missing of what was asked for.
        missing: u64,
    },
    /// A file did not arrive, however often that was tried.
    #[error("cannot download `{path}` of `{repository}`")]
    Download {
        /// The repository.
        repository: Repository,
        /// The file.
        path: String,
        /// Why.
        source: Box<Self>,
    },
    /// The files do not fit on the disk.
    #[error("`{repository}` at {commit} needs {needed} bytes more in `{}`, which has room for {available}", cache.display())]
    Space {
        /// The repository.
        repository: Repository,
        /// The commit.
        commit: Commit,
        /// Bytes that are missing in the cache.
        needed: u64,
        /// Bytes that there are.
        available: u64,
        /// The cache.
        cache: PathBuf,
    },
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FsError),
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl HubError {
    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Http(error) => error.is_transient(),
            Self::Status { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
            }
            Self::Short { .. } => true,
            Self::Download { source, .. } => source.is_transient(),
            _ => false,
        }
    }
}

/// What of a repository an error is about.
struct Subject<'a>(&'a Option<String>);

impl std::fmt::Display for Subject<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |subject| write!(formatter, " ({subject})"))
    }
}

/// What a server says, if it says something.
struct Said<'a>(&'a str);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.0) }
    }
}
