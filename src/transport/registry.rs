//! `docker://`: images in registries.
//!
//! Reading gets manifest and configuration; layers are downloaded into the cache when they are opened, and mounted
//! instead when the image goes back to the same registry. Writing asks for everything first and sends what is missing,
//! the manifest last, so that no name ever means an incomplete image.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use oci_spec::image::{ImageIndex, ImageManifest};
use tokio::runtime::Handle;

use super::error::TransportError;
use super::manifest;
use super::name::TransportName;
use super::receipt::Receipt;
use crate::blocking;
use crate::oci::artifact::Artifact;
use crate::oci::blob::{Blob, BytesBlob, FileBlob};
use crate::oci::digest::Digest;
use crate::oci::image::{Image, MANIFEST_MEDIA_TYPE};
use crate::oci::platform::Platform;
use crate::oci::reference::{Reference, Repository as Name};
use crate::registry::{BlobCache, Client, Manifest, RegistryError, Repository, Uploaded};
use crate::report::{Activity, Interrupt, Interrupted};

/// Requests about blobs that may be open at the same time; they carry no content.
const PARALLEL_QUESTIONS: usize = 8;
/// Hexadecimal digits of a digest that name a blob in progress bars, as engines show it.
const SHORT_DIGEST: usize = 12;

/// Reads the image of a platform. Its layers are downloaded when they are opened, which blocks.
pub async fn read(
    client: &Client,
    reference: &Reference,
    platform: &Platform,
    activity: &Activity,
) -> Result<Image, TransportError> {
    activity.interrupt.guard(read_uninterrupted(client, reference, platform, activity)).await?
}

/// Writes an image under a tag, or under its digest alone.
pub async fn write(
    client: &Client,
    reference: &Reference,
    image: &Image,
    activity: &Activity,
) -> Result<Receipt, TransportError> {
    send(client, reference, Parcel::of_image(image), activity).await
}

/// What is sent to a registry: a manifest, and the blobs that it names.
pub struct Parcel {
    manifest: Manifest,
    config_digest: Digest,
    blobs: Vec<Outgoing>,
}

impl Parcel {
    fn of_image(image: &Image) -> Self {
        let (config_digest, config) = image.config_blob();
        let layers = image.layers().iter().map(|layer| Outgoing {
            digest: layer.digest,
            size: layer.size,
            origin: layer.origin.clone(),
            blob: Arc::clone(&layer.blob),
        });
        Self::new(image.manifest(), config_digest, config, layers)
    }

    /// A model or a bento as an artifact.
    pub fn of_artifact(artifact: &Artifact) -> Self {
        let config = BytesBlob(artifact.config.clone());
        let layers = artifact.layers.iter().map(|layer| Outgoing {
            digest: layer.digest,
            size: layer.size,
            origin: None,
            blob: Arc::clone(&layer.blob),
        });
        Self::new(artifact.manifest.clone(), Digest::of(&artifact.config), config, layers)
    }

    fn new(
        bytes: Bytes,
        config_digest: Digest,
        config: BytesBlob,
        layers: impl Iterator<Item = Outgoing>,
    ) -> Self {
        let media_type = MANIFEST_MEDIA_TYPE.to_owned();
        let manifest = Manifest { digest: Digest::of(&bytes), media_type, bytes };
        let size = config.size();
        let config = Outgoing { digest: config_digest, size, origin: None, blob: Arc::new(config) };
        Self { manifest, config_digest, blobs: layers.chain([config]).collect() }
    }
}

/// Sends what the registry does not have, the manifest last, under a tag or under its digest alone.
pub async fn send(
    client: &Client,
    reference: &Reference,
    parcel: Parcel,
    activity: &Activity,
) -> Result<Receipt, TransportError> {
    let Parcel { manifest, config_digest, blobs } = parcel;
    if let Some(stated) = reference.digest.filter(|stated| *stated != manifest.digest) {
        let subject = format!("the image for `{reference}`");
        return Err(TransportError::DigestMismatch { subject, stated, actual: manifest.digest });
    }
    let interrupt = &activity.interrupt;
    let repository = interrupt.guard(client.repository(&reference.repository)).await??.for_pushing();
    let target = reference.tag.clone().unwrap_or_else(|| manifest.digest.to_string());
    let there = interrupt.guard(repository.manifest_digest(&target)).await??;
    let mut push = Push::new(&repository, client.settings().parallel_blobs, blobs, activity);
    let was_there = there == Some(manifest.digest);
    if was_there {
        push.skipped = push.blobs.values().map(|blob| blob.size).sum();
    } else {
        activity.report.stage(&format!("Pushing {reference}"));
        push.all().await?;
        let written = interrupt.guard(repository.put_manifest(&target, &manifest)).await?;
        if let Err(error) = written {
            push.again(error).await?;
            interrupt.guard(repository.put_manifest(&target, &manifest)).await??;
        }
    }
    Ok(Receipt {
        destination: TransportName::Registry(reference.clone()).to_string(),
        digest: manifest.digest,
        config_digest,
        was_there,
        bytes_written: push.sent,
        bytes_skipped: push.skipped,
        bytes_mounted: push.mounted,
    })
}

/// Reads the manifest that a name has.
pub async fn manifest(
    client: &Client,
    reference: &Reference,
    activity: &Activity,
) -> Result<Manifest, TransportError> {
    let read =
        async { client.repository(&reference.repository).await?.manifest(&reference.manifest_name()).await };
    Ok(activity.interrupt.guard(read).await??)
}

/// Downloads blobs into a cache, several at a time, the largest first.
pub async fn fetch(
    client: &Client,
    reference: &Reference,
    blobs: &[(Digest, u64)],
    into: &BlobCache,
    activity: &Activity,
) -> Result<(), TransportError> {
    let repository = activity.interrupt.guard(client.repository(&reference.repository)).await??;
    let mut blobs = blobs.to_vec();
    blobs.sort_by_key(|(digest, size)| (std::cmp::Reverse(*size), *digest));
    blobs.dedup();
    let repository = &repository;
    let get = async |(digest, size): (Digest, u64)| {
        let progress = activity.report.task(&format!("pull {}", short(&digest)), Some(size));
        repository.fetch_blob(&digest, size, into, progress.as_ref()).await
    };
    let limit = client.settings().parallel_blobs.max(1);
    let all = stream::iter(blobs).map(get).buffer_unordered(limit).try_collect::<Vec<()>>();
    activity.interrupt.guard(all).await??;
    Ok(())
}

async fn read_uninterrupted(
    client: &Client,
    reference: &Reference,
    platform: &Platform,
    activity: &Activity,
) -> Result<Image, TransportError> {
    let repository = client.repository(&reference.repository).await?;
    let reader = Reader { client, repository, subject: reference.to_string(), platform, activity };
    let named = reader.named(reference).await?;
    let manifest = if named.is_index() { reader.choose(&named).await? } else { named };
    if !manifest.is_image() {
        return Err(TransportError::ManifestType {
            subject: reader.subject,
            media_type: manifest.media_type,
        });
    }
    reader.image(&manifest).await
}

/// The reading of one image.
struct Reader<'a> {
    client: &'a Client,
    repository: Repository,
    subject: String,
    platform: &'a Platform,
    activity: &'a Activity,
}

impl Reader<'_> {
    /// The manifest that the reference means now. For a tag the registry is always asked.
    async fn named(&self, reference: &Reference) -> Result<Manifest, TransportError> {
        let digest = match reference.digest {
            Some(digest) => Some(digest),
            None => self.repository.manifest_digest(&reference.manifest_name()).await?,
        };
        match digest {
            Some(digest) => self.by_digest(&digest).await,
            None => Ok(self.repository.manifest(&reference.manifest_name()).await?),
        }
    }

    async fn by_digest(&self, digest: &Digest) -> Result<Manifest, TransportError> {
        let cached = self.client.cache().read_small(digest);
        if let Some(Ok(manifest)) = cached.map(Manifest::from_bytes) {
            return Ok(manifest);
        }
        let manifest = self.repository.manifest(&digest.to_string()).await?;
        self.client.cache().write_small(digest, &manifest.bytes)?;
        Ok(manifest)
    }

    /// The manifest of the wanted platform in an index.
    async fn choose(&self, index: &Manifest) -> Result<Manifest, TransportError> {
        let document: ImageIndex = manifest::parse(&self.subject, "index of images", &index.bytes)?;
        let digest = manifest::choose(&self.subject, &document, self.platform)?;
        self.by_digest(&digest).await
    }

    async fn image(&self, manifest: &Manifest) -> Result<Image, TransportError> {
        let document: ImageManifest = manifest::parse(&self.subject, "image manifest", &manifest.bytes)?;
        let digest = manifest::digest_of(&self.subject, document.config().digest())?;
        let size = document.config().size();
        let config = self.repository.small_blob(&digest, size, self.client.cache()).await?;
        let name = self.repository.name();
        let blob = |digest, size| {
            let blob: Arc<dyn Blob> = Arc::new(RemoteBlob {
                client: self.client.clone(),
                name: name.clone(),
                digest,
                size,
                activity: self.activity.clone(),
                runtime: Handle::current(),
            });
            Ok(blob)
        };
        let image = manifest::image(&self.subject, &document, config, Some(name), blob)?;
        let offered = image.platform();
        if self.platform.accepts(&offered) {
            return Ok(image);
        }
        Err(TransportError::Platform {
            subject: self.subject.clone(),
            wanted: self.platform.clone(),
            offered: vec![offered.to_string()],
        })
    }
}

/// A blob in a registry, downloaded into the cache the first time that it is opened.
#[derive(Clone)]
struct RemoteBlob {
    client: Client,
    name: Name,
    digest: Digest,
    size: u64,
    activity: Activity,
    runtime: Handle,
}

impl RemoteBlob {
    async fn fetch(self) -> io::Result<()> {
        let Activity { report, interrupt } = &self.activity;
        let progress = report.task(&format!("pull {}", short(&self.digest)), Some(self.size));
        let fetch = async {
            let repository = self.client.repository(&self.name).await?;
            repository.fetch_blob(&self.digest, self.size, self.client.cache(), progress.as_ref()).await
        };
        interrupt.guard(fetch).await.map_err(io::Error::other)?.map_err(io::Error::other)
    }
}

impl Blob for RemoteBlob {
    fn size(&self) -> u64 {
        self.size
    }

    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let cache = self.client.cache();
        if cache.find(&self.digest, self.size).is_none() {
            let ended = || io::Error::other("the program is ending");
            blocking::wait(&self.runtime, self.clone().fetch()).ok_or_else(ended)??;
        }
        FileBlob { path: cache.path(&self.digest), start: 0, size: self.size }.open_at(offset)
    }
}

impl fmt::Debug for RemoteBlob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "docker://{}@{}", self.name, self.digest)
    }
}

/// The pushing of one image's blobs, and what it came to.
struct Push<'a> {
    repository: &'a Repository,
    limit: usize,
    activity: &'a Activity,
    blobs: BTreeMap<Digest, Outgoing>,
    sent: u64,
    skipped: u64,
    mounted: u64,
}

/// A blob to be pushed.
#[derive(Clone)]
struct Outgoing {
    digest: Digest,
    size: u64,
    origin: Option<Name>,
    blob: Arc<dyn Blob>,
}

impl<'a> Push<'a> {
    fn new(repository: &'a Repository, limit: usize, blobs: Vec<Outgoing>, activity: &'a Activity) -> Self {
        let blobs = blobs.into_iter().map(|blob| (blob.digest, blob)).collect();
        Self { repository, limit: limit.max(1), activity, blobs, sent: 0, skipped: 0, mounted: 0 }
    }

    /// Asks which blobs are there, and sends the others.
    async fn all(&mut self) -> Result<(), TransportError> {
        let blobs: Vec<_> = self.blobs.values().cloned().collect();
        let repository = self.repository;
        let ask = async |blob: Outgoing| {
            let is_there = repository.has_blob(&blob.digest, blob.size).await?;
            Ok::<_, RegistryError>((is_there, blob))
        };
        let questions = stream::iter(blobs).map(ask).buffer_unordered(PARALLEL_QUESTIONS);
        let collect =
            async { questions.collect::<Vec<_>>().await.into_iter().collect::<Result<Vec<_>, _>>() };
        let answers = self.activity.interrupt.guard(collect).await??;
        let (there, mut missing): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(is_there, _)| *is_there);
        self.skipped += there.iter().map(|(_, blob)| blob.size).sum::<u64>();
        // The largest first: they decide how long it takes.
        missing.sort_by_key(|(_, blob)| (std::cmp::Reverse(blob.size), blob.digest));
        self.send(missing.into_iter().map(|(_, blob)| blob).collect()).await
    }

    /// Sends again the blobs that the registry misses although it said that it had them; gives other errors back.
    async fn again(&mut self, error: RegistryError) -> Result<(), TransportError> {
        let refusal = error.refusal();
        let is_missing = refusal.is_some_and(|refusal| {
            refusal.has_code("MANIFEST_BLOB_UNKNOWN") || refusal.has_code("BLOB_UNKNOWN")
        });
        if !is_missing {
            return Err(error.into());
        }
        let named: Vec<Digest> = refusal
            .map(|refusal| refusal.digests.iter().filter_map(|text| text.parse().ok()).collect())
            .unwrap_or_default();
        let missing: Vec<_> = named.iter().filter_map(|digest| self.blobs.get(digest).cloned()).collect();
        if missing.is_empty() { self.all().await } else { self.send(missing).await }
    }

    async fn send(&mut self, blobs: Vec<Outgoing>) -> Result<(), TransportError> {
        let (repository, activity) = (self.repository, self.activity);
        // Raised by the user or by a failure, so that all uploads that are under way tidy up.
        let stop = Interrupt::default();
        let send = async |blob: Outgoing| {
            let progress = activity.report.task(&format!("push {}", short(&blob.digest)), Some(blob.size));
            let origin = blob.origin.as_ref();
            (blob.size, repository.push_blob(blob.digest, blob.blob, origin, progress, &stop).await)
        };
        let mut uploads = stream::iter(blobs).map(send).buffer_unordered(self.limit);
        let mut failure: Option<TransportError> = None;
        loop {
            let next = if failure.is_some() {
                uploads.next().await
            } else {
                match activity.interrupt.guard(uploads.next()).await {
                    Ok(next) => next,
                    Err(error) => {
                        stop.raise();
                        failure = Some(error.into());
                        continue;
                    }
                }
            };
            match next {
                None => return failure.map_or(Ok(()), Err),
                Some((size, Ok(Ok(Uploaded::Sent)))) => self.sent += size,
                Some((size, Ok(Ok(Uploaded::Mounted)))) => self.mounted += size,
                Some((_, Ok(Err(error)))) => {
                    stop.raise();
                    failure.get_or_insert(error.into());
                }
                // It was stopped for a reason that is known.
                Some((_, Err(Interrupted))) => {}
            }
        }
    }
}

fn short(digest: &Digest) -> String {
    digest.hex()[..SHORT_DIGEST].to_owned()
}
