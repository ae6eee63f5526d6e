//! From an archive into the store.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::ArchivesError;
use super::export::{MODELS, Packable};
use super::place::Place;
use crate::archive::{self, ArchiveError, Input, Limits};
use crate::fs::FsError;
use crate::remote::Remotes;
use crate::report::{Activity, Progress};
use crate::store::{self, Bento, Home, Item, Kind, LONGEST_DESCRIPTION, Model, Staging, tree_size};
use crate::tag::Tag;

/// What was imported.
#[derive(Clone, Debug, Serialize)]
pub struct Imported {
    /// Its tag, which the archive itself says.
    pub tag: Tag,
    /// Where it is in the store.
    pub path: PathBuf,
    /// The models that came with a bento and were not there yet.
    pub models: Vec<Tag>,
}

/// What becomes of an item whose tag the store has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfPresent {
    /// The one in the store stays, and the new one is refused.
    Keep,
    /// The new one takes its place, once it is whole.
    Replace,
}

/// What can come out of an archive: a model or a bento.
pub trait Unpackable: Packable {
    /// Puts what else the staged item carries into the home, once the item itself is known to be good.
    fn settle(&self, place: &str, home: &Home, activity: &Activity) -> Result<Vec<Tag>, ArchivesError>;

    /// Its directory.
    fn path(&self) -> &Path;
}

impl Unpackable for Model {
    fn settle(&self, _: &str, _: &Home, _: &Activity) -> Result<Vec<Tag>, ArchivesError> {
        Ok(Vec::new())
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Unpackable for Bento {
    /// Moves the models into the model store; bentos in the store have none of their own.
    fn settle(&self, place: &str, home: &Home, activity: &Activity) -> Result<Vec<Tag>, ArchivesError> {
        let carried = self.path.join(MODELS);
        let found = carried_models(place, &carried)?;
        let mut added = Vec::new();
        for model in found {
            activity.interrupt.check()?;
            let tag = model.info.tag.clone();
            if move_model(&model, home)? {
                added.push(tag);
            } else {
                let warning = format!("Model {tag} already exists in the global model store, skipping copy.");
                activity.report.warn(&warning);
            }
        }
        if carried.is_dir() {
            fs::remove_dir_all(&carried).map_err(FsError::of("remove", &carried))?;
        }
        Ok(added)
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// The models below `models/`, every one of them good.
fn carried_models(place: &str, carried: &Path) -> Result<Vec<Model>, ArchivesError> {
    match carried.symlink_metadata() {
        Err(_) => return Ok(Vec::new()),
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(ArchivesError::NoModelStore { place: place.to_owned() }),
    }
    let mut models = Vec::new();
    for name in directories(carried)? {
        for version in directories(&name)? {
            check_description(place, &version, Kind::Model)?;
            let usable = Model::load(&version);
            let model = usable.map_err(|source| ArchivesError::Item {
                place: place.to_owned(),
                kind: Kind::Model,
                source,
            })?;
            let tag = &model.info.tag;
            if version != carried.join(tag.name()).join(tag.version()) {
                return Err(ArchivesError::MisplacedModel {
                    place: place.to_owned(),
                    directory: version.strip_prefix(carried).unwrap_or(&version).display().to_string(),
                    found: tag.clone(),
                });
            }
            // What led to a place inside the bento may lead out of the model.
            archive::check_links(&version).map_err(|error| refused(place, error))?;
            models.push(model);
        }
    }
    Ok(models)
}

fn directories(path: &Path) -> Result<Vec<PathBuf>, FsError> {
    let mut directories = Vec::new();
    for entry in fs::read_dir(path).map_err(FsError::of("read", path))? {
        let entry = entry.map_err(FsError::of("read", path))?;
        if entry.file_type().map_err(FsError::of("read", path))?.is_dir() {
            directories.push(entry.path());
        }
    }
    directories.sort();
    Ok(directories)
}

/// Whether the model was not there yet.
fn move_model(model: &Model, home: &Home) -> Result<bool, ArchivesError> {
    let models = home.models();
    if models.contains(&model.info.tag) {
        return Ok(false);
    }
    let staging = models.stage(model.info.tag.name())?;
    let target = staging.path();
    // A directory may take the place of an empty one.
    fs::rename(&model.path, target).map_err(FsError::of("write", target))?;
    match models.register(staging) {
        Ok(_) => Ok(true),
        // Somebody else was faster.
        Err(store::Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Unpacks an archive and puts what it holds into the store, whole or not at all; `standard` is what `-` means.
pub fn import<I: Unpackable>(
    typed: &str,
    home: &Home,
    remotes: &Remotes,
    standard: Box<dyn Read + Send>,
    activity: &Activity,
) -> Result<Imported, ArchivesError> {
    let place = Place::parse(typed)?;
    let typed = &place.to_string();
    let (input, size) = open(place, remotes, standard)?;
    let store = I::store(home);
    let staging = store.stage("import")?;
    let progress = activity.report.task(&format!("importing {typed}"), size);
    unpack_into(typed, input, &staging, &*progress, (home, activity))?;
    drop(progress);
    settle::<I>(typed, staging, home, IfPresent::Keep, activity)
}

/// Puts what was unpacked into the store, with what else it carries; `place` says where it is from.
pub fn settle<I: Unpackable>(
    place: &str,
    staging: Staging,
    home: &Home,
    if_present: IfPresent,
    activity: &Activity,
) -> Result<Imported, ArchivesError> {
    let store = I::store(home);
    let item = load::<I>(place, &staging)?;
    if if_present == IfPresent::Keep && store.contains(item.tag()) {
        return Err(store::Error::AlreadyExists { tag: item.tag().clone(), store: store.path() }.into());
    }
    let models = item.settle(place, home, activity)?;
    activity.interrupt.check()?;
    let item = match if_present {
        IfPresent::Keep => store.register(staging)?,
        IfPresent::Replace => store.replace(staging)?,
    };
    Ok(Imported { tag: item.tag().clone(), path: item.path().to_owned(), models })
}

/// Unpacks an archive into a staging directory and reads the item that it holds; `place` is what errors call it.
pub(in crate::ops) fn unpack_item<I: Item>(
    place: &str,
    input: Input,
    staging: &Staging,
    progress: &dyn Progress,
    (home, activity): (&Home, &Activity),
) -> Result<I, ArchivesError> {
    unpack_into(place, input, staging, progress, (home, activity))?;
    load(place, staging)
}

fn unpack_into(
    place: &str,
    input: Input,
    staging: &Staging,
    progress: &dyn Progress,
    (home, activity): (&Home, &Activity),
) -> Result<(), ArchivesError> {
    let limits = Limits::of_disk(staging.path()).map_err(|error| refused(place, error))?;
    let scratch = home.scratch();
    archive::unpack(input, staging.path(), limits, &scratch, progress, &activity.interrupt)
        .map_err(|error| refused(place, error))?;
    Ok(())
}

fn refused(place: &str, error: ArchiveError) -> ArchivesError {
    match error {
        ArchiveError::Interrupted(interrupted) => interrupted.into(),
        source => ArchivesError::Import { place: place.to_owned(), source },
    }
}

/// The archive, and its size if that is known.
fn open(
    place: Place,
    remotes: &Remotes,
    standard: Box<dyn Read + Send>,
) -> Result<(Input, Option<u64>), ArchivesError> {
    let shown = place.to_string();
    let failed = |source: io::Error| ArchivesError::Open { place: shown.clone(), source };
    match place {
        Place::Standard => Ok((Input::Stream(standard), None)),
        Place::Remote(location) => {
            let reader = remotes.read(&location)?;
            let size = reader.size;
            Ok((Input::Stream(Box::new(reader)), size))
        }
        Place::Local(path) => {
            let metadata = fs::metadata(&path).map_err(failed)?;
            if metadata.is_dir() {
                let size = tree_size(&path).map_err(store::Error::from)?;
                return Ok((Input::Directory(path), Some(size.bytes)));
            }
            let file = File::open(&path).map_err(failed)?;
            if metadata.is_file() {
                Ok((Input::File(file), Some(metadata.len())))
            } else {
                Ok((Input::Stream(Box::new(file)), None))
            }
        }
    }
}

/// The item that was unpacked, if it is one of the kind that was asked for.
fn load<I: Item>(place: &str, staging: &Staging) -> Result<I, ArchivesError> {
    let wanted = I::KIND;
    let is_there = |kind: Kind| staging.path().join(kind.file_name()).symlink_metadata().is_ok();
    let found = match wanted {
        Kind::Model => Kind::Bento,
        Kind::Bento => Kind::Model,
    };
    let place = place.to_owned();
    if !is_there(wanted) {
        return Err(if is_there(found) {
            ArchivesError::WrongKind { place, wanted, found }
        } else {
            ArchivesError::NoItem { place, wanted }
        });
    }
    check_description(&place, staging.path(), wanted)?;
    I::load(staging.path()).map_err(|source| ArchivesError::Item { place, kind: wanted, source })
}

/// Refuses a description that is no file, or one that memory should not be filled with; one that is not there is for
/// the reader to refuse.
fn check_description(place: &str, item: &Path, kind: Kind) -> Result<(), ArchivesError> {
    match item.join(kind.file_name()).symlink_metadata() {
        Ok(metadata) if !metadata.is_file() || metadata.len() > LONGEST_DESCRIPTION => {
            let (place, limit) = (place.to_owned(), LONGEST_DESCRIPTION);
            Err(ArchivesError::NotADescription { place, wanted: kind, limit })
        }
        _ => Ok(()),
    }
}
