//! Models as artifacts in registries: CNCF `ModelPack` (model-spec, `docs/spec.md`, `config.md`, `annotations.md`).
//!
//! A large file is a blob of its own, as it is: its digest is the digest of the file, so that every artifact which has the
//! file shares the blob. Everything else travels in one tar. Prefixes of older drafts (`application/vnd.cnai.model.`) are
//! read and never written.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use oci_spec::image::{Descriptor, DescriptorBuilder, ImageManifest, ImageManifestBuilder, MediaType};
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use super::blob::Blob;
use super::compress::Compression;
use super::digest::{Digest, ParseDigestError};
use super::json::canonical;
use super::tree::check_path;

/// What the manifest of a model says that it is.
pub const ARTIFACT_TYPE: &str = "application/vnd.cncf.model.manifest.v1+json";
/// The configuration of a model.
pub const CONFIG_MEDIA_TYPE: &str = "application/vnd.cncf.model.config.v1+json";
/// Media types of layers begin with one of these; the second is that of older drafts.
const LAYER_PREFIXES: [&str; 2] = ["application/vnd.cncf.model.", "application/vnd.cnai.model."];
/// Path of the file, or directory in which a tar is unpacked.
const FILE_PATH: &str = "org.cncf.model.filepath";
/// Mode, owner and times of the file, as text that holds JSON.
const FILE_METADATA: &str = "org.cncf.model.file.metadata+json";
/// Name of the model or bento.
const TITLE: &str = "org.opencontainers.image.title";
/// Its version.
const VERSION: &str = "org.opencontainers.image.version";
/// `typeflag` of a regular file: the character `0` of tar, as a number.
const REGULAR: u8 = b'0';
/// Mode of a file that says nothing of its own.
const USUAL_MODE: u32 = 0o644;

/// What is in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// One file, as it is.
    File {
        /// Its path, relative and plain.
        path: String,
        /// Its permission bits.
        mode: u32,
        /// When it was changed last, where that is known.
        modified: Option<Timestamp>,
    },
    /// A tar of files at paths of their own.
    Tar(Compression),
}

/// What the files of a layer are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Weights.
    Weight,
    /// What stands beside weights.
    WeightConfig,
    /// Source code.
    Code,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::WeightConfig => "weight.config",
            Self::Code => "code",
        }
    }
}

/// A layer to be written: never compressed.
#[derive(Clone, Debug)]
pub struct ArtifactLayer {
    /// What its files are for.
    pub purpose: Purpose,
    /// What is in it.
    pub part: Part,
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob.
    pub size: u64,
    /// The bytes.
    pub blob: Arc<dyn Blob>,
}

/// What people are told of an artifact.
#[derive(Clone, Debug)]
pub struct Description {
    /// Name of the model or bento.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Form of the weights, such as `safetensors` or `sklearn`, where it is known.
    pub format: Option<String>,
}

/// An artifact to be written.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The configuration, which every registry keeps as a blob.
    pub config: Bytes,
    /// The layers.
    pub layers: Vec<ArtifactLayer>,
    /// The manifest.
    pub manifest: Bytes,
}

impl Artifact {
    /// Describes layers; equal inputs give equal bytes.
    ///
    /// # Panics
    /// Never: every required member is set.
    pub fn new(description: &Description, layers: Vec<ArtifactLayer>) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.digest).collect();
        let mut config = json!({
            "descriptor": {
                "createdAt": description.created, "name": description.name, "version": description.version,
            },
            "config": {},
            // Nothing is compressed, so that these are the digests of the blobs themselves.
            "modelfs": {"type": "layers", "diffIds": diff_ids},
        });
        if let Some(format) = &description.format {
            config["config"]["format"] = json!(format);
        }
        let config = Bytes::from(canonical(&config));
        let about = describe(CONFIG_MEDIA_TYPE, Digest::of(&config), config.len() as u64, HashMap::new());
        let described: Vec<_> = layers.iter().map(ArtifactLayer::descriptor).collect();
        let annotations = HashMap::from([
            ("org.opencontainers.image.created".to_owned(), description.created.clone()),
            (TITLE.to_owned(), description.name.clone()),
            (VERSION.to_owned(), description.version.clone()),
        ]);
        let manifest: ImageManifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .artifact_type(MediaType::Other(ARTIFACT_TYPE.to_owned()))
            .config(about)
            .layers(described)
            .annotations(annotations)
            .build()
            .expect("all members of a manifest are given");
        Self { config, layers, manifest: canonical(&manifest).into() }
    }
}

impl ArtifactLayer {
    fn descriptor(&self) -> Descriptor {
        let (form, annotations) = match &self.part {
            Part::File { path, mode, modified } => {
                let name = path.rsplit('/').next().unwrap_or(path);
                // Owners are those of a machine, not of the model.
                let mut metadata = json!({"name": name, "mode": mode, "uid": 0, "gid": 0, "size": self.size,
                    "typeflag": REGULAR});
                if let Some(modified) = modified {
                    metadata["mtime"] = json!(modified.to_string());
                }
                let metadata = String::from_utf8(canonical(&metadata)).expect("JSON is UTF-8");
                let annotations =
                    [(FILE_PATH.to_owned(), path.clone()), (FILE_METADATA.to_owned(), metadata)];
                ("raw", HashMap::from(annotations))
            }
            Part::Tar(_) => ("tar", HashMap::from([(FILE_PATH.to_owned(), ".".to_owned())])),
        };
        let media_type = format!("{}{}.v1.{form}", LAYER_PREFIXES[0], self.purpose.word());
        describe(&media_type, self.digest, self.size, annotations)
    }
}

fn describe(media_type: &str, digest: Digest, size: u64, annotations: HashMap<String, String>) -> Descriptor {
    let builder = DescriptorBuilder::default().media_type(media_type).digest(digest).size(size);
    let builder = if annotations.is_empty() { builder } else { builder.annotations(annotations) };
    builder.build().expect("all members of a descriptor are given")
}

/// A layer as a manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedLayer {
    /// What is in it.
    pub part: Part,
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob.
    pub size: u64,
}

/// What a manifest lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The layers, in order.
    pub layers: Vec<ListedLayer>,
    /// Name and version, where the manifest says them.
    pub title: Option<(String, String)>,
}

/// A manifest that is not one of a model, or not one that can be unpacked safely.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// It is not the JSON that it should be.
    #[error("the manifest cannot be read")]
    Syntax(#[source] serde_json::Error),
    /// It describes something else.
    #[error("the manifest describes {found}, not a model")]
    NotAModel {
        /// What it says that it is.
        found: String,
    },
    /// A layer of a kind that is not known.
    #[error("layer `{digest}` has the unknown media type `{media_type}`")]
    MediaType {
        /// The layer.
        digest: String,
        /// What it says that it is.
        media_type: String,
    },
    /// A layer's digest cannot be used.
    #[error("a layer has no usable digest")]
    Digest(#[source] ParseDigestError),
    /// A file without a place, or with one outside of the model.
    #[error("layer `{digest}` has no plain relative path: `{}`", path.escape_debug())]
    Path {
        /// The layer.
        digest: String,
        /// What it says.
        path: String,
    },
    /// Two layers have the same place.
    #[error("`{}` is there more than once", path.escape_debug())]
    Duplicate {
        /// The path.
        path: String,
    },
}

/// The part of a file's metadata that is used.
#[derive(Default, Deserialize)]
struct Metadata {
    mode: Option<u32>,
    mtime: Option<String>,
}

/// Reads what a manifest lists.
pub fn read(manifest: &[u8]) -> Result<Listed, ArtifactError> {
    let document: ImageManifest = serde_json::from_slice(manifest).map_err(ArtifactError::Syntax)?;
    let found = document.artifact_type().as_ref().map(ToString::to_string);
    let found = found.unwrap_or_else(|| document.config().media_type().to_string());
    if !LAYER_PREFIXES.iter().any(|prefix| found.starts_with(prefix)) {
        return Err(ArtifactError::NotAModel { found: format!("`{found}`") });
    }
    let mut seen = BTreeSet::new();
    let mut layers = Vec::new();
    for descriptor in document.layers() {
        let layer = listed(descriptor)?;
        if let Part::File { path, .. } = &layer.part
            && !seen.insert(path.clone())
        {
            return Err(ArtifactError::Duplicate { path: path.clone() });
        }
        layers.push(layer);
    }
    let annotation = |key: &str| document.annotations().as_ref().and_then(|all| all.get(key)).cloned();
    Ok(Listed { layers, title: annotation(TITLE).zip(annotation(VERSION)) })
}

fn listed(descriptor: &Descriptor) -> Result<ListedLayer, ArtifactError> {
    let media_type = descriptor.media_type().to_string();
    let unknown = || ArtifactError::MediaType {
        digest: descriptor.digest().to_string(),
        media_type: media_type.clone(),
    };
    let rest =
        LAYER_PREFIXES.iter().find_map(|prefix| media_type.strip_prefix(prefix)).ok_or_else(unknown)?;
    let form = rest.rsplit('.').next().ok_or_else(unknown)?;
    let annotation = |key: &str| descriptor.annotations().as_ref().and_then(|all| all.get(key));
    let part = match form {
        "raw" => {
            let path = annotation(FILE_PATH).cloned().unwrap_or_default();
            let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
            check_path(&path).map_err(|_| ArtifactError::Path {
                digest: descriptor.digest().to_string(),
                path: path.clone(),
            })?;
            let metadata = annotation(FILE_METADATA).and_then(|text| serde_json::from_str(text).ok());
            let metadata: Metadata = metadata.unwrap_or_default();
            let modified = metadata.mtime.and_then(|text| text.parse().ok());
            Part::File { path, mode: metadata.mode.unwrap_or(USUAL_MODE) & 0o777, modified }
        }
        "tar" => Part::Tar(Compression::None),
        "tar+gzip" => Part::Tar(Compression::Gzip),
        "tar+zstd" => Part::Tar(Compression::Zstd),
        _ => return Err(unknown()),
    };
    let digest = Digest::try_from(descriptor.digest()).map_err(ArtifactError::Digest)?;
    Ok(ListedLayer { part, digest, size: descriptor.size() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::blob::BytesBlob;

    fn layer(part: Part, purpose: Purpose, bytes: &'static [u8]) -> ArtifactLayer {
        let blob = Arc::new(BytesBlob(Bytes::from_static(bytes)));
        ArtifactLayer { purpose, part, digest: Digest::of(bytes), size: bytes.len() as u64, blob }
    }

    fn description() -> Description {
        Description {
            name: "iris".to_owned(),
            version: "v1".to_owned(),
            created: "2026-11-21T22:41:49.651064+00:00".to_owned(),
            format: Some("sklearn".to_owned()),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let file = Part::File {
            path: "a/model.bin".to_owned(),
            mode: 0o640,
            modified: Some(Timestamp::new(1_700_000_000, 5).unwrap()),
        };
        let layers_written = vec![
            layer(Part::Tar(Compression::None), Purpose::WeightConfig, b"tar"),
            layer(file.clone(), Purpose::Weight, b"weights"),
        ];
        let artifact = Artifact::new(&description(), layers_written);
        let listed = read(&artifact.manifest).unwrap();
        assert_eq!(listed.title, Some(("iris".to_owned(), "v1".to_owned())));
        let read = listed.layers;
        let parts: Vec<_> = read.iter().map(|layer| (&layer.part, layer.size)).collect();
        assert_eq!(parts, [(&Part::Tar(Compression::None), 3), (&file, 7)]);
        assert_eq!(read[1].digest, Digest::of(b"weights"), "the blob is the file");
        let config: serde_json::Value = serde_json::from_slice(&artifact.config).unwrap();
        assert_eq!(config["modelfs"]["diffIds"], json!([Digest::of(b"tar"), Digest::of(b"weights")]));
        assert_eq!(config["descriptor"]["name"], "iris");
        let manifest: serde_json::Value = serde_json::from_slice(&artifact.manifest).unwrap();
        assert_eq!(manifest["artifactType"], ARTIFACT_TYPE);
        assert_eq!(manifest["config"]["digest"], json!(Digest::of(&artifact.config)));
        assert_eq!(manifest["layers"][1]["mediaType"], "application/vnd.cncf.model.weight.v1.raw");
        let metadata = manifest["layers"][1]["annotations"][FILE_METADATA].as_str().unwrap();
        let metadata: serde_json::Value = serde_json::from_str(metadata).unwrap();
        assert_eq!((&metadata["name"], &metadata["mode"]), (&json!("model.bin"), &json!(0o640)));
    }

    fn manifest(layer: &serde_json::Value) -> Vec<u8> {
        let config = json!({"mediaType": CONFIG_MEDIA_TYPE, "digest": Digest::of(b"{}"), "size": 2});
        let layers = [layer.clone(), layer.clone()];
        let layers = if layer.is_null() { &layers[..0] } else { &layers[..] };
        json!({"schemaVersion": 2, "artifactType": ARTIFACT_TYPE, "config": config, "layers": layers})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn places_outside_and_twice_are_refused() {
        let raw = |path: &str| {
            json!({"mediaType": "application/vnd.cncf.model.weight.v1.raw", "digest": Digest::of(b"x"), "size": 1,
                "annotations": {FILE_PATH: path}})
        };
        for path in ["", "/etc/passwd", "../x", "a/../../x", "a//b"] {
            let error = read(&manifest(&raw(path))).unwrap_err();
            assert!(matches!(error, ArtifactError::Path { .. }), "{path}: {error}");
        }
        assert!(matches!(read(&manifest(&raw("./a"))).unwrap_err(), ArtifactError::Duplicate { .. }));
        let other = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": Digest::of(b"x"), "size": 1});
        assert!(matches!(read(&manifest(&other)).unwrap_err(), ArtifactError::MediaType { .. }));
        let nothing = String::from_utf8(manifest(&serde_json::Value::Null)).unwrap();
        let image = nothing.replace(ARTIFACT_TYPE, "application/x");
        assert!(matches!(read(image.as_bytes()).unwrap_err(), ArtifactError::NotAModel { .. }));
        assert_eq!(read(nothing.as_bytes()).unwrap().layers, []);
    }

    #[test]
    fn compressed_tars_and_older_drafts_are_read() {
        let descriptor = json!({"mediaType": "application/vnd.cnai.model.doc.v1.tar+gzip", "digest": Digest::of(b"x"), "size": 1});
        let listed = read(&manifest(&descriptor)).unwrap();
        assert_eq!(listed.layers[0].part, Part::Tar(Compression::Gzip));
    }
}
