//! Lists of a store.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::directory::Directory;
use super::fields;
use super::size::{self, TreeSize};
use super::{CreationTime, Error, Item, Store};
use crate::parallel;
use crate::tag::{LATEST, Tag, TagQuery};

/// The items of a store, newest first, and what could not be read among them.
#[derive(Debug)]
pub struct Listing<I> {
    /// The readable items.
    pub items: Vec<I>,
    /// One error for each unreadable one.
    pub broken: Vec<Error>,
}

/// What decides where an item stands, and what is shown of it.
type Placed<R> = (CreationTime, Tag, R);

impl<I: Item> Store<I> {
    /// Lists everything, every version of a name, or one exact version.
    ///
    /// An unreadable item is reported beside the others; a name nobody knows is an error.
    pub fn list(&self, filter: Option<&TagQuery>) -> Result<Listing<I>, Error> {
        let load = |store: &Directory, below: &Path| {
            let item = self.read(store, below)?.0;
            Ok((item.creation_time().clone(), item.tag().clone(), item))
        };
        self.list_placed(filter, load)
    }

    /// Lists what `view` makes of each item and of its size, if that is known. It is called on several threads, and the
    /// item is gone afterwards: ten thousand documents are not in memory at the same time.
    pub fn list_views<R: Send>(
        &self,
        filter: Option<&TagQuery>,
        view: impl Fn(&I, Option<TreeSize>) -> R + Sync,
    ) -> Result<Listing<R>, Error> {
        let load = |store: &Directory, below: &Path| {
            let (item, directory, description) = self.read(store, below)?;
            let size = size::measure(&directory, |directory, entry| {
                if entry.name() == I::KIND.file_name() { Some(description) } else { directory.size_of(entry) }
            });
            let view = view(&item, size.ok());
            Ok((item.creation_time().clone(), item.tag().clone(), view))
        };
        self.list_placed(filter, load)
    }

    fn list_placed<R: Send>(
        &self,
        filter: Option<&TagQuery>,
        load: impl Fn(&Directory, &Path) -> Result<Placed<R>, Error> + Sync,
    ) -> Result<Listing<R>, Error> {
        let root = self.path();
        let store = Directory::open(&root).map_err(|source| Error::Read { path: root.clone(), source })?;
        let paths = match filter {
            None => self.all_versions(&store)?,
            Some(query) => self.matching_versions(&store, query)?,
        };
        let mut placed = Vec::with_capacity(paths.len());
        let mut broken = Vec::new();
        let loaded = parallel::map(&paths, |below| match load(&store, below) {
            // Changed or deleted while it was read: another look tells.
            Err(_) if !root.join(below).is_dir() => None,
            Err(_) => Some(load(&store, below)),
            loaded => Some(loaded),
        });
        for loaded in loaded.into_iter().flatten() {
            match loaded {
                Ok(item) => placed.push(item),
                Err(error) => broken.push(error),
            }
        }
        placed.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        Ok(Listing { items: placed.into_iter().map(|(_, _, item)| item).collect(), broken })
    }

    /// Reads an item by its path below the store: itself, its open directory, and the length of its file.
    fn read(&self, store: &Directory, below: &Path) -> Result<(I, Directory, u64), Error> {
        let path = self.path().join(below);
        let directory = store.below(below.as_os_str().as_bytes());
        let directory = directory.map_err(|source| Error::Read { path: path.clone(), source })?;
        let (document, length) = fields::read(I::KIND, &path, &directory)?;
        Ok((I::of_document(&path, document)?, directory, length))
    }

    fn all_versions(&self, store: &Directory) -> Result<Vec<PathBuf>, Error> {
        let names = store.directories().map_err(|source| Error::Read { path: self.path(), source })?;
        let found = parallel::map(&names, |name| self.versions(store, name));
        Ok(found.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn matching_versions(&self, store: &Directory, query: &TagQuery) -> Result<Vec<PathBuf>, Error> {
        let name = OsString::from(query.name());
        let Some(version) = query.version() else {
            if !self.path().join(&name).is_dir() {
                return Err(Error::NameNotListed { kind: I::KIND, name: query.name().to_owned() });
            }
            return self.versions(store, &name);
        };
        let below = Path::new(&name).join(version);
        let is_there = version != LATEST && self.path().join(&below).is_dir();
        Ok(if is_there { vec![below] } else { Vec::new() })
    }

    /// The versions of a name, as paths below the store.
    fn versions(&self, store: &Directory, name: &OsString) -> Result<Vec<PathBuf>, Error> {
        let versions = store.below(name.as_bytes()).and_then(|directory| directory.directories());
        let below = |version| Path::new(name).join(version);
        match versions {
            Ok(versions) => Ok(versions.into_iter().map(below).collect()),
            Err(error) if is_gone(&error) => Ok(Vec::new()),
            Err(source) => Err(Error::Read { path: self.path().join(name), source }),
        }
    }
}

/// Whether a name went away with its last version.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
