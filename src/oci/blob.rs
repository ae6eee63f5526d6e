//! Bytes of known size that can be read from any offset, wherever they are.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;

/// Content of known size, readable from any offset, any number of times.
///
/// Being readable from an offset is what lets an upload resume, and a layer exist without ever being written to disk.
pub trait Blob: fmt::Debug + Send + Sync {
    /// Number of bytes.
    fn size(&self) -> u64;

    /// Reads from `offset` to the end. An offset at or past the end gives an empty reader.
    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send>>;
}

/// A blob in memory.
#[derive(Clone)]
pub struct BytesBlob(pub Bytes);

impl Blob for BytesBlob {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        Ok(Box::new(Cursor::new(self.0.slice(start..))))
    }
}

impl fmt::Debug for BytesBlob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BytesBlob({} bytes)", self.0.len())
    }
}

/// A blob that is a range of a file: a whole one, or a member of an archive.
#[derive(Clone, Debug)]
pub struct FileBlob {
    /// The file.
    pub path: PathBuf,
    /// Where in the file the blob begins.
    pub start: u64,
    /// Number of bytes.
    pub size: u64,
}

impl FileBlob {
    /// The whole file at `path`, at its present size.
    pub fn whole(path: PathBuf) -> io::Result<Self> {
        let size = path.metadata()?.len();
        Ok(Self { path, start: 0, size })
    }
}

impl Blob for FileBlob {
    fn size(&self) -> u64 {
        self.size
    }

    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let offset = offset.min(self.size);
        let explain = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot read `{}`: {error}", self.path.display()))
        };
        let mut file = File::open(&self.path).map_err(explain)?;
        file.seek(SeekFrom::Start(self.start + offset)).map_err(explain)?;
        Ok(Box::new(file.take(self.size - offset)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(blob: &dyn Blob, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        blob.open_at(offset).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn both_kinds_read_from_any_offset() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blob");
        std::fs::write(&path, b"--abcdef--").unwrap();
        let file = FileBlob { path, start: 2, size: 6 };
        let memory = BytesBlob(Bytes::from_static(b"abcdef"));
        for offset in 0..8 {
            let expected = b"abcdef".get(offset..).unwrap_or_default();
            assert_eq!(read(&file, offset as u64), expected);
            assert_eq!(read(&memory, offset as u64), expected);
        }
    }
}
