//! Text files that people write: UTF-8, with or without the byte order mark that some editors put in front.
//!
//! Python, pip and PyYAML skip that mark, so that whoever edits such a file elsewhere never learns of it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The longest text that somebody wrote, with much to spare: more is not read into memory.
const LONGEST: u64 = 16 << 20;

/// What some editors write at the start of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A text file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The bytes are no text.
    #[error("{0}")]
    NotUtf8(#[from] NotUtf8),
}

impl TextError {
    /// The same as an I/O error, for errors that already say which file it was.
    pub fn into_io(self) -> io::Error {
        match self {
            Self::File(error) => error,
            Self::NotUtf8(error) => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// A byte that is not part of UTF-8, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: the byte 0x{byte:02x} at offset {offset} is not UTF-8")]
pub struct NotUtf8 {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The bytes before it in the file.
    pub offset: usize,
    /// The byte.
    pub byte: u8,
}

/// The file is no text that anybody wrote.
#[derive(Debug, thiserror::Error)]
#[error("it is larger than {} MiB", LONGEST >> 20)]
struct TooLong;

/// Reads a text file, without its byte order mark.
///
/// # Errors
/// The file cannot be read, or is not UTF-8.
pub fn read(path: &Path) -> Result<String, TextError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, TooLong).into());
    }
    Ok(decode(bytes)?)
}

/// Makes text of the bytes of a file, without its byte order mark.
fn decode(mut bytes: Vec<u8>) -> Result<String, NotUtf8> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
        return decode_plain(bytes)
            .map_err(|error| NotUtf8 { offset: error.offset + BYTE_ORDER_MARK.len(), ..error });
    }
    decode_plain(bytes)
}

fn decode_plain(bytes: Vec<u8>) -> Result<String, NotUtf8> {
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        let before = String::from_utf8_lossy(&bytes[..offset]);
        let last_line = before.rsplit('\n').next().unwrap_or_default();
        NotUtf8 {
            line: before.matches('\n').count() + 1,
            column: last_line.chars().count() + 1,
            offset,
            byte: bytes.get(offset).copied().unwrap_or_default(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_anybody_writes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(10 << 30).unwrap();
        let error = read(file.path()).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 16 MiB");
        file.as_file().set_len(LONGEST).unwrap();
        assert_eq!(read(file.path()).unwrap().len() as u64, LONGEST);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        assert_eq!(decode(b"\xef\xbb\xbfa\n".to_vec()).unwrap(), "a\n");
        assert_eq!(decode(b"\xef\xbb\xbf\xef\xbb\xbfa".to_vec()).unwrap(), "\u{feff}a");
        assert_eq!(decode("grün".into()).unwrap(), "grün");
    }

    #[test]
    fn a_byte_of_another_encoding_is_found() {
        let bad = |bytes: &[u8]| decode(bytes.to_vec()).unwrap_err();
        assert_eq!(bad(b"a\n\xc3\xbcb\xe9c"), NotUtf8 { line: 2, column: 3, offset: 5, byte: 0xe9 });
        assert_eq!(bad(b"\xef\xbb\xbf\xff"), NotUtf8 { line: 1, column: 1, offset: 3, byte: 0xff });
        assert_eq!(bad(b"\xff\xfe").to_string(), "line 1: the byte 0xff at offset 0 is not UTF-8");
    }
}
