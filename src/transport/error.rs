//! What can go wrong between an image and the place it comes from or goes to.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::engine::EngineError;
use crate::oci::digest::{Digest, ParseDigestError};
use crate::oci::image::ImageError;
use crate::oci::platform::Platform;
use crate::registry::RegistryError;
use crate::report::Interrupted;

/// An image could not be read or written.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The file system refused.
    #[error("cannot {action} `{path}`")]
    File {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The destination cannot be written to.
    #[error("`{name}` cannot be written to")]
    Destination {
        /// The transport's name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not an archive of images.
    #[error("`{path}` cannot be read as an archive of images")]
    NotAnArchive {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A blob could not be read or copied.
    #[error("cannot copy blob `{digest}`")]
    Blob {
        /// Which one.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Bytes are not those that their digest names.
    #[error("{subject} is said to be `{stated}`, and is `{actual}`")]
    DigestMismatch {
        /// What was read, and where.
        subject: String,
        /// The digest that was asked for.
        stated: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// A document is not what it should be.
    #[error("`{subject}` is not a usable {what}")]
    Document {
        /// Where it was read.
        subject: String,
        /// What it should be.
        what: &'static str,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The image's configuration is unusable.
    #[error("`{subject}` is not a usable image")]
    Image {
        /// Where it was read.
        subject: String,
        /// Why not.
        #[source]
        source: ImageError,
    },
    /// A digest in a document is malformed or of another algorithm.
    #[error("`{subject}` has a digest that cannot be used")]
    Digest {
        /// Where it was read.
        subject: String,
        /// Why not.
        #[source]
        source: ParseDigestError,
    },
    /// A directory has other things in it.
    #[error("`{path}` is neither empty nor an image layout")]
    NotALayout {
        /// The directory.
        path: PathBuf,
    },
    /// There is nothing at the place where an image should be.
    #[error("`{path}` does not exist")]
    NoSuchPath {
        /// The directory or file.
        path: PathBuf,
    },
    /// There is no such image in the place.
    #[error("there is no image {} in `{place}`", .name.as_ref().map_or_else(|| "to choose".to_owned(), |name| format!("`{name}`")))]
    NotFound {
        /// The layout, archive, engine or repository.
        place: String,
        /// The image asked for.
        name: Option<String>,
    },
    /// Several images, and none was named.
    #[error("`{place}` has several images ({})", .names.join(", "))]
    Ambiguous {
        /// The layout or archive.
        place: String,
        /// The names there.
        names: Vec<String>,
    },
    /// The image exists for other platforms only.
    #[error("`{subject}` has no image for `{wanted}`, only for {}", .offered.join(", "))]
    Platform {
        /// Where it was looked for.
        subject: String,
        /// The platform asked for.
        wanted: Platform,
        /// The platforms there are.
        offered: Vec<String>,
    },
    /// The layer's media type is not one that ekiben knows.
    #[error("`{subject}` has a layer of the unknown media type `{media_type}`")]
    MediaType {
        /// The image.
        subject: String,
        /// The media type.
        media_type: String,
    },
    /// The document is of a kind that ekiben does not know: not an image, or older than all registries still in use.
    #[error("`{subject}` is not an image but a `{media_type}`")]
    ManifestType {
        /// What was read.
        subject: String,
        /// The media type.
        media_type: String,
    },
    /// This transport cannot be used that way.
    #[error("`{name}` cannot be {attempted}")]
    Unsupported {
        /// The transport's name.
        name: String,
        /// `written to` or `read from`.
        attempted: &'static str,
    },
    /// The registry could not be used.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// The engine could not be used.
    #[error(transparent)]
    Engine(Box<EngineError>),
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl From<RegistryError> for TransportError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}
