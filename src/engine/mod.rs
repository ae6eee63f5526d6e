//! The local container engine: Docker's, or Podman where it speaks Docker's interface.
//!
//! [`Engine::connect`] finds the one that answers; its methods are what images need.

mod connect;
mod error;
mod images;

pub use connect::{Engine, EngineSettings, Store};
pub use error::EngineError;
pub use images::EngineImage;
