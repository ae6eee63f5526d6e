//! What is remembered of a transfer, so that it can be continued.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Client, ItemPath};
use super::error::CloudError;
use super::tarball::Tarball;
use crate::fs::FsError;
use crate::oci::digest::Digest;
use crate::oci::json::canonical;

/// How the journal of an upload is called, before what tells it from others.
const UPLOAD: &str = "ekiben-upload-";

/// How what is here of a download is called.
pub(super) const DOWNLOAD: &str = "ekiben-download-";

/// How files in a scratch directory begin that belong to transfers which broke off.
pub const UNFINISHED: [&str; 2] = [UPLOAD, DOWNLOAD];

/// An upload in parts.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Journal {
    /// The name that the server gave it.
    pub(super) upload_id: String,
    /// Bytes of each part but the last.
    pub(super) part_size: u64,
    /// The parts that are there, with what the storage said.
    pub(super) parts: BTreeMap<u32, String>,
}

/// Where the upload of one tarball to one place is remembered. Nobody else sends the same while this lives.
pub(super) struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    /// The place for this tarball, item and server: another tarball is never taken for this one.
    pub(super) async fn open(
        client: &Client,
        item: &ItemPath,
        tarball: &Tarball,
    ) -> Result<Self, CloudError> {
        let identity = json!({
            "endpoint": client.endpoint(), "kind": item.kind.directory(), "name": item.name,
            "version": item.version, "size": tarball.size(), "fingerprint": tarball.fingerprint,
        });
        let name = format!("{UPLOAD}{}", Digest::of(&canonical(&identity)).hex());
        let scratch = &client.settings().scratch;
        let lock = lock(scratch, &name).await?;
        Ok(Self { path: scratch.join(format!("{name}.json")), _lock: lock })
    }

    /// What is remembered; what cannot be read is forgotten.
    pub(super) fn load(&self) -> Option<Journal> {
        let journal: Journal = serde_json::from_slice(&fs::read(&self.path).ok()?).ok()?;
        (!journal.upload_id.is_empty() && journal.part_size > 0).then_some(journal)
    }

    pub(super) fn save(&self, journal: &Journal) -> Result<(), CloudError> {
        write(&self.path, &canonical(journal))
    }

    pub(super) fn forget(&self) {
        // What stays is found to be unknown to the server the next time.
        let _ = fs::remove_file(&self.path);
    }
}

/// The file whose lock has whoever works on the transfer with this name.
pub fn lock_path(scratch: &Path, name: &str) -> PathBuf {
    scratch.join("locks").join(format!("{name}.lock"))
}

/// Waits until nobody else in this home has the name.
pub(super) async fn lock(scratch: &Path, name: &str) -> Result<File, CloudError> {
    Ok(crate::fs::lock_when_free(&lock_path(scratch, name)).await?)
}

/// Replaces a file that is locked, in one step. What a killed process left of this is taken by the next one; what the
/// disk lost is found to be no JSON.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), CloudError> {
    let staged = path.with_extension("new");
    let written = fs::write(&staged, bytes).and_then(|()| fs::rename(&staged, path));
    Ok(written.map_err(FsError::of("write", path))?)
}
