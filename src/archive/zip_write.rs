//! Writing zips, without going back: they can go down a pipe.

use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zip::write::{ExtendedFileOptions, FileOptions, FullFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::contents::{Contents, Node, NodeKind};
use super::error::ArchiveError;
use super::member::Moment;
use crate::report::{Interrupt, Progress};

/// The level of the original tool's library.
const LEVEL: i64 = 6;
/// The extra field with times in seconds: those of the format itself are local, and even.
const EXTENDED_TIMESTAMP: u16 = 0x5455;
/// Its first byte: the time of the last change follows.
const HAS_MODIFIED: u8 = 1;
/// Above this, sizes take the long form. Compression may add a little.
const LONG_FORM: u64 = 0xf000_0000;

/// Writes all members and the directory behind them; the root itself is none.
pub(super) fn write<W: Write>(
    contents: &Contents,
    mut sink: W,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<W, ArchiveError> {
    let mut writer = ZipWriter::new_stream(&mut sink);
    let written = contents
        .members()
        .filter(|(path, _)| !path.is_empty())
        .try_for_each(|(path, node)| member(&mut writer, &path, node, progress, interrupt));
    if let Err(error) = written {
        // Dropped, it would write the end of an archive that is none, and say so on the terminal.
        std::mem::forget(writer);
        return Err(error);
    }
    writer.finish().map_err(failed)?;
    Ok(sink)
}

fn member<W: Write>(
    writer: &mut ZipWriter<StreamWriter<W>>,
    path: &str,
    node: &Node,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<(), ArchiveError> {
    let options = options(node).map_err(failed)?;
    match &node.kind {
        NodeKind::Directory => return writer.add_directory(path, options).map_err(failed),
        NodeKind::Symlink { target } => return writer.add_symlink(path, target, options).map_err(failed),
        NodeKind::File { .. } | NodeKind::Bytes(_) => writer.start_file(path, options).map_err(failed)?,
    }
    node.copy_to(|bytes| {
        interrupt.check()?;
        progress.advance(bytes.len() as u64);
        writer.write_all(bytes).map_err(ArchiveError::of_sink)
    })
}

fn options(node: &Node) -> zip::result::ZipResult<FullFileOptions<'static, 'static>> {
    let mut options: FileOptions<'static, 'static, ExtendedFileOptions> = FileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(LEVEL))
        .unix_permissions(node.mode)
        .large_file(node.size() >= LONG_FORM)
        .last_modified_time(date(node.modified));
    if let Ok(seconds) = i32::try_from(node.modified.seconds) {
        let mut field = vec![HAS_MODIFIED];
        field.extend_from_slice(&seconds.to_le_bytes());
        options.add_extra_field(EXTENDED_TIMESTAMP, field, false)?;
    }
    Ok(options)
}

/// The time in the format's own form, in UTC; what it cannot say is its beginning.
fn date(moment: Moment) -> DateTime {
    let civil = Timestamp::from_second(moment.seconds).map(|time| time.to_zoned(TimeZone::UTC));
    let field = |value: i8| u8::try_from(value).unwrap_or_default();
    civil
        .ok()
        .and_then(|time| {
            let year = u16::try_from(time.year()).ok()?;
            let (month, day) = (field(time.month()), field(time.day()));
            let (hour, minute, second) = (field(time.hour()), field(time.minute()), field(time.second()));
            DateTime::from_date_and_time(year, month, day, hour, minute, second).ok()
        })
        .unwrap_or_default()
}

fn failed(error: zip::result::ZipError) -> ArchiveError {
    match error {
        zip::result::ZipError::Io(error) => ArchiveError::of_sink(error),
        error => ArchiveError::Sink(std::io::Error::other(error)),
    }
}
