//! Where images come from and go to, named as `scheme:reference` (containers-transports(5)).
//!
//! One file per transport; [`TransportName`] is the only place that knows all the schemes.

pub mod archive;
mod destination;
pub mod engine;
mod error;
mod files;
pub mod layout;
mod manifest;
mod name;
mod receipt;
pub mod registry;
mod transports;
mod verified;

pub use error::TransportError;
pub use name::{ParseNameError, SCHEMES, TransportName, familiar};
pub use receipt::Receipt;
pub use transports::Transports;
pub use verified::Verified;
