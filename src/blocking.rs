//! The bridge between blocking and asynchronous code, in both directions.

use std::future::Future;
use std::io::{self, Read};
use std::sync::mpsc;

use bytes::Bytes;
use futures_util::Stream;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

/// Bytes that travel in one piece from a reader to a connection.
const PIECE: usize = 256 * 1024;
/// Pieces that may wait: enough to keep reading while a piece is sent, few enough to keep memory small.
const PIECES_WAITING: usize = 4;

/// Runs `work`, which may block, on a thread of the blocking pool.
///
/// # Panics
/// When `work` does.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, so nobody will ask for the result any more.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Runs `future` on the runtime of `handle` and blocks this thread until it ends; `None` when the runtime ended first.
///
/// To be called from a thread of the blocking pool, or from one outside of the runtime.
pub fn wait<T: Send + 'static>(
    handle: &Handle,
    future: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    handle.spawn(async move {
        // Nobody listens only when the waiting thread is gone.
        let _ = sender.send(future.await);
    });
    receiver.recv().ok()
}

/// The bytes of a reader, opened and read on a thread of the blocking pool; it stops when the stream is dropped.
pub fn stream<R: Read>(
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = tokio::sync::mpsc::channel(PIECES_WAITING);
    let read_all = move || {
        let mut reader = match open() {
            Ok(reader) => reader,
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        loop {
            let piece = read_piece(&mut reader);
            let is_last = !matches!(&piece, Ok(piece) if !piece.is_empty());
            if matches!(&piece, Ok(piece) if piece.is_empty()) {
                return;
            }
            if sender.blocking_send(piece).is_err() || is_last {
                return;
            }
        }
    };
    // The task is started by the first poll, so that a stream that is never used reads nothing.
    futures_util::stream::unfold((receiver, Some(read_all)), |(mut receiver, start)| async move {
        if let Some(start) = start {
            spawn_blocking(start);
        }
        receiver.recv().await.map(|piece| (piece, (receiver, None)))
    })
}

/// Reads until the piece is full or the reader ends.
fn read_piece(reader: &mut impl Read) -> io::Result<Bytes> {
    let mut piece = vec![0; PIECE];
    let mut filled = 0;
    while filled < PIECE {
        match reader.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    piece.truncate(filled);
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;

    #[tokio::test]
    async fn a_stream_gives_every_byte_in_order() {
        let bytes: Vec<u8> = (0..3 * PIECE + 17).map(|index| u8::try_from(index % 251).unwrap()).collect();
        let copy = bytes.clone();
        let pieces: Vec<Bytes> = stream(move || Ok(io::Cursor::new(copy))).try_collect().await.unwrap();
        assert!(pieces.concat() == bytes);
        assert_eq!(pieces.len(), 4);
    }

    #[tokio::test]
    async fn an_error_ends_the_stream() {
        let broken = || Ok(io::Cursor::new([1; 3]).chain(Broken));
        let result: Result<Vec<Bytes>, _> = stream(broken).try_collect().await;
        assert_eq!(result.unwrap_err().to_string(), "broken");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_blocking_thread_can_wait_for_a_future() {
        let handle = Handle::current();
        assert_eq!(run(move || wait(&handle, async { 7 })).await, Some(7));
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
}
