//! Models and bentos in registries of images: pushed and pulled as `ModelPack` artifacts.
//!
//! The artifact has what an export has, with every large file as a blob of its own, uncompressed: it is read from the store
//! once for its digest and once to be sent, is not sent where the registry has it, and is moved, not copied, into the store
//! that pulls it.

mod error;
mod pull;
mod push;

pub use error::ArtifactsError;
#[cfg(test)]
pub(super) use pull::in_use;
pub use pull::{Pulled, pull};
pub(super) use pull::{blobs, lock_path};
pub use push::{Pushed, push};

use crate::pack::Cache;
use crate::store::Home;
use crate::transport::Transports;

/// What is needed to push and to pull.
pub struct Places<'a> {
    /// The stores.
    pub home: &'a Home,
    /// The registries.
    pub transports: &'a Transports,
    /// Where digests of files are remembered.
    pub cache: &'a Cache,
}
