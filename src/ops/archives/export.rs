//! From the store to an archive.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::ArchivesError;
use super::place::{Place, target_name};
use crate::archive::{self, ArchiveError, Contents, Format, LinksOut};
use crate::fs::{StagedDirectory, StagedFile};
use crate::remote::Remotes;
use crate::report::{Activity, Interrupt};
use crate::store::{Bento, Home, Item, Model, Store};
use crate::tag::{LATEST, Tag, TagQuery};

/// Where a bento's archive has its models.
pub(super) const MODELS: &str = "models";

/// How something is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportForm {
    /// `.bentomodel` or `.bento`: a tar in xz.
    Native,
    /// An archive of another form.
    Archive(Format),
    /// A directory.
    Folder,
}

impl ExportForm {
    fn format(self) -> Option<Format> {
        match self {
            Self::Native => Some(Format::Xz),
            Self::Archive(format) => Some(format),
            Self::Folder => None,
        }
    }
}

/// What is to be exported.
#[derive(Clone, Debug)]
pub struct ExportSettings {
    /// The model or bento.
    pub tag: TagQuery,
    /// Where to, as typed: a file, a directory, `-`, or nothing for the current directory.
    pub to: String,
    /// The form, if the name is not to decide.
    pub form: Option<ExportForm>,
}

/// What was exported.
#[derive(Clone, Debug, Serialize)]
pub struct Exported {
    /// The exact tag.
    pub tag: Tag,
    /// Where it is: an absolute path, `-`, or the path on another machine.
    pub path: String,
}

/// What can be packed: a model or a bento.
pub trait Packable: Item {
    /// Its store.
    fn store(home: &Home) -> Store<Self>;

    /// Everything that the archive is to have.
    fn contents(&self, home: &Home, interrupt: &Interrupt) -> Result<Contents, ArchivesError>;
}

impl Packable for Model {
    fn store(home: &Home) -> Store<Self> {
        home.models()
    }

    fn contents(&self, _: &Home, interrupt: &Interrupt) -> Result<Contents, ArchivesError> {
        read(&self.info.tag, &self.path, interrupt)
    }
}

impl Packable for Bento {
    fn store(home: &Home) -> Store<Self> {
        home.bentos()
    }

    /// The bento with its models below `models/`, which is put together here and not in the store.
    fn contents(&self, home: &Home, interrupt: &Interrupt) -> Result<Contents, ArchivesError> {
        let mut contents = read(&self.info.tag, &self.path, interrupt)?;
        if contents.contains(MODELS) {
            return Ok(contents);
        }
        contents.add_directory(MODELS);
        let models = home.models();
        let mut newest: BTreeMap<String, Model> = BTreeMap::new();
        for pinned in self.info.all_models().into_iter().filter(|model| model.is_in_store()) {
            let tag = &pinned.tag;
            if !models.contains(tag) {
                return Err(ArchivesError::MissingModel { bento: self.info.tag.clone(), model: tag.clone() });
            }
            let model = models.get(&tag.clone().into())?;
            contents.add_directory(&format!("{MODELS}/{}", tag.name()));
            let files = read(tag, &model.path, interrupt)?;
            contents.add(&format!("{MODELS}/{}/{}", tag.name(), tag.version()), files);
            let known = newest.get(tag.name()).map(|known| &known.info.creation_time);
            if known.is_none_or(|known| model.info.creation_time >= *known) {
                newest.insert(tag.name().to_owned(), model);
            }
        }
        for (name, model) in newest {
            contents.add_file(&format!("{MODELS}/{name}/{LATEST}"), model.info.tag.version());
        }
        Ok(contents)
    }
}

fn read(tag: &Tag, path: &Path, interrupt: &Interrupt) -> Result<Contents, ArchivesError> {
    let place = path.display().to_string();
    Contents::of_directory(path, LinksOut::Followed, interrupt).map_err(|error| failed(tag, place, error))
}

fn failed(tag: &Tag, place: String, error: ArchiveError) -> ArchivesError {
    match error {
        ArchiveError::Interrupted(interrupted) => interrupted.into(),
        source => ArchivesError::Export { tag: tag.clone(), place, source },
    }
}

/// The form of what is one file.
fn packed(form: ExportForm, place: &Place) -> Result<Format, ArchivesError> {
    form.format().ok_or_else(|| ArchivesError::FolderElsewhere { place: place.to_string() })
}

/// Writes a model or bento to where the settings say; `standard` is what `-` means.
///
/// A file appears when it is whole, and replaces what had its name.
pub fn export<I: Packable>(
    settings: &ExportSettings,
    home: &Home,
    remotes: &Remotes,
    standard: &mut dyn Write,
    activity: &Activity,
) -> Result<Exported, ArchivesError> {
    let item = I::store(home).get(&settings.tag)?;
    let tag = item.tag().clone();
    let place = Place::parse(&settings.to)?;
    let contents = item.contents(home, &activity.interrupt)?;
    let label = format!("exporting {tag}");
    let progress = activity.report.task(&label, Some(contents.size()));
    let write = |format, sink: &mut dyn Write| {
        archive::write(&contents, format, sink, &*progress, &activity.interrupt).map(drop)
    };
    let path = match place {
        Place::Standard => {
            let format = packed(settings.form.unwrap_or(ExportForm::Native), &place)?;
            write(format, standard).map_err(|error| failed(&tag, place.to_string(), error))?;
            place.to_string()
        }
        Place::Remote(ref location) => {
            let (name, form) = target_name(location.path(), false, settings.form, I::KIND, &tag);
            let location = location.with_path(&name);
            let format = packed(form, &place)?;
            let mut sink = remotes.write(&location, contents.size())?;
            let written = write(format, &mut sink).map_err(|error| failed(&tag, location.to_string(), error));
            if let Err(error) = written {
                sink.abort();
                return Err(error);
            }
            sink.finish()?;
            location.shown_path()
        }
        Place::Local(path) => {
            let (path, form) = local_target::<I>(&path, settings.form, &tag)?;
            let shown = path.display().to_string();
            if let Some(format) = form.format() {
                let mut file = StagedFile::beside(&path)?;
                write(format, &mut file).map_err(|error| failed(&tag, shown.clone(), error))?;
                activity.interrupt.check()?;
                file.publish()?;
            } else {
                let directory = StagedDirectory::beside(&path)?;
                archive::copy_contents(&contents, directory.path(), &*progress, &activity.interrupt)
                    .map_err(|error| failed(&tag, shown.clone(), error))?;
                directory.publish()?;
            }
            shown
        }
    };
    Ok(Exported { tag, path })
}

/// The absolute path of the file or directory to be.
fn local_target<I: Item>(
    path: &Path,
    form: Option<ExportForm>,
    tag: &Tag,
) -> Result<(PathBuf, ExportForm), ArchivesError> {
    let typed = path.to_string_lossy();
    let (name, form) = target_name(&typed, path.is_dir(), form, I::KIND, tag);
    let path =
        std::path::absolute(&name).map_err(|source| ArchivesError::Open { place: name.clone(), source })?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    if !parent.is_dir() {
        return Err(ArchivesError::NoParent { parent: parent.to_owned(), path });
    }
    if form == ExportForm::Folder && path.symlink_metadata().is_ok() {
        return Err(ArchivesError::Exists { path });
    }
    Ok((path, form))
}
