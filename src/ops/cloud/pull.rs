//! Items of a server, put into the store.

use std::fs::File;
use std::path::Path;

use super::error::ExchangeError;
use super::{Outcome, Remote, Tell, Transferred, word};
use crate::archive::Input;
use crate::bentofile;
use crate::cloud::{CloudError, Download, Fetched, ItemPath, RemoteItem};
use crate::fs::FsError;
use crate::hub::Examine;
use crate::ops::archives::{Unpackable, unpack_item};
use crate::ops::hub::{self, HubAccessError};
use crate::store::{self, Bento, CreationTime, Home, Item, Kind, Model, PinnedModel};
use crate::tag::{Tag, TagQuery};

/// How to pull.
#[derive(Clone, Copy, Debug, Default)]
pub struct PullSettings {
    /// Whether what the store has is fetched again, and replaced.
    pub force: bool,
    /// Whether a bento's models come along.
    pub with_models: bool,
}

/// The models that a build file names, each with the query for its newest version.
pub fn declared_models(
    directory: &Path,
    file: Option<&Path>,
) -> Result<Vec<bentofile::Model>, ExchangeError> {
    let loaded = bentofile::load(directory, file)?;
    if loaded.path.is_none() {
        return Err(ExchangeError::NoBentofile);
    }
    if loaded.bentofile.models.is_empty() {
        return Err(ExchangeError::NoModels);
    }
    Ok(loaded.bentofile.models)
}

/// Fetches a model: one version, or the newest that fits a query. What the store has stays until the new is whole.
pub async fn pull_model(
    remote: &Remote,
    wanted: &TagQuery,
    filter: Option<&str>,
    settings: PullSettings,
    tell: Tell<'_>,
) -> Result<(), ExchangeError> {
    let pulling = async {
        let pulled = match wanted.version().filter(|_| !wanted.wants_latest()) {
            Some(version) => {
                if filter.is_some() {
                    let message =
                        format!("the filter of model {wanted} is ignored, because it has a version");
                    remote.activity.report.warn(&message);
                }
                pull_model_version(remote, &Tag::new(wanted.name(), version)?, settings).await
            }
            None => pull_newest_model(remote, wanted, filter, settings).await,
        };
        pulled.map(|pulled| tell(&pulled))
    };
    remote.activity.interrupt.guard(pulling).await?
}

async fn pull_model_version(
    remote: &Remote,
    tag: &Tag,
    settings: PullSettings,
) -> Result<Transferred, ExchangeError> {
    if !settings.force
        && let Some(present) = present::<Model>(&remote.home, tag)
    {
        return Ok(present);
    }
    let item = ItemPath::new(Kind::Model, tag);
    let found = remote.client.item(&item).await?;
    let found = found.ok_or_else(|| ExchangeError::NotThere { kind: Kind::Model, tag: tag.to_string() })?;
    fetch::<Model>(remote, tag, &found, settings.force).await
}

async fn pull_newest_model(
    remote: &Remote,
    wanted: &TagQuery,
    filter: Option<&str>,
    settings: PullSettings,
) -> Result<Transferred, ExchangeError> {
    let found = remote.client.latest_model(wanted.name(), filter).await?;
    let found = found.ok_or_else(|| ExchangeError::NoneThere { tag: wanted.to_string() })?;
    let tag = Tag::new(wanted.name(), &found.version)?;
    if settings.force {
        return fetch::<Model>(remote, &tag, &found, true).await;
    }
    let is_older = |here: &CreationTime| found.build_at().is_some_and(|there| there < *here);
    if let Ok(here) = remote.home.models().get(&TagQuery::newest(wanted.name())?)
        && is_older(here.creation_time())
    {
        let transferred = Transferred::new(Kind::Model, here.info.tag, Outcome::NewerHere);
        return Ok(Transferred { path: Some(here.path), ..transferred });
    }
    match present::<Model>(&remote.home, &tag) {
        Some(present) => Ok(present),
        None => fetch::<Model>(remote, &tag, &found, false).await,
    }
}

/// Fetches a bento, and its models if they are wanted too.
pub async fn pull_bento(
    remote: &Remote,
    wanted: &TagQuery,
    settings: PullSettings,
    tell: Tell<'_>,
) -> Result<(), ExchangeError> {
    let pulling = async {
        let pulled = pull_bento_alone(remote, wanted, settings).await?;
        tell(&pulled);
        if settings.with_models {
            let bento = remote.home.bentos().get(&pulled.tag.into())?;
            pull_models_of(remote, &bento, tell).await?;
        }
        Ok(())
    };
    remote.activity.interrupt.guard(pulling).await?
}

async fn pull_bento_alone(
    remote: &Remote,
    wanted: &TagQuery,
    settings: PullSettings,
) -> Result<Transferred, ExchangeError> {
    let version = wanted.version().ok_or_else(|| ExchangeError::NoVersion { tag: wanted.to_string() })?;
    let here = |version: &str| {
        let tag = Tag::new(wanted.name(), version).ok().filter(|_| !settings.force)?;
        present::<Bento>(&remote.home, &tag)
    };
    if let Some(present) = here(version) {
        return Ok(present);
    }
    // What `latest` means is the server's matter.
    let item = ItemPath { kind: Kind::Bento, name: wanted.name().to_owned(), version: version.to_owned() };
    let found = remote.client.item(&item).await?;
    let found =
        found.ok_or_else(|| ExchangeError::NotThere { kind: Kind::Bento, tag: wanted.to_string() })?;
    if let Some(present) = here(&found.version) {
        return Ok(present);
    }
    let tag = Tag::new(wanted.name(), &found.version)?;
    fetch::<Bento>(remote, &tag, &found, settings.force).await
}

async fn pull_models_of(remote: &Remote, bento: &Bento, tell: Tell<'_>) -> Result<(), ExchangeError> {
    for model in bento.info.all_models() {
        if model.is_in_store() {
            tell(&pull_model_version(remote, &model.tag, PullSettings::default()).await?);
        } else {
            tell(&pull_hub_model(remote, model).await?);
        }
    }
    Ok(())
}

/// Brings a model of a hub into the cache that it is served from.
async fn pull_hub_model(remote: &Remote, model: &PinnedModel) -> Result<Transferred, ExchangeError> {
    let wanted = hub::wanted(model)?;
    let refused = |source| ExchangeError::HubModel { tag: model.tag.clone(), source: Box::new(source) };
    let hub = remote.hub.as_ref().ok_or(HubAccessError::NoCache)?;
    let snapshot = hub.resolve(&wanted).await.map_err(refused)?;
    let outcome = if hub.missing(&snapshot) == 0 { Outcome::PresentHere } else { Outcome::Pulled };
    let fetched = hub.fetch(&snapshot, &|_| Examine::Nothing).await.map_err(refused)?;
    let transferred = Transferred::new(Kind::Model, model.tag.clone(), outcome);
    Ok(Transferred { path: Some(fetched.path), ..transferred })
}

/// The item of the store with a tag, as an outcome.
fn present<I: Unpackable>(home: &Home, tag: &Tag) -> Option<Transferred> {
    let store = I::store(home);
    store.contains(tag).then(|| {
        let path = Some(store.item_path(tag));
        Transferred { path, ..Transferred::new(I::KIND, tag.clone(), Outcome::PresentHere) }
    })
}

/// Fetches the contents of an item and puts them into the store, whole or not at all.
async fn fetch<I: Unpackable>(
    remote: &Remote,
    tag: &Tag,
    found: &RemoteItem,
    force: bool,
) -> Result<Transferred, ExchangeError> {
    if found.is_linked() {
        return Ok(Transferred::new(I::KIND, tag.clone(), Outcome::NoContent));
    }
    let report = &remote.activity.report;
    let download = Download {
        client: &remote.client,
        item: &ItemPath::new(I::KIND, tag),
        label: format!("Downloading {} \"{tag}\"", word(I::KIND)),
        report: report.clone(),
    };
    let failed =
        |source| ExchangeError::Download { kind: I::KIND, tag: tag.clone(), source: Box::new(source) };
    let fetched = download.run(found).await.map_err(failed)?;
    report.stage(&match I::KIND {
        Kind::Model => format!("Finished downloading model \"{tag}\" files"),
        Kind::Bento => format!("Finished downloading all bento \"{tag}\" files"),
    });
    let stored = store::<I>(remote, tag, &fetched, force);
    match stored {
        // What was fetched is right, and will be wanted again.
        Err(ExchangeError::Interrupted(_) | ExchangeError::Store(_)) => {}
        _ => fetched.discard(),
    }
    stored
}

/// Unpacks what was fetched beside the store, looks at it, and gives it its place.
fn store<I: Unpackable>(
    remote: &Remote,
    tag: &Tag,
    fetched: &Fetched,
    force: bool,
) -> Result<Transferred, ExchangeError> {
    let store = I::store(&remote.home);
    let staging = store.stage(tag.name())?;
    let file = File::open(fetched.path()).map_err(FsError::of("open", fetched.path()));
    let input = Input::File(file.map_err(CloudError::from)?);
    let place = format!("{tag} of {}", remote.client.endpoint());
    let silent = crate::report::Silent;
    let item = unpack_item::<I>(&place, input, &staging, &silent, (&remote.home, &remote.activity))?;
    if item.tag() != tag {
        return Err(ExchangeError::OtherItem { wanted: tag.clone(), found: item.tag().clone() });
    }
    remote.activity.interrupt.check()?;
    let placed = if force { store.replace(staging) } else { store.register(staging) };
    let outcome = match placed {
        Ok(_) => Outcome::Pulled,
        // Somebody else was faster, with the same.
        Err(store::Error::AlreadyExists { .. }) => Outcome::PresentHere,
        Err(error) => return Err(error.into()),
    };
    let path = Some(store.item_path(tag));
    Ok(Transferred { path, ..Transferred::new(I::KIND, tag.clone(), outcome) })
}
