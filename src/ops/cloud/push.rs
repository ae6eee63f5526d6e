//! Items of the store, sent to a server.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::Value as Json;

use super::error::ExchangeError;
use super::{Outcome, Remote, Tell, Transferred, linked, word};
use crate::archive::{ArchiveError, Contents, LinksOut};
use crate::cloud::{self, ItemPath, RemoteItem, Tarball, Upload};
use crate::fs::FsError;
use crate::report::Interrupt;
use crate::store::{self, Bento, CopyError, Item, Kind, Model, PinnedModel, Store, tree_size};
use crate::tag::{Tag, TagQuery};

/// Models of a bento that travel at the same time; each may travel in many parts.
const PARALLEL_MODELS: usize = 4;
/// Largest README that a server takes: its requests end at 4 MiB, and there is more in them (1.4.39 has the same limit).
const MAX_README: u64 = 3 << 20;
/// What stands in a bento only while it is on its way in an archive.
const CARRIED_MODELS: &str = "models";

/// How to push.
#[derive(Clone, Copy, Debug)]
pub struct PushSettings {
    /// Whether what the server has is sent again.
    pub force: bool,
    /// Most parts of an item that travel at the same time.
    pub threads: usize,
}

/// What a server is told of an item.
struct Announcement {
    create: Json,
    /// What changes of an item that the server knows already; models never change.
    update: Option<Json>,
}

/// Sends a model of the store.
pub async fn push_model(
    remote: &Remote,
    query: &TagQuery,
    settings: PushSettings,
    tell: Tell<'_>,
) -> Result<(), ExchangeError> {
    let model = find(&remote.home.models(), query)?;
    let pushing = push_stored_model(remote, &model, settings, tell);
    remote.activity.interrupt.guard(pushing).await?
}

/// Sends a bento of the store; its models, as far as they are in the store too, go first.
pub async fn push_bento(
    remote: &Remote,
    query: &TagQuery,
    settings: PushSettings,
    tell: Tell<'_>,
) -> Result<(), ExchangeError> {
    let bento = find(&remote.home.bentos(), query)?;
    let pushing = async {
        push_models_of(remote, &bento, settings, tell).await?;
        let (readme, size) = (readme(remote, &bento)?, size_with_models(remote, &bento)?);
        let announcement = Announcement {
            create: cloud::bento_body(&bento, &readme, size),
            update: Some(cloud::bento_update(&bento, &readme, size)),
        };
        let sent = push(remote, (&bento.path, &bento.info.tag), Kind::Bento, &announcement, settings).await?;
        tell(&sent);
        Ok(())
    };
    remote.activity.interrupt.guard(pushing).await?
}

fn find<I: Item>(store: &Store<I>, query: &TagQuery) -> Result<I, ExchangeError> {
    store.get(query).map_err(|error| match error {
        error @ (store::Error::NotFound { .. } | store::Error::NameNotFound { .. }) => {
            ExchangeError::NotHere { kind: I::KIND, tag: query.to_string(), source: Box::new(error) }
        }
        error => error.into(),
    })
}

async fn push_models_of(
    remote: &Remote,
    bento: &Bento,
    settings: PushSettings,
    tell: Tell<'_>,
) -> Result<(), ExchangeError> {
    let models = bento.info.all_models();
    let push = |model| push_pinned(remote, bento, model, settings, tell);
    let pushing = futures_util::stream::iter(models).map(push).buffer_unordered(PARALLEL_MODELS);
    pushing.try_collect().await
}

async fn push_pinned(
    remote: &Remote,
    bento: &Bento,
    pinned: &PinnedModel,
    settings: PushSettings,
    tell: Tell<'_>,
) -> Result<(), ExchangeError> {
    let models = remote.home.models();
    if pinned.is_in_store() {
        if !models.contains(&pinned.tag) {
            // The server may have it from somebody else; the bento is of use to those who have the model.
            let message = format!("Bento: {}: Missing model {}", bento.info.tag, pinned.tag);
            remote.activity.report.warn(&message);
            return Ok(());
        }
        let model = models.get(&pinned.tag.clone().into())?;
        return push_stored_model(remote, &model, settings, tell).await;
    }
    let size = linked::size(remote, pinned).await;
    let create = cloud::linked_model_body(pinned, &bento.info.bentoml_version, size);
    let item = ItemPath::new(Kind::Model, &pinned.tag);
    let announcement = Announcement { create, update: None };
    let announced = announce(remote, &item, &announcement, settings.force).await?;
    let outcome = announced.map_or(Outcome::PresentThere, |_| Outcome::Registered);
    tell(&Transferred::new(Kind::Model, pinned.tag.clone(), outcome));
    Ok(())
}

async fn push_stored_model(
    remote: &Remote,
    model: &Model,
    settings: PushSettings,
    tell: Tell<'_>,
) -> Result<(), ExchangeError> {
    let announcement = Announcement { create: cloud::model_body(model, size_of(&model.path)?), update: None };
    let sent = push(remote, (&model.path, &model.info.tag), Kind::Model, &announcement, settings).await?;
    tell(&sent);
    Ok(())
}

/// Announces an item and sends its contents.
async fn push(
    remote: &Remote,
    (path, tag): (&Path, &Tag),
    kind: Kind,
    announcement: &Announcement,
    settings: PushSettings,
) -> Result<Transferred, ExchangeError> {
    let item = ItemPath::new(kind, tag);
    let failed = |source| ExchangeError::Upload { kind, tag: tag.clone(), source: Box::new(source) };
    let mut transferred = Transferred::new(kind, tag.clone(), Outcome::PresentThere);
    if let Some(announced) = announce(remote, &item, announcement, settings.force).await? {
        let contents = contents(path, kind, &remote.activity.interrupt);
        let contents = contents.map_err(|error| ExchangeError::of_contents(kind, tag, error))?;
        let tarball = Tarball::new(&contents).map_err(failed)?;
        let label = format!("Uploading {} \"{tag}\"", word(kind));
        let upload = Upload {
            client: &remote.client,
            item: &item,
            tarball: &tarball,
            threads: settings.threads,
            progress: Arc::from(remote.activity.report.task(&label, Some(tarball.size()))),
        };
        transferred.route = Some(upload.run(&announced).await.map_err(failed)?);
        transferred.outcome = Outcome::Pushed;
    }
    Ok(transferred)
}

/// What of an item's directory is sent. A link that leads out of it becomes the file that it leads to.
fn contents(path: &Path, kind: Kind, interrupt: &Interrupt) -> Result<Contents, ArchiveError> {
    let mut contents = Contents::of_directory(path, LinksOut::Followed, interrupt)?;
    if kind == Kind::Bento {
        contents.remove(CARRIED_MODELS);
    }
    Ok(contents)
}

/// Has the server know an item; gives nothing where it has its contents already, and they are not to be sent again.
async fn announce(
    remote: &Remote,
    item: &ItemPath,
    announcement: &Announcement,
    force: bool,
) -> Result<Option<RemoteItem>, ExchangeError> {
    let client = &remote.client;
    client.ensure_repository(item.kind, &item.name).await?;
    Ok(match (client.item(item).await?, &announcement.update) {
        (Some(known), _) if known.is_uploaded() && !force => None,
        (Some(_), Some(update)) => Some(client.update_item(item, update).await?),
        (Some(known), None) => Some(known),
        (None, _) => Some(client.create_item(item, &announcement.create).await?),
    })
}

fn readme(remote: &Remote, bento: &Bento) -> Result<String, ExchangeError> {
    let path = bento.path.join("README.md");
    let read = |source: io::Error| cloud::CloudError::File(FsError::of("read", &path)(source));
    let size = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        metadata => metadata.map_err(read)?.len(),
    };
    if size > MAX_README {
        let message = format!("Bento README is too large ({size} bytes > 3MB), skipping upload...");
        remote.activity.report.warn(&message);
        return Ok(String::new());
    }
    let bytes = fs::read(&path).map_err(read)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The size of a bento and of those of its models that are in the store.
fn size_with_models(remote: &Remote, bento: &Bento) -> Result<u64, ExchangeError> {
    let mut size = size_of(&bento.path)?;
    let models = remote.home.models();
    for model in bento.info.all_models().into_iter().filter(|model| model.is_in_store()) {
        if models.contains(&model.tag) {
            size += size_of(&models.item_path(&model.tag))?;
        }
    }
    Ok(size)
}

fn size_of(path: &Path) -> Result<u64, ExchangeError> {
    let size = tree_size(path).map_err(|error: CopyError| store::Error::from(error))?;
    Ok(size.bytes)
}
