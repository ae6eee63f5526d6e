//! Models of the Hugging Face Hub in an image: what they consist of is known without them, and they are downloaded only
//! when the digest of a layer is not known, or a destination lacks it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::Arc;

use tokio::runtime::Handle;

use super::contents::{SERVICE, bento_root, put, writable};
use super::error::ContainerizeError;
use super::{Context, Job};
use crate::hub::{ContentId, Envelope, Examine, Hub, HubError, HubFile, Snapshot};
use crate::oci::blob::{Blob, FileBlob};
use crate::oci::digest::Digest;
use crate::oci::tar::VirtualTar;
use crate::oci::tree::{Content, Entry, Tree};
use crate::ops::hub::{self as entries, LockedLayer, ModelLock};
use crate::pack;
use crate::plan::{
    BENTO_PATH, HubContentInput, HubInput, HubSnapshotInput, LayerContent, LayerPlan, hub_layers,
};

/// The models of hubs that an image needs.
pub(super) struct HubModels {
    /// `None` where there are no such models.
    hub: Option<Hub>,
    repositories: Vec<Repository>,
    lock: ModelLock,
}

/// A repository, and what the image needs of it.
struct Repository {
    snapshots: Vec<Arc<Snapshot>>,
    /// Every content once: the snapshot and the file that it was first seen in.
    contents: Vec<(usize, HubFile)>,
}

/// A content that is brought when somebody reads it.
#[derive(Clone)]
struct HubBlob {
    hub: Hub,
    handle: Handle,
    snapshot: Arc<Snapshot>,
    file: HubFile,
}

/// A layer whose bytes have to be found out, and what they are thought to be.
struct Unknown<'a> {
    plan: &'a LayerPlan,
    key: Digest,
    expected: Option<(Digest, u64)>,
}

impl HubModels {
    /// Finds out what the models are: from the bento's lock, else from the hub.
    pub(super) fn resolve(job: &Job<'_>, context: &Context) -> Result<Self, ContainerizeError> {
        let lock = job.lock.as_ref().map(|lock| lock.models().clone()).unwrap_or_default();
        let models = job.bento.info.all_models().into_iter().filter(|model| !model.is_in_store());
        let mut found = Self { hub: None, repositories: Vec::new(), lock };
        for model in models {
            let explain = |source| ContainerizeError::HubModel { model: model.tag.clone(), source };
            let wanted = entries::wanted(model)?;
            let hub = match &found.hub {
                Some(hub) => hub.clone(),
                None => found.hub.insert(context.hub()?).clone(),
            };
            let snapshot = match found.lock.find(&wanted) {
                Some(locked) => locked.snapshot(),
                None => context.runtime.block_on(hub.resolve(&wanted)).map_err(explain)?,
            };
            if snapshot.files.is_empty() {
                context.report.warn(&format!("model {} has no files: its patterns fit none", model.tag));
            }
            found.add(snapshot);
        }
        Ok(found)
    }

    fn add(&mut self, snapshot: Snapshot) {
        let directory = snapshot.repository.id.directory();
        let is_same = |known: &Repository| known.snapshots[0].repository.id.directory() == directory;
        let index = self.repositories.iter().position(is_same).unwrap_or_else(|| {
            self.repositories.push(Repository { snapshots: Vec::new(), contents: Vec::new() });
            self.repositories.len() - 1
        });
        let repository = &mut self.repositories[index];
        let mut known: BTreeSet<_> = repository.contents.iter().map(|(_, file)| file.content).collect();
        for file in &snapshot.files {
            if known.insert(file.content) {
                repository.contents.push((repository.snapshots.len(), file.clone()));
            }
        }
        repository.snapshots.push(Arc::new(snapshot));
    }

    /// What the plan follows from.
    pub(super) fn inputs(&self) -> Vec<HubInput> {
        self.repositories.iter().map(Repository::input).collect()
    }

    /// The files of a layer; none for layers of something else.
    pub(super) fn layer(&self, content: &LayerContent, context: &Context) -> Result<Tree, ContainerizeError> {
        let mut tree = bento_root()?;
        let LayerContent::Hub { repository, contents, has_links } = content else { return Ok(tree) };
        let repository = &self.repositories[*repository];
        let id = &repository.snapshots[0].repository.id;
        let cache = format!("{}/hf-models", BENTO_PATH.trim_start_matches('/'));
        let root = format!("{cache}/{}", id.directory());
        let directory = |tree: &mut Tree, path: &str| put(tree, path, writable());
        for path in [&cache, &root, &format!("{root}/blobs")] {
            directory(&mut tree, path)?;
        }
        for &index in contents {
            let (snapshot, file) = &repository.contents[index];
            let blob = HubBlob {
                hub: self.hub.clone().expect("repositories come from a hub"),
                handle: context.runtime.handle().clone(),
                snapshot: Arc::clone(&repository.snapshots[*snapshot]),
                file: file.clone(),
            };
            let entry = Entry::file(Content::Blob(Arc::new(blob)), 0o644, SERVICE);
            put(&mut tree, &format!("{root}/blobs/{}", file.content), entry)?;
        }
        if *has_links {
            for path in ["refs", "snapshots"] {
                directory(&mut tree, &format!("{root}/{path}"))?;
            }
            repository.links(&root, &mut tree)?;
            if let Some(alias) = repository.input().alias {
                let link = Entry::symlink(id.directory(), SERVICE);
                put(&mut tree, &format!("{cache}/{alias}"), link)?;
            }
        }
        Ok(tree)
    }

    /// Finds out the digests of the layers that are not known, which takes their contents; all layers when they are to be
    /// verified.
    pub(super) fn prepare(
        &self,
        layers: &[LayerPlan],
        is_verified: bool,
        context: &Context,
    ) -> Result<(), ContainerizeError> {
        let mut unknown = Vec::new();
        for layer in layers {
            if !matches!(layer.content, LayerContent::Hub { .. }) {
                continue;
            }
            let key = pack::key(&layer.inputs, layer.storage, context.time);
            let expected = self.known(key, layer, context)?;
            if expected.is_none() || is_verified {
                unknown.push(Unknown { plan: layer, key, expected });
            }
        }
        for (index, repository) in self.repositories.iter().enumerate() {
            self.find_out(index, repository, &unknown, context)?;
        }
        Ok(())
    }

    /// What a layer is, as the cache or the lock has it; they must not contradict each other.
    fn known(
        &self,
        key: Digest,
        layer: &LayerPlan,
        context: &Context,
    ) -> Result<Option<(Digest, u64)>, ContainerizeError> {
        let cached = pack::known(key, &context.cache);
        let locked = self.lock.layers.get(&key).map(|layer| (layer.digest, layer.size));
        match (cached, locked) {
            (Some(found), Some(expected)) if found != expected => {
                Err(other_bytes(layer, expected.0, found.0))
            }
            (None, Some(locked)) => {
                pack::remember(key, locked, &context.cache)?;
                Ok(Some(locked))
            }
            (cached, _) => Ok(cached),
        }
    }

    fn find_out(
        &self,
        index: usize,
        repository: &Repository,
        unknown: &[Unknown<'_>],
        context: &Context,
    ) -> Result<(), ContainerizeError> {
        let mut examine: BTreeMap<ContentId, Examine> = BTreeMap::new();
        let mut enveloped: Vec<(&Unknown<'_>, ContentId)> = Vec::new();
        let mut bundles: Vec<(&Unknown<'_>, VirtualTar)> = Vec::new();
        for layer in unknown {
            let LayerContent::Hub { repository: of, contents, .. } = &layer.plan.content else { continue };
            if *of != index {
                continue;
            }
            let tar = VirtualTar::new(&self.layer(&layer.plan.content, context)?, context.time.seconds());
            let names: Vec<ContentId> =
                contents.iter().map(|&index| repository.contents[index].1.content).collect();
            if let ([only], Some((before, after))) = (&names[..], tar.around()) {
                examine.insert(*only, Examine::Enveloped(Envelope { before, after }));
                enveloped.push((layer, *only));
            } else {
                examine.extend(names.into_iter().map(|name| (name, Examine::Content)));
                bundles.push((layer, tar));
            }
        }
        let found = self.fetch(repository, &examine, context)?;
        for (layer, content) in enveloped {
            let found = found.get(&content).copied();
            layer.accept(found.expect("every content with an envelope was hashed"), context)?;
        }
        for (layer, tar) in bundles {
            let read = |source| pack::PackError::Pack { layer: layer.plan.title.clone(), source };
            layer.accept(tar.open_at(0).and_then(Digest::of_reader).map_err(read)?, context)?;
        }
        Ok(())
    }

    /// Brings contents, snapshot by snapshot.
    fn fetch(
        &self,
        repository: &Repository,
        examine: &BTreeMap<ContentId, Examine>,
        context: &Context,
    ) -> Result<BTreeMap<ContentId, (Digest, u64)>, ContainerizeError> {
        let mut found = BTreeMap::new();
        let Some(hub) = self.hub.as_ref().filter(|_| !examine.is_empty()) else { return Ok(found) };
        for (index, snapshot) in repository.snapshots.iter().enumerate() {
            let first_seen = repository.contents.iter().filter(|(first, _)| *first == index);
            let files: Vec<&HubFile> =
                first_seen.map(|(_, file)| file).filter(|file| examine.contains_key(&file.content)).collect();
            let how = |file: &HubFile| examine.get(&file.content).cloned().unwrap_or(Examine::Nothing);
            let fetched = context.runtime.block_on(hub.fetch_contents(snapshot, &files, &how));
            found.extend(fetched.map_err(|source| repository.error(source))?.enveloped);
        }
        Ok(found)
    }
}

/// Finds out the digests of all layers that these models become, which takes their contents.
pub(in crate::ops) fn lock_layers(
    hub: &Hub,
    snapshots: Vec<Snapshot>,
    context: &Context,
) -> Result<BTreeMap<Digest, LockedLayer>, ContainerizeError> {
    let mut models =
        HubModels { hub: Some(hub.clone()), repositories: Vec::new(), lock: ModelLock::default() };
    for snapshot in snapshots {
        models.add(snapshot);
    }
    let layers = hub_layers(&models.inputs());
    models.prepare(&layers, false, context)?;
    let key = |layer: &LayerPlan| pack::key(&layer.inputs, layer.storage, context.time);
    let known = layers.iter().map(key).filter_map(|key| Some((key, pack::known(key, &context.cache)?)));
    Ok(known.map(|(key, (digest, size))| (key, LockedLayer { digest, size })).collect())
}

impl Unknown<'_> {
    /// Takes what the layer was found to be.
    fn accept(&self, found: (Digest, u64), context: &Context) -> Result<(), ContainerizeError> {
        match self.expected {
            Some(expected) if expected != found => Err(other_bytes(self.plan, expected.0, found.0)),
            _ => Ok(pack::remember(self.key, found, &context.cache)?),
        }
    }
}

fn other_bytes(layer: &LayerPlan, expected: Digest, found: Digest) -> ContainerizeError {
    ContainerizeError::OtherBytes { layer: layer.title.clone(), expected, found }
}

impl Repository {
    fn input(&self) -> HubInput {
        let id = &self.snapshots[0].repository.id;
        let lower = id.directory().to_lowercase();
        let content = |(_, file): &(usize, HubFile)| HubContentInput {
            name: file.content.to_string(),
            size: file.size,
            path: file.path.clone(),
        };
        let snapshot = |snapshot: &Arc<Snapshot>| HubSnapshotInput {
            commit: snapshot.commit.to_string(),
            files: snapshot.files.iter().map(|file| (file.path.clone(), file.content.to_string())).collect(),
        };
        HubInput {
            name: id.to_string(),
            directory: id.directory(),
            alias: Some(lower).filter(|lower| *lower != id.directory()),
            contents: self.contents.iter().map(content).collect(),
            snapshots: self.snapshots.iter().map(snapshot).collect(),
        }
    }

    /// The commits as directories of links; the first is what the repository's name means when no revision is given.
    fn links(&self, root: &str, tree: &mut Tree) -> Result<(), ContainerizeError> {
        let main = Content::from(self.snapshots[0].commit.to_string());
        put(tree, &format!("{root}/refs/main"), Entry::file(main, 0o644, SERVICE))?;
        for snapshot in &self.snapshots {
            let directory = format!("{root}/snapshots/{}", snapshot.commit);
            put(tree, &directory, Entry::directory(SERVICE))?;
            for file in &snapshot.files {
                let path = format!("{directory}/{}", file.path);
                for (slash, _) in file.path.match_indices('/') {
                    let above = format!("{directory}/{}", &file.path[..slash]);
                    put(tree, &above, Entry::directory(SERVICE))?;
                }
                put(tree, &path, Entry::symlink(file.link_target(), SERVICE))?;
            }
        }
        Ok(())
    }

    fn error(&self, source: HubError) -> ContainerizeError {
        ContainerizeError::HubContents { repository: self.snapshots[0].repository.id.to_string(), source }
    }
}

impl std::fmt::Debug for HubBlob {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "HubBlob({} of {})", self.file.path, self.snapshot.repository)
    }
}

impl Blob for HubBlob {
    fn size(&self) -> u64 {
        self.file.size
    }

    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        // Blobs are read on threads that may block.
        let bring = self.hub.fetch_content(&self.snapshot, &self.file);
        let path = self.handle.block_on(bring).map_err(io::Error::other)?;
        FileBlob { path, start: 0, size: self.file.size }.open_at(offset)
    }
}
