//! Exporting and importing: models and bentos as single files, on their way between homes.

mod error;
mod export;
mod import;
mod place;

pub use error::ArchivesError;
pub use export::{ExportForm, ExportSettings, Exported, Packable, export};
pub(in crate::ops) use import::unpack_item;
pub use import::{IfPresent, Imported, Unpackable, import, settle};
pub use place::Place;
