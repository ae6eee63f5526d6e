//! An image: layers, and a configuration from which the manifest and all digests follow.

use oci_spec::image::{DescriptorBuilder, ImageManifest, ImageManifestBuilder, MediaType};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::blob::BytesBlob;
use super::config::ConfigPatch;
use super::digest::{DiffId, Digest, ParseDigestError};
use super::json::canonical;
use super::layer::Layer;
use super::platform::Platform;

/// Media type of the configuration that images written here have.
pub const CONFIG_MEDIA_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of the manifests written here.
pub const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image for one platform. Changing methods return a new image.
#[derive(Clone, Debug)]
pub struct Image {
    layers: Vec<Layer>,
    /// The configuration document less `rootfs`; `history` is that of the base, own layers are added.
    document: Map<String, Value>,
    base_history: Vec<Value>,
    base_layers: usize,
    /// The configuration exactly as it was read, kept while nothing changes it, so that its digest stays.
    original: Option<bytes::Bytes>,
}

/// A configuration document cannot belong to the layers it came with.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The document is not JSON, or not an object.
    #[error("the image's configuration is not a JSON object")]
    Syntax(#[source] serde_json::Error),
    /// A required member is missing or has another type.
    #[error("the image's configuration has no usable `{member}`")]
    Member {
        /// Name of the member.
        member: &'static str,
    },
    /// A diff ID is not a digest.
    #[error("the image's configuration has a bad diff ID")]
    DiffId(#[from] ParseDigestError),
    /// Manifest and configuration disagree.
    #[error("the image's manifest has {layers} layers and its configuration {diff_ids} diff IDs")]
    LayerCount {
        /// Layers in the manifest.
        layers: usize,
        /// Diff IDs in the configuration.
        diff_ids: usize,
    },
}

impl Image {
    /// The image without layers for a platform.
    pub fn scratch(platform: &Platform) -> Self {
        let mut document = Map::new();
        document.insert("architecture".to_owned(), json!(platform.architecture));
        document.insert("os".to_owned(), json!(platform.os));
        if let Some(variant) = &platform.variant {
            document.insert("variant".to_owned(), json!(variant));
        }
        Self { layers: Vec::new(), document, base_history: Vec::new(), base_layers: 0, original: None }
    }

    /// An image as read from somewhere: its configuration, and its layers in order.
    pub fn from_parts(config: bytes::Bytes, layers: Vec<Layer>) -> Result<Self, ImageError> {
        let mut document: Map<String, Value> = serde_json::from_slice(&config).map_err(ImageError::Syntax)?;
        let diff_ids = diff_ids(&document)?;
        if diff_ids.len() != layers.len() {
            return Err(ImageError::LayerCount { layers: layers.len(), diff_ids: diff_ids.len() });
        }
        for member in ["architecture", "os"] {
            document.get(member).and_then(Value::as_str).ok_or(ImageError::Member { member })?;
        }
        document.remove("rootfs");
        let base_history = match document.remove("history") {
            Some(Value::Array(history)) => history,
            _ => Vec::new(),
        };
        let base_layers = layers.len();
        Ok(Self { layers, document, base_history, base_layers, original: Some(config) })
    }

    /// This image with `layers` on top.
    #[must_use]
    pub fn append(mut self, layers: impl IntoIterator<Item = Layer>) -> Self {
        self.original = None;
        self.layers.extend(layers);
        self
    }

    /// This image with its configuration changed.
    #[must_use]
    pub fn with_config(mut self, patch: &ConfigPatch) -> Self {
        self.original = None;
        patch.apply(&mut self.document);
        self
    }

    /// The layers, bottom first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The configuration document, without `rootfs` and `history`.
    pub fn document(&self) -> &Map<String, Value> {
        &self.document
    }

    /// The platform that the image is for.
    pub fn platform(&self) -> Platform {
        let text = |member: &str| self.document.get(member).and_then(Value::as_str).map(str::to_owned);
        Platform {
            os: text("os").unwrap_or_default(),
            architecture: text("architecture").unwrap_or_default(),
            variant: text("variant"),
        }
    }

    /// The bytes of the configuration.
    pub fn config(&self) -> bytes::Bytes {
        if let Some(original) = &self.original {
            return original.clone();
        }
        let mut document = self.document.clone();
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| layer.diff_id).collect();
        document.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": diff_ids}));
        document.insert("history".to_owned(), Value::Array(self.history()));
        canonical(&document).into()
    }

    /// The image's id: the digest of its configuration.
    pub fn config_digest(&self) -> Digest {
        Digest::of(&self.config())
    }

    /// The manifest as a document.
    ///
    /// # Panics
    /// Never: every required member is set.
    pub fn manifest_document(&self) -> ImageManifest {
        let config = self.config();
        let describe = |media_type: &str, digest: Digest, size: u64| {
            DescriptorBuilder::default().media_type(media_type).digest(digest).size(size).build()
        };
        let layers = self.layers.iter().map(|layer| describe(&layer.media_type, layer.digest, layer.size));
        ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .config(
                describe(CONFIG_MEDIA_TYPE, Digest::of(&config), config.len() as u64)
                    .expect("all members of a descriptor are given"),
            )
            .layers(layers.collect::<Result<Vec<_>, _>>().expect("all members of a descriptor are given"))
            .build()
            .expect("all members of a manifest are given")
    }

    /// The bytes of the manifest.
    pub fn manifest(&self) -> bytes::Bytes {
        canonical(&self.manifest_document()).into()
    }

    /// The image's digest: that of its manifest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest())
    }

    /// The configuration as a blob, with its digest.
    pub fn config_blob(&self) -> (Digest, BytesBlob) {
        let config = self.config();
        (Digest::of(&config), BytesBlob(config))
    }

    /// The base's history, followed by an entry for each layer added since.
    fn history(&self) -> Vec<Value> {
        let mut history = self.base_history.clone();
        let is_layer = |entry: &&Value| entry.get("empty_layer").and_then(Value::as_bool) != Some(true);
        let told = history.iter().filter(is_layer).count();
        if told < self.base_layers {
            let untold = self.layers[told..self.base_layers].iter();
            history.extend(untold.map(|layer| json!({"created_by": layer.created_by})));
        }
        history.extend(self.layers[self.base_layers..].iter().map(|layer| {
            let mut entry = json!({"created_by": layer.created_by});
            if let (Some(created), Some(entry)) = (self.document.get("created"), entry.as_object_mut()) {
                entry.insert("created".to_owned(), created.clone());
            }
            entry
        }));
        history
    }
}

/// The diff IDs of a configuration document, bottom first.
pub fn diff_ids(document: &Map<String, Value>) -> Result<Vec<DiffId>, ImageError> {
    let ids = document.get("rootfs").and_then(|rootfs| rootfs.get("diff_ids")).and_then(Value::as_array);
    let ids = ids.ok_or(ImageError::Member { member: "rootfs.diff_ids" })?;
    let parse = |id: &Value| -> Result<DiffId, ImageError> {
        let text = id.as_str().ok_or(ImageError::Member { member: "rootfs.diff_ids" })?;
        Ok(DiffId(text.parse()?))
    };
    ids.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &'static str) -> Layer {
        Layer::from_bytes(bytes::Bytes::from_static(text.as_bytes()), text)
    }

    #[test]
    fn an_image_read_back_keeps_its_digest() {
        let image = Image::scratch(&Platform::linux("amd64")).append([layer("one"), layer("two")]);
        let again = Image::from_parts(image.config(), image.layers().to_vec()).unwrap();
        assert_eq!(again.digest(), image.digest());
        assert_eq!(again.manifest(), image.manifest());
    }

    #[test]
    fn history_has_an_entry_for_every_layer() {
        let config = json!({"architecture": "amd64", "os": "linux", "history": [{"created_by": "x", "empty_layer": true}],
            "rootfs": {"type": "layers", "diff_ids": [layer("one").diff_id]}});
        let base = Image::from_parts(canonical(&config).into(), vec![layer("one")]).unwrap();
        let image = base.append([layer("two")]);
        let document: Value = serde_json::from_slice(&image.config()).unwrap();
        let told: Vec<_> =
            document["history"].as_array().unwrap().iter().map(|entry| &entry["created_by"]).collect();
        assert_eq!(told, ["x", "one", "two"]);
    }

    #[test]
    fn a_manifest_and_a_configuration_that_disagree_are_refused() {
        let config =
            json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}});
        let error = Image::from_parts(canonical(&config).into(), vec![layer("one")]).unwrap_err();
        assert_eq!(error.to_string(), "the image's manifest has 1 layers and its configuration 0 diff IDs");
    }
}
