//! Packs `BentoML` services into container images, and serves them.

pub mod env;
pub mod serve;
