//! A streamed answer on its way from a worker to a client, with a bounded buffer between the two.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};

/// Bytes kept for a client that reads more slowly than its worker yields.
const WINDOW: u32 = 4 << 20;

/// How long a full buffer may stand still. The worker's other answers wait behind it.
const STALL_LIMIT: Duration = Duration::from_secs(30);

/// A stream that did not reach its end.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StreamError {
    /// The user's code failed after the first item.
    #[error("the stream failed: {message}")]
    Failed {
        /// What the worker said.
        message: String,
    },
    /// The worker is gone, or the client read too slowly.
    #[error("the stream was cut")]
    Cut,
}

/// Why a chunk was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client is gone.
    Gone,
    /// The client has not read for too long.
    Stalled,
}

enum Item {
    Chunk(Bytes),
    End(Option<String>),
}

/// The worker's end of a stream.
#[derive(Clone, Debug)]
pub struct ChunkSender {
    items: mpsc::UnboundedSender<Item>,
    window: Arc<Semaphore>,
}

/// The client's end of a stream.
#[derive(Debug)]
pub struct Chunks {
    items: mpsc::UnboundedReceiver<Item>,
    window: Arc<Semaphore>,
    is_over: bool,
}

/// Makes the two ends of a stream.
pub fn stream() -> (ChunkSender, Chunks) {
    let (sender, items) = mpsc::unbounded_channel();
    let window = Arc::new(Semaphore::new(WINDOW as usize));
    (ChunkSender { items: sender, window: Arc::clone(&window) }, Chunks { items, window, is_over: false })
}

impl ChunkSender {
    /// Adds a piece, waiting while the buffer is full.
    pub async fn send(&self, chunk: Bytes) -> Result<(), Refusal> {
        let room = self.window.acquire_many(weight(&chunk));
        let permit = tokio::time::timeout(STALL_LIMIT, room).await.map_err(|_| Refusal::Stalled)?;
        permit.map_err(|_| Refusal::Gone)?.forget();
        self.items.send(Item::Chunk(chunk)).map_err(|_| Refusal::Gone)
    }

    /// Ends the stream, well or with an error.
    pub fn end(&self, error: Option<String>) {
        // A client that is gone needs no end.
        let _ = self.items.send(Item::End(error));
    }
}

impl Chunks {
    /// Takes the next piece; `None` is the good end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let item = ready!(Pin::new(&mut self.items).poll_recv(context));
        self.is_over = !matches!(item, Some(Item::Chunk(_)));
        Poll::Ready(match item {
            Some(Item::Chunk(chunk)) => {
                self.window.add_permits(weight(&chunk) as usize);
                Some(Ok(chunk))
            }
            Some(Item::End(None)) => None,
            Some(Item::End(Some(message))) => Some(Err(StreamError::Failed { message })),
            None => Some(Err(StreamError::Cut)),
        })
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.window.close();
    }
}

/// A chunk larger than the whole window takes all of it, so that it still passes.
fn weight(chunk: &Bytes) -> u32 {
    u32::try_from(chunk.len()).unwrap_or(WINDOW).min(WINDOW)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(future)
    }

    async fn next(chunks: &mut Chunks) -> Option<Result<Bytes, StreamError>> {
        poll_fn(|context| chunks.poll_next(context)).await
    }

    #[test]
    fn ends_are_told_apart() {
        run(async {
            let (sender, mut chunks) = stream();
            sender.send(Bytes::from_static(b"a")).await.unwrap();
            sender.end(None);
            assert_eq!(next(&mut chunks).await, Some(Ok(Bytes::from_static(b"a"))));
            assert_eq!(next(&mut chunks).await, None);
            let (sender, mut chunks) = stream();
            sender.end(Some("boom".to_owned()));
            assert_eq!(
                next(&mut chunks).await,
                Some(Err(StreamError::Failed { message: "boom".to_owned() }))
            );
            assert_eq!(next(&mut chunks).await, None);
            let (sender, mut chunks) = stream();
            drop(sender);
            assert_eq!(next(&mut chunks).await, Some(Err(StreamError::Cut)));
        });
    }

    #[test]
    fn a_full_buffer_waits_for_the_client() {
        run(async {
            let (sender, mut chunks) = stream();
            let large = Bytes::from(vec![0; WINDOW as usize + 1]);
            sender.send(large.clone()).await.unwrap();
            let second = tokio::spawn(async move { sender.send(Bytes::from_static(b"b")).await });
            tokio::task::yield_now().await;
            assert!(!second.is_finished());
            assert_eq!(next(&mut chunks).await, Some(Ok(large)));
            assert_eq!(second.await.unwrap(), Ok(()));
        });
    }

    #[test]
    fn a_client_that_left_frees_the_worker() {
        run(async {
            let (sender, chunks) = stream();
            sender.send(Bytes::from(vec![0; WINDOW as usize])).await.unwrap();
            let second = tokio::spawn(async move { sender.send(Bytes::from_static(b"b")).await });
            tokio::task::yield_now().await;
            drop(chunks);
            assert_eq!(second.await.unwrap(), Err(Refusal::Gone));
        });
    }
}
