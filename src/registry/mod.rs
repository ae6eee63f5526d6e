//! The client of OCI registries (distribution-spec): authorisation, manifests, blobs, uploads.
//!
//! A [`Client`] serves all registries; [`Client::repository`] is where the work is done. Nothing here knows images:
//! `transport::registry` puts them together.

mod auth;
mod backoff;
mod blobs;
mod cache;
mod challenge;
mod client;
mod credential_helper;
mod endpoint;
mod error;
mod keychain;
mod manifests;
mod refusal;
mod repository;
mod scopes;
mod upload;

pub use backoff::Backoff;
pub use cache::BlobCache;
pub use client::{Client, Settings};
pub use error::RegistryError;
pub use keychain::{CredentialsOrigin, KeychainSettings};
pub use manifests::Manifest;
pub use refusal::Refusal;
pub use repository::Repository;
pub use upload::Uploaded;
