//! What can go wrong while layers are made.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::fs::FsError;
use crate::oci::tree::TreeError;
use crate::report::Interrupted;

/// A layer could not be made.
#[derive(Debug, Error)]
pub enum PackError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FsError),
    /// Reading, compressing or storing the layer's bytes failed.
    #[error("cannot pack the layer `{layer}`")]
    Pack {
        /// The layer's title.
        layer: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A path cannot be in a layer.
    #[error("cannot put `{path}` into a layer")]
    Tree {
        /// The file on this machine.
        path: PathBuf,
        /// Why.
        #[source]
        source: TreeError,
    },
    /// A path has bytes that no layer can carry portably.
    #[error("the name of `{path}` is not UTF-8, so it cannot be put into a layer")]
    NotUtf8 {
        /// The file on this machine.
        path: PathBuf,
    },
    /// A socket, device or pipe.
    #[error("`{path}` is neither a file, a directory nor a link, so it cannot be put into a layer")]
    Special {
        /// The file on this machine.
        path: PathBuf,
    },
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}
