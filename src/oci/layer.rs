//! One layer of an image: its description, and where its bytes are.

use std::io;
use std::sync::Arc;

use super::blob::{Blob, BytesBlob};
use super::compress::Compression;
use super::digest::{DiffId, Digest};
use super::reference::Repository;

/// A layer. Two layers with equal digests are the same layer, wherever their bytes are.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Media type of the blob, an OCI one.
    pub media_type: String,
    /// Digest of the blob as stored and sent.
    pub digest: Digest,
    /// Size of the blob as stored and sent.
    pub size: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// What made the layer, for the image's history.
    pub created_by: String,
    /// A repository that has the blob already, from which a registry can mount it.
    pub origin: Option<Repository>,
    /// The bytes.
    pub blob: Arc<dyn Blob>,
}

impl Layer {
    /// How the blob is compressed.
    pub fn compression(&self) -> Option<Compression> {
        Compression::of_media_type(&self.media_type)
    }

    /// A layer of bytes in memory, hashed now.
    pub fn from_bytes(tar: bytes::Bytes, created_by: &str) -> Self {
        let digest = Digest::of(&tar);
        Self {
            media_type: Compression::None.media_type().to_owned(),
            digest,
            size: tar.len() as u64,
            diff_id: DiffId(digest),
            created_by: created_by.to_owned(),
            origin: None,
            blob: Arc::new(BytesBlob(tar)),
        }
    }

    /// Reads the uncompressed tar.
    pub fn open_tar(&self) -> io::Result<Box<dyn io::Read + Send>> {
        let compression = self.compression().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                format!("unknown layer media type `{}`", self.media_type),
            )
        })?;
        compression.decompress(self.blob.open_at(0)?)
    }
}
