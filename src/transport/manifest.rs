//! From a manifest, wherever it was read, to an image.

use std::sync::Arc;

use bytes::Bytes;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

use super::error::TransportError;
use crate::oci::blob::Blob;
use crate::oci::compress::Compression;
use crate::oci::digest::Digest;
use crate::oci::image::{Image, ImageError, diff_ids};
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

/// Chooses the entry of an index that fits the platform: the one that names the same variant, else the first.
pub(crate) fn choose(subject: &str, index: &ImageIndex, wanted: &Platform) -> Result<Digest, TransportError> {
    let platform = |entry: &Descriptor| {
        entry.platform().as_ref().map(|platform| Platform {
            os: platform.os().to_string(),
            architecture: platform.architecture().to_string(),
            variant: platform.variant().clone(),
        })
    };
    let offers = index.manifests().iter().filter_map(|entry| Some((platform(entry)?, entry)));
    let offers: Vec<_> = offers.collect();
    let exact = offers.iter().find(|(offered, _)| offered == wanted);
    match exact.or_else(|| offers.iter().find(|(offered, _)| wanted.accepts(offered))) {
        Some((_, entry)) => digest_of(subject, entry.digest()),
        None => Err(TransportError::Platform {
            subject: subject.to_owned(),
            wanted: wanted.clone(),
            offered: offers.iter().map(|(offered, _)| offered.to_string()).collect(),
        }),
    }
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
    let (count, diff_id_count) = (manifest.layers().len(), diff_ids.len());
    if count != diff_id_count {
        return Err(explain(ImageError::LayerCount { layers: count, diff_ids: diff_id_count }));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_layer_without_diff_id_is_not_dropped() {
        let layer = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 1,
            "digest": Digest::of(b"x")});
        let manifest = json!({"schemaVersion": 2, "config": layer, "layers": [layer, layer]});
        let config = json!({"architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"x")]}});
        let manifest = serde_json::from_value(manifest).unwrap();
        let config = Bytes::from(config.to_string());
        let blob = |_, _| -> Result<Arc<dyn Blob>, TransportError> { panic!("nothing is read") };
        let error = image("test", &manifest, config, None, blob).unwrap_err();
        assert!(
            matches!(error, TransportError::Image { source: ImageError::LayerCount { .. }, .. }),
            "{error}"
        );
    }

    #[test]
    fn the_exact_variant_is_preferred() {
        let entry = |variant: &str| {
            json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1,
                "digest": Digest::of(variant.as_bytes()),
                "platform": {"os": "linux", "architecture": "arm", "variant": variant}})
        };
        let index = json!({"schemaVersion": 2, "manifests": [entry("v6"), entry("v7")]});
        let index = serde_json::from_value(index).unwrap();
        let chosen = |platform: &str| choose("test", &index, &platform.parse().unwrap()).unwrap();
        assert_eq!(chosen("linux/arm/v7"), Digest::of(b"v7"));
        assert_eq!(chosen("linux/arm"), Digest::of(b"v6"));
    }
}
