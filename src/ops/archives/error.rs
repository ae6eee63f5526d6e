//! What can go wrong on the way into or out of an archive.

use std::io;
use std::path::PathBuf;

use crate::archive::ArchiveError;
use crate::fs::FsError;
use crate::remote::RemoteError;
use crate::report::Interrupted;
use crate::store::{self, Kind};
use crate::tag::Tag;

/// A model or bento could not be exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum ArchivesError {
    /// Another machine, or the way to it, failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The archive cannot be opened.
    #[error("cannot open `{place}`")]
    Open {
        /// Where it should be.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// The archive is none, or not one that can be trusted.
    #[error("cannot import `{place}`")]
    Import {
        /// Where it is.
        place: String,
        /// Why.
        source: ArchiveError,
    },
    /// The archive cannot be written.
    #[error("cannot export `{tag}` to `{place}`")]
    Export {
        /// What.
        tag: Tag,
        /// Where to.
        place: String,
        /// Why.
        source: ArchiveError,
    },
    /// A bento was given where a model was wanted, or the other way round.
    #[error("cannot import `{place}`: it holds a {}, not a {}", word(*.found), word(*.wanted))]
    WrongKind {
        /// Where the archive is.
        place: String,
        /// What was asked for.
        wanted: Kind,
        /// What it is.
        found: Kind,
    },
    /// Neither a model nor a bento.
    #[error("cannot import `{place}`: it does not contain a '{}'", wanted.file_name())]
    NoItem {
        /// Where the archive is.
        place: String,
        /// What was asked for.
        wanted: Kind,
    },
    /// The file that describes the item is far too large, or no file.
    #[error("cannot import `{place}`: its '{}' is not a file of at most {limit} bytes", wanted.file_name())]
    NotADescription {
        /// Where the archive is.
        place: String,
        /// What was asked for.
        wanted: Kind,
        /// How long it may be.
        limit: u64,
    },
    /// The file that describes the item cannot be used.
    #[error("cannot import `{place}`: it holds no usable {}", word(*.kind))]
    Item {
        /// Where the archive is.
        place: String,
        /// Model or bento.
        kind: Kind,
        /// Why.
        source: store::Error,
    },
    /// A model in a bento's archive is not what its directory says.
    #[error("cannot import `{place}`: it has model `{found}` in the directory `models/{directory}`")]
    MisplacedModel {
        /// Where the archive is.
        place: String,
        /// The directory below `models`.
        directory: String,
        /// What is in it.
        found: Tag,
    },
    /// What should be the directory of a bento's models is something else.
    #[error("cannot import `{place}`: its `models` is not a directory")]
    NoModelStore {
        /// Where the archive is.
        place: String,
    },
    /// A bento needs a model that is not there.
    #[error("cannot export bento `{bento}`: its model `{model}` is not in the model store")]
    MissingModel {
        /// The bento.
        bento: Tag,
        /// The model.
        model: Tag,
    },
    /// The directory that the archive should go to does not exist.
    #[error("cannot write `{}`: there is no directory `{}`", path.display(), parent.display())]
    NoParent {
        /// The archive.
        path: PathBuf,
        /// The directory.
        parent: PathBuf,
    },
    /// Something is where the directory should go.
    #[error("cannot export to `{}`: it exists", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// A directory goes nowhere else than into a directory.
    #[error("cannot write a directory to `{place}`")]
    FolderElsewhere {
        /// Where it should go.
        place: String,
    },
    /// A terminal shows nothing of an archive.
    #[error("cannot write an archive to a terminal")]
    Terminal,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] Box<store::Error>),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FsError),
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Model => "model",
        Kind::Bento => "bento",
    }
}

impl From<store::Error> for ArchivesError {
    fn from(error: store::Error) -> Self {
        Self::Store(Box::new(error))
    }
}
