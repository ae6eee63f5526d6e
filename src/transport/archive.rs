//! `oci-archive:FILE` and `docker-archive:FILE`: an image in a tar.
//!
//! What is written is both at once, an image layout with Docker's `manifest.json` beside it, so that `docker load`,
//! `skopeo` and `podman` all take it (image-spec, image-layout.md, Implementor's Note).

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::error::TransportError;
use super::files::{self, Members, blob_name, is_blob};
use super::layout::{MARKER, index_document, index_entries};
use super::manifest;
use super::name::familiar;
use super::receipt::Receipt;
use super::verified::Verified;
use crate::fs::StagedFile;
use crate::oci::blob::{Blob, FileBlob};
use crate::oci::compress::{Compression, copy};
use crate::oci::digest::{DiffId, Digest};
use crate::oci::image::{Image, ImageError, diff_ids};
use crate::oci::json::canonical;
use crate::oci::layer::Layer;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::oci::tar::VirtualTar;
use crate::oci::tree::{Content, Entry, Owner, Tree};
use crate::report::{Activity, Watched};

/// An entry of Docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Reads the image called `name`, or the only one, from an image layout in a tar.
pub fn read_oci(path: &Path, name: Option<&str>, platform: &Platform) -> Result<Image, TransportError> {
    files::read_layout(&Members::of_archive(path)?, name, platform)
}

/// Reads the image called `name`, or the only one, from what `docker save` writes, in its old form and its new one.
pub fn read_docker(
    path: &Path,
    name: Option<&Reference>,
    platform: &Platform,
) -> Result<Image, TransportError> {
    let members = Members::of_archive(path)?;
    let subject = members.subject();
    let images: Vec<DockerImage> =
        manifest::parse(&subject, "list of images", &members.document("manifest.json")?)?;
    let wanted = name.map(familiar);
    let is_wanted = |image: &&DockerImage| {
        wanted.as_ref().is_none_or(|wanted| image.repo_tags.iter().flatten().any(|tag| tag == wanted))
    };
    let mut chosen = images.iter().filter(is_wanted);
    let image = match (chosen.next(), chosen.next()) {
        (Some(image), None) => image,
        (None, _) => return Err(TransportError::NotFound { place: subject, name: wanted }),
        (Some(_), Some(_)) => {
            let names = images.iter().flat_map(|image| image.repo_tags.iter().flatten()).cloned().collect();
            return Err(TransportError::Ambiguous { place: subject, names });
        }
    };
    let image = docker_image(&members, image)?;
    if platform.accepts(&image.platform()) {
        return Ok(image);
    }
    let offered = vec![image.platform().to_string()];
    Err(TransportError::Platform { subject, wanted: platform.clone(), offered })
}

fn docker_image(members: &Members, image: &DockerImage) -> Result<Image, TransportError> {
    let subject = members.subject();
    let explain = |source| TransportError::Image { subject: subject.clone(), source };
    let config = members.document(&image.config)?;
    let document = manifest::parse(&subject, "image configuration", &config)?;
    let diff_ids = diff_ids(&document).map_err(explain)?;
    if image.layers.len() != diff_ids.len() {
        let (layers, diff_ids) = (image.layers.len(), diff_ids.len());
        return Err(explain(ImageError::LayerCount { layers, diff_ids }));
    }
    let mut layers = Vec::new();
    for (name, diff_id) in image.layers.iter().zip(diff_ids) {
        let not_found = || TransportError::NotFound { place: subject.clone(), name: Some(name.clone()) };
        layers.push(docker_layer(members.get(name).ok_or_else(not_found)?, diff_id)?);
    }
    Image::from_parts(config, layers).map_err(explain)
}

/// Describes a layer of which only the diff ID is said: a plain tar has that very digest, others are hashed.
fn docker_layer(blob: FileBlob, diff_id: DiffId) -> Result<Layer, TransportError> {
    let explain = |source| TransportError::File { action: "read", path: blob.path.clone(), source };
    let mut head = Vec::new();
    blob.open_at(0).and_then(|reader| reader.take(4).read_to_end(&mut head)).map_err(explain)?;
    let compression = Compression::sniff(&head);
    let digest = match compression {
        Compression::None => diff_id.0,
        Compression::Gzip | Compression::Zstd => {
            blob.open_at(0).and_then(Digest::of_reader).map_err(explain)?.0
        }
    };
    Ok(Layer {
        media_type: compression.media_type().to_owned(),
        digest,
        size: blob.size,
        diff_id,
        created_by: format!("base layer {digest}"),
        origin: None,
        blob: Arc::new(blob),
    })
}

/// The archive of an image under the given names, as a blob that is never on disk. Layers whose diff IDs are in `omit`
/// are named and left out, for an engine that has them already.
pub fn archive(image: &Image, names: &[Reference], omit: &BTreeSet<DiffId>) -> VirtualTar {
    let mut tree = Tree::new();
    let manifest = image.manifest();
    let (config_digest, config) = image.config_blob();
    let mut insert = |name: String, content: Content| {
        tree.insert(&name, Entry::file(content, 0o644, Owner::ROOT)).expect("names of members are plain");
    };
    for layer in image.layers().iter().filter(|layer| !omit.contains(&layer.diff_id)) {
        insert(blob_name(layer.digest), Content::Blob(Arc::clone(&layer.blob)));
    }
    let familiar: Vec<_> = names.iter().map(familiar).collect();
    let index = index_document(index_entries(image, &familiar));
    let layers: Vec<_> = image.layers().iter().map(|layer| blob_name(layer.digest)).collect();
    let docker = json!([{"Config": blob_name(config_digest), "RepoTags": familiar, "Layers": layers}]);
    insert(blob_name(config_digest), Content::Bytes(config.0));
    insert(blob_name(Digest::of(&manifest)), Content::Bytes(manifest));
    insert("index.json".to_owned(), Content::Bytes(canonical(&index).into()));
    insert("manifest.json".to_owned(), Content::Bytes(canonical(&docker).into()));
    let marker = canonical(&json!({"imageLayoutVersion": "1.0.0"}));
    insert(MARKER.to_owned(), Content::Bytes(Bytes::from(marker)));
    VirtualTar::new(&tree, 0)
}

/// Where an archive is written.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The file.
    pub path: &'a Path,
    /// The scheme by which the user named it.
    pub scheme: &'a str,
    /// What files at destinations were found to be.
    pub verified: &'a Verified,
}

impl Place<'_> {
    /// What the user calls the image in it.
    fn title(&self, names: &[Reference]) -> String {
        let name = names.first().map(|name| format!(":{}", familiar(name)));
        format!("{}:{}{}", self.scheme, self.path.display(), name.unwrap_or_default())
    }
}

/// Writes the archive of an image, unless the file there is that archive already.
pub fn write(
    place: &Place<'_>,
    image: &Image,
    names: &[Reference],
    activity: &Activity,
) -> Result<Receipt, TransportError> {
    let Activity { report, interrupt } = activity;
    let Place { path, verified, .. } = *place;
    let tar = archive(image, names, &BTreeSet::new());
    let is_there = is_same(place, image, names, activity)?;
    let size: u64 = image.layers().iter().map(|layer| layer.size).sum();
    let mut receipt = Receipt {
        destination: place.title(names),
        digest: image.digest(),
        config_digest: image.config_digest(),
        was_there: is_there,
        bytes_written: 0,
        bytes_skipped: 0,
        bytes_mounted: 0,
    };
    if receipt.was_there {
        receipt.bytes_skipped = size;
        return Ok(receipt);
    }
    let explain = |source| TransportError::File { action: "write", path: path.to_owned(), source };
    let progress = report.task(&format!("write {}", path.display()), Some(tar.size()));
    let mut file = StagedFile::beside(path)?;
    let reader = tar.open_at(0).map_err(explain)?;
    let copied = copy(&mut Watched::new(reader, progress.as_ref(), interrupt), &mut file);
    interrupt.check()?;
    copied.and_then(|_| file.flush()).map_err(explain)?;
    file.publish()?;
    verified.remember(path, content(image, names));
    receipt.bytes_written = size;
    Ok(receipt)
}

/// What an archive is known by: everything in it follows from the image and its names.
fn content(image: &Image, names: &[Reference]) -> Digest {
    let familiar: Vec<_> = names.iter().map(familiar).collect();
    Digest::of(&canonical(&json!({"image": image.digest(), "names": familiar})))
}

/// Whether the file is the archive that would be written: same members with the same bytes.
fn is_same(
    place: &Place<'_>,
    image: &Image,
    names: &[Reference],
    activity: &Activity,
) -> Result<bool, TransportError> {
    let Ok(members) = Members::of_archive(place.path) else { return Ok(false) };
    let familiar: Vec<_> = names.iter().map(familiar).collect();
    let index = canonical(&index_document(index_entries(image, &familiar)));
    let has_documents = members.document("index.json").is_ok_and(|bytes| bytes[..] == index[..])
        && members.blob_document(image.digest()).is_ok()
        && members.blob_document(image.config_digest()).is_ok();
    let layers = image.layers().iter().map(|layer| (layer, members.get(&blob_name(layer.digest))));
    let layers: Option<Vec<_>> = layers
        .map(|(layer, member)| Some((layer.digest, member.filter(|member| member.size == layer.size)?)))
        .collect();
    let Some(layers) = layers.filter(|_| has_documents) else { return Ok(false) };
    let look = || {
        for (digest, member) in layers {
            if !is_blob(&member, digest, activity)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let is_same = place.verified.check(place.path, content(image, names), look);
    activity.interrupt.check()?;
    // What cannot be read is written anew.
    Ok(is_same.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn image() -> Image {
        let layers = ["one", "two"].map(|text| Layer::from_bytes(Bytes::from_static(text.as_bytes()), text));
        Image::scratch(&Platform::linux("amd64")).append(layers)
    }

    #[test]
    fn both_readers_take_what_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("iris.tar");
        let name: Reference = "iris:1".parse().unwrap();
        let verified = Verified::new(directory.path().join("verified"));
        let place = Place { path: &path, scheme: "oci-archive", verified: &verified };
        let put = || write(&place, &image(), std::slice::from_ref(&name), &Activity::silent());
        assert!(!put().unwrap().was_there);
        let receipt = put().unwrap();
        assert!(receipt.was_there);
        assert_eq!(receipt.destination, format!("oci-archive:{}:iris:1", path.display()));
        let whole = std::fs::read(&path).unwrap();
        let damaged = {
            let mut bytes = whole.clone();
            let at = bytes.windows(3).position(|window| window == b"two").unwrap();
            bytes[at] = b'T';
            bytes
        };
        std::fs::write(&path, damaged).unwrap();
        assert!(!put().unwrap().was_there);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        let platform = Platform::linux("amd64");
        assert_eq!(read_oci(&path, Some("iris:1"), &platform).unwrap().digest(), image().digest());
        assert_eq!(read_docker(&path, Some(&name), &platform).unwrap().digest(), image().digest());
        assert!(read_docker(&path, Some(&"other".parse().unwrap()), &platform).is_err());
        assert!(read_docker(&path, None, &Platform::linux("arm64")).is_err());
        let absent = directory.path().join("absent.tar");
        for error in [read_oci(&absent, None, &platform).err(), read_docker(&absent, None, &platform).err()] {
            assert_eq!(error.unwrap().to_string(), format!("`{}` does not exist", absent.display()));
        }
    }

    #[test]
    fn omitted_layers_are_named_but_absent() {
        let image = image();
        let omit = BTreeSet::from([image.layers()[0].diff_id]);
        let mut bytes = Vec::new();
        archive(&image, &[], &omit).open_at(0).unwrap().read_to_end(&mut bytes).unwrap();
        let mut names = BTreeMap::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let entry = entry.unwrap();
            names.insert(entry.path().unwrap().display().to_string(), entry.size());
        }
        assert!(!names.contains_key(&blob_name(image.layers()[0].digest)));
        assert_eq!(names[&blob_name(image.layers()[1].digest)], 3);
    }
}
