//! Models on the Hugging Face Hub, and on servers like it: resolved to a commit, listed, and downloaded into the cache
//! that the hub's own client has, so that both use each other's files.
//!
//! A [`Wanted`] model is resolved into a [`Snapshot`]: one commit, and its files with sizes and digests, of which
//! nothing has been downloaded. [`Hub::fetch`] brings contents: several files at a time, each in ranges, checked while
//! they arrive. What a killed process had finished is not fetched again. Nothing here knows of layers or bentos.

mod api;
mod cache;
mod chunks;
mod digests;
mod error;
mod fetch;
mod pattern;
pub mod python_json;
mod repository;
mod settings;
mod snapshot;
mod space;

pub use api::Hub;
pub use cache::{CachedRepository, CachedRevision, HubCache};
pub use digests::{Envelope, Examine};
pub use error::{HubError, Refusal};
pub use fetch::Fetched;
pub use pattern::Patterns;
pub use repository::{Commit, ParseRepositoryError, Repository, RepositoryId};
pub use settings::HubSettings;
pub use snapshot::{ContentId, HubFile, Snapshot, Wanted};
