//! The images of an engine: looking, loading, naming, saving.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bollard::query_parameters::{ImportImageOptions, ListImagesOptionsBuilder, TagImageOptionsBuilder};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::connect::Engine;
use super::error::EngineError;
use crate::blocking;
use crate::oci::blob::Blob;
use crate::oci::digest::{DiffId, Digest};

/// Images whose layers are looked at, the newest first: enough to find the last build of the same service, few enough
/// to take no noticeable time on an engine with thousands.
const IMAGES_LOOKED_AT: usize = 200;
/// Requests about images that may be open at the same time.
const PARALLEL_QUESTIONS: usize = 8;

/// An image that an engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineImage {
    /// Its id: the digest of its configuration or, in containerd's store, of its manifest.
    pub id: Digest,
    /// The diff IDs of its layers, bottom first.
    pub layers: Vec<DiffId>,
}

impl Engine {
    /// The image of that name or id, if there is one.
    pub async fn inspect(&self, name: &str) -> Result<Option<EngineImage>, EngineError> {
        let found = match self.docker.inspect_image(name).await {
            Ok(found) => found,
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => {
                return Ok(None);
            }
            Err(source) => return Err(self.refused(format!("show image `{name}`"), source)),
        };
        let layers = found.root_fs.and_then(|root| root.layers).unwrap_or_default();
        let layers = layers.iter().map(|text| text.parse().map(DiffId)).collect();
        // Podman leaves out the algorithm of an id.
        let id = found.id.unwrap_or_default();
        let id = if id.contains(':') { id.parse() } else { format!("sha256:{id}").parse() };
        Ok(id.ok().zip(Result::ok(layers)).map(|(id, layers)| EngineImage { id, layers }))
    }

    /// How many of the layers, counted from the bottom, the engine has in this very order.
    ///
    /// Layers are found by everything below them too, so it is not enough that some image has one (image-spec,
    /// config.md, Layer `ChainID`).
    pub async fn known_layers(&self, layers: &[DiffId]) -> Result<usize, EngineError> {
        let options = ListImagesOptionsBuilder::default().all(true).build();
        let images = self.docker.list_images(Some(options)).await;
        let images = images.map_err(|source| self.refused("list its images".to_owned(), source))?;
        let ids: BTreeSet<_> = images.into_iter().take(IMAGES_LOOKED_AT).map(|image| image.id).collect();
        let common = async |id: String| {
            // An image that is removed meanwhile has no layers to offer.
            let image = self.inspect(&id).await.ok().flatten();
            image.map_or(0, |image| {
                image.layers.iter().zip(layers).take_while(|(one, other)| one == other).count()
            })
        };
        let counts = stream::iter(ids).map(common).buffer_unordered(PARALLEL_QUESTIONS);
        Ok(counts.fold(0, async |most: usize, count| most.max(count)).await)
    }

    /// Loads an archive, which is read while it is sent; `watch` is told the size of each piece.
    pub async fn load(
        &self,
        archive: Arc<dyn Blob>,
        watch: impl Fn(u64) + Send + 'static,
    ) -> Result<(), EngineError> {
        let unreadable: Arc<Mutex<Option<io::Error>>> = Arc::default();
        let failure = Arc::clone(&unreadable);
        let pieces = blocking::stream(move || archive.open_at(0)).map(move |piece: io::Result<Bytes>| {
            piece.inspect(|piece| watch(piece.len() as u64)).map_err(|error| {
                let copy = io::Error::new(error.kind(), error.to_string());
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                copy
            })
        });
        let options = ImportImageOptions { quiet: true, ..ImportImageOptions::default() };
        let result = self.docker.import_image_stream(options, pieces, None).try_collect::<Vec<_>>().await;
        if let Some(source) = unreadable.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(EngineError::Unreadable { host: self.host.clone(), source });
        }
        result.map(drop).map_err(|source| self.refused("load the image".to_owned(), source))
    }

    /// Gives an image another name, `repository` and `tag`.
    pub async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        let result = self.docker.tag_image(image, Some(options)).await;
        result.map_err(|source| self.refused(format!("name image `{image}` `{repository}:{tag}`"), source))
    }

    /// Saves an image into a file, in the form of `docker save`.
    pub async fn save(&self, name: &str, mut file: File) -> Result<(), EngineError> {
        let mut pieces = self.docker.export_image(name);
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|source| self.refused(format!("save image `{name}`"), source))?;
            let (back, result) = blocking::run(move || {
                let result = file.write_all(&piece);
                (file, result)
            })
            .await;
            file = back;
            result.map_err(|source| EngineError::Unwritable {
                host: self.host.clone(),
                name: name.to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    fn refused(&self, attempted: String, source: bollard::errors::Error) -> EngineError {
        EngineError::Refused { host: self.host.clone(), attempted, source }
    }
}
