//! Reading images from named members: the files of a layout directory, or the entries of an archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

use super::error::TransportError;
use super::manifest::{self, INDEX_TYPES};
use crate::oci::blob::{Blob, FileBlob};
use crate::oci::compress::Compression;
use crate::oci::digest::Digest;
use crate::oci::image::Image;
use crate::oci::platform::Platform;
use crate::report::{Activity, Watched};

/// Annotation that names an image in a layout's index (image-spec, annotations.md).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Largest document that is read into memory; registries promise 4 MiB for manifests.
const MAX_DOCUMENT: u64 = 16 << 20;
/// The first block of a tar, which says what it is (POSIX pax, ustar Interchange Format).
const MAX_TAR_HEADER: u64 = 512;
/// How deep indexes may nest before they are taken for a trap.
const MAX_NESTING: usize = 4;

/// Files by name, in a directory or an archive.
#[derive(Debug)]
pub(crate) enum Members {
    /// A directory.
    Directory(PathBuf),
    /// A tar whose regular files have been listed.
    Archive {
        /// The tar.
        path: PathBuf,
        /// Where each file is in it.
        files: BTreeMap<String, FileBlob>,
    },
}

impl Members {
    /// Lists the regular files of an uncompressed tar without reading their contents.
    pub(crate) fn of_archive(path: &Path) -> Result<Self, TransportError> {
        if !path.exists() {
            return Err(TransportError::NoSuchPath { path: path.to_owned() });
        }
        let explain = |source| TransportError::NotAnArchive { path: path.to_owned(), source };
        // Looked at first: opening a pipe would wait for somebody to write to it.
        let metadata = path.metadata().map_err(explain)?;
        if !metadata.is_file() {
            return Err(explain(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
        }
        let mut file = File::open(path).map_err(explain)?;
        check_form(&mut file).map_err(explain)?;
        let mut archive = tar::Archive::new(file);
        let mut files = BTreeMap::new();
        for entry in archive.entries_with_seek().map_err(explain)? {
            let entry = entry.map_err(explain)?;
            if entry.header().entry_type().is_file() {
                let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
                let blob =
                    FileBlob { path: path.to_owned(), start: entry.raw_file_position(), size: entry.size() };
                files.insert(name, blob);
            }
        }
        Ok(Self::Archive { path: path.to_owned(), files })
    }

    /// What the members belong to, for messages.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Directory(path) | Self::Archive { path, .. } => path.display().to_string(),
        }
    }

    /// The member of that name.
    pub(crate) fn get(&self, name: &str) -> Option<FileBlob> {
        match self {
            Self::Directory(path) => FileBlob::whole(path.join(name)).ok(),
            Self::Archive { files, .. } => files.get(name).cloned(),
        }
    }

    /// Names the path that is missing where a directory, or the member that makes it a layout, is not there.
    fn check_is_there(&self, name: &str) -> Result<(), TransportError> {
        let Self::Directory(path) = self else { return Ok(()) };
        let paths = [path.clone(), path.join(name)];
        paths
            .into_iter()
            .find(|path| !path.exists())
            .map_or(Ok(()), |path| Err(TransportError::NoSuchPath { path }))
    }

    /// The bytes of a member that is a document.
    pub(crate) fn document(&self, name: &str) -> Result<Bytes, TransportError> {
        let not_found = || TransportError::NotFound { place: self.subject(), name: Some(name.to_owned()) };
        let blob = self.get(name).filter(|blob| blob.size <= MAX_DOCUMENT).ok_or_else(not_found)?;
        let mut bytes = Vec::new();
        let read = blob.open_at(0).and_then(|mut reader| reader.read_to_end(&mut bytes));
        read.map_err(|source| TransportError::File { action: "read", path: blob.path.clone(), source })?;
        Ok(bytes.into())
    }

    /// The bytes of the blob with that digest, which are checked.
    pub(crate) fn blob_document(&self, digest: Digest) -> Result<Bytes, TransportError> {
        let bytes = self.document(&blob_name(digest))?;
        let actual = Digest::of(&bytes);
        if actual != digest {
            let subject = format!("a document in {}", self.subject());
            return Err(TransportError::DigestMismatch { subject, stated: digest, actual });
        }
        Ok(bytes)
    }
}

/// Says of what is no plain tar what it is.
fn check_form(file: &mut File) -> io::Result<()> {
    let mut head = Vec::new();
    file.by_ref().take(MAX_TAR_HEADER).read_to_end(&mut head)?;
    file.rewind()?;
    let bad = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    match Compression::sniff(&head) {
        Compression::None if head.get(257..262) == Some(b"ustar") => Ok(()),
        Compression::None => bad("it is not a tar"),
        Compression::Gzip | Compression::Zstd => bad("it is compressed: decompress it first"),
    }
}

/// Whether the bytes of a blob are those that its digest names.
pub(crate) fn is_blob(blob: &FileBlob, digest: Digest, activity: &Activity) -> io::Result<bool> {
    let progress = activity.report.task(&format!("verify {}", &digest.hex()[..12]), Some(blob.size()));
    let reader = Watched::new(blob.open_at(0)?, progress.as_ref(), &activity.interrupt);
    Ok(Digest::of_reader(reader)?.0 == digest)
}

/// Where a layout keeps a blob (image-spec, image-layout.md, Blobs).
pub(crate) fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Reads the image called `name`, or the only one, from a layout.
pub(crate) fn read_layout(
    members: &Members,
    name: Option<&str>,
    platform: &Platform,
) -> Result<Image, TransportError> {
    let subject = members.subject();
    members.check_is_there("index.json")?;
    let index: ImageIndex = manifest::parse(&subject, "image index", &members.document("index.json")?)?;
    let chosen = choose_entry(&subject, &index, name, platform)?;
    let digest = resolve(members, chosen, platform)?;
    let manifest: ImageManifest =
        manifest::parse(&subject, "image manifest", &members.blob_document(digest)?)?;
    let config = members.blob_document(manifest::digest_of(&subject, manifest.config().digest())?)?;
    manifest::image(&subject, &manifest, config, None, |digest, size| {
        let blob = members.get(&blob_name(digest)).filter(|blob| blob.size == size);
        let not_found = || TransportError::NotFound { place: subject.clone(), name: Some(blob_name(digest)) };
        Ok(Arc::new(blob.ok_or_else(not_found)?) as Arc<dyn Blob>)
    })
}

/// Chooses the entry of a layout's index by its name, or the only one; entries for other platforms do not count.
fn choose_entry<'a>(
    subject: &str,
    index: &'a ImageIndex,
    name: Option<&str>,
    platform: &Platform,
) -> Result<&'a Descriptor, TransportError> {
    let name_of = |entry: &'a Descriptor| entry.annotations().as_ref().and_then(|all| all.get(REF_NAME));
    let fits = |entry: &&Descriptor| {
        entry.platform().as_ref().is_none_or(|offered| {
            offered.os().to_string() == platform.os
                && offered.architecture().to_string() == platform.architecture
        })
    };
    let is_named = |entry: &&'a Descriptor| name.is_none() || name_of(entry).map(String::as_str) == name;
    let named: Vec<_> = index.manifests().iter().filter(is_named).collect();
    let fitting: Vec<_> = named.iter().copied().filter(|entry| fits(entry)).collect();
    match fitting[..] {
        [entry] => Ok(entry),
        [] if named.is_empty() => {
            Err(TransportError::NotFound { place: subject.to_owned(), name: name.map(str::to_owned) })
        }
        [] => manifest::choose(subject, index, platform).map(|_| named[0]),
        _ => {
            let choices = fitting.iter().filter_map(|entry| name_of(entry)).cloned().collect();
            Err(TransportError::Ambiguous { place: subject.to_owned(), names: choices })
        }
    }
}

/// Follows indexes until a manifest is reached.
fn resolve(members: &Members, entry: &Descriptor, platform: &Platform) -> Result<Digest, TransportError> {
    let subject = members.subject();
    let mut digest = manifest::digest_of(&subject, entry.digest())?;
    let mut media_type = entry.media_type().to_string();
    for _ in 0..MAX_NESTING {
        if !INDEX_TYPES.contains(&media_type.as_str()) {
            return Ok(digest);
        }
        let index: ImageIndex = manifest::parse(&subject, "image index", &members.blob_document(digest)?)?;
        digest = manifest::choose(&subject, &index, platform)?;
        let chosen = index.manifests().iter().find(|entry| entry.digest().to_string() == digest.to_string());
        media_type = chosen.map(|entry| entry.media_type().to_string()).unwrap_or_default();
    }
    Err(TransportError::NotFound { place: subject, name: None })
}
