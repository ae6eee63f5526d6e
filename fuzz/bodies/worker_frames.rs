//! Any bytes from a worker's socket: frames and messages are read or refused, and nothing is reserved for what is only announced.

use ekiben::serve::worker::frame::Decoder;
use ekiben::serve::worker::message::FromWorker;

/// Runs the bytes through the reader of frames, and each frame through that of messages.
pub(crate) fn run(bytes: &[u8]) {
    let mut decoder = Decoder::default();
    for piece in bytes.chunks(97) {
        let Ok(buffer) = decoder.room() else { return };
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode() {
                Ok(Some(frame)) => drop(FromWorker::decode(frame)),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}
