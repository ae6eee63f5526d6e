//! `models`: creating models from files, and deleting those that nobody needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::report::{Interrupt, Interrupted};
use crate::store::{self, Bento, CopyError, CreationTime, Home, ModelInfo, copy_tree};
use crate::tag::{self, Tag, TagQuery};
use crate::yaml::Value;

/// A model could not be created or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// The directory to take is none.
    #[error("cannot create model `{name}`: `{}` is not a directory", path.display())]
    NotADirectory {
        /// The name.
        name: String,
        /// The path as given.
        path: PathBuf,
    },
    /// The directory has a file that the store writes itself.
    #[error("cannot create model `{name}`: `{}` has a `model.yaml`, which is the store's own file", path.display())]
    ReservedFile {
        /// The name.
        name: String,
        /// The directory.
        path: PathBuf,
    },
    /// The tag is wrong.
    #[error("cannot name the model")]
    Name(#[from] tag::Error),
    /// Bentos need the model.
    #[error("Model {model} is being used by the following bentos and can't be deleted:{}", Indented(.bentos))]
    InUse {
        /// The model.
        model: Tag,
        /// The bentos.
        bentos: Vec<Tag>,
    },
    /// The description of the model cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] Box<store::Error>),
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

struct Indented<'a>(&'a [Tag]);

impl std::fmt::Display for Indented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|tag| write!(f, "\n  {tag}"))
    }
}

impl From<store::Error> for ModelsError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Copy(CopyError::Interrupted(interrupted)) => interrupted.into(),
            error => Self::Store(Box::new(error)),
        }
    }
}

/// What is to be created.
#[derive(Clone, Debug)]
pub struct CreateSettings {
    /// The name, and the version if it is not to be generated.
    pub tag: TagQuery,
    /// The files.
    pub directory: PathBuf,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// What is to be remembered.
    pub metadata: Vec<(String, Value)>,
}

/// What was created.
#[derive(Clone, Debug, Serialize)]
pub struct Created {
    /// The model.
    pub tag: Tag,
    /// Its directory.
    pub path: PathBuf,
    /// How many files were copied.
    pub files: u64,
    /// Their bytes.
    pub size: u64,
}

/// Copies a directory into the model store.
///
/// The model appears whole, or not at all; it shares nothing with the directory that a later edit
/// could change.
pub fn create(
    settings: &CreateSettings,
    home: &Home,
    now: Timestamp,
    interrupt: &Interrupt,
) -> Result<Created, ModelsError> {
    let name = settings.tag.name();
    let source = &settings.directory;
    if !source.is_dir() {
        return Err(ModelsError::NotADirectory { name: name.to_owned(), path: source.clone() });
    }
    let file_name = store::Kind::Model.file_name();
    if source.join(file_name).exists() {
        return Err(ModelsError::ReservedFile { name: name.to_owned(), path: source.clone() });
    }
    let tag = match settings.tag.version() {
        Some(version) => Tag::new(name, version)?,
        None => Tag::generate(name)?,
    };
    let models = home.models();
    if models.contains(&tag) {
        return Err(store::Error::AlreadyExists { tag, store: models.path() }.into());
    }
    let staging = models.stage(name)?;
    let size = copy_tree(source, staging.path(), interrupt).map_err(store::Error::from)?;
    let mut info = ModelInfo::of_files(tag, CreationTime::new(now));
    info.labels.clone_from(&settings.labels);
    info.metadata = Value::map(settings.metadata.iter().cloned());
    write(&staging.path().join(file_name), &info)?;
    let model = models.register(staging)?;
    Ok(Created { tag: model.info.tag, path: model.path, files: size.files, size: size.bytes })
}

fn write(path: &Path, info: &ModelInfo) -> Result<(), ModelsError> {
    let text = info.to_document().to_yaml();
    fs::write(path, text).map_err(|source| ModelsError::Write { path: path.to_owned(), source })
}

/// The models that bentos need, and the bentos that do not say what they need because they cannot be read.
///
/// A bento that carries its own models needs none of the store.
pub(super) fn used_models(home: &Home) -> Result<(BTreeSet<Tag>, Vec<store::Error>), store::Error> {
    let listing = home.bentos().list(None)?;
    Ok((listing.items.iter().flat_map(needs).collect(), listing.broken))
}

fn needs(bento: &Bento) -> Vec<Tag> {
    if bento.path.join("models").is_dir() {
        return Vec::new();
    }
    let models = bento.info.all_models().into_iter().filter(|model| model.is_in_store());
    models.map(|model| model.tag.clone()).collect()
}

/// Deletes a model that no bento needs; a bento that cannot be read says nothing.
pub fn delete(tag: &Tag, home: &Home) -> Result<(), ModelsError> {
    let listing = home.bentos().list(None)?;
    let users = listing.items.into_iter().filter(|bento| needs(bento).contains(tag));
    let mut bentos: Vec<Tag> = users.map(|bento| bento.info.tag).collect();
    if !bentos.is_empty() {
        bentos.sort();
        return Err(ModelsError::InUse { model: tag.clone(), bentos });
    }
    Ok(home.models().delete(tag)?)
}
