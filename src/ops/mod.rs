//! The operations: each is the straight line from what the user asked for to what they get.

pub mod archives;
pub mod artifacts;
pub mod build;
pub mod cloud;
pub mod containerize;
mod context;
pub mod delete;
pub mod gc;
mod image_requirements;
pub mod models;
pub mod serve;

pub use context::{Context, ContextError};
