//! The operations: each is the straight line from what the user asked for to what they get.

pub mod archives;
pub mod artifacts;
mod base_choice;
pub mod build;
pub mod cloud;
pub mod containerize;
mod context;
pub mod delete;
mod discovery;
pub mod gc;
pub mod hub;
mod image_lock;
mod image_requirements;
pub mod models;
pub mod serve;
pub mod unfinished;

pub use base_choice::BaseImageError;
pub use context::{Context, ContextError};
pub use image_lock::{ImageLockDefect, ImageLockError};
