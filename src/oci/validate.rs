//! Whether an image is what it says: every digest, size, path and count is checked, every violation reported.

use std::io::{self, Read};

use thiserror::Error;

use super::digest::{DiffId, Digest};
use super::image::{Image, ImageError};
use super::layer::Layer;
use super::tree::check_path;

/// One thing that is wrong with an image, with what was said and what is.
#[derive(Debug, Error)]
pub enum Violation {
    /// The configuration cannot be understood.
    #[error("the configuration is not one of an image")]
    Config(#[source] ImageError),
    /// A blob is not the one it is said to be.
    #[error(
        "layer {layer} is said to be `{stated}` of {stated_size} bytes, and is `{actual}` of {actual_size} bytes"
    )]
    Blob {
        /// Index of the layer, bottom first.
        layer: usize,
        /// Digest in the manifest.
        stated: Digest,
        /// Digest of the bytes.
        actual: Digest,
        /// Size in the manifest.
        stated_size: u64,
        /// Number of bytes.
        actual_size: u64,
    },
    /// The uncompressed tar is not the one that the configuration names.
    #[error("layer {layer} is said to have diff ID `{stated}`, and has `{actual}`")]
    DiffId {
        /// Index of the layer, bottom first.
        layer: usize,
        /// Diff ID in the configuration.
        stated: DiffId,
        /// Digest of the uncompressed bytes.
        actual: DiffId,
    },
    /// A path in a layer leaves the root.
    #[error("layer {layer} has the entry `{path}`, which is not a plain relative path")]
    Path {
        /// Index of the layer, bottom first.
        layer: usize,
        /// The path as the tar has it.
        path: String,
    },
    /// A layer cannot be read.
    #[error("layer {layer} cannot be read")]
    Read {
        /// Index of the layer, bottom first.
        layer: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads the whole image and returns everything that is wrong with it.
pub fn validate(image: &Image) -> Vec<Violation> {
    let mut violations = Vec::new();
    if let Err(error) = Image::from_parts(image.config(), image.layers().to_vec()) {
        violations.push(Violation::Config(error));
    }
    for (index, layer) in image.layers().iter().enumerate() {
        if let Err(source) = validate_layer(index, layer, &mut violations) {
            violations.push(Violation::Read { layer: index, source });
        }
    }
    violations
}

fn validate_layer(index: usize, layer: &Layer, violations: &mut Vec<Violation>) -> io::Result<()> {
    let (actual, actual_size) = Digest::of_reader(layer.blob.open_at(0)?)?;
    if (actual, actual_size) != (layer.digest, layer.size) {
        violations.push(Violation::Blob {
            layer: index,
            stated: layer.digest,
            actual,
            stated_size: layer.size,
            actual_size,
        });
    }
    let actual = DiffId(Digest::of_reader(layer.open_tar()?)?.0);
    if actual != layer.diff_id {
        violations.push(Violation::DiffId { layer: index, stated: layer.diff_id, actual });
    }
    let mut tar = tar::Archive::new(layer.open_tar()?);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let plain = path.trim_start_matches("./").trim_end_matches('/');
        let is_whiteout = plain.split('/').any(|name| name.starts_with(".wh."));
        if !plain.is_empty() && !is_whiteout && check_path(plain).is_err() {
            violations.push(Violation::Path { layer: index, path });
        }
        io::copy(&mut entry.by_ref(), &mut io::sink())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::blob::{Blob, BytesBlob};
    use crate::oci::platform::Platform;
    use crate::oci::tar::VirtualTar;
    use crate::oci::tree::{Entry, Owner, Tree};
    use std::sync::Arc;

    fn good() -> Layer {
        let mut tree = Tree::new();
        tree.insert("a/b", Entry::symlink("c", Owner::ROOT)).unwrap();
        let mut bytes = Vec::new();
        VirtualTar::new(&tree, 0).open_at(0).unwrap().read_to_end(&mut bytes).unwrap();
        Layer::from_bytes(bytes.into(), "test")
    }

    #[test]
    fn a_sound_image_has_no_violation() {
        let image = Image::scratch(&Platform::linux("amd64")).append([good()]);
        assert!(validate(&image).is_empty());
    }

    #[test]
    fn everything_wrong_is_reported() {
        let mut layer = good();
        let mut bytes = Vec::new();
        layer.blob.open_at(0).unwrap().read_to_end(&mut bytes).unwrap();
        bytes[0] = b'/';
        layer.blob = Arc::new(BytesBlob(bytes.into()));
        let image = Image::scratch(&Platform::linux("amd64")).append([layer]);
        let texts: Vec<_> = validate(&image).iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(texts[0].starts_with("layer 0 is said to be"));
        assert!(texts[1].starts_with("layer 0 is said to have diff ID"));
        assert_eq!(texts[2], "layer 0 cannot be read");
    }
}
