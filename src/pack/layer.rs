//! One layer: found in the cache, or packed and hashed.

use std::io::{self, Write as _};
use std::sync::Arc;

use serde_json::json;

use super::cache::{Cache, Record};
use super::error::PackError;
use crate::build_time::BuildTime;
use crate::fs::StagedFile;
use crate::oci::blob::{Blob, FileBlob};
use crate::oci::compress::{self, Compression, RECIPE, Storage};
use crate::oci::digest::{DiffId, Digest, Hasher};
use crate::oci::json::canonical;
use crate::oci::layer::Layer;
use crate::oci::tar::VirtualTar;
use crate::oci::tree::Tree;
use crate::report::{Interrupt, Report, Watched};

/// Changes whenever the same tree would give other bytes: part of every plan key.
const PACKER_VERSION: u32 = 1;

/// A layer to be made; `E` is the error of whoever makes its contents.
pub struct LayerSpec<'a, E = PackError> {
    /// What people read in the image's history and on the terminal.
    pub title: String,
    /// Everything that the layer's bytes follow from: equal inputs, equal bytes.
    pub inputs: serde_json::Value,
    /// How to store it.
    pub storage: Storage,
    /// Makes the contents, of which nothing is read here. Called for a kept layer only when the cache has none.
    pub tree: Box<dyn FnOnce() -> Result<Tree, E> + Send + 'a>,
}

/// A layer, and whether it had to be packed.
#[derive(Debug)]
pub struct Packed {
    /// The layer.
    pub layer: Layer,
    /// Whether its contents were read to make it.
    pub was_packed: bool,
}

impl<E> LayerSpec<'_, E> {
    /// The plan key: digest of the inputs, the way of storing them, the time stamp, and the packer's version.
    pub fn key(&self, time: BuildTime) -> Digest {
        key(&self.inputs, self.storage, time)
    }
}

/// The plan key of a layer with these inputs that is stored in this way.
pub fn key(inputs: &serde_json::Value, storage: Storage, time: BuildTime) -> Digest {
    Digest::of(&canonical(&json!({
        "inputs": inputs,
        "packer": PACKER_VERSION,
        "recipe": RECIPE,
        "storage": storage,
        "time": time.seconds(),
    })))
}

/// Digest and size of a layer that is made of its contents each time, by its plan key; `None` where that is not known.
pub fn known(key: Digest, cache: &Cache) -> Option<(Digest, u64)> {
    cache.record(key).filter(|record| record.is_virtual).map(|record| (record.digest, record.size))
}

/// Remembers digest and size of a layer that is made of its contents each time, and not compressed.
pub fn remember(key: Digest, (digest, size): (Digest, u64), cache: &Cache) -> Result<(), PackError> {
    let compression = Compression::None;
    cache.store_record(key, &Record { digest, size, diff_id: DiffId(digest), compression, is_virtual: true })
}

/// Takes the layer from the cache, or packs it and puts it there.
pub fn pack<E: From<PackError>>(
    spec: LayerSpec<'_, E>,
    cache: &Cache,
    time: BuildTime,
    report: &dyn Report,
    interrupt: &Interrupt,
) -> Result<Packed, E> {
    interrupt.check().map_err(PackError::from)?;
    let key = spec.key(time);
    let LayerSpec { title, storage, tree, .. } = spec;
    let finish = |record: &Record, blob, was_packed| Packed {
        layer: Layer {
            media_type: record.compression.media_type().to_owned(),
            digest: record.digest,
            size: record.size,
            diff_id: record.diff_id,
            created_by: format!("ekiben {title}"),
            origin: None,
            blob,
        },
        was_packed,
    };
    if let Some(record) = cache.record(key) {
        if record.is_virtual {
            let tar = VirtualTar::new(&tree()?, time.seconds());
            return Ok(finish(&record, Arc::new(tar), false));
        }
        let blob = FileBlob::whole(cache.blob_path(record.digest)).ok();
        if let Some(blob) = blob.filter(|blob| blob.size == record.size) {
            return Ok(finish(&record, Arc::new(blob), false));
        }
    }
    let tar = VirtualTar::new(&tree()?, time.seconds());
    let explain = |source| match interrupt.check() {
        Ok(()) => PackError::Pack { layer: title.clone(), source },
        Err(interrupted) => PackError::Interrupted(interrupted),
    };
    let kept_as = match storage {
        Storage::Kept(compression) => Some(compression),
        Storage::IfWorthwhile(compression) if compress::is_worthwhile(&tar).map_err(explain)? => {
            Some(compression)
        }
        Storage::IfWorthwhile(_) | Storage::Virtual => None,
    };
    let progress = report.task(&format!("pack {title}"), Some(tar.size()));
    let reader = Watched::new(tar.open_at(0).map_err(explain)?, progress.as_ref(), interrupt);
    let (record, blob) = match kept_as {
        None => {
            let (digest, size) = Digest::of_reader(reader).map_err(explain)?;
            let blob: Arc<dyn Blob> = Arc::new(tar);
            let compression = Compression::None;
            (Record { digest, size, diff_id: DiffId(digest), compression, is_virtual: true }, blob)
        }
        Some(compression) => {
            let record = store(compression, reader, cache, key).map_err(explain)?;
            let path = cache.blob_path(record.digest);
            let blob: Arc<dyn Blob> = Arc::new(FileBlob { path, start: 0, size: record.size });
            (record, blob)
        }
    };
    cache.store_record(key, &record)?;
    Ok(finish(&record, blob, true))
}

/// Stores the tar in the cache, hashing both sides of the compression on the way.
fn store(compression: Compression, reader: impl io::Read, cache: &Cache, key: Digest) -> io::Result<Record> {
    let staged = StagedFile::beside(&cache.blob_path(key)).map_err(io::Error::other)?;
    let mut packed = Hasher::new(io::BufWriter::with_capacity(256 * 1024, staged));
    let mut plain = Tee { reader, hasher: Hasher::new(io::sink()) };
    compression.compress(&mut plain, &mut packed)?;
    packed.flush()?;
    let ((digest, size), writer) = packed.finish();
    let staged = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    staged.publish_as(&cache.blob_path(digest)).map_err(io::Error::other)?;
    Ok(Record { digest, size, diff_id: DiffId(plain.hasher.digest().0), compression, is_virtual: false })
}

/// A reader that hashes what passes.
struct Tee<R> {
    reader: R,
    hasher: Hasher<io::Sink>,
}

impl<R: io::Read> io::Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.write_all(&buffer[..count])?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::image::Image;
    use crate::oci::platform::Platform;
    use crate::oci::tree::{Content, Entry, Owner};
    use crate::oci::validate::validate;
    use crate::report::Silent;

    fn spec(storage: Storage, text: &'static str, version: u32) -> LayerSpec<'static> {
        let tree = move || {
            let mut tree = Tree::new();
            let content = Content::from(text.repeat(10_000));
            tree.insert("a/file", Entry::file(content, 0o644, Owner::ROOT)).unwrap();
            Ok(tree)
        };
        LayerSpec { title: "test".to_owned(), inputs: json!(version), storage, tree: Box::new(tree) }
    }

    fn put(cache: &Cache, spec: LayerSpec<'_>) -> Packed {
        pack(spec, cache, BuildTime::default(), &Silent, &Interrupt::default()).unwrap()
    }

    #[test]
    fn a_layer_is_packed_once() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().to_owned());
        for storage in [
            Storage::Kept(Compression::Gzip),
            Storage::Kept(Compression::Zstd),
            Storage::Kept(Compression::None),
            Storage::Virtual,
            Storage::IfWorthwhile(Compression::Gzip),
        ] {
            let first = put(&cache, spec(storage, "text", 1));
            let second = put(&cache, spec(storage, "text", 1));
            assert!(first.was_packed && !second.was_packed, "{storage:?}");
            assert_eq!(first.layer.digest, second.layer.digest);
            let image = Image::scratch(&Platform::linux("amd64")).append([second.layer]);
            assert!(validate(&image).is_empty(), "{storage:?}");
            assert!(put(&cache, spec(storage, "text", 2)).was_packed, "other inputs, another key");
        }
    }

    #[test]
    fn a_lost_blob_is_packed_again() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().to_owned());
        let first = put(&cache, spec(Storage::Kept(Compression::Gzip), "text", 1));
        std::fs::remove_file(cache.blob_path(first.layer.digest)).unwrap();
        assert!(put(&cache, spec(Storage::Kept(Compression::Gzip), "text", 1)).was_packed);
    }

    #[test]
    fn an_interrupted_pack_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().to_owned());
        let interrupt = Interrupt::default();
        let raise = interrupt.clone();
        let mut spec = spec(Storage::Kept(Compression::Gzip), "text", 1);
        let inner = std::mem::replace(&mut spec.tree, Box::new(|| Ok(Tree::new())));
        spec.tree = Box::new(move || {
            raise.raise();
            inner()
        });
        let error = pack(spec, &cache, BuildTime::default(), &Silent, &interrupt).unwrap_err();
        assert!(matches!(error, PackError::Interrupted(_)), "{error}");
        let files = walkdir::WalkDir::new(directory.path())
            .into_iter()
            .filter(|entry| entry.as_ref().unwrap().file_type().is_file());
        assert_eq!(files.count(), 0);
    }
}
