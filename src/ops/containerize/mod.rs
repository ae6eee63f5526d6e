//! `containerize`: from a bento in the store to an image wherever it is wanted.

mod base;
mod contents;
mod error;
mod hub;
mod older;
mod packages;
mod unpacked;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use self::base::Base;
use self::contents::Contents;
pub use self::error::ContainerizeError;
use self::hub::HubModels;
pub(super) use self::hub::lock_layers;
use super::Context;
use super::image_lock::ImageLock;
use crate::oci::compress::Compression;
use crate::oci::digest::Digest;
use crate::oci::layer::Layer;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::pack::{self, LayerSpec, Packed};
use crate::plan::{self, BuildPlan};
use crate::store::{Bento, Home, ImageInfo};
use crate::tag::TagQuery;
use crate::transport::{Receipt, TransportName, Transports, familiar};

/// Layers that are packed at the same time: packing is bound by the processor, and two cores are everywhere.
const PACKERS: usize = 2;

/// What is to be written, and where to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bento.
    pub bento: TagQuery,
    /// Names of the image; the bento's own tag where there is none.
    pub image_tags: Vec<Reference>,
    /// Where to write it; a place is chosen where there is none.
    pub destinations: Vec<TransportName>,
    /// The base image; the bento's own where there is none.
    pub base: Option<TransportName>,
    /// The image's platform; the one that the bento was built for where there is none.
    pub platform: Option<Platform>,
    /// How code, dependencies and base are compressed.
    pub compression: Compression,
    /// Whether to look for newer base packages and images than those found before.
    pub refresh: bool,
    /// Whether the layers of the hub's models are made from their contents, and compared with what is known of them.
    pub verify: bool,
}

/// What was written.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The bento's tag.
    pub bento: String,
    /// Names of the image, in the form that engines show.
    pub image_tags: Vec<String>,
    /// The image's platform.
    pub platform: Platform,
    /// What it is based on.
    pub base: String,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Digest of the configuration, which engines call the image's id.
    pub config_digest: Digest,
    /// Sum of the sizes of the blobs.
    pub size: u64,
    /// The layers, bottom first.
    pub layers: Vec<LayerOutcome>,
    /// What was written where.
    pub receipts: Vec<Receipt>,
}

/// A layer of the image.
#[derive(Debug, Serialize)]
pub struct LayerOutcome {
    /// What is in it.
    pub title: String,
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob.
    pub size: u64,
    /// Media type of the blob.
    pub media_type: String,
    /// Whether its contents were read and packed for this image: `false` where the cache or the base had it.
    pub packed: bool,
}

/// An image to be made: what the user says, completed by what the bento says.
struct Job<'a> {
    settings: &'a Settings,
    bento: &'a Bento,
    /// The bento's own lock; bentos of the original tool have none.
    lock: Option<ImageLock>,
    platform: Platform,
    /// How its image is made.
    described: ImageInfo,
}

impl<'a> Job<'a> {
    fn new(settings: &'a Settings, bento: &'a Bento) -> Result<Self, ContainerizeError> {
        let lock = ImageLock::read(&bento.path)?;
        let own = || lock.as_ref().map_or_else(Platform::host, ImageLock::platform);
        let platform = settings.platform.clone().unwrap_or_else(own);
        let described = older::described(bento)?;
        Ok(Self { settings, bento, lock, platform, described })
    }
}

/// Writes the image of a bento.
pub fn containerize(settings: &Settings, context: &Context) -> Result<Outcome, ContainerizeError> {
    let bento = Home::open(&context.home)?.bentos().get(&settings.bento)?;
    let job = Job::new(settings, &bento)?;
    let transports = context.transports()?;
    let destinations = destinations(settings, &bento, &transports, context)?;
    for destination in &destinations {
        transports.check_destination(destination)?;
    }
    for warning in name_conflicts(settings) {
        context.report.warn(&warning);
    }
    context.report.stage(&format!("Building OCI-compliant image for {} with ekiben", bento.info.tag));
    let (base, contents) = resolve(&job, &transports, context)?;
    let plan = plan::plan(&contents.inputs);
    contents.prepare(&plan, settings.verify, context)?;
    let packed = pack_all(&plan, &contents, context)?;
    let layers = outcomes(&base, &packed);
    let image = base.image.append(packed.into_iter().map(|packed| packed.layer)).with_config(&plan.config);
    let names = image_tags(settings, &bento)?;
    let mut receipts = Vec::new();
    for destination in &destinations {
        context.interrupt.check()?;
        context.report.stage(&format!("Writing the image to {destination}"));
        receipts.push(transports.write(destination, &image, &names)?);
    }
    Ok(Outcome {
        bento: bento.info.tag.to_string(),
        image_tags: names.iter().map(familiar).collect(),
        platform: image.platform(),
        base: base.title,
        digest: image.digest(),
        config_digest: image.config_digest(),
        size: image.layers().iter().map(|layer| layer.size).sum(),
        layers,
        receipts,
    })
}

/// Finds the exact inputs: the base, the Python lock and the hub's models at the same time, for all wait for the network; then the
/// packages, which the base's own Python compiles.
fn resolve(
    job: &Job<'_>,
    transports: &Transports,
    context: &Context,
) -> Result<(Base, Contents), ContainerizeError> {
    let (base, locked, models) = std::thread::scope(|scope| {
        let locked = scope.spawn(|| packages::lock(job, context));
        let models = scope.spawn(|| HubModels::resolve(job, context));
        let base = base::resolve(job, transports, context);
        let locked = locked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (base, locked, models.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut base = base?;
    let packages = packages::install(locked?, base.interpreter.as_ref(), context)?;
    let contents = Contents::new(job, &mut base, packages, models?, context)?;
    Ok((base, contents))
}

/// Packs every layer of the plan, several at a time; stops at the first failure.
fn pack_all(
    plan: &BuildPlan,
    contents: &Contents,
    context: &Context,
) -> Result<Vec<Packed>, ContainerizeError> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<Packed, ContainerizeError>>>> =
        plan.layers.iter().map(|_| Mutex::new(None)).collect();
    let pack_some = || {
        while let Some(layer) = plan.layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let index = plan.layers.iter().position(|other| std::ptr::eq(other, layer)).unwrap_or_default();
            let spec = LayerSpec {
                title: layer.title.clone(),
                inputs: layer.inputs.clone(),
                storage: layer.storage,
                tree: Box::new(|| contents.tree(&layer.content, context)),
            };
            let result =
                pack::pack(spec, &context.cache, context.time, context.report.as_ref(), &context.interrupt);
            let is_failure = result.is_err();
            *results[index].lock().expect("no packer panics while it holds a result") = Some(result);
            if is_failure {
                next.store(plan.layers.len(), Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..PACKERS {
            scope.spawn(pack_some);
        }
    });
    let results = results.into_iter().map(|result| result.into_inner().expect("the packers have ended"));
    let results: Vec<_> = results.flatten().collect::<Result<_, _>>()?;
    Ok(results)
}

fn outcomes(base: &Base, packed: &[Packed]) -> Vec<LayerOutcome> {
    let outcome = |layer: &Layer, packed| LayerOutcome {
        title: layer.created_by.trim_start_matches("ekiben ").to_owned(),
        digest: layer.digest,
        size: layer.size,
        media_type: layer.media_type.clone(),
        packed,
    };
    let below = base.image.layers().iter().map(|layer| outcome(layer, false));
    below.chain(packed.iter().map(|packed| outcome(&packed.layer, packed.was_packed))).collect()
}

/// The names of the image: those asked for, else the bento's tag, as the original tool names it.
fn image_tags(settings: &Settings, bento: &Bento) -> Result<Vec<Reference>, ContainerizeError> {
    if !settings.image_tags.is_empty() {
        return Ok(settings.image_tags.clone());
    }
    let text = bento.info.tag.to_string();
    Ok(vec![text.parse().map_err(|source| ContainerizeError::ImageTag { text, source })?])
}

/// Destinations whose own name of the image is none of those asked for: it wins.
fn name_conflicts(settings: &Settings) -> Vec<String> {
    let tags: Vec<String> = settings.image_tags.iter().map(familiar).collect();
    let conflict = |destination: &TransportName| {
        let own = destination.image_name()?;
        let is_other = !tags.is_empty() && !tags.contains(&own);
        is_other.then(|| {
            format!(
                "the image at `{destination}` is called `{own}`, as the destination says, and not `{}`",
                tags.join("`, `")
            )
        })
    };
    settings.destinations.iter().filter_map(conflict).collect()
}

/// Where to write: where the user said; else to the local engine, as the original tool does; else to a file.
fn destinations(
    settings: &Settings,
    bento: &Bento,
    transports: &Transports,
    context: &Context,
) -> Result<Vec<TransportName>, ContainerizeError> {
    if !settings.destinations.is_empty() {
        return Ok(settings.destinations.clone());
    }
    let names = image_tags(settings, bento)?;
    match transports.engine_answers() {
        Ok(()) => Ok(names.into_iter().map(TransportName::Engine).collect()),
        Err(reason) => {
            let tag = &bento.info.tag;
            let path = PathBuf::from(format!("{}-{}.tar", tag.name(), tag.version()));
            context.report.stage(&format!("No container engine answers ({reason}): writing a file instead"));
            Ok(vec![TransportName::OciArchive { path, name: None }])
        }
    }
}
