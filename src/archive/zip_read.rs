//! Reading zips, whose directory stands at their end.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use zip::ZipArchive;
use zip::extra_fields::ExtraField;
use zip::read::ZipFile;
use zip::result::ZipError;

use super::error::{ArchiveError, Fault};
use super::member::{MODE_MASK, Member, MemberKind, Moment, checked_path};

/// The bits of a Unix mode that say what a file is, and what they say.
const TYPE_MASK: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const PIPE: u32 = 0o010_000;
const SOCKET: u32 = 0o140_000;
/// The record at the very end.
const END_RECORD: [u8; 4] = *b"PK\x05\x06";
/// Its length without the comment.
const END_LENGTH: u64 = 22;
/// No path that a link can have is longer.
const LONGEST_TARGET: u64 = 4096;
/// Modes of members that come from systems without them.
const PLAIN_FILE: u32 = 0o644;
const PLAIN_DIRECTORY: u32 = 0o755;

/// Hands every member, with its bytes, to `take`.
pub(super) fn read(
    file: File,
    mut take: impl FnMut(Member, &mut dyn Read) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(failed)?;
    let comment = archive.comment().len() as u64;
    if archive.offset() != 0 {
        return Err(ArchiveError::Malformed { what: "something stands before its beginning" });
    }
    if archive.has_duplicate_names() {
        return Err(ArchiveError::Malformed { what: "a member is there more than once" });
    }
    if archive.has_overlapping_entries().map_err(failed)? {
        return Err(ArchiveError::Malformed { what: "its members overlap" });
    }
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(failed)?;
        let member = member(&mut entry)?;
        take(member, &mut entry)?;
    }
    check_end(archive.into_inner(), comment)
}

/// The end record has to be the end of the file, too.
fn check_end(mut file: BufReader<File>, comment: u64) -> Result<(), ArchiveError> {
    let mut record = [0; 4];
    let length = file.seek(SeekFrom::End(0)).map_err(ArchiveError::Source)?;
    let at = length.checked_sub(END_LENGTH + comment).ok_or(ArchiveError::Truncated)?;
    file.seek(SeekFrom::Start(at)).map_err(ArchiveError::Source)?;
    file.read_exact(&mut record).map_err(ArchiveError::Source)?;
    if record == END_RECORD { Ok(()) } else { Err(ArchiveError::Trailing) }
}

fn member<R: Read>(entry: &mut ZipFile<'_, R>) -> Result<Member, ArchiveError> {
    let name = entry.name().map_err(failed)?.into_owned();
    let faulty = |fault| ArchiveError::Member { path: name.clone(), fault };
    if entry.encrypted() {
        return Err(faulty(Fault::Encrypted));
    }
    let is_directory = name.ends_with('/');
    let unix = entry.unix_mode();
    let kind = match unix.unwrap_or_default() & TYPE_MASK {
        DIRECTORY => MemberKind::Directory,
        0 | REGULAR if is_directory => MemberKind::Directory,
        0 | REGULAR => MemberKind::File { size: entry.size() },
        SYMLINK => MemberKind::Symlink { target: target(entry).map_err(faulty)? },
        PIPE | SOCKET => return Err(faulty(Fault::Pipe)),
        _ => return Err(faulty(Fault::Device)),
    };
    let plain = if kind == MemberKind::Directory { PLAIN_DIRECTORY } else { PLAIN_FILE };
    let mode = unix.map(|mode| mode & MODE_MASK).filter(|mode| *mode != 0).unwrap_or(plain);
    Ok(Member { path: checked_path(name.as_bytes())?, kind, mode, modified: modified(entry) })
}

/// The content of a link is where it leads.
fn target<R: Read>(entry: &mut ZipFile<'_, R>) -> Result<String, Fault> {
    let mut target = String::new();
    let read = Read::by_ref(entry).take(LONGEST_TARGET + 1).read_to_string(&mut target);
    match read {
        Ok(count) if count as u64 <= LONGEST_TARGET => Ok(target),
        Ok(_) => Err(Fault::Target),
        Err(_) => Err(Fault::NotUtf8),
    }
}

fn modified<R: Read>(entry: &ZipFile<'_, R>) -> Moment {
    let extended = entry.extra_data_fields().find_map(|field| match field {
        ExtraField::ExtendedTimestamp(times) => times.mod_time(),
        _ => None,
    });
    // The field is signed, though the library says otherwise.
    if let Some(seconds) = extended {
        return Moment { seconds: i64::from(seconds.cast_signed()), nanoseconds: 0 };
    }
    let date = entry.last_modified();
    let seconds = date.and_then(|date| {
        let small = |value: u8| i8::try_from(value).ok();
        let year = i16::try_from(date.year()).ok()?;
        let day = (small(date.month())?, small(date.day())?);
        let time = (small(date.hour())?, small(date.minute())?, small(date.second())?);
        let civil = jiff::civil::DateTime::new(year, day.0, day.1, time.0, time.1, time.2, 0).ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
    });
    Moment { seconds: seconds.unwrap_or_default(), nanoseconds: 0 }
}

fn failed(error: ZipError) -> ArchiveError {
    match error {
        ZipError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
        ZipError::Io(error) => ArchiveError::Damaged(error),
        error => ArchiveError::Damaged(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}
