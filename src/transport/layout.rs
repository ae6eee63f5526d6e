//! `oci:DIRECTORY[:REF]`: an image layout (image-spec, image-layout.md).

use std::io::Write as _;
use std::path::Path;

use oci_spec::image::{Descriptor, DescriptorBuilder, ImageIndex, ImageIndexBuilder, MediaType};
use serde_json::json;

use super::error::TransportError;
use super::files::{self, Members, REF_NAME, blob_name, is_blob};
use super::manifest;
use super::name::TransportName;
use super::receipt::Receipt;
use super::verified::Verified;
use crate::fs::{self, FsError, StagedDirectory, StagedFile};
use crate::oci::blob::{Blob, BytesBlob, FileBlob};
use crate::oci::compress::copy;
use crate::oci::digest::{Digest, Hasher};
use crate::oci::image::{Image, MANIFEST_MEDIA_TYPE};
use crate::oci::json::canonical;
use crate::oci::platform::Platform;
use crate::report::{Activity, Watched};

/// The file that marks a layout.
pub(super) const MARKER: &str = "oci-layout";

/// Reads the image called `name`, or the only one, from the layout at `path`.
pub fn read(path: &Path, name: Option<&str>, platform: &Platform) -> Result<Image, TransportError> {
    files::read_layout(&Members::Directory(path.to_owned()), name, platform)
}

/// Adds `image` to the layout at `path` under each of `names`, making the layout when there is none.
///
/// Blobs that are there already, and whole, are kept; other images of the layout stay. A layout that could not be finished is
/// not there afterwards; one that was there before keeps its old index.
pub fn write(
    path: &Path,
    names: &[String],
    image: &Image,
    verified: &Verified,
    activity: &Activity,
) -> Result<Receipt, TransportError> {
    if path.join(MARKER).exists() {
        let _lock = fs::lock(&path.join(".lock"))?;
        return fill(path, path, names, image, verified, activity);
    }
    if std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(TransportError::NotALayout { path: path.to_owned() });
    }
    let staged = StagedDirectory::beside(path)?;
    let receipt = fill(staged.path(), path, names, image, verified, activity)?;
    match staged.publish() {
        // Another process made the layout meanwhile: the image is added to that one.
        Err(_) if path.join(MARKER).exists() => {
            let _lock = fs::lock(&path.join(".lock"))?;
            fill(path, path, names, image, verified, activity)
        }
        published => Ok(published.map(|()| receipt)?),
    }
}

/// Writes everything into `directory`, of which people will know as `path`.
fn fill(
    directory: &Path,
    path: &Path,
    names: &[String],
    image: &Image,
    verified: &Verified,
    activity: &Activity,
) -> Result<Receipt, TransportError> {
    let manifest = image.manifest();
    let (config_digest, config) = image.config_blob();
    let mut receipt = Receipt {
        destination: TransportName::Layout { path: path.to_owned(), name: names.first().cloned() }
            .to_string(),
        digest: Digest::of(&manifest),
        config_digest,
        was_there: false,
        bytes_written: 0,
        bytes_skipped: 0,
        bytes_mounted: 0,
    };
    let mut blobs: Vec<(Digest, &dyn Blob)> = Vec::new();
    blobs.extend(image.layers().iter().map(|layer| (layer.digest, layer.blob.as_ref())));
    let manifest_blob = BytesBlob(manifest.clone());
    blobs.extend([(config_digest, &config as &dyn Blob), (receipt.digest, &manifest_blob)]);
    for (digest, blob) in blobs {
        if write_blob(&directory.join(blob_name(digest)), digest, blob, verified, activity)? {
            receipt.bytes_written += blob.size();
        } else {
            receipt.bytes_skipped += blob.size();
        }
    }
    fs::write_atomically(&directory.join(MARKER), &canonical(&json!({"imageLayoutVersion": "1.0.0"})))?;
    let is_same_index = update_index(&directory.join("index.json"), &index_entries(image, names))?;
    receipt.was_there = is_same_index && receipt.bytes_written == 0;
    Ok(receipt)
}

/// Copies a blob to its file unless that is there already and whole; checks that it is what its digest says.
fn write_blob(
    path: &Path,
    digest: Digest,
    blob: &dyn Blob,
    verified: &Verified,
    activity: &Activity,
) -> Result<bool, TransportError> {
    let Activity { report, interrupt } = activity;
    if let Ok(there) = FileBlob::whole(path.to_owned())
        && there.size == blob.size()
    {
        let is_whole = verified.check(path, digest, || is_blob(&there, digest, activity));
        interrupt.check()?;
        // What cannot be read is written anew.
        if is_whole.unwrap_or_default() {
            return Ok(false);
        }
    }
    let explain = |source| TransportError::Blob { digest, source };
    let progress = report.task(&format!("write {}", &digest.hex()[..12]), Some(blob.size()));
    let reader = blob.open_at(0).map_err(explain)?;
    let mut hasher = Hasher::new(StagedFile::beside(path)?);
    let copied = copy(&mut Watched::new(reader, progress.as_ref(), interrupt), &mut hasher);
    interrupt.check()?;
    copied.map_err(explain)?;
    hasher.flush().map_err(explain)?;
    let ((actual, _), file) = hasher.finish();
    if actual != digest {
        return Err(TransportError::DigestMismatch {
            subject: "a blob of the image".to_owned(),
            stated: digest,
            actual,
        });
    }
    file.publish()?;
    verified.remember(path, digest);
    Ok(true)
}

/// The index entries of an image: one for each name, or one without a name.
pub(super) fn index_entries(image: &Image, names: &[String]) -> Vec<Descriptor> {
    let manifest = image.manifest();
    let platform = image.platform();
    let mut described = oci_spec::image::PlatformBuilder::default()
        .os(platform.os.as_str())
        .architecture(platform.architecture.as_str());
    if let Some(variant) = platform.variant {
        described = described.variant(variant);
    }
    let described = described.build().expect("system and architecture are given");
    let entry = DescriptorBuilder::default()
        .media_type(MANIFEST_MEDIA_TYPE)
        .digest(Digest::of(&manifest))
        .size(manifest.len() as u64)
        .platform(described)
        .build()
        .expect("all members of a descriptor are given");
    if names.is_empty() {
        return vec![entry];
    }
    let named = |name: &String| {
        let mut entry = entry.clone();
        entry.set_annotations(Some([(REF_NAME.to_owned(), name.clone())].into()));
        entry
    };
    names.iter().map(named).collect()
}

/// The index of a layout as a document.
pub(super) fn index_document(manifests: Vec<Descriptor>) -> ImageIndex {
    ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()
        .expect("all members of an index are given")
}

/// Puts the entries into the index, replacing those of the same names; tells whether nothing changed.
fn update_index(path: &Path, entries: &[Descriptor]) -> Result<bool, TransportError> {
    let subject = path.display().to_string();
    let before = fs::read_if_present(path)?;
    let mut manifests = match &before {
        Some(bytes) => manifest::parse::<ImageIndex>(&subject, "image index", bytes)?.manifests().clone(),
        None => Vec::new(),
    };
    let name_of =
        |entry: &Descriptor| entry.annotations().as_ref().and_then(|all| all.get(REF_NAME)).cloned();
    for entry in entries {
        let replaces = |old: &Descriptor| match name_of(entry) {
            Some(name) => name_of(old).as_ref() == Some(&name),
            None => name_of(old).is_none() && old.platform() == entry.platform(),
        };
        match manifests.iter_mut().find(|old| replaces(old)) {
            Some(old) => *old = entry.clone(),
            None => manifests.push(entry.clone()),
        }
    }
    let after = canonical(&index_document(manifests));
    let is_same = before.as_deref() == Some(&after);
    if !is_same {
        fs::write_atomically(path, &after)?;
    }
    Ok(is_same)
}

impl From<FsError> for TransportError {
    fn from(error: FsError) -> Self {
        Self::File { action: error.action, path: error.path, source: error.source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::layer::Layer;
    use bytes::Bytes;

    fn image(text: &'static str) -> Image {
        let layer = Layer::from_bytes(Bytes::from_static(text.as_bytes()), "test");
        Image::scratch(&Platform::linux("amd64")).append([layer])
    }

    fn try_put(path: &Path, names: &[String], image: &Image) -> Result<Receipt, TransportError> {
        let verified = Verified::new(path.with_extension("verified"));
        write(path, names, image, &verified, &Activity::silent())
    }

    fn put(path: &Path, name: &str, image: &Image) -> Receipt {
        try_put(path, &[name.to_owned()], image).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("layout");
        let first = put(&path, "one", &image("one"));
        assert!(!first.was_there && first.bytes_skipped == 0);
        put(&path, "two", &image("two"));
        let again = put(&path, "one", &image("one"));
        assert!(again.was_there && again.bytes_written == 0);
        for name in ["one", "two"] {
            let read = read(&path, Some(name), &Platform::linux("amd64")).unwrap();
            assert!(
                crate::oci::validate::validate(&read)
                    .iter()
                    .all(|violation| violation.to_string().contains("cannot be read"))
            );
        }
        let error = read(&path, None, &Platform::linux("amd64")).unwrap_err();
        assert_eq!(error.to_string(), format!("`{}` has several images (one, two)", path.display()));
        let error = read(&path, Some("one"), &Platform::linux("arm64")).unwrap_err();
        assert!(
            error.to_string().ends_with("has no image for `linux/arm64`, only for linux/amd64, linux/amd64"),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_blob_is_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("layout");
        let receipt = put(&path, "one", &image("one"));
        assert_eq!(receipt.destination, format!("oci:{}:one", path.display()));
        let blob = path.join(blob_name(image("one").layers()[0].digest));
        std::fs::write(&blob, "owe").unwrap();
        let again = put(&path, "one", &image("one"));
        assert_eq!((again.was_there, again.bytes_written), (false, 3));
        assert_eq!(std::fs::read(&blob).unwrap(), b"one");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("absent");
        for (path, named) in
            [(missing.as_path(), missing.clone()), (directory.path(), directory.path().join("index.json"))]
        {
            let error = read(path, None, &Platform::linux("amd64")).unwrap_err();
            assert_eq!(error.to_string(), format!("`{}` does not exist", named.display()));
        }
    }

    #[test]
    fn a_failure_leaves_no_layout() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("layout");
        let mut layer = Layer::from_bytes(Bytes::from_static(b"said"), "test");
        layer.blob = std::sync::Arc::new(BytesBlob(Bytes::from_static(b"done")));
        let image = Image::scratch(&Platform::linux("amd64")).append([layer]);
        let error = try_put(&path, &[], &image).unwrap_err();
        assert!(matches!(error, TransportError::DigestMismatch { .. }), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("thesis.tex"), "").unwrap();
        let error = try_put(directory.path(), &[], &image("x")).unwrap_err();
        assert!(matches!(error, TransportError::NotALayout { .. }), "{error}");
    }
}
