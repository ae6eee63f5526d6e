//! What can go wrong between a bento and its image.

use thiserror::Error;

use crate::debian;
use crate::fs::FsError;
use crate::http::HttpError;
use crate::hub::HubError;
use crate::oci::digest::Digest;
use crate::oci::reference::ParseReferenceError;
use crate::ops::hub::{HubAccessError, HubEntryError};
use crate::ops::{BaseImageError, ImageLockError};
use crate::pack::PackError;
use crate::plan::CommandError;
use crate::pydeps;
use crate::report::Interrupted;
use crate::resolve::ResolveError;
use crate::store;
use crate::tag::Tag;
use crate::transport::TransportError;

/// An image could not be made or written.
#[derive(Debug, Error)]
pub enum ContainerizeError {
    /// The bento or one of its models is not in the store, or unusable.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A model of the bento is not in the store.
    #[error("cannot find model `{model}` of bento `{bento}`")]
    Model {
        /// The bento.
        bento: Tag,
        /// The model.
        model: Tag,
        /// Why.
        #[source]
        source: store::Error,
    },
    /// A bento of the older form wants something in its image that ekiben cannot make.
    #[error(
        "bento `{tag}` has the form of older services (spec 1), and ekiben cannot make an image with its `{key}`"
    )]
    OldBento {
        /// The bento.
        tag: Tag,
        /// What of `bento.yaml`.
        key: String,
    },
    /// A model that lives elsewhere than in a store.
    #[error(transparent)]
    Entry(#[from] HubEntryError),
    /// There is no way to the hub.
    #[error(transparent)]
    Hub(#[from] HubAccessError),
    /// A model of the hub cannot be found.
    #[error("cannot find model `{model}`")]
    HubModel {
        /// The model.
        model: Tag,
        /// Why.
        source: HubError,
    },
    /// The files of a model of the hub cannot be had.
    #[error("cannot download model `{repository}`")]
    HubContents {
        /// The repository.
        repository: String,
        /// Why.
        source: HubError,
    },
    /// A layer has other bytes than it should have.
    #[error("the layer `{layer}` should have been {expected} and is {found}")]
    OtherBytes {
        /// The layer.
        layer: String,
        /// What the lock or the cache says.
        expected: Digest,
        /// What it was found to be.
        found: Digest,
    },
    /// A command would have to run inside the image.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A name cannot be one of an image.
    #[error("`{text}` cannot be the name of an image")]
    ImageTag {
        /// The name.
        text: String,
        /// Why.
        #[source]
        source: ParseReferenceError,
    },
    /// The bento names a base that is no image.
    #[error(transparent)]
    BaseImage(#[from] BaseImageError),
    /// The bento has a lock that cannot be used.
    #[error(transparent)]
    Lock(#[from] ImageLockError),
    /// Debian packages cannot be added to the base.
    #[error("cannot add the system packages {} to `{base}`, which is not a Debian image", .packages.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
    NotDebian {
        /// The base.
        base: String,
        /// The packages.
        packages: Vec<String>,
    },
    /// The client of registries and mirrors cannot be made.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Something about the inputs of the image.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Something about Debian packages.
    #[error(transparent)]
    Debian(#[from] debian::Error),
    /// Something about Python packages.
    #[error(transparent)]
    Python(#[from] pydeps::Error),
    /// Something about packing layers.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Something about reading or writing images.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FsError),
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}
