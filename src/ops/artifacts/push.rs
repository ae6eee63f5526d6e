//! From the store to a registry.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::{ArtifactsError, Places};
use crate::archive::{self, ArchiveError, Contents, Format, LargeFile};
use crate::fs::FsError;
use crate::oci::artifact::{Artifact, ArtifactLayer, Description, Part, Purpose};
use crate::oci::blob::FileBlob;
use crate::oci::compress::Compression;
use crate::oci::digest::Hasher;
use crate::oci::reference::Reference;
use crate::ops::archives::Packable;
use crate::pack;
use crate::report::{Activity, Silent};
use crate::store::{Item, Kind};
use crate::tag::{Tag, TagQuery};
use crate::transport::Receipt;
use crate::transport::registry::Parcel;

/// Files from here on are blobs of their own: below, a request costs more than it carries.
const LEAST_LARGE: u64 = 1 << 20;
/// Most blobs of files: a manifest with their descriptions stays well below the 4 MiB that registries take.
const MOST_LARGE: usize = 2000;
/// Where the tar of everything else is while it is sent.
const SMALL_FILES: &str = "files.tar";
/// Ends of file names that tell the form of weights.
const FORMATS: [&str; 10] = ["safetensors", "gguf", "ggml", "onnx", "pt", "pth", "h5", "keras", "ubj", "cbm"];

/// What was pushed.
#[derive(Clone, Debug, Serialize)]
pub struct Pushed {
    /// The exact tag.
    pub tag: Tag,
    /// Where it is now, and what it took.
    #[serde(flatten)]
    pub receipt: Receipt,
}

/// Pushes a model, or a bento with its models, as an artifact.
///
/// Blobs that the registry has are not sent. Equal items give equal artifacts: the manifest follows from files, modes and
/// times alone.
pub fn push<I: Packable>(
    query: &TagQuery,
    reference: &Reference,
    places: &Places<'_>,
) -> Result<Pushed, ArtifactsError> {
    let activity = &places.transports.activity;
    let item = I::store(places.home).get(query)?;
    let tag = item.tag().clone();
    let mut contents = item.contents(places.home, &activity.interrupt)?;
    let large = contents.take_large(LEAST_LARGE, MOST_LARGE);
    let description = Description {
        name: tag.name().to_owned(),
        version: tag.version().to_owned(),
        created: item.creation_time().to_string(),
        format: format_of(&large),
    };
    // Goes when everything has been sent; swept by the next writer when we are killed before.
    let staging = I::store(places.home).stage("push")?;
    let mut layers = vec![small_files::<I>(&tag, &contents, staging.path().join(SMALL_FILES), activity)?];
    for file in large {
        layers.push(large_file(file, places.cache, activity)?);
    }
    let parcel = Parcel::of_artifact(&Artifact::new(&description, layers));
    let receipt = places.transports.send(reference, parcel)?;
    Ok(Pushed { tag, receipt })
}

/// The form of most of the weights.
fn format_of(large: &[LargeFile]) -> Option<String> {
    let largest = large.iter().max_by_key(|file| file.size)?;
    let end = largest.path.rsplit('.').next()?;
    FORMATS.contains(&end).then(|| end.to_owned())
}

/// Everything that is no blob of its own, as a tar in a file.
fn small_files<I: Item>(
    tag: &Tag,
    contents: &Contents,
    path: PathBuf,
    activity: &Activity,
) -> Result<ArtifactLayer, ArtifactsError> {
    let explain = |source| match source {
        ArchiveError::Interrupted(interrupted) => ArtifactsError::Interrupted(interrupted),
        source => ArtifactsError::Pack { tag: tag.clone(), source },
    };
    let written = |error| explain(ArchiveError::Sink(error));
    let file = File::create(&path).map_err(FsError::of("write", &path))?;
    let hasher = Hasher::new(BufWriter::new(file));
    let mut hasher =
        archive::write(contents, Format::Tar, hasher, &Silent, &activity.interrupt).map_err(explain)?;
    hasher.flush().map_err(written)?;
    let ((digest, size), _) = hasher.finish();
    let purpose = match I::KIND {
        Kind::Model => Purpose::WeightConfig,
        Kind::Bento => Purpose::Code,
    };
    let blob = Arc::new(FileBlob { path, start: 0, size });
    Ok(ArtifactLayer { purpose, part: Part::Tar(Compression::None), digest, size, blob })
}

fn large_file(
    file: LargeFile,
    cache: &pack::Cache,
    activity: &Activity,
) -> Result<ArtifactLayer, ArtifactsError> {
    let (digest, size) = pack::file_digest(&file.source, cache, activity)?;
    let nanoseconds = i32::try_from(file.modified.1).unwrap_or_default();
    let modified = Timestamp::new(file.modified.0, nanoseconds).ok();
    let blob = Arc::new(FileBlob { path: file.source, start: 0, size });
    let part = Part::File { path: file.path, mode: file.mode, modified };
    Ok(ArtifactLayer { purpose: Purpose::Weight, part, digest, size, blob })
}
