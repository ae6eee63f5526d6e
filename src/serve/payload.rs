//! Bytes on their way from a client to a worker.

use bytes::{Bytes, BytesMut};

/// Pieces below this are copied together, so that a client that sends single bytes cannot make us hold a read
/// buffer for each of them.
const SMALL_PIECE: usize = 16 * 1024;

/// How much is copied into one piece before the next is begun.
const COPY_PIECE: usize = 64 * 1024;

/// A body as the list of pieces it arrived in: large ones are kept where they were read, never copied.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    parts: Vec<Bytes>,
    tail: BytesMut,
    length: u64,
}

impl Payload {
    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        self.length += piece.len() as u64;
        let is_first = self.parts.is_empty() && self.tail.is_empty();
        if is_first || piece.len() >= SMALL_PIECE {
            self.flush_tail();
            self.parts.push(piece);
            return;
        }
        self.tail.extend_from_slice(&piece);
        if self.tail.len() >= COPY_PIECE {
            self.flush_tail();
        }
    }

    /// Returns the number of bytes in all pieces.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the bytes, if they are in one piece.
    pub fn as_single(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [part] if self.tail.is_empty() => Some(part),
            [] => Some(&self.tail),
            _ => None,
        }
    }

    /// Gives the pieces, in order; none is empty.
    pub fn into_parts(mut self) -> Vec<Bytes> {
        self.flush_tail();
        self.parts.retain(|part| !part.is_empty());
        self.parts
    }

    fn flush_tail(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push(self.tail.split().freeze());
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        let mut payload = Self::default();
        payload.push(bytes);
        payload
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_piece_is_not_copied() {
        let piece = Bytes::from_static(b"{}");
        let parts = Payload::from(piece.clone()).into_parts();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].as_ptr(), piece.as_ptr());
    }

    #[test]
    fn single_bytes_are_gathered() {
        let mut payload = Payload::default();
        for _ in 0..10_000 {
            payload.push(Bytes::from_static(b"x"));
        }
        assert_eq!(payload.length(), 10_000);
        assert_eq!(payload.into_parts().len(), 2);
    }

    proptest! {
        #[test]
        fn pieces_keep_their_order(sizes in proptest::collection::vec(0usize..40_000, 0..20)) {
            let mut payload = Payload::default();
            let mut expected = Vec::new();
            for (index, size) in sizes.iter().enumerate() {
                let piece = vec![u8::try_from(index).unwrap(); *size];
                expected.extend_from_slice(&piece);
                payload.push(Bytes::from(piece));
            }
            prop_assert_eq!(payload.length(), expected.len() as u64);
            prop_assert_eq!(payload.into_parts().concat(), expected);
        }
    }
}
