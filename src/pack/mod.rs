//! From planned contents to layers: bytes are read, packed and hashed here, and only when the cache has no answer.

mod cache;
mod error;
mod files;
mod layer;
mod raw;

pub use cache::Cache;
pub use error::PackError;
pub use files::{FileRules, Inventory, InventoryFile, inventory};
pub use layer::{LayerSpec, Packed, key, known, pack, remember};
pub use raw::file_digest;
