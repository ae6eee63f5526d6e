//! What can go wrong between a project and its bento.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::bentofile::{self, SelectError};
use crate::build_time::BuildTimeError;
use crate::debian;
use crate::discover::{self, Place, Unresolved};
use crate::http::HttpError;
use crate::hub::HubError;
use crate::ops::hub::{HubAccessError, ModelLockError};
use crate::pydeps;
use crate::report::Interrupted;
use crate::store;
use crate::tag::{self, TagQuery};

/// A bento could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The build configuration is wrong.
    #[error(transparent)]
    Bentofile(#[from] Box<bentofile::Error>),
    /// The service cannot be found or read.
    #[error(transparent)]
    Discover(#[from] Box<discover::Error>),
    /// The bentofile names a service that is not there.
    #[error("{place}: `service`: {source}")]
    Target {
        /// Where it is named.
        place: bentofile::Place,
        /// Why it is none.
        source: Box<discover::Error>,
    },
    /// The project's files cannot be selected.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The rules leave out the file that the service is in.
    #[error("`include`, `exclude` or a `.bentoignore` leaves out `{path}`, which the service is in")]
    ServiceLeftOut {
        /// The file.
        path: String,
    },
    /// The system gives no thread.
    #[error("cannot start a thread to read the source with")]
    Thread(#[source] io::Error),
    /// Something in the source cannot be known without running it.
    #[error("{}", Lines(.found))]
    Unresolved {
        /// All that was found.
        found: Vec<Unresolved>,
    },
    /// A key that belongs to the older kind of bentos.
    #[error("{place}: `{key}` is not supported yet")]
    Unsupported {
        /// Where it is written.
        place: bentofile::Place,
        /// The key.
        key: &'static str,
    },
    /// The service is given an image by code.
    #[error(
        "{place}: an image given in code is not supported yet, use `docker:` and `python:` in the bentofile"
    )]
    ImageObject {
        /// Where.
        place: Place,
    },
    /// A model is not in the store.
    #[error("{place}: model `{query}` is not in the store")]
    MissingModel {
        /// Where it is declared, in the service or the bentofile.
        place: String,
        /// Which model.
        query: TagQuery,
        /// What the store says.
        source: Box<store::Error>,
    },
    /// The tag of a model is none.
    #[error("{place}: `{text}` does not name a model")]
    ModelTag {
        /// Where it is declared.
        place: Place,
        /// The tag as written.
        text: String,
        /// What is wrong with it.
        source: tag::Error,
    },
    /// A model of the hub cannot be found.
    #[error("{place}: cannot find the Hugging Face model `{id}`")]
    HubModel {
        /// Where it is declared.
        place: Place,
        /// The repository.
        id: String,
        /// Why.
        source: Box<HubError>,
    },
    /// There is no way to the hub.
    #[error("{place}: cannot ask the Hugging Face Hub")]
    HubAccess {
        /// Where a model of it is declared.
        place: Place,
        /// Why.
        source: HubAccessError,
    },
    /// The lock of models cannot be used.
    #[error(transparent)]
    ModelLock(#[from] ModelLockError),
    /// The name or version of the bento is wrong.
    #[error("cannot name the bento")]
    Name(#[from] tag::Error),
    /// A platform that Python packages cannot be locked for.
    #[error(
        "cannot lock Python packages for platform `{platform}`: use `linux/amd64`, `linux/arm64` or uv's names for Linux"
    )]
    Platform {
        /// The platform as given.
        platform: String,
    },
    /// A file of template arguments is none.
    #[error("cannot read arguments from `{}`: {message}", path.display())]
    ArgumentFile {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// What the user wrote about Python packages is wrong.
    #[error(transparent)]
    Requirements(Box<pydeps::Error>),
    /// The Python packages cannot be locked.
    #[error("cannot lock the Python packages")]
    Python(#[source] Box<pydeps::Error>),
    /// The packages of the image's base cannot be written down.
    #[error("cannot lock the packages of the base image")]
    Base(#[source] Box<debian::Error>),
    /// The client of package mirrors cannot be made.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Reading or writing a store failed.
    #[error(transparent)]
    Store(#[from] Box<store::Error>),
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the bento cannot be written.
    #[error("cannot write `{path}` of the bento")]
    Write {
        /// The path in the bento.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The time that the bento is to bear is none.
    #[error(transparent)]
    Time(#[from] BuildTimeError),
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl From<bentofile::Error> for BuildError {
    fn from(error: bentofile::Error) -> Self {
        Self::Bentofile(Box::new(error))
    }
}

impl From<discover::Error> for BuildError {
    fn from(error: discover::Error) -> Self {
        Self::Discover(Box::new(error))
    }
}

impl From<pydeps::Error> for BuildError {
    fn from(error: pydeps::Error) -> Self {
        use pydeps::Error as E;
        match error {
            E::Requirement { .. }
            | E::RequirementsFile { .. }
            | E::RequirementsCycle { .. }
            | E::Index { .. }
            | E::OptionValue { .. }
            | E::Editable { .. } => Self::Requirements(Box::new(error)),
            error => Self::Python(Box::new(error)),
        }
    }
}

impl From<store::Error> for BuildError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Copy(store::CopyError::Interrupted(interrupted)) => interrupted.into(),
            error => Self::Store(Box::new(error)),
        }
    }
}

struct Lines<'a>(&'a [Unresolved]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, unresolved) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{unresolved}")?;
        }
        Ok(())
    }
}
