//! What can go wrong on the way into or out of a registry.

use std::path::PathBuf;

use crate::archive::ArchiveError;
use crate::fs::FsError;
use crate::oci::artifact::ArtifactError;
use crate::ops::archives::ArchivesError;
use crate::pack::PackError;
use crate::report::Interrupted;
use crate::store;
use crate::tag;
use crate::transport::TransportError;

/// A model or bento could not be pushed to or pulled from a registry.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactsError {
    /// What is under the name is no model that can be unpacked.
    #[error("cannot pull `{reference}`")]
    Manifest {
        /// The name.
        reference: String,
        /// Why.
        source: ArtifactError,
    },
    /// Its small files cannot be packed.
    #[error("cannot pack the files of `{tag}`")]
    Pack {
        /// The model or bento.
        tag: tag::Tag,
        /// Why.
        source: ArchiveError,
    },
    /// One of its tars cannot be unpacked.
    #[error("cannot unpack a layer of `{reference}`")]
    Unpack {
        /// The name.
        reference: String,
        /// Why.
        source: ArchiveError,
    },
    /// It is larger than the disk.
    #[error("cannot pull `{reference}`: its {size} bytes are more than the {free} that are free in `{}`", home.display())]
    NoRoom {
        /// The name.
        reference: String,
        /// Bytes of the artifact.
        size: u64,
        /// Bytes that may be used.
        free: u64,
        /// The home directory.
        home: PathBuf,
    },
    /// Two layers want the same place, or one wants a place below a file or link.
    #[error("cannot pull `{reference}`: there is something else in the place of `{}`", path.escape_debug())]
    Taken {
        /// The name.
        reference: String,
        /// The path in the artifact.
        path: String,
    },
    /// What it holds is not what it says, and would replace something.
    #[error("cannot replace `{found}` by what `{reference}` holds: it says that it is `{stated}`")]
    OtherItem {
        /// The name.
        reference: String,
        /// What the manifest says.
        stated: tag::Tag,
        /// What the files say.
        found: tag::Tag,
    },
    /// The artifact of somebody else has no name that a model can have.
    #[error("cannot name the model that `{reference}` holds")]
    Name {
        /// The name.
        reference: String,
        /// Why.
        source: tag::Error,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Digest(#[from] PackError),
    /// The registry refused or is not there.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The item cannot be packed or put into the store.
    #[error(transparent)]
    Archives(#[from] ArchivesError),
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

impl From<store::Error> for ArtifactsError {
    fn from(error: store::Error) -> Self {
        Self::Store(Box::new(error))
    }
}
