//! `models gc --hf`: commits in the cache of the hub's own client that nobody needs any more.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;

use super::{HubAccessError, wanted};
use crate::fs::FsError;
use crate::hub::{CachedRepository, CachedRevision, HubCache, HubSettings, RepositoryId};
use crate::ops::Context;
use crate::ops::gc::GcSettings;
use crate::store::{self, Home};

/// The cache cannot be tidied.
#[derive(Debug, Error)]
pub enum HubPruneError {
    /// Nothing says where the cache is.
    #[error(transparent)]
    Access(#[from] HubAccessError),
    /// The bentos cannot be listed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FsError),
}

/// A commit in the cache, as lists show it.
#[derive(Clone, Debug, Serialize)]
pub struct HubItem {
    /// The repository.
    pub repository: RepositoryId,
    /// The commit.
    pub commit: String,
    /// Branches and tags that mean it.
    pub references: Vec<String>,
    /// How many files of it are here.
    pub files: usize,
    /// Their bytes; those that another commit has too are counted there as well.
    pub size: u64,
    /// When the last of them came.
    pub modified: Timestamp,
    /// The directory.
    pub path: PathBuf,
    #[serde(skip)]
    revision: CachedRevision,
}

/// What may go.
#[derive(Debug)]
pub struct HubPlan {
    /// The commits, by repository and age.
    pub garbage: Vec<HubItem>,
    /// Bentos that cannot be read: they could need any commit, so that nothing goes while there is one.
    pub broken: Vec<store::Error>,
}

/// Everything in the cache, or what is there of one repository.
pub fn list(id: Option<&RepositoryId>, context: &Context) -> Result<Vec<HubItem>, HubPruneError> {
    let repositories = cache(context)?.list()?;
    let is_meant = |repository: &CachedRepository| {
        id.is_none_or(|id| id.as_str().eq_ignore_ascii_case(repository.id.as_str()))
    };
    Ok(repositories.into_iter().filter(is_meant).flat_map(items).collect())
}

/// Finds what may go: what fits all that is set, and no bento needs.
pub fn plan(settings: &GcSettings, context: &Context, now: Timestamp) -> Result<HubPlan, HubPruneError> {
    let bentos = Home::open(&context.home)?.bentos().list(None)?;
    if settings.is_empty() || !bentos.broken.is_empty() {
        return Ok(HubPlan { garbage: Vec::new(), broken: bentos.broken });
    }
    let models = bentos.items.iter().flat_map(|bento| bento.info.all_models());
    let used: BTreeSet<String> = models.filter_map(|model| Some(wanted(model).ok()?.revision)).collect();
    let mut garbage = Vec::new();
    for repository in cache(context)?.list()? {
        let mut revisions = items(repository);
        revisions.sort_by_key(|item| std::cmp::Reverse(item.modified));
        let old = revisions.into_iter().skip(settings.keep.unwrap_or_default());
        let is_old = |item: &HubItem| {
            settings.older_than.is_none_or(|least| now.duration_since(item.modified) >= least.duration())
        };
        garbage.extend(old.filter(|item| is_old(item) && !used.contains(&item.commit)));
    }
    Ok(HubPlan { garbage, broken: Vec::new() })
}

/// Removes a commit, and gives the bytes that became free.
pub fn remove(item: &HubItem, context: &Context) -> Result<u64, HubPruneError> {
    Ok(cache(context)?.remove(&item.repository, &item.revision)?)
}

fn cache(context: &Context) -> Result<HubCache, HubAccessError> {
    let settings = HubSettings::of(&context.environment).ok_or(HubAccessError::NoCache)?;
    Ok(HubCache::new(settings.cache))
}

fn items(repository: CachedRepository) -> Vec<HubItem> {
    let CachedRepository { id, revisions } = repository;
    let item = |revision: CachedRevision| HubItem {
        repository: id.clone(),
        commit: revision.commit.to_string(),
        references: revision.references.clone(),
        files: revision.files,
        size: revision.size,
        modified: Timestamp::try_from(revision.modified).unwrap_or(Timestamp::UNIX_EPOCH),
        path: revision.path.clone(),
        revision,
    };
    revisions.into_iter().map(item).collect()
}
