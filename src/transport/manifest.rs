//! From a manifest, wherever it was read, to an image.

use std::sync::Arc;

use bytes::Bytes;
use oci_spec::image::{ImageIndex, ImageManifest};

use super::error::TransportError;
use crate::oci::blob::Blob;
use crate::oci::compress::Compression;
use crate::oci::digest::Digest;
use crate::oci::image::{Image, diff_ids};
use crate::oci::layer::Layer;
use crate::oci::platform::Platform;
use crate::oci::reference::Repository;

/// The media types of indexes, OCI's and Docker's.
pub(crate) const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// Reads a document of the given kind; `subject` says where it is from.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(
    subject: &str,
    what: &'static str,
    bytes: &[u8],
) -> Result<T, TransportError> {
    let explain = |source| TransportError::Document { subject: subject.to_owned(), what, source };
    serde_json::from_slice(bytes).map_err(explain)
}

/// A digest of a document as ours.
pub(crate) fn digest_of(subject: &str, digest: &oci_spec::image::Digest) -> Result<Digest, TransportError> {
    let explain = |source| TransportError::Digest { subject: subject.to_owned(), source };
    Digest::try_from(digest).map_err(explain)
}

/// Chooses the entry of an index that fits the platform, the first where several do.
pub(crate) fn choose(subject: &str, index: &ImageIndex, wanted: &Platform) -> Result<Digest, TransportError> {
    let mut offered = Vec::new();
    for entry in index.manifests() {
        let Some(platform) = entry.platform() else { continue };
        let platform = Platform {
            os: platform.os().to_string(),
            architecture: platform.architecture().to_string(),
            variant: platform.variant().clone(),
        };
        if wanted.accepts(&platform) {
            return digest_of(subject, entry.digest());
        }
        offered.push(platform.to_string());
    }
    Err(TransportError::Platform { subject: subject.to_owned(), wanted: wanted.clone(), offered })
}

/// Makes an image of a manifest and its configuration. Layers keep their bytes; Docker's media types become OCI's,
/// which name the same bytes (image-spec, media-types.md, Compatibility Matrix).
pub(crate) fn image(
    subject: &str,
    manifest: &ImageManifest,
    config: Bytes,
    origin: Option<&Repository>,
    mut blob: impl FnMut(Digest, u64) -> Result<Arc<dyn Blob>, TransportError>,
) -> Result<Image, TransportError> {
    let explain = |source| TransportError::Image { subject: subject.to_owned(), source };
    let document = parse(subject, "image configuration", &config)?;
    let diff_ids = diff_ids(&document).map_err(explain)?;
    let mut layers = Vec::new();
    for (descriptor, diff_id) in manifest.layers().iter().zip(diff_ids) {
        let stated = descriptor.media_type().to_string();
        let compression = Compression::of_media_type(&stated).ok_or_else(|| TransportError::MediaType {
            subject: subject.to_owned(),
            media_type: stated.clone(),
        })?;
        let digest = digest_of(subject, descriptor.digest())?;
        layers.push(Layer {
            media_type: compression.media_type().to_owned(),
            digest,
            size: descriptor.size(),
            diff_id,
            created_by: format!("base layer {digest}"),
            origin: origin.cloned(),
            blob: blob(digest, descriptor.size())?,
        });
    }
    Image::from_parts(config, layers).map_err(explain)
}
