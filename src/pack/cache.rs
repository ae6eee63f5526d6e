//! What was packed before: layer records by plan key, and compressed blobs by digest.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::PackError;
use crate::fs::{self, FsError, Scratch};
use crate::oci::compress::Compression;
use crate::oci::digest::{DiffId, Digest};

/// The result of packing a layer, by the key of its plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) diff_id: DiffId,
    pub(super) compression: Compression,
    /// Whether the blob is made of the contents each time, and so not in the cache.
    pub(super) is_virtual: bool,
}

/// A directory of packed layers, shared by all builds of a user. Everything in it can be deleted at any time.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache below a directory, which is made when first written to.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A directory for unfinished work, which goes when it is dropped.
    pub fn scratch(&self) -> Result<Scratch, FsError> {
        Scratch::inside(&self.root.join("tmp"))
    }

    /// Where the blob with that digest is, or would be.
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    fn record_path(&self, key: Digest) -> PathBuf {
        self.root.join("layers").join(format!("{}.json", key.hex()))
    }

    /// The record of a key; one that cannot be read counts as none, since it can be made again.
    pub(super) fn record(&self, key: Digest) -> Option<Record> {
        let bytes = std::fs::read(self.record_path(key)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub(super) fn store_record(&self, key: Digest, record: &Record) -> Result<(), PackError> {
        let bytes = serde_json::to_vec(record).expect("a record is plain data");
        Ok(fs::write_atomically(&self.record_path(key), &bytes)?)
    }
}
