//! Archives of models and bentos: a directory as one file, in every form that the original tool reads and writes.
//!
//! This room knows trees and bytes, not what is in them. [`write()`] turns [`Contents`] into a stream; [`unpack()`] turns
//! a stream, a file or a directory into a directory, and refuses whatever a hostile hand could have put there. Forms
//! are told by their bytes when they are read, and by their suffix only when they are written.

mod contents;
mod decode;
mod encode;
mod error;
mod format;
mod links;
mod member;
mod tar_read;
mod tar_write;
#[cfg(test)]
mod tests;
mod unpack;
mod zip_read;
mod zip_write;

pub use contents::{Contents, Item, ItemKind, LargeFile, LinksOut};
pub use error::{ArchiveError, Fault};
pub use format::Format;
pub use links::check_links;
pub use unpack::{Input, Limits, Unpacked, copy_contents, unpack};

use std::io::Write;

use crate::report::{Interrupt, Progress};

/// Writes an archive to `sink`, which is given back when everything is in it.
///
/// The bytes depend on the contents alone: names, modes, times, links, and not on the machine or its users.
pub fn write<W: Write>(
    contents: &Contents,
    format: Format,
    sink: W,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<W, ArchiveError> {
    if format == Format::Zip {
        return zip_write::write(contents, sink, progress, interrupt);
    }
    let mut encoder = encode::Encoder::new(format, sink, interrupt).map_err(ArchiveError::Sink)?;
    tar_write::write(contents, &mut encoder, progress, interrupt)?;
    encoder.finish().map_err(ArchiveError::of_sink)
}
