//! The part of a content that has arrived, remembered chunk by chunk, so that a killed download loses at most the
//! chunks that were on their way.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::digests::Frontier;
use crate::fs::FsError;

/// Bytes that are asked for at a time: long enough that the next request costs nothing, short enough that a killed
/// download on eight connections loses little.
pub(super) const CHUNK: u64 = 16 << 20;

/// What is added to the name of a part for the file that tells which of its chunks are here.
pub(super) const NOTES: &str = "chunks.incomplete";

/// A content on its way.
pub(super) struct Part {
    file: Arc<File>,
    path: PathBuf,
    notes: File,
    notes_path: PathBuf,
    header: u64,
    size: u64,
    /// Bytes that were here from the beginning.
    pub(super) kept: u64,
    arrived: Mutex<Arrived>,
    frontier: Arc<Frontier>,
}

/// What has arrived of each chunk, always without a gap.
struct Arrived {
    chunks: Vec<u64>,
    /// The first chunk that is not whole.
    first: usize,
}

impl Part {
    /// Takes up what is at `path` of a content of that size, or begins it.
    pub(super) fn open(path: PathBuf, size: u64) -> Result<Self, FsError> {
        let notes_path = path.with_added_extension(NOTES);
        let header = format!("ekiben 1 {size} {CHUNK}\n");
        let open = |path: &Path| {
            let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
            file.map_err(FsError::of("open", path))
        };
        let (file, notes) = (open(&path)?, open(&notes_path)?);
        let count = usize::try_from(size.div_ceil(CHUNK)).unwrap_or(usize::MAX);
        let length = file.metadata().map_err(FsError::of("read", &path))?.len();
        let known = Self::known(&notes, &header, count).filter(|_| length == size);
        let begin = || -> io::Result<()> {
            // First the notes, so that they never tell of bytes of another content.
            notes.set_len(0)?;
            notes.write_all_at(header.as_bytes(), 0)?;
            notes.write_all_at(&vec![b'0'; count], header.len() as u64)?;
            file.set_len(0)?;
            file.set_len(size)
        };
        if known.is_none() {
            begin().map_err(FsError::of("write", &path))?;
        }
        let known = known.unwrap_or_else(|| vec![false; count]);
        let length_of = |index| chunk(index, size).end - chunk(index, size).start;
        let chunks: Vec<u64> = known
            .iter()
            .enumerate()
            .map(|(index, is_here)| if *is_here { length_of(index) } else { 0 })
            .collect();
        let part = Self {
            file: Arc::new(file),
            path,
            notes,
            notes_path,
            header: header.len() as u64,
            size,
            kept: chunks.iter().sum(),
            arrived: Mutex::new(Arrived { chunks, first: 0 }),
            frontier: Arc::new(Frontier::new(size)),
        };
        part.arrived(0, 0);
        Ok(part)
    }

    /// Which chunks are here, if the notes are of this content and this size of chunks.
    fn known(notes: &File, header: &str, count: usize) -> Option<Vec<bool>> {
        let mut bytes = Vec::new();
        notes.take((header.len() + count) as u64 + 1).read_to_end(&mut bytes).ok()?;
        let marks = bytes.strip_prefix(header.as_bytes())?;
        (marks.len() == count).then(|| marks.iter().map(|mark| *mark == b'1').collect())
    }

    /// Bytes that `path` has taken of the room that a content of that size needs.
    pub(super) fn taken(path: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        path.metadata().map(|metadata| metadata.blocks() * 512).unwrap_or_default()
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn frontier(&self) -> &Arc<Frontier> {
        &self.frontier
    }

    /// The chunks of which something is missing, in order.
    pub(super) fn missing(&self) -> Vec<usize> {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let is_missing = |index: &usize| arrived.chunks[*index] < self.length(*index);
        (0..arrived.chunks.len()).filter(is_missing).collect()
    }

    /// The bytes of a chunk that are missing.
    pub(super) fn rest(&self, index: usize) -> Range<u64> {
        let Range { start, end } = chunk(index, self.size);
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        start + arrived.chunks[index]..end
    }

    /// Takes bytes that follow in a chunk; a chunk that is whole is remembered.
    pub(super) fn write(&self, index: usize, at: u64, bytes: &[u8]) -> Result<(), FsError> {
        self.file.write_all_at(bytes, at).map_err(FsError::of("write", &self.path))?;
        if self.arrived(index, bytes.len() as u64) {
            let mark = self.notes.write_all_at(b"1", self.header + index as u64);
            mark.map_err(FsError::of("write", &self.notes_path))?;
        }
        Ok(())
    }

    /// Counts what arrived and tells the followers; whether the chunk is whole.
    fn arrived(&self, index: usize, count: u64) -> bool {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chunk) = arrived.chunks.get_mut(index) {
            *chunk += count;
        }
        while arrived.first < arrived.chunks.len()
            && arrived.chunks[arrived.first] == self.length(arrived.first)
        {
            arrived.first += 1;
        }
        let begun = arrived.chunks.get(arrived.first).copied().unwrap_or_default();
        self.frontier.advance((arrived.first as u64 * CHUNK).min(self.size) + begun);
        arrived.chunks.get(index).is_some_and(|chunk| *chunk == self.length(index))
    }

    fn length(&self, index: usize) -> u64 {
        let Range { start, end } = chunk(index, self.size);
        end - start
    }

    /// Gives the content its name. The disk is not waited for: whoever needs certainty compares the digest.
    pub(super) fn publish(self, path: &Path) -> Result<(), FsError> {
        fs::rename(&self.path, path).map_err(FsError::of("write", path))?;
        // What stays is of no file, and is begun anew with the next.
        let _ = fs::remove_file(&self.notes_path);
        Ok(())
    }

    /// Forgets everything: it was not what it should have been.
    pub(super) fn discard(self) {
        let _ = fs::remove_file(&self.notes_path);
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.frontier.abandon();
    }
}

fn chunk(index: usize, size: u64) -> Range<u64> {
    let start = index as u64 * CHUNK;
    start..(start + CHUNK).min(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_chunks_outlive_a_killed_download() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blob.incomplete");
        let size = 2 * CHUNK + 5;
        let part = Part::open(path.clone(), size).unwrap();
        assert_eq!((part.missing(), part.kept), (vec![0, 1, 2], 0));
        part.write(2, 2 * CHUNK, b"abcde").unwrap();
        part.write(1, CHUNK, b"begun").unwrap();
        assert_eq!((part.missing(), part.rest(1)), (vec![0, 1], CHUNK + 5..2 * CHUNK));
        drop(part);

        let part = Part::open(path.clone(), size).unwrap();
        assert_eq!((part.missing(), part.kept, part.rest(1)), (vec![0, 1], 5, CHUNK..2 * CHUNK));
        drop(part);
        assert_eq!(Part::open(path, size + 1).unwrap().kept, 0, "another size, another content");
    }

    #[test]
    fn notes_without_their_file_tell_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blob.incomplete");
        let part = Part::open(path.clone(), 3).unwrap();
        part.write(0, 0, b"abc").unwrap();
        drop(part);
        fs::remove_file(&path).unwrap();
        assert_eq!(Part::open(path, 3).unwrap().kept, 0);
    }

    #[test]
    fn a_content_gets_its_name_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let part = Part::open(directory.path().join("blob.incomplete"), 3).unwrap();
        part.write(0, 0, b"abc").unwrap();
        part.publish(&directory.path().join("blob")).unwrap();
        Part::open(directory.path().join("other.incomplete"), 3).unwrap().discard();
        let names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["blob"]);
    }

    #[test]
    fn an_empty_content_is_whole_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let part = Part::open(directory.path().join("blob.incomplete"), 0).unwrap();
        assert_eq!(part.missing(), Vec::<usize>::new());
    }
}
