//! Small images with real layers, the same each time.

use std::io::Read;

use ekiben::oci::blob::Blob;
use ekiben::oci::config::ConfigPatch;
use ekiben::oci::image::Image;
use ekiben::oci::layer::Layer;
use ekiben::oci::platform::Platform;
use ekiben::oci::tar::VirtualTar;
use ekiben::oci::tree::{Content, Entry, Owner, Tree};

/// A layer with one file of `size` bytes that no compressor can shrink, different for each name.
pub(crate) fn layer(name: &str, size: usize) -> Layer {
    let mut state =
        name.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| state.rotate_left(9) ^ u64::from(byte));
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let noise: Vec<u8> = std::iter::repeat_with(next).flatten().take(size).collect();
    let mut tree = Tree::new();
    let file = Entry::file(Content::Bytes(noise.into()), 0o644, Owner::ROOT);
    tree.insert(&format!("srv/{name}"), file).expect("the path is plain");
    Layer::from_bytes(bytes_of(&VirtualTar::new(&tree, 0)).into(), name)
}

/// An image for this machine with these layers.
pub(crate) fn image(layers: impl IntoIterator<Item = Layer>) -> Image {
    let patch = ConfigPatch { entrypoint: vec!["/srv/a".to_owned()], ..ConfigPatch::default() };
    Image::scratch(&Platform::host()).append(layers).with_config(&patch)
}

/// All bytes of a blob.
pub(crate) fn bytes_of(blob: &dyn Blob) -> Vec<u8> {
    let mut bytes = Vec::new();
    blob.open_at(0).and_then(|mut reader| reader.read_to_end(&mut bytes)).expect("the blob can be read");
    bytes
}
