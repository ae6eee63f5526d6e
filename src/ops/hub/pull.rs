//! `models pull hf://…`: a model brought into the cache before anything needs it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

use super::HubAccessError;
use crate::hub::{Examine, HubError, ParseRepositoryError, Patterns, Repository, RepositoryId, Wanted};
use crate::ops::Context;
use crate::ops::containerize::{ContainerizeError, lock_layers};

/// What such names begin with.
pub const SCHEME: &str = "hf://";

/// A model of a hub as people type it: `hf://organisation/name`, with `@` and a branch, tag or commit if it is not
/// `main`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubName {
    /// The repository.
    pub id: RepositoryId,
    /// The branch, tag or commit.
    pub revision: String,
}

impl fmt::Display for HubName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{SCHEME}{}@{}", self.id, self.revision)
    }
}

impl FromStr for HubName {
    type Err = ParseRepositoryError;

    fn from_str(text: &str) -> Result<Self, ParseRepositoryError> {
        let name = text.strip_prefix(SCHEME).unwrap_or(text);
        let (id, revision) = name.split_once('@').unwrap_or((name, "main"));
        Ok(Self { id: id.parse()?, revision: revision.to_owned() })
    }
}

/// A model cannot be brought.
#[derive(Debug, Error)]
pub enum HubPullError {
    /// There is no way to the hub.
    #[error(transparent)]
    Access(#[from] HubAccessError),
    /// The hub does not give it.
    #[error("cannot pull `{name}`")]
    Hub {
        /// What was asked for.
        name: HubName,
        /// Why.
        source: HubError,
    },
    /// The layers that it will become cannot be remembered.
    #[error(transparent)]
    Layers(Box<ContainerizeError>),
}

/// What was brought.
#[derive(Clone, Debug, Serialize)]
pub struct Pulled {
    /// The repository, as the hub writes its name.
    pub repository: String,
    /// What was asked for.
    pub revision: String,
    /// The commit that it means.
    pub commit: String,
    /// The directory with the files.
    pub path: PathBuf,
    /// How many files there are.
    pub files: usize,
    /// Their bytes.
    pub size: u64,
    /// Bytes of them that were not here before.
    pub downloaded: u64,
}

/// Brings a model into the cache that the hub's own client has. The digests of the layers that it will become in an image
/// are computed on the way, so that it need not be read again for them.
pub fn pull(name: &HubName, patterns: Patterns, context: &Context) -> Result<Pulled, HubPullError> {
    let hub = context.hub()?;
    let repository = Repository { endpoint: hub.settings().endpoint.clone(), id: name.id.clone() };
    let wanted = Wanted { repository, revision: name.revision.clone(), patterns };
    context.report.stage(&format!("Looking for {}@{}", name.id, name.revision));
    let refused = |source| HubPullError::Hub { name: name.clone(), source };
    let snapshot = context.runtime.block_on(hub.resolve(&wanted)).map_err(refused)?;
    let downloaded = hub.missing(&snapshot);
    if snapshot.files.is_empty() {
        context.report.warn(&format!("nothing is wanted of `{}`: the patterns fit no file", name.id));
    }
    lock_layers(&hub, vec![snapshot.clone()], context).map_err(|error| match error {
        ContainerizeError::HubContents { source, .. } => refused(source),
        error => HubPullError::Layers(Box::new(error)),
    })?;
    // Layers that were known took no contents.
    let fetched = context.runtime.block_on(hub.fetch(&snapshot, &|_| Examine::Nothing)).map_err(refused)?;
    hub.remember(&snapshot, &name.revision).map_err(refused)?;
    Ok(Pulled {
        repository: snapshot.repository.id.to_string(),
        revision: name.revision.clone(),
        commit: snapshot.commit.to_string(),
        path: fetched.path,
        files: snapshot.files.len(),
        size: snapshot.size(),
        downloaded,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_a_revision() {
        let name = |text: &str| text.parse::<HubName>().map(|name| (name.id.to_string(), name.revision));
        assert_eq!(name("hf://org/name").unwrap(), ("org/name".to_owned(), "main".to_owned()));
        assert_eq!(name("hf://gpt2@refs/pr/1").unwrap(), ("gpt2".to_owned(), "refs/pr/1".to_owned()));
        assert!(name("hf://a/b/c").is_err() && name("hf://").is_err());
    }
}
