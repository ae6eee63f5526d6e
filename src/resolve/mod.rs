//! From a bento to exact inputs: what the base image has, which packages, models and programs go into the image.

pub mod base;
mod error;
pub mod runtime;

pub use error::ResolveError;
