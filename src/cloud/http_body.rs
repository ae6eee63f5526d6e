//! Pieces of a tarball as the bodies of requests, with the progress of all of them together.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;

use super::error::CloudError;
use crate::blocking;
use crate::http::Body;
use crate::oci::blob::Blob;
use crate::report::Progress;

/// The bytes of a tarball from `start` to `end`, which may be sent more than once.
pub(super) struct Piece {
    pub(super) blob: Arc<dyn Blob>,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) mark: Arc<HighWater>,
    /// Why it could not be read.
    unreadable: Arc<Mutex<Option<io::Error>>>,
}

/// Progress that never goes back, although a piece may be sent again.
pub(super) struct HighWater {
    pub(super) progress: Arc<dyn Progress>,
    mark: AtomicU64,
}

impl Piece {
    pub(super) fn new(blob: &Arc<dyn Blob>, start: u64, end: u64, progress: &Arc<dyn Progress>) -> Self {
        let mark = HighWater { progress: Arc::clone(progress), mark: AtomicU64::new(start) };
        Self { blob: Arc::clone(blob), start, end, mark: Arc::new(mark), unreadable: Arc::default() }
    }

    /// The bytes, read while they are sent.
    pub(super) fn body(&self) -> Body {
        let (blob, start, end) = (Arc::clone(&self.blob), self.start, self.end);
        let (mark, unreadable) = (Arc::clone(&self.mark), Arc::clone(&self.unreadable));
        let mut position = start;
        let open = move || Ok(blob.open_at(start)?.take(end - start));
        let watched = blocking::stream(open).map(move |piece| match piece {
            Ok(piece) => {
                position += piece.len() as u64;
                mark.reach(position);
                Ok(piece)
            }
            Err(error) => {
                let copy = io::Error::new(error.kind(), error.to_string());
                *unreadable.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(copy)
            }
        });
        Body::stream(watched, end - start)
    }

    /// The error of a failed request, or of the reading that made it fail.
    pub(super) fn blame(&self, error: CloudError) -> CloudError {
        match self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(source) => CloudError::Read(source),
            None => error,
        }
    }

    /// Everything of it is there.
    pub(super) fn is_done(&self) {
        self.mark.reach(self.end);
    }
}

impl HighWater {
    fn reach(&self, position: u64) {
        let before = self.mark.fetch_max(position, Ordering::Relaxed);
        self.progress.advance(position.saturating_sub(before));
    }
}
