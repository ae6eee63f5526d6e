//! What a request carries.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// Content of a request.
#[derive(Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes that come one after the other, and their number.
    Stream(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>, u64, Moved),
}

/// Counts the pieces of a body that the connection has taken, to tell slow from stuck.
#[derive(Clone, Debug, Default)]
pub struct Moved(Arc<AtomicU64>);

impl Moved {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Body {
    /// A body of `size` bytes that come from a stream.
    pub fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static, size: u64) -> Self {
        let moved = Moved::default();
        let counter = moved.clone();
        let counted = stream.inspect(move |_| {
            counter.0.fetch_add(1, Ordering::Relaxed);
        });
        Self::Stream(Box::pin(counted), size, moved)
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream(_, size, _) => *size,
        }
    }

    pub(super) fn moved(&self) -> Moved {
        match self {
            Self::Stream(_, _, moved) => moved.clone(),
            _ => Moved::default(),
        }
    }

    pub(super) fn attach(self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self {
            Self::Empty => request,
            Self::Bytes(bytes) => request.body(bytes),
            Self::Stream(stream, _, _) => request.body(reqwest::Body::wrap_stream(stream)),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Body({} bytes)", self.size())
    }
}
