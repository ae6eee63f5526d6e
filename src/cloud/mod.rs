//! BentoCloud and servers that speak its protocol: models and bentos, pushed and pulled.
//!
//! A server keeps *repositories* of models and of bentos, and *items* in them. What an item holds is one tar, which
//! travels through the server (*proxy*), to one signed URL, or in parts to many. This room knows the protocol and moves
//! bytes; what to push and where pulled items go is for `ops`.

mod client;
mod contexts;
mod download;
mod error;
mod http_body;
mod journal;
mod login;
mod manifest;
mod objects;
mod retry;
mod tarball;
mod upload;

pub use client::{Client, ItemPath, Settings};
pub use contexts::{CloudContext, Contexts, DEFAULT_ENDPOINT, ENVIRONMENT_CONTEXT, Saved};
pub use download::{Download, Fetched};
pub use error::CloudError;
pub use journal::{UNFINISHED, lock_path};
pub use login::{Invitation, invite, verify, wait_for_token};
pub use manifest::{bento_body, bento_update, linked_model_body, model_body};
pub use objects::{Organization, RemoteItem, Strategy, User};
pub use tarball::Tarball;
pub use upload::{Route, Upload};
