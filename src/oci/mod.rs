//! Images as the OCI image specification has them: no network, no asynchrony.
//!
//! A [`Tree`](tree::Tree) becomes a [`VirtualTar`](tar::VirtualTar), which becomes a [`Layer`](layer::Layer) of an
//! [`Image`](image::Image).

pub mod artifact;
pub mod blob;
pub mod compress;
pub mod config;
pub mod digest;
pub mod image;
pub mod json;
pub mod layer;
pub mod platform;
pub mod reference;
pub mod tar;
pub mod tree;
pub mod validate;
