//! `docker-daemon:`: images of the local engine.
//!
//! An image is loaded as an archive that is made while it is sent. Docker's own store finds a layer by the layers below
//! it before it looks into the archive, so those that it has are left out (moby, image/tarexport/load.go).

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::archive::{self, archive};
use super::error::TransportError;
use super::name::{TransportName, familiar};
use super::receipt::Receipt;
use crate::blocking;
use crate::engine::{Engine, EngineError, EngineImage, Store};
use crate::oci::blob::Blob;
use crate::oci::compress::Compression;
use crate::oci::digest::DiffId;
use crate::oci::image::{Image, ImageError};
use crate::oci::layer::Layer;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::report::{Activity, Interrupt, Progress};

/// Reads an image of the engine by way of a file in `directory`, which lasts as long as the image does.
pub async fn read(
    engine: &Engine,
    reference: &Reference,
    platform: &Platform,
    directory: &Path,
    activity: &Activity,
) -> Result<Image, TransportError> {
    let name = familiar(reference);
    let not_found = || TransportError::NotFound { place: engine.host().to_owned(), name: Some(name.clone()) };
    activity.interrupt.guard(engine.inspect(&name)).await??.ok_or_else(not_found)?;
    activity.report.stage(&format!("Reading {name} from the engine"));
    let explain = |source| TransportError::File { action: "write below", path: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(explain)?;
    let file = tempfile::Builder::new().suffix(".tar").tempfile_in(directory).map_err(explain)?;
    let handle = file.as_file().try_clone().map_err(explain)?;
    activity.interrupt.guard(engine.save(&name, handle)).await??;
    let file = Arc::new(file.into_temp_path());
    let (wanted, path) = (platform.clone(), Arc::clone(&file));
    let image = blocking::run(move || archive::read_docker(&path, None, &wanted)).await?;
    let keep = |layer: &Layer| Layer {
        blob: Arc::new(KeptBlob { blob: Arc::clone(&layer.blob), file: Arc::clone(&file) }),
        ..layer.clone()
    };
    let layers = image.layers().iter().map(keep).collect();
    Image::from_parts(image.config(), layers).map_err(|source| of_image(&name, source))
}

/// Loads an image into the engine under a name.
pub async fn write(
    engine: &Engine,
    reference: &Reference,
    image: &Image,
    activity: &Activity,
) -> Result<Receipt, TransportError> {
    let name = familiar(reference);
    let guard = &activity.interrupt;
    let mut receipt = Receipt {
        destination: TransportName::Engine(reference.clone()).to_string(),
        digest: image.digest(),
        config_digest: image.config_digest(),
        was_there: false,
        bytes_written: 0,
        bytes_skipped: image.layers().iter().map(|layer| layer.size).sum(),
        bytes_mounted: 0,
    };
    let before = guard.guard(engine.inspect(&name)).await??;
    if before.is_some_and(|found| is_same(engine, &found, image)) {
        receipt.was_there = true;
        return Ok(receipt);
    }
    activity.report.stage(&format!("Loading {name} into the engine"));
    let mut omit = known(engine, image, guard).await?;
    let mut loaded = load(engine, reference, image, &omit, activity).await;
    if !omit.is_empty() && matches!(&loaded, Err(TransportError::Engine(_))) {
        // A layer that was left out may have been removed meanwhile: all of them, once.
        omit.clear();
        loaded = load(engine, reference, image, &omit, activity).await;
    }
    loaded?;
    // The engine may wrap the manifest in an index of its own, so here the layers are compared.
    let layers = image.layers().iter().map(|layer| &layer.diff_id);
    let after = guard.guard(engine.inspect(&name)).await??;
    if !after.is_some_and(|found| found.layers.iter().eq(layers)) {
        return Err(TransportError::NotFound { place: engine.host().to_owned(), name: Some(name) });
    }
    let sent = image.layers().iter().filter(|layer| !omit.contains(&layer.diff_id));
    receipt.bytes_written = sent.map(|layer| layer.size).sum();
    receipt.bytes_skipped -= receipt.bytes_written;
    Ok(receipt)
}

/// Whether an image of the engine is this very one.
fn is_same(engine: &Engine, found: &EngineImage, image: &Image) -> bool {
    match engine.store() {
        Store::Classic | Store::Podman => found.id == image.config_digest(),
        Store::Containerd => found.id == image.digest(),
    }
}

/// The layers that need not be sent.
async fn known(
    engine: &Engine,
    image: &Image,
    guard: &Interrupt,
) -> Result<BTreeSet<DiffId>, TransportError> {
    if engine.store() != Store::Classic {
        return Ok(BTreeSet::new());
    }
    let layers: Vec<_> = image.layers().iter().map(|layer| layer.diff_id).collect();
    let count = guard.guard(engine.known_layers(&layers)).await??;
    let (known, others) = layers.split_at(count);
    // A layer that is there twice, once above the known ones, has to be sent.
    Ok(known.iter().filter(|layer| !others.contains(layer)).copied().collect())
}

async fn load(
    engine: &Engine,
    reference: &Reference,
    image: &Image,
    omit: &BTreeSet<DiffId>,
    activity: &Activity,
) -> Result<(), TransportError> {
    let names = [reference.clone()];
    let (image, omitted) = (image.clone(), omit.clone());
    let takes_zstd = engine.takes_zstd();
    let make = move || {
        let image = if takes_zstd { image } else { without_zstd(&image, &omitted)? };
        Ok::<_, TransportError>(archive(&image, &names, &omitted))
    };
    let tar = activity.interrupt.guard(blocking::run(make)).await??;
    let progress: Arc<dyn Progress> =
        activity.report.task(&format!("load {}", familiar(reference)), Some(tar.size())).into();
    let watch = move |count| progress.advance(count);
    Ok(activity.interrupt.guard(engine.load(Arc::new(tar), watch)).await??)
}

/// The same image, its id included, with plain layers in place of those that an old engine cannot unpack.
fn without_zstd(image: &Image, omit: &BTreeSet<DiffId>) -> Result<Image, TransportError> {
    let plain = |layer: &Layer| {
        if layer.compression() != Some(Compression::Zstd) || omit.contains(&layer.diff_id) {
            return Ok(layer.clone());
        }
        let explain = |source| TransportError::Blob { digest: layer.digest, source };
        let mut tar = layer.open_tar().map_err(explain)?;
        let size = io::copy(&mut tar, &mut io::sink()).map_err(explain)?;
        Ok(Layer {
            media_type: Compression::None.media_type().to_owned(),
            digest: layer.diff_id.0,
            size,
            blob: Arc::new(PlainBlob { layer: layer.clone(), size }),
            ..layer.clone()
        })
    };
    let layers = image.layers().iter().map(plain).collect::<Result<_, TransportError>>()?;
    Image::from_parts(image.config(), layers).map_err(|source| of_image("the image to be loaded", source))
}

fn of_image(subject: &str, source: ImageError) -> TransportError {
    TransportError::Image { subject: subject.to_owned(), source }
}

/// The uncompressed bytes of a layer.
struct PlainBlob {
    layer: Layer,
    size: u64,
}

impl Blob for PlainBlob {
    fn size(&self) -> u64 {
        self.size
    }

    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut tar = self.layer.open_tar()?;
        io::copy(&mut tar.by_ref().take(offset), &mut io::sink())?;
        Ok(tar)
    }
}

impl fmt::Debug for PlainBlob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} uncompressed", self.layer.blob)
    }
}

/// A blob in a temporary file, which is removed with the last of its blobs.
#[derive(Debug)]
struct KeptBlob {
    blob: Arc<dyn Blob>,
    #[expect(dead_code, reason = "is only there to be dropped last")]
    file: Arc<tempfile::TempPath>,
}

impl Blob for KeptBlob {
    fn size(&self) -> u64 {
        self.blob.size()
    }

    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        self.blob.open_at(offset)
    }
}

impl From<EngineError> for TransportError {
    fn from(error: EngineError) -> Self {
        Self::Engine(Box::new(error))
    }
}
