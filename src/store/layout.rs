//! Where things are in a home directory, and who may change them.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{Bento, Error, Model, Store, stage};

/// Models or bentos.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A model.
    Model,
    /// A bento.
    Bento,
}

impl Kind {
    /// The directory of the store in a home.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Bento => "bentos",
        }
    }

    /// The file that describes an item.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Model => "model.yaml",
            Self::Bento => "bento.yaml",
        }
    }

    /// The command that fetches a missing item.
    pub fn pull_command(self) -> &'static str {
        match self {
            Self::Model => "bentoml models pull",
            Self::Bento => "bentoml pull",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "Model",
            Self::Bento => "Bento",
        })
    }
}

/// A home directory: `BENTOML_HOME`, `~/bentoml` by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// Opens a home and makes the directories that every home has. An item that a killed process was replacing is
    /// there again.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let home = Self { path: path.into() };
        for directory in ["bentos", "models", "envs", "tmp"] {
            let path = home.path.join(directory);
            fs::create_dir_all(&path).map_err(|source| Error::CreateHome { path, source })?;
        }
        stage::recover(&home);
        Ok(home)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store of models.
    pub fn models(&self) -> Store<Model> {
        Store::new(self.clone())
    }

    /// The store of bentos.
    pub fn bentos(&self) -> Store<Bento> {
        Store::new(self.clone())
    }

    /// Where things are prepared; on the same file system as the stores.
    pub fn scratch(&self) -> PathBuf {
        self.path.join("tmp")
    }

    pub(super) fn store(&self, kind: Kind) -> PathBuf {
        self.path.join(kind.directory())
    }

    /// Keeps every other writer of a name out until the lock is dropped.
    ///
    /// The SDK locks the same files in the same way (`flock`).
    pub(super) fn lock(&self, kind: Kind, name: &str) -> Result<Lock, Error> {
        self.lock_file(&format!("{}--{name}.lock", kind.directory()))
    }

    /// Keeps every other opener and sweeper of staging directories out.
    pub(super) fn lock_staging(&self) -> Result<Lock, Error> {
        self.lock_file("staging.lock")
    }

    fn lock_file(&self, name: &str) -> Result<Lock, Error> {
        let directory = self.scratch().join("locks");
        fs::create_dir_all(&directory).map_err(|source| Error::Write { path: directory.clone(), source })?;
        let path = directory.join(name);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.and_then(|file| file.lock().map(|()| file));
        Ok(Lock { _file: file.map_err(|source| Error::Lock { path, source })? })
    }
}

/// The right to change a name, for as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}
