//! What writing an image did.

use serde::Serialize;

use crate::oci::digest::Digest;

/// The result of writing an image to a destination.
#[derive(Clone, Debug, Serialize)]
pub struct Receipt {
    /// The destination as `scheme:reference`.
    pub destination: String,
    /// Digest of the image's manifest there.
    pub digest: Digest,
    /// Digest of its configuration, which engines call the image's id.
    pub config_digest: Digest,
    /// Whether the destination had this very image before, under this very name.
    pub was_there: bool,
    /// Blob bytes that were sent or written.
    pub bytes_written: u64,
    /// Blob bytes that the destination had already.
    pub bytes_skipped: u64,
    /// Blob bytes that a registry took from another of its repositories.
    pub bytes_mounted: u64,
}
