//! The model store and the bento store of a home directory.
//!
//! Both have the layout of the original tool, so that both tools can work on one home at the same
//! time: `models/NAME/VERSION/`, `bentos/NAME/VERSION/`, and a file `NAME/latest` with the newest
//! version in it. An item appears by one rename of a finished directory or not at all; whatever is
//! being written stays in `tmp/` until then.

mod bento;
mod copy;
mod directory;
mod error;
mod fields;
mod functions;
mod layout;
mod listing;
mod model;
mod size;
mod stage;
mod time;

use std::fs;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use crate::tag::{LATEST, Tag, TagQuery};
use crate::yaml::Value;
use directory::Directory;

pub use bento::{
    Bento, BentoInfo, Dependency, Environment, ImageInfo, PinnedModel, STORE_REGISTRY, ServiceInfo,
};
pub use copy::{CopyError, copy_file, copy_tree};
pub use error::Error;
pub use fields::LONGEST_DESCRIPTION;
pub use functions::{FunctionInfo, FunctionsInfo, RunnerInfo};
pub use layout::{Home, Kind};
pub use listing::Listing;
pub use model::{FORMAT_VERSION, Model, ModelContext, ModelInfo};
pub use size::{TreeSize, tree_size};
pub use stage::Staging;
pub use time::CreationTime;

/// The longest content of a file that names a version, line feeds included.
const LONGEST_POINTER: u64 = 1024;

/// What a store holds: models or bentos.
pub trait Item: Sized + Send + Sync {
    /// Which store it lives in.
    const KIND: Kind;

    /// The item in a version directory whose file says this.
    fn of_document(path: &Path, document: Value) -> Result<Self, Error>;

    /// Reads the item in a version directory.
    fn load(path: &Path) -> Result<Self, Error> {
        let directory = Directory::open(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => Error::NoItemFile { kind: Self::KIND, path: path.to_owned() },
            _ => Error::Read { path: path.to_owned(), source },
        })?;
        Self::of_document(path, fields::read(Self::KIND, path, &directory)?.0)
    }

    /// Its tag.
    fn tag(&self) -> &Tag;

    /// When it was made.
    fn creation_time(&self) -> &CreationTime;
}

/// One of the two stores of a home.
#[derive(Clone, Debug)]
pub struct Store<I> {
    home: Home,
    item: PhantomData<I>,
}

impl<I: Item> Store<I> {
    pub(crate) fn new(home: Home) -> Self {
        Self { home, item: PhantomData }
    }

    /// The directory of the store.
    pub fn path(&self) -> PathBuf {
        self.home.store(I::KIND)
    }

    /// The directory of an item, whether it exists or not.
    pub fn item_path(&self, tag: &Tag) -> PathBuf {
        self.path().join(tag.name()).join(tag.version())
    }

    /// Finds the one item that a query means: exact, by the start of its version, or the newest.
    pub fn get(&self, query: &TagQuery) -> Result<I, Error> {
        loop {
            let path = self.find(query)?;
            match I::load(&path) {
                // Deleted between the two: what is left decides.
                Err(_) if !path.is_dir() => {}
                loaded => return loaded,
            }
        }
    }

    /// Finds the tag that a query means, without reading the item where that is possible.
    pub fn resolve(&self, query: &TagQuery) -> Result<Tag, Error> {
        let path = self.find(query)?;
        let version = path.file_name().unwrap_or_default().to_string_lossy();
        Tag::new(query.name(), &version).map_err(|source| Error::BadName { path: path.clone(), source })
    }

    /// Whether an item with this tag is there.
    pub fn contains(&self, tag: &Tag) -> bool {
        self.item_path(tag).is_dir()
    }

    /// Opens a directory under `tmp/` in which a new item can be prepared.
    pub fn stage(&self, name: &str) -> Result<Staging, Error> {
        Staging::open(&self.home, I::KIND, name)
    }

    /// Turns a prepared directory into an item, all at once.
    ///
    /// The files are on disk before the item appears, and `latest` moves to it if it is the newest.
    pub fn register(&self, staging: Staging) -> Result<I, Error> {
        let new = I::load(staging.path())?;
        let tag = new.tag();
        staging.sync()?;
        let _lock = self.home.lock(I::KIND, tag.name())?;
        if self.item_path(tag).exists() {
            return Err(Error::AlreadyExists { tag: tag.clone(), store: self.path() });
        }
        self.add(staging, &new)
    }

    /// Turns a prepared directory into an item, in the place of the one with the same tag if there is one.
    ///
    /// At every moment the tag means the whole old item or the whole new one.
    pub fn replace(&self, staging: Staging) -> Result<I, Error> {
        let new = I::load(staging.path())?;
        let tag = new.tag();
        staging.sync()?;
        let _lock = self.home.lock(I::KIND, tag.name())?;
        let target = self.item_path(tag);
        if !target.exists() {
            return self.add(staging, &new);
        }
        // Without a pointer the newest item is the latest: that is right before the exchange, and after it.
        self.remove_latest(tag.name())?;
        let exchanged = staging.exchange(&target);
        let pointed = self.point_to_newest(tag.name());
        exchanged.and(pointed)?;
        I::load(&target)
    }

    /// Publishes an item whose tag is free; the name is locked.
    fn add(&self, staging: Staging, new: &I) -> Result<I, Error> {
        let tag = new.tag();
        let target = self.item_path(tag);
        let is_newest =
            self.newest(tag.name()).is_none_or(|newest| new.creation_time() >= newest.creation_time());
        let directory = self.path().join(tag.name());
        if !directory.exists() {
            fs::create_dir_all(&directory)
                .and_then(|()| sync_directory(&self.path()))
                .map_err(|source| Error::Write { path: directory.clone(), source })?;
        }
        if let Err(error) = self.publish(staging, tag, is_newest) {
            // Leave nothing: neither the item without its pointer nor an empty name.
            self.discard(&target);
            let _ = self.point_to_newest(tag.name());
            let _ = fs::remove_dir(&directory);
            return Err(error);
        }
        I::load(&target)
    }

    /// Deletes one item; `latest` moves to the newest that is left.
    pub fn delete(&self, tag: &Tag) -> Result<(), Error> {
        let _lock = self.home.lock(I::KIND, tag.name())?;
        let path = self.item_path(tag);
        if !path.is_dir() {
            return Err(Error::NotFound { kind: I::KIND, typed: tag.to_string(), store: self.path() });
        }
        // Out of sight first: readers see the whole item or none of it.
        let grave = Staging::open(&self.home, I::KIND, tag.name())?;
        let grave_path = grave.path().join(tag.version());
        fs::rename(&path, &grave_path).map_err(|source| Error::Delete { path: path.clone(), source })?;
        drop(grave);
        self.point_to_newest(tag.name())
    }

    /// Moves a prepared directory to its place.
    ///
    /// The pointer goes first: when we are killed in between it leads nowhere, and every reader takes the newest item
    /// instead. The other way round it would lead to an old one. A reader of the original tool mends a pointer that leads
    /// nowhere, so it is written again if need be.
    fn publish(&self, staging: Staging, tag: &Tag, is_newest: bool) -> Result<(), Error> {
        if is_newest {
            self.write_latest(tag)?;
        }
        staging.publish(&self.item_path(tag))?;
        if is_newest && self.read_latest(tag.name()).as_deref() != Some(tag.version()) {
            self.write_latest(tag)?;
        }
        Ok(())
    }

    /// Has `latest` point to the newest item that is there; a name without items goes away.
    fn point_to_newest(&self, name: &str) -> Result<(), Error> {
        let directory = self.path().join(name);
        match self.newest(name) {
            Some(newest) => self.write_latest(newest.tag()),
            None if version_paths(&directory)?.is_empty() => fs::remove_dir_all(&directory)
                .map_err(|source| Error::Delete { path: directory.clone(), source }),
            None => Ok(()),
        }
    }

    fn find(&self, query: &TagQuery) -> Result<PathBuf, Error> {
        let directory = self.path().join(query.name());
        let Some(version) = query.version().filter(|_| !query.wants_latest()) else {
            return self.find_latest(query.name(), &directory);
        };
        let exact = directory.join(version);
        if exact.is_dir() {
            return Ok(exact);
        }
        let mut matches = version_paths(&directory)?;
        matches
            .retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(version)));
        match matches.len() {
            0 => Err(Error::NotFound { kind: I::KIND, typed: query.to_string(), store: self.path() }),
            1 => Ok(matches.remove(0)),
            _ => Err(Error::Ambiguous {
                name: query.name().to_owned(),
                versions: matches
                    .iter()
                    .filter_map(|path| path.file_name())
                    .map(|name| name.to_string_lossy().into_owned())
                    .collect(),
            }),
        }
    }

    /// Follows `latest`; where it leads nowhere, the newest item is the latest.
    fn find_latest(&self, name: &str, directory: &Path) -> Result<PathBuf, Error> {
        if let Some(version) = self.read_latest(name).filter(|version| directory.join(version).is_dir()) {
            return Ok(directory.join(version));
        }
        match self.newest(name) {
            Some(newest) => Ok(self.item_path(newest.tag())),
            None => Err(Error::NameNotFound { kind: I::KIND, name: name.to_owned(), store: self.path() }),
        }
    }

    fn newest(&self, name: &str) -> Option<I> {
        let items = version_paths(&self.path().join(name)).ok()?;
        items
            .iter()
            .filter_map(|path| I::load(path).ok().filter(|item| path.ends_with(item.tag().version())))
            .max_by(|a, b| a.creation_time().cmp(b.creation_time()).then_with(|| a.tag().cmp(b.tag())))
    }

    /// The version that the pointer names, if it names one.
    fn read_latest(&self, name: &str) -> Option<String> {
        let directory = Directory::open(&self.path().join(name)).ok()?;
        let text = String::from_utf8(directory.read(LATEST, LONGEST_POINTER).ok()?.bytes).ok()?;
        let version = text.trim();
        Tag::new(name, version).is_ok_and(|tag| tag.version() == version).then(|| version.to_owned())
    }

    /// Replaces the pointer in one step; no line feed follows the version.
    fn write_latest(&self, tag: &Tag) -> Result<(), Error> {
        let path = self.path().join(tag.name()).join(LATEST);
        // Swept by the next writer if we are killed.
        let staging = Staging::open(&self.home, I::KIND, tag.name())?;
        let prepared = staging.path().join(LATEST);
        let write = || {
            fs::write(&prepared, tag.version())?;
            fs::File::open(&prepared)?.sync_all()?;
            fs::rename(&prepared, &path)
        };
        write().map_err(|source| Error::Write { path: path.clone(), source })
    }

    fn remove_latest(&self, name: &str) -> Result<(), Error> {
        let path = self.path().join(name).join(LATEST);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Delete { path, source })
            }
            _ => Ok(()),
        }
    }

    fn discard(&self, path: &Path) {
        if let Ok(grave) = Staging::open(&self.home, I::KIND, "discarded") {
            let _ = fs::rename(path, grave.path().join("item"));
        }
    }
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// The version directories of a name, sorted; empty if the name is not there.
fn version_paths(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let names = Directory::open(directory).and_then(|open| open.directories());
    match names {
        Ok(names) => Ok(names.into_iter().map(|name| directory.join(name)).collect()),
        Err(error) if listing::is_gone(&error) => Ok(Vec::new()),
        Err(source) => Err(Error::Read { path: directory.to_owned(), source }),
    }
}
